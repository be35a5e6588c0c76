"""The second verifier (verifier-js/) beside the first one: the same verdicts, the same codes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERIFIER = ROOT / "verifier-js" / "dist" / "verifier.mjs"

pytestmark = pytest.mark.js


def test_it_accepts_nothing_when_it_is_given_nothing() -> None:
    done = subprocess.run(["node", VERIFIER], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode not in (0, 1)
    assert done.stdout == ""
    assert done.stderr
