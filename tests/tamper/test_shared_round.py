"""A round in a shared folder: a voter vanishes, is late, lies or runs another model; and the folder is hostile."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.consensus_rounds import keys
from tests.support.drand_chains import SECRET, pin_own_chains, signed
from tests.support.shared_rounds import CHAIR, FIXTURE, MODEL, SharedRound, calibration_file, inputs_file
from verifai.bundle.keys import public_pem
from verifai.bundle.reader import open_bundle
from verifai.consensus.drand import to_drand_json
from verifai.domain.consensus.beacons import CHAINS, PublishedBeacon
from verifai.domain.consensus.exchange import RoundCut, Step, VoteOpening
from verifai.domain.consensus.round import MAX_COMMITMENTS_OF_ONE, BeaconRule, RoundTerms
from verifai.domain.consensus.tally import TallyOutcome
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.record import Record
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected, InputRejected, PolicyNotMet, Undecided, UsageError
from verifai.stages.consensus.beacon import require_late_enough
from verifai.stages.consensus.call_round import CallOptions, call_round
from verifai.stages.consensus.decide import decide
from verifai.stages.consensus.find_round import find_round
from verifai.stages.consensus.recheck import recheck
from verifai.stages.consensus.room import Room, encoded, enter, list_name, message_name
from verifai.stages.consensus.shared_round import Attendance, JoinedRound, close_round, is_written, join_round, write_closed
from verifai.stages.consensus.take_part import commit_to_round
from verifai.stages.consensus.turns import Done, Turn, attend


@pytest.fixture
def three(tmp_path: Path) -> SharedRound:
    return SharedRound(tmp_path)


def faults(round_: SharedRound, place: int) -> set[str]:
    return {one.fault.value for one in round_.end().result.decision.faults if one.voter == round_.keys[place].keyid}


def test_three_honest_voters_agree_and_each_sees_it(three: SharedRound) -> None:
    seen = three.play(0, 1, 2)
    assert [one.tally.outcome for one in seen] == [TallyOutcome.ACCEPT] * 3
    assert three.end().result.decision.agreeing_voters == {key.keyid for key in three.keys}


def test_the_signed_decision_is_tallied_again_from_its_bundle_alone(three: SharedRound, tmp_path: Path) -> None:
    three.play(0, 1, 2)
    room = three.room(CHAIR, 3)
    closed = three.end()
    write_closed(JoinedRound(room, closed.result, closed), tmp_path / "decision", CHAIR)
    with open_bundle(tmp_path / "decision") as bundle:
        decision = find_round(bundle)[0]
        again = recheck(bundle.attestations, decision.id, keys=room.keys, now=three.now)
        assert again.tally.outcome is TallyOutcome.ACCEPT
        without = {key: one for key, one in bundle.attestations.items() if not isinstance(one.predicate, VoteOpening)}
        with pytest.raises(EvidenceRejected, match="another value of the randomness"):
            recheck(without, decision.id, keys=room.keys, now=three.now)


def test_one_who_never_comes_is_waited_for_by_name_and_then_counts_against_f(tmp_path: Path) -> None:
    round_ = SharedRound(tmp_path, count=4)
    turn = None
    for place in (0, 1, 2):
        turn = round_.step(place)
    assert isinstance(turn, Turn) and turn.step == "commitments" and (turn.done, turn.of) == (3, 4)
    assert turn.waiting_for == (round_.keys[3].keyid[:12],)
    assert turn.until == round_.terms.commit_by
    round_.now = round_.commit_over
    seen = round_.play(0, 1, 2)
    assert [one.tally.outcome for one in seen] == [TallyOutcome.ACCEPT] * 3
    assert faults(round_, 3) == {"no-commitment"}


def test_one_of_three_who_never_comes_leaves_no_quorum(three: SharedRound) -> None:
    three.step(0), three.step(1)
    three.now = three.commit_over
    three.play(0, 1)
    assert three.end().result.tally.outcome is TallyOutcome.NO_QUORUM


def test_one_who_vanishes_after_committing_has_no_share_and_counts_against_f(tmp_path: Path) -> None:
    round_ = SharedRound(tmp_path, count=4)
    round_.step(3)
    round_.play(0, 1, 2)
    turn = round_.step(0)
    assert isinstance(turn, Turn) and turn.step == "openings"
    assert turn.waiting_for == (round_.keys[3].keyid[:12],)
    round_.now = round_.commit_over + timedelta(minutes=16)  # half of the time to reveal
    seen = round_.play(0, 1, 2)
    assert [one.tally.outcome for one in seen] == [TallyOutcome.ACCEPT] * 3
    assert faults(round_, 3) == {"no-reveal"}


def test_who_keeps_its_share_back_until_it_knows_the_seed_has_no_vote(tmp_path: Path) -> None:
    """The last revealer: it may choose between two seeds, and pays with its own vote."""
    round_ = SharedRound(tmp_path, count=4)
    round_.step(3)
    round_.play(0, 1, 2)
    round_.now = round_.commit_over + timedelta(minutes=16)
    round_.play(0, 1, 2)
    with pytest.raises(PolicyNotMet, match="closed without yours") as problem:
        round_.step(3)
    assert problem.value.code == "round-late"
    assert faults(round_, 3) == {"no-reveal"}


def test_one_who_is_late_is_told_so_and_counts_against_f(tmp_path: Path) -> None:
    round_ = SharedRound(tmp_path, count=4)
    for place in (0, 1, 2):
        round_.step(place)
    round_.now = round_.commit_over
    round_.close()
    with pytest.raises(PolicyNotMet, match="closed without yours") as problem:
        round_.step(3)
    assert problem.value.code == "round-late"
    assert [one.tally.outcome for one in round_.play(0, 1, 2)] == [TallyOutcome.ACCEPT] * 3
    assert faults(round_, 3) == {"late-commitment"}


def test_one_who_answers_something_else_is_named_with_its_distance(tmp_path: Path) -> None:
    round_ = SharedRound(tmp_path, noise=(0.0, 0.0, 0.02))
    seen = round_.play(0, 1, 2)
    assert [one.tally.outcome for one in seen] == [TallyOutcome.ACCEPT] * 3  # the liar's own tally says so too
    outside = [one for one in seen[0].nodes if one.relation.value == "beyond"]
    assert [one.voter for one in outside] == [round_.keys[2].keyid]
    assert outside[0].ratio > 100 and outside[0].looks_like == "int8-weights"


def test_three_different_answers_are_a_dissent(tmp_path: Path) -> None:
    round_ = SharedRound(tmp_path, noise=(0.1, 0.1, 0.1))
    assert [one.tally.outcome for one in round_.play(0, 1, 2)] == [TallyOutcome.REJECT] * 3


def test_one_who_brings_another_model_is_told_before_it_commits(three: SharedRound, tmp_path: Path) -> None:
    other = FIXTURE.parent / "digits-mlp" / "model.onnx"
    voter = three.voter(0, model=other)
    with pytest.raises(UsageError, match="not the one that the round names") as problem:
        voter.step(three.now)
    assert problem.value.code == "job-model"
    assert not (three.folder / message_name(VoteCommitment, three.keys[0].keyid)).exists()


def test_a_model_in_the_folder_that_is_another_is_refused(three: SharedRound) -> None:
    (three.folder / "model.onnx").write_bytes((FIXTURE.parent / "digits-mlp" / "model.onnx").read_bytes())
    with pytest.raises(UsageError, match="not the one that the round names"):
        three.step(0)


def test_a_kill_between_any_two_steps_changes_nothing(three: SharedRound) -> None:
    """`play` makes every party anew for every step; what was said stays the same, byte for byte."""
    three.step(0)
    place = three.folder / message_name(VoteCommitment, three.keys[0].keyid)
    before = place.read_bytes()
    three.step(0)
    assert place.read_bytes() == before
    assert len(three.play(0, 1, 2)) == 3


def test_a_kill_before_the_commitment_was_made_starts_it_again(three: SharedRound) -> None:
    room = three.room(three.keys[0], 0)
    room.keep("secret", b"half of a run")
    assert isinstance(three.step(0), Turn)
    assert len(three.play(0, 1, 2)) == 3


def test_who_lost_its_secret_does_not_commit_twice(three: SharedRound) -> None:
    three.step(0)
    three.forget(0)
    with pytest.raises(UsageError) as problem:
        three.step(0)
    assert problem.value.code == "round-secret-missing"


def test_messages_that_others_remove_or_replace_are_put_back(three: SharedRound) -> None:
    three.step(0), three.step(1)
    first, second = (three.folder / message_name(VoteCommitment, three.keys[place].keyid) for place in (0, 1))
    mine = first.read_bytes()
    first.write_bytes(second.read_bytes())
    three.step(0)
    assert first.read_bytes() == mine
    assert any("put right" in one for one in three.told[0].notes)
    first.unlink()
    three.step(0)
    assert first.read_bytes() == mine


def test_a_message_in_anothers_place_has_no_effect(three: SharedRound) -> None:
    three.step(0)
    mine = (three.folder / message_name(VoteCommitment, three.keys[0].keyid)).read_bytes()
    for place in (1, 2):
        (three.folder / message_name(VoteCommitment, three.keys[place].keyid)).write_bytes(mine)
    turn = three.close()
    assert isinstance(turn, Turn) and turn.done == 1
    assert any("no say here" in one for one in three.told[3].notes)


def test_a_message_of_an_older_round_has_no_effect(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = SharedRound(tmp_path / "old"), SharedRound(tmp_path / "new")
    old.step(0)
    name = message_name(VoteCommitment, old.keys[0].keyid)
    (new.folder / "commitments").mkdir()
    (new.folder / name).write_bytes((old.folder / name).read_bytes())
    turn = new.close()
    assert isinstance(turn, Turn) and turn.done == 0
    assert any("another round" in one for one in new.told[3].notes)


def test_a_second_commitment_is_kept_as_evidence_and_the_voter_has_no_vote(tmp_path: Path) -> None:
    round_ = SharedRound(tmp_path, count=4)
    round_.step(3)
    round_.close()
    twin = SharedRound.__new__(SharedRound)
    twin.__dict__.update(round_.__dict__)
    place = round_.folder / message_name(VoteCommitment, round_.keys[3].keyid)
    room = round_.room(round_.keys[3], 3)
    message = room.kept("commitment.json", VoteCommitment)
    assert message is not None and isinstance(message.predicate, VoteCommitment)
    other = VoteCommitment(room.id, message.predicate.voter, "5a" * 32, message.predicate.environment)  # type: ignore[arg-type]
    place.write_bytes(encoded(room.attest(other, round_.keys[3])))
    round_.play(0, 1, 2)
    assert "double-commitment" in faults(round_, 3)
    assert round_.end().result.tally.outcome is TallyOutcome.ACCEPT


def test_a_bogus_opening_is_no_share_and_does_not_keep_the_decision_from_being_written(tmp_path: Path) -> None:
    round_ = SharedRound(tmp_path, count=4)
    round_.step(3)
    round_.play(0, 1, 2)
    room = round_.room(round_.keys[3], 3)
    commitment = room.kept("commitment.json", VoteCommitment)
    assert commitment is not None
    place = round_.folder / message_name(VoteOpening, round_.keys[3].keyid)
    for salt in ("00" * 32, "11" * 32, "22" * 32):
        bogus = VoteOpening(room.id, round_.keys[3].keyid, commitment.id, salt, "00" * 32)  # type: ignore[arg-type]
        place.write_bytes(encoded(room.attest(bogus, round_.keys[3])))
        round_.close()
    round_.now = round_.commit_over + timedelta(minutes=16)
    round_.play(0, 1, 2)
    closed = round_.end()
    write_closed(JoinedRound(round_.room(CHAIR, 4), closed.result, closed), tmp_path / "decision", CHAIR)
    assert closed.result.tally.outcome is TallyOutcome.ACCEPT


def test_two_lists_of_one_step_are_evidence_against_the_coordinator(three: SharedRound) -> None:
    three.play(0, 1, 2)
    room = three.room(CHAIR, 3)
    other = room.attest(RoundCut(room.id, Step.COMMITMENTS, ()), CHAIR)
    (three.folder / list_name(Step.COMMITMENTS)).write_bytes(encoded(other))
    with pytest.raises(EvidenceRejected) as problem:
        three.step(0)
    assert (problem.value.code, problem.value.status) == ("round-two-lists", 1)


def test_a_list_that_another_voter_signed_has_no_effect(three: SharedRound) -> None:
    for place in (0, 1):
        three.step(place)
    room = three.room(three.keys[1], 1)
    false = room.attest(RoundCut(room.id, Step.COMMITMENTS, ()), three.keys[1])
    (three.folder / "lists").mkdir()
    (three.folder / list_name(Step.COMMITMENTS)).write_bytes(encoded(false))
    assert isinstance(three.step(0), Turn)
    assert not any((three.base / "state0").rglob("list-*"))


def test_links_pipes_and_giants_are_as_good_as_absent(three: SharedRound, tmp_path: Path) -> None:
    three.step(0)
    (three.folder / "commitments" / f"{three.keys[1].keyid}.json").symlink_to(
        three.folder / message_name(VoteCommitment, three.keys[0].keyid)
    )
    os.mkfifo(three.folder / "commitments" / f"{three.keys[2].keyid}.json")
    turn = three.close()
    assert isinstance(turn, Turn) and turn.done == 1
    with (three.folder / "beacon.json").open("wb") as stream:
        stream.truncate(1 << 40)  # no byte of it is on the disk
    assert isinstance(three.step(0), Turn)


def test_a_link_in_place_of_a_subfolder_is_not_followed(three: SharedRound, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (three.folder / "commitments").symlink_to(outside)
    with pytest.raises(Undecided) as problem:
        three.step(0)
    assert problem.value.code == "disk"
    assert not list(outside.iterdir())


def test_other_terms_in_the_same_folder_win_no_second_commitment(three: SharedRound, tmp_path: Path) -> None:
    three.step(0)
    (three.folder / "round.json").unlink()
    options = CallOptions([key.public_key for key in three.keys])
    calibration = calibration_file(tmp_path / "again.json")
    call_round(three.folder, MODEL, inputs_file(tmp_path / "inputs.npz"), calibration, options, CHAIR)
    with pytest.raises(UsageError) as problem:
        three.step(0)
    assert problem.value.code == "round-changed"


def test_terms_of_another_coordinator_are_refused(three: SharedRound, tmp_path: Path) -> None:
    stranger = keys(1, offset=150)[0]
    (three.folder / "round.json").unlink()
    options = CallOptions([key.public_key for key in three.keys])
    call_round(three.folder, MODEL, tmp_path / "inputs.npz", tmp_path / "tolerance.json", options, stranger)
    with pytest.raises(EvidenceRejected, match="did not sign these terms"):
        three.step(0)
    with pytest.raises(EvidenceRejected, match="another one"):
        enter(three.folder, tmp_path / "s", coordinator=CHAIR.keyid, keyid=three.keys[0].keyid)
    with pytest.raises(UsageError) as problem:
        join_round(three.folder, three.keys[0], attendance=Attendance(tmp_path / "s", seconds=0))
    assert problem.value.code == "round-coordinator" and stranger.keyid in problem.value.hint


def test_a_false_voter_key_in_the_folder_is_refused(three: SharedRound) -> None:
    place = three.folder / "voters" / f"{three.keys[1].keyid}.pub"
    place.write_bytes(public_pem(three.keys[0].public_key))
    with pytest.raises(EvidenceRejected, match="not the key that the terms name"):
        three.step(0)


def test_a_flood_of_files_is_not_read(three: SharedRound) -> None:
    for index in range(300):
        for name in ("commitments", "votes", "listed"):
            (three.folder / name).mkdir(exist_ok=True)
            (three.folder / name / f"{index:064x}.json").write_bytes(b"{}")
    three.play(0, 1, 2)
    assert not any("000000" in one for told in three.told for one in told.notes)
    assert three.end().result.tally.outcome is TallyOutcome.ACCEPT


def test_who_rewrites_its_commitment_for_ever_takes_no_more_than_a_few(three: SharedRound) -> None:
    three.step(2)
    room = three.room(three.keys[2], 2)
    message = room.kept("commitment.json", VoteCommitment)
    assert message is not None and isinstance(message.predicate, VoteCommitment)
    place = three.folder / message_name(VoteCommitment, three.keys[2].keyid)
    for index in range(MAX_COMMITMENTS_OF_ONE + 8):
        other = VoteCommitment(room.id, three.keys[2].keyid, f"{index:064x}", message.predicate.environment)  # type: ignore[arg-type]
        place.write_bytes(encoded(room.attest(other, three.keys[2])))
        three.close()
    seen = list((three.base / "state3").rglob(f"seen/VoteCommitment/{three.keys[2].keyid}/*.json"))
    assert len(seen) == MAX_COMMITMENTS_OF_ONE


def test_a_vote_that_is_exchanged_later_takes_nothing_back(three: SharedRound) -> None:
    assert len(three.play(0, 1, 2)) == 3
    place = three.folder / message_name(Vote, three.keys[1].keyid)
    place.unlink()
    assert isinstance(three.step(0), Done)
    assert three.end().result.decision.agreeing_voters == {key.keyid for key in three.keys}


def test_rubbish_in_the_folder_is_one_clear_error(three: SharedRound) -> None:
    (three.folder / "round.json").write_text(json.dumps({"payload": "", "payloadType": "x", "signatures": []}))
    with pytest.raises(EvidenceRejected):
        three.step(0)
    (three.folder / "round.json").unlink()
    with pytest.raises(UsageError) as problem:
        three.step(0)
    assert "verifai round init" in problem.value.hint


def test_only_the_key_that_opened_the_round_closes_it(three: SharedRound, tmp_path: Path) -> None:
    with pytest.raises(EvidenceRejected, match="did not sign"):
        close_round(three.folder, three.keys[0], attendance=Attendance(tmp_path / "s", seconds=0))


def test_waiting_ends_at_the_time_given_and_says_how_to_go_on(three: SharedRound) -> None:
    told: list[Turn] = []
    clock = [three.now]

    def sleep(seconds: float) -> None:
        clock[0] += timedelta(seconds=seconds)

    with pytest.raises(Undecided) as problem:
        attend(three.voter(0), seconds=90, end=three.reveal_over, tell=told.append, now=lambda: clock[0], sleep=sleep)
    assert (problem.value.code, problem.value.status) == ("round-waiting", 4)
    assert "waiting for" in problem.value.message and "same command" in problem.value.hint
    assert len(told) == 1 and timedelta(seconds=90) <= clock[0] - three.now <= timedelta(seconds=100)


def test_a_party_that_runs_twice_at_once_is_refused(three: SharedRound, tmp_path: Path) -> None:
    from verifai.execution.locks import folder_locked

    room: Room = enter(three.folder, tmp_path / "s", coordinator=CHAIR.public_key, keyid=three.keys[0].keyid)
    with folder_locked(room.store, seconds=0), pytest.raises(Undecided) as problem:
        join_round(three.folder, three.keys[0], CHAIR.public_key, attendance=Attendance(tmp_path / "s", seconds=0))
    assert problem.value.code == "busy"


@pytest.fixture
def by_drand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SharedRound, bytes, Any]:
    """A round whose randomness is a drand chain's, what the chain publishes, and when."""
    chain = pin_own_chains(monkeypatch)["drand:unchained"]
    round_ = SharedRound(tmp_path, beacon=chain.source)
    published = to_drand_json(signed(chain, round_.terms.beacon.number))
    return round_, published, chain.time_of(round_.terms.beacon.number)


