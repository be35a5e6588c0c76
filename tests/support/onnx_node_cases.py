"""The onnx package's own backend node tests, run through quantiser, lowering and interpreter of the sumcheck engine.

Each single-node case becomes a canonical model: data operands stay inputs, parameters (weights, shapes, bounds) become
constants. The circuit runs on the case's input, its result is held against the case's expected output, and the run is proven
and verified. The tolerance is derived, not chosen: the circuit's own error bound on the inputs as quantised, plus how far
quantising the inputs alone moves onnxruntime's result.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility
from verifai.engines.sumcheck.interpreter.run import Trace, run
from verifai.engines.sumcheck.lowering.integers import OPERATORS
from verifai.engines.sumcheck.lowering.lower import HANDLERS, Lowered, lower
from verifai.engines.sumcheck.lowering.select import INTEGERS
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, choose_scales
from verifai.engines.sumcheck.tensors import centred
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

OPTIONS = QuantiserOptions(activation_bits=10, input_bits=12, output_bits=10, input_margin=0.0)
"""No margin: a logarithm's operand, widened, would reach below 0, which is refused."""

STORED = frozenset({"QLinearConv", "QLinearMatMul", "QuantizeLinear", "DequantizeLinear"})
"""Operators on stored integers: their cases must come out exactly."""

LOGIC = frozenset({"And", "Or", "Xor", "Not", "Where"})
"""Operators whose booleans are data."""

COMPOSED = frozenset(
    {
        "Compress", "CumSum", "Einsum", "GRU", "Gelu", "GlobalLpPool", "GridSample", "GroupNormalization", "Hardmax",
        "InstanceNormalization", "IsInf", "IsNaN", "LRN", "LSTM", "LpPool", "MeanVarianceNormalization", "Mish", "OneHot",
        "RMSNormalization", "RNN", "ReduceLogSum", "Resize", "Swish", "Upsample",
    }
)  # fmt: skip
"""Operators that canonicalisation writes with others."""

INDICES = frozenset({"OneHot"})
"""Operators whose first operand is integers, which are data."""

WHOLE = frozenset(OPERATORS - {"Div"}) | {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"} | frozenset(
    {"Tile", "DepthToSpace", "GatherElements", "GatherND", "Trilu", "ReverseSequence", "Pad", "Slice", "Transpose", "Gather"}
)  # fmt: skip
"""Operators that take integers as data."""

BINARY = frozenset({"Add", "Sub", "Mul", "Div", "MatMul", "And", "Or", "Xor"})
"""Operators whose first two operands are both data, where both have the result's element type."""


@dataclass(frozen=True)
class Outcome:
    """What came of one case: within its tolerance (``reason`` empty), or skipped, with the reason.

    Attributes:
        error, tolerance: largest |circuit − expected| / tolerance pair by ratio, in real units; None when skipped.
        operations: the circuit's operations.
    """

    name: str
    reason: str
    error: float = 0.0
    tolerance: float = 0.0
    operations: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.reason and self.error <= self.tolerance


@lru_cache(maxsize=1)
def all_cases() -> tuple[Any, ...]:
    """Every case of the package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return tuple(collect_testcases(None))


def cases(operator: str) -> Iterator[Any]:
    """The single-node cases of one operator."""
    for case in all_cases():
        nodes = case.model.graph.node if case.model is not None else ()
        if len(nodes) == 1 and nodes[0].op_type == operator and nodes[0].domain in ("", "ai.onnx"):
            yield case


def operators() -> list[str]:
    """Every operator that the lowering has a rule for, or that canonicalisation writes with others."""
    return sorted({*HANDLERS, *COMPOSED})


def with_constants(case: Any) -> tuple[bytes, dict[str, Any]]:
    """The case's model with its parameters as constants, and the data that stay inputs."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    arrays = dict(zip((value.name for value in proto.graph.input), case.data_sets[0][0], strict=True))
    node = proto.graph.node[0]
    data = {node.input[0]} | ({node.input[1]} if node.op_type in BINARY else set())
    if node.op_type in ("Concat", "Max", "Min", "Sum", "Mean", "Where"):
        data = set(node.input)
    if node.op_type in ("ScatterElements", "ScatterND"):
        data.add(node.input[2])
    if node.op_type == "Einsum":
        data = set(node.input[:1])
    if node.op_type == "QLinearMatMul":
        data.add(node.input[3])
    kept = {name: np.asarray(array) for name, array in arrays.items() if name in data}
    values = [value for value in proto.graph.input if value.name in kept]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items() if name not in data]
    del proto.graph.input[:]
    proto.graph.input.extend(values)
    proto.graph.initializer.extend(constants)
    return proto.SerializeToString(), kept


