"""Every circuit that the tuner considers, with its predicted cost, cheapest first. Nothing here runs ezkl."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifai.domain.circuit_spec import Budget
from verifai.domain.fidelity import FidelityFloor
from verifai.domain.statement import MAX_COLUMNS, Visibility
from verifai.engines.ezkl.columns import Frame, TensorColumns, choose_frames
from verifai.engines.ezkl.cost.flow import LOOKUPS, Cells, Flow, Scales, count, flow
from verifai.engines.ezkl.cost.model import BLINDING_ROWS, MAX_INNER_COLUMNS, CircuitCost, CircuitSize, predict
from verifai.engines.ezkl.parameters import FOLDED, CircuitParameters, CircuitVisibility
from verifai.engines.ezkl.rewrites import registry as rewrites
from verifai.engines.ezkl.rewrites.affine import fold
from verifai.engines.ezkl.rewrites.graph import Rewriting
from verifai.engines.ezkl.tuning.calibration import Calibration
from verifai.onnx_graph.model import OnnxModel

MIN_LOGROWS = 8
MAX_LEGS = 6
MULTIPLIERS = (1, 2, 3, 4, 6, 10)
INPUT_SCALES = range(2, 13)
PARAMETER_SCALES = range(3, 15)
FORECAST_SHARES = (0.8, 0.3, 0.1, 0.03)
"""Tried one after the other, until a circuit that was run meets the floor."""
NO_LOOKUP = 128
"""Half the lookup range of a circuit that looks nothing up."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the graph.

    Attributes:
        onnx: after the rewrites ``names``; its inputs are those of ``frames`` where there are any.
        corrections: by inner columns: how many cells ezkl really uses beyond what :func:`..cost.flow.count` says, in the main
            columns and in Freivalds'. The difference hardly depends on scales and digits, so one probe of ezkl serves all.
    """

    names: tuple[str, ...]
    onnx: bytes
    corrections: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    frames: Mapping[str, tuple[Frame, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One circuit to try.

    Attributes:
        forecast_error: predicted largest error of an output. headroom: how far values may exceed the calibration's before a
            decomposition overflows.
    """

    variant: Variant
    parameters: CircuitParameters
    size: CircuitSize
    cost: CircuitCost
    forecast_error: float
    headroom: float

    @property
    def rank(self) -> tuple[float, ...]:
        """Cheapest first; among equals the more faithful."""
        return (self.cost.rank, self.forecast_error)

    def widened(self, low: int, high: int, legs: int = 0) -> Candidate | None:
        """With a table of these arguments, and ``legs`` more digits; ``None`` when that does not fit."""
        parameters = self.parameters
        if parameters.decomp_legs + legs > MAX_LEGS:
            return None
        wider = replace(
            parameters,
            lookup_low=min(parameters.lookup_low, low),
            lookup_high=max(parameters.lookup_high, high),
            decomp_legs=parameters.decomp_legs + legs,
        )
        rows = wider.lookup_high - wider.lookup_low + 1
        return replace(self, parameters=wider).resized(replace(self.size, lookup_rows=rows if self.size.lookups else 0))

    def resized(self, size: CircuitSize) -> Candidate | None:
        """With the size that ezkl states; ``None`` when that does not fit."""
        cost = predict(size, self.parameters.logrows, self.parameters.num_inner_cols)
        return None if cost is None else replace(self, size=size, cost=cost)


def variants(
    model: OnnxModel, allowed: Sequence[str] | None, frames: Mapping[str, tuple[Frame, ...]] | None = None
) -> tuple[Variant, ...]:
    """The graph and its rewritten forms, without repetitions. ``frames``: of inputs whose columns have scales of their own."""
    found: dict[bytes, Variant] = {}
    frames = frames or {}
    affine = {name: [frame.affine for frame in columns] for name, columns in frames.items()}
    for plan in rewrites.PLANS:
        names: list[str] = []
        data = model.data
        for name in plan:
            scales = affine if name == FOLDED else None
            changed = rewrites.apply(data, (name,), scales) if allowed is None or name in allowed else data
            if changed != data:
                names.append(name)
                data = changed
        found.setdefault(data, Variant(tuple(names), data, frames=frames))
    return tuple(found.values())


