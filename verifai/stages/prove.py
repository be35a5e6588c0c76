"""prove: inputs become evidence: one bundle per sample, or per batch of as many as the circuit takes at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from verifai.bundle.sbom import make_sbom, require_sbom_package
from verifai.bundle.writer import write_bundle
from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.attestation.manifest import MODEL_FILE, SBOM_FILE
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.counting import LABELS, RIGHT
from verifai.domain.digest import Sha256, sha256
from verifai.domain.findings import Finding, at_step
from verifai.domain.generation import Generation
from verifai.domain.progress import SILENT, Progress
from verifai.domain.proof_index import sample_id
from verifai.domain.shell import shell
from verifai.domain.shown import ShownTensor, shown_values
from verifai.domain.statement import EngineName, Privacy, Statement, WeightVisibility, check_context
from verifai.domain.tensor import TensorSpec
from verifai.domain.trust_keys import Signer
from verifai.engines.capabilities import CheckInputsRequest, OutsideInput
from verifai.engines.interface import EngineProof, ProofEngine, ProveRequest, SectionSummary, TensorSecret
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.child import kill_all
from verifai.execution.files import cannot_write
from verifai.execution.outputs import ReservedSpace
from verifai.stages.evidence import circuit_attestation, circuit_predicate, proof_attestation
from verifai.stages.kept import kept_attestations
from verifai.stages.nearness import Nearness
from verifai.stages.outside import outside_samples, refuse_outside

DOCUMENT_BYTES = 256 * 1024
"""What attestations, manifest and bill of materials of a bundle take on a disk, about."""


@dataclass(frozen=True)
class ProvedBundle:
    """One bundle written.

    Attributes:
        index: of the sample, or of the batch, among those given.
        seconds: of the prove call itself.
        values: what was proven, in values.
        findings: what a reader of the proven values should know: values at an end of the circuit's range, or far from the float
            model's.
        outputs: what the circuit put out, exactly; not in the bundle. Empty unless asked for.
        secrets: seeds of hashed outputs, where their commitments hide; not in the bundle. Empty unless asked for.
        insecure: insecure modes that the lock records, which a verifier has to allow.
    """

    index: int
    path: Path
    bundle_id: Sha256
    statement: Statement
    seconds: float
    peak_rss_bytes: int
    values: tuple[ShownTensor, ...] = ()
    findings: tuple[Finding, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, TensorSecret] = field(default_factory=dict)
    insecure: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadyCircuit:
    """A compiled circuit to prove with; made by :func:`ready_circuit`, which checks what can be known before any cost.

    Attributes:
        section, summary: the engine's pinned section, and what it says.
        described, attestation: what the bundles say of the circuit.
        provenance: what they carry of the signed release that it comes from.
        keep_outputs: whether results carry what the circuit put out, where the engine offers it.
        nearness: the float model, where each proven output is compared with it.
    """

    folder: CircuitFolder
    engine: ProofEngine
    lock: CircuitLock
    section: Mapping[str, Any]
    summary: SectionSummary
    described: CircuitPredicate
    attestation: Attestation
    provenance: tuple[Attestation, ...]
    signers: Sequence[Signer]
    budget: Budget
    threads: int | None
    keep_outputs: bool
    nearness: Nearness | None

    def prove_sample(
        self,
        index: int,
        sample: Mapping[str, Any],
        target: Path,
        *,
        context: str,
        secrets: Mapping[str, TensorSecret] | None = None,
        generation: Generation | None = None,
        check_outputs: Callable[[Mapping[str, Any]], None] = lambda outputs: None,
        progress: Progress = SILENT,
    ) -> ProvedBundle:
        """Prove one sample, or one of :func:`grouped`, and write its bundle to ``target``. Raises what :func:`prove` raises.

        Args:
            generation, check_outputs: as in :class:`~verifai.engines.interface.ProveRequest`.
        """
        with ReservedSpace(target.parent) as space:
            space.take(self.shown_bytes + DOCUMENT_BYTES)
            request = replace(
                self.request(sample, context),
                progress=progress,
                input_secrets=secrets or {},
                generation=generation,
                check_outputs=check_outputs,
                require_space=lambda count: space.take(count + self.shown_bytes + DOCUMENT_BYTES),
            )
            proof = self.engine.prove(request)
        return self.seal(index, sample, target, proof)

    @property
    def shown_bytes(self) -> int:
        """Of the model, where bundles hold it."""
        return len(self.folder.model.data) if self.folder.spec.weights is WeightVisibility.PUBLIC else 0

    def seal(self, index: int, sample: Mapping[str, Any], target: Path, proof: EngineProof) -> ProvedBundle:
        """Write the bundle of a proof of ``sample`` that was verified. Raises UsageError, Undecided."""
        folder = self.folder
        refuse_other_privacy(folder.spec, proof.statement, folder)
        payload = _payload(proof, folder.spec, folder.model.data)
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        digests = {file: sha256(data) for file, data in payload.items()}
        payload[SBOM_FILE] = make_sbom(self.described, created, digests, proof.statement.attested())
        claim = proof_attestation(self.attestation, proof, self.summary, created, self.signers)
        bundle_id = write_bundle(
            target,
            payload=payload,
            attestations=[self.attestation, claim, *self.provenance],
            signers=self.signers,
            created=created,
        )
        spent, peak = proof.seconds, proof.peak_rss_bytes
        outputs = proof.outputs if self.keep_outputs else {}
        handed = proof.secrets if self.keep_outputs else {}
        values = shown_values(proof.statement, self.lock.names, self.summary.fidelity)
        near = () if self.nearness is None else self.nearness.judge(proof.statement, sample, proof.outputs)
        findings = tuple(at_step(finding, "") for finding in (*proof.findings, *near))  # the steps are those of a verifier
        return ProvedBundle(
            index, target, bundle_id, proof.statement, spent, peak, values, findings, outputs, handed, self.summary.insecure
        )

    def request(self, sample: Mapping[str, Any], context: str) -> ProveRequest:
        """What the engine is asked for one sample."""
        folder, name = self.folder, self.engine.name
        return ProveRequest(
            model=folder.model,
            spec=folder.spec,
            section=self.section,
            build_dir=folder.built_dir(name),
            secrets_dir=folder.secrets_dir(name),
            inputs=sample,
            context=context,
            budget=self.budget,
            threads=self.threads,
        )

    @property
    def batch(self) -> int:
        """How many samples a proof takes; 0 where it takes one."""
        return samples_per_proof(self.summary)

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        """What each sample has: the model's inputs, and its label where right answers are counted."""
        counting = self.summary.counting
        labels = () if counting is None else (TensorSpec(LABELS, "int64", counting.label_shape),)
        return (*self.folder.model.inputs, *labels)

    def require_labels(self, samples: Sequence[Mapping[str, Any]]) -> None:
        """Refuse samples without labels for a circuit that counts right answers. Raises UsageError (``count-only``)."""
        if self.summary.counting is not None and any(LABELS not in one for one in samples):
            raise UsageError(
                "count-only",
                "this circuit counts right answers over a data set with labels; it shows no answer to a single input",
                where=str(self.folder.folder),
                hint=f"Run: `verifai evaluate {shell(self.folder.folder)} data.lock -o evaluation`",
            )

    def outside(self, samples: Sequence[Mapping[str, Any]], progress: Progress = SILENT) -> tuple[OutsideInput, ...]:
        """What the circuit cannot represent. Raises what :func:`verifai.stages.outside.outside_samples` raises."""
        folder = self.folder
        if self.summary.counting is not None:  # labels are none of the model's inputs, and every one has a place
            samples = [{name: one[name] for name in one if name != LABELS} for one in samples]
        request = CheckInputsRequest(
            model=folder.model,
            section=self.section,
            build_dir=folder.built_dir(self.engine.name),
            samples=samples,
            budget=self.budget,
            threads=self.threads,
            progress=progress,
        )
        return outside_samples(self.engine, request, self.lock.names.columns)


