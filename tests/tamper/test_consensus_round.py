"""Attacks on a round of voting: each is refused, and the verifier that did it is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.support.consensus_rounds import ABOUT, BEACON, NOW, SAMPLES, Simulation, claim, environment, faults_of, keys, outputs
from verifai.bundle.dsse import attest
from verifai.domain.attestation.envelope import parse_envelope
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.consensus.round import Beacon, Fault, RoundTerms
from verifai.domain.consensus.tally import TallyOutcome
from verifai.domain.digest import sha256
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.fingerprints.output import encode_output
from verifai.stages.consensus.vote import reveal_vote

HONEST = outputs()
NEAR = outputs(1e-7)
WRONG = outputs(1e-2, seed=5)


def test_a_wrong_answer_dissents_and_is_explained() -> None:
    round_ = Simulation()
    first, second, third = round_.keys
    round_.commit(first, HONEST)
    round_.commit(second, NEAR)
    round_.commit(third, outputs(0.05, seed=5), environment("neon"))
    for key in round_.keys:
        round_.reveal(key)
    result = round_.decide()
    assert result.tally.outcome is TallyOutcome.ACCEPT
    assert result.tally.dissenting == (third.keyid,)
    report = next(node for node in result.nodes if node.voter == third.keyid)
    assert report.looks_like == "int8-weights"
    assert report.ratio > 100
    assert report.beyond == tuple(range(SAMPLES))
    assert report.differences == ("instruction_set: neon / avx2",)


def test_two_wrong_answers_of_three_leave_no_consensus() -> None:
    result = Simulation().play([HONEST, WRONG, outputs(1e-2, seed=6)]).decide()
    assert result.tally.outcome is TallyOutcome.REJECT
    assert result.findings[0].code == "consensus-dissent"


def test_collusion_above_f_wins_and_is_out_of_scope() -> None:
    """Said openly: two colluders of three decide. More verifiers and a larger f are the remedy."""
    result = Simulation().play([HONEST, WRONG, WRONG]).decide()
    assert result.tally.outcome is TallyOutcome.ACCEPT
    assert len(result.tally.dissenting) == 1


def test_honest_verifiers_agree() -> None:
    result = Simulation().play([HONEST, NEAR, outputs(1e-7, seed=2)]).decide()
    assert result.tally.outcome is TallyOutcome.ACCEPT
    assert len(result.tally.agreeing) == 3
    assert not result.decision.faults


def test_a_copied_commitment_cannot_be_opened() -> None:
    round_ = Simulation()
    first, second, thief = round_.keys
    round_.commit(first, HONEST)
    round_.commit(second, NEAR)
    stolen = dataclasses.replace(round_.commitments[first.keyid].predicate, voter=thief.keyid)
    round_.commitments[thief.keyid] = attest(stolen, ABOUT, [thief])
    round_.secrets[thief.keyid] = dataclasses.replace(round_.secrets[first.keyid], voter=thief.keyid)
    round_.reveal(first)
    round_.reveal(second)
    copied = dataclasses.replace(
        round_.votes[first.keyid].predicate, voter=thief.keyid, commitment=round_.commitments[thief.keyid].id
    )
    round_.votes[thief.keyid] = attest(copied, ABOUT, [thief])
    result = round_.decide()
    assert {"copied-commitment", "false-opening"} <= faults_of(result, thief)
    assert thief.keyid not in {node.voter for node in result.nodes}


def test_copying_a_neighbours_fingerprint_after_its_reveal_fails_on_the_opening() -> None:
    """The free rider commits to rubbish, waits for a neighbour to reveal, and shows the neighbour's fingerprints as its own."""
    round_ = Simulation()
    first, second, rider = round_.keys
    round_.commit(first, HONEST)
    round_.commit(second, NEAR)
    round_.commit(rider, WRONG)
    neighbour = round_.reveal(first).predicate
    round_.reveal(second)
    round_.reveal(rider, lambda vote: dataclasses.replace(vote, fingerprints=neighbour.fingerprints))
    assert faults_of(round_.decide(), rider) == {"false-fingerprint"}
    round_.reveal(
        rider, lambda vote: dataclasses.replace(vote, fingerprints=neighbour.fingerprints, openings=neighbour.openings)
    )
    assert faults_of(round_.decide(), rider) == {"false-opening"}