def frames_of(model: OnnxModel, samples: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, tuple[Frame, ...]]:
    """Where each column lies, of every input that is one row of a table whose columns differ, and where it is of use.

    An input that the model reads other than linearly, and that no scaler of the model's own moves first, keeps one scale: its
    columns would be multiplied out again, cell by cell, to the numbers that they were.
    """
    found = {}
    for spec in model.inputs:
        if spec.dtype != "float32" or not spec.shape or spec.size != spec.shape[-1] or spec.size > MAX_COLUMNS:
            continue
        rows = np.stack([sample[spec.name].reshape(-1) for sample in samples]).astype(np.float64)
        frames = choose_frames(list(zip(rows.min(0).tolist(), rows.max(0).tolist(), strict=True)))
        if frames:
            done = fold(Rewriting.read(model.data), {spec.name: [frame.affine for frame in frames]})
            if 2 * done.computed.get(spec.name, 0) < spec.size:
                found[spec.name] = frames
    return found


def candidates(
    calibration: Calibration,
    visibility: CircuitVisibility,
    floor: FidelityFloor,
    budget: Budget,
    *,
    forms: Sequence[Variant],
    max_logrows: int,
    margin: float,
    share: float = FORECAST_SHARES[0],
) -> list[Candidate]:
    """All candidates that should meet the floor and fit the budget, cheapest first: the best for each graph and number of rows.

    Args:
        forms: the graphs to consider, with their corrections.
        share: of the error allowed, how much the forecast may take: it leaves out what rebasing and tables add.
        margin: least factor by which inner values may exceed what the calibration data reached.
    """
    best: dict[tuple[tuple[str, ...], int], Candidate] = {}
    for variant in forms:
        for candidate in _of_variant(variant, calibration, visibility, floor, max_logrows, margin, share):
            if not _affordable(candidate.cost, budget):
                continue
            layout = (variant.names, candidate.parameters.logrows)
            if layout not in best or candidate.rank < best[layout].rank:
                best[layout] = candidate
    return sorted(best.values(), key=lambda one: (*one.rank, one.parameters.logrows, one.variant.names))


def _of_variant(
    variant: Variant,
    calibration: Calibration,
    visibility: CircuitVisibility,
    floor: FidelityFloor,
    max_logrows: int,
    margin: float,
    share: float,
) -> Iterator[Candidate]:
    proto = onnx.ModelProto.FromString(variant.onnx)
    ranges = calibration.magnitudes(variant.onnx, flow(proto, Scales(7, 7, 1)).checked)
    reach = _lookup_reach(proto, calibration, variant, ranges)
    counted: dict[tuple[frozenset[str], int, int], Cells] = {}
    for inputs, parameters in _faithful_scales(variant, calibration, floor, share):
        error = calibration.forecast(variant.onnx, inputs, parameters).max_abs_error
        seen: set[frozenset[str]] = set()
        for multiplier in MULTIPLIERS:
            scales = Scales(inputs, parameters, multiplier)
            run = flow(proto, scales)
            if run.rebased in seen:
                continue
            seen.add(run.rebased)
            need = max(max(abs(low), abs(high)) * 2.0 ** run.scales[name] for name, (low, high) in ranges.items())
            lookup = _lookup_range(reach, run, margin)
            for logrows in range(MIN_LOGROWS, max_logrows + 1):
                digits = _digits(need * margin, logrows)
                if digits is None:
                    continue
                base, legs = digits
                for inner in range(1, MAX_INNER_COLUMNS + 1):
                    key = (run.rebased, legs, inner)
                    if key not in counted:
                        counted[key] = _corrected(count(proto, run, legs, inner), variant, inner)
                    size = _size(counted[key], base, lookup, visibility, calibration.model)
                    cost = predict(size, logrows, inner)
                    if cost is not None:
                        chosen = _parameters(scales, base, legs, inner, lookup, margin, logrows, variant)
                        yield Candidate(variant, chosen, size, cost, error, base**legs / max(need, 1.0))


def _corrected(cells: Cells, variant: Variant, inner: int) -> Cells:
    main, einsum = variant.corrections.get(inner, (0, 0))
    return replace(cells, main=max(1, cells.main + main), einsum=max(0, cells.einsum + einsum))


