"""The page of a round, for `consensus` and for rounds in a shared folder."""

from __future__ import annotations

from collections.abc import Mapping

from verifai.domain.consensus.calibration import Calibration
from verifai.domain.consensus.round import RoundTerms
from verifai.reports.html_consensus import Band, ConsensusPage, NodeRow, render_consensus, voter_names
from verifai.stages.consensus.decide import ConsensusResult


def votes_page(
    terms: RoundTerms, terms_id: str, calibration: Calibration | None, result: ConsensusResult, called: Mapping[str, str]
) -> bytes:
    """The page of a round: who agrees, how far off the others are, whose answer did not count.

    Args:
        called: what the owners of keys are called, by key identifier.
    """
    tau = result.tau
    names = voter_names([*terms.voters, *(one.voter for one in result.decision.faults)], called)
    honest: tuple[Band, ...] = ()
    attacks: tuple[Band, ...] = ()
    if calibration is not None and tau:
        honest = tuple(Band(one.environment, 0.0, one.largest / tau) for one in calibration.honest)
        attacks = tuple(Band(one.name, one.low / tau, one.high / tau) for one in calibration.attacks)
    nodes = tuple(
        NodeRow(
            names[one.voter],
            one.relation.value,
            one.ratio,
            one.voter == result.tally.centre,
            f"looks like {one.looks_like}" if one.looks_like else "",
        )
        for one in result.nodes
    )
    faults = tuple((names[one.voter], f"{one.fault.value}: {one.detail}") for one in result.decision.faults)
    facts = [
        ("model", terms.job.subject.model_sha256),
        ("output", f"{terms.job.subject.kind.value}, {terms.job.subject.precision.value}"),
        ("round", terms_id),
        ("seed", result.decision.seed),
        ("samples", str(terms.job.samples)),
    ]
    if tau:
        facts.append(("limit τ", f"{tau:.3g}"))
    if calibration is not None:
        facts.append(("honest inputs rejected at most (95 %)", f"{calibration.false_reject_high:.2g}"))
    if result.decision.claim_relation:
        facts.append(("claimed output", result.decision.claim_relation))
    return render_consensus(
        ConsensusPage(result.tally.outcome.value, result.tally.reason, nodes, honest, attacks, faults, tuple(facts))
    )
