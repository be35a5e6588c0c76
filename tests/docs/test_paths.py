"""Every file, folder and module that a page of the docs names is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/data/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "fixtures").rglob("*.md")),
]
"""The change log is no page of these: it may name what was."""
FOLDERS = ("verifai", "tests", "docs", "tools", "fixtures", "circuits", "integrations")
ELSEWHERE = {"circuits/*/build", "verifai/openings", "verifai.toml"}
"""Not in git: what compile makes, a folder of the user's own state, and a policy of the user's."""
_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./*{{}},-]*\Z")
_FORMAT = re.compile(r"verifai/[a-z-]+/v?\d+\Z")
"""The name of a document's format, such as ``verifai/gate/v1``."""
_MODULE = re.compile(r"[\w./*-]+\.py\Z")
_DOTTED = re.compile(r"verifai(?:\.\w+)+\Z")


@cache
def _modules() -> frozenset[str]:
    """Every Python file by each of its endings: ``a/b/c.py``, ``b/c.py``, ``c.py``."""
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            found |= {"/".join(parts[at:]) for at in range(len(parts))}
    return frozenset(found)


def _alternatives(pattern: str) -> list[str]:
    """``a/{b,c}`` as ``a/b`` and ``a/c``."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    return [
        one
        for word in braces[1].split(",")
        for one in _alternatives(pattern[: braces.start()] + word.strip() + pattern[braces.end() :])
    ]


def named(page: str) -> list[str]:
    """The paths that the text of a page names, outside of its fenced blocks."""
    text = re.sub(r"```.*?```", "", page, flags=re.S)
    words = [word for span in _SPAN.findall(text) for word in span.split()]
    words = [word.rstrip(".,:;").replace("NAME", "*") for word in words]
    kinds = (_PATH, _MODULE, _DOTTED)
    return [word for word in words if any(kind.match(word) for kind in kinds) and not _FORMAT.match(word)]


def is_there(name: str) -> bool:
    """Whether every alternative of ``name`` is a file or folder, or the ending of a module's path."""
    return all(one in ELSEWHERE or _exists(one) for one in _alternatives(name))


def _exists(name: str) -> bool:
    if _DOTTED.match(name):
        path = ROOT / name.replace(".", "/")
        return path.is_dir() or path.with_suffix(".py").is_file()
    return any(ROOT.glob(name.rstrip("/"))) if _PATH.match(name) else name in _modules()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    missing = [name for name in named(page.read_text(encoding="utf-8")) if not is_there(name)]
    assert not missing, missing


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see `verifai/errors.py`.", True),
        ("see `verifai/erors.py`.", False),
        ("`bundle/reader.py` reads", True),
        ("`bundle/raeder.py` reads", False),
        ("`circuits/{digits-mlp,lenet5}/circuit.lock`", True),
        ("`circuits/{digits-mlp,lenet6}/circuit.lock`", False),
        ("`verifai/stages/gate/*.py`", True),
        ("`verifai/stages/gate_*.py`", False),
        ("run `pytest tests/nowhere/test_it.py`", False),
        ("`verifai.bundle.reader` reads", True),
        ("`verifai.bundle.raeder` reads", False),
    ],
)
def test_a_wrong_path_is_found(text: str, found: bool) -> None:
    names = named(text)
    assert names
    assert all(is_there(name) for name in names) is found
