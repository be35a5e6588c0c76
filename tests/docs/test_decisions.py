"""The index of decisions lists every decision with the title, status and date of its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools import docs

FOLDER = ROOT / "docs/decisions"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d{4}) \| \[(.+)\]\(([\w.-]+)\) \| (.+) \| (\d{4}-\d\d-\d\d) \|$", INDEX, flags=re.M)


def test_the_index_is_the_generated_one() -> None:
    assert docs.decisions_page() == INDEX


def test_the_index_lists_every_page_once() -> None:
    assert [name for _, _, name, _, _ in ROWS] == [path.name for path in PAGES]


def test_numbers_are_unique() -> None:
    numbers = [number for number, *_ in ROWS]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(("number", "title", "name", "status", "date"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_says_what_its_page_says(number: str, title: str, name: str, status: str, date: str) -> None:
    heading, _, line = (FOLDER / name).read_text(encoding="utf-8").splitlines()[:3]
    assert heading == f"# {number} {title}"
    first, *notes = status.split("; ")
    assert line == "; ".join([f"Status: {first}, {date}", *notes]) + "."


@pytest.mark.parametrize("successor", re.findall(r"(?:superseded|amended) by \[(\d{4})\]\(([\w.-]+)\)", INDEX))
def test_a_successor_exists_and_is_named_by_its_number(successor: tuple[str, str]) -> None:
    number, name = successor
    assert name.startswith(f"{number}-")
    assert (FOLDER / name).is_file()


def test_a_page_without_a_status_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0001-nothing.md").write_text("# 0001 Nothing\n\n**Context.** None.\n", encoding="utf-8")
    monkeypatch.setattr(docs, "DECISIONS", tmp_path)
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"0001-nothing\.md"):
        docs.decisions_page()