def ready_circuit(
    folder: CircuitFolder,
    *,
    engine: EngineName | None = None,
    signers: Sequence[Signer] = (),
    threads: int | None = None,
    max_memory: int | None = None,
    keep_outputs: bool = False,
    compare: bool = True,
) -> ReadyCircuit:
    """Look at everything that every proof needs, before anything is spent, such as an opening of hidden weights.

    Raises:
        UsageError: nothing compiled, or ``stale-lock`` when a proof would show something else than ``circuit.toml`` asks for.
    """
    require_sbom_package()
    spec, model = folder.spec, folder.model
    name = folder.engine(engine)
    backend = engine_for(name)
    lock = folder.lock()
    if lock.model_sha256 != model.sha256:
        raise UsageError(
            "stale-lock",
            f"{spec.model} is not the model that the lock pins",
            where=str(folder.lock_path),
            hint=f"Run: `verifai compile {shell(folder.folder)}`",
        )
    section = lock.section(name)
    summary = backend.summarise(section)
    if spec.batch is not None and (samples_per_proof(summary) or 1) != spec.batch:
        _refuse_differing([("batch", str(spec.batch), str(samples_per_proof(summary) or 1))], folder)
    counts = summary.counting is not None
    _refuse_differing([("count_right", str(spec.count_right).lower(), str(counts).lower())], folder)
    if summary.weights is not None:
        found = [("weights", spec.weights.value, summary.weights.value)]
        found += [
            (f"tensor {one!r}", spec.tensors[one].value, seen.value)
            for one, seen in summary.tensors.items()
            if one in spec.tensors
        ]
        _refuse_differing(found, folder)
    # A segment's own error says little about the whole model, and compile asks nothing of it either; a count shows no output.
    alone = summary.segment is None and not counts
    described = circuit_predicate(lock, name, section, summary, spec.weights)
    return ReadyCircuit(
        folder=folder,
        engine=backend,
        lock=lock,
        section=section,
        summary=summary,
        described=described,
        attestation=circuit_attestation(described, signers),
        provenance=kept_attestations(folder, lock),
        signers=signers,
        budget=replace(spec.budget, memory_bytes=max_memory or spec.budget.memory_bytes),
        threads=threads,
        keep_outputs=keep_outputs,
        nearness=Nearness(model, summary.fidelity, lock.names.tokens) if compare and alone else None,
    )


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
    compare: bool = True,
    progress: Progress = SILENT,
) -> Iterator[ProvedBundle]:
    """Prove ``samples`` with a compiled circuit; yield each bundle as soon as it is on disk.

    It keeps no index, and the first failure ends it; :func:`verifai.stages.batch.run.prove_batch` can go on and be continued.

    Args:
        samples: one mapping of input name → array each, of the model's exact shapes and dtypes.
        output: folder that gets one bundle folder per sample: ``000000``, ``000001``, …; where the circuit takes a batch, one
            per as many samples as it takes, in order. The last may have fewer: its statement says how many.
        context: text bound into the statement, such as a verifier's nonce.
        signers: keys that sign the attestations and the manifest; without any the bundle is unsigned.
        jobs: how many samples are proven at once, each within the whole budget.
        keep_outputs: whether the results carry what the circuit put out, where the engine offers it.
        input_secrets: per bundle, by hashed input, what its maker handed over; empty for tensors that no proof bound before.
        compare: whether the float model is run on each sample, so that an output far from it is said.

    Raises:
        InputRejected: a sample that the circuit cannot represent, with tensor and value.
        UsageError: nothing compiled, stale build files, an output that exists, a context that no statement can hold, or
            ``stale-lock`` when the proof would show something else than ``circuit.toml`` now asks for; nothing is written then.
        Undecided: memory, deadline, or a crash of the engine. Bundles already yielded stay; the current one leaves nothing.
    """
    if not samples:
        raise UsageError("nothing-to-prove", "there is no sample to prove", hint="Give an input file with at least one sample.")
    # Whatever can be known is judged here: with private weights, each attempt to prove spends one of few openings.
    check_context(context)
    ready = ready_circuit(
        folder,
        engine=engine,
        signers=signers,
        threads=threads,
        max_memory=max_memory,
        keep_outputs=keep_outputs,
        compare=compare,
    )
    ready.require_labels(samples)
    bundles = grouped(samples, ready.batch)
    targets = free_targets(output, range(len(bundles)))
    refuse_outside(ready.outside(samples), len(samples))
    make_folder(output)

    def one(index: int) -> ProvedBundle:
        return ready.prove_sample(
            index,
            bundles[index],
            targets[index],
            context=context,
            secrets=input_secrets[index] if input_secrets else None,
            progress=_OfMany(progress, index, len(bundles)),
        )

    yield from _in_order(one, len(bundles), jobs)


