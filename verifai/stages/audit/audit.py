"""audit: everything that verify does, and everything that can be done again: keys, model, bill of materials, log, signatures.

The steps are those of ``docs/bundle-format.md``: V (verify), T (trust file), L (log), A (audit). An audit is passive: it runs
none of the bundle's code. It goes on after a failure, so that a report shows all that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.bundle.reader import open_bundle
from verifai.bundle.trust_check import check_trust
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.manifest import MODEL_FILE, SIDE_FILES
from verifai.domain.attestation.predicate_types import TEE_TYPE
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.attestation.tee import AboutReceipt
from verifai.domain.audit import AuditReport
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.comparison import OutputComparison, judge_pinned
from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.evaluation.shown import ShownEvaluation
from verifai.domain.evaluation.words import lines as evaluation_lines
from verifai.domain.findings import Finding, Outcome, at_step, holds, not_checked, worst
from verifai.domain.openings import OpenedBy
from verifai.domain.privacy_words import privacy_words
from verifai.domain.shown import ShownTensor
from verifai.domain.statement import EngineName, Role, Statement, WeightVisibility
from verifai.domain.trust import Trust, TrustedCircuit
from verifai.domain.utc_time import format_utc, parse_utc
from verifai.engines.interface import VerifyRequest
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, Undecided, VerifaiError, undecided
from verifai.execution.child import Limits
from verifai.stages.attested import check_hardware, receipt_words, receipts_of
from verifai.stages.audit.evaluation import EvaluationAudit
from verifai.stages.audit.options import AuditOptions
from verifai.stages.audit.reference import GivenInputs, check_model_shapes, compare_with_reference, match_inputs
from verifai.stages.audit.steps import (
    check_circuit_key,
    check_log_copy,
    check_materials,
    check_section,
    check_unrelated,
    judge_receipt,
    load_model,
    second_opinion,
)
from verifai.stages.audit.told import chain_of, context_signed, facts_of, manifest_signed, sources_of
from verifai.stages.evaluation.claims import find_evaluation
from verifai.stages.evaluation.judge import verify_evaluation
from verifai.stages.evaluation.shown import shown_evaluation
from verifai.stages.evidence import fidelity_figures
from verifai.stages.matching import check_context, check_context_bound, check_tensors
from verifai.stages.origin import Derived, check_origin, derive
from verifai.stages.verify import VerifiedBundle, describe, find_claims, require_answers, verify_proof
from verifai.trust_file import TrustFile

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle
    from verifai.engines.interface import SectionSummary, VerifyRequest
    from verifai.onnx_graph.model import OnnxModel

_UNPROVEN = {
    1: "the proof does not hold",
    3: "the proof was not accepted",
    4: "the proof could not be checked",
}
REDERIVED = "A2"
"""Number of the step under which the engine's own comparisons are listed, as ``A2.A1`` and so on."""


def audit_bundle(path: Path, trust: TrustFile, options: AuditOptions | None = None) -> AuditReport:
    """Audit the bundle at ``path``, a folder or a single file, by a trust file.

    Returns:
        A report with one finding per check; ``outcome`` and ``status`` say what they come to together.

    Raises:
        UsageError: the auditor's own files cannot be used: trust file, lock, log.
    """
    options = options or AuditOptions()
    now = options.now or format_utc(datetime.now(UTC))
    try:
        with open_bundle(path) as bundle:  # V1: steps R1–R9
            return _Audit(bundle, trust, replace(options, now=now)).run(str(path), now)
    except (EvidenceRejected, Undecided) as problem:  # one bundle's trouble must not hide what the others came to
        return AuditReport(str(path), None, (), (Finding.from_error(problem, step="V1"),), audited=now)
    except (OSError, MemoryError) as problem:
        return AuditReport(str(path), None, (), (Finding.from_error(undecided(problem), step="V1"),), audited=now)


