"""How far an export is from its source: by the spread of the outputs, so that no unit hides or invents a difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.onnx_builders import model, node
from verifai.domain.model_facts import Task
from verifai.errors import UnsupportedModel
from verifai.exporters.interface import Arrays, Exported, Meaning, Source
from verifai.stages import export as stage
from verifai.stages.export import ExportResult, export

WEIGHT = np.eye(4, 3, dtype=np.float32)


def exported(monkeypatch: pytest.MonkeyPatch, run: Callable[[np.ndarray], np.ndarray], **options: Any) -> ExportResult:
    """x · WEIGHT, compared with ``run``."""
    data = model([node("MatMul", ["x", "w"])], {"w": WEIGHT}).SerializeToString()

    def found(source: Source) -> Exported:
        return Exported(data=data, where=source.text, run=lambda inputs: {"y": run(inputs["x"].astype(np.float64))}, **options)

    monkeypatch.setattr(stage, "export_source", found)
    return export("any")


def made(middle: float, spread: float) -> Callable[[np.random.Generator, int], list[Arrays]]:
    return lambda generator, count: [
        {"x": (middle + spread * generator.normal(size=(1, 4))).astype(np.float32)} for _ in range(count)
    ]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("share", "accepted"), [(1e-4, True), (1e-2, False)])
def test_a_difference_counts_by_the_spread_in_any_unit(
    unit: float, share: float, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lambda x: x @ WEIGHT + share * unit  # noqa: E731
    if accepted:
        result = exported(monkeypatch, run, made=made(0.0, unit))
        assert result.parity.max_error == pytest.approx(share, rel=0.2)
        assert (result.parity.samples, result.parity.generated) == (16, 16)
    else:
        with pytest.raises(UnsupportedModel) as caught:
            exported(monkeypatch, run, made=made(0.0, unit))
        assert (caught.value.code, "spread" in caught.value.message) == ("parity-exceeded", True)


def test_rounding_of_a_large_number_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 holds 10⁹ in steps of 64."""
    result = exported(monkeypatch, lambda x: x @ WEIGHT + 30.0, made=made(1e9, 100.0))
    assert result.parity.max_error < 1e-3
    with pytest.raises(UnsupportedModel):
        exported(monkeypatch, lambda x: x @ WEIGHT + 1e4, made=made(1e9, 100.0))


def test_a_constant_output_is_measured_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    one = lambda generator, count: [{"x": np.ones((1, 4), np.float32)}]  # noqa: E731
    with pytest.raises(UnsupportedModel):
        exported(monkeypatch, lambda x: x @ WEIGHT + 0.01, made=one)
    zero = lambda generator, count: [{"x": np.zeros((1, 4), np.float32)}]  # noqa: E731
    with pytest.raises(UnsupportedModel):
        exported(monkeypatch, lambda x: x @ WEIGHT + 0.01, made=zero)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_a_difference(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedModel):
        exported(monkeypatch, lambda x: np.array([[value, 0.0, 0.0]]))


def meaning(**changes: Any) -> Meaning:
    given = {"task": Task.CLASSIFICATION, "input": "x", "columns": (), "output": "y", "labels": ("a", "b", "c")}
    return Meaning(**{**given, **changes})


def largest(inputs: Arrays) -> int:
    return int(np.argmax(inputs["x"][0, :3]))


def test_labels_are_kept_with_the_model_they_belong_to(monkeypatch: pytest.MonkeyPatch) -> None:
    result = exported(monkeypatch, lambda x: x @ WEIGHT, meaning=meaning(), decide=largest)
    assert result.facts is not None
    assert (result.facts.labels, result.facts.model_sha256) == (("a", "b", "c"), result.model.sha256)
    assert (result.parity.decisions, result.parity.decisions_differ) == (8, 0)


def test_decisions_that_differ_are_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    result = exported(monkeypatch, lambda x: x @ WEIGHT, meaning=meaning(), decide=lambda inputs: 0)
    assert 0 < result.parity.decisions_differ < result.parity.decisions == 8
    assert any(f"On {result.parity.decisions_differ} of 8" in notice for notice in result.notices)
    assert result.facts is not None and result.facts.labels


@pytest.mark.parametrize("decide", [lambda inputs: 0, lambda inputs: None, None])
def test_labels_that_a_file_claims_need_every_decision(decide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = exported(monkeypatch, lambda x: x @ WEIGHT, meaning=meaning(certain=False), decide=decide)
    assert result.facts is None


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ({"labels": ("a", "b")}, "labels"),
        ({"labels": ("a", "b", "b")}, "labels"),
        ({"labels": ("a", "b", "c\x1b[2J")}, "labels"),
        ({"labels": ("a", "b", "c" * 600)}, "labels"),
        ({"columns": ("a", "b", "c")}, "columns"),
        ({"columns": ("a", "b", "c", "")}, ""),
    ],
)
def test_names_that_do_not_fit_are_left_out(names: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = exported(monkeypatch, lambda x: x @ WEIGHT, meaning=meaning(**names), decide=largest)
    assert result.facts is not None
    assert any(f"names of the {what} were left out" in notice for notice in result.notices) == bool(what)
    if what:
        assert getattr(result.facts, what) == ()


def test_a_source_that_says_nothing_has_no_facts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert exported(monkeypatch, lambda x: x @ WEIGHT).facts is None
