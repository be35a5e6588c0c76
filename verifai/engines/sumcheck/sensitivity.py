"""Which values cost the precision: each is rounded by itself in the float model, and the error of the outputs is measured.

A circuit that misses its floor at the finest tables mostly does so for a few values whose cells differ much in size, such as
spectra and residual streams: under one scale of 16 bits small cells keep no step, and what follows depends on them. Those are
held on finer grids (:func:`finer`); where that is no help, they are named to whoever has to change the model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2, sqrt
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from verifai.domain.fidelity import FidelityFloor
from verifai.engines.fidelity import Measure
from verifai.engines.sumcheck.quantise.scales import MANTISSA_BITS, Scale
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.runtime import RuntimeFailure, open_session

MOST_RUNS = 480
"""Of the float model, for all values together: fewer samples where there are more values."""
MOST_SAMPLES, LEAST_SAMPLES = 16, 2
_WORTH = 1 / 16
"""A value that costs less than this part of the error allowed is left as it is."""
MOST_EXTRA = 14
"""Bits that a grid may be finer by."""
INPUT_BITS = 24
"""Of a public input: a float32 has no more."""
_ROOM_BITS = 2
"""A value on a finer grid reaches 2^2 times farther than calibration saw: an input beyond it has no proof."""
WIDEST, WIDEST_OUTPUT = 38, 29
"""Bits of a value on a wide grid, beside its sign: Rescale has 40, and a number of a statement 32."""

Sample = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Cost:
    """A value, and the error of the outputs when it alone is rounded: a share of the error that the floor allows."""

    value: str
    share: float


def costs(
    model: OnnxModel,
    samples: Sequence[Sample],
    measure: Measure,
    floor: FidelityFloor,
    scales: Mapping[str, Scale],
    values: Collection[str],
) -> list[Cost]:
    """The costs of those of ``values`` that the model computes in float32, the largest first.

    Args:
        measure: of the float model on ``samples``. scales: of each value, by which it is rounded and cut off.
    """
    graph = model.proto.graph
    floats = {one.name for one in (*graph.input, *graph.value_info, *graph.output) if _is_float(one)}
    # What is ordered is not rounded: each float32 number is its own integer.
    chosen = sorted(name for name in floats.intersection(values, scales) if not scales[name].ordered)
    if not chosen or not measure.real:
        return []
    count = min(len(samples), max(LEAST_SAMPLES, min(MOST_SAMPLES, MOST_RUNS // len(chosen))))
    places = [round(place) for place in np.linspace(0, len(samples) - 1, count)]
    found = []
    for name in chosen:
        try:
            session = open_session(_rounded(model, name, scales[name]))
            runs = [session.run(list(measure.real), samples[place]) for place in places]
        except RuntimeFailure:
            continue  # an older kernel that lacks a type; the value is no candidate then
        outputs = {output: np.stack([run[at] for run in runs]) for at, output in enumerate(measure.real)}
        spread, largest = measure.judged(outputs, places)
        limits = ((spread, floor.spread_error), (largest, floor.max_abs_error))
        found.append(Cost(name, max((error / limit for error, limit in limits if limit), default=0.0)))
    return sorted(found, key=lambda one: (-one.share, one.value))


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _rounded(model: OnnxModel, name: str, scale: Scale) -> bytes:
    """The model, with one value rounded to its scale, in double precision, for all that reads it."""
    proto = onnx.ModelProto.FromString(model.data)
    graph = proto.graph
    label = f"{name}/rounded"
    for key, ends in _numbers(scale).items():
        graph.initializer.append(numpy_helper.from_array(ends, f"{label}/{key}"))
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [""], {"to": TensorProto.DOUBLE}),
        ("Div", ["", f"{label}/step"], {}),
        ("Round", [""], {}),
        ("Max", ["", f"{label}/low"], {}),
        ("Min", ["", f"{label}/high"], {}),
        ("Mul", ["", f"{label}/step"], {}),
        ("Cast", [""], {"to": TensorProto.FLOAT}),
    ]
    kept = list(graph.node)
    at = next((place + 1 for place, node in enumerate(kept) if name in node.output), 0)
    if at:  # the node's result gets another name, and what is rounded the old one
        source, result = f"{label}/source", name
        kept[at - 1].output[:] = [source if one == name else one for one in kept[at - 1].output]
    else:
        source, result = name, f"{label}/result"
        for node in kept:
            node.input[:] = [result if one == name else one for one in node.input]
    nodes, last = [], source
    for number, (kind, inputs, attributes) in enumerate(steps):
        made = result if number == len(steps) - 1 else f"{label}/{number}"
        nodes.append(helper.make_node(kind, [one or last for one in inputs], [made], **attributes))
        last = made
    del graph.node[:]
    graph.node.extend([*kept[:at], *nodes, *kept[at:]])
    return bytes(proto.SerializeToString())


def _numbers(scale: Scale) -> dict[str, NDArray[np.float64]]:
    """The step, and the least and the largest number of steps: of a scale, or of each column of the last axis."""
    if not scale.columns:
        return {key: np.asarray(float(one)) for key, one in (("step", scale.step), ("low", scale.low), ("high", scale.high))}
    zeros = np.array([float(one.zero_point) for one in scale.columns])
    return {"step": np.array([float(one.step) for one in scale.columns]), "low": scale.low - zeros, "high": scale.high - zeros}


def chosen(found: Sequence[Cost], able: Collection[str], share: float) -> list[Cost]:
    """The fewest values that can be held more finely, the costliest first, so that the others together cost ``share`` at most:
    their errors are independent, and add up in squares."""
    rest = sum(one.share**2 for one in found)
    picked = []
    for one in found:
        if rest <= share**2 or one.share <= _WORTH * share:
            break
        if one.value in able:
            picked.append(one)
            rest -= one.share**2
    return picked


def extra_bits(cost: Cost, share: float, count: int) -> int:
    """By how many bits the grid of one of ``count`` values has to be finer, for all together to cost half of ``share``."""
    return min(MOST_EXTRA, max(1, ceil(log2(cost.share / (share / 2 / sqrt(count))))))


def finer(scale: Scale, bits: int, most: int = WIDEST) -> Scale | None:
    """The scale of a value on a grid finer by ``bits``, with room beyond what calibration saw; ``None`` where none is.

    Args:
        most: bits of the largest integers.
    """
    reach = min(max(-scale.low, scale.high, 1).bit_length() + bits + _ROOM_BITS, most)
    bits = reach - _ROOM_BITS - max(-scale.low, scale.high, 1).bit_length()
    if bits < 1 or reach < MANTISSA_BITS or scale.columns or scale.ordered or scale.zero_point:
        return None
    return Scale(scale.mantissa, scale.exponent - bits, -(1 << reach), (1 << reach) - 1)


def finer_input(scale: Scale, bits: int) -> Scale | None:
    """The scale of a public input on a grid finer by ``bits``, over the same range; ``None`` where it has all bits already."""
    bits = min(bits, INPUT_BITS - (scale.high - scale.low).bit_length())
    if bits < 1 or scale.columns or scale.ordered or scale.zero_point:
        return None
    return Scale(scale.mantissa, scale.exponent - bits, scale.low << bits, ((scale.high + 1) << bits) - 1)


def blamed(model: OnnxModel, where: str, fine: Collection[str]) -> set[str]:
    """Those of the values ``fine`` that a bound at ``where`` is about: that value itself, or what it is computed of next.

    Args:
        where: the name of a value or a node, or of a tensor between the steps of its rule, which begins with it.
    """
    nodes = list(model.proto.graph.node)
    named = [(name, node) for node in nodes for name in (*node.output, node.name) if name and where.startswith(name)]
    if not named:
        return set(fine)
    name, node = max(named, key=lambda pair: len(pair[0]))
    if name in fine:
        return {name}
    made = {one: node for node in nodes for one in node.output}
    found: set[str] = set()
    seen, pending = set[str](), list(node.input)
    while pending:
        at = pending.pop()
        if at in seen:
            continue
        seen.add(at)
        if at in fine:
            found.add(at)
        elif at in made:
            pending.extend(made[at].input)
    return found or set(fine)
