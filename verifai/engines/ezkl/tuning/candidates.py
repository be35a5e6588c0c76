"""Every circuit that the tuner considers, with its predicted cost, cheapest first. Nothing here runs ezkl."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx

from verifai.domain.circuit_spec import Budget
from verifai.domain.fidelity import FidelityFloor
from verifai.domain.statement import Visibility
from verifai.engines.ezkl.cost.flow import LOOKUPS, Cells, Flow, Scales, count, flow
from verifai.engines.ezkl.cost.model import BLINDING_ROWS, MAX_INNER_COLUMNS, CircuitCost, CircuitSize, predict
from verifai.engines.ezkl.parameters import CircuitParameters, CircuitVisibility
from verifai.engines.ezkl.rewrites import registry as rewrites
from verifai.engines.ezkl.tuning.calibration import Calibration
from verifai.onnx_graph.model import OnnxModel

MIN_LOGROWS = 8
MAX_LEGS = 6
MULTIPLIERS = (1, 2, 3, 4, 6, 10)
INPUT_SCALES = range(2, 13)
PARAMETER_SCALES = range(3, 15)
NO_LOOKUP = 128
"""Half the lookup range of a circuit that looks nothing up."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the graph.

    Attributes:
        onnx: after the rewrites ``names``.
        corrections: by inner columns: how many cells ezkl really uses beyond what :func:`..cost.flow.count` says, in the main
            columns and in Freivalds'. The difference hardly depends on scales and digits, so one probe of ezkl serves all.
    """

    names: tuple[str, ...]
    onnx: bytes
    corrections: Mapping[int, tuple[int, int]] = field(default_factory=dict)


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

    def resized(self, size: CircuitSize) -> Candidate | None:
        """With the size that ezkl states; ``None`` when that does not fit."""
        cost = predict(size, self.parameters.logrows, self.parameters.num_inner_cols)
        return None if cost is None else replace(self, size=size, cost=cost)


def variants(model: OnnxModel, allowed: Sequence[str] | None) -> tuple[Variant, ...]:
    """The graph as it is and its rewritten forms, without repetitions."""
    found: dict[bytes, Variant] = {}
    for plan in rewrites.PLANS:
        names: list[str] = []
        data = model.data
        for name in plan:
            changed = rewrites.apply(data, (name,)) if allowed is None or name in allowed else data
            if changed != data:
                names.append(name)
                data = changed
        found.setdefault(data, Variant(tuple(names), data))
    return tuple(found.values())


def candidates(
    calibration: Calibration,
    visibility: CircuitVisibility,
    floor: FidelityFloor,
    budget: Budget,
    *,
    forms: Sequence[Variant],
    max_logrows: int,
    margin: float,
) -> list[Candidate]:
    """All candidates that should meet the floor and fit the budget, cheapest first: the best for each graph and number of rows.

    Args:
        forms: the graphs to consider, with their corrections.
        margin: least factor by which inner values may exceed what the calibration data reached.
    """
    best: dict[tuple[tuple[str, ...], int], Candidate] = {}
    for variant in forms:
        for candidate in _of_variant(variant, calibration, visibility, floor, max_logrows, margin):
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
) -> Iterator[Candidate]:
    proto = onnx.ModelProto.FromString(variant.onnx)
    ranges = calibration.magnitudes(variant.onnx, flow(proto, Scales(7, 7, 1)).checked)
    counted: dict[tuple[frozenset[str], int, int], Cells] = {}
    for inputs, parameters in _faithful_scales(variant, calibration, floor):
        error = calibration.forecast(variant.onnx, inputs, parameters).max_abs_error
        seen: set[frozenset[str]] = set()
        for multiplier in MULTIPLIERS:
            scales = Scales(inputs, parameters, multiplier)
            run = flow(proto, scales)
            if run.rebased in seen:
                continue
            seen.add(run.rebased)
            need = max(max(abs(low), abs(high)) * 2.0 ** run.scales[name] for name, (low, high) in ranges.items())
            lookup = _lookup_reach(proto, run, ranges)
            for logrows in range(MIN_LOGROWS, max_logrows + 1):
                digits = _digits(need * margin, logrows)
                if digits is None:
                    continue
                base, legs = digits
                for inner in range(1, MAX_INNER_COLUMNS + 1):
                    key = (run.rebased, legs, inner)
                    if key not in counted:
                        counted[key] = _corrected(count(proto, run, legs, inner), variant, inner)
                    size = _size(counted[key], base, math.ceil(lookup * margin), visibility, calibration.model)
                    cost = predict(size, logrows, inner)
                    if cost is not None:
                        chosen = _parameters(scales, base, legs, inner, size, margin, logrows, variant)
                        yield Candidate(variant, chosen, size, cost, error, base**legs / max(need, 1.0))


def _corrected(cells: Cells, variant: Variant, inner: int) -> Cells:
    main, einsum = variant.corrections.get(inner, (0, 0))
    return replace(cells, main=max(1, cells.main + main), einsum=max(0, cells.einsum + einsum))


def _faithful_scales(variant: Variant, calibration: Calibration, floor: FidelityFloor) -> list[tuple[int, int]]:
    """Pairs of input and parameter scale whose forecast meets the floor with a fifth to spare."""
    limits = [None if limit is None else 0.8 * limit for limit in (floor.max_abs_error, floor.spread_error)]
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


def _lookup_reach(proto: onnx.ModelProto, run: Flow, ranges: dict[str, tuple[float, float]]) -> float:
    """Largest magnitude that a table of a non-linear function must hold; 0 without one."""
    read = [node.input[0] for node in proto.graph.node if node.op_type in LOOKUPS]
    return max((max(abs(end) for end in ranges[name]) * 2.0 ** run.scales[name] for name in read), default=0.0)


def _size(cells: Cells, base: int, reach: int, visibility: CircuitVisibility, model: OnnxModel) -> CircuitSize:
    sides = ((visibility.inputs, model.inputs), (visibility.outputs, model.outputs))
    return CircuitSize(
        cells=cells.main,
        range_rows=base,
        einsum_cells=cells.einsum,
        einsum_longest=cells.einsum_longest,
        shuffles=cells.shuffles,
        lookups=cells.lookups,
        lookup_rows=2 * reach + 1 if cells.lookups else 0,
        hashed_cells=sum(tensor.size for side, tensors in sides if side is Visibility.HASHED for tensor in tensors),
        instances=sum(tensor.size for side, tensors in sides if side is Visibility.PUBLIC for tensor in tensors),
    )


def _parameters(
    scales: Scales, base: int, legs: int, inner: int, size: CircuitSize, margin: float, logrows: int, variant: Variant
) -> CircuitParameters:
    reach = size.lookup_rows // 2 if size.lookups else NO_LOOKUP
    return CircuitParameters(
        input_scale=scales.inputs,
        param_scale=scales.parameters,
        scale_rebase_multiplier=scales.multiplier,
        decomp_base=base,
        decomp_legs=legs,
        num_inner_cols=inner,
        lookup_low=-reach,
        lookup_high=reach,
        lookup_margin=margin,
        logrows=logrows,
        rewrites=variant.names,
    )


def _affordable(cost: CircuitCost, budget: Budget) -> bool:
    limits = (
        (cost.memory_bytes, budget.memory_bytes),
        (cost.prove_seconds, budget.prove_seconds),
        (cost.setup_seconds, budget.setup_seconds),
        (cost.logrows, budget.max_logrows),
    )
    return all(limit is None or value <= limit for value, limit in limits)
