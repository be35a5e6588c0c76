"""check when nobody can: every engine's reason, every node, as text and as JSON; and memory that a machine does not have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.onnx_builders import model, node
from verifai.cli.app import run
from verifai.execution.machine import memory_bytes
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.stages import check

NEITHER = [node("Det", ["x"], ["d"], name="first"), node("Sqrt", ["d"], ["s"]), node("Det", ["x"], ["e"], name="second")]
"""No engine proves a determinant of five rows; both nodes are to be named."""


def _file(folder: Path, nodes: list[object], **options: object) -> str:
    path = folder / "m.onnx"
    path.write_bytes(canonicalise(model(nodes, **options).SerializeToString(), where="m").model.data)  # type: ignore[arg-type]
    return str(path)


@pytest.fixture
def refused(tmp_path: Path) -> str:
    return _file(tmp_path, [*NEITHER, node("Add", ["s", "e"])], inputs={"x": (1, 5, 5)})


def test_both_reasons_and_all_nodes_are_told(refused: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", refused]) == 2
    told = capsys.readouterr()
    for engine in ("ezkl", "sumcheck"):
        for name in ("first", "second"):
            assert f"{engine}: {name} (Det)" in told.out
        assert f"{engine}: the {engine} engine cannot prove Det" in told.err


def test_the_same_stands_in_json(refused: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", refused, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "usage" and document["error"]["code"] == "operator-unsupported"
    assert [one["engine"] for one in document["engines"]] == ["ezkl", "sumcheck"]
    for one in document["engines"]:
        assert not one["provable"] and one["refusal"]["message"]
        assert [entry["node"] for entry in one["operators"] if not entry["supported"]] == ["first", "second"]


def test_one_engine_that_was_asked_alone_answers_alone(refused: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", refused, "--engine", "sumcheck", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert "ezkl" not in document["error"]["message"] and document["error"]["where"] == "node first"


def test_memory_that_the_machine_does_not_have_is_a_no(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, [node("Relu", ["x"])])
    monkeypatch.setattr(check, "memory_bytes", lambda: 1 << 20)
    assert run(["check", path, "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["code"] == "estimate-over-budget" and "in this machine" in document["error"]["message"]
    assert all(not one["provable"] and one["estimate"]["memory_bytes"] > 1 << 20 for one in document["engines"])


def test_an_engine_that_needs_too_much_is_no_reason_to_refuse_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wide product: ezkl would need terabytes, sumcheck some hundred megabytes."""
    constants = {"w": np.zeros((2048, 2048), np.float32)}
    path = _file(tmp_path, [node("MatMul", ["x", "w"])], constants=constants, inputs={"x": (1, 2048)})
    assert run(["check", path, "--json", "--max-memory", "1 GiB"]) == 0
    ezkl, sumcheck = json.loads(capsys.readouterr().out)["engines"]
    assert sumcheck["provable"] and not ezkl["provable"]
    assert ezkl["refusal"]["code"] == "estimate-over-budget" and ezkl["estimate"]["memory_bytes"] > 1 << 30


def test_a_container_with_less_memory_counts(tmp_path: Path) -> None:
    whole = memory_bytes(())
    assert whole is not None and whole > 1 << 26
    for name, text in (("limit", "67108864\n"), ("none", "max\n"), ("odd", "-1\n")):
        (tmp_path / name).write_text(text, encoding="ascii")
    assert memory_bytes((tmp_path / "limit",)) == 1 << 26
    assert memory_bytes((tmp_path / "none", tmp_path / "odd", tmp_path / "missing")) == whole
