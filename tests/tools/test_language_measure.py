"""The figures of language models come from a script, and it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.tiny_llama import SOURCE, exported
from tools.language_models import measure


def test_a_small_model_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, output = tmp_path / "texts.txt", tmp_path / "figures.json"
    texts.write_text("\n".join((SOURCE / "calibration.txt").read_text().splitlines()[:12]) + "\n")
    arguments = ["measure", str(exported()), str(texts), "--bits", "12", "-o", str(output), "--most", "6"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(measure, "PROMPTS", {"a fact": "The capital of France is"})
    measure.main()
    found = json.loads(output.read_text())
    assert found["answers"][0]["answer"] == " Paris.<|end|>" and found["answers"][0]["as_float32"]
    assert found["fidelity"]["matches"] == found["fidelity"]["positions"]
