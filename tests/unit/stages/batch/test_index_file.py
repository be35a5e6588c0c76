"""The index on disk: a row is there whole or not at all, and one run at a time writes it."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from verifai.domain.digest import Sha256
from verifai.domain.proof_index import INDEX_FILE, IndexHeader, IndexRow, ProofIndex, SampleStatus
from verifai.domain.statement import EngineName
from verifai.errors import Undecided, UsageError
from verifai.stages.batch.index_file import IndexFile, held_folder, read_index, remove_unfinished

A = Sha256("a" * 64)
INDEX = ProofIndex(IndexHeader("0" * 32, "net", EngineName.SUMCHECK, A, A, 500, A))


def row(number: int) -> IndexRow:
    return IndexRow(number, SampleStatus.FAILED, A, code="bug")


def test_a_second_run_is_kept_out_and_let_in_afterwards(tmp_path: Path) -> None:
    with held_folder(tmp_path / "e"):
        with pytest.raises(Undecided) as caught, held_folder(tmp_path / "e"):
            pass
        assert caught.value.code == "batch-busy"
    with held_folder(tmp_path / "e"):
        pass
    assert list((tmp_path / "e").iterdir()) == [], "the lock leaves nothing behind"


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = IndexFile(tmp_path / INDEX_FILE, INDEX)
    book.add(row(1))
    before = book.path.read_bytes()
    genuine = os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return genuine(handle, data[:50])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Undecided) as caught:
        book.add(row(2))
    assert caught.value.code == "disk"
    monkeypatch.undo()
    assert book.path.read_bytes() == before
    assert set(book.index.rows) == {1}


def test_rows_of_many_threads_are_all_there(tmp_path: Path) -> None:
    book = IndexFile(tmp_path / INDEX_FILE, INDEX)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(book.add, [row(number) for number in reversed(range(200))]))
    found = read_index(tmp_path)
    assert found is not None and set(found.rows) == set(range(200))
    book.finish()
    lines = book.path.read_text().splitlines()[1:]
    assert [f'"row": {number},' in line for number, line in enumerate(lines)] == [True] * 200


def test_a_link_in_the_place_of_an_index_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "other"
    target.write_bytes(INDEX.to_bytes())
    (tmp_path / INDEX_FILE).symlink_to(target)
    with pytest.raises(UsageError, match="it is a link"):
        read_index(tmp_path)
    assert read_index(tmp_path.parent) is None


def test_only_what_a_killed_run_was_writing_is_removed(tmp_path: Path) -> None:
    for name in (".000007.ab_9.tmp", ".reserved.0f.tmp", f".{INDEX_FILE}.x.tmp"):
        (tmp_path / name).mkdir()
    kept = ["000007", ".000007", ".git", ".release.ab.tmp", ".000007.ab.tmp.bak", "notes.tmp"]
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / ".000008.abc.tmp").symlink_to(tmp_path / "000007")
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, ".000008.abc.tmp"}
