"""The committed locks come out again: from their pins without a search, and from nothing with one."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import EngineName
from verifai.stages.compile import compile_circuit

SMALL = ("digits-mlp", "digits-cnn", "breast-cancer-mlp")
PINNED_BY_SIZES = ("settings_sha256", "vk_sha256", "circuit_onnx_sha256", "parameters", "tensors", "srs", "proof_bytes")


def checkout(folder: Path, name: str) -> Path:
    """The files of one circuit as a fresh clone has them."""
    shutil.copytree(
        ROOT / "circuits" / name, folder / "circuits" / name, ignore=shutil.ignore_patterns("build", "*.local.lock")
    )
    shutil.copytree(ROOT / "fixtures" / name, folder / "fixtures" / name)
    shutil.copytree(ROOT / "fixtures" / "srs", folder / "fixtures" / "srs")
    return folder / "circuits" / name


def section(circuit: Path) -> dict[str, Any]:
    document = tomllib.loads((circuit / "circuit.lock").read_text(encoding="utf-8"))
    found: dict[str, Any] = document["engine"]["ezkl"]
    return found


@pytest.mark.parametrize("name", SMALL)
def test_a_fresh_clone_derives_the_pinned_key_again(name: str, tmp_path: Path) -> None:
    circuit = checkout(tmp_path, name)
    before = (circuit / "circuit.lock").read_bytes()
    assert compile_circuit(CircuitFolder(circuit), locked=True).reproduced
    assert (circuit / "circuit.lock").read_bytes() == before
    built = circuit / "build" / "ezkl"
    assert hashlib.sha256((built / "vk.key").read_bytes()).hexdigest() == section(circuit)["vk_sha256"]
    assert hashlib.sha256((built / "settings.json").read_bytes()).hexdigest() == section(circuit)["settings_sha256"]


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "lenet5"])
def test_the_sumcheck_circuits_come_out_again_from_their_pinned_scales(name: str, tmp_path: Path) -> None:
    """A change of the lowering that alters pinned circuits would strand every lock and bundle made before it."""
    circuit = checkout(tmp_path, name)
    before = (circuit / "circuit.lock").read_bytes()
    assert compile_circuit(CircuitFolder(circuit), engine=EngineName.SUMCHECK, locked=True).reproduced
    assert (circuit / "circuit.lock").read_bytes() == before


@pytest.mark.parametrize("name", ["breast-cancer-mlp", *(pytest.param(name, marks=pytest.mark.slow) for name in SMALL[:2])])
def test_a_search_from_nothing_ends_in_the_same_key(name: str, tmp_path: Path) -> None:
    circuit = checkout(tmp_path, name)
    committed = section(circuit)
    (circuit / "circuit.lock").unlink()
    assert not compile_circuit(CircuitFolder(circuit)).reproduced
    found = section(circuit)
    assert {field: found[field] for field in PINNED_BY_SIZES} == {field: committed[field] for field in PINNED_BY_SIZES}
