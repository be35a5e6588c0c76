"""A compiled circuit that is ready to prove, and a proof of it sealed in a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from verifai.domain.shell import shell
from verifai.domain.shown import ShownTensor, shown_values
from verifai.domain.statement import EngineName, Privacy, Statement, WeightVisibility
from verifai.domain.tensor import TensorSpec
from verifai.domain.trust_keys import Signer
from verifai.engines.capabilities import CheckInputsRequest, OutsideInput
from verifai.engines.interface import EngineProof, ProofEngine, ProveRequest, SectionSummary, TensorSecret
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.outputs import ReservedSpace
from verifai.stages.evidence import circuit_attestation, circuit_predicate, proof_attestation
from verifai.stages.kept import kept_attestations
from verifai.stages.nearness import Nearness
from verifai.stages.outside import outside_samples

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
        """Prove one sample, or one of :func:`verifai.stages.prove.grouped`, and write its bundle to ``target``.

        Raises what :func:`verifai.stages.prove.prove` raises.

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


def samples_per_proof(summary: SectionSummary) -> int:
    """How many samples a proof takes, whether each answer is shown or the right ones are counted; 0 where it takes one."""
    return summary.batch if summary.counting is None else summary.counting.items


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