def test_a_round_by_drand_waits_for_its_number_and_says_where_it_is(by_drand: tuple[SharedRound, bytes, Any]) -> None:
    round_, published, out = by_drand
    assert out >= parse_utc(round_.terms.commit_by) + timedelta(seconds=30)
    assert round_.play(0, 1, 2) == []
    turn = round_.step(0)
    assert isinstance(turn, Turn) and turn.step == "randomness" and "https://api.drand.sh/" in turn.waiting_for[0]
    for false in (b"{}", b"\xff", published.replace(b'"round": ', b'"round": 1')):
        (round_.folder / "beacon.json").write_bytes(false)
        assert isinstance(round_.step(0), Turn)
    (round_.folder / "beacon.json").write_bytes(published)
    assert [one.tally.outcome for one in round_.play(0, 1, 2)] == [TallyOutcome.ACCEPT] * 3


def test_a_decision_by_drand_holds_the_chains_signature(by_drand: tuple[SharedRound, bytes, Any], tmp_path: Path) -> None:
    round_, published, _ = by_drand
    round_.play(0, 1, 2)
    (round_.folder / "beacon.json").write_bytes(published)
    round_.play(0, 1, 2)
    closed, room = round_.end(), round_.room(CHAIR, 3)
    write_closed(JoinedRound(room, closed.result, closed), tmp_path / "decision", CHAIR)
    with open_bundle(tmp_path / "decision") as bundle:
        decision = find_round(bundle)[0]
        recheck(bundle.attestations, decision.id, keys=room.keys, now=round_.now)
        bare = {key: one for key, one in bundle.attestations.items() if not isinstance(one.predicate, PublishedBeacon)}
        with pytest.raises(EvidenceRejected) as problem:
            recheck(bare, decision.id, keys=room.keys, now=round_.now)
        assert problem.value.code == "beacon-unproven"
        chain = CHAINS["drand:unchained"]
        forged = room.attest(signed(chain, round_.terms.beacon.number, secret=SECRET + 1, round_id=room.id), CHAIR)
        with pytest.raises(EvidenceRejected) as problem:
            recheck(bare | {forged.id: forged}, decision.id, keys=room.keys, now=round_.now)
        assert problem.value.code == "beacon-mismatch"
        value = forged.predicate.beacon  # type: ignore[attr-defined]
        with pytest.raises(EvidenceRejected) as problem:  # the coordinator invents the value and all that fits it
            decide(dataclasses.replace(closed.request, beacon=value, published=forged.predicate))
        assert problem.value.code == "beacon-false"


