"""Is a model's answer the same on every machine, in its precision class? Read from the graph, then measured on samples.

The rules rest on measurements, listed in docs/consensus.md: dynamic int8 depends on what else is in the batch; static int8 with
signed activations saturates on x86 without VNNI unless ``session.x64quantprecision`` is set or weights leave one bit free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from verifai.consensus.runner import Tensors, VoteRunner
from verifai.domain.consensus.job import Optimisation, PrecisionClass, RuntimeOptions
from verifai.domain.findings import Finding, Outcome

_DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat"}
_STATIC = {"QuantizeLinear", "QLinearMatMul", "QLinearConv", "QGemm"}
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
_REDUCED = 64


def precision_of(proto: ModelProto) -> PrecisionClass:
    """The precision class that the graph's operators and weights show."""
    kinds = {node.op_type for node in proto.graph.node}
    if kinds & _DYNAMIC:
        return PrecisionClass.INT8_DYNAMIC
    if kinds & _STATIC:
        return PrecisionClass.INT8_STATIC
    if "MatMulNBits" in kinds:
        return PrecisionClass.INT4_WEIGHTS
    sizes: Counter[int] = Counter()
    for tensor in proto.graph.initializer:
        sizes[tensor.data_type] += int(np.prod(tensor.dims, dtype=np.int64))
    halves = {TensorProto.FLOAT16: PrecisionClass.FP16, TensorProto.BFLOAT16: PrecisionClass.BF16}
    common = max((TensorProto.FLOAT, *halves), key=lambda kind: sizes[kind])
    return halves.get(common, PrecisionClass.FP32)


def check_graph(model: bytes, options: RuntimeOptions, declared: PrecisionClass) -> tuple[Finding, ...]:
    """Findings from the graph alone: one per rule that speaks; ``portable`` when none does."""
    proto = ModelProto.FromString(model)
    findings = []
    found = precision_of(proto)
    if found is not declared:
        findings.append(
            _warn(f"the graph is {found.value}, the job says {declared.value}", f"Declare the precision class {found.value}.")
        )
    random = _first(proto, _RANDOM)
    if random is not None:
        findings.append(
            _warn("the graph draws random numbers", "Vote with kind 'samples', or fix the seed attribute.", random.name)
        )
    if found is PrecisionClass.INT8_DYNAMIC:
        findings += _dynamic(proto, options)
    if found is PrecisionClass.INT8_STATIC:
        findings += _static(proto, options)
    return tuple(findings) or (Finding("portable", Outcome.HOLDS, f"nothing in the graph speaks against {found.value}"),)


def check_runs(model: bytes, options: RuntimeOptions, samples: Sequence[Tensors]) -> tuple[Finding, ...]:
    """Findings from runs: does the answer to the first sample change with threads, with company in the batch, with the
    optimisation level?"""
    alone = VoteRunner(model, replace(options, batch=1)).run(samples[:1])[0]
    findings = []
    threads = VoteRunner(model, replace(options, batch=1), threads=2).run(samples[:1])[0]
    change = _largest_change(alone, threads)
    if change:
        findings.append(_warn(f"two threads instead of one change the output by {change:.2g}", "Pin one thread."))
    shapes = {name: np.asarray(values).shape for name, values in samples[0].items()}
    fits = [one for one in samples if {name: np.asarray(v).shape for name, v in one.items()} == shapes][:4]
    if len(fits) > 1 and all(shape and shape[0] == 1 for shape in shapes.values()) and _batch_is_symbolic(model):
        together = VoteRunner(model, replace(options, batch=len(fits))).run(fits)[0]
        change = _largest_change(alone, together)
        if change > 1e-4:
            findings.append(_warn(f"company in the batch changes the output by {change:.2g}", "Run with batch 1."))
    plain = VoteRunner(model, replace(options, batch=1, optimisation=Optimisation.DISABLED)).run(samples[:1])[0]
    change = _largest_change(alone, plain)
    if change > 1e-2:
        findings.append(
            _warn(f"graph optimisation changes the output by {change:.2g}", "Pin the optimisation level 'disabled' in the job.")
        )
    return tuple(findings) or (Finding("portable", Outcome.HOLDS, "threads, batch and optimisation level change nothing much"),)


def _dynamic(proto: ModelProto, options: RuntimeOptions) -> list[Finding]:
    node = _first(proto, _DYNAMIC)
    place = "" if node is None else node.name
    findings = []
    if options.batch != 1:
        findings.append(
            _warn("dynamic int8 scales depend on everything in the batch", "Run with batch 1, or quantise statically.", place)
        )
    findings.append(
        _warn(
            "dynamic int8 differs between instruction sets",
            "Quantise statically with U8S8 and a reduced range (bit-exact on AVX-512, AVX2 and ARM64), or vote within one "
            "instruction set.",
            place,
        )
    )
    return findings


def _static(proto: ModelProto, options: RuntimeOptions) -> list[Finding]:
    wide = [
        tensor.name
        for tensor in proto.graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1 and _leaves_no_bit(tensor)
    ]
    if not wide or options.x64quantprecision:
        return []
    return [
        _warn(
            "int8 products saturate on x86 without VNNI",
            "Set x64quantprecision, or quantise with a reduced range.",
            wide[0],
        )
    ]


def _leaves_no_bit(tensor: TensorProto) -> bool:
    return bool(np.max(np.abs(numpy_helper.to_array(tensor).astype(np.int16))) > _REDUCED)


def _batch_is_symbolic(model: bytes) -> bool:
    graph = ModelProto.FromString(model).graph
    weights = {tensor.name for tensor in graph.initializer}
    real = [one for one in graph.input if one.name not in weights]
    return all(one.type.tensor_type.shape.dim and not one.type.tensor_type.shape.dim[0].dim_value for one in real)


def _largest_change(first: Tensors, second: Tensors) -> float:
    worst = 0.0
    for name, values in first.items():
        mine, theirs = np.asarray(values, dtype=np.float64), np.asarray(second[name], dtype=np.float64)
        scale = float(np.linalg.norm(mine)) or 1.0
        worst = max(worst, float(np.linalg.norm(mine - theirs)) / scale)
    return worst


def _first(proto: ModelProto, kinds: set[str]) -> NodeProto | None:
    return next((node for node in proto.graph.node if node.op_type in kinds), None)


def _warn(message: str, remedy: str, where: str = "") -> Finding:
    return Finding("not-portable", Outcome.POLICY_NOT_MET, message, where=where, remedy=remedy)
