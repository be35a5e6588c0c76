"""Hardware attestations in a bundle, checked against a trust file: genuine, bound to what they are about, and of trusted code.

``audit``, ``gate`` and the tally of a round all ask here, so that one rule decides everywhere (steps H1 to H3 of
``docs/hardware.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from verifai.domain.attestation.predicate_types import TEE_TYPE
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.attestation.tee import (
    About,
    AboutProof,
    AboutReceipt,
    HardwarePredicate,
    report_data,
    subject_of,
)
from verifai.domain.consensus.job import canonical
from verifai.domain.digest import Sha256, sha256, short
from verifai.domain.findings import Finding, Outcome, at_step, holds
from verifai.domain.hardware import NO_PROOF, HardwareFacts, TrustedHardware, judge_hardware
from verifai.domain.statement import Statement
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected, VerifaiError
from verifai.hardware.evidence import Collateral, HardwareEvidence
from verifai.hardware.verify import verify_hardware

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle
    from verifai.domain.attestation.envelope import Attestation

OUTPUTS_FILE, INPUTS_FILE = "receipt-outputs.bin", "receipt-inputs.bin"
"""Payload files of a receipt: the encoded tensors; the inputs may be left out."""
MAX_ATTESTATIONS = 64
"""In one bundle."""
DATE_NOT_SIGNED = "tee-date-not-signed"


@dataclass(frozen=True)
class CheckedHardware:
    """One hardware attestation, checked.

    Attributes:
        attestation: its identifier.
        facts: what it establishes; ``None`` when it is not genuine.
        findings: none of them worse than *not checked* when it counts.
    """

    attestation: Sha256
    about: About
    created: str
    facts: HardwareFacts | None
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> bool:
        """Whether it is genuine, bound, and of hardware and code that the trust file names."""
        return self.facts is not None and all(one.outcome in (Outcome.HOLDS, Outcome.NOT_CHECKED) for one in self.findings)


def statement_sha256(statement: Statement) -> Sha256:
    """SHA-256 of a whole statement, context and openings included, in canonical JSON."""
    return sha256(canonical(statement.to_json()))


def about_proof(bundle: OpenBundle) -> AboutProof:
    """The proof of a bundle, as something that hardware can attest to. Whether the proof holds is not asked here.

    Raises:
        EvidenceRejected: ``ambiguous-proof``, for no proof or more than one.
    """
    proofs = [one for one in bundle.attestations.values() if isinstance(one.predicate, ProofPredicate)]
    if len(proofs) != 1:
        raise EvidenceRejected("ambiguous-proof", f"the bundle holds {len(proofs)} proof attestations where one is needed")
    (proof,) = proofs
    assert isinstance(proof.predicate, ProofPredicate)
    return AboutProof(proof.id, statement_sha256(proof.predicate.statement))


def receipt_digest(receipt: AboutReceipt) -> Sha256:
    """The identity of one attested inference: under another context it is the same one."""
    return sha256(canonical({name: text for name, text in receipt.to_json().items() if name != "context"}))


def receipts_of(bundle: OpenBundle) -> tuple[AboutReceipt, ...]:
    """The receipts in a bundle, each once; unverified."""
    found = [one.predicate for one in bundle.of_type(TEE_TYPE)]
    abouts = (one.about for one in found if isinstance(one, HardwarePredicate))
    return tuple(dict.fromkeys(one for one in abouts if isinstance(one, AboutReceipt)))


def receipt_words(receipt: AboutReceipt) -> tuple[str, ...]:
    """What a receipt says, and what it does not."""
    lines = [
        f"A machine says that model {short(receipt.model_sha256)}… (SHA-256 of the canonical ONNX) gave outputs "
        f"{short(receipt.outputs_sha256)}… on inputs {short(receipt.inputs_sha256)}….",
    ]
    if receipt.context:
        lines.append(f"Context: {receipt.context!r} (bound by the machine's signature).")
    lines.append(f"Not claimed: a proof. Nothing but the measured code vouches for the computation; {NO_PROOF}.")
    return tuple(lines)


def raw_evidence(predicate: HardwarePredicate) -> HardwareEvidence:
    """The machine's evidence, out of its attestation. Raises EvidenceRejected (``tee-malformed``) for sizes."""
    collateral = Collateral(**predicate.collateral) if predicate.collateral else None
    return HardwareEvidence(predicate.kind, predicate.report, predicate.certificate, predicate.crl, collateral)


def check_hardware(
    bundle: OpenBundle, entries: Sequence[TrustedHardware], now: datetime, *, date_signed: bool
) -> tuple[CheckedHardware, ...]:
    """All hardware attestations of a bundle, in ascending order of identifier.

    Args:
        entries: from the trust file; without any, nothing counts.
        date_signed: whether a trusted key signed what holds the attestations' dates.

    Raises:
        EvidenceRejected: ``tee-malformed``, for more than :data:`MAX_ATTESTATIONS`: each costs a process.
    """
    found = sorted(bundle.of_type(TEE_TYPE), key=lambda one: one.id)
    if len(found) > MAX_ATTESTATIONS:
        message = f"{len(found)} hardware attestations in one bundle, more than the limit of {MAX_ATTESTATIONS}"
        raise EvidenceRejected("tee-malformed", message, where="attestations", hint="Split them over several bundles.")
    return tuple(_check(bundle, one, entries, now, date_signed=date_signed) for one in found)


