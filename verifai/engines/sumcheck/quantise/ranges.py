"""Calibration: the range of every float value of a model on given samples, as onnxruntime computes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.statement import MAX_COLUMNS
from verifai.engines.sumcheck.quantise.scales import MANTISSA_BITS, MAX_INPUT_BITS, Method, Range, Scale
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.runtime import RuntimeFailure, open_session

LARGEST_EXPONENT, SMALLEST_EXPONENT = 0, -8
"""Of a step that all values of an input are multiples of: whole numbers, halves, … A coarser one would be an accident."""
BINS = 2048
_FLOAT = 1
"""onnx.TensorProto.FLOAT."""
_LOOK_BACK = 4
"""How many operators back values are compared by how they are computed."""
_CLIPS = 64


def samples_of(calibration: Mapping[str, NDArray[Any]], model: OnnxModel) -> list[dict[str, NDArray[Any]]]:
    """One feed of exact model shapes per sample; a sample may omit a batch axis of 1."""
    count = len(next(iter(calibration.values())))
    return [
        {spec.name: np.asarray(calibration[spec.name][i]).reshape(spec.shape).astype(spec.dtype) for spec in model.inputs}
        for i in range(count)
    ]


def column_ranges(model: OnnxModel, samples: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, list[Range]]:
    """The range of every column of each float input that is one row of a table: shape (F,) or (1, F), F at most 4096."""
    found = {}
    for spec in model.inputs:
        if spec.dtype != "float32" or len(spec.shape) not in (1, 2) or spec.size != spec.shape[-1] or spec.size > MAX_COLUMNS:
            continue
        rows = np.stack([sample[spec.name].reshape(-1) for sample in samples]).astype(np.float64)
        found[spec.name] = [Range(float(low), float(high)) for low, high in zip(rows.min(0), rows.max(0), strict=True)]
    return found


_FAR_APART = 256
"""Columns whose spans differ more than so many times: under one scale of 12 bits the small ones have a handful of steps."""


def unlike_columns(columns: Mapping[str, Sequence[Range]], compared: Collection[str]) -> str:
    """What to do about inputs whose columns spread very differently, as a sentence after others; empty where none does.

    Args:
        columns: ranges of the columns of inputs that are rows of a table. compared: inputs of which only comparisons are read,
            which no scale decides.
    """
    for name, ranges in columns.items():
        spans = [one.high - one.low for one in ranges if one.high > one.low]
        if name not in compared and spans and max(spans) > _FAR_APART * min(spans):
            times = max(spans) / min(spans)
            return (
                f" The columns of {name} spread up to {times:,.0f} times as far as others, and distances or powers of them"
                " lose the small ones: fit the estimator behind a scaler, as in make_pipeline(StandardScaler(), …)."
            )
    return ""


_MOVES = frozenset(
    {"Gather", "Slice", "Split", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Identity"}
)
_COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"})


def compared_inputs(model: OnnxModel) -> set[str]:
    """Inputs of which nothing is read but comparisons with constants: those of trees.

    How finely such an input is represented decides everything, and costs nothing beyond its own cells.
    """
    graph = model.proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    beyond = {value.name for value in graph.output}
    for node in reversed(graph.node):
        compared = node.op_type in _COMPARISONS and any(name in constants for name in node.input)
        moved = node.op_type in _MOVES and beyond.isdisjoint(node.output)
        if not (compared or moved):
            beyond.update(node.input)
    return {spec.name for spec in model.inputs if spec.dtype == "float32"} - beyond


_ORDERS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
_SELECTIONS = frozenset({"Gather", "Slice", "Split", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
"""Operators that choose and arrange cells of their first operand; the others are constants."""


def ordered_inputs(model: OnnxModel) -> set[str]:
    """Inputs of which nothing is read but orderings against constants: each is decided by the order of float32 alone."""
    graph = model.proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    found = {}
    for spec in model.inputs:
        if spec.dtype != "float32":
            continue
        reached, plain, read = {spec.name}, True, False
        for node in graph.node:
            if reached.isdisjoint(node.input):
                continue
            if node.op_type in _ORDERS and len(constants.intersection(node.input)) == 1:
                read = True
            elif node.op_type in _SELECTIONS and node.input[0] in reached and constants.issuperset(node.input[1:]):
                reached.update(node.output)
            else:
                plain = False
        found[spec.name] = plain and read and reached.isdisjoint(outputs)
    return {name for name, plain in found.items() if plain}


def shared_ranges(model: OnnxModel, ranges: dict[str, Range]) -> dict[str, Range]:
    """The ranges, with one for all values that are computed alike with the same weights: the steps of an unrolled network.

    Equal scales make equal tables: a sequence has one table per function, not one per step. Models that use every weight once
    keep their ranges.
    """
    graph = model.proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == _FLOAT and len(tensor.dims) > 1}
    layers = [node for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    readers = Counter(name for node in layers for name in node.input if name in weights)
    if not any(count > 1 for count in readers.values()):
        return ranges
    numbers = {tensor.name: tensor.raw_data for tensor in graph.initializer if tensor.data_type == _FLOAT}
    ends = {value.name for value in (*graph.input, *graph.output)}
    alike: dict[str, int] = {name: hash(name) for name in ends}
    for _ in range(_LOOK_BACK):
        found = {value.name: alike[value.name] for value in graph.input}
        for node in graph.node:
            operands = tuple(
                name if name in weights else numbers[name] if name in numbers else alike.get(name, 0) for name in node.input
            )
            kind = (node.op_type, operands, tuple(one.SerializeToString() for one in node.attribute))
            for place, name in enumerate(node.output):
                found[name] = hash((place, kind))
        alike = found
    groups: dict[int, Range] = {}
    for name, values in ranges.items():
        if name in alike and name not in ends:
            groups[alike[name]] = groups[alike[name]].hull(values) if alike[name] in groups else values
    return {name: groups.get(alike.get(name, 0), values) if name not in ends else values for name, values in ranges.items()}


def exact_exponents(model: OnnxModel, samples: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, int]:
    """For each float input whose values are all multiples of a power of two not below 2^−8: the exponent of the largest."""
    found = {}
    for spec in model.inputs:
        if spec.dtype != "float32":
            continue
        for exponent in range(LARGEST_EXPONENT, SMALLEST_EXPONENT - 1, -1):
            step = 2.0**exponent
            if all(bool((np.remainder(sample[spec.name].astype(np.float64), step) == 0).all()) for sample in samples):
                found[spec.name] = exponent
                break
    return found


def _with_all_values(model: OnnxModel) -> tuple[bytes, list[str]]:
    import onnx

    proto = onnx.ModelProto.FromString(model.data)
    given = {value.name for value in proto.graph.output}
    extra = [
        v for v in proto.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and v.name not in given
    ]
    names = [v.name for v in proto.graph.output if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    proto.graph.output.extend(extra)
    return proto.SerializeToString(deterministic=True), names + [value.name for value in extra]


def _runs(model: OnnxModel, samples: Sequence[Mapping[str, NDArray[Any]]]) -> Iterable[dict[str, NDArray[Any]]]:
    data, names = _with_all_values(model)
    try:
        session = open_session(data)
        for sample in samples:
            # An empty list of names would ask onnxruntime for every output.
            values = dict(zip(names, session.run(names, sample) if names else [], strict=True))
            values.update({name: array for name, array in sample.items() if array.dtype.kind in "fiu"})
            yield values
    except RuntimeFailure as problem:
        raise UnsupportedModel("reference-failed", f"onnxruntime cannot run the model: {problem}") from None


def calibrate(
    model: OnnxModel,
    samples: Sequence[Mapping[str, NDArray[Any]]],
    method: Method = Method.MIN_MAX,
    *,
    percentile: float = 99.99,
    levels: int = 255,
) -> dict[str, Range]:
    """The range of every float value and of every integer input.

    A value between them that is infinite or not a number somewhere gets none: whatever has to hold it is refused
    (``no-scale``), but it may be part of something larger that is finite, such as the exponential in 1/(1 + exp(−x)).

    Args:
        samples: feeds of exact shapes and dtypes, at least one.
        percentile: for that method, the share of values kept, in per cent.
        levels: for ``mse``, the number of steps that a range is divided into.

    Raises:
        UnsupportedModel: ``reference-failed``, or ``not-finite`` when an input or output is infinite or not a number.
    """
    ranges: dict[str, Range] = {}
    ends = {spec.name for spec in (*model.inputs, *model.outputs)}
    without: set[str] = set()
    for values in _runs(model, samples):
        for name, array in values.items():
            if array.size == 0 or name in without:
                continue
            seen = Range(float(array.min()), float(array.max()))
            if not np.isfinite(seen.low) or not np.isfinite(seen.high):
                if name not in ends:
                    without.add(name)
                    ranges.pop(name, None)
                    continue
                raise UnsupportedModel("not-finite", "a value is infinite or not a number on the calibration data", where=name)
            ranges[name] = ranges[name].hull(seen) if name in ranges else seen
    if method is Method.MIN_MAX:
        return ranges
    inputs = {spec.name for spec in model.inputs}
    histograms = {name: np.zeros(BINS) for name in ranges if name not in inputs}
    for values in _runs(model, samples):
        for name, histogram in histograms.items():
            seen = ranges[name]
            if seen.high > seen.low:
                histogram += np.histogram(values[name], BINS, (seen.low, seen.high))[0]
    for name, histogram in histograms.items():
        if histogram.sum():
            pick = (
                _percentile(histogram, percentile)
                if method is Method.PERCENTILE
                else _least_error(histogram, ranges[name], levels)
            )
            width = (ranges[name].high - ranges[name].low) / BINS
            ranges[name] = Range(ranges[name].low + pick[0] * width, ranges[name].low + pick[1] * width)
    return ranges


WIDE_RATIO = 32
"""A sum is held on a wide grid when its largest cell is more than this many times larger than an ordinary one."""
_FINE_BITS = 9
"""A wide grid divides an ordinary cell into 2^9 steps."""
_ROOM_BITS = 2
"""It reaches 2^2 times farther than calibration saw: an input beyond it has no proof."""
_SQUARES_BITS = 57
"""A row's squares add up to less than 2^57, so that its norm can be proven."""


