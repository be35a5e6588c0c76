"""What the lock says of a circuit is compared with the circuit, and with the model when an auditor has it.

A verdict prints sides, names, visibilities and bits of soundness from the lock's section; none of it may be the section's
word alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import float_constants, model
from tests.unit.engines.sumcheck.test_engine import ENGINE, Compiled, compiled, spec_of
from verifai.domain.findings import Outcome
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.sumcheck.verifying import soundness_words
from verifai.errors import UsageError


@pytest.fixture(scope="module", params=[WeightVisibility.PUBLIC, WeightVisibility.COMMITTED])
def two_inputs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """y = W·a − b: exchanging its inputs' names changes what a statement means and nothing else."""
    net = model(
        [helper.make_node("MatMul", ["a", "w"], ["h"]), helper.make_node("Sub", ["h", "b"], ["y"])],
        {"a": (1, 4), "b": (1, 4)},
        {"y": (1, 4)},
        float_constants(np.random.default_rng(0), w=(4, 4)),
    )
    return compiled(net, spec_of(net, request.param), tmp_path_factory.mktemp("two-inputs"))


def _exchanged(tensors: list[dict[str, Any]]) -> None:
    tensors[0]["name"], tensors[1]["name"] = tensors[1]["name"], tensors[0]["name"]


def _renamed(tensors: list[dict[str, Any]]) -> None:
    tensors[2]["name"] = "z"


def _reshaped(tensors: list[dict[str, Any]]) -> None:
    tensors[0]["shape"] = [4, 1]


@pytest.mark.parametrize("change", [_exchanged, _renamed, _reshaped])
def test_an_auditor_refuses_a_section_that_names_the_models_tensors_otherwise(
    change: Callable[[list[dict[str, Any]]], None], two_inputs: Compiled, tmp_path: Path
) -> None:
    """Scales and visibilities go by name, so with two names exchanged the pinned circuit would still be derived."""
    request = two_inputs.request(tmp_path, two_inputs.prove().files)
    assert [f.outcome for f in ENGINE.rederive(request, two_inputs.net)] == [Outcome.HOLDS, Outcome.HOLDS]
    tensors = [dict(tensor) for tensor in two_inputs.section["tensors"]]
    change(tensors)
    found = ENGINE.rederive(replace(request, section={**two_inputs.section, "tensors": tensors}), two_inputs.net)
    assert [f.outcome for f in found] == [Outcome.REJECTED]


def test_a_section_that_contradicts_its_circuit_is_a_broken_lock(two_inputs: Compiled, tmp_path: Path) -> None:
    files = dict(two_inputs.prove().files)
    section = two_inputs.section
    output_first = [dict(tensor) for tensor in section["tensors"]]
    output_first[0]["role"] = "output"
    hashed = [dict(tensor, visibility=Visibility.HASHED.value) for tensor in section["tensors"]]
    changes: list[dict[str, Any]] = [
        {"tensors": output_first},
        {"tensors": hashed},
        {"tensors": section["tensors"][:-1]},
        {"soundness_millibits": section["soundness_millibits"] + 1},
    ]
    for change in changes:
        with pytest.raises(UsageError) as refused:
            ENGINE.verify(two_inputs.request(tmp_path, files, section={**section, **change}))
        assert refused.value.code == "bad-lock" and next(iter(change)) in str(refused.value.where)


def test_a_section_that_calls_committed_weights_public_is_a_broken_lock(two_inputs: Compiled, tmp_path: Path) -> None:
    files, section = dict(two_inputs.prove().files), two_inputs.section
    if section["weights"] == "committed":
        files["weights.bin"] = (two_inputs.build / "weights.bin").read_bytes()
        changed = {**section, "weights": "public"}
    else:
        del files["weights.bin"]
        changed = {**section, "weights": "committed"}
    with pytest.raises(UsageError) as refused:
        ENGINE.verify(two_inputs.request(tmp_path, files, section=changed))
    assert refused.value.code == "bad-lock" and "weights" in str(refused.value.where)


def test_a_verdict_says_what_is_not_checked_about_the_root_of_committed_weights(two_inputs: Compiled, tmp_path: Path) -> None:
    verified = ENGINE.verify(two_inputs.request(tmp_path, two_inputs.prove().files))
    (finding,) = (f for f in verified.findings if f.code == "sumcheck-weights-pinned")
    assert ("rely on the lock's author" in finding.message) == (two_inputs.section["weights"] == "committed")


def test_the_verdict_promises_no_more_than_is_written_down():
    """Per step, per hash evaluation, rounded down, and by nobody outside the project."""
    assert soundness_words(100_199) == "≥ 100.1 bits per step, per hash evaluation, unaudited"


@pytest.mark.parametrize("side", [(0, 1), (1, 0)])
def test_two_tensors_of_one_side_have_two_names(side: tuple[int, int], two_inputs: Compiled) -> None:
    """A value is compared with the tensor of its name: another one of that name would be compared with nothing."""
    tensors = [dict(tensor) for tensor in two_inputs.section["tensors"]]
    tensors[side[0]]["name"] = tensors[side[1]]["name"]
    with pytest.raises(UsageError) as caught:
        ENGINE.summarise({**two_inputs.section, "tensors": tensors})
    assert caught.value.code == "bad-lock"
    tensors[side[0]] = {**two_inputs.section["tensors"][side[0]], "name": two_inputs.section["tensors"][2]["name"]}
    ENGINE.summarise({**two_inputs.section, "tensors": tensors})  # an input and an output may share one
