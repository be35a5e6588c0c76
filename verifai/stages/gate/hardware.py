"""What a machine attests to, against a policy."""

from __future__ import annotations

from verifai.domain.attestation.predicate_types import (
    PROOF_TYPE,
)
from verifai.domain.attestation.tee import AboutReceipt, AboutVoter
from verifai.domain.policy.demands import EvidenceKind, ModelDemand
from verifai.domain.policy.judge import (
    judge_key,
    judge_tee,
)
from verifai.domain.progress import SILENT
from verifai.domain.trust import TrustRole
from verifai.errors import EvidenceRejected
from verifai.stages.attested import check_hardware, receipt_digest
from verifai.stages.evidence import statement_digest
from verifai.stages.gate.case import GateCase
from verifai.stages.verify import Expectations, find_claims, verify_open


def judge_attested(case: GateCase, demand: ModelDemand) -> None:
    """Hold hardware attestations against the policy; the proof or receipt that they are about has to be true first.

    Raises:
        VerifaiError: the evidence that is attested to is refused, or could not be checked.
    """
    assert demand.tee is not None
    assert case.trust is not None
    trust = case.trust
    signers = case.signers(TrustRole.RELEASE)
    found = check_hardware(case.bundle, trust.hardware, case.now, date_signed=bool(signers))
    checked = [one for one in found if not isinstance(one.about, AboutVoter)]
    for one in checked:
        case.findings += one.findings
    receipts = {one.about for one in checked if isinstance(one.about, AboutReceipt)}
    if case.bundle.of_type(PROOF_TYPE):
        # The machine signed what the proof states: what it states has to be true of the pinned model first.
        if EvidenceKind.PROOF not in demand.evidence:
            lock = case.loaded.locks[demand.name]
            verified = verify_open(
                case.bundle, lock, Expectations(allow_test_srs=trust.allow_test_srs), budget=case.budget, progress=SILENT
            )
            case.findings += verified.findings
            summary = case.loaded.summaries[demand.name][verified.statement.engine]
            key = judge_key(trust.circuits.get(verified.circuit.name), summary.circuit_sha256)
            case.findings += [key] if key is not None else []
        statement = find_claims(case.bundle)[1].statement
        context, identity = statement.context, statement_digest(statement)
    elif len(receipts) == 1:
        (receipt,) = receipts
        context, identity = receipt.context, receipt_digest(receipt)
    else:
        raise EvidenceRejected("ambiguous-proof", f"{len(receipts)} receipts in one bundle", where=case.path)
    case.findings += judge_tee(demand.tee, context, sum(one.counts for one in checked))
    case.judge_age(demand, (*(one.created for one in checked), case.bundle.manifest.created), signers)
    case.facts |= {"hardware": ", ".join(sorted({one.facts.kind.value for one in checked if one.facts is not None}))}
    case.shows[EvidenceKind.TEE] = (identity,)