def wide_sums(model: OnnxModel, samples: Sequence[Mapping[str, NDArray[Any]]], ranges: Mapping[str, Range]) -> dict[str, Scale]:
    """Scales of the residual streams that few large cells dominate (massive activations), by value name.

    A residual stream is a sum of two values that another such sum reads, and something else beside. Under one scale of up to 16
    bits its ordinary cells would keep a handful of steps; on a wide grid they keep 2^9 of them, whatever the largest are.
    """
    medians: dict[str, list[float]] = {name: [] for name in _residual_sums(model) if name in ranges}
    if not medians:
        return {}
    sizes: dict[str, int] = {}
    for values in _runs(model, samples):
        for name, found in medians.items():
            rows = values[name].reshape(-1, values[name].shape[-1]).astype(np.float64)
            sizes[name] = rows.shape[1]
            found.extend(np.median(np.abs(rows), axis=1).tolist())
    scales: dict[str, Scale] = {}
    for name, found in medians.items():
        largest, ordinary = max(-ranges[name].low, ranges[name].high), float(np.median(found))
        if ordinary <= 0.0 or largest <= WIDE_RATIO * ordinary:
            continue
        bits = (_SQUARES_BITS - (sizes[name] - 1).bit_length()) // 2
        reach = int(np.ceil(np.log2(largest))) + _ROOM_BITS
        exponent = max(int(np.floor(np.log2(ordinary))) - _FINE_BITS, reach - bits)
        bits = reach - exponent
        if bits >= MAX_INPUT_BITS:
            scales[name] = Scale(1 << (MANTISSA_BITS - 1), exponent + 1 - MANTISSA_BITS, -(1 << bits), (1 << bits) - 1)
    return scales


