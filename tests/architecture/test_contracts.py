"""The import contracts of pyproject.toml hold, and each breaks when an import that it forbids is planted in a copy.

A contract that forbids a module by a name that it lost is kept for ever; only a violation shows that it still watches.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import ROOT

IN_FUNCTION = "def _late() -> None:\n    "
VIOLATIONS = [
    ("engines-by-interface", "stages/weights.py", "from verifai.engines.sumcheck.lock_section import parse_section"),
    ("engines-by-interface", "stages/chain/split.py", "import verifai.engines.sumcheck.quantise.scales"),
    ("engines-by-interface", "cli/srs.py", f"{IN_FUNCTION}from verifai.engines.ezkl.srs.store import default_store"),
    ("engines-by-interface", "showcase/demo.py", "from verifai.engines.ezkl import tensors"),
    ("sumcheck-layers", "engines/sumcheck/protocol/field.py", "from verifai.engines.sumcheck.verifier import verify"),
    ("sumcheck-layers", "engines/sumcheck/verifying.py", f"{IN_FUNCTION}from verifai.engines.sumcheck import building"),
    ("sumcheck-layers", "engines/sumcheck/constraints.py", "from verifai.engines.sumcheck.prover import witness"),
    ("sumcheck-layers", "engines/sumcheck/without_a_floor.py", ""),
    (
        "sumcheck-compiler",
        "engines/sumcheck/lowering/emit.py",
        "import verifai.engines.sumcheck.planning.plan",
    ),
    ("stages-layers", "stages/verify.py", "from verifai.stages.gate import gate"),
    ("stages-layers", "stages/consensus/find_round.py", "from verifai.stages.audit import audit"),
    ("stages-layers", "stages/compile.py", f"{IN_FUNCTION}from verifai.stages import evidence"),
    ("stages-layers", "stages/without_a_floor.py", ""),
]
"""Contract, file below ``verifai/`` (a new one, if there is none), line added at its end."""


@dataclass(frozen=True)
class House:
    """A copy of the package with its contracts."""

    root: Path

    @contextmanager
    def plant(self, path: str, line: str) -> Iterator[None]:
        """While it is open, the file below ``verifai/`` ends with ``line``."""
        file = self.root / "verifai" / path
        before = file.read_bytes() if file.exists() else None
        file.write_bytes((before or b"") + f"\n{line}\n".encode())
        try:
            yield
        finally:
            if before is None:
                file.unlink()
            else:
                file.write_bytes(before)

    def broken_contracts(self, *only: str) -> set[str]:
        """Ids of the contracts that do not hold, among those of ``only``, by default among all that have an id."""
        contracts = tomllib.loads((self.root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        names = {one["id"]: one["name"] for one in contracts if "id" in one}
        chosen = [word for contract in only or names for word in ("--contract", contract)]
        # Long names are wrapped at the terminal's width. The folder that is asked comes before any installed package.
        environment = {**os.environ, "COLUMNS": "1000", "PYTHONPATH": str(self.root)}
        call = "from importlinter.cli import lint_imports_command; lint_imports_command()"
        command = [sys.executable, "-c", call, "--no-cache", "--no-logo", *chosen]
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=120)
        kept = {contract for contract, name in names.items() if f"\n{name} KEPT" in done.stdout}
        broken = {contract for contract, name in names.items() if f"\n{name} BROKEN" in done.stdout}
        assert kept | broken == set(only or names), done.stdout + done.stderr
        assert (done.returncode != 0) == bool(broken), done.stdout + done.stderr
        return broken


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "verifai", root / "verifai", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    return House(root)


def test_the_contracts_hold_as_they_are(house: House) -> None:
    assert not house.broken_contracts()


@pytest.mark.parametrize(("contract", "path", "line"), VIOLATIONS)
def test_a_planted_violation_breaks_its_contract(house: House, contract: str, path: str, line: str) -> None:
    with house.plant(path, line):
        assert house.broken_contracts(contract) == {contract}


def test_every_contract_with_an_id_has_a_planted_violation(house: House) -> None:
    contracts = tomllib.loads((house.root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {one["id"] for one in contracts if "id" in one} == {contract for contract, _, _ in VIOLATIONS}
