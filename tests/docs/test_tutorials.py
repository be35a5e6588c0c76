"""The tutorials do what they say: each page runs from its own text, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.executed_pages import commands, run_page
from tests.support.paths import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
NEEDS_TORCH = {"pytorch"}
PAGES = sorted(page.stem for page in TUTORIALS.glob("*.md") if page.stem != "index")


@pytest.mark.tutorials
@pytest.mark.parametrize("name", [name for name in PAGES if name not in NEEDS_TORCH])
def test_a_tutorial_does_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(name, tmp_path, monkeypatch)


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted(NEEDS_TORCH))
def test_a_tutorial_with_pytorch_does_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: make test-torch")
    _run(name, tmp_path, monkeypatch)


def _run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPO", str(ROOT))
    monkeypatch.setenv("VERIFAI_SRS_DIR", str(tmp_path / "srs"))
    work = tmp_path / "work"
    work.mkdir()
    assert len(run_page(TUTORIALS / f"{name}.md", work)) >= 4


def test_every_tutorial_is_listed_and_in_the_site() -> None:
    listed = (TUTORIALS / "index.md").read_text(encoding="utf-8")
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(PAGES) >= 4
    for name in PAGES:
        assert f"({name}.md)" in listed
        assert f"tutorials/{name}.md" in site


def test_a_block_is_read_as_its_commands() -> None:
    found = commands("$ one --flag \\\n    more # exit status 3\nprints this\n…\nand this\n$ two\n")
    assert [(one.line, one.status, one.prints) for one in found] == [
        ("one --flag more", 3, ("prints this", "and this")),
        ("two", 0, ()),
    ]


@pytest.mark.parametrize(
    "page",
    [
        "```console\n$ true # exit status 1\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ printf 'b a'\na\nb\n```\n",
        "```console\n$ echo one\none … two\n```\n",
        "```python\nraise SystemExit(1)\n```\n",
        '```python title="a.py"\nprint(1)\n```\n\n```console\n$ python a.py\n2\n```\n',
    ],
)
def test_a_page_that_is_wrong_fails(page: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    with pytest.raises(AssertionError):
        run_page(tmp_path / "page.md", work)


def test_a_page_that_is_right_runs(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    text = '```python title="a.py"\nprint("one", 2)\n```\n\n```console\n$ python a.py && exit 3 # exit status 3\none …\n```\n'
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    assert len(run_page(tmp_path / "page.md", work)) == 1
