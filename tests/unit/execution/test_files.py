"""A reader sees the old file or the new one, never half of one; and never a file that is not what it seems."""

from __future__ import annotations

from pathlib import Path

import pytest

from verifai.errors import Undecided, UsageError
from verifai.execution.files import read_limited, write_atomic


def test_a_folder_that_does_not_exist_is_reported_not_created(tmp_path: Path) -> None:
    with pytest.raises(Undecided) as caught:
        write_atomic(tmp_path / "absent" / "file", b"data")
    assert caught.value.code == "disk"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def interrupted(self: Path, other: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_written_file_has_the_content_and_mode_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, b"new", mode=0o600)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["absent", "folder", "large"])
def test_what_is_no_small_regular_file_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(UsageError) as caught:
        read_limited(tmp_path / name, limit=4)
    assert caught.value.code == "file-missing"


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    assert read_limited(tmp_path / "file", limit=4) == b"1234"
