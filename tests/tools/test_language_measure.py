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


@pytest.mark.slow
def test_proofs_are_measured_up_to_where_they_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, output = SOURCE / "calibration.txt", tmp_path / "table.json"
    arguments = ["measure", str(SOURCE), str(texts), "--positions", "8", "65", "32", "-o", str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    measure.main()
    small, stopped = json.loads(output.read_text())
    assert small["answer"] == " Paris.<|end|>" and not small["stopped"]
    assert small["proof_bytes"] > 100_000 and min(small[name] for name in ("prove_cpu_s", "peak_gib", "verify_cpu_s")) > 0
    assert (stopped["positions"], stopped["stopped"]) == (65, "export: model-malformed")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 and {line.count("|") for line in printed} == {10}
