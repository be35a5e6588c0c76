"""No module of verifai rests on itself: whoever reads one can tell which files it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.circles import circles


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles() == []


def test_a_circle_through_a_function_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "ring_of_three"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from ring_of_three import b\n")
    (package / "b.py").write_text("def late():\n    from ring_of_three import c\n    return c\n")
    (package / "c.py").write_text("from ring_of_three.a import b\n")
    (package / "d.py").write_text(
        "from typing import TYPE_CHECKING\nfrom ring_of_three import a\nif TYPE_CHECKING:\n    from ring_of_three import e\n"
    )
    (package / "e.py").write_text("from ring_of_three import d\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert circles("ring_of_three") == [["ring_of_three.a", "ring_of_three.b", "ring_of_three.c"]]
