"""An ezkl that is missing or broken says nothing about a proof."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from verifai.engines.ezkl import calls, verifying, worker
from verifai.engines.ezkl.calls import CallFailed, Fence, Ran
from verifai.errors import EvidenceRejected, Undecided
from verifai.execution.child import Step


def _refuses(*arguments: object, **options: object) -> bool:
    raise RuntimeError("the proof does not hold")


def _in_this_process(steps: Sequence[Mapping[str, Any]], fence: Fence, *, inputs: Mapping[str, bytes]) -> Ran:
    values = []
    for step in steps:
        try:
            values.append(worker.HANDLERS[step["op"]](step["args"]))
        except Exception as problem:
            raise CallFailed(Step(step["op"], None, "error", f"{type(problem).__name__}: {problem}", 0.0)) from None
    return Ran(tuple(values), (0.0,) * len(values), 1)


def _check() -> None:
    section: Any = SimpleNamespace(srs=SimpleNamespace(verifier=b""))
    parsed: Any = SimpleNamespace(for_ezkl=lambda: b"{}")
    verifying.check_proof(section, {verifying.SETTINGS_FILE: b"", verifying.VK_FILE: b""}, parsed, Fence())


@pytest.mark.parametrize("installed", [None, ModuleType("ezkl")], ids=["missing", "an empty folder"])
def test_without_ezkl_a_proof_is_undecided(installed: ModuleType | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ezkl", installed)  # type: ignore[arg-type]
    monkeypatch.setattr(calls, "run", _in_this_process)
    with pytest.raises(Undecided) as caught:
        _check()
    assert (caught.value.code, caught.value.status) == ("engine-not-loaded", 4)
    assert "ezkl" in caught.value.message


def test_a_refusal_by_an_ezkl_that_loads_is_a_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("ezkl")
    module.verify = _refuses  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ezkl", module)
    monkeypatch.setattr(calls, "run", _in_this_process)
    with pytest.raises(EvidenceRejected) as caught:
        _check()
    assert caught.value.code == "proof-invalid"
