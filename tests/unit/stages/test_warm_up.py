"""Warming up asks every engine that can, and no other; a failure is not kept silent."""

from __future__ import annotations

from typing import Any

import pytest

from verifai.engines.registry import all_engines
from verifai.engines.sumcheck.engine import SumcheckEngine
from verifai.errors import InternalError
from verifai.stages.warm_up import warm_up


def test_a_wrong_result_is_not_kept_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any) -> None:
        raise InternalError("bug", "the kernels compute wrongly here")

    monkeypatch.setattr(SumcheckEngine, "warm_up", wrong)
    with pytest.raises(InternalError):
        warm_up()


def test_each_engine_that_warms_up_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(SumcheckEngine, "warm_up", lambda self, progress: asked.append(self.name))
    warm_up()
    assert asked == [engine.name for engine in all_engines() if hasattr(engine, "warm_up")] != []
