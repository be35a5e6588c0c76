"""A reader's own input or output beside the proven one: both verifiers take it by one rule, and refuse it in one text."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.second_reader import DIST
from verifai.cli.app import run

pytestmark = pytest.mark.js
BUNDLE, LOCK = (ROOT / "fixtures" / "bundles" / "sumcheck-2" / f"public.{kind}" for kind in ("vbundle", "lock"))


def first(option: str, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = run(["verify", str(BUNDLE), "--lock", str(LOCK), option, str(path), "--json"])
    return status, json.loads(capsys.readouterr().out)


def second(option: str, path: Path) -> tuple[int, dict[str, Any]]:
    command = ["node", str(DIST / "verifier.mjs"), str(BUNDLE), "--lock", str(LOCK), option, str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, json.loads(done.stdout)


def said(document: dict[str, Any]) -> tuple[str, str]:
    """Code and message of what was refused; empty where the tensor matches."""
    problems = [document["error"]] if document.get("error") else document["findings"]
    found = [one for one in problems if one.get("outcome") not in ("holds", "not-checked")]
    return (found[0]["code"], found[0]["message"]) if found else ("", "")


@pytest.fixture(scope="module")
def proven() -> dict[str, np.ndarray]:
    done = subprocess.run(
        ["node", str(DIST / "verifier.mjs"), str(BUNDLE), "--lock", str(LOCK), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    tensors = json.loads(done.stdout)["bundles"][0]["statement"]["tensors"]
    return {one["role"]: np.array(one["values"], np.float64).reshape(one["shape"]) for one in tensors}


def at(values: np.ndarray, place: int, value: float) -> np.ndarray:
    found = values.copy()
    found.reshape(-1)[place] = value
    return found


NAMES = {"input": "pixels", "output": "logits"}
CASES: dict[str, tuple[str, Any, int]] = {
    "as it is": ("input", lambda x: x.astype(np.float32), 0),
    "float64 that float32 holds": ("input", lambda x: x, 0),
    "float64 that float32 does not hold": ("input", lambda x: x + 1e-10, 2),
    "float64 next to a tie": ("input", lambda x: at(x, 1, 0.03125 - 1e-17), 2),
    "float64 beyond float32": ("input", lambda x: at(x, 3, 1e39), 2),
    "no number": ("input", lambda x: at(x, 7, np.nan), 2),
    "no number in float32": ("input", lambda x: at(x, 7, np.nan).astype(np.float32), 2),
    "minus infinity": ("input", lambda x: at(x, 63, -np.inf), 2),
    "truth values": ("input", lambda x: x > 0, 2),
    "integers that float32 does not hold": ("input", lambda x: at(x, 2, 2**24 + 1).astype(np.int64), 2),
    "others": ("input", lambda x: at(x, 2, 1.0).astype(np.float32), 1),
    "an output as it is": ("output", lambda y: y, 0),
    "an output in float32": ("output", lambda y: y.astype(np.float32), 0),
    "an output that is no number": ("output", lambda y: at(y, 4, np.nan), 2),
    "an output that is infinite": ("output", lambda y: at(y, 9, np.inf), 2),
    "truth values for an output": ("output", lambda y: y > 0, 2),
    "another output": ("output", lambda y: at(y, 0, 1.0), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_both_verifiers_take_and_refuse_the_same(
    case: str, proven: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    role, change, status = CASES[case]
    path = tmp_path / "given.npz"
    np.savez(path, **{NAMES[role]: change(proven[role])})
    found = [first(f"--{role}", path, capsys), second(f"--{role}", path)]
    assert [one[0] for one in found] == [status, status], [said(one[1]) for one in found]
    texts = [said(document) for _, document in found]
    assert texts[0][0] == texts[1][0] and bool(texts[0][0]) == bool(status)
    if status == 2:
        assert texts[0][1] == texts[1][1], "one text"