def test_another_answer_than_the_committed_one_is_a_false_opening() -> None:
    round_ = Simulation().play([HONEST, NEAR, WRONG])
    liar = round_.keys[2]
    round_.secrets[liar.keyid] = dataclasses.replace(
        round_.secrets[liar.keyid], outputs=tuple(encode_output(one) for one in HONEST)
    )
    table = {one.id: one.predicate for one in round_.commitments.values()}
    with pytest.raises(EvidenceRejected, match="own commitment"):
        reveal_vote(round_.terms, round_.secrets[liar.keyid], table, BEACON)
    honest_looking = dataclasses.replace(
        round_.votes[round_.keys[0].keyid].predicate, voter=liar.keyid, commitment=round_.commitments[liar.keyid].id
    )
    round_.votes[liar.keyid] = attest(honest_looking, ABOUT, [liar])
    assert faults_of(round_.decide(), liar) == {"false-opening"}


def test_a_replayed_vote_of_another_round_does_not_count_nor_harm_its_maker() -> None:
    old = Simulation(nonce="round 0").play([HONEST, NEAR, NEAR])
    new = Simulation(nonce="round 1").play([HONEST, NEAR, NEAR])
    victim = new.keys[1]
    result = new.decide(
        commitments=[*new.commitments.values(), *old.commitments.values()],
        votes=[*new.votes.values(), old.votes[victim.keyid]],
    )
    assert "wrong-round" in faults_of(result, victim)
    assert len(result.tally.agreeing) == 3


def test_a_replay_in_place_of_a_vote_leaves_the_verifier_without_one() -> None:
    old = Simulation(nonce="round 0").play([HONEST, NEAR, NEAR])
    new = Simulation(nonce="round 1").play([HONEST, NEAR, NEAR])
    lazy = new.keys[0]
    new.votes[lazy.keyid] = old.votes[lazy.keyid]
    result = new.decide()
    assert faults_of(result, lazy) == {"wrong-round", "no-reveal"}
    assert result.tally.outcome is TallyOutcome.NO_QUORUM


def test_a_double_vote_discards_both() -> None:
    round_ = Simulation(count=5, faults=2).play([HONEST, NEAR, NEAR, NEAR, NEAR])
    cheat = round_.keys[4]
    second = attest(
        dataclasses.replace(round_.votes[cheat.keyid].predicate, fingerprints=(b"\x00" * 32,) * SAMPLES), ABOUT, [cheat]
    )
    for order in ([*round_.votes.values(), second], [second, *round_.votes.values()]):
        result = round_.decide(votes=order)
        assert "double-vote" in faults_of(result, cheat)
        assert cheat.keyid not in {node.voter for node in result.nodes}
        assert result.tally.outcome is TallyOutcome.ACCEPT


def test_a_double_commitment_is_named_and_does_not_move_the_seed_by_order() -> None:
    round_ = Simulation(count=5, faults=2)
    for key in round_.keys:
        round_.commit(key, HONEST)
    cheat = round_.keys[0]
    first = round_.commitments[cheat.keyid]
    second = round_.commit(cheat, HONEST)
    both = {**{one.id: one.predicate for one in round_.commitments.values()}, first.id: first.predicate}
    for key in round_.keys[1:]:
        vote = reveal_vote(round_.terms, round_.secrets[key.keyid], both, BEACON)
        round_.votes[key.keyid] = attest(vote, ABOUT, [key])
    everything = [*round_.commitments.values(), first]
    results = [round_.decide(commitments=order) for order in (everything, everything[::-1])]
    for result in results:
        assert "double-commitment" in faults_of(result, cheat)
        assert result.tally.outcome is TallyOutcome.ACCEPT
        assert len(result.tally.agreeing) == 4
    assert results[0].decision == results[1].decision
    assert second.id != first.id