def test_a_list_that_is_closed_when_the_seed_is_known_is_refused(by_drand: tuple[SharedRound, bytes, Any]) -> None:
    round_, _, out = by_drand
    for place in (0, 1, 2):
        round_.step(place)
    round_.now = out
    with pytest.raises(PolicyNotMet) as problem:
        round_.close()
    assert problem.value.code == "round-late"


def test_who_sees_the_list_only_when_the_seed_is_known_is_told_so(by_drand: tuple[SharedRound, bytes, Any]) -> None:
    round_, _, out = by_drand
    for place in (0, 1, 2):
        round_.step(place)
    round_.close()
    round_.step(0)
    round_.now = out
    round_.step(0)
    round_.step(1)
    assert [any("could have been chosen" in one for one in told.notes) for told in round_.told[:2]] == [False, True]


def test_a_number_that_comes_out_while_commitments_are_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = pin_own_chains(monkeypatch)["drand:unchained"]
    with pytest.raises(UsageError) as problem:
        SharedRound(tmp_path, beacon=chain.source, number=chain.first_after(datetime.now(UTC)))
    assert problem.value.code == "bad-beacon"


def test_a_round_by_another_source_takes_its_value_from_ones_own_file_only(tmp_path: Path) -> None:
    round_ = SharedRound(tmp_path, beacon="lottery", number=7)
    own = tmp_path / "lottery.json"
    own.write_text(json.dumps({"source": "lottery", "number": 7, "value": "5a" * 32}))
    (round_.folder / "beacon.json").write_text(own.read_text().replace("5a", "00"))
    assert round_.play(0, 1, 2) == []
    for place in (0, 1, 2):
        round_.voter(place, beacon=own).step(round_.now)
    closed = round_.coordinator(beacon=own).step(round_.now)
    assert isinstance(closed, Done) and closed.result.result.tally.outcome is TallyOutcome.ACCEPT


