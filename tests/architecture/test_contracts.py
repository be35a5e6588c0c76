"""Every import contract of pyproject.toml fails on the import that it forbids, and holds without it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import grimp
import pytest

from tests.support.paths import ROOT

CONFIGURATION = ROOT / "pyproject.toml"
LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"


@dataclass(frozen=True)
class Planted:
    """An import that breaks a contract.

    Attributes:
        contract: the start of its name. file: below ``verifai/``; a new one is allowed. line: what is appended to it.
    """

    contract: str
    file: str
    line: str


WHOLE = "All of verifai"
DOMAIN = "The domain is pure"
CLUSTER = "Only the crew on a cluster knows Ray"
WORDS = "Only the command line knows typer and rich"
FRAMEWORKS = "Only exporters know the source frameworks"
EZKL = "ezkl runs in its worker only"
CLOSURE = "The verifier's closure is the standard library"
VERIFYING = "Verifying does not compile"
STAGES = "The stages of one step do not import each other"
INTERFACE = "Stages and the command line know engines by their interface"
LAYERS = "The sumcheck engine: imports point downward only"
COMPILER = "From ONNX to program"
ORDER = "Stages: gate on consensus"

SUMCHECK = "engines/sumcheck"
IN_FUNCTION = "def _planted():\n    "

PLANTED = [
    Planted(WHOLE, "domain/digest.py", "from verifai.stages import check"),
    Planted(WHOLE, "stages/check.py", "from verifai.showcase import demo"),
    Planted(WHOLE, "trust_file.py", "from verifai.stages import check"),
    Planted(WHOLE, "circuit_folder.py", "from verifai import trust_file"),
    Planted(WHOLE, "bundle/reader.py", "from verifai.reports import html_page"),
    Planted(WHOLE, "new_package/__init__.py", "import verifai.errors"),
    Planted(WHOLE, "onnx_graph/load.py", IN_FUNCTION + "from verifai.engines import interface"),
    Planted(CLUSTER, "stages/batch/many.py", IN_FUNCTION + "import ray"),
    Planted(DOMAIN, "domain/trust.py", "import numpy"),
    Planted(DOMAIN, "domain/trust.py", IN_FUNCTION + "import random"),
    Planted(WORDS, "stages/check.py", "import typer"),
    Planted(WORDS, "showcase/demo.py", "import rich"),
    Planted(WORDS, "trust_file.py", "import rich"),
    Planted(FRAMEWORKS, "showcase/demo.py", "import torch"),
    Planted(FRAMEWORKS, "trust_file.py", "import sklearn"),
    Planted(FRAMEWORKS, "exporters/onnx.py", "import torch"),
    Planted(FRAMEWORKS, "new_package/__init__.py", "import skops"),
    Planted(EZKL, "engines/ezkl/calls.py", "import ezkl"),
    Planted(EZKL, "engines/ezkl/evm/worker.py", IN_FUNCTION + "import ezkl"),
    Planted(EZKL, "engines/interface.py", "import ezkl"),
    Planted(EZKL, "showcase/bench.py", "import ezkl"),
    Planted(CLOSURE, f"{SUMCHECK}/verifier/verify.py", "import numpy"),
    Planted(CLOSURE, f"{SUMCHECK}/planning/plan.py", "import onnx"),
    Planted(CLOSURE, f"{SUMCHECK}/circuit/codec.py", "import cryptography"),
    Planted(CLOSURE, f"{SUMCHECK}/circuit/weights.py", "from verifai.domain import digest"),
    Planted(CLOSURE, f"{SUMCHECK}/protocol/field.py", IN_FUNCTION + "from verifai.engines.sumcheck.prover import kernels"),
    Planted(VERIFYING, f"{SUMCHECK}/verifying.py", "from verifai.engines.sumcheck import rederiving"),
    Planted(VERIFYING, f"{SUMCHECK}/payload/files.py", "from verifai.engines.sumcheck.lowering import lower"),
    Planted(VERIFYING, f"{SUMCHECK}/boundary.py", "from verifai.onnx_graph import model"),
    Planted(VERIFYING, "engines/interface.py", "import numpy"),
    Planted(STAGES, "stages/check.py", "from verifai.stages import prove"),
    Planted(INTERFACE, "stages/weights.py", "from verifai.engines.sumcheck.lock_section import parse_section"),
    Planted(INTERFACE, "stages/chain/split.py", "import verifai.engines.sumcheck.quantise.scales"),
    Planted(INTERFACE, "cli/srs.py", IN_FUNCTION + "from verifai.engines.ezkl.srs.store import default_store"),
    Planted(INTERFACE, "showcase/demo.py", "from verifai.engines.ezkl import tensors"),
    Planted(LAYERS, f"{SUMCHECK}/protocol/field.py", "from verifai.engines.sumcheck.verifier import verify"),
    Planted(LAYERS, f"{SUMCHECK}/verifying.py", IN_FUNCTION + "from verifai.engines.sumcheck import building"),
    Planted(LAYERS, f"{SUMCHECK}/constraints.py", "from verifai.engines.sumcheck.prover import witness"),
    Planted(LAYERS, f"{SUMCHECK}/without_a_layer.py", ""),
    Planted(COMPILER, f"{SUMCHECK}/lowering/emit.py", "import verifai.engines.sumcheck.planning.plan"),
    Planted(ORDER, "stages/verify.py", "from verifai.stages.gate import gate"),
    Planted(ORDER, "stages/consensus/find_round.py", "from verifai.stages.audit import audit"),
    Planted(ORDER, "stages/compile.py", IN_FUNCTION + "from verifai.stages import evidence"),
    Planted(ORDER, "stages/without_a_layer.py", ""),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and the project's configuration."""
    folder = tmp_path_factory.mktemp("contracts")
    shutil.copytree(ROOT / "verifai", folder / "verifai", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CONFIGURATION, folder)
    return folder


