"""The audit log: nothing is lost, doubled or half-written, whoever is killed and however many append at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.bundle_samples import TestSigner
from verifai.bundle.log import AuditLog, create_log, open_log
from verifai.bundle.merkle import check_consistency, check_inclusion, leaf_hash
from verifai.bundle.note import COSIGNATURE, NoteKey, parse_checkpoint, parse_log_proof
from verifai.domain.digest import Sha256
from verifai.errors import EvidenceRejected, Undecided, UsageError

KEY, OTHER, WITNESS = TestSigner(1), TestSigner(2), TestSigner(3)
ORIGIN = "example.org/log"
LOG_KEY = NoteKey(ORIGIN, KEY.public_key)


def ids(count: int, prefix: str = "") -> list[Sha256]:
    return [Sha256(hashlib.sha256(f"{prefix}{index}".encode()).hexdigest()) for index in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_log(tmp_path / "log.sqlite", origin=ORIGIN, key=KEY.public_key)
    return tmp_path / "log.sqlite"


def test_an_existing_log_is_not_made_again(path: Path) -> None:
    with pytest.raises(UsageError) as problem:
        create_log(path, origin=ORIGIN, key=KEY.public_key)
    assert problem.value.code == "file-exists"


@pytest.mark.parametrize("name", [":memory:", "file:a.log", "file:a?mode=memory"])
def test_a_name_that_sqlite_would_read_as_its_own_is_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create_log(Path(name), origin=ORIGIN, key=KEY.public_key)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with open_log(Path(name)) as log:
        log.append(ids(1))
    with open_log(Path(name)) as log:
        assert log.size == 1


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "a\nb", "a\u00a0b", "x" * 300])
def test_an_origin_that_cannot_be_a_key_name_is_refused(tmp_path: Path, origin: str) -> None:
    with pytest.raises(UsageError):
        create_log(tmp_path / "l", origin=origin, key=KEY.public_key)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to look at")
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t (x)").connection.close()
    for name, code in (("none", "file-missing"), ("text", "bad-log"), ("other", "bad-log")):
        with pytest.raises(UsageError) as problem, open_log(tmp_path / name):
            pass
        assert problem.value.code == code


@pytest.mark.parametrize("entry", ["", "ab", "A" * 64, "g" * 64, "0" * 63, "0" * 65])
def test_an_entry_that_is_no_digest_is_refused_and_nothing_is_appended(path: Path, entry: str) -> None:
    with open_log(path) as log:
        with pytest.raises(UsageError) as problem:
            log.append([*ids(2), Sha256(entry)])
        assert problem.value.code == "bad-log-entry"
        assert log.size == 0


def test_an_empty_log_signs_nothing(path: Path) -> None:
    with open_log(path) as log, pytest.raises(UsageError) as problem:
        log.checkpoint(KEY)
    assert problem.value.code == "log-empty"


def test_only_the_logs_own_key_signs(path: Path) -> None:
    with open_log(path) as log:
        log.append(ids(1))
        with pytest.raises(UsageError) as problem:
            log.checkpoint(OTHER)
    assert problem.value.code == "wrong-log-key"


def test_an_identifier_that_is_there_keeps_its_place(path: Path) -> None:
    with open_log(path) as log:
        assert log.append(ids(5)) == (0, 1, 2, 3, 4)
        assert log.append([ids(5)[2], *ids(1, "new"), ids(5)[4]]) == (2, 5, 4)
        assert log.append([ids(1, "x")[0]] * 3) == (6, 6, 6)
        assert log.check() == log.size == 7


def test_every_entry_is_proven_at_every_size_and_sizes_are_consistent(path: Path) -> None:
    entries = ids(19)
    with open_log(path) as log:
        log.append(entries)
        checkpoints = {size: log.checkpoint(KEY, size=size) for size in range(1, 20)}
        for size, checkpoint in checkpoints.items():
            checkpoint.check(LOG_KEY, where="")
            for index in range(size):
                proof = parse_log_proof(log.prove(entries[index], checkpoint).to_bytes(), "")
                leaf = leaf_hash(bytes.fromhex(entries[index]))
                check_inclusion(leaf, proof.index, proof.checkpoint.size, proof.hashes, proof.checkpoint.root)
            with pytest.raises(UsageError):
                log.prove(ids(1, "never")[0], checkpoint)
        for first in range(1, 20):
            for second in range(first, 20):
                hashes = log.prove_consistency(first, second)
                check_consistency(first, second, hashes, checkpoints[first].root, checkpoints[second].root)


def test_an_older_checkpoint_does_not_prove_a_newer_entry(path: Path) -> None:
    with open_log(path) as log:
        log.append(ids(3))
        old = log.checkpoint(KEY)
        log.append(ids(1, "later"))
        with pytest.raises(UsageError) as problem:
            log.prove(ids(1, "later")[0], old)
    assert problem.value.code == "not-in-log"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entry SET id = zeroblob(32) WHERE position = 2",
        "DELETE FROM entry WHERE position = 2",
        "DELETE FROM entry WHERE position = 6",
        "UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND position = 1",
        "DELETE FROM node WHERE level = 0 AND position = 6",
        "INSERT INTO node VALUES (9, 9, zeroblob(32))",
    ],
)
def test_check_finds_a_log_that_was_edited(path: Path, damage: str) -> None:
    with open_log(path) as log:
        log.append(ids(7))
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with open_log(path) as log, pytest.raises(EvidenceRejected) as problem:
        log.check()
    assert problem.value.code == "log-corrupt"


def test_a_held_log_is_reported_busy_not_as_a_crash(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifai.bundle.log._BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Undecided) as problem, open_log(path) as log:
        log.append(ids(1))
    holder.close()
    assert problem.value.code == "log-busy"


_APPENDER = """
import hashlib, sys
from pathlib import Path
from verifai.bundle.log import open_log
with open_log(Path(sys.argv[1])) as log:
    for index in range(int(sys.argv[3]), int(sys.argv[4])):
        one = hashlib.sha256(f"{sys.argv[2]}{index}".encode()).hexdigest()
        (position,) = log.append([one])
        print(one, position, flush=True)
