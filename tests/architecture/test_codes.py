"""Every stable code that the source raises is listed with meaning and remedy, and no listed code is dead."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.paths import ROOT
from verifai.domain.codes import all_codes

SOURCE = ROOT / "verifai"
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
ERRORS = {
    "EvidenceRejected": 1,
    "UsageError": 2,
    "UnsupportedModel": 2,
    "InputRejected": 2,
    "PolicyNotMet": 3,
    "Undecided": 4,
    "ResourceExhausted": 4,
    "DeadlineExceeded": 4,
    "EngineCrashed": 4,
    "InternalError": 70,
    "Interrupted": 130,
}


def _raised() -> list[tuple[str, str, str]]:
    """(class, literal code, place) of every construction of an error with a literal code."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            first = node.args[0]
            if name in ERRORS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append((name, first.value, f"{path.relative_to(SOURCE)}:{node.lineno}"))
    return found


def test_something_is_raised() -> None:
    assert len(_raised()) > 50


def test_every_raised_code_is_listed_with_its_status() -> None:
    codes = all_codes()
    missing = [f"{place}: {code} ({kind})" for kind, code, place in _raised() if code not in codes]
    assert not missing, "\n".join(missing)
    wrong = [
        f"{place}: {code} is raised with status {ERRORS[kind]}, listed with {codes[code].statuses}"
        for kind, code, place in _raised()
        if ERRORS[kind] not in codes[code].statuses
    ]
    assert not wrong, "\n".join(wrong)


def test_every_listed_code_occurs_in_the_source() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py") if "codes" not in path.relative_to(SOURCE).parts
    )
    # Composed at run time, from a role or from what was compared.
    built = {f"{role}-{what}" for role in ("input", "output") for what in ("mismatch", "matches", "private")}
    built |= {f"sumcheck-{what}-{how}" for what in ("circuit", "weights", "model") for how in ("rederived", "differs")}
    dead = [name for name in all_codes() if f'"{name}"' not in text and name not in built]
    assert not dead, dead


@pytest.mark.parametrize("name", sorted(all_codes()))
def test_every_code_is_well_formed(name: str) -> None:
    code = all_codes()[name]
    assert CODE.match(name)
    assert code.meaning.endswith(".")
    assert set(code.statuses) <= {0, 1, 2, 3, 4, 70, 130}
    assert code.remedy or code.statuses == (0,)
