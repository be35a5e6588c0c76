"""Strangers, and one voter alone, against a round: what nobody who was asked signed has no effect, in any verb."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import verifai
from tests.support.consensus_rounds import ABOUT, BEACON, Key, Simulation, environment, faults_of, outputs
from tests.support.gate_world import MALLORY, World, fake_engines
from tests.support.listener import Listener
from tests.support.paths import ROOT
from tests.tamper.test_consensus_bundle import VOTERS, Played
from tests.tamper.test_consensus_bundle import judge as gate
from verifai.bundle import canonical
from verifai.bundle.dsse import attest
from verifai.cli.app import run
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.round import (
    MAX_COMMITMENTS_OF_ONE,
    MAX_DETAIL,
    MAX_UNATTRIBUTED,
    commitments_digest,
    draw_seed,
    picked_samples,
)
from verifai.domain.consensus.vote import Opening, Vote, VoteCommitment, commitment_value
from verifai.domain.consensus.vote_tree import leaf_hash, path, root
from verifai.domain.digest import sha256
from verifai.errors import EvidenceRejected, UsageError
from verifai.fingerprints.output import decode_output, encode_output
from verifai.stages.consensus.messages import read_attestation
from verifai.stages.consensus.vote import VoteSecret, reveal_vote

__all__ = ["fake_engines"]
FIXTURE = ROOT / "fixtures" / "digits-mlp"
HONEST = outputs()
NAMES = "abc"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round on exact outputs, with three commitments; the keys of its verifiers, and a stranger's."""
    made = tmp_path_factory.mktemp("round")
    for name in (*NAMES, "stranger"):
        verifai.new_key(made / f"{name}.key")
    with np.load(FIXTURE / "heldout.npz") as rows:
        np.savez(made / "two.npz", pixels=rows["pixels"][:2])
    (made / "beacon.json").write_text(json.dumps({"source": "lottery", "number": 7, "value": "5a" * 32}))
    options = verifai.RoundOptions(keys(made), verifai.BeaconRule("lottery", 7))
    subject = verifai.SubjectOptions(verifai.OutputKind.EXACT)
    verifai.open_round(FIXTURE / "model.onnx", made / "two.npz", subject, options, made / "round.json")
    for name in NAMES:
        output = made / f"{name}.commitment.json"
        verifai.commit_to_round(
            made / "round.json", FIXTURE / "model.onnx", made / "two.npz", signer(made, name), output, made / f"{name}.secret"
        )
    return made


def signer(folder: Path, name: str) -> verifai.FileSigner:
    return verifai.load_signer(folder / f"{name}.key")


def keys(folder: Path) -> list[verifai.PublicKey]:
    return [verifai.load_public_key(folder / f"{name}.key.pub") for name in NAMES]


def commitments(folder: Path) -> list[Path]:
    return [folder / f"{name}.commitment.json" for name in NAMES]


def reveal(
    folder: Path, name: str, output: Path, paths: Sequence[Path], *, known: bool = True, listener: Listener | None = None
) -> str:
    """The seed that a verifier draws from these files."""
    made = verifai.reveal_to_round(
        folder / "round.json",
        paths,
        folder / "beacon.json",
        folder / f"{name}.secret",
        signer(folder, name),
        output,
        voters=keys(folder) if known else (),
        progress=listener or Listener(),
    )
    return str(made.message.seed)


def forged(folder: Path, target: Path, in_the_name_of: str, *signers: verifai.FileSigner) -> Path:
    """Another commitment in a verifier's name."""
    document = canonical_commitment(folder / f"{in_the_name_of}.commitment.json")
    other = dataclasses.replace(document, commitment=sha256(b"mine"))
    target.write_bytes(canonical.encode(attest(other, ABOUT, signers).envelope.to_json()))
    return target


def canonical_commitment(path: Path) -> VoteCommitment:
    return read_attestation(path, VoteCommitment)[1]


def resigned(path: Path, target: Path, name: str, keyid: str) -> Path:
    """The same envelope with a signature that names a key which did not make it."""
    document = json.loads(path.read_text())
    document["signatures"] = (
        [{"keyid": keyid, "sig": document["signatures"][0]["sig"]}]
        if document["signatures"]
        else [{"keyid": keyid, "sig": "A" * 86 + "=="}]
    )
    target.write_bytes(canonical.encode(document))
    return target