def test_sending_the_same_vote_twice_is_no_fault() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    result = round_.decide(votes=[*round_.votes.values(), *round_.votes.values()])
    assert not result.decision.faults
    assert len(result.tally.agreeing) == 3


def test_a_late_reveal_does_not_count() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    late = round_.keys[1]
    result = round_.decide(late=frozenset({round_.votes[late.keyid].id}))
    assert faults_of(result, late) == {"late-reveal"}
    assert result.tally.outcome is TallyOutcome.NO_QUORUM


def test_a_late_commitment_does_not_count() -> None:
    round_ = Simulation(count=4, faults=1).play([HONEST, NEAR, NEAR, NEAR])
    late = round_.keys[1]
    result = round_.decide(late=frozenset({round_.commitments[late.keyid].id}))
    assert faults_of(result, late) == {"late-commitment"}
    # The others' seed was drawn with the late commitment in it, so their reveals do not fit: deadlines must be agreed on.
    assert result.tally.outcome is TallyOutcome.NO_QUORUM


def test_selective_reveal_is_named() -> None:
    round_ = Simulation(count=4, faults=1).play([HONEST, NEAR, NEAR, NEAR])
    silent = round_.keys[3]
    del round_.votes[silent.keyid]
    result = round_.decide(failures={silent.keyid: "the process hung and was stopped after 5 s"})
    assert faults_of(result, silent) == {"no-reveal"}
    assert any("hung" in finding.message for finding in result.findings)
    assert result.tally.outcome is TallyOutcome.ACCEPT


def test_an_absent_verifier_is_named() -> None:
    round_ = Simulation()
    for key in round_.keys[:2]:
        round_.commit(key, HONEST)
    for key in round_.keys[:2]:
        round_.reveal(key)
    result = round_.decide()
    assert faults_of(result, round_.keys[2]) == {"no-commitment"}
    assert result.tally.outcome is TallyOutcome.NO_QUORUM
    assert result.findings[0].code == "no-quorum"


def test_a_sybil_that_was_not_asked_does_not_count() -> None:
    round_ = Simulation().play([HONEST, NEAR, WRONG])
    sybil = keys(1, offset=50)[0]
    vote = dataclasses.replace(round_.votes[round_.keys[2].keyid].predicate, voter=sybil.keyid)
    commitment = dataclasses.replace(round_.commitments[round_.keys[2].keyid].predicate, voter=sybil.keyid)
    known = {key.keyid: key.public_key for key in [*round_.keys, sybil]}
    result = round_.decide(
        commitments=[*round_.commitments.values(), attest(commitment, ABOUT, [sybil])],
        votes=[*round_.votes.values(), attest(vote, ABOUT, [sybil])],
        keys=known,
    )
    assert faults_of(result, sybil) == {"unknown-voter"}
    assert len(result.nodes) == 3


def test_a_vote_signed_by_another_verifier_does_not_count() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    victim, forger = round_.keys[0], round_.keys[1]
    forged = attest(round_.votes[victim.keyid].predicate, ABOUT, [forger])
    result = round_.decide(votes=[forged, *list(round_.votes.values())[1:]])
    assert "bad-signature" in faults_of(result, victim)
    assert result.tally.outcome is TallyOutcome.NO_QUORUM


def test_a_forged_message_in_a_verifiers_name_does_not_harm_it() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    victim, forger = round_.keys[0], round_.keys[1]
    forged = attest(dataclasses.replace(round_.votes[victim.keyid].predicate, salt="0" * 64), ABOUT, [forger])
    result = round_.decide(votes=[forged, *round_.votes.values()])
    assert len(result.tally.agreeing) == 3


def test_a_changed_byte_in_an_envelope_is_a_bad_signature() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    victim = round_.keys[0]
    envelope = round_.votes[victim.keyid].envelope
    changed = envelope.payload.replace(b'"voter"', b'"voter"', 1).replace(b'"salt":"', b'"salt":"', 1)
    position = changed.index(b'"salt":"') + 8
    flipped = changed[:position] + (b"0" if changed[position : position + 1] != b"0" else b"1") + changed[position + 1 :]
    forged = parse_attestation(dataclasses.replace(envelope, payload=flipped), "forged")
    result = round_.decide(votes=[forged, *list(round_.votes.values())[1:]])
    assert "bad-signature" in faults_of(result, victim)