def samples_per_proof(summary: SectionSummary) -> int:
    """How many samples a proof takes, whether each answer is shown or the right ones are counted; 0 where it takes one."""
    return summary.batch if summary.counting is None else summary.counting.items


def bundle_count(folder: CircuitFolder, engine: EngineName | None, samples: int) -> int:
    """How many bundles so many samples make with the compiled circuit. Raises UsageError as :func:`ready_circuit`."""
    name = folder.engine(engine)
    batch = samples_per_proof(engine_for(name).summarise(folder.lock().section(name)))
    return -(-samples // batch) if batch else samples


def grouped(samples: Sequence[Mapping[str, Any]], batch: int) -> Sequence[Mapping[str, Any]]:
    """The samples as a circuit takes them: each by itself, or stacked in batches, of which the last may have fewer."""
    if not batch:
        return samples
    import numpy as np

    groups = (samples[first : first + batch] for first in range(0, len(samples), batch))
    return [{name: np.stack([one[name] for one in group]) for name in group[0]} for group in groups]


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
    own = (LABELS, RIGHT) if spec.count_right else ()
    found += [
        (f"tensor {one.name!r}", spec.tensors[one.name].value, one.visibility.value)
        for one in statement.tensors
        if one.name not in own
    ]
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
                hint=f"Run: `verifai compile {shell(folder.folder)}`",
            )


def _payload(proof: EngineProof, spec: CircuitSpec, model: bytes) -> dict[str, bytes]:
    payload = dict(proof.files)
    if spec.weights is WeightVisibility.PUBLIC:
        # What the auditor needs to re-derive the key. All other weights stay with their owner.
        payload[MODEL_FILE] = model
        assert sha256(model) == proof.statement.model_sha256
    return payload


def make_folder(output: Path) -> None:
    """Make the folder that bundles go into. Raises UsageError, Undecided as any output that cannot be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise cannot_write(problem, output) from None


def free_targets(output: Path, rows: Iterable[int]) -> list[Path]:
    """Where the bundles of ``rows`` go. Raises UsageError (``file-exists``) when something is there already."""
    targets = [output / sample_id(row) for row in rows]
    for target in targets:
        if os.path.lexists(target):
            raise UsageError(
                "file-exists",
                "this bundle exists already",
                where=str(target),
                hint="Choose another --output folder; evidence is never overwritten.",
            )
    return targets