def test_commitments_that_their_voter_did_not_sign_do_not_move_the_seed(opened: Path, tmp_path: Path) -> None:
    plain = reveal(opened, "a", tmp_path / "plain.json", commitments(opened))
    stranger = signer(opened, "stranger")
    others = [
        forged(opened, tmp_path / "unsigned", "b"),
        forged(opened, tmp_path / "by-a-stranger", "b", stranger),
        resigned(forged(opened, tmp_path / "x", "b"), tmp_path / "false-signature", "b", keys(opened)[1].keyid),
    ]
    (tmp_path / "junk").write_bytes(b"\x00not a message")
    (tmp_path / "empty").write_bytes(b"")
    others += [tmp_path / "junk", tmp_path / "empty", opened / "round.json", FIXTURE / "model.onnx"]
    listener = Listener()
    assert reveal(opened, "a", tmp_path / "vote.json", [*others, *commitments(opened)], listener=listener) == plain
    assert len([note for note in listener.notes if note.startswith("No effect: ")]) == len(others)


def test_without_keys_two_messages_in_one_name_are_not_guessed_at(opened: Path, tmp_path: Path) -> None:
    false = resigned(forged(opened, tmp_path / "x", "b"), tmp_path / "false", "b", keys(opened)[1].keyid)
    with pytest.raises(UsageError) as caught:
        reveal(opened, "a", tmp_path / "vote.json", [*commitments(opened), false], known=False)
    assert caught.value.code == "doubtful-message"
    unsigned = forged(opened, tmp_path / "unsigned", "b")
    listener = Listener()
    reveal(opened, "a", tmp_path / "vote.json", [*commitments(opened), unsigned], known=False, listener=listener)
    assert any("Nobody checked who signed" in note for note in listener.notes)


def decide(folder: Path, capsys: pytest.CaptureFixture[str], *more: Path) -> tuple[int, str]:
    votes = [folder / f"{name}.vote.json" for name in NAMES]
    for name, vote in zip(NAMES, votes, strict=True):
        if not vote.exists():
            reveal(folder, name, vote, commitments(folder))
    options = [word for name in NAMES for word in ("--voter", str(folder / f"{name}.key.pub"))]
    files = [folder / "round.json", *commitments(folder), *votes, *more]
    status = run(["consensus", *map(str, files), "--beacon", str(folder / "beacon.json"), *options])
    return status, capsys.readouterr().err


