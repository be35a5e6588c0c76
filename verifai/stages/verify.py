"""verify: a bundle becomes a verified bundle, or the reason why not. The steps V1–V9 are those of ``docs/bundle-format.md``.

What the verdict rests on comes from the lock (and, where given, the trust file); the bundle only offers evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.bundle.documents import MAX_DOCUMENT_BYTES, check_documents
from verifai.bundle.reader import open_bundle
from verifai.domain.answer import check_generation
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.attestation.manifest import DOCUMENT_FILES, MODEL_FILE, SIDE_FILES, Manifest
from verifai.domain.attestation.predicate_types import EVALUATION_TYPE
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.counting import LABELS, PinnedCount
from verifai.domain.digest import Sha256, short
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding, at_step, holds, not_checked
from verifai.domain.names import PlaceNames
from verifai.domain.openings import OpenedBy, opening_words, proof_digest
from verifai.domain.privacy_words import hides, privacy_words, weights_words
from verifai.domain.progress import SILENT, Progress
from verifai.domain.shown import ShownTensor, shown_values
from verifai.domain.statement import Role, Statement, WeightVisibility
from verifai.domain.statement import check_context as check_sendable
from verifai.engines.interface import SectionSummary, VerifyRequest
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.execution.files import read_limited
from verifai.stages.evidence import fidelity_figures, section_digest
from verifai.stages.matching import TensorSource, check_context, check_context_bound, check_tensors
from verifai.stages.origin import check_origin

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle


@dataclass(frozen=True)
class Expectations:
    """What the verifier knows on its own and wants the evidence to match.

    Attributes:
        inputs, outputs: plain tensors by name; matched exactly, after quantisation, with public or hashed tensors. Numbers of
            any type are values: ``uint8`` pixels given for a float tensor are the reals 0 to 255.
        context: the nonce that was asked for; ``None`` accepts any.
        context_signed: whether a trusted key signed what carries the context. Where the proof does not bind it, a fresh
            context could have been written beside an old proof.
        allow_test_srs: accept set-up material whose maker can forge.
    """

    inputs: TensorSource | None = None
    outputs: TensorSource | None = None
    context: str | None = None
    context_signed: bool = False
    allow_test_srs: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError (``bad-context``): what no statement can carry says nothing about this one; nor does no text, which
        would be found in all evidence that was asked for by nobody."""
        if self.context == "":
            hint = "Give the nonce that you chose: a variable of the shell may be unset. To ask for none, leave the option out."
            raise UsageError("bad-context", "the context that is asked for is empty", where="--expect-context", hint=hint)
        if self.context is not None:
            check_sendable(self.context)


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle whose proof holds and matches what was asked; made only by :func:`verify_bundle`.

    Attributes:
        statement: decoded from the proof.
        findings: one per step, in order.
        opened: the proof by digest, with the openings of hidden commitments that it shows.
        fidelity, names: as the trusted lock has them.
        counting: what the proof counts, where its circuit counts right answers. By itself that is no evidence.
    """

    bundle_id: Sha256
    statement: Statement
    circuit: CircuitPredicate
    proof: ProofPredicate
    findings: tuple[Finding, ...]
    opened: OpenedBy
    fidelity: Fidelity
    names: PlaceNames
    counting: PinnedCount | None = None

    @property
    def values(self) -> tuple[ShownTensor, ...]:
        """What was proven, in values."""
        return shown_values(self.statement, self.names, self.fidelity)


def verify_bundle(
    path: Path,
    lock: CircuitLock,
    expect: Expectations | None = None,
    *,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> VerifiedBundle:
    """Verify the bundle at ``path``, a folder or a single file, against a trusted ``lock``.

    Raises:
        EvidenceRejected: something in the bundle is false.
        PolicyNotMet: ``srs-test-only`` and the like: genuine, but not good enough.
        Undecided: it could not be checked.
    """
    with open_bundle(path) as bundle:  # V1: steps R1–R9
        verified = verify_open(bundle, lock, expect or Expectations(), budget=budget or Budget(), progress=progress)
        origin = origin_findings(bundle, lock, verified.circuit)
    return replace(verified, findings=(*verified.findings, *origin))


def verify_open(
    bundle: OpenBundle, lock: CircuitLock, expect: Expectations, *, budget: Budget, progress: Progress
) -> VerifiedBundle:
    """The same for a bundle that is open already; steps V2–V9."""
    verified = verify_proof(bundle, lock, allow_test_srs=expect.allow_test_srs, budget=budget, progress=progress)
    require_answers(verified)
    statement, engine = verified.statement, engine_for(verified.circuit.engine)
    findings = [check_context(statement, expect.context)]
    for role, given in ((Role.INPUT, expect.inputs), (Role.OUTPUT, expect.outputs)):
        if given is not None:
            findings += check_tensors(engine, statement, role, given, lock.names)
    check_context_bound(statement, expect.context, signed=expect.context_signed)
    return replace(verified, findings=(*verified.findings, *findings))


def require_answers(verified: VerifiedBundle) -> None:
    """Refuse a proof that counts right answers by labels that nobody here can match. Raises PolicyNotMet (``count-only``)."""
    if verified.counting is not None:
        raise PolicyNotMet(
            "count-only",
            "the proof holds, and counts right answers by labels that are matched with no data set",
            where=LABELS,
            hint="Ask for the whole evaluation. Then run: `verifai verify EVALUATION --lock LOCK --data data.lock`",
        )


def verify_proof(
    bundle: OpenBundle, lock: CircuitLock, *, allow_test_srs: bool, budget: Budget, progress: Progress
) -> VerifiedBundle:
    """Steps V2–V6: that the proof holds, whatever was asked for. ``audit`` goes on from here."""
    circuit, proof = find_claims(bundle)
    findings = [holds("bundle-intact", f"{len(bundle.payload)} payload files and every attestation match the manifest", "V1")]
    findings.append(note_signatures(bundle))
    if circuit.engine not in lock.engines:  # the bundle names the engine, so this is no usage error
        message = f"the lock pins no circuit for engine {circuit.engine.value!r}"
        raise EvidenceRejected("circuit-not-pinned", message, where="engine", hint="Use the lock of that circuit.")
    engine = engine_for(circuit.engine)
    section = lock.section(circuit.engine)
    summary = engine.summarise(section)
    findings += check_against_lock(circuit, lock, summary)
    findings.append(check_model(bundle.manifest, circuit, lock))
    verified = engine.verify(
        VerifyRequest(
            files={name: path for name, path in bundle.payload.items() if name not in SIDE_FILES},
            section=section,
            model_sha256=lock.model_sha256,
            context=proof.statement.context,
            allow_test_material=allow_test_srs,
            budget=budget,
            progress=progress,
        )
    )
    findings += [at_step(finding, f"V5.{finding.step}" if finding.step else "V5") for finding in verified.findings]
    if circuit.weights is not verified.statement.weights:
        # Else a prover could keep a public model back, and with it all that an audit makes again from the model.
        message = f"weights: the evidence says {circuit.weights.value!r}, the lock {verified.statement.weights.value!r}"
        raise EvidenceRejected("circuit-not-pinned", message, where="weights")
    findings.append(check_attested(verified.statement, proof, summary))
    findings += check_generation(verified.statement, lock.names.tokens)
    findings += note_clamped(proof)
    findings += compare_documents(bundle, circuit, proof, lock)
    opened = OpenedBy(str(bundle.path), proof_digest(bundle.manifest, SIDE_FILES), verified.statement.openings)
    return VerifiedBundle(
        bundle.bundle_id,
        verified.statement,
        circuit,
        proof,
        tuple(findings),
        opened,
        summary.fidelity,
        lock.names,
        summary.counting,
    )


def origin_findings(bundle: OpenBundle, lock: CircuitLock, circuit: CircuitPredicate) -> tuple[Finding, ...]:
    """P1 to P3 without a trust file: attestations must not contradict the lock; no signature is judged.

    Of a model that the bundle shows, and whose lock names no release, nothing is said: whoever wants to can look at it.
    """
    if lock.provenance is None and circuit.weights is WeightVisibility.PUBLIC:
        return ()
    return check_origin(bundle, lock, circuit, None, datetime.now(UTC)).findings()


def find_claims(bundle: OpenBundle) -> tuple[CircuitPredicate, ProofPredicate]:
    """V2: exactly one proof attestation, and the circuit attestation that it names.

    Raises:
        PolicyNotMet: ``no-proof``; ``evaluation-not-asked`` for an evaluation, which is of many proofs.
        EvidenceRejected: ``ambiguous-proof``, ``broken-chain``, ``subject-mismatch``.
    """
    if bundle.of_type(EVALUATION_TYPE):
        raise PolicyNotMet(
            "evaluation-not-asked",
            "the bundle holds an evaluation, and whoever judges one says of which data set it must be",
            where=str(bundle.path),
            hint='Bring the data set\'s pin: --data data.lock; in a policy, data = "data.lock" below [model.evaluation].',
        )
    proofs = [one for one in bundle.attestations.values() if isinstance(one.predicate, ProofPredicate)]
    if not proofs:
        hint = "Ask for a bundle made by `verifai prove`."
        raise PolicyNotMet("no-proof", "the bundle holds no proof", where=str(bundle.bundle_id), hint=hint)
    if len(proofs) > 1:
        raise EvidenceRejected(
            "ambiguous-proof", f"the bundle holds {len(proofs)} proof attestations where exactly one is allowed"
        )
    claim = proofs[0]
    assert isinstance(claim.predicate, ProofPredicate)
    parent = bundle.attestations.get(claim.predicate.circuit)
    if parent is None or not isinstance(parent.predicate, CircuitPredicate):
        raise EvidenceRejected(
            "broken-chain",
            f"the proof names circuit {short(claim.predicate.circuit)}, which is not in the bundle",
            where=f"attestations/{claim.id}",
        )
    _check_subjects(claim, bundle.payload)
    if [(one.name, one.sha256) for one in parent.subjects] != [(MODEL_FILE, parent.predicate.model_sha256)]:
        where = f"attestations/{parent.id}"
        raise EvidenceRejected("subject-mismatch", "the circuit attestation is not about the model it names", where=where)
    return parent.predicate, claim.predicate


def _check_subjects(claim: Attestation, payload: Mapping[str, Path]) -> None:
    # R9 has compared the digests; here it must be about *all* of the engine's files.
    listed = {subject.name for subject in claim.subjects}
    actual = {f"payload/{name}" for name in payload if name not in SIDE_FILES}
    if listed != actual:
        odd = sorted(listed ^ actual)[0]
        raise EvidenceRejected("subject-mismatch", "the proof attestation is not about the files in the bundle", where=odd)


def note_signatures(bundle: OpenBundle) -> Finding:
    """Who signed is a question of trust; without a trust file it is not judged, and that is said."""
    count = len(bundle.envelope.signatures)
    if not count:
        message = "the bundle is unsigned: it proves its statement, but not who made it"
    else:
        message = f"the bundle carries {count} signature{'s' * (count > 1)}; `audit --trust` judges whose they are"
    return not_checked("signatures-not-judged", message, "V2")


def check_against_lock(circuit: CircuitPredicate, lock: CircuitLock, summary: SectionSummary) -> list[Finding]:
    """V3: the circuit attestation repeats what the lock pins; any difference is a rejection."""
    if circuit.model_sha256 != lock.model_sha256:
        raise EvidenceRejected(
            "model-not-pinned",
            f"the evidence is about model {short(circuit.model_sha256)}, the lock pins {short(lock.model_sha256)}",
            hint="Use the lock of the model that you expect, or reject the release.",
        )
    claimed: dict[str, str] = {
        "circuit_sha256": circuit.circuit_sha256,
        "engine_version": circuit.engine_version,
        **circuit.pins,
        "insecure": ",".join(circuit.insecure),
        "name": circuit.name,
    }
    pinned: dict[str, str] = {
        "circuit_sha256": summary.circuit_sha256,
        "engine_version": summary.engine_version,
        **summary.pins,
        "insecure": ",".join(summary.insecure),
        "name": lock.name,
    }
    for field in sorted(set(claimed) | set(pinned)):
        if claimed.get(field) != pinned.get(field):
            raise EvidenceRejected(
                "circuit-not-pinned",
                f"{field}: the evidence says {claimed.get(field, '')[:64]!r}, the lock pins {pinned.get(field, '')[:64]!r}",
                where=field,
                hint="The proof was made with another compilation of the circuit than the one you trust.",
            )
    if circuit.fidelity != fidelity_figures(summary.fidelity):
        raise EvidenceRejected("circuit-not-pinned", "the fidelity figures are not those that the lock pins", where="fidelity")
    if circuit.section_sha256 != section_digest(lock.section(circuit.engine)):
        raise EvidenceRejected(
            "circuit-not-pinned",
            "the evidence names another lock section than the trusted one",
            where="section_sha256",
            hint="The circuit was compiled again since: use the lock of that release, or ask for new evidence.",
        )
    return [
        holds(
            "circuit-pinned",
            f"circuit {lock.name!r}, model {short(lock.model_sha256)}: as the lock pins them",
            "V3",
            evidence=lock.model_sha256,
        )
    ]


def check_model(manifest: Manifest, circuit: CircuitPredicate, lock: CircuitLock) -> Finding:
    """V4: the model in the bundle is the pinned one; it must be there when the weights are public."""
    digests = {entry.path: entry.sha256 for entry in manifest.files}
    digest = digests.get(f"payload/{MODEL_FILE}")
    if digest is None:
        if circuit.weights is WeightVisibility.PUBLIC:
            message = "the weights are said to be public, but the model is not in the bundle"
            raise EvidenceRejected("model-missing", message, where=MODEL_FILE)
        return not_checked("model-withheld", "the model is not in the bundle; its owner keeps it", "V4")
    if circuit.weights is not WeightVisibility.PUBLIC:
        message = f"the weights are said to be {circuit.weights.value}, but a model is in the bundle"
        raise EvidenceRejected("model-mismatch", message, where=MODEL_FILE)
    if digest != lock.model_sha256:
        raise EvidenceRejected("model-mismatch", "the model in the bundle is not the pinned one", where=MODEL_FILE)
    return holds("model-matches", "the model in the bundle is the pinned one", "V4", evidence=lock.model_sha256)


def check_attested(statement: Statement, proof: ProofPredicate, summary: SectionSummary) -> Finding:
    """V6: what the attestation says in plain text is what the proof says."""
    if statement.attested() != proof.statement:
        raise EvidenceRejected(
            "statement-mismatch",
            f"the attested statement differs from the proven one in {_first_difference(statement, proof.statement)}",
            where="attestation of the proof",
        )
    if proof.engine_version != summary.engine_version or proof.insecure != summary.insecure:
        raise EvidenceRejected("statement-mismatch", "the attested engine version or insecure modes are not those of the lock")
    return holds("statement-matches", "the attested statement is exactly what the proof says", "V6")


def compare_documents(bundle: OpenBundle, circuit: CircuitPredicate, proof: ProofPredicate, lock: CircuitLock) -> list[Finding]:
    """V6: documents for other tools are composed again. Raises EvidenceRejected (``document-mismatch``)."""
    given = {name: bundle.payload[name] for name in sorted(DOCUMENT_FILES & set(bundle.payload))}
    if not given:
        return []
    files = {name: read_limited(path, limit=MAX_DOCUMENT_BYTES) for name, path in given.items()}
    (claim,) = bundle.of_type(ProofPredicate.TYPE)
    names = check_documents(files, circuit, proof, claim.id, lock.provenance)
    return [holds("documents-match", f"composed again and equal: {', '.join(names)}", "V6")]


SATURATED = "inner-saturated"


def note_clamped(proof: ProofPredicate) -> list[Finding]:
    """V6: inner values that the circuit cut off. Only the prover sees them, so this is its word."""
    if not proof.clamped_cells:
        return []
    message = (
        f"the prover says that up to {proof.clamped_cells:,} inner cells lay beyond their range and were cut off: the output "
        "may be farther from the float model's than the lock says"
    )
    remedy = "Do not take the output for the model's: ask for a circuit that is calibrated with data like this input."
    return [not_checked(SATURATED, message, "V6", remedy=remedy)]


def _first_difference(left: Statement, right: Statement) -> str:
    ours, theirs = left.to_json(), right.to_json()
    for field in {**ours, **theirs}:
        if ours.get(field) != theirs.get(field):
            if field != "tensors":
                return field
            for one, other in zip(left.tensors, right.tensors, strict=False):
                if one.attested() != other:
                    return f"tensor {one.name!r}"
            return "the number of tensors"
    return "nothing"


def describe(statement: Statement) -> Sequence[str]:
    """The statement in plain words, including what it does not say."""
    lines = [
        f"Model {short(statement.model_sha256)}… (SHA-256 of the canonical ONNX) was evaluated by circuit "
        f"{short(statement.circuit_sha256)}… of the {statement.engine.value} engine."
    ]
    if statement.batch:
        filler = statement.batch - statement.inferences
        rest = f"; the other {filler:,} places repeat the last one and claim nothing" if filler else ""
        lines.append(
            f"One proof of {statement.inferences:,} inferences, each by itself; its circuit takes {statement.batch:,}{rest}."
        )
    for tensor in statement.tensors:
        shape = "×".join(str(size) for size in tensor.shape)
        what = f"{tensor.role.value.capitalize()} {tensor.name!r} ({shape}) is {tensor.visibility.value}"
        lines.append(f"{what}: {hides(statement.engine, statement.privacy, tensor.visibility)}")
    if statement.generation is not None:
        lines.append(statement.generation.words())
    lines += [weights_words(statement), *privacy_words(statement), *opening_words(statement)]
    if statement.context:
        bound = "bound by the proof" if statement.context_bound else "not bound by the proof: only a signature could bind it"
        lines.append(f"Context: {statement.context!r} ({bound}).")
    lines.append(
        "Not claimed: that the model is good or was trained as said, that the input is authentic, when the proof was made, "
        "or that the float model gives exactly these numbers (the circuit's fidelity is pinned in the lock)."
    )
    return lines
