"""A circuit of public weights on a read-only disk, as in an image or another user's folder: nothing has to be written there."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.batch_circuits import small_circuit, write_rows
from verifai.circuit_folder import CircuitFolder
from verifai.cli import app as cli
from verifai.domain.statement import Visibility

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@pytest.fixture(scope="module")
def circuits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CircuitFolder]:
    root = tmp_path_factory.mktemp("circuits")
    return {one: small_circuit(root, one, Visibility(one)) for one in ("public", "private")}


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make every write below a folder fail as a read-only file system lets it fail; modes do not hold back root."""

    def forbid(folder: Path) -> None:
        def below(path: object) -> bool:
            return isinstance(path, str | bytes | os.PathLike) and Path(os.fsdecode(path)).resolve().is_relative_to(
                folder.resolve()
            )

        def refuse(name: str, module: Any, writes: Callable[..., bool]) -> None:
            genuine = getattr(module, name)

            def call(path: Any, *arguments: Any, **named: Any) -> Any:
                if below(path) and writes(*arguments, **named):
                    raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fsdecode(path))
                return genuine(path, *arguments, **named)

            monkeypatch.setattr(module, name, call)

        refuse("open", os, lambda flags, *rest, **named: bool(flags & WRITES))
        refuse("open", io, lambda mode="r", *rest, **named: any(one in mode for one in "wax+"))
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "chmod", "utime"):
            refuse(name, os, lambda *rest, **named: True)

    return forbid


def test_the_folder_of_this_test_cannot_be_written(tmp_path: Path, read_only: Callable[[Path], None]) -> None:
    (tmp_path / "f").write_text("there")
    read_only(tmp_path)
    file = tmp_path / "f"
    for write in (lambda: file.write_text(""), file.unlink, (tmp_path / "g").touch, (tmp_path / "d").mkdir):
        with pytest.raises(OSError, match="Read-only"):
            write()
    assert (tmp_path / "f").read_text() == "there"


@pytest.mark.parametrize("visibility", ["public", "private"])
@pytest.mark.parametrize("rows", [1, 3])
def test_proofs_are_made_and_verified(
    circuits: dict[str, CircuitFolder], tmp_path: Path, read_only: Callable[[Path], None], visibility: str, rows: int
) -> None:
    folder = circuits[visibility].folder
    data = write_rows(tmp_path / "in.npz", rows)
    read_only(folder)
    assert cli.run(["prove", str(folder), str(data), "-o", str(tmp_path / "e"), "-q"]) == 0
    assert cli.run(["verify", str(tmp_path / "e"), "--lock", str(folder), "-q"]) == 0


def test_compiling_there_is_undecided_and_no_bug(
    circuits: dict[str, CircuitFolder], read_only: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = circuits["public"].folder
    before = (folder / "circuit.lock").read_bytes()
    read_only(folder)
    assert cli.run(["compile", str(folder), "-q"]) == 4
    assert "Traceback" not in capsys.readouterr().err
    assert (folder / "circuit.lock").read_bytes() == before
