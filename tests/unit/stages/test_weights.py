"""Roots are shown and renewed only for private weights that the lock pins."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder, render_lock
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.statement import EngineName
from verifai.errors import UsageError
from verifai.stages.weights import renew_root, show_roots

CIRCUIT = ROOT / "circuits" / "digits-mlp"
ASKS = [show_roots, renew_root]


@pytest.fixture
def folder(tmp_path: Path) -> CircuitFolder:
    """A circuit whose weights are public, pinned for both engines."""
    shutil.copytree(CIRCUIT, tmp_path / "c", ignore=shutil.ignore_patterns("build", "secrets", "circuit.local.lock"))
    return CircuitFolder(tmp_path / "c")


@pytest.mark.parametrize("ask", ASKS)
def test_public_weights_have_no_roots(folder: CircuitFolder, ask: Callable[[CircuitFolder], object]) -> None:
    with pytest.raises(UsageError) as caught:
        ask(folder)
    assert (caught.value.code, caught.value.where) == ("weights-not-private", str(folder.folder))
    assert not folder.secrets_dir(EngineName.SUMCHECK).exists()


@pytest.mark.parametrize("ask", ASKS)
def test_a_lock_of_another_suite_is_not_read(folder: CircuitFolder, ask: Callable[[CircuitFolder], object]) -> None:
    text = folder.lock_path.read_text()
    assert 'suite = "sumcheck/2"' in text
    folder.lock_path.write_text(text.replace('suite = "sumcheck/2"', 'suite = "sumcheck/0"'))
    with pytest.raises(UsageError) as caught:
        ask(folder)
    assert caught.value.code == "engine-version"


@pytest.mark.parametrize("ask", ASKS)
def test_a_lock_that_pins_no_engine_with_roots_says_so(folder: CircuitFolder, ask: Callable[[CircuitFolder], object]) -> None:
    lock = folder.lock()
    only = {EngineName.EZKL: lock.section(EngineName.EZKL)}
    folder.lock_path.write_bytes(render_lock(CircuitLock(lock.name, lock.model_sha256, only)))
    with pytest.raises(UsageError) as caught:
        ask(folder)
    assert caught.value.code == "engine-not-in-lock" and "sumcheck" in caught.value.message
