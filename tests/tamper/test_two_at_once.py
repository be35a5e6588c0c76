"""Two at once: of two that want the same name one fails and says so, and nobody's signature, key or cosignature is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle_samples import TestSigner
from tests.support.gate_world import ALICE, BOB, World
from verifai.bundle.consistency import ConsistencyProof, cosign
from verifai.bundle.keys import load_signer, new_key, read_key
from verifai.bundle.log import create_log, open_log
from verifai.bundle.note import COSIGNATURE, Checkpoint, NoteKey
from verifai.bundle.reader import open_bundle
from verifai.domain.digest import sha256
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.execution.files import write_atomic, write_new
from verifai.execution.locks import folder_locked
from verifai.stages.pack import pack_bundle, unpack_bundle
from verifai.stages.seal import seal_bundle

TRIES = range(6)
KEY, WITNESS = TestSigner(1), TestSigner(2)
ORIGIN = "example.org/log"


def at_once(*actions: Callable[[], object]) -> list[object]:
    """What each came to, a value or one of our errors; all begin together."""
    start = threading.Barrier(len(actions))
    found: list[object] = [None] * len(actions)

    def run(place: int, action: Callable[[], object]) -> None:
        start.wait()
        try:
            found[place] = action()
        except VerifaiError as problem:
            found[place] = problem

    threads = [threading.Thread(target=run, args=item) for item in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def losers(found: list[object]) -> list[str]:
    return [one.code for one in found if isinstance(one, VerifaiError)]


@pytest.mark.parametrize("attempt", TRIES)
def test_of_two_keys_for_one_name_one_is_refused_and_both_halves_belong_together(attempt: int, tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    found = at_once(lambda: new_key(path), lambda: new_key(path), lambda: new_key(path))
    assert losers(found) == ["file-exists"] * 2
    assert load_signer(path).public_key == read_key(Path(f"{path}.pub")).public_key
    assert sorted(one.name for one in tmp_path.iterdir()) == ["signing.key", "signing.key.pub"]


@pytest.mark.parametrize("attempt", TRIES)
def test_of_two_bundles_packed_or_unpacked_to_one_name_one_is_refused(attempt: int, tmp_path: Path) -> None:
    world = World(tmp_path)
    first, second = world.bundle("a", 1), world.bundle("b", 2)
    target = tmp_path / "target"
    found = at_once(lambda: pack_bundle(first, target), lambda: pack_bundle(second, target))
    assert losers(found) == ["file-exists"]
    (won,) = [one.bundle_id for one in found if not isinstance(one, VerifaiError)]  # type: ignore[attr-defined]
    with open_bundle(target) as opened:
        assert opened.bundle_id == won
    out = tmp_path / "out"
    assert losers(at_once(lambda: unpack_bundle(target, out), lambda: unpack_bundle(first, out))) == ["file-exists"]
    with open_bundle(out):
        pass


@pytest.mark.parametrize("attempt", TRIES)
def test_two_who_seal_one_bundle_in_place_both_signed_it(attempt: int, tmp_path: Path) -> None:
    bundle = World(tmp_path).bundle("a")
    assert not losers(at_once(lambda: seal_bundle(bundle, signers=[ALICE]), lambda: seal_bundle(bundle, signers=[BOB])))
    with open_bundle(bundle) as opened:
        keys = [ALICE.public_key, BOB.public_key]
        assert opened.check_signatures(keys).signers == set(keys)


def test_a_lock_that_is_held_is_waited_for_and_then_said(tmp_path: Path) -> None:
    with folder_locked(tmp_path), pytest.raises(VerifaiError) as caught, folder_locked(tmp_path, seconds=0.1):
        pass
    assert (caught.value.status, caught.value.code) == (4, "busy")


def test_a_new_file_takes_the_place_of_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.symlink_to("elsewhere")
    with pytest.raises(UsageError) as caught:
        write_new(target, b"x")
    assert caught.value.code == "file-exists"
    with pytest.raises(UsageError) as caught:
        write_atomic(target, b"x")
    assert caught.value.code == "bad-output"
    assert not (tmp_path / "elsewhere").exists()


# A witness must never cosign two histories of one log.


def fork(folder: Path, name: str, common: int) -> tuple[Checkpoint, Checkpoint, ConsistencyProof]:
    """A log that begins as every other here: its checkpoint then, its checkpoint now, and the proof between them."""
    path = folder / name
    create_log(path, origin=ORIGIN, key=KEY.public_key)
    with open_log(path) as log:
        log.append([sha256(bytes([one])) for one in range(common)])
        old = log.checkpoint(KEY)
        log.append([sha256(name.encode())])
        new = log.checkpoint(KEY)
        return old, new, ConsistencyProof(old.size, new.size, log.prove_consistency(old.size, new.size))


@pytest.mark.parametrize("attempt", range(12))
def test_a_witness_asked_twice_at_once_cosigns_one_history(attempt: int, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    (old, left, proof), (_, right, other) = fork(tmp_path, "left", 3), fork(tmp_path, "right", 3)

    def ask(checkpoint: Checkpoint, consistency: ConsistencyProof | None) -> Any:
        log = NoteKey(ORIGIN, KEY.public_key)
        return cosign(checkpoint, log, name="w.example/w", signer=WITNESS, state=state, seconds=1, consistency=consistency)

    ask(old, None)
    found = at_once(lambda: ask(left, proof), lambda: ask(right, other))
    cosigned = [one for one in found if isinstance(one, Checkpoint)]
    assert len(cosigned) == 1, "both forks were cosigned: a split view"
    assert len([one for one in found if isinstance(one, EvidenceRejected | PolicyNotMet)]) == 1
    witness = NoteKey("w.example/w", WITNESS.public_key, COSIGNATURE)
    assert cosigned[0].check(NoteKey(ORIGIN, KEY.public_key), [witness], where="checkpoint")
