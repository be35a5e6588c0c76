"""The protocol suites: every constant of the protocol that is not the circuit's. A suite enters every root and transcript."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.protocol.storage import FINEST_LOG, LEAST_SAVED

SECURITY_BITS = 100
"""The least strength of every step in a circuit's table of errors."""
HASH_BITS = 128
"""Collisions of SHA-256."""
RESERVED_ROWS = 2
"""Row indices 0 and 1 hold no values: zeros, or the pair of blind rows that belongs to the opening."""
SEED_BYTES = 32
"""Of the secret that a hiding commitment, or one proof, draws its coins from."""
CAP_LOG = 7
"""Merkle paths end at the layer of 2^7 nodes, which an opening carries whole."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One protocol.

    Attributes:
        name: as circuits and locks carry it.
        zero_knowledge: messages are encrypted and commitments hide; else integrity-only.
        salt_bytes: of every leaf of a commitment.
        parameters: what enters transcripts and roots.
    """

    name: str
    zero_knowledge: bool
    salt_bytes: int
    parameters: bytes


INTEGRITY = Suite(
    "sumcheck/2",
    False,
    0,
    (
        f"sumcheck/2 field=goldilocks2(x^2-7) hash=sha256 form=coeff domain=subgroup zk=0 G=0 tau=0 B=0 "
        f"blind_rows=0 reserved_rows={RESERVED_ROWS} pieces={FINEST_LOG},{LEAST_SAVED} salt_len=0 security={SECURITY_BITS}"
    ).encode("ascii"),
)
ZERO_KNOWLEDGE = Suite(
    "sumcheck-zk/2",
    True,
    32,
    (
        f"sumcheck-zk/2 field=goldilocks2(x^2-7) hash=sha256 form=coeff domain=subgroup zk=1 G=2*rounds tau=B*t B=shape "
        f"blind_rows=2*B mask_rows=2 reserved_rows={RESERVED_ROWS} pieces={FINEST_LOG},{LEAST_SAVED} salt_len=32 "
        f"security={SECURITY_BITS}"
    ).encode("ascii"),
)
SUITES = {suite.name: suite for suite in (INTEGRITY, ZERO_KNOWLEDGE)}

LEAF_TAG = b"vf1-leaf"
NODE_TAG = b"vf1-node"
ROOT_TAG = b"verifai/sumcheck/root"


def commitment_root(shape: CommitmentShape, cells_log: int, merkle_root: bytes) -> bytes:
    """H(tag ‖ suite ‖ shape ‖ R ‖ C ‖ K ‖ n ‖ Merkle root): one Merkle root fits several shapes, this root only one.

    ``cells_log`` is the number of variables of the committed extension. The label is left out: equal tables of equal shape
    have equal roots, whatever their role. A hiding commitment's root also covers its masks, G, τ, B and mask rows.
    """
    suite = ZERO_KNOWLEDGE if shape.hiding else INTEGRITY
    numbers = [cells_log, shape.rows, shape.message, shape.degree, shape.length, shape.reserved_rows]
    if shape.hiding:
        numbers += [shape.mask, shape.tail, shape.budget, shape.mask_rows]
    body = b"".join(number.to_bytes(8, "little") for number in numbers)
    return hashlib.sha256(
        ROOT_TAG + len(suite.parameters).to_bytes(8, "little") + suite.parameters + body + merkle_root
    ).digest()