def test_the_beacon_must_be_the_one_the_terms_name() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    with pytest.raises(EvidenceRejected) as caught:
        round_.decide(beacon=Beacon(BEACON.source, BEACON.number + 1, BEACON.value))
    assert caught.value.code == "beacon-mismatch"


def test_votes_under_a_grinded_seed_do_not_count() -> None:
    """A verifier that would like another seed can only claim it; everybody computes the real one."""
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    grinder = round_.keys[2]
    round_.reveal(grinder, lambda vote: dataclasses.replace(vote, seed=sha256(b"a nicer one")))
    assert faults_of(round_.decide(), grinder) == {"wrong-seed"}


def test_another_beacon_value_voids_votes_made_for_the_old_one() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    result = round_.decide(beacon=dataclasses.replace(BEACON, value=sha256(b"another")))
    assert result.tally.outcome is TallyOutcome.NO_QUORUM
    assert all("wrong-seed" in faults_of(result, key) for key in round_.keys)


def test_lying_about_unopened_samples_is_dissent() -> None:
    """Openings catch a lie about opened samples; about the others a lie is just a wrong answer."""
    round_ = Simulation(openings=1).play([HONEST, NEAR, NEAR])
    liar = round_.keys[0]

    def spoil(vote):  # type: ignore[no-untyped-def]
        hidden = next(i for i in range(SAMPLES) if i != vote.openings[0].index)
        codes = list(vote.fingerprints)
        codes[hidden] = b"\x00\x00\x80\x3f" * 8
        return dataclasses.replace(vote, fingerprints=tuple(codes))

    round_.reveal(liar, spoil)
    result = round_.decide()
    assert result.tally.dissenting == (liar.keyid,)
    assert not result.decision.faults


def test_a_fingerprint_that_is_rubbish_dissents_and_does_not_stop_the_round() -> None:
    round_ = Simulation(openings=1).play([HONEST, NEAR, NEAR])
    liar = round_.keys[0]

    def spoil(vote):  # type: ignore[no-untyped-def]
        opened = vote.openings[0].index
        codes = [code if i == opened else b"\xff" * 5 for i, code in enumerate(vote.fingerprints)]
        return dataclasses.replace(vote, fingerprints=tuple(codes))

    round_.reveal(liar, spoil)
    result = round_.decide()
    assert result.tally.outcome is TallyOutcome.ACCEPT
    assert result.tally.dissenting == (liar.keyid,)


@pytest.mark.parametrize("missing", range(2))
def test_fewer_openings_than_asked_are_a_false_opening(missing: int) -> None:
    round_ = Simulation(openings=2).play([HONEST, NEAR, NEAR])
    liar = round_.keys[1]
    round_.reveal(liar, lambda vote: dataclasses.replace(vote, openings=vote.openings[:missing]))
    assert faults_of(round_.decide(), liar) == {"false-opening"}


def test_too_few_fingerprints_are_malformed() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    liar = round_.keys[1]
    round_.reveal(liar, lambda vote: dataclasses.replace(vote, fingerprints=vote.fingerprints[:-1]))
    assert faults_of(round_.decide(), liar) == {"malformed-vote"}


def test_one_bad_sample_beyond_the_allowance_is_named() -> None:
    spoilt = list(outputs())
    spoilt[2] = WRONG[2]
    strict = Simulation().play([HONEST, NEAR, spoilt]).decide()
    assert [node.beyond for node in strict.nodes if node.beyond] == [(2,)]
    assert len(strict.tally.dissenting) == 1
    lenient = Simulation(samples_beyond=1).play([HONEST, NEAR, spoilt]).decide()
    assert not lenient.tally.dissenting


