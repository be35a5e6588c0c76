"""In which suites the sumcheck engine's tests run; each module says which fixture it uses."""

from __future__ import annotations

import pytest

from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE


@pytest.fixture(params=[INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
def suite(request, monkeypatch):
    """Once in every suite."""
    monkeypatch.setattr(Sketch, "suite", request.param)
    return request.param


@pytest.fixture
def hiding(monkeypatch):
    """In the zero-knowledge suite."""
    monkeypatch.setattr(Sketch, "suite", ZERO_KNOWLEDGE)