def lint(folder: Path) -> tuple[int, str]:
    """Exit status and output of lint-imports."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "1000"}
    done = subprocess.run([sys.executable, "-c", LINT], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def broken(output: str) -> list[str]:
    """Names of the broken contracts."""
    return re.findall(r"^(.+) BROKEN\b", output, re.MULTILINE)


def test_all_contracts_hold(copy: Path) -> None:
    status, output = lint(copy)
    assert (status, broken(output)) == (0, []), output


def test_every_contract_is_shown_to_fail() -> None:
    listed = tomllib.loads(CONFIGURATION.read_text())["tool"]["importlinter"]["contracts"]
    for contract in listed:
        assert any(contract["name"].startswith(one.contract) for one in PLANTED), contract["name"]


@pytest.mark.parametrize(
    "planted", PLANTED, ids=lambda one: f"{one.contract}: {one.line.split('import')[-1].strip()} in {one.file}"
)
def test_a_forbidden_import_breaks_its_contract(planted: Planted, copy: Path) -> None:
    path = copy / "verifai" / planted.file
    before = path.read_bytes() if path.exists() else None
    new_folder = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    try:
        path.write_bytes((before or b"") + f"\n{planted.line}\n".encode())
        status, output = lint(copy)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        if new_folder:
            path.parent.rmdir()
    assert status == 1, output
    assert any(name.startswith(planted.contract) for name in broken(output)), output


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports of verifai, those inside functions too, without those for type checkers."""
    return grimp.build_graph("verifai", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)


@pytest.mark.parametrize(
    ("packages", "allowed"),
    [
        (["verifai.domain"], "verifai.errors"),
        ([f"verifai.engines.sumcheck.{one}" for one in ("verifier", "planning", "protocol", "circuit")], "verifai.errors"),
        (["verifai.engines.sumcheck.verifying"], "verifai."),
    ],
    ids=["domain", "the verifier's closure", "verifying"],
)
def test_what_is_standard_library_only_reaches_nothing_else(
    packages: list[str], allowed: str, graph: grimp.ImportGraph
) -> None:
    """A contract lists what it forbids; this finds what nobody listed."""
    mine = {module for one in packages for module in (one, *graph.find_descendants(one))}
    reached = {module for one in mine for module in graph.find_upstream_modules(one)} - mine
    foreign = [one for one in sorted(reached) if one not in sys.stdlib_module_names and not one.startswith(allowed)]
    assert mine and not foreign, foreign