# What lies in the folder for a voter to run, and a seed that is known beforehand.


def test_inputs_of_somebody_else_stop_a_voter_only_while_they_lie_there(three: SharedRound) -> None:
    """A false copy that was kept would stop the voter for good, however often the coordinator puts the file right."""
    path = three.folder / "inputs.npz"
    good = path.read_bytes()
    other = inputs_file(three.base / "other.npz", count=3).read_bytes()
    for false in (other, b"PK\x03\x04 nonsense", b"", b"\x93NUMPY\x01\x00"):
        path.write_bytes(false)
        with pytest.raises(InputRejected) as problem:
            three.step(0)
        assert problem.value.code == "job-input" and "--inputs" in problem.value.hint
    path.write_bytes(good)
    assert [one.tally.outcome for one in three.play(0, 1, 2)] == [TallyOutcome.ACCEPT] * 3


def test_a_file_of_another_kind_beside_the_inputs_takes_no_part(three: SharedRound) -> None:
    """Whatever comes first in the order of the names: anybody can put it there."""
    good = three.folder / "inputs.npz"
    with np.load(good) as arrays:
        samples = [{name: array[one].tolist() for name, array in arrays.items()} for one in range(2)]
    (three.folder / "inputs.json").write_text(json.dumps(samples))
    for false in (inputs_file(three.base / "other.npz", count=3).read_bytes(), b"{}"):
        good.write_bytes(false)
        three.forget(0) if (three.base / "state0").exists() else None
        (three.folder / "commitments" / f"{three.keys[0].keyid}.json").unlink(missing_ok=True)
        assert isinstance(three.step(0), Turn)
        assert any("No effect: inputs.npz" in one for one in three.told[0].notes)


