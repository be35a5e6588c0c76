"""The command line starts quickly because it loads nothing heavy; a test of imports, not of time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = frozenset(
    (
        "torch",
        "ezkl",
        "onnx",
        "onnxruntime",
        "datasketch",
        "scipy",
        "ray",
        "numba",
        "numpy",
        "sklearn",
        "cryptography",
        "sqlite3",
    )
)


def _loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import verifai", "import verifai.cli.app", "import verifai.cli"])
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert not _loaded_by(code).intersection(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = "from verifai.cli.app import run\nassert run(['--help']) == 0"
    assert not _loaded_by(code).intersection(HEAVY)