def test_a_claim_outside_the_ball_is_rejected_and_inside_holds() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    codes = {}
    for name, given in (("wrong", WRONG), ("right", NEAR)):
        result = round_.decide(claim=claim(given))
        codes[name] = result.findings[-1].code
    assert codes == {"wrong": "claim-outside-ball", "right": "claim-inside-ball"}


def test_one_wrong_sample_of_a_claim_is_enough_even_where_verifiers_have_an_allowance() -> None:
    spoilt = list(outputs())
    spoilt[1] = WRONG[1]
    result = Simulation(samples_beyond=2).play([HONEST, NEAR, NEAR]).decide(claim=claim(spoilt))
    assert result.findings[-1].code == "claim-outside-ball"


def test_a_verifier_with_another_runtime_does_not_count() -> None:
    round_ = Simulation(count=4, faults=1)
    for key in round_.keys[:3]:
        round_.commit(key, HONEST)
    odd = round_.keys[3]
    committed = dict(round_.commitments)
    round_.commit(odd, HONEST, environment(runtime="onnxruntime 1.20.0"))
    strange = round_.commitments.pop(odd.keyid)
    assert set(committed) == set(round_.commitments)
    for key in round_.keys[:3]:
        round_.reveal(key)
    result = round_.decide(commitments=[*round_.commitments.values(), strange])
    assert faults_of(result, odd) == {"wrong-runtime"}
    assert result.tally.outcome is TallyOutcome.ACCEPT


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"now": NOW.replace(year=2027)}, "calibration-expired"),
        ({"now": NOW.replace(year=2025)}, "calibration-expired"),
        ({"calibration": None}, "calibration-missing"),
    ],
)
def test_a_stale_or_missing_calibration_decides_nothing(change, code) -> None:  # type: ignore[no-untyped-def]
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    with pytest.raises(PolicyNotMet) as caught:
        round_.decide(**change)
    assert caught.value.code == code


def test_a_calibration_of_another_precision_class_is_refused() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    assert round_.calibration is not None
    from verifai.domain.consensus.job import PrecisionClass

    other = dataclasses.replace(
        round_.calibration, subject=dataclasses.replace(round_.calibration.subject, precision=PrecisionClass.FP16)
    )
    with pytest.raises(PolicyNotMet) as caught:
        round_.decide(calibration=other)
    assert caught.value.code == "calibration-subject"


def test_a_round_that_tolerates_nothing_or_asks_too_few_is_refused() -> None:
    good = Simulation().terms
    for change in (
        {"tolerated_faults": 0},
        {"tolerated_faults": 2},
        {"voters": good.voters[:2]},
        {"voters": good.voters[::-1]},
    ):
        with pytest.raises(UsageError):
            dataclasses.replace(good, **change)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nothing_is_committed_for_an_output_that_is_no_number(bad: float) -> None:
    spoilt = list(outputs())
    spoilt[0] = {"y": np.full((1, 64), bad, dtype=np.float32)}
    with pytest.raises(EvidenceRejected) as caught:
        Simulation().play([HONEST, NEAR, spoilt])
    assert caught.value.code == "output-not-finite"


def test_every_fault_is_tested_here() -> None:
    """A fault without a test is a door without a lock; this list must grow with the enumeration."""
    assert {fault.value for fault in Fault} == {
        "no-commitment", "late-commitment", "no-reveal", "late-reveal", "bad-signature", "unknown-voter", "wrong-round",
        "double-commitment", "copied-commitment", "double-vote", "wrong-seed", "false-opening", "false-fingerprint",
        "malformed-vote", "wrong-runtime",
    }  # fmt: skip


def test_documents_survive_their_own_strict_parser() -> None:
    round_ = Simulation().play([HONEST, NEAR, WRONG])
    result = round_.decide()
    for predicate in (round_.terms, round_.calibration, result.decision):
        assert predicate is not None
        made = attest(predicate, ABOUT)
        assert parse_attestation(made.envelope, "again").predicate == predicate
    assert isinstance(attest(round_.terms, ABOUT).predicate, RoundTerms)
    assert parse_envelope