def test_nobody_commits_once_the_seed_is_known(by_drand: tuple[SharedRound, bytes, Any]) -> None:
    """Terms whose first deadline lies in the past name a number that comes after it, and that everybody knows."""
    round_, _, out = by_drand
    round_.step(0)
    round_.now = out
    with pytest.raises(PolicyNotMet, match="before this commitment") as problem:
        round_.step(1)
    assert problem.value.code == "round-late"
    assert not (round_.folder / "commitments" / f"{round_.keys[1].keyid}.json").exists()
    assert not list((round_.base / "state1").rglob("secret"))
    assert isinstance(round_.step(0), Turn), "who committed in time goes on"


def test_a_round_by_hand_is_not_committed_to_once_the_seed_is_known(by_drand: tuple[SharedRound, bytes, Any]) -> None:
    round_, _, out = by_drand
    made = [round_.base / "mine.json", round_.base / "mine.secret"]
    terms, data = round_.folder / "round.json", round_.folder / "inputs.npz"
    with pytest.raises(PolicyNotMet):
        commit_to_round(terms, MODEL, data, round_.keys[0], *made, outputs=round_.answers[0], now=out)
    assert not any(path.exists() for path in made)
    commit_to_round(terms, MODEL, data, round_.keys[0], *made, outputs=round_.answers[0], now=out - timedelta(seconds=1))