"""


def _appender(path: Path, prefix: str, first: int, last: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _APPENDER, str(path), prefix, str(first), str(last)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_killing_an_appender_many_times_loses_and_doubles_nothing(path: Path) -> None:
    """What was acknowledged is there, at the place that was named; the rest is there whole or not at all."""
    acknowledged: dict[str, int] = {}
    first = 0
    for round_ in range(25):
        child = _appender(path, "k", first, first + 100_000)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(3)]  # two known entries, a new one: it is appending now
        time.sleep(0.002 * round_)
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        child.communicate()  # it waits, and closes the pipe
        child.stdout.close()
        for line in lines:
            if line.endswith("\n"):
                one, position = line.split()
                assert acknowledged.setdefault(one, int(position)) == int(position)
        with open_log(path) as log:
            size = log.check()
            stored = list(log.ids())
        assert len(set(stored)) == len(stored) == size
        assert all(stored[position] == one for one, position in acknowledged.items())
        first = max(0, len(acknowledged) - 2)  # overlap: what is there already must keep its place
    assert len(acknowledged) >= 25


def test_concurrent_appenders_lose_and_double_nothing(path: Path) -> None:
    children = [_appender(path, prefix, 0, 40) for prefix in ("a", "b", "a", "c")]
    claims: dict[str, set[int]] = {}
    for child in children:
        output, _ = child.communicate()
        assert child.returncode == 0
        for line in output.splitlines():
            one, position = line.split()
            claims.setdefault(one, set()).add(int(position))
    with open_log(path) as log:
        assert log.check() == 120
        assert {one: {index} for index, one in enumerate(log.ids())} == claims


def test_a_checkpoint_of_another_log_or_key_is_refused(path: Path) -> None:
    with open_log(path) as log:
        log.append(ids(3))
        checkpoint = log.checkpoint(KEY)
    for wrong in (NoteKey("example.org/other", KEY.public_key), NoteKey(ORIGIN, OTHER.public_key)):
        with pytest.raises(EvidenceRejected) as problem:
            checkpoint.check(wrong, where="")
        assert problem.value.code == "log-signature-invalid"


def test_a_witness_counts_only_under_its_own_name_and_for_this_text(path: Path) -> None:
    with open_log(path) as log:
        log.append(ids(3))
        first = log.checkpoint(KEY).cosigned_by("witness.example/w", WITNESS, 1_700_000_000)
        log.append(ids(1, "more"))
        second = log.checkpoint(KEY)
    witness = NoteKey("witness.example/w", WITNESS.public_key, COSIGNATURE)
    assert first.check(LOG_KEY, [witness], where="") == {WITNESS.public_key: 1_700_000_000}
    assert first.check(LOG_KEY, [], where="") == {}
    for stranger in (
        NoteKey("witness.example/other", WITNESS.public_key, COSIGNATURE),
        NoteKey("witness.example/w", OTHER.public_key, COSIGNATURE),
        NoteKey("witness.example/w", WITNESS.public_key),
    ):
        assert first.check(LOG_KEY, [stranger], where="") == {}
    moved = parse_checkpoint(second.to_bytes() + first.to_bytes().splitlines(keepends=True)[-1], "")
    with pytest.raises(EvidenceRejected) as problem:
        moved.check(LOG_KEY, [witness], where="")
    assert problem.value.code == "log-signature-invalid"


def test_the_examples_of_the_format_documents_parse_and_come_back_byte_for_byte() -> None:
    log_line = "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8="
    witness_line = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    example = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        f"— example.com/behind-the-sofa {log_line}\n— witness.example.com/w1 {witness_line}\n"
    ).encode()
    checkpoint = parse_checkpoint(example, "")
    assert (checkpoint.origin, checkpoint.size, len(checkpoint.signatures)) == ("example.com/behind-the-sofa", 20852163, 2)
    assert int.from_bytes(checkpoint.signatures[1].value[:8], "big") == 1679315147
    assert checkpoint.to_bytes() == example


def test_malformed_checkpoints_and_proofs_are_refused(path: Path) -> None:
    with open_log(path) as log:
        log.append(ids(5))
        good = log.prove(ids(5)[1], log.checkpoint(KEY)).to_bytes()
    note = good.split(b"\n\n", 1)[1]
    broken = [
        b"", b"\n\n", note[:-1], note + b"x", note + b"\n", note.replace(b"\n5\n", b"\n0\n"), note.replace(b"\n5\n", b"\n05\n"),
        note.replace(b"\n5\n", b"\n+5\n"), note.replace(b"\n5\n", b"\n5\nextension\n"), note.replace(b"\n5\n", b"\n-1\n"),
        note.replace(ORIGIN.encode() + b"\n", b"\n"), note.replace(b"=\n\n", b"\n\n"), note.replace("— ".encode(), b"- "),
        note.replace(b"\n5\n", b"\r\n5\n"), note.replace(b"\n5\n", "\n\u0665\n".encode()), b"\xff" + note, note * 2,
        note + note.splitlines(keepends=True)[-1], note + b"A" * 70_000, note.replace(b"\n5\n", b"\n" + b"9" * 5000 + b"\n"),
    ]  # fmt: skip
    for data in broken:
        with pytest.raises(EvidenceRejected) as problem:
            parse_checkpoint(data, "")
        assert problem.value.code == "log-malformed", data
    for data in (
        *(good.replace(note, data) for data in broken),
        good.replace(b"index 1", b"index 01"),
        good.replace(b"index 1", b"index -1"),
        good.replace(b"index 1", b"extra AAAA\nindex 1"),
        good.replace(b"@v1", b"@v2"),
        good.replace(b"\n\n", b"\nAAAA\n\n", 1),
    ):
        with pytest.raises(EvidenceRejected) as problem:
            parse_log_proof(data, "")
        assert problem.value.code == "log-malformed", data


# Names that SQLite reads as something else, and files that somebody else made.


@pytest.mark.parametrize("name", ["file:a.log", ":memory:", "file:b?mode=memory", "a%20b#c", "é\udcff"])
def test_a_log_is_the_file_of_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create_log(Path(name), origin=ORIGIN, key=KEY.public_key)
    with open_log(Path(name)) as log:
        log.append(ids(1))
    assert [one.name for one in tmp_path.iterdir()] == [name]
    with open_log(Path(name), read_only=True) as log:
        assert log.size == 1


HOSTILE = {
    "a view that never ends": "ALTER TABLE meta RENAME TO m; CREATE VIEW meta AS WITH RECURSIVE r(name, value) AS "
    "(SELECT 'a', 1 UNION ALL SELECT 'a', value + 1 FROM r) SELECT name, value FROM r",
    "another table": "CREATE TABLE more (x)",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON entry BEGIN DELETE FROM node; END",
    "a column more": "ALTER TABLE entry ADD COLUMN more",
    "another table of that name": "DROP TABLE node; CREATE TABLE node (level, position, hash)",
}


@pytest.mark.parametrize("change", HOSTILE)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_database_with_anything_else_in_it_is_no_log(change: str, read_only: bool, tmp_path: Path) -> None:
    path = tmp_path / "log"
    create_log(path, origin=ORIGIN, key=KEY.public_key)
    database = sqlite3.connect(path)
    database.executescript(HOSTILE[change])
    database.close()
    with pytest.raises(UsageError) as caught, open_log(path, read_only=read_only):
        pass
    assert caught.value.code == "bad-log"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET id = 1000000000000 WHERE position = 2",
        "UPDATE entry SET id = 'text' WHERE position = 2",
        "UPDATE node SET hash = 1e300 WHERE level = 1",
        "UPDATE entry SET position = 9223372036854775807 WHERE position = 2",
        "UPDATE meta SET value = x'00' WHERE name = 'origin'",
    ],
)
def test_a_value_of_another_type_is_corruption_and_no_bug(change: str, path: Path) -> None:
    with open_log(path) as log:
        log.append(ids(3))
    database = sqlite3.connect(path)
    database.executescript(f"PRAGMA ignore_check_constraints = ON; {change}")
    database.close()
    for look in (AuditLog.check, lambda log: list(log.ids()), lambda log: log.checkpoint(KEY), lambda log: log.root(3)):
        with contextlib.suppress(EvidenceRejected, UsageError, Undecided), open_log(path, read_only=True) as log:
            look(log)
    with pytest.raises((EvidenceRejected, UsageError)), open_log(path) as log:
        log.check()


def test_reading_a_log_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    create_log(path, origin=ORIGIN, key=KEY.public_key)
    with open_log(path) as log:
        log.append(ids(1))
    before = path.stat().st_mtime_ns
    path.chmod(0o400)
    with open_log(path, read_only=True) as log:
        assert log.check() == 1
    assert path.stat().st_mtime_ns == before