def _faithful_scales(variant: Variant, calibration: Calibration, floor: FidelityFloor, share: float) -> list[tuple[int, int]]:
    """Pairs of input and parameter scale whose forecast takes no more than ``share`` of the floor's errors."""
    limits = [None if limit is None else share * limit for limit in (floor.max_abs_error, floor.spread_error)]
    strict = FidelityFloor(floor.top1_agreement, *limits)
    found = []
    for parameters in PARAMETER_SCALES:
        for inputs in INPUT_SCALES:
            if not strict.missed(calibration.forecast(variant.onnx, inputs, parameters)):
                found.append((inputs, parameters))
                if len(found) >= 2 and found[-2][1] == parameters:
                    break  # finer inputs only cost range
    return found


def _digits(need: float, logrows: int) -> tuple[int, int] | None:
    """Base and number of digits for magnitudes up to ``need``: as few digits as the table of 2^logrows rows allows.

    A power of two is taken where it suffices; the whole table where only that saves a digit.
    """
    largest = 2**logrows - 16
    half = 2 ** (logrows - 1)
    for legs in range(1, MAX_LEGS + 1):
        for base in (half, largest):
            if base > largest or base + BLINDING_ROWS > 2**logrows:
                continue
            if float(base) ** legs > need:
                return base, legs
    return None


def _lookup_reach(
    proto: onnx.ModelProto, calibration: Calibration, variant: Variant, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """By value that a table of a non-linear function is of: the least and the largest real argument, 0 among them."""
    found = {}
    for node in proto.graph.node:
        name = node.input[0] if node.input else ""
        if node.op_type == "Softmax":  # the table is of exp(x − max x)
            below = calibration.below_maximum(variant.onnx, name, helper.get_node_attr_value(node, "axis"))
            found[name] = (-below, 0.0)
        elif node.op_type == "Exp":
            found[name] = (min(ranges[name][0], 0.0), max(ranges[name][1], 0.0))
        elif node.op_type in LOOKUPS:  # others are as steep on either side, and what is seen on one may come on the other
            reach = max(abs(end) for end in ranges[name])
            found[name] = (-reach, reach)
    return found


def _lookup_range(reach: Mapping[str, tuple[float, float]], run: Flow, margin: float) -> tuple[int, int]:
    """What a table of a non-linear function must hold, in the circuit's integers; (0, 0) without one."""
    lows = [low * 2.0 ** run.scales[name] for name, (low, _) in reach.items()]
    highs = [high * 2.0 ** run.scales[name] for name, (_, high) in reach.items()]
    return (math.floor(min(lows) * margin), math.ceil(max(highs) * margin)) if reach else (0, 0)


def _size(cells: Cells, base: int, lookup: tuple[int, int], visibility: CircuitVisibility, model: OnnxModel) -> CircuitSize:
    sides = ((visibility.inputs, model.inputs), (visibility.outputs, model.outputs))
    return CircuitSize(
        cells=cells.main,
        range_rows=base,
        einsum_cells=cells.einsum,
        einsum_longest=cells.einsum_longest,
        shuffles=cells.shuffles,
        lookups=cells.lookups,
        lookup_rows=lookup[1] - lookup[0] + 1 if cells.lookups else 0,
        hashed_cells=sum(tensor.size for side, tensors in sides if side is Visibility.HASHED for tensor in tensors),
        instances=sum(tensor.size for side, tensors in sides if side is Visibility.PUBLIC for tensor in tensors),
    )


def _parameters(
    scales: Scales,
    base: int,
    legs: int,
    inner: int,
    lookup: tuple[int, int],
    margin: float,
    logrows: int,
    variant: Variant,
) -> CircuitParameters:
    low, high = (-NO_LOOKUP, NO_LOOKUP) if lookup == (0, 0) else lookup
    return CircuitParameters(
        input_scale=scales.inputs,
        param_scale=scales.parameters,
        scale_rebase_multiplier=scales.multiplier,
        decomp_base=base,
        decomp_legs=legs,
        num_inner_cols=inner,
        lookup_low=low,
        lookup_high=high,
        lookup_margin=margin,
        logrows=logrows,
        rewrites=variant.names,
        columns=tuple(
            TensorColumns(name, tuple(frame.column(scales.inputs) for frame in frames))
            for name, frames in variant.frames.items()
        ),
    )


def _affordable(cost: CircuitCost, budget: Budget) -> bool:
    limits = (
        (cost.memory_bytes, budget.memory_bytes),
        (cost.prove_seconds, budget.prove_seconds),
        (cost.setup_seconds, budget.setup_seconds),
        (cost.logrows, budget.max_logrows),
    )
    return all(limit is None or value <= limit for value, limit in limits)
