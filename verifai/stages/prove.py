"""prove: inputs become evidence: one bundle per sample."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from verifai.bundle.sbom import make_sbom, require_sbom_package
from verifai.bundle.writer import write_bundle
from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.manifest import SBOM_FILE
from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.digest import Sha256, sha256
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Privacy, Statement, WeightVisibility, check_context
from verifai.domain.trust_keys import Signer
from verifai.engines.capabilities import ChecksInputs
from verifai.engines.interface import EngineProof, ProveRequest, TensorSecret
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.child import kill_all
from verifai.execution.files import cannot_write
from verifai.execution.outputs import ReservedSpace
from verifai.stages.evidence import circuit_attestation, circuit_predicate, proof_attestation

MODEL_FILE = "model.onnx"
"""The canonical model in a bundle's payload; there only when the weights are public."""


DOCUMENT_BYTES = 256 * 1024
"""What attestations, manifest and bill of materials of a bundle take on a disk, about."""


@dataclass(frozen=True)
class ProvedBundle:
    """One bundle written.

    Attributes:
        index: of the sample among those given.
        seconds: of the prove call itself.
        outputs: what the circuit put out, exactly; not in the bundle. Empty unless asked for.
        secrets: seeds of hashed outputs, where their commitments hide; not in the bundle. Empty unless asked for.
    """

    index: int
    path: Path
    bundle_id: Sha256
    statement: Statement
    seconds: float
    peak_rss_bytes: int
    outputs: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, TensorSecret] = field(default_factory=dict)


def prove(
    folder: CircuitFolder,
    samples: Sequence[Mapping[str, Any]],
    output: Path,
    *,
    engine: EngineName | None = None,
    context: str = "",
    signers: Sequence[Signer] = (),
    threads: int | None = None,
    jobs: int = 1,
    max_memory: int | None = None,
    keep_outputs: bool = False,
    input_secrets: Sequence[Mapping[str, TensorSecret]] = (),
    progress: Progress = SILENT,
) -> Iterator[ProvedBundle]:
    """Prove ``samples`` with a compiled circuit; yield each bundle as soon as it is on disk.

    Args:
        samples: one mapping of input name → array each, of the model's exact shapes and dtypes.
        output: folder that gets one bundle folder per sample: ``000000``, ``000001``, …
        context: text bound into the statement, such as a verifier's nonce.
        signers: keys that sign the attestations and the manifest; without any the bundle is unsigned.
        jobs: how many samples are proven at once, each within the whole budget.
        keep_outputs: whether the results carry what the circuit put out, where the engine offers it.
        input_secrets: per sample, by hashed input, what its maker handed over; empty for tensors that no proof bound before.

    Raises:
        InputRejected: a sample that the circuit cannot represent, with tensor and value.
        UsageError: nothing compiled, stale build files, an output that exists, or ``stale-lock`` when the proof would show
            something else than ``circuit.toml`` now asks for; nothing is written then.
        Undecided: memory, deadline, or a crash of the engine. Bundles already yielded stay; the current one leaves nothing.
    """
    from dataclasses import replace

    if not samples:
        raise UsageError("nothing-to-prove", "there is no sample to prove", hint="Give an input file with at least one sample.")
    # Whatever can be known is judged here: with private weights, each attempt to prove spends one of few openings.
    check_context(context)
    require_sbom_package()
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
            hint=f"Run: `verifai compile {quote(str(folder.folder))}`",
        )
    section = lock.section(name)
    summary = backend.summarise(section)
    if summary.weights is not None:  # before anything is spent, such as an opening of hidden weights
        found = [("weights", spec.weights.value, summary.weights.value)]
        found += [
            (f"tensor {one!r}", spec.tensors[one].value, seen.value)
            for one, seen in summary.tensors.items()
            if one in spec.tensors
        ]
        _refuse_differing(found, folder)
    described = circuit_predicate(lock, name, section, summary, spec.weights)
    circuit = circuit_attestation(described, signers)
    budget = replace(spec.budget, memory_bytes=max_memory or spec.budget.memory_bytes)
    request = ProveRequest(
        model=model,
        spec=spec,
        section=section,
        build_dir=folder.built_dir(name),
        secrets_dir=folder.secrets_dir(name),
        inputs=samples[0],
        context=context,
        budget=budget,
        threads=threads,
    )
    if isinstance(backend, ChecksInputs):
        backend.check_inputs(request, samples)
    _make_folder(output)
    shown = len(model.data) if spec.weights is WeightVisibility.PUBLIC else 0

    def one(index: int) -> ProvedBundle:
        with ReservedSpace(output) as space:
            space.take(shown + DOCUMENT_BYTES)
            proof = backend.prove(
                replace(
                    request,
                    inputs=samples[index],
                    progress=_OfMany(progress, index, len(samples)),
                    input_secrets=input_secrets[index] if input_secrets else {},
                    require_space=lambda count: space.take(count + shown + DOCUMENT_BYTES),
                )
            )
        refuse_other_privacy(spec, proof.statement, folder)
        payload = _payload(proof, spec, model.data)
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        digests = {file: sha256(data) for file, data in payload.items()}
        payload[SBOM_FILE] = make_sbom(described, created, digests)
        claim = proof_attestation(circuit, proof, summary, created, signers)
        bundle_id = write_bundle(
            targets[index], payload=payload, attestations=[circuit, claim], signers=signers, created=created
        )
        spent, peak = proof.seconds, proof.peak_rss_bytes
        outputs = proof.outputs if keep_outputs else {}
        secrets = proof.secrets if keep_outputs else {}
        return ProvedBundle(index, targets[index], bundle_id, proof.statement, spent, peak, outputs, secrets)

    yield from _in_order(one, len(samples), jobs)


