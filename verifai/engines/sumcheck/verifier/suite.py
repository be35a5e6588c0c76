"""The protocol suite: every constant of the protocol that is not the circuit's. It enters every root and every transcript."""

from __future__ import annotations

import hashlib

from verifai.engines.sumcheck.circuit import CommitmentShape

SUITE = "sumcheck/1"

SECURITY_BITS = 100
HASH_BITS = 128
RESERVED_ROWS = 2
SALT_BYTES = 0
CAP_LOG = 7
"""Merkle paths end at the layer of 2^7 nodes, which an opening carries whole."""

PARAMETERS = (
    f"{SUITE} field=goldilocks2(x^2-7) hash=sha256 form=coeff domain=subgroup zk=0 G=0 tau=0 B=0 "
    f"blind_rows=0 reserved_rows={RESERVED_ROWS} salt_len={SALT_BYTES} security={SECURITY_BITS}"
).encode("ascii")
"""Zero-knowledge fields are zero: this suite is integrity-only."""

LEAF_TAG = b"vf1-leaf"
NODE_TAG = b"vf1-node"
ROOT_TAG = b"verifai/sumcheck/root"


def commitment_root(shape: CommitmentShape, cells_log: int, merkle_root: bytes) -> bytes:
    """H(tag ‖ suite ‖ shape ‖ R ‖ C ‖ K ‖ n ‖ Merkle root): one Merkle root fits several shapes, this root only one.

    ``cells_log`` is the number of variables of the committed extension. The label is left out: equal tables of equal shape
    have equal roots, whatever their role.
    """
    numbers = (cells_log, shape.rows, shape.message, shape.degree, shape.length, shape.reserved_rows)
    body = b"".join(number.to_bytes(8, "little") for number in numbers)
    return hashlib.sha256(ROOT_TAG + len(PARAMETERS).to_bytes(8, "little") + PARAMETERS + body + merkle_root).digest()
