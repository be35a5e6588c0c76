"""The command line starts quickly because it loads nothing heavy; a test of imports, not of time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from verifai.cli.verbs import VERBS, Verb

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


VERB_MODULES = frozenset(
    f"verifai.cli.{verb.module}" for row in VERBS.values() for verb in ([row] if isinstance(row, Verb) else row.verbs.values())
)


def _loaded_by(code: str) -> set[str]:
    script = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import verifai", "import verifai.cli.app", "import verifai.cli"])
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert not _loaded_by(code).intersection(HEAVY)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["nonsense"], 2),
        (["verfy"], 2),
        (["log", "--help"], 0),
        (["srs"], 2),
        (["key", "nonsense", "--json"], 2),
    ],
)
def test_what_runs_no_verb_loads_no_verb_and_nothing_heavy(arguments: list[str], status: int) -> None:
    code = f"from verifai.cli.app import run\nassert run({arguments!r}) == {status}"
    assert not _loaded_by(code).intersection(HEAVY | VERB_MODULES)


def test_a_verb_loads_its_own_module_only() -> None:
    code = "from verifai.cli.app import run\nassert run(['pack', '--help']) == 0"
    assert _loaded_by(code).intersection(VERB_MODULES) == {"verifai.cli.bundles"}


def test_verifying_loads_no_model_reader_and_no_compiler() -> None:
    code = "from verifai.cli.app import run\nassert run(['verify', '--help']) == 0"
    assert not _loaded_by(code).intersection(HEAVY - {"numpy"})
