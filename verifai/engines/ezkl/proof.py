"""The proof as it travels: instances and proof bytes, nothing else, in one byte form.

ezkl's own ``proof.json`` carries the same facts twice (pretty inputs, hexadecimal proof, a timestamp, a version), authenticates
none of the copies, and accepts trailing bytes, upper-case hex and appended zero outputs. So ezkl's file never travels: we write
this one, and rebuild ezkl's from it when it is asked to verify.

    {"instances":["<64 hex digits>",…],"proof":"<hex>","schema":"verifai/ezkl-proof/v1"}\\n

Instances are elements of BN254's scalar field, 32 bytes little-endian, lower-case.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from verifai.domain import strict_json
from verifai.domain.record import Record
from verifai.engines.ezkl import field
from verifai.errors import EngineCrashed, EvidenceRejected

SCHEMA = "verifai/ezkl-proof/v1"
MAX_INSTANCES = 2**20
MAX_PROOF_BYTES = 2**20
MAX_FILE_BYTES = 2 * MAX_PROOF_BYTES + 70 * MAX_INSTANCES
_CODE = "proof-malformed"
_HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")


@dataclass(frozen=True, slots=True)
class Proof:
    """Instances and proof bytes, in canonical form.

    Attributes:
        instances: field elements in ``[0, r)``.
    """

    instances: tuple[int, ...]
    proof: bytes

    def to_bytes(self) -> bytes:
        """The file's bytes; equal proofs have equal bytes."""
        document = {
            "schema": SCHEMA,
            "instances": [field.encode(value) for value in self.instances],
            "proof": self.proof.hex(),
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"

    def for_ezkl(self) -> bytes:
        """The file that ``ezkl.verify`` reads; every field that it does not need is null."""
        absent = dict.fromkeys(("protocol", "hex_proof", "split", "pretty_public_inputs", "timestamp", "version"))
        instances = [[field.encode(value) for value in self.instances]]
        return json.dumps({**absent, "instances": instances, "proof": list(self.proof)}).encode("ascii")


def parse(data: bytes, *, instances: int, proof_bytes: int, where: str = "proof.json") -> Proof:
    """Read a proof of a circuit that has exactly so many ``instances`` and so many ``proof_bytes``.

    Raises:
        EvidenceRejected: code ``proof-malformed``, for anything but the one byte form of such a proof.
    """
    # Room for whatever a genuine file could have looked like, so that the refusal can say what is wrong; not for more.
    limit = 8192 + 2 * (70 * instances + 2 * proof_bytes)
    document = strict_json.loads(data, where=where, max_bytes=limit, code=_CODE)
    record = Record(document, where, code=_CODE)
    record.text("schema", pattern=SCHEMA)
    values = record.array("instances", _instance(record), max_length=MAX_INSTANCES)
    text = record.text("proof", max_length=2 * MAX_PROOF_BYTES)
    record.done()
    if len(values) != instances:
        raise record.refuse(f"{len(values)} instances where the circuit has {instances}", "instances")
    if not _HEX.match(text):
        raise record.refuse("expected lower-case hex", "proof")
    if len(text) != 2 * proof_bytes:
        raise record.refuse(f"{len(text) // 2} bytes where the circuit's proofs have {proof_bytes}", "proof")
    proof = Proof(values, bytes.fromhex(text))
    if proof.to_bytes() != data:
        raise record.refuse("these bytes are not the canonical form of their content")
    return proof


def from_ezkl(data: bytes) -> Proof:
    """What matters of a proof that ezkl has just written.

    Raises:
        EngineCrashed: when it has another form.
    """
    document = strict_json.loads(
        data, where="ezkl's proof", floats=True, max_bytes=2 * MAX_FILE_BYTES, error=EngineCrashed, code="engine-crashed"
    )
    try:
        instances = document["instances"]
        if len(instances) > 1:
            raise ValueError(f"{len(instances)} instance columns")
        values = tuple(field.decode(text) for column in instances for text in column)
        return Proof(values, bytes(document["proof"]))
    except (KeyError, TypeError, ValueError) as problem:
        raise EngineCrashed("engine-crashed", f"ezkl's proof has an unknown form: {problem}") from None


def _instance(record: Record) -> Any:
    def instance(value: Any, place: str) -> int:
        try:
            return field.decode(value)
        except ValueError as problem:
            raise EvidenceRejected(_CODE, str(problem), where=place) from None

    return instance