def _check(
    bundle: OpenBundle, attestation: Attestation, entries: Sequence[TrustedHardware], now: datetime, *, date_signed: bool
) -> CheckedHardware:
    """By the entries of its kind; those that judge for now and those that judge for its date are asked apart."""
    predicate = attestation.predicate
    assert isinstance(predicate, HardwarePredicate)
    same = [one for one in entries if one.kind is predicate.kind]
    groups = [group for made in (False, True) if (group := [one for one in same if one.judged_when_made is made])]
    answers = []
    for group in groups or [list(entries)]:
        answers.append(_check_group(bundle, attestation, group, now, date_signed=date_signed))
        if answers[-1].counts:
            return answers[-1]
    return min(answers, key=lambda one: sum(finding.outcome is not Outcome.HOLDS for finding in one.findings))


def _check_group(
    bundle: OpenBundle, attestation: Attestation, entries: Sequence[TrustedHardware], now: datetime, *, date_signed: bool
) -> CheckedHardware:
    """By entries that all judge for the same date."""
    predicate = attestation.predicate
    assert isinstance(predicate, HardwarePredicate)
    where = f"attestations/{attestation.id}.dsse.json"
    facts: HardwareFacts | None = None
    findings: list[Finding] = []
    try:
        _check_chain(bundle, attestation, where)
        same = [one for one in entries if one.kind is predicate.kind]
        made = any(one.judged_when_made for one in same)
        at = parse_utc(predicate.created) if made else now
        if made and not date_signed:
            findings.append(_date_not_signed(where))
        facts = verify_hardware(raw_evidence(predicate), at, "".join(dict.fromkeys(one.test_roots for one in same)).encode())
        words = f"{facts.kind.value} ({facts.product}): its signatures lead to root {short(facts.root_sha256)}"
        findings.append(holds("tee-genuine", words, "H1", where=where, evidence=facts.root_sha256))
        findings.append(_check_bound(predicate.about, facts, where))
        findings += [at_step(one, "H3") for one in judge_hardware(facts, entries, at=at)]
    except VerifaiError as problem:
        if problem.status in (2, 70, 130):
            raise
        findings.append(Finding.from_error(problem, step="H1"))
        facts = None
    return CheckedHardware(attestation.id, predicate.about, predicate.created, facts, tuple(findings))


def _check_chain(bundle: OpenBundle, attestation: Attestation, where: str) -> None:
    """The subject, and for a proof its own attestation and statement, are those that the evidence is about."""
    predicate = attestation.predicate
    assert isinstance(predicate, HardwarePredicate)
    name, digest = subject_of(predicate.about)
    if [(one.name, one.sha256) for one in attestation.subjects] != [(name, digest)]:
        raise EvidenceRejected("subject-mismatch", "the attestation is not about what its evidence is about", where=where)
    if isinstance(predicate.about, AboutProof) and predicate.about != about_proof(bundle):
        raise EvidenceRejected("tee-not-bound", "it is about another proof or statement than the bundle's", where=where)
    if isinstance(predicate.about, AboutReceipt):
        if bundle.of_type(ProofPredicate.TYPE):  # else a report about one inference would count for another
            message = "the bundle holds a proof and a receipt, so it does not say which inference the machine attests to"
            raise EvidenceRejected("ambiguous-proof", message, where=where, hint="Give each in a bundle of its own.")
        listed = {entry.path: entry.sha256 for entry in bundle.manifest.files}
        for name, wanted in ((OUTPUTS_FILE, predicate.about.outputs_sha256), (INPUTS_FILE, predicate.about.inputs_sha256)):
            if listed.get(f"payload/{name}", wanted if name == INPUTS_FILE else None) != wanted:
                raise EvidenceRejected("tee-not-bound", f"payload/{name} is not what the receipt names", where=where)


def _check_bound(about: About, facts: HardwareFacts, where: str) -> Finding:
    wanted = report_data(about)
    if facts.report_data != wanted:
        message = f"the machine signed {facts.report_data.hex()[:24]}…, this {about.WORD} has {wanted.hex()[:24]}…"
        raise EvidenceRejected("tee-not-bound", message, where=where, hint="It was made for something else: do not accept it.")
    return holds("tee-bound", f"the machine signed the digest of this {about.WORD}", "H2", where=where, evidence=wanted.hex())


def _date_not_signed(where: str) -> Finding:
    return Finding(
        DATE_NOT_SIGNED,
        Outcome.POLICY_NOT_MET,
        "it is judged for the date that it was made, and no trusted key signed that date: it could have been written anew",
        where=where,
        remedy="Ask for a signature on the bundle by a key of [roles.release].",
        step="H3",
    )