class _Audit:
    """One audit under way."""

    def __init__(self, bundle: OpenBundle, trust_file: TrustFile, options: AuditOptions) -> None:
        self._bundle = bundle
        self._alone = bundle  # of an evaluation, the first of its proofs
        self._trust_file = trust_file
        self._trust: Trust = trust_file.trust
        self._options = options
        self._findings: list[Finding] = []
        self._words: tuple[str, ...] = ()
        self._comparisons: tuple[OutputComparison, ...] = ()
        self._values: tuple[ShownTensor, ...] = ()
        self._given = GivenInputs()
        self._unproven = ""
        self._model: OnnxModel | None = None
        self._opened: OpenedBy | None = None
        self._derived: Derived | None = None

    def run(self, path: str, now: str) -> AuditReport:
        """All steps, in order."""
        summary: SectionSummary | None = None
        circuit: CircuitPredicate | None = None
        proof: ProofPredicate | None = None
        trusted_findings = check_trust(self._bundle, self._trust, now)
        attested = self._hardware(now, manifest_signed(trusted_findings))
        if not self._bundle.of_type(ProofPredicate.TYPE) and (receipts := receipts_of(self._bundle)):
            return self._receipts(path, now, receipts, [*trusted_findings, *attested])
        if self._options.data is not None:
            return self._evaluation(path, now, self._options.data, [*trusted_findings, *attested])
        try:
            circuit, proof = find_claims(self._bundle)
            trusted, lock, summary = self._pinned(circuit)
            verified = self._verify(lock, context_signed(self._bundle, trusted_findings))
            self._derive(lock, now)
            self._again(circuit, proof.created, proof.statement, trusted, lock)
            self._origin(circuit, lock, now)
            self._reference(verified, summary)
            part, cap = summary.segment is not None, self._options.max_spread_error
            self._findings.append(judge_pinned(summary.fidelity, part=part, cap=cap))
            if self._options.evm:
                self._second_opinion(circuit, lock)
        except VerifaiError as problem:
            self._add(problem, "V2")
        self._findings += trusted_findings
        self._findings += attested
        self._end()
        return AuditReport(
            path=path,
            bundle_id=self._bundle.bundle_id,
            words=self._words,
            findings=tuple(self._findings),
            chain=chain_of(self._bundle, self._trust),
            comparisons=self._comparisons,
            values=self._values,
            # As the lock pins them: what rejected evidence says of itself is nothing to print as pinned.
            fidelity=None if summary is None else fidelity_figures(summary.fidelity),
            insecure=() if summary is None else summary.insecure,
            facts={**facts_of(self._bundle, circuit, proof), **sources_of(self._bundle, self._trust_file, circuit)},
            audited=now,
            opened=None if self._opened is None else replace(self._opened, where=path),
        )

    def _pinned(self, circuit: CircuitPredicate) -> tuple[TrustedCircuit, CircuitLock, SectionSummary]:
        """What the auditor's own files say of the circuit that the bundle names."""
        trusted, lock = self._trust_file.circuit(circuit.name)
        if circuit.engine not in lock.engines:
            message = f"the lock pins no circuit for engine {circuit.engine.value!r}"
            raise EvidenceRejected("circuit-not-pinned", message, where="engine")
        return trusted, lock, engine_for(circuit.engine).summarise(lock.section(circuit.engine))

    def _hardware(self, now: str, date_signed: bool) -> list[Finding]:
        """H1 to H3: hardware attestations, wherever there are any."""
        if not self._bundle.of_type(TEE_TYPE):
            return []
        if not self._trust.hardware:
            message = "hardware evidence is in the bundle; the trust file names no [[hardware]], so it counts for nothing"
            return [not_checked("tee-not-judged", message, "H3")]
        checked = check_hardware(self._bundle, self._trust.hardware, parse_utc(now), date_signed=date_signed)
        return [finding for one in checked for finding in one.findings]

    def _receipts(self, path: str, now: str, receipts: Sequence[AboutReceipt], findings: Sequence[Finding]) -> AuditReport:
        """A bundle that proves nothing: a machine says what it computed, and its word is all there is."""
        findings = [*findings, *(judge_receipt(receipt, self._trust_file) for receipt in receipts)]
        if not self._trust.hardware:
            message = "a machine's word is all that the bundle holds, and the trust file names no [[hardware]]"
            findings.append(Finding("tee-missing", Outcome.POLICY_NOT_MET, message, where="hardware", step="H3"))
        expected = self._options.expect.context
        for receipt in receipts:
            if expected is not None and receipt.context != expected:
                message = f"the context is {receipt.context[:80]!r}, expected is {expected[:80]!r}"
                findings.append(Finding("context-mismatch", Outcome.REJECTED, message, where="context", step="V7"))
        if self._options.expect.inputs is not None or self._options.expect.outputs is not None:
            message = "tensors are not compared with a receipt: its digests are of encoded tensors"
            findings.append(Finding("tee-not-judged", Outcome.UNDECIDED, message, where="receipt", step="V8"))
        self._findings += findings
        self._end()
        return AuditReport(
            path=path,
            bundle_id=self._bundle.bundle_id,
            words=tuple(word for receipt in receipts for word in receipt_words(receipt)),
            findings=tuple(self._findings),
            chain=chain_of(self._bundle, self._trust),
            facts={**facts_of(self._bundle, None, None), **sources_of(self._bundle, self._trust_file, None)},
            audited=now,
        )

    def _evaluation(self, path: str, now: str, data: DataLock, others: Sequence[Finding]) -> AuditReport:
        """E1 to E6 in the place of V2 to V9, and what an audit makes again: once for the circuit that all proofs share."""
        circuit: CircuitPredicate | None = None
        shown: ShownEvaluation | None = None
        lock: CircuitLock | None = None
        summary: SectionSummary | None = None
        try:
            claims = find_evaluation(self._bundle)
            circuit, self._alone = claims.circuit, claims.parts[0]
            trusted, lock, summary = self._pinned(circuit)
            self._derive(lock, now)
            self._again(circuit, claims.predicate.created, None, trusted, lock)
            self._origin(circuit, lock, now)
            again = EvaluationAudit(self._options, self._model, context_signed(self._bundle, others))
            allowed, budget = self._trust.allow_test_srs, self._options.budget
            verified = verify_evaluation(
                self._bundle,
                lock,
                data,
                allow_test_srs=allowed,
                budget=budget,
                progress=self._options.progress,
                visit=again.visit,
            )
            self._findings += [one for one in verified.findings if one.code != "signatures-not-judged"]
            self._findings += again.rest()
            self._findings.append(
                judge_pinned(summary.fidelity, part=summary.segment is not None, cap=self._options.max_spread_error)
            )
            self._comparisons, self._opened = again.comparisons, verified.opened
            shown = shown_evaluation(verified)
            self._words = (*evaluation_lines(data, verified.metrics), *privacy_words(verified.statement))
            if self._options.evm:
                self._second_opinion(circuit, lock)
        except VerifaiError as problem:
            self._add(problem, "E")
        self._findings += others
        self._end()
        return AuditReport(
            path=path,
            bundle_id=self._bundle.bundle_id,
            words=self._words,
            findings=tuple(self._findings),
            chain=chain_of(self._bundle, self._trust),
            comparisons=self._comparisons,
            fidelity=None if summary is None else fidelity_figures(summary.fidelity),
            insecure=() if summary is None else summary.insecure,
            facts={
                **facts_of(self._bundle, None, None),
                "Data set": f"{data.name}, root {data.root}",
                **sources_of(self._bundle, self._trust_file, circuit),
            },
            audited=now,
            opened=None if self._opened is None else replace(self._opened, where=path),
            evaluation=shown,
        )

    def _verify(self, lock: CircuitLock, context_signed: bool) -> VerifiedBundle | None:
        """V2 to V6; ``None`` when the proof was not found to hold."""
        options, allowed = self._options, self._trust.allow_test_srs
        try:
            verified = verify_proof(
                self._bundle, lock, allow_test_srs=allowed, budget=options.budget, progress=options.progress
            )
            require_answers(verified)
        except VerifaiError as problem:
            self._add(problem, "V")
            self._unproven = _UNPROVEN.get(problem.status, "the proof was not verified")
            return None
        # Verify alone cannot judge signatures; steps T2 and T3 do.
        self._findings += [one for one in verified.findings if one.code != "signatures-not-judged"]
        made = len(self._findings)
        self._match(verified, context_signed)
        asked = worst([holds("proof-valid", ""), *self._findings[made:]])
        if asked is Outcome.HOLDS:
            self._opened = verified.opened  # evidence that is refused takes no part in comparing openings
        if asked is not Outcome.REJECTED:
            self._words, self._values = tuple(describe(verified.statement)), verified.values
        return verified

    def _match(self, verified: VerifiedBundle, context_signed: bool) -> None:
        """V7 to V9, each on its own: what was asked for in vain makes the proof no less valid."""
        expect = self._options.expect
        statement, engine = verified.statement, engine_for(verified.circuit.engine)

        def context() -> Finding:
            finding = check_context(statement, expect.context)
            check_context_bound(statement, expect.context, signed=context_signed)
            return finding

        self._each("V7", context)
        self._given, findings = match_inputs(engine, statement, self._options, verified.names)
        self._findings += findings
        if expect.outputs is not None:
            try:
                self._findings += check_tensors(engine, statement, Role.OUTPUT, expect.outputs, verified.names)
            except VerifaiError as problem:
                self._add(problem, "V9")

    def _again(
        self,
        circuit: CircuitPredicate,
        created: str,
        statement: Statement | None,
        trusted: TrustedCircuit,
        lock: CircuitLock,
    ) -> None:
        """A1 to A3 and A7: what can be made again from the trusted side is made again, whether or not the proof holds."""
        self._each("A1", lambda: check_section(circuit, lock))
        self._model = self._load_model(lock)
        if self._model is not None and self._options.rederive:
            self._rederive(circuit, lock, self._model)
        else:
            why = "the bundle holds no readable model that the lock pins" if self._model is None else "the auditor asked not to"
            self._findings.append(not_checked("key-not-rederived", f"the key was not made again: {why}", REDERIVED))
        self._each("A3", lambda: check_circuit_key(circuit, trusted, self._findings, REDERIVED))
        self._each("A7", lambda: check_materials(self._bundle, circuit, created, statement))

    def _derive(self, lock: CircuitLock, now: str) -> None:
        """P1 and P2 of a release that the auditor holds: its files give the model, whether or not the bundle shows one."""
        held, options = self._options.release, self._options
        if held is not None:
            signers = self._trust.model_signers
            self._derived = derive(held, lock, signers, parse_utc(now), budget=options.budget, progress=options.progress)

    def _origin(self, circuit: CircuitPredicate, lock: CircuitLock, now: str) -> None:
        """P1 to P3: the chain from a signed release to this circuit."""
        if lock.provenance is None and circuit.weights is WeightVisibility.PUBLIC and self._derived is None:
            return
        made = [one for one in self._findings if one.step.startswith(REDERIVED)]
        whole = bool(made) and all(one.outcome is Outcome.HOLDS for one in made)
        try:
            self._findings += check_origin(
                self._bundle,
                lock,
                circuit,
                self._trust,
                parse_utc(now),
                entries=self._trust.model_signers,
                derived=self._derived,
                circuit_derived=whole,
            ).findings()
        except VerifaiError as problem:
            self._add(problem, "P1")

    def _load_model(self, lock: CircuitLock) -> OnnxModel | None:
        if self._derived is not None and self._derived.model:
            return self._derived.loaded(Limits(memory_bytes=self._options.budget.memory_bytes), self._options.progress)
        listed = {entry.path: entry.sha256 for entry in self._bundle.manifest.files}
        if listed.get(f"payload/{MODEL_FILE}") != lock.model_sha256:
            return None  # there is none, or V4 has refused it: an untrusted graph is not parsed without need
        try:
            return load_model(self._bundle, self._options)
        except VerifaiError as problem:
            self._add(problem, "A2")
            return None

    def _rederive(self, circuit: CircuitPredicate, lock: CircuitLock, model: OnnxModel) -> None:
        try:
            findings = engine_for(circuit.engine).rederive(self._request(circuit, lock), model)
        except VerifaiError as problem:
            self._add(problem, REDERIVED)
            return
        self._findings += [at_step(one, f"{REDERIVED}.{one.step}" if one.step else REDERIVED) for one in findings]

    def _request(self, circuit: CircuitPredicate, lock: CircuitLock) -> VerifyRequest:
        return VerifyRequest(
            files={name: path for name, path in self._alone.payload.items() if name not in SIDE_FILES},
            section=lock.section(circuit.engine),
            model_sha256=lock.model_sha256,
            allow_test_material=self._trust.allow_test_srs,
            setup_material=self._options.setup_material,
            secrets_dir=self._secrets(circuit.engine),
            budget=self._options.budget,
            progress=self._options.progress,
        )

    def _secrets(self, engine: EngineName) -> Path | None:
        """Where the seeds of private weights are, for an auditor who may see them."""
        held = self._options.release
        return None if held is None else held.secrets_dir(engine)

    def _reference(self, verified: VerifiedBundle | None, summary: SectionSummary) -> None:
        """A4 to A6: the float model beside the proven output; a statement that was not proven is not looked into."""
        model = self._model
        if verified is None or model is None:
            why = self._unproven if verified is None else "the bundle holds no readable model that the lock pins"
            self._findings.append(not_checked("reference-not-run", f"the float model was not run: {why}", "A5"))
            return
        try:
            self._findings.append(at_step(check_model_shapes(verified.statement, model), "A4"))
        except EvidenceRejected as problem:
            self._add(problem, "A4")
            return
        try:
            options = self._options if summary.segment is None else replace(self._options, max_spread_error=inf)
            findings, self._comparisons = compare_with_reference(
                verified.statement, summary.fidelity, model, self._given, options, verified.names.tokens
            )
        except VerifaiError as problem:
            self._add(problem, "A5")
            return
        self._findings += findings

    def _second_opinion(self, circuit: CircuitPredicate, lock: CircuitLock) -> None:
        """A10: asked of a proof that was refused, too: the two verdicts must be equal, not favourable."""
        self._each("A10", lambda: second_opinion(circuit.engine, self._request(circuit, lock)))

    def _end(self) -> None:
        """What is looked at last, whatever the bundle holds: its copy of the log, and attestations that belong to nothing."""
        self._each("A8", lambda: check_log_copy(self._bundle, self._trust.log, self._options.log, self._options.seen))
        self._findings += check_unrelated(self._bundle)

    def _each(self, step: str, check: Callable[[], Finding]) -> None:
        try:
            self._findings.append(at_step(check(), step))
        except VerifaiError as problem:
            self._add(problem, step)

    def _add(self, problem: VerifaiError, step: str) -> None:
        if problem.status in (2, 70, 130) and not isinstance(problem, EvidenceRejected):
            # The auditor's own files, a bug of ours, or Ctrl-C: no verdict about the bundle.
            raise problem
        self._findings.append(Finding.from_error(problem, step=step))