def test_what_is_no_message_of_the_round_does_not_end_the_tally(
    opened: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decide(opened, capsys)[0] == 0
    (tmp_path / "junk").write_bytes(b"{")
    (tmp_path / "list.json").write_bytes(b"[]")
    outsiders = [
        tmp_path / "junk",
        tmp_path / "list.json",
        FIXTURE / "heldout.npz",
        forged(opened, tmp_path / "unsigned", "b"),
        forged(opened, tmp_path / "strange", "c", signer(opened, "stranger")),
    ]
    status, said = decide(opened, capsys, *outsiders)
    assert status == 0
    assert said.count("No effect: ") >= 3
    assert decide(opened, capsys, tmp_path / "absent")[0] == 2


# Values that a vote shows.


def encoded(*shape: int) -> bytes:
    """An empty array of some claimed shape."""
    data = encode_output({"y": np.zeros((0,), dtype=np.float32)})
    header = json.dumps(
        {"tensors": [{"dtype": "float32", "name": "y", "shape": list(shape)}]}, sort_keys=True, separators=(",", ":")
    ).encode()
    magic = data[: data.index(b"\n") + 1]
    return magic + len(header).to_bytes(4, "big") + header


@pytest.mark.parametrize("shape", [(0, 2**31 - 1, 2**31 - 1), (2**31 - 1, 0, 2**31 - 1, 2**31 - 1), (0, *(2**31 - 1,) * 15)])
def test_an_empty_array_of_a_monstrous_shape_is_malformed(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        decode_output(encoded(*shape))
    assert caught.value.code == "malformed"


def test_a_vote_that_opens_such_an_array_is_one_bad_vote_and_no_bug() -> None:
    round_ = Simulation(count=4, faults=1)
    for key in round_.keys:
        round_.commit(key, HONEST)
    liar = round_.keys[3]
    monster = encoded(0, 2**31 - 1, 2**31 - 1)
    secret = dataclasses.replace(round_.secrets[liar.keyid], outputs=(monster,) * len(round_.secrets[liar.keyid].outputs))
    round_.commitments[liar.keyid] = _recommit(round_, liar, secret)
    for key in round_.keys[:3]:
        round_.reveal(key)
    round_.votes[liar.keyid] = _open_anyway(round_, liar, secret)
    result = round_.decide()
    assert "malformed-vote" in faults_of(result, liar)
    assert result.tally.outcome.value == "accept"


def _recommit(round_: Simulation, key: Key, secret: VoteSecret) -> Attestation:
    value = commitment_value(root([leaf_hash(one) for one in secret.outputs]), secret.salt, key.keyid)
    return attest(VoteCommitment(round_.terms_id, key.keyid, value, environment()), ABOUT, [key])


def _open_anyway(round_: Simulation, key: Key, secret: VoteSecret) -> Attestation:
    """What a dishonest verifier's own program would write: fingerprints out of nowhere."""
    digest = commitments_digest({voter: {one.id} for voter, one in round_.commitments.items()})
    seed = draw_seed(round_.terms_id, digest, BEACON)
    leaves = [leaf_hash(one) for one in secret.outputs]
    samples = round_.terms.job.samples
    picked = picked_samples(seed, samples, round_.terms.openings)
    openings = tuple(Opening(index, secret.outputs[index], path(leaves, index)) for index in picked)
    codes = (b"\x00" * 32,) * samples
    identifier = round_.commitments[key.keyid].id
    vote = Vote(round_.terms_id, key.keyid, identifier, digest, seed, secret.salt, root(leaves), codes, openings)
    return attest(vote, ABOUT, [key])


# A decision can be written, whatever a voter sends.


def test_a_long_story_of_one_voter_does_not_keep_the_decision_from_being_written() -> None:
    round_ = Simulation(count=4, faults=1)
    for key in round_.keys:
        round_.commit(key, HONEST)
    for key in round_.keys[:3]:
        round_.reveal(key)
    copies = [attest(one.predicate, ABOUT, [round_.keys[3]]) for one in round_.commitments.values()]
    result = round_.decide(commitments=[*round_.commitments.values(), *copies])
    again = read_back(result.decision)
    assert again.outcome.value == "accept"
    assert all(len(one.detail) <= MAX_DETAIL for one in again.faults)


def read_back(decision: ConsensusDecision) -> ConsensusDecision:
    """As an attestation, through the strict reader."""
    found = attest(decision, ABOUT).predicate
    assert isinstance(found, ConsensusDecision)
    return found


@pytest.mark.parametrize("count", [3, 40])
def test_a_flood_in_one_name_leaves_the_decision_as_it_is(count: int) -> None:
    round_ = Simulation(count=4, faults=1)
    for key in round_.keys:
        round_.commit(key, HONEST)
    flooder = round_.keys[3]
    flood = [round_.commit(flooder, HONEST) for _ in range(count)]
    table = {one.id: one.predicate for one in [*round_.commitments.values(), *flood]}
    for key in round_.keys[:3]:
        vote = reveal_vote(round_.terms, round_.secrets[key.keyid], table, BEACON)  # type: ignore[arg-type]
        round_.votes[key.keyid] = attest(vote, ABOUT, [key])
    result = round_.decide(commitments=[*round_.commitments.values(), *flood])
    decision = read_back(result.decision)
    assert decision.outcome.value == "accept"
    assert "double-commitment" in faults_of(result, flooder)
    assert len(decision.commitments) <= 3 + MAX_COMMITMENTS_OF_ONE


def test_strangers_by_the_thousand_are_counted_and_not_all_named() -> None:
    round_ = Simulation().play([HONEST, HONEST, HONEST])
    nobody = [attest(dataclasses.replace(one.predicate, round=sha256(b"other")), ABOUT, []) for one in round_.votes.values()]
    result = round_.decide(votes=[*round_.votes.values(), *nobody * 600])
    assert result.decision.outcome.value == "accept"
    assert len(result.decision.faults) <= MAX_UNATTRIBUTED


@pytest.mark.usefixtures("fake_engines")
def test_a_bundle_of_a_flooded_round_is_written_and_passes_the_gate(tmp_path: Path) -> None:
    world = World(tmp_path)
    played = Played(world, (*VOTERS, MALLORY), known=(*VOTERS, MALLORY))
    votes = list(played.votes.values())
    spam = [
        played.about(dataclasses.replace(played.votes[MALLORY.seed].predicate, salt=f"{number:064x}"), MALLORY)  # type: ignore[type-var]
        for number in range(30)
    ]
    written, result = played.write(votes=[*votes, *spam])
    assert result.decision.outcome.value == "accept"
    assert gate(world, written.path, voters=(*VOTERS, MALLORY)).status == 0
    assert len(list((written.path / "attestations").iterdir())) < 20
