"""prove: inputs become evidence: one bundle per sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation import Attestation
from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.digest import Sha256, sha256
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Statement, WeightVisibility
from verifai.domain.trust_keys import Signer
from verifai.engines.interface import EngineProof, ProveRequest
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.stages.evidence import circuit_attestation, circuit_predicate, proof_attestation

MODEL_FILE = "model.onnx"
"""The canonical model in a bundle's payload; absent when the weights are withheld."""


@dataclass(frozen=True)
class ProvedBundle:
    """One bundle written.

    Attributes:
        index: of the sample among those given.
        seconds: of the prove call itself.
    """

    index: int
    path: Path
    bundle_id: Sha256
    statement: Statement
    seconds: float
    peak_rss_bytes: int


def prove(
    folder: CircuitFolder,
    samples: Sequence[Mapping[str, Any]],
    output: Path,
    *,
    engine: EngineName | None = None,
    context: str = "",
    signers: Sequence[Signer] = (),
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Progress = SILENT,
) -> Iterator[ProvedBundle]:
    """Prove ``samples`` with a compiled circuit; yield each bundle as soon as it is on disk.

    Args:
        samples: one mapping of input name → array each, of the model's exact shapes and dtypes.
        output: folder that gets one bundle folder per sample: ``000000``, ``000001``, …
        context: text bound into the statement, such as a nonce from whoever asked.
        signers: keys that sign the attestations and the manifest; without any the bundle is unsigned.

    Raises:
        InputRejected: a sample that the circuit cannot represent, with tensor and value.
        UsageError: nothing compiled, stale build files, or an output that exists.
        Undecided: memory, deadline, or a crash of the engine. Bundles already yielded stay; the current one leaves nothing.
    """
    from dataclasses import replace

    from verifai.bundle.writer import write_bundle

    if not samples:
        raise UsageError("nothing-to-prove", "there is no sample to prove", hint="Give an input file with at least one sample.")
    targets = _free_targets(output, len(samples))
    spec, model = folder.spec, folder.model
    name = engine or spec.engine
    backend = engine_for(name)
    lock = folder.lock()
    if lock.model_sha256 != model.sha256:
        raise UsageError(
            "stale-lock",
            f"{spec.model} is not the model that the lock pins",
            where=str(folder.lock_path),
            hint=f"Run: verifai compile {folder.folder}",
        )
    section = lock.section(name)
    summary = backend.summarise(section)
    circuit = circuit_attestation(circuit_predicate(lock, name, section, summary, spec.weights), signers)
    budget = replace(spec.budget, memory_bytes=max_memory or spec.budget.memory_bytes)
    output.mkdir(parents=True, exist_ok=True)
    for index, (sample, target) in enumerate(zip(samples, targets, strict=True)):
        request = ProveRequest(
            model=model,
            spec=spec,
            section=section,
            build_dir=folder.build_dir(name),
            inputs=sample,
            context=context,
            budget=budget,
            threads=threads,
            progress=progress,
        )
        proof = backend.prove(request)
        payload = _payload(proof, spec, model.data)
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        claim = proof_attestation(circuit, proof, summary, created, signers)
        attestations: list[Attestation] = [circuit, claim]
        bundle_id = write_bundle(target, payload=payload, attestations=attestations, signers=signers, created=created)
        yield ProvedBundle(index, target, bundle_id, proof.statement, proof.seconds, proof.peak_rss_bytes)


def _payload(proof: EngineProof, spec: CircuitSpec, model: bytes) -> dict[str, bytes]:
    payload = dict(proof.files)
    if spec.weights is WeightVisibility.PUBLIC:
        # What the auditor needs to re-derive the key. Withheld and committed weights stay with their owner.
        payload[MODEL_FILE] = model
        assert sha256(model) == proof.statement.model_sha256
    return payload


def _free_targets(output: Path, count: int) -> list[Path]:
    targets = [output / f"{index:06d}" for index in range(count)]
    for target in targets:
        if target.exists() or target.is_symlink():
            raise UsageError(
                "file-exists",
                "this bundle exists already",
                where=str(target),
                hint="Choose another --output folder; evidence is never overwritten.",
            )
    return targets
