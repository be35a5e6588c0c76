"""Warming up proves and verifies; memory estimates grow with the circuit; the verifier needs the standard library alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import sumcheck_examples as examples
from verifai.engines.sumcheck.planning.memory import PROCESS_BYTES, peak_memory_bytes
from verifai.engines.sumcheck.prover.resources import warm_up
from verifai.engines.sumcheck.verifier import verify as verifying
from verifai.errors import EvidenceRejected, InternalError


class Listener:
    def __init__(self):
        self.phases, self.steps = [], 0

    def phase(self, name, total=None):
        self.phases.append(name)

    def advance(self, steps=1):
        self.steps += steps

    def memory(self, peak_bytes):
        raise AssertionError

    def note(self, text):
        raise AssertionError


def test_warming_up_reports_every_circuit():
    listener = Listener()
    warm_up(listener)
    assert listener.phases == ["warm-up"] and listener.steps == 6


def test_warming_up_says_so_when_the_kernels_compute_wrongly(monkeypatch):
    def refuse(*_):
        raise EvidenceRejected("proof-invalid", "no")

    monkeypatch.setattr(verifying, "verify", refuse)
    with pytest.raises(InternalError):
        warm_up()


def test_memory_estimates_cover_the_process_and_grow_with_the_circuit():
    small, large = (peak_memory_bytes(circuit) for circuit, _ in (examples.mlp(), examples.cnn(committed=True)))
    assert PROCESS_BYTES < small < large < 2 * PROCESS_BYTES


def test_the_verifier_imports_nothing_but_the_standard_library_and_this_package():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import verifai.engines.sumcheck.verifier.verify\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "foreign = sorted(name for name in new if name != 'verifai' and name not in sys.stdlib_module_names)\n"
        "assert not foreign, foreign\n"
        "assert not any(name.startswith('verifai.engines.sumcheck.prover') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