def _residual_sums(model: OnnxModel) -> set[str]:
    """Results of Add of two values that another Add reads, and some other node too; and what ends such a chain."""
    graph = model.proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    sums = {node.output[0]: node for node in graph.node if node.op_type == "Add" and constants.isdisjoint(node.input)}
    readers = Counter(name for node in graph.node for name in set(node.input))
    outputs = {value.name for value in graph.output}
    streams = {name for node in sums.values() for name in node.input if name in sums and readers[name] > 1}
    ends = {name for name, node in sums.items() if streams.intersection(node.input)}
    return (streams | ends) - outputs


def _percentile(histogram: NDArray[np.float64], percentile: float) -> tuple[int, int]:
    """First and one-past-last bin that hold all but (100 − percentile)/2 per cent at each end."""
    share = histogram.sum() * (100.0 - percentile) / 200.0
    total = histogram.cumsum()
    return int(np.searchsorted(total, share, "right")), int(np.searchsorted(total, total[-1] - share, "left")) + 1


def _least_error(histogram: NDArray[np.float64], values: Range, levels: int) -> tuple[int, int]:
    """The clip of both ends, by equal shares of their distance from 0, with the least expected squared error."""
    width = (values.high - values.low) / BINS
    centres = values.low + (np.arange(BINS) + 0.5) * width
    best, found = np.inf, (0, BINS)
    for step in range(_CLIPS, _CLIPS // 4, -1):
        low, high = min(values.low, 0.0) * step / _CLIPS, max(values.high, 0.0) * step / _CLIPS
        noise = ((high - low) / levels) ** 2 / 12
        error = float((histogram * ((centres - np.clip(centres, low, high)) ** 2 + noise)).sum())
        if error < best:
            first = max(0, int(np.floor((low - values.low) / width)))
            best, found = error, (first, min(BINS, int(np.ceil((high - values.low) / width))))
    return found
