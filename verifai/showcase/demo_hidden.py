"""The demo's last part: the digit of a hidden picture, proven by both engines."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.privacy_words import hidden, weights_words
from verifai.domain.progress import Progress
from verifai.domain.statement import EngineName, Role, Statement
from verifai.showcase.bench_circuits import copy_hidden
from verifai.showcase.demo_steps import CONTEXT, Refused, refusals, reseal
from verifai.stages.compile import compile_circuit
from verifai.stages.prove import prove
from verifai.stages.ready import ProvedBundle
from verifai.stages.verify import Expectations, VerifiedBundle, verify_bundle

CLASSES = 10
ENGINES = {EngineName.EZKL: "ezkl-private", EngineName.SUMCHECK: "sumcheck-zk-a"}
"""The engines, and the row of ``bench`` that hides the same."""


@dataclass(frozen=True)
class HiddenProof:
    """One engine's proof about the hidden picture, verified without the picture.

    Attributes:
        digit: the largest of the ten public logits. proof_bytes: of the proof file alone.
        hidden, weights: what the verified statement says of itself, in words.
        compile_seconds: making keys, once per circuit.
    """

    bundle: ProvedBundle
    verified: VerifiedBundle
    digit: int
    proof_bytes: int
    hidden: tuple[str, ...]
    weights: str
    compile_seconds: float
    verify_seconds: float


@dataclass(frozen=True)
class HiddenPicture:
    """Both proofs, by engine. label: what a person wrote."""

    proofs: Mapping[EngineName, HiddenProof]
    label: int

    @property
    def agree(self) -> bool:
        """Whether both engines prove the same digit."""
        return len({proof.digit for proof in self.proofs.values()}) == 1


def hidden_picture(
    folder: CircuitFolder, sample: Mapping[str, Any], label: int, work: Path, progress: Progress
) -> Iterator[HiddenPicture | Refused]:
    """Prove ``sample`` with both engines, the picture private; then claim another digit, sealed again.

    Raises:
        InternalError: ``demo-accepted-forgery``.
    """
    proofs, attempts = {}, {}
    for engine, row in ENGINES.items():
        circuit = copy_hidden(folder, row, work / row)
        proofs[engine] = proof = _prove(circuit, engine, sample, work / f"{row}-proof", progress)
        attempts[f"{engine.value}: another digit claimed"] = _attempt(circuit, proof, work / f"{row}-forged", progress)
    yield HiddenPicture(proofs, label)
    yield from refusals(attempts)


def _prove(
    circuit: CircuitFolder, engine: EngineName, sample: Mapping[str, Any], output: Path, progress: Progress
) -> HiddenProof:
    begun = time.monotonic()
    compile_circuit(circuit, engine=engine, progress=progress)
    compiled = time.monotonic() - begun
    (bundle,) = prove(circuit, [sample], output, engine=engine, context=CONTEXT, progress=progress)
    begun = time.monotonic()
    verified = verify_bundle(bundle.path, circuit.lock(), _expect(bundle), progress=progress)
    seconds = time.monotonic() - begun
    logits = verified.statement.of(Role.OUTPUT)[0].values()
    return HiddenProof(
        bundle=bundle,
        verified=verified,
        digit=max(range(len(logits)), key=logits.__getitem__),
        proof_bytes=sum(path.stat().st_size for path in (bundle.path / "payload").glob("proof*")),
        hidden=hidden(verified.statement),
        weights=weights_words(verified.statement),
        compile_seconds=compiled,
        verify_seconds=seconds,
    )


def _expect(bundle: ProvedBundle) -> Expectations:
    """What a verifier asks who never saw the picture."""
    return Expectations(context=CONTEXT if bundle.statement.context_bound else None, allow_test_srs=True)


def _attempt(circuit: CircuitFolder, proof: HiddenProof, target: Path, progress: Progress) -> Callable[[], VerifiedBundle]:
    other = (proof.digit + 1) % CLASSES

    def statement(claimed: Statement) -> Statement:
        tensors = []
        for tensor in claimed.tensors:
            if tensor.role is Role.OUTPUT and tensor.quantised is not None:
                tensor = replace(tensor, quantised=_swapped(tensor.quantised, proof.digit, other))
            tensors.append(tensor)
        return replace(claimed, tensors=tuple(tensors))

    def instances(data: bytes) -> bytes:
        document = json.loads(data)
        logits = _swapped(tuple(document["instances"][-CLASSES:]), proof.digit, other)
        document["instances"][-CLASSES:] = logits
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    def cells(data: bytes) -> bytes:
        # The logits are the last tensor, 32 bits each; behind them comes the context alone.
        end = len(data) - len(CONTEXT.encode())
        start = end - 4 * CLASSES
        logits = _swapped(struct.unpack(f"<{CLASSES}i", data[start:end]), proof.digit, other)
        return data[:start] + struct.pack(f"<{CLASSES}i", *logits) + data[end:]

    payload = {"proof.json": instances} if proof.bundle.statement.engine is EngineName.EZKL else {"statement.bin": cells}

    def attempt() -> VerifiedBundle:
        forged = reseal(proof.bundle.path, target, payload=payload, statement=statement)
        return verify_bundle(forged, circuit.lock(), _expect(proof.bundle), progress=progress)

    return attempt


def _swapped(values: tuple[Any, ...], one: int, other: int) -> tuple[Any, ...]:
    changed = list(values)
    changed[one], changed[other] = changed[other], changed[one]
    return tuple(changed)
