"""Which values cost the precision: each is rounded by itself in the float model, and the error of the outputs is measured.

A circuit that misses its floor at the finest tables mostly does so for a few values whose cells differ much in size, such as
spectra and residual streams: under one scale of 16 bits small cells keep no step, and what follows depends on them. Those are
held on finer grids (:func:`finer`); where that is no help, they are named to whoever has to change the model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, log2, sqrt
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
MOST_VALUES = MOST_RUNS // LEAST_SAMPLES
"""That are measured, so that MOST_RUNS holds for every model: a hundred layers have thousands of values; few of them cost."""
_WORTH = 1 / 16
"""A value that costs less than this part of the error allowed is left as it is."""
_FREE_WORTH = 1 / 256
"""Likewise, of a value that a finer grid makes no dearer."""
MOST_EXTRA = 14
"""Bits that a grid may be finer by."""
INPUT_BITS = 24
"""Of a public input: a float32 has no more."""
_ROOM_BITS = 2
"""A value on a finer grid reaches 2^2 times farther than calibration saw: an input beyond it has no proof."""
FREE_BITS = 5
"""So many more have results of functions, which cost nothing: an argument has 16 bits, which more would say nothing of."""
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
    """The costs of those of ``values`` that the model computes in float32, the largest first; of at most :data:`MOST_VALUES`.

    Args:
        measure: of the float model on ``samples``. scales: of each value, by which it is rounded and cut off.
    """
    graph = model.proto.graph
    floats = {one.name for one in (*graph.input, *graph.value_info, *graph.output) if _is_float(one)}
    # What is ordered is not rounded: each float32 number is its own integer.
    candidates = sorted(name for name in floats.intersection(values, scales) if not scales[name].ordered)
    if not candidates or not measure.real:
        return []
    chosen = _coarsest(model, samples[0], scales, candidates)
    count = min(len(samples), max(LEAST_SAMPLES, min(MOST_SAMPLES, MOST_RUNS // len(chosen))))
    places = [round(place) for place in np.linspace(0, len(samples) - 1, count)]
    off = {_switch(name): np.zeros((), bool) for name in chosen}
    found = []
    try:
        session = open_session(_with_switches(model, {name: scales[name] for name in chosen}))
        for name in chosen:
            on = {**off, _switch(name): np.ones((), bool)}
            runs = [session.run(list(measure.real), {**samples[place], **on}) for place in places]
            outputs = {output: np.stack([run[at] for run in runs]) for at, output in enumerate(measure.real)}
            spread, largest = measure.judged(outputs, places)
            limits = ((spread, floor.spread_error), (largest, floor.max_abs_error))
            found.append(Cost(name, max((error / limit for error, limit in limits if limit), default=0.0)))
    except RuntimeFailure:
        return []  # an older kernel that lacks a type: nothing is known of costs then
    return sorted(found, key=lambda one: (-one.share, one.value))


def _coarsest(model: OnnxModel, sample: Sample, scales: Mapping[str, Scale], names: Sequence[str]) -> list[str]:
    """At most :data:`MOST_VALUES` of these values: those whose steps are largest beside what they hold on a sample."""
    if len(names) <= MOST_VALUES:
        return list(names)
    proto = onnx.ModelProto.FromString(model.data)
    ends = {one.name for one in (*proto.graph.input, *proto.graph.output)}
    inner = [name for name in names if name not in ends]
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner)
    try:
        cells = dict(zip(inner, open_session(proto.SerializeToString()).run(inner, sample), strict=True))
    except RuntimeFailure:
        return list(names[:MOST_VALUES])
    sizes = {name: float(np.median(np.abs(array[array != 0]))) for name, array in cells.items() if array.any()}

    def share(name: str) -> float:
        step = max((float(one.step) for one in scales[name].columns), default=float(scales[name].step))
        return step / sizes[name] if name in sizes else inf if name in ends else 0.0

    return sorted(sorted(names, key=lambda name: (-share(name), name))[:MOST_VALUES])


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _switch(name: str) -> str:
    """The input that says whether a value is rounded."""
    return f"{name}/rounded/on"


def _with_switches(model: OnnxModel, scales: Mapping[str, Scale]) -> bytes:
    """The model, with a switch for each of these values: where it is on, all that reads the value gets it rounded to its scale,
    in double precision. One session serves them all, since a model of a gigabyte is not to be loaded once per value."""
    proto = onnx.ModelProto.FromString(model.data)
    graph = proto.graph
    kept = list(graph.node)
    made = {name: at for at, node in enumerate(kept) for name in node.output}
    before: list[onnx.NodeProto] = []
    behind: dict[int, list[onnx.NodeProto]] = {}
    for name, scale in scales.items():
        label = f"{name}/rounded"
        for key, ends in _numbers(scale).items():
            graph.initializer.append(numpy_helper.from_array(ends, f"{label}/{key}"))
        graph.input.append(helper.make_tensor_value_info(_switch(name), TensorProto.BOOL, ()))
        if name in made:  # the node's result gets another name, and what may be rounded the old one
            node, source, result = kept[made[name]], f"{label}/source", name
            node.output[:] = [source if one == name else one for one in node.output]
            behind.setdefault(made[name], []).append(_rounding(source, result, label))
        else:
            source, result = name, f"{label}/result"
            for node in kept:
                node.input[:] = [result if one == name else one for one in node.input]
            before.append(_rounding(source, result, label))
    del graph.node[:]
    graph.node.extend(before)
    for at, node in enumerate(kept):
        graph.node.extend([node, *behind.get(at, ())])
    return bytes(proto.SerializeToString())


def _rounding(source: str, result: str, label: str) -> onnx.NodeProto:
    """``source`` as it is, or, where the switch is on, rounded and cut off."""
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [""], {"to": TensorProto.DOUBLE}),
        ("Div", ["", f"{label}/step"], {}),
        ("Round", [""], {}),
        ("Max", ["", f"{label}/low"], {}),
        ("Min", ["", f"{label}/high"], {}),
        ("Mul", ["", f"{label}/step"], {}),
        ("Cast", [""], {"to": TensorProto.FLOAT}),
    ]
    nodes, last = [], source
    for number, (kind, inputs, attributes) in enumerate(steps):
        nodes.append(helper.make_node(kind, [one or last for one in inputs], [f"{label}/{number}"], **attributes))
        last = f"{label}/{number}"
    same = [helper.make_node("Identity", [source], [f"{label}/same"])]
    branches = {
        "then_branch": helper.make_graph(nodes, "on", [], [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)]),
        "else_branch": helper.make_graph(
            same, "off", [], [helper.make_tensor_value_info(f"{label}/same", TensorProto.FLOAT, None)]
        ),
    }
    return helper.make_node("If", [f"{label}/on"], [result], **branches)


def _numbers(scale: Scale) -> dict[str, NDArray[np.float64]]:
    """The step, and the least and the largest number of steps: of a scale, or of each column of the last axis."""
    if not scale.columns:
        return {key: np.asarray(float(one)) for key, one in (("step", scale.step), ("low", scale.low), ("high", scale.high))}
    zeros = np.array([float(one.zero_point) for one in scale.columns])
    return {"step": np.array([float(one.step) for one in scale.columns]), "low": scale.low - zeros, "high": scale.high - zeros}


def chosen(found: Sequence[Cost], able: Collection[str], share: float, free: Collection[str] = ()) -> list[Cost]:
    """The fewest values that can be held more finely, the costliest first, so that the others together cost ``share`` at most:
    their errors are independent, and add up in squares.

    Args:
        free: those among ``able`` that cost no cell: all of them that are worth it.
    """
    picked = [one for one in found if one.value in free and one.value in able and one.share > _FREE_WORTH * share]
    rest = sum(one.share**2 for one in found) - sum(one.share**2 for one in picked)
    for one in found:
        if rest <= share**2 or one.share <= _WORTH * share:
            break
        if one.value in able and one.value not in free:
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


def finer_results(scale: Scale, bits: int) -> Scale | None:
    """The scale of what a function's table makes, on a grid finer by ``bits``, over the same range; ``None`` where it is fine.

    Its results are cells of a table, so they need no digits, and no room: an argument beyond the table is cut off, as before.
    """
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
