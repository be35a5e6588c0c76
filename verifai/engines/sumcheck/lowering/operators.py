"""Which nodes of a model the engine can prove: found by lowering each, not by a list that could disagree with the lowering."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import TensorProto

from verifai.engines.interface import OperatorSupport
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.lowering.builder import Builder, Plan
from verifai.engines.sumcheck.lowering.comparisons import boolean_scales
from verifai.engines.sumcheck.lowering.dynamic import rewritten
from verifai.engines.sumcheck.lowering.fuse import fuse
from verifai.engines.sumcheck.lowering.graph import read_graph
from verifai.engines.sumcheck.lowering.lower import lower_node
from verifai.engines.sumcheck.lowering.poles import small_power
from verifai.engines.sumcheck.lowering.quantised import input_scale
from verifai.engines.sumcheck.lowering.select import INTEGERS, rows_only
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import whole
from verifai.engines.sumcheck.protocol.buses import tables_of
from verifai.engines.sumcheck.quantise.scales import Range, Scale, choose_scale, integer_scale
from verifai.errors import EvidenceRejected, UnsupportedModel
from verifai.onnx_graph.graph import Node
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.tensors import to_array

_UNIT = choose_scale(Range(-1.0, 1.0), 8)
_ONE_SIDED = {"Reciprocal": 0, "Log": 0, "Sqrt": 0, "Pow": 0, "Div": 1}
"""Operators whose operand at this place lies on one side of 0, where a rule asks."""
_UNSIGNED = frozenset({TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64})
_SAME_CELLS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Identity", "Expand"})
_BYTES = integer_scale(Range(0.0, 255.0))


class UnitScales(dict[str, Scale]):
    """The same scale, of ``bits`` bits, for every real value of ``model``, bytes for every integer input: enough to see which
    rules apply, without calibration. What must not be negative is not."""

    def __init__(self, model: OnnxModel, bits: int = 8) -> None:
        super().__init__()
        self._unit, self._positive = (choose_scale(Range(low, 1.0), bits) for low in (-1.0, 0.0))
        self._integers = {spec.name for spec in model.inputs if spec.dtype in INTEGERS}
        graph = model.proto.graph
        nodes = [node for node in graph.node if node.op_type in _ONE_SIDED]
        exponents = {node.input[1] for node in nodes if node.op_type == "Pow"}
        small = {t.name for t in graph.initializer if t.name in exponents and small_power(to_array(t, t.name))}
        nodes = [node for node in nodes if node.op_type != "Pow" or node.input[1] not in small]
        self._above = {node.input[_ONE_SIDED[node.op_type]] for node in nodes}
        self._above |= {node.input[0] for node in graph.node if node.op_type == "Cast" and node.attribute[0].i in _UNSIGNED}
        for node in reversed(graph.node):
            if node.op_type in _SAME_CELLS and node.output[0] in self._above:
                self._above.add(node.input[0])

    def __missing__(self, key: str) -> Scale:
        return _BYTES if key in self._integers else self._positive if key in self._above else self._unit

    def get(self, key: str, default: object = None) -> Scale:
        """The scale, whatever is asked for."""
        return self[key]


def operator_support(model: OnnxModel) -> tuple[OperatorSupport, ...]:
    """One entry per node, in the graph's order."""
    source = read_graph(model)
    graph = fuse(rewritten(source))
    builder = Builder(Plan(), UnitScales(model), coarse=True, derived=boolean_scales(graph), unrounded=True)
    state = State(graph, builder)
    refused: dict[str, UnsupportedModel] = {}
    for name in graph.inputs:
        _stand_in(state, name)
    for node in graph.nodes:
        problem = _try(state, node)
        if problem is not None:
            refused[node.name] = problem
        for name in node.outputs:
            # Without a value also when a bound under the unit scales stopped the node, which is no refusal.
            if name and (problem is not None or name not in state.values):
                _stand_in(state, name)
    # Parts of a normalisation or softmax that became one node are proven by it.
    return tuple(_entry(node, refused) for node in source.nodes)


def _entry(node: Node, refused: Mapping[str, UnsupportedModel]) -> OperatorSupport:
    problem = refused.get(node.name)
    if problem is None:
        return OperatorSupport(node.name, node.op_type, True)
    return OperatorSupport(node.name, node.op_type, False, problem.message, problem.hint)


def _stand_in(state: State, name: str) -> None:
    """Pretend that ``name`` is an input, so that the nodes after an unsupported one are still judged."""
    shape = state.graph.shapes.get(name, (1,))
    integer = state.graph.types.get(name) in INTEGERS
    scale = input_scale(state.graph, name) or (rows_only(state.graph, name, _BYTES) if integer else _UNIT)
    number = state.builder.input(name, shape, scale, scale.zero_point)
    state.values[name] = whole(number, shape, scale.step, scale.zero_point)


def _try(state: State, node: Node) -> UnsupportedModel | None:
    before = len(state.builder.ops)
    try:
        lower_node(state, node)
        for name in node.outputs:
            # What a value needs beyond its operands shows when it becomes cells.
            if name and name in state.values:
                state.force(name)
    except UnsupportedModel as problem:
        # A bound depends on scales, which are not known here; compile decides.
        return problem if problem.code == "operator-unsupported" else None
    except EvidenceRejected as problem:
        return UnsupportedModel("operator-unsupported", problem.message, where=node.where)
    return _beyond_suite(state, before, node)


def _beyond_suite(state: State, before: int, node: Node) -> UnsupportedModel | None:
    """Whether an operation that the node needs is missing in the protocol suite."""
    draft = state.builder.draft()
    for number in range(before, len(draft.ops)):
        op = draft.ops[number]
        if isinstance(op, ops.Requant) and op.saturate:
            continue
        try:
            tables_of(draft, number)
        except UnsupportedModel as problem:
            return UnsupportedModel("operator-unsupported", problem.message, where=node.where)
    return None