def error_bounds(circuit: Circuit, trace: Trace) -> list[float]:
    """Per tensor, how far it can be from the real value, in its own steps, when the inputs are exact and nothing saturates.

    Every rounded weight and factor is off by at most ½; Requant and tables round to the nearest; D is a table's largest change
    per step of its argument. Sizes are those of the run's cells, which errors are multiplied or divided by.
    """
    bound = [0.0] * len(circuit.tensors)
    size = [float(np.abs(trace.true(number)).max()) for number in range(len(circuit.tensors))]
    for op in circuit.ops:
        if isinstance(op, ops.MatMul | ops.Conv):
            weight = circuit.weights[op.weight]
            terms = prod(weight.shape[1:])
            bound[op.out] = weight.row_l1 * bound[op.x] + (terms * (size[op.x] + bound[op.x]) + 1) / 2
        elif isinstance(op, ops.GatedMatMul):
            weight = circuit.weights[op.weight]
            cross = _product_bound(size, bound, op.a, op.b)
            terms = prod(weight.shape[1:])
            bound[op.out] = weight.row_l1 * cross + (terms * (size[op.a] * size[op.b] + cross) + 1) / 2
        elif isinstance(op, ops.RowScale):
            exact = size[op.x] * size[op.factor]
            cross = _product_bound(size, bound, op.x, op.factor)
            bound[op.out] = abs(op.multiplier) * cross + rounding(op.multiplier) * (exact + cross)
        elif isinstance(op, ops.Rescale):
            bound[op.out] = 0.5 + bound[op.z] / 2**op.shift
        elif isinstance(op, ops.WeightRows):
            bound[op.out] = 0.5
        elif isinstance(op, ops.LinearCombination):
            pairs = zip(op.sources, op.multipliers, strict=True)
            bound[op.out] = 0.5 + sum(abs(m) * bound[s] + rounding(m) * (size[s] + bound[s]) for s, m in pairs)
        elif isinstance(op, ops.WindowSum | ops.RowSum):
            x = circuit.tensors[op.x]
            terms = prod(op.kernel) if isinstance(op, ops.WindowSum) else prod(x.shape[len(x.shape) - op.axes :])
            bound[op.out] = terms * (abs(op.multiplier) * bound[op.x] + rounding(op.multiplier) * (size[op.x] + bound[op.x]))
        elif isinstance(op, ops.Mul | ops.BatchedMatMul):
            terms = circuit.tensors[op.a].shape[-1] if isinstance(op, ops.BatchedMatMul) else 1
            cross = _product_bound(size, bound, op.a, op.b)
            bound[op.out] = terms * (abs(op.multiplier) * cross + rounding(op.multiplier) * size[op.a] * size[op.b])
        elif isinstance(op, ops.Requant):
            bound[op.out] = 0.5 + steepness(circuit, op.table) * (bound[op.z] / 2**op.shift + 0.5)
        elif isinstance(op, ops.Lookup):
            bound[op.out] = 0.5 + steepness(circuit, op.table) * bound[op.x]
        elif isinstance(op, ops.RowMax) and op.exp != NONE:
            bound[op.out] = bound[op.x]
            # Only the table's rounding when x is exact; otherwise each unit of x moves E by at most its steepness.
            bound[op.exp] = 0.5 + 2 * steepness(circuit, op.table) * bound[op.x]
        elif isinstance(op, ops.Recip):
            least = float(trace.true(op.q).min())
            # K = 2^46/q up to one unit of R, that is 2^e ≤ 2^30/q, plus what q's own error moves it.
            bound[op.out] = 2.0**30 / least + 2.0**46 * bound[op.q] / least / max(least - bound[op.q], 1.0)
        elif isinstance(op, ops.Isqrt):
            # The root moves by at most half the argument's error over the least root, and is rounded down.
            bound[op.out] = 1.0 + bound[op.v] / (2 * max(1.0, float(trace.true(op.v).min()) ** 0.5))
        elif isinstance(op, ops.View):
            bound[op.out] = max(bound[piece.source] for piece in op.pieces)
        elif isinstance(op, ops.WindowMax | ops.Relabel | ops.Gather | ops.ArgMax | ops.TopIndex) or (
            isinstance(op, ops.RowMax) and op.exp == NONE
        ):
            bound[op.out] = bound[op.x]
        else:
            raise AssertionError(f"no error bound for {type(op).__name__}")
    return bound


def _product_bound(size: list[float], bound: list[float], a: int, b: int) -> float:
    """How far a product of two cells can be from the real one."""
    return size[a] * bound[b] + size[b] * bound[a] + bound[a] * bound[b]


def rounding(factor: int) -> float:
    """How far an integer factor may be from the real one. Rounded ones have 10 bits or more; smaller ones are exact."""
    return 0.5 if abs(factor) >= 1 << 9 else 0.0


def steepness(circuit: Circuit, table: int) -> float:
    """A table's largest change between neighbours, plus the rounding of both ends."""
    values = np.array(circuit.tables[table].values)
    return float(np.abs(np.diff(values)).max(initial=0)) + (0.0 if set(np.diff(values)) <= {0, 1} else 1.0)


