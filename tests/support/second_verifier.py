"""Both verifiers of sumcheck proofs on one list of cases: the Python one here, the TypeScript one in one Node process.

A case is a payload with changes to its bytes. Both have to give the same code and the same kind of refusal.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from tests.support.paths import ROOT
from verifai.domain.digest import Sha256
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import WeightVisibility
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.payload.statement import decode_statement, encode_statement
from verifai.engines.sumcheck.payload.weight_roots import check_roots
from verifai.engines.sumcheck.planning.price import Allowance
from verifai.engines.sumcheck.prover.prove import ProvenStatement, ProvingKey
from verifai.engines.sumcheck.verifier.verify import TrustedCircuit, trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected, ResourceExhausted, UsageError, VerifaiError

DRIVER = ROOT / "verifier-js" / "dist" / "conformance.mjs"
MEMORY = 1 << 32
KINDS = ((EvidenceRejected, "rejected"), (UsageError, "usage"), (ResourceExhausted, "undecided"))


@dataclass(frozen=True)
class Change:
    """Bytes of ``file`` from ``at`` on become ``data``; with ``cut``, what follows is dropped."""

    file: str
    at: int
    data: bytes
    cut: bool = False

    def applied(self, before: bytes) -> bytes:
        rest = b"" if self.cut else before[self.at + len(self.data) :]
        return before[: self.at].ljust(self.at, b"\0") + self.data + rest


@dataclass(frozen=True)
class Case:
    """One payload. ``weights``: as a lock has it, or ``root`` for hidden weights without their registration."""

    name: str
    files: Mapping[str, bytes]
    circuit: str
    weights: str
    identity: str
    changes: tuple[Change, ...] = ()
    memory: int = MEMORY

    def changed(self, *changes: Change, name: str = "") -> Case:
        return replace(self, name=f"{self.name}: {name or 'changed'}", changes=(*self.changes, *changes))

    def repinned(self) -> Case:
        """The digests of circuit and weights are those of the changed files: what comes after the comparison is reached."""
        files = self.payload()
        circuit = circuit_digest(files["circuit.bin"])
        blob = files.get("weights.bin")
        identity = self.identity if blob is None else hashlib.sha256(b"verifai/weights/1" + blob).hexdigest()
        return replace(self, circuit=circuit, identity=identity)

    def payload(self) -> dict[str, bytes]:
        files = dict(self.files)
        for change in self.changes:
            files[change.file] = change.applied(files[change.file])
        return files


@dataclass(frozen=True)
class Answer:
    """A verdict: the code, "" where the proof is accepted; and what kind of refusal it is."""

    code: str
    kind: str
    detail: str = field(default="", compare=False)
    milliseconds: float = field(default=0.0, compare=False)


def case_of(name: str, key: ProvingKey, proven: ProvenStatement, cells: Sequence[object]) -> Case:
    """What the prover made, as a payload."""
    circuit = key.circuit
    files = {
        "circuit.bin": encode(circuit),
        "statement.bin": encode_statement(circuit, proven.statement),
        "proof.bin": proven.proof,
    }
    weights = "public"
    if circuit.weight_visibility is WeightVisibility.COMMITTED:
        weights = "root" if circuit.zero_knowledge else "committed"
    else:
        files["weights.bin"] = encode_weights(circuit, [one.reshape(-1).tolist() for one in cells])  # type: ignore[attr-defined]
    return Case(name, files, circuit_digest(files["circuit.bin"]), weights, key.identity)


@lru_cache(maxsize=4)
def _trusted(data: bytes, digest: str, memory: int) -> TrustedCircuit | VerifaiError:
    try:
        return trust_circuit(data, digest, Allowance(memory))
    except VerifaiError as problem:
        return problem


def first(case: Case) -> Answer:
    """The Python verifier's answer."""
    try:
        _first(case)
    except VerifaiError as problem:
        kind = next((kind for error, kind in KINDS if isinstance(problem, error)), type(problem).__name__)
        return Answer(problem.code, kind, str(problem))
    return Answer("", "")


def _first(case: Case) -> None:
    """The order of :func:`verifai.engines.sumcheck.verifying.check_payload`, without a lock."""
    files = case.payload()
    trusted = _trusted(files["circuit.bin"], case.circuit, case.memory)
    if isinstance(trusted, VerifaiError):
        raise trusted
    identity, spent = case.identity, ()
    if case.weights == "private":
        roots = check_roots(trusted, Sha256(identity), files)
        identity, spent = roots.root, roots.spent
    weights = trust_weights(trusted, identity, files.get("weights.bin"))
    statement = decode_statement(trusted.circuit, files["statement.bin"])
    if (identity, statement.opening_number) in {(one.root, one.number) for one in spent}:
        raise EvidenceRejected("statement-invalid", "registration or link took the proof's own opening")
    verify(trusted, weights, statement, files["proof.bin"])


def second(
    cases: Sequence[Case], folder: Path, driver: Path = DRIVER, expected: Sequence[Answer] | None = None
) -> list[Answer]:
    """The TypeScript verifier's answers, by one process.

    Args:
        expected: answers to compare with; the first other one is the last that is given.
    """
    assert driver.exists(), "the second verifier is not built: run 'make verifier-js'"
    files: dict[str, str] = {}
    listed = []
    for case in cases:
        payload = {}
        for name, data in case.files.items():
            digest = hashlib.sha256(data).hexdigest()
            if digest not in files:
                path = folder / digest
                path.write_bytes(data)
                files[digest] = str(path)
            payload[name] = digest
        changes = [{"file": c.file, "at": c.at, "hex": c.data.hex(), "cut": c.cut} for c in case.changes]
        listed.append(
            {
                "circuit": case.circuit,
                "weights": case.weights,
                "identity": case.identity,
                "payload": payload,
                "changes": changes,
                "memoryBytes": case.memory,
            }
        )
    wanted = expected and [{"code": one.code, "kind": one.kind} for one in expected]
    task = json.dumps({"files": files, "cases": listed, "expected": wanted})
    done = subprocess.run(["node", str(driver)], input=task, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    return [Answer(one["code"], one["kind"], f"{one['where']}: {one['message']}", one["milliseconds"]) for one in found]


def differences(
    cases: Iterable[Case], folder: Path, driver: Path = DRIVER, judge: Callable[[Case], Answer] = first
) -> list[str]:
    """Every case on which the two do not agree, in words."""
    listed = list(cases)
    answers = second(listed, folder, driver)
    found = []
    for case, its in zip(listed, answers, strict=True):
        mine = judge(case)
        if mine != its:
            found.append(f"{case.name}: Python says {mine}, TypeScript says {its}")
    return found
