"""Cells in other places are the same cells; unrolled and composed operators lie near what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import FINE, built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from tests.support.sumcheck_models import Array
from tests.unit.onnx_graph.test_compositions import CASES, RECURRENT, RESIZED
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.lowering.lower import lower
from verifai.engines.sumcheck.lowering.operators import UnitScales
from verifai.engines.sumcheck.quantise.ranges import calibrate, shared_ranges
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, choose_scales
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

F = np.float32
COARSE = QuantiserOptions(input_margin=0.0)
RNG = np.random.default_rng(11)
W = RNG.standard_normal((2, 3, 3, 2)).astype(F)


def moved(kind: str, shape: tuple[int, ...], out: tuple[int, ...], *arrays: Any, **attributes: Any) -> OnnxModel:
    constants = {f"k{number}": array for number, array in enumerate(arrays)}
    return net(shape, out, n(kind, "x", *constants, **attributes), **constants)


MOVES: dict[str, OnnxModel] = {
    "repeated": moved("Tile", (2, 3), (4, 9), [2, 3]),
    "pixels from channels": moved("DepthToSpace", (1, 12, 3, 5), (1, 3, 6, 10), blocksize=2),
    "pixels from channels, by rows": moved("DepthToSpace", (1, 18, 2, 3), (1, 2, 6, 9), blocksize=3, mode="CRD"),
    "channels from pixels": moved("SpaceToDepth", (2, 3, 4, 6), (2, 12, 2, 3), blocksize=2),
    "chosen one by one": moved("GatherElements", (3, 4), (2, 4), RNG.integers(-3, 3, (2, 4)), axis=0),
    "chosen one by one along rows": moved("GatherElements", (3, 4), (3, 6), RNG.integers(0, 4, (3, 6)), axis=1),
    "chosen by coordinates": moved("GatherND", (3, 4, 2), (5, 2), RNG.integers(0, 3, (5, 2))),
    "chosen by coordinates in batches": moved("GatherND", (2, 3, 4), (2, 5), RNG.integers(-3, 3, (2, 5, 2)), batch_dims=1),
    "a lower triangle": moved("Trilu", (2, 4, 5), (2, 4, 5), upper=0),
    "an upper triangle": moved("Trilu", (4, 5), (4, 5), np.array(1)),
    "reversed in part": moved("ReverseSequence", (4, 3), (4, 3), [1, 4, 3], time_axis=0, batch_axis=1),
    "kept where asked": moved("Compress", (3, 4), (3, 2), np.array([True, False, False, True]), axis=1),
    "kept of all": moved("Compress", (3, 4), (2,), np.array([False, True, False, False, True])),
    "cut and padded": moved("CenterCropPad", (4, 3), (2, 6), [2, 6]),
    "mirrored": net((1, 2, 3, 4), (1, 2, 7, 5), n("Pad", "x", "p", mode="reflect"), p=[0, 0, 2, 1, 0, 0, 2, 0]),
    "its border repeated": net((3, 4), (6, 6), n("Pad", "x", "p", mode="edge"), p=[1, 0, 2, 2]),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_rearrangement_changes_no_number(name: str) -> None:
    source = MOVES[name]
    assert supported(source)
    feeds = feeds_of(source, count=4)
    made = built(source, feeds)
    assert worst_steps(source, made, feeds) <= 0.01
    prove_in_both_suites(source, feeds)


def test_a_general_rearrangement_of_what_is_computed_is_exact() -> None:
    """By a View of many pieces, or a matrix with a single 1 per row, also where windows run over its result."""
    places = RNG.permutation(216).reshape(1, 3, 24, 3)
    w = RNG.standard_normal((2, 3, 3, 3)).astype(F)
    source = net(
        (1, 216), (1, 2, 22, 1), n("Relu", "x", out="r"), n("Reshape", "r", "flat", out="f"),
        n("Gather", "f", "places", out="g"), n("Conv", "g", "w"), flat=[216], places=places, w=w,
    )  # fmt: skip
    feeds = feeds_of(source, count=4)
    made = built(source, feeds)
    assert not any(isinstance(op, ops.Gather) for op in made.circuit.ops)
    assert worst_steps(source, made, feeds) <= 4
    prove_in_both_suites(source, feeds)


def test_a_larger_rearrangement_is_a_matrix() -> None:
    places = RNG.integers(0, 64, (64, 32))
    source = net((64, 32), (64, 32), n("Relu", "x", out="r"), n("GatherElements", "r", "places"), places=places)
    feeds = feeds_of(source, count=1)
    made = built(source, feeds)
    assert not any(isinstance(op, ops.Gather) for op in made.circuit.ops)
    assert worst_steps(source, made, feeds) <= 0.6


SCATTERED = {
    "by coordinates": ("ScatterND", (4, 3), [[0], [3]], (2, 3)),
    "one by one": ("ScatterElements", (3, 4), [[2, 0, 1, 2]], (1, 4)),
}


@pytest.mark.parametrize("name", SCATTERED)
def test_cells_are_put_into_others(name: str) -> None:
    """What is put there is computed from the same input, under another scale."""
    kind, shape, places, part = SCATTERED[name]
    size = int(np.prod(part))
    source = net(
        shape, shape, n("Reshape", "x", "line", out="l"), n("Slice", "l", "zero", "some", out="s"),
        n("Mul", "s", "five", out="m"), n("Reshape", "m", "part", out="u"), n(kind, "x", "places", "u"),
        line=[-1], zero=[0], some=[size], part=list(part), places=places, five=F(5),
    )  # fmt: skip
    feeds = feeds_of(source, count=4)
    assert worst_steps(source, built(source, feeds), feeds) <= 1.5
    prove_in_both_suites(source, feeds)


def scattered(places: list[int], **attributes: Any) -> OnnxModel:
    parts = (n("Slice", "x", "z", "two", out="u"), n("ScatterElements", "x", "i", "u", **attributes))
    return net((4,), (4,), *parts, z=[0], two=[2], i=places)


REFUSED: dict[str, tuple[OnnxModel, str]] = {
    "the largest of two": (scattered([1, 1], reduction="max"), "adding"),
    "a place that there is not": (moved("GatherElements", (3, 4), (1, 4), [[0, 1, 2, 3]], axis=0), "outside"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_rearrangement_is_refused(name: str) -> None:
    source, word = REFUSED[name]
    assert not supported(source)
    public = {t.name: Visibility.PUBLIC for t in (*source.inputs, *source.outputs)}
    with pytest.raises(UnsupportedModel, match=word):
        lower(source, UnitScales(source), tensors=public)


TRANSPOSED = {
    "twice as large": {"strides": [2, 2]},
    "padded": {"strides": [2, 1], "pads": [1, 0, 0, 1]},
    "with wide gaps": {"dilations": [2, 1], "strides": [1, 3], "output_padding": [0, 2]},
    "of the same size": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "cut off": {"pads": [2, 1, 2, 1]},
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name: str) -> None:
    graph = net(
        (1, 2, 4, 3),
        (1, 3, 1, 1),
        n("Relu", "x", out="r"),
        n("ConvTranspose", "r", "w", "b", **TRANSPOSED[name]),
        w=W,
        b=W[0, :, 0, 0],
    )
    feeds = feeds_of(graph, count=4)
    assert supported(graph) and worst_steps(graph, built(graph, feeds), feeds) <= 4
    prove_in_both_suites(graph, feeds)


def test_a_transposed_convolution_of_a_line() -> None:
    graph = net((1, 2, 6), (1, 3, 13), n("ConvTranspose", "x", "w", strides=[2]), w=W[..., 0])
    feeds = feeds_of(graph, count=4)
    assert worst_steps(graph, built(graph, feeds), feeds) <= 4


COMPOSED = [
    "instance normalisation", "group normalisation per channel", "rms normalisation", "averages at borders",
    "the largest is one",
    "running sums from the end", "root of squares in windows", "magnitudes of a picture", "samples of a picture",
    "attention scores", "sums on a scale of logarithms",
]  # fmt: skip
STEPS = {
    "instance normalisation": 80,
    "group normalisation per channel": 80,
    "root of squares in windows": 30,
    "rms normalisation": 30,
}
"""Of 12 bits; a normalisation divides by a deviation that is near 0 in some samples."""


def scaled(source: OnnxModel, feeds: Sequence[Mapping[str, Array]], options: QuantiserOptions = FINE) -> Any:
    ranges = shared_ranges(source, calibrate(source, feeds))
    names = [{tensor.name for tensor in side} for side in (source.inputs, source.outputs)]
    return choose_scales(ranges, names[0], names[1], options)


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_operators_lie_near_the_model(name: str) -> None:
    source = canonicalise(CASES[name].SerializeToString(), where="m").model
    feeds = feeds_of(source, count=6, low=-2, high=2)
    if name == "sums on a scale of logarithms":
        feeds = feeds_of(source, count=2, low=0.5, high=2)
    assert supported(source)
    assert worst_steps(source, built(source, feeds), feeds) <= STEPS.get(name, 12)
    prove_in_both_suites(source, feeds[:1])


@pytest.mark.parametrize("name", ["linear half_pixel twice", "cubic asymmetric in parts", "nearest ceil", "channels too"])
def test_resized_pictures_lie_near_the_model(name: str) -> None:
    source = canonicalise(RESIZED[name].SerializeToString(), where="m").model
    feeds = feeds_of(source, count=4)
    assert supported(source) and worst_steps(source, built(source, feeds), feeds) <= 6
    prove_in_both_suites(source, feeds[:1])


@pytest.mark.parametrize("name", ["RNN reverse", "GRU bidirectional", "LSTM from a state", "LSTM with peepholes"])
def test_recurrent_layers_lie_near_the_model(name: str) -> None:
    source = canonicalise(RECURRENT[name].SerializeToString(), where="m").model
    feeds = feeds_of(source, count=8, low=-2, high=2)
    public = {t.name: Visibility.PUBLIC for t in (*source.inputs, *source.outputs)}
    made = lower(source, scaled(source, feeds, COARSE), tensors=public, split=True)
    for feed in feeds:
        for found, expected, _ in outputs(source, made, feed):
            assert np.abs(found - expected).max() < 0.05
    if name == "RNN reverse":
        prove_in_both_suites(source, feeds[:1], COARSE)


def test_steps_of_one_network_share_their_scales_and_so_their_tables() -> None:
    def tables(steps: int) -> tuple[int, int]:
        graph = RECURRENT["LSTM forward"].__class__()
        graph.CopyFrom(RECURRENT["LSTM forward"])
        graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = steps
        source = canonicalise(graph.SerializeToString(), where="m").model
        feeds = feeds_of(source, count=3)
        public = {t.name: Visibility.PUBLIC for t in (*source.inputs, *source.outputs)}
        made = lower(source, scaled(source, feeds, QuantiserOptions()), tensors=public)
        return len(made.circuit.tables), len(made.circuit.ops)

    (few, small), (many, large) = tables(8), tables(16)
    assert large > 1.8 * small and many <= few + 4


def test_a_model_that_uses_every_weight_once_keeps_its_ranges() -> None:
    source = net((2, 3), (2, 3), n("MatMul", "x", "w", out="a"), n("MatMul", "a", "v"), w=W[0, :, :, 0], v=W[1, :, :, 0])
    ranges = calibrate(source, feeds_of(source))
    assert shared_ranges(source, ranges) is ranges