def evaluate(case: Any) -> Outcome:
    """Run one case."""
    name = case.name.removeprefix("test_")
    if any(isinstance(array, onnx.TensorProto) for array in case.data_sets[0][0]):
        return Outcome(name, "a type that NumPy does not have (float8, float4, int4, int2)")
    try:
        data, inputs = with_constants(case)
        kind = case.model.graph.node[0].op_type
        stored = {"uint8", "int8"} if kind in STORED else {"bool"} if kind in LOGIC else set()
        stored = stored | INTEGERS if kind in INDICES | WHOLE else stored
        odd = sorted({str(array.dtype) for array in inputs.values()} - {"float32"} - stored)
        if odd:
            return Outcome(name, f"{odd[0]} data; values are float32 here")
        if any(array.size == 0 for array in inputs.values()):
            return Outcome(name, "an empty tensor")
        net = canonicalise(data, where=name).model
        return _compare(name, case, net, data, {spec.name: inputs[spec.name] for spec in net.inputs})
    except UnsupportedModel as problem:
        return Outcome(name, problem.message)


def _compare(name: str, case: Any, net: OnnxModel, data: bytes, inputs: Mapping[str, Any]) -> Outcome:
    feed = {spec.name: inputs[spec.name].reshape(spec.shape) for spec in net.inputs}
    sides = [{spec.name for spec in side} for side in (net.inputs, net.outputs)]
    whole = {spec.name for spec in net.inputs if spec.dtype in INTEGERS and case.model.graph.node[0].op_type in INDICES | WHOLE}
    scales = choose_scales(calibrate(net, [feed]), sides[0], sides[1], OPTIONS, whole)
    public = {spec.name: Visibility.PUBLIC for spec in (*net.inputs, *net.outputs)}
    made = lower(net, scales, tensors=public)
    circuit = planned(made.circuit)
    integers, exact = [], {}
    for spec, port in zip(net.inputs, circuit.inputs, strict=True):
        tensor = circuit.tensors[port.tensor]
        steps = centred(spec.name, feed[spec.name], Fraction(*tensor.scale), tensor.zero_point)
        steps = np.clip(steps, tensor.low, tensor.high)
        integers.append(steps.reshape(tensor.shape))
        real = (steps * float(Fraction(*tensor.scale))).astype(np.float32).reshape(spec.shape)
        exact[spec.name] = real if feed[spec.name].dtype == np.float32 else feed[spec.name]
    moved, own = Reference(net).run(exact), Reference(net).run(feed)
    if any(apart(own[spec.name], wanted) for spec, wanted in zip(net.outputs, case.data_sets[0][1], strict=True)):
        source = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, dict(inputs))
        if any(apart(one, wanted) for one, wanted in zip(source, case.data_sets[0][1], strict=True)):
            return Outcome(name, "onnxruntime itself comes to another result than the package expects")
        return Outcome(name, "", float("inf"), 0.0)  # the canonical model is another function
    worst = (0.0, 0.0)
    trace = run(circuit, made.weights, integers)
    bounds = error_bounds(circuit, trace)
    results = trace.outputs()
    _prove(circuit, made, trace)
    expected = [np.asarray(array, np.float64) for array in case.data_sets[0][1]]
    for number, (spec, port, cells) in enumerate(zip(net.outputs, circuit.outputs, results, strict=True)):
        step = float(Fraction(*circuit.tensors[port.tensor].scale))
        if spec.dtype != "float32":
            wrong = int(
                np.count_nonzero(cells.reshape(spec.shape) + circuit.tensors[port.tensor].zero_point - expected[number])
            )
            worst = max(worst, (float(wrong), 0.0))
            continue
        found = cells.reshape(spec.shape) * step
        tolerance = step * bounds[port.tensor] + np.abs(expected[number] - moved[spec.name]) + 1e-6 * np.abs(expected[number])
        ratio = np.abs(found - expected[number]) / tolerance
        at = int(np.argmax(ratio))
        pair = (float(np.abs(found - expected[number]).flat[at]), float(tolerance.flat[at]))
        worst = max(worst, pair, key=lambda p: p[0] / p[1] if p[1] else 0.0)
    return Outcome(name, "", *worst, tuple(dict.fromkeys(type(op).__name__ for op in circuit.ops)))


def apart(found: Any, expected: Any) -> bool:
    """Whether two results of floating-point arithmetic differ by more than its rounding."""
    first, second = (np.asarray(array, np.float64).reshape(-1) for array in (found, expected))
    if first.size != second.size:
        return True
    finite = np.isfinite(second)
    return bool(np.abs(first - second)[finite].max(initial=0.0) > 2e-3 * max(1.0, np.abs(second[finite]).max(initial=0.0)))


def _prove(circuit: Circuit, made: Lowered, trace: Trace) -> None:
    """Prove the run and verify the proof from bytes. Raises EvidenceRejected."""
    key = prepare(circuit, made.weights)
    proven = prove(key, trace, b"conformance")
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    verify(trusted, trust_weights(trusted, key.identity, made.blob), proven.statement, proven.proof)


__all__ = ["Outcome", "cases", "error_bounds", "evaluate", "helper", "operators"]
