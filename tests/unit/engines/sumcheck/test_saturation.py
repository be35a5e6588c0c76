"""A public output at the end of its circuit's range is told; an end that is the function's own is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import model
from verifai.domain.circuit_spec import parse_spec
from verifai.domain.digest import Sha256
from verifai.domain.findings import Outcome
from verifai.domain.progress import SILENT
from verifai.engines.sumcheck.building import options_of, suite_of
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.compiling import pin
from verifai.engines.sumcheck.lock_section import LockSection
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PublicTensor, StatedTensor, Statement
from verifai.engines.sumcheck.saturation import saturated_outputs
from verifai.engines.sumcheck.tuning import Tuner

RNG = np.random.default_rng(0)
LAYER = {"w": RNG.standard_normal((4, 3)).astype(np.float32), "b": RNG.standard_normal(3).astype(np.float32)}
FEEDS = [{"x": RNG.standard_normal((1, 4)).astype(np.float32)} for _ in range(100)]
GEMM = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
INNER = helper.make_node("Gemm", ["x", "w", "b"], ["g"])


def compiled(
    nodes: list[Any], shape: tuple[int, ...], task: str = "regression", whole: bool = False
) -> tuple[LockSection, Circuit]:
    net = model(nodes, {"x": (1, 4)}, {"y": shape}, LAYER, whole=["y"] if whole else [])
    document = {"circuit": {"name": "c", "model": "m", "engine": "sumcheck", "task": task}}
    spec = parse_spec({**document, "tensors": {"x": "public", "y": "public"}, "fidelity": {"floor": "none"}}, "circuit.toml")
    tuned = Tuner(net, spec, FEEDS, options_of(spec), frozenset(), suite_of(spec), SILENT).run()
    section = pin(net, spec, tuned.lowered, tuned.options, tuned.fidelity, Sha256("0" * 64))
    return section, tuned.lowered.circuit


def stating(circuit: Circuit, *outputs: StatedTensor) -> Statement:
    inputs = tuple(PublicTensor((0,) * circuit.tensors[port.tensor].size) for port in circuit.inputs)
    return Statement((*inputs, *outputs), b"")


def ends(circuit: Circuit) -> tuple[int, int]:
    tensor = circuit.tensors[circuit.outputs[0].tensor]
    return tensor.low, tensor.high


def test_both_ends_of_a_layers_range_are_told_with_their_number() -> None:
    section, circuit = compiled([GEMM], (1, 3))
    low, high = ends(circuit)
    (found,) = saturated_outputs(section, circuit, stating(circuit, PublicTensor((low, high, high))))
    assert (found.code, found.outcome, found.where) == ("output-saturated", Outcome.NOT_CHECKED, "y")
    assert "3 of 3 values" in found.message and "1 at -" in found.message and "2 at " in found.message
    assert "output_margin" in found.remedy and "calibration data" in found.remedy
    assert saturated_outputs(section, circuit, stating(circuit, PublicTensor((low + 1, 0, high - 1)))) == ()


def test_a_hidden_output_shows_no_end() -> None:
    section, circuit = compiled([GEMM], (1, 3))
    assert saturated_outputs(section, circuit, stating(circuit, HashedTensor(b"\0" * 32, 0))) == ()


@pytest.mark.parametrize(
    ("node", "natural"),
    [
        (helper.make_node("Relu", ["g"], ["y"]), "low"),
        (helper.make_node("Sigmoid", ["g"], ["y"]), "both"),
        (helper.make_node("Softmax", ["g"], ["y"], axis=1), "none"),
    ],
    ids=["relu", "sigmoid", "softmax"],
)
def test_an_end_of_the_function_itself_is_no_saturation(node: Any, natural: str) -> None:
    section, circuit = compiled([INNER, node], (1, 3))
    low, high = ends(circuit)
    for end, quiet in ((low, natural in ("low", "both")), (high, natural == "both")):
        found = saturated_outputs(section, circuit, stating(circuit, PublicTensor((end, 1, 1))))
        assert bool(found) is not quiet
    # A softmax row has cells that round to 0 all the time: its range ends below, so that is no end.
    assert saturated_outputs(section, circuit, stating(circuit, PublicTensor((0, 1, 1)))) == ()


def test_the_place_of_a_maximum_has_ends_that_are_places() -> None:
    node = helper.make_node("ArgMax", ["g"], ["y"], axis=1, keepdims=0)
    section, circuit = compiled([INNER, node], (1,), "classification", whole=True)
    for fidelity in (section.fidelity, replace(section.fidelity, task=None)):
        for place in ends(circuit):
            pinned = replace(section, fidelity=fidelity)
            assert saturated_outputs(pinned, circuit, stating(circuit, PublicTensor((place,)))) == ()


@pytest.mark.parametrize(("node", "quiet_low"), [(GEMM, False), (helper.make_node("Relu", ["g"], ["y"]), True)])
def test_an_older_lock_tells_all_ends_but_zero(node: Any, quiet_low: bool) -> None:
    section, circuit = compiled([GEMM] if node is GEMM else [INNER, node], (1, 3))
    old = replace(section, fidelity=replace(section.fidelity, task=None, outputs=()))
    low, high = ends(circuit)
    assert bool(saturated_outputs(old, circuit, stating(circuit, PublicTensor((low, 1, 1))))) is not quiet_low
    assert saturated_outputs(old, circuit, stating(circuit, PublicTensor((high, 1, 1))))


def test_an_output_that_is_another_value_rearranged_ends_where_that_value_does() -> None:
    section, circuit = compiled([INNER, helper.make_node("Transpose", ["g"], ["y"], perm=[1, 0])], (3, 1))
    assert saturated_outputs(section, circuit, stating(circuit, PublicTensor((ends(circuit)[1], 0, 0))))
