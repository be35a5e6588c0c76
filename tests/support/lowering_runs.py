"""What a lowered model computes beside onnxruntime, and its proof in both suites: for tests of the lowering's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import helper

from tests.support.sumcheck_models import Array, model, scales_for
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Visibility, WeightVisibility
from verifai.engines.sumcheck.constraints import audit
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE, Suite
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.tensors import circuit_inputs, to_steps
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

FINE = QuantiserOptions(activation_bits=12, input_bits=12, output_bits=12, input_margin=0.0)
SUITES = {"integrity": INTEGRITY, "zero knowledge": ZERO_KNOWLEDGE}


def n(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> Any:
    """A node."""
    return helper.make_node(kind, list(inputs), [out], name=out, **attributes)


def net(shape: tuple[int, ...], out: tuple[int, ...], *nodes: Any, **constants: Any) -> OnnxModel:
    """A canonical model from x to y; lists become int64 constants."""
    arrays: Mapping[str, Array] = {k: np.asarray(v, np.int64 if isinstance(v, list) else None) for k, v in constants.items()}
    return model(nodes, {"x": shape}, {"y": out}, arrays)


def feeds_of(net: OnnxModel, *, low: float = -1.0, high: float = 1.0, count: int = 12, seed: int = 0) -> list[dict[str, Array]]:
    """Uniform random inputs."""
    random = np.random.default_rng(seed)
    return [{t.name: random.uniform(low, high, t.shape).astype(np.float32) for t in net.inputs} for _ in range(count)]


def built(
    net: OnnxModel, feeds: Sequence[Mapping[str, Array]], options: QuantiserOptions = FINE, suite: Suite = INTEGRITY
) -> Lowered:
    """Lowered with public weights; inputs are private where the suite hides."""
    inside = Visibility.PRIVATE if suite.zero_knowledge else Visibility.PUBLIC
    tensors = {t.name: inside for t in net.inputs} | {t.name: Visibility.PUBLIC for t in net.outputs}
    return lower(
        net, scales_for(net, feeds, options), tensors=tensors, weights=WeightVisibility.PUBLIC, split=True, suite=suite,
        rounds_once=options.rounds_once,
    )  # fmt: skip


def outputs(net: OnnxModel, made: Lowered, feed: Mapping[str, Array]) -> list[tuple[Array, Array, float]]:
    """Per output: the circuit's value, onnxruntime's on the same inputs as the circuit has them, and the step."""
    integers, exact = [], {}
    for spec, port in zip(net.inputs, made.circuit.inputs, strict=True):
        tensor = made.circuit.tensors[port.tensor]
        steps = np.clip(to_steps(spec.name, feed[spec.name], Fraction(*tensor.scale)), tensor.low, tensor.high)
        integers.append(steps.reshape(tensor.shape))
        exact[spec.name] = (steps * float(Fraction(*tensor.scale))).astype(spec.dtype).reshape(spec.shape)
    expected = Reference(net).run(exact)
    found = []
    for spec, port, cells in zip(
        net.outputs, made.circuit.outputs, run(made.circuit, made.weights, integers).outputs(), strict=True
    ):
        step = float(Fraction(*made.circuit.tensors[port.tensor].scale))
        found.append((cells.reshape(spec.shape) * step, np.asarray(expected[spec.name], np.float64), step))
    return found


def worst_steps(net: OnnxModel, made: Lowered, feeds: Sequence[Mapping[str, Array]]) -> float:
    """The largest |circuit − onnxruntime| in steps of the output."""
    return max(
        float((np.abs(found - expected) / step).max()) for feed in feeds for found, expected, step in outputs(net, made, feed)
    )


def prove_in_both_suites(net: OnnxModel, feeds: Sequence[Mapping[str, Array]], options: QuantiserOptions = FINE) -> None:
    """Prove the first feed and verify it from bytes, with public and with private inputs; every column has its constraint."""
    for suite in SUITES.values():
        made = built(net, feeds, options, suite)
        circuit = planned(made.circuit, suite)
        audit(circuit)
        key = prepare(circuit, made.weights)
        inputs = circuit_inputs(circuit, [t.name for t in net.inputs], feeds[0])
        proven = prove(key, run(circuit, made.weights, inputs))
        data = encode(circuit)
        trusted = trust_circuit(data, circuit_digest(data))
        verify(trusted, trust_weights(trusted, key.identity, made.blob), proven.statement, proven.proof)


def supported(net: OnnxModel) -> bool:
    """Whether check says of every node that the engine can prove it."""
    return all(entry.supported for entry in operator_support(net))