def test_a_decision_that_somebody_put_into_the_folder_is_not_taken_for_ones_own(three: SharedRound, tmp_path: Path) -> None:
    """The coordinator would say what came out, leave the false one where it is, and end with status 0."""
    three.play(0, 1, 2)
    joined = JoinedRound(three.room(CHAIR, 3), three.end().result, three.end())
    target = three.folder / "decision"
    assert not is_written(joined, target, CHAIR)
    write_closed(joined, tmp_path / "false", three.keys[0])
    other = SharedRound(make(tmp_path / "other"))
    other.play(0, 1, 2)
    write_closed(JoinedRound(other.room(CHAIR, 3), other.end().result, other.end()), tmp_path / "old", CHAIR)
    for put in (
        target.mkdir,
        lambda: shutil.copytree(tmp_path / "false", target),
        lambda: shutil.copytree(tmp_path / "old", target),
    ):
        put()
        assert not is_written(joined, target, CHAIR)
        with pytest.raises(UsageError) as problem:
            write_closed(joined, target, CHAIR)
        assert problem.value.code == "file-exists"
        shutil.rmtree(target)
    write_closed(joined, target, CHAIR)
    assert is_written(joined, target, CHAIR)


@pytest.mark.parametrize("source", ["Voters", " voters", "DRAND:quicknet", " drand:quicknet", "drand:quicknet ", "drand:"])
def test_a_source_that_only_looks_like_one_that_proves_itself_is_refused(source: str, three: SharedRound) -> None:
    """Its value would be the word of whoever reads it out, and whoever reads the decision would take it for drand's."""
    terms = dataclasses.replace(three.terms, beacon=BeaconRule(source, 7))
    with pytest.raises(EvidenceRejected) as problem:
        require_late_enough(terms)
    assert problem.value.code == "beacon-false"
    with pytest.raises(UsageError):
        call_round(three.base / "new", MODEL, three.base / "inputs.npz", three.base / "tolerance.json",
                   CallOptions([key.public_key for key in three.keys], source, 7), CHAIR)  # fmt: skip
    assert not (three.base / "new" / "round.json").exists()


@pytest.mark.parametrize("source", ["lottery\x1b[2J", "drand:quicknet\u200b", "lot\ntery", "\u202elottery"])
def test_terms_name_no_source_with_characters_that_nobody_sees(source: str, three: SharedRound) -> None:
    document = {**three.terms.to_json(), "beacon": {"source": source, "number": 7}}
    with pytest.raises(EvidenceRejected, match="nobody sees"):
        RoundTerms.from_record(Record(document, "terms"))
    plain = {**document, "beacon": {"source": "Lotería", "number": 7}}
    assert RoundTerms.from_record(Record(plain, "terms")).beacon == BeaconRule("Lotería", 7)


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder
