"""ONNX → integer circuit: deterministic in the model's bytes, the scales and the options; nothing else goes in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from verifai.engines.sumcheck.circuit.check import MAX_ITEM_RANK, check
from verifai.engines.sumcheck.circuit.ops import holds_results, results
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Visibility, WeightVisibility
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.interpreter.weights import encode_arrays
from verifai.engines.sumcheck.lowering import (
    cells,
    choices,
    comparisons,
    division,
    fuse,
    integers,
    linear,
    log_sums,
    moves,
    poles,
    pool,
    products,
    quantised,
    reductions,
    rows,
    shapes,
    top_k,
)
from verifai.engines.sumcheck.lowering.affine import Affine, affine_form, affine_of
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, Builder, Plan, TableKey, next_plan, signed_width, table_key
from verifai.engines.sumcheck.lowering.dynamic import STATIC, rewritten
from verifai.engines.sumcheck.lowering.graph import DOMAIN, SourceGraph, read_graph, unsupported
from verifai.engines.sumcheck.lowering.limbs import limbed_input
from verifai.engines.sumcheck.lowering.select import INTEGERS, rows_only
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.unread import without_unread
from verifai.engines.sumcheck.lowering.values import CellTerm, Form, Held, Lazy, per_column, whole
from verifai.engines.sumcheck.lowering.views import materialise
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, Suite
from verifai.engines.sumcheck.quantise.functions import IDENTITY
from verifai.engines.sumcheck.quantise.ranges import ordered_inputs
from verifai.engines.sumcheck.quantise.scales import Scale, whole_scale
from verifai.errors import InternalError, UnsupportedModel
from verifai.onnx_graph.graph import Node
from verifai.onnx_graph.model import OnnxModel

MAX_ROUNDS = 12
IMPORT_BITS = 11
"""An imported layer's weights are rounded on a grid finer by this many bits: its integers are to be met, not chosen."""

HANDLERS: Mapping[str, Callable[[State, Node], None]] = {
    **cells.HANDLERS,
    **linear.HANDLERS,
    **pool.HANDLERS,
    **shapes.HANDLERS,
    **moves.HANDLERS,
    **quantised.HANDLERS,
    **rows.HANDLERS,
    **poles.HANDLERS,
    **reductions.HANDLERS,
    **log_sums.HANDLERS,
    **comparisons.HANDLERS,
    **choices.HANDLERS,
    **top_k.HANDLERS,
    # These have the general case, and leave the rest of the operator to a rule above.
    **division.HANDLERS,
    **products.HANDLERS,
}
_HINTS = dict.fromkeys(("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"), STATIC)
_FUSED: Mapping[str, Callable[[State, Node], None]] = {**rows.FUSED, **division.FUSED, **reductions.FUSED}


def handler_of(node: Node) -> Callable[[State, Node], None]:
    """The rule for a node. Raises UnsupportedModel."""
    found = {"": HANDLERS, DOMAIN: _FUSED}.get(node.domain, {}).get(node.op_type)
    if found is None:
        raise unsupported(node, "the sumcheck engine has no rule for this operator", _HINTS.get(node.op_type, ""))
    return found


@dataclass(frozen=True)
class Lowered:
    """A lowered model.

    Attributes:
        circuit: checked; a draft without commitments.
        weights: per circuit weight, its cells. blob: their canonical bytes.
        scales: the scales that were used, by ONNX value: with them alone the same circuit comes out again.
        calibrated: by operation, the function of a table that cuts its values off at a range that calibration chose.
        sums: values that were rounded to a table, and that a scale of more bits would hold on a wide grid.
        functions: values that the table of a function made: a scale of more bits makes its results finer, at no cost.
        choice_steps: by an operation that names the largest of a tensor's cells, the real value of one step of these.
    """

    circuit: Circuit
    weights: tuple[Ints, ...]
    blob: bytes
    scales: Mapping[str, Scale]
    calibrated: Mapping[int, TableKey] = field(default_factory=dict)
    choice_steps: Mapping[int, Fraction] = field(default_factory=dict)
    sums: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()


def lower(
    model: OnnxModel,
    scales: Mapping[str, Scale],
    *,
    tensors: Mapping[str, Visibility],
    weights: WeightVisibility = WeightVisibility.PUBLIC,
    split: bool = False,
    exact: Collection[str] = (),
    suite: Suite = INTEGRITY,
    opening_budget: int = 0,
    coarse: bool = False,
    fold: bool = True,
    unrounded: bool = True,
    unclamped: bool = False,
    bounds_alone: bool = False,
    sparing: bool = False,
    fine: bool = False,
    rounds_once: bool = False,
) -> Lowered:
    """Lower a canonical model.

    Args:
        scales: at least one per input and per value that becomes a held tensor.
        tensors: visibility of each model input and output.
        split: whether a saturating split may replace a larger table where that is cheaper, not only where forced.
        exact: outputs that get exactly the scale and range given, because another circuit takes them as its input.
        suite: that the circuit is for; where it hides committed weights, their bounds are rounded up to 2^k − 1.
        opening_budget: how many proofs may open the commitment to hidden weights; 0 where there is none.
        coarse: as :class:`.builder.Builder` has it, for estimates.
        fold: whether constants that move or stretch cells are folded into the next linear layer, weighted sums of squares are
            joined, and masks before a softmax are looked for.
        unrounded, unclamped, sparing, fine: as :class:`..quantise.scales.QuantiserOptions` has them.
        bounds_alone: as :class:`.builder.Builder` has it, where bounds are rounded.

    Raises:
        UnsupportedModel: ``operator-unsupported``, ``circuit-bound``, ``no-scale`` and others, with the node or value named.
    """
    ordered = {spec.name for spec in model.inputs if spec.name in scales and scales[spec.name].ordered}
    if odd := sorted(ordered - ordered_inputs(model)):
        message = "its float32 numbers are taken by their order, but more than orderings against constants reads them"
        raise UnsupportedModel("no-scale", message, where=odd[0])
    for spec in (*model.inputs, *model.outputs):
        columns = scales[spec.name].columns if spec.name in scales else ()
        if columns and (len(columns),) != spec.shape[-1:]:
            raise UnsupportedModel("no-scale", f"{len(columns)} columns have scales, of shape {spec.shape}", where=spec.name)
    graph = fuse.fuse(rewritten(read_graph(model)), squares=fold, mixtures=unrounded)
    stored = quantised.stored_results(graph) if rounds_once else {}
    plan, rounded = Plan(), suite.zero_knowledge and weights is WeightVisibility.COMMITTED
    for _ in range(MAX_ROUNDS):
        derived = comparisons.boolean_scales(graph)
        public = weights is WeightVisibility.PUBLIC
        builder = Builder(plan, scales, public, coarse, exact, round_bounds=rounded, derived=derived, unrounded=unrounded)
        builder.unclamped, builder.sparing, builder.fine = unclamped, sparing, fine
        builder.bounds_alone = bounds_alone
        ports = _lower_once(graph, builder, tensors, exact, fold, unrounded, stored)
        following = next_plan(builder.needs, split=split)
        if following == plan:
            circuit = replace(builder.finish(*ports, weights), suite=suite.name, opening_budget=opening_budget)
            circuit, kept, used = without_unread(circuit)
            check(circuit)
            cut = {new: builder.calibrated[old] for new, old in enumerate(kept) if old in builder.calibrated}
            arrays = tuple(builder.cells[number] for number in used)
            blob = encode_arrays(circuit, arrays)
            steps = {new: builder.choice_steps[old] for new, old in enumerate(kept) if old in builder.choice_steps}
            used_scales = dict(sorted(builder.used_scales.items()))
            sums, functions = frozenset(builder.sums), frozenset(builder.functions)
            return Lowered(circuit, arrays, blob, used_scales, cut, steps, sums, functions)
        plan = following
    raise InternalError("bug", "the widths of the tables do not settle")


def is_quantised(graph: SourceGraph) -> bool:
    """Whether the model brings its own integers."""
    return any(node.op_type in quantised.HANDLERS for node in graph.nodes)


_MOVES = frozenset(
    {
        "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Expand", "Identity", "Gather", "Split", "Tile",
        "DepthToSpace", "SpaceToDepth", "GatherElements", "GatherND", "ReverseSequence",
    }
)  # fmt: skip
"""Operators that only rearrange cells: the same for any type."""
_FILLED = frozenset({"Pad", "Trilu", "CenterCropPad", "ScatterND", "ScatterElements", "Concat"})
"""Operators that rearrange cells and put 0 beside them: not for stored integers, whose 0 is not the real 0."""
_QUANTISED = _MOVES | {"QuantizeLinear", "QLinearConv", "QLinearMatMul", "MaxPool", "GlobalMaxPool", "ReduceMax", "Concat"}
"""Operators whose result may be stored integers: maxima do not depend on scale or zero point."""


def require_types(graph: SourceGraph, node: Node) -> None:
    """Values are quantised reals; the rules of other types are few. Raises UnsupportedModel.

    A rule for reals on stored integers would compute something else: their 0 is not the real 0.
    """
    for name in node.outputs:
        if name in graph.outputs and len(graph.shapes.get(name, ())) > MAX_ITEM_RANK:
            raise unsupported(node, f"a model output has more than {MAX_ITEM_RANK} axes")
        kind = graph.types.get(name, "float32")
        stored = kind in quantised.QUANTISED_TYPES and is_quantised(graph)
        if kind == "float32" or node.op_type in _MOVES or (stored and node.op_type in _QUANTISED):
            continue
        if node.op_type in ("Cast", "ArgMax", "ArgMin", "TopK", *comparisons.HANDLERS):
            continue
        if kind == "bool" and node.op_type in ("Where", "Concat"):
            continue
        if kind in INTEGERS and not stored and node.op_type in integers.OPERATORS | _FILLED:
            continue
        raise unsupported(node, f"its result is {kind}; only float32 values are lowered")


def lower_node(state: State, node: Node) -> None:
    """Apply the node's rule: its results are values of ``state``. Raises UnsupportedModel."""
    handler = handler_of(node)
    require_types(state.graph, node)
    if quantised.move_weights(state, node):
        return
    integers.derive(state, node)
    if node.op_type == "Div" and not node.domain and integers.divide(state, node):
        return
    handler(state, node)
    integers.keep(state, node)


def input_scale(graph: SourceGraph, builder: Builder, name: str) -> Scale:
    """A model input's scale: the model's own, or the calibrated one. Raises UnsupportedModel."""
    own = quantised.input_scale(graph, name)
    scale = own or builder.scale(name)
    if own is None and graph.types[name] in INTEGERS and scale.step != 1:
        raise UnsupportedModel("no-scale", "an integer input needs a scale with step 1", where=name)
    return rows_only(graph, name, scale) if own is None and graph.types[name] in INTEGERS else scale


def _lower_once(
    graph: SourceGraph,
    builder: Builder,
    tensors: Mapping[str, Visibility],
    exact: Collection[str],
    fold: bool,
    unrounded: bool,
    stored: Mapping[str, Scale],
) -> tuple[list[Port], list[Port]]:
    shown = frozenset(name for name, visibility in tensors.items() if visibility is Visibility.PUBLIC)
    state = State(graph, builder, fold, unrounded, shown, finer=IMPORT_BITS if is_quantised(graph) else 0)
    state.stored = stored
    inputs = []
    for name in graph.inputs:
        if graph.readers.get(name, 0) == 0:
            raise UnsupportedModel("unused-input", "nothing reads this model input", where=name, hint="Remove it.")
        scale = stored.get(name) or input_scale(graph, builder, name)
        if scale.ordered and name not in shown:
            number, read = limbed_input(builder, name, graph.shapes[name])
        else:
            number = read = builder.input(name, graph.shapes[name], scale, scale.zero_point)
        inputs.append(Port(number, tensors[name]))
        if name in shown:
            builder.shown |= {number}
        held = whole(read, graph.shapes[name], scale.step, scale.zero_point)
        if scale.ordered:
            state.ordered.add(read)
        state.values[name] = _table_row(held, scale) if scale.columns else held
    for node in graph.nodes:
        lower_node(state, node)
    taken: set[int] = {port.tensor for port in inputs}
    outputs = []
    for name in graph.outputs:
        if name not in state.values:
            raise UnsupportedModel("constant-value", "a model output does not depend on any input", where=name)
        number = _output(state, name, taken, builder.scale(name) if name in exact else None)
        taken.add(number)
        outputs.append(Port(number, tensors[name]))
    return inputs, outputs


def _table_row(held: Held, scale: Scale) -> Affine:
    """The input whose columns have scales of their own: (x − zero point)·step per column, exact in float64."""
    steps = np.array([float(column.step) for column in scale.columns])
    zero_points = np.array([float(column.zero_point) for column in scale.columns])
    return affine_of(held).stretched(steps, -zero_points * steps, held.shape)


def _output(state: State, name: str, taken: set[int], exact: Scale | None) -> int:
    """A held tensor of the output's own shape that is no input and no other output, under the scale ``exact`` if given."""
    columns = exact is None and bool(state.builder.has_scale(name) and state.builder.scale(name).columns)
    held: Held = _output_row(state, name) if columns else state.force(name, name if exact else "")
    number = materialise(state.builder, held, f"{name}.view")
    tensor = state.builder.tensors[number]
    found = (tensor.low, tensor.high, held.zero_point)
    wanted = (exact.low, exact.high, exact.zero_point) if exact else found
    if number == held.tensor and number not in taken and _is_held(state.builder, number) and found == wanted:
        return number
    low, high, zero_point = wanted
    if exact is None and signed_width(tensor.low, tensor.high) > MAX_WIDTH:
        # Cells of an input of 16 bits, handed on: more than a table has, so they are rounded to the output's own step.
        cells = whole(number, held.shape or (1,), held.step)
        form = Form((CellTerm(cells, 1.0),), 0.0, cells.shape, held.shape, name)
        return state.requantise(name, Lazy(form), state.scale(name)).tensor
    key = table_key(IDENTITY, held.step, held.step, low, high)
    # A table that reaches both ends of the range clamps to it, so the result has this range and no narrower one.
    return state.builder.lookup(number, key, name, held.step, zero_point, signed_width(low, high))


def _output_row(state: State, name: str) -> Held:
    """An output whose columns have scales of their own: value / step + zero point per column, in the layer that makes it."""
    scale = state.builder.scale(name)
    factor = np.array([1 / float(column.step) for column in scale.columns])
    offset = np.array([float(column.zero_point) for column in scale.columns])
    value, shape = state.values[name], state.graph.shapes[name]
    form = state.linear(name)
    moved = None if form is None or isinstance(value, Affine) else per_column(form, factor, offset, name)
    if moved is None and isinstance(value, Lazy):
        # No layer makes it, so it is rounded once, as finely as one scale for all allows, before its columns part.
        value = state.requantise(f"{name}.whole", value, whole_scale(scale, MAX_WIDTH - 1))
    if moved is None:
        row = affine_of(value) if isinstance(value, Held) else value
        assert isinstance(row, Affine)
        moved = affine_form(row.stretched(factor, offset, shape), name)
    made = state.requantise(name, Lazy(moved), replace(scale, columns=()))
    return made.at(made.index.reshape(shape or (1,)))


def _is_held(builder: Builder, number: int) -> bool:
    return any(holds_results(op) and number in results(op) for op in builder.ops)