def _in_order(one: Callable[[int], ProvedBundle], count: int, jobs: int) -> Iterator[ProvedBundle]:
    """Results in order; the first failure stops the rest, and no child outlives it."""
    if jobs == 1:
        yield from map(one, range(count))
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        futures = [pool.submit(one, index) for index in range(count)]
        for future in futures:
            yield future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        kill_all()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _OfMany:
    """Progress that says which sample a phase belongs to."""

    inner: Progress
    index: int
    count: int

    def phase(self, name: str, total: int | None = None) -> None:
        self.inner.phase(name if self.count == 1 else f"sample {self.index + 1} of {self.count}: {name}", total)

    def advance(self, steps: int = 1) -> None:
        self.inner.advance(steps)

    def memory(self, peak_bytes: int) -> None:
        self.inner.memory(peak_bytes)

    def note(self, text: str) -> None:
        self.inner.note(text)


def refuse_other_privacy(spec: CircuitSpec, statement: Statement, folder: CircuitFolder) -> None:
    """A proof follows the lock; a specification edited since compile must not be taken for what the proof hides.

    Raises:
        UsageError: ``stale-lock``, with the field that differs.
    """
    found = [("weights", spec.weights.value, statement.weights.value)]
    found += [(f"tensor {one.name!r}", spec.tensors[one.name].value, one.visibility.value) for one in statement.tensors]
    if spec.zero_knowledge:
        shown = statement.privacy is Privacy.INTEGRITY_ONLY
        found.append(("privacy", "zero-knowledge", statement.privacy.value if shown else "zero-knowledge"))
    _refuse_differing(found, folder)


def _refuse_differing(found: Sequence[tuple[str, str, str]], folder: CircuitFolder) -> None:
    for what, asked, proven in found:
        if asked != proven:
            raise UsageError(
                "stale-lock",
                f"circuit.toml asks for {what} {asked!r}, the compiled circuit has {proven!r}; nothing was written",
                where=str(folder.lock_path),
                hint=f"Run: `verifai compile {quote(str(folder.folder))}`",
            )


def _payload(proof: EngineProof, spec: CircuitSpec, model: bytes) -> dict[str, bytes]:
    payload = dict(proof.files)
    if spec.weights is WeightVisibility.PUBLIC:
        # What the auditor needs to re-derive the key. All other weights stay with their owner.
        payload[MODEL_FILE] = model
        assert sha256(model) == proof.statement.model_sha256
    return payload


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise cannot_write(problem, output) from None


def _free_targets(output: Path, count: int) -> list[Path]:
    targets = [output / f"{index:06d}" for index in range(count)]
    for target in targets:
        if os.path.lexists(target):
            raise UsageError(
                "file-exists",
                "this bundle exists already",
                where=str(target),
                hint="Choose another --output folder; evidence is never overwritten.",
            )
    return targets
