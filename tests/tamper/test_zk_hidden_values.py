"""What a review of the zero-knowledge suite asked of it: attacks and mistakes, each held off here.

Findings and their state: docs/engine/zero-knowledge.md, section "Review".
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from tests.support.sumcheck_models import scales_for
from verifai.domain.digest import Sha256
from verifai.domain.names import PlaceNames
from verifai.domain.privacy_words import privacy_words
from verifai.domain.record import Record
from verifai.domain.statement import (
    CommitmentOpening,
    EngineName,
    Privacy,
    Role,
    Statement,
    TensorStatement,
    Visibility,
    WeightVisibility,
)
from verifai.engines.sumcheck.build_folder import write_build
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit import program as ir
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.engine import SumcheckEngine
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.payload.statement import DIGEST_SCHEME, HIDING_SCHEME
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover import relations as prover
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Range, choose_scale
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.engines.sumcheck.verifier import relations
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import InputRejected, InternalError, PolicyNotMet, VerifaiError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.stages.evidence import statement_digest
from verifai.stages.matching import check_tensors


@pytest.fixture
def zero_knowledge(monkeypatch):
    monkeypatch.setattr(Sketch, "suite", ZERO_KNOWLEDGE)


def _trusted(circuit, key, cells):
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    blob = None if key.committed else encode_weights(circuit, [w.reshape(-1).tolist() for w in cells])
    return trusted, trust_weights(trusted, key.identity, blob)


# a rehearsal that foretells less than the script sends


@pytest.mark.parametrize("private", [True, False])
def test_a_product_of_a_tensor_with_itself_is_planned_with_every_message_that_it_needs(zero_knowledge, private):
    """The script reads both operands in one message where their points are equal; in a rehearsal all points were."""
    sketch = Sketch(1)
    x = sketch.input((2, 4, 4), -8, 7, private=private)
    z = sketch.add(ops.BatchedMatMul, x, x, multiplier=3)
    circuit = sketch.finish(sketch.requant(z, relu=False))
    key = prepare(circuit, sketch.cells)
    proven = prove(key, run(circuit, sketch.cells, examples.random_input(circuit)))
    verify(*_trusted(circuit, key, sketch.cells), proven.statement, proven.proof)


def test_a_proof_longer_than_planned_ends_in_an_error_of_ours(zero_knowledge, monkeypatch):
    """Should a rehearsal count wrongly again: verify, audit and gate catch their own errors, no others."""
    circuit, cells = examples.mlp(private_input=True)
    key, trace = prepare(circuit, cells), run(circuit, cells, examples.random_input(circuit))
    pads = key.layout.pads
    short = replace(key, layout=replace(key.layout, pads=replace(pads, messages=pads.messages - 1)))
    with pytest.raises(InternalError, match="more messages than it plans"):
        prove(short, trace)


# what errors tell


@pytest.mark.parametrize("hidden", [{"private": True}, {"hashed": True}, {}])
def test_an_error_about_a_hidden_tensor_tells_none_of_its_cells(zero_knowledge, hidden):
    sketch = Sketch(1)
    sketch.input((1, 4), **hidden)
    circuit = sketch.finish(sketch.requant(sketch.matmul(0, 2)))
    with pytest.raises(InputRejected) as caught:
        circuit_inputs(circuit, ["x"], {"x": np.array([[0.0, 0.0, 9731.0, 0.0]])})
    told = str(caught.value) + caught.value.message + caught.value.hint
    assert ("9731" in told, "cell 2" in told) == ((False, False) if hidden else (True, True))


def test_a_tensor_that_its_root_hides_too_well_to_compare_is_not_called_another_one():
    """The holder of the right tensor was told that the evidence is false."""
    hashed = TensorStatement(
        Role.INPUT, "x", (1, 2), Visibility.HASHED, Fraction(1), digest="ab" * 32, digest_scheme=HIDING_SCHEME
    )
    with pytest.raises(PolicyNotMet) as caught:
        check_tensors(SumcheckEngine(), _stating(hashed), Role.INPUT, {"x": np.array([[1.0, 2.0]])}, PlaceNames())
    assert caught.value.code == "tensor-secret-needed"


def _stating(tensor, **more):
    digest = Sha256("0" * 64)
    zero_knowledge, private = Privacy.ZERO_KNOWLEDGE_UNAUDITED, WeightVisibility.PRIVATE
    return Statement(EngineName.SUMCHECK, digest, digest, (tensor,), "", True, zero_knowledge, private, **more)


def test_an_opening_of_a_tensor_with_a_long_name_can_be_read_back():
    """A lock takes names of 512 characters; beyond 256, a proof was made and its opening spent, but no bundle written."""
    opening = CommitmentOpening("n" * 512, Sha256("0" * 64), 0, 4)
    assert CommitmentOpening.from_record(Record(opening.to_json(), "test")) == opening


# private weights in public places


def _published(constant, *nodes):
    """The circuit of a model with private weights whose last summand is one number."""
    weight = np.random.default_rng(3).uniform(-1, 1, (4, 1)).astype(np.float32)
    held = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([constant], np.float32), "c")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, size)) for name, size in (("x", 4), ("y", 1))]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], held)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    made = lower(
        canonicalise(proto.SerializeToString(), where="test").model,
        # One set of scales for all models: what is compared is what the lowering alone publishes.
        {name: choose_scale(Range(-3, 3), 8) for name in ("x", "t", "r", "y")},
        tensors={"x": ir.Visibility.PRIVATE, "y": ir.Visibility.PRIVATE},
        weights=ir.WeightVisibility.COMMITTED,
        suite=ZERO_KNOWLEDGE,
        opening_budget=16,
    )
    return encode(made.circuit)


def test_the_bias_of_a_layer_with_one_output_is_not_published():
    """Written as a sum, it was a constant of the circuit, exact to the last bit of the grid."""
    nodes = helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Add", ["t", "c"], ["y"])
    assert _published(0.31, *nodes) == _published(0.32, *nodes)


ROWS = {
    "maximum": ((1, 6), [("Max", ["x", "c"], {})], {"c": (1, 6)}),
    "minimum": ((1, 6), [("Min", ["c", "x"], {})], {"c": (1, 6)}),
    "sum": ((1, 6), [("Relu", ["x"], {}), ("Add", [0, "c"], {})], {"c": (1, 6)}),
    "product": ((1, 6), [("Relu", ["x"], {}), ("Mul", [0, "c"], {})], {"c": (1, 6)}),
    "dividend": ((1, 6), [("Softplus", ["x"], {}), ("Div", ["c", 0], {})], {"c": (1, 6)}),
    "bias of every cell": ((3, 6), [("Gemm", ["x", "w", "c"], {})], {"w": (6, 4), "c": (3, 4)}),
    "slopes": ((1, 6), [("PRelu", ["x", "c"], {})], {"c": (6,)}),
    "gains and biases": ((2, 6), [("LayerNormalization", ["x", "w", "c"], {"axis": -1})], {"w": (6,), "c": (6,)}),
    "layer": ((1, 6), [("Gemm", ["x", "w", "c"], {})], {"w": (6, 4), "c": (4,)}),
    "layer under a function": ((1, 6), [("Gemm", ["x", "w", "c"], {}), ("Sigmoid", [0], {})], {"w": (6, 4), "c": (4,)}),
    "convolution": ((1, 2, 4, 4), [("Conv", ["x", "w", "c"], {})], {"w": (3, 2, 3, 3), "c": (3,)}),
    "comparison": ((1, 6), [("Greater", ["x", "c"], {}), ("Cast", [0], {"to": TensorProto.FLOAT})], {"c": (1, 6)}),
}
"""Operators with private constants: input's shape, nodes (a number is another node's result), constants' shapes."""


@pytest.mark.parametrize("name", ROWS)
def test_circuits_show_no_more_of_private_constants_than_powers_of_two(name):
    """Ranges of values that a rule makes on its way followed from the constants, exactly: the least or largest one was told."""
    shape, nodes, constants = ROWS[name]
    random = np.random.default_rng(9)
    first = {c: random.uniform(0.53, 0.93, size) * random.choice([-1, 1], size) for c, size in constants.items()}
    first = {c: np.abs(cells) if name == "dividend" else cells for c, cells in first.items()}
    second = {c: cells * random.uniform(0.997, 1.003, cells.shape) for c, cells in first.items()}
    assert _with_constants(shape, nodes, first, first) == _with_constants(shape, nodes, second, first)


def _with_constants(shape, nodes, constants, calibrated):
    """The circuit's bytes, everything private, on the scales that calibration gives the model with ``calibrated``."""
    made = []
    for cells in (constants, calibrated):
        held = [numpy_helper.from_array(array.astype(np.float32), c) for c, array in cells.items()]
        names = [*(f"n{i}" for i in range(len(nodes) - 1)), "y"]
        steps = [
            helper.make_node(kind, [names[one] if isinstance(one, int) else one for one in inputs], [out], name=out, **more)
            for (kind, inputs, more), out in zip(nodes, names, strict=True)
        ]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        graph = helper.make_graph(steps, "test", [x], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], held)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        made.append(canonicalise(shape_inference.infer_shapes(proto).SerializeToString(), where="test").model)
    feeds = [{"x": np.random.default_rng(i).uniform(-1, 1, shape).astype(np.float32)} for i in range(4)]
    circuit = lower(
        made[0],
        scales_for(made[1], feeds, QuantiserOptions(activation_bits=10, input_bits=10, output_bits=10)),
        tensors={"x": ir.Visibility.PRIVATE, "y": ir.Visibility.PRIVATE},
        weights=ir.WeightVisibility.COMMITTED,
        suite=ZERO_KNOWLEDGE,
        opening_budget=16,
    ).circuit
    assert circuit.weights
    return encode(circuit)


def test_what_a_table_shows_of_private_weights_is_said():
    nodes = (
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node("Relu", ["t"], ["r"]),
        helper.make_node("Add", ["r", "c"], ["y"]),
    )
    assert _published(0.31, *nodes) != _published(0.32, *nodes)
    output = TensorStatement(Role.OUTPUT, "y", (1, 1), Visibility.PRIVATE, Fraction(1))
    assert any("parameters that are one number" in line for line in privacy_words(_stating(output)))


def test_a_build_with_weights_in_clear_is_not_taken_into_a_repository(tmp_path):
    circuit, cells = examples.mlp()
    write_build(tmp_path, Lowered(circuit, tuple(cells), b"weights", {}))
    assert (tmp_path / ".gitignore").read_text() == "*\n"
    assert all(one.stat().st_mode & 0o077 == 0 for one in tmp_path.iterdir() if one.suffix == ".bin")


# one inference shown as many


def test_fresh_seeds_do_not_make_one_inference_many():
    """A gate counts statements; each proof of one hashed input makes another root of it."""

    def shown(root, scheme, *openings):
        bound = TensorStatement(Role.INPUT, "x", (1, 2), Visibility.HASHED, Fraction(1), digest=root, digest_scheme=scheme)
        return statement_digest(_stating(bound, openings=openings))

    roots = [Sha256(digit * 64) for digit in "ab"]
    hiding = [shown(root, HIDING_SCHEME, CommitmentOpening("x", root, 0, 4)) for root in roots]
    assert hiding[0] == hiding[1]
    assert shown(roots[0], DIGEST_SCHEME) != shown(roots[1], DIGEST_SCHEME)


# registration of private weights


@pytest.mark.parametrize(
    ("bound", "norm", "weight"),
    [
        pytest.param((1 << 58) - 1, (1 << 58) - 1, np.full((2, 64), (1 << 58) - 1), id="norm-modulo-p"),
        pytest.param(0, 1, np.eye(2, 64, dtype=np.int64), id="bound-of-0"),
    ],
)
def test_weights_beyond_what_the_circuit_declares_are_not_registered(zero_knowledge, monkeypatch, bound, norm, weight):
    """Σ (p + n) + slack = row L1 holds modulo p, and 64·(2^58 − 1) is 2^32 − 65 there; a limb has one bit at least."""
    sketch = Sketch(1)
    x = sketch.input((1, 64), 0, 1)
    sketch.weights.append(ir.Weight("w", weight.shape, bound, norm))
    sketch.cells.append(weight)
    circuit = sketch.finish(sketch.requant(sketch.add(ops.MatMul, x, 0, ops.NONE, contract=1)), committed=True)
    monkeypatch.setattr(proving, "encode_arrays", lambda *_: b"")  # an honest owner's own check
    key = prepare(circuit, sketch.cells, weights_seed=bytes(32))
    parts = prover._parts

    def wrapped(plan, key):
        found = dict(enumerate(parts(plan, key)))
        slack = np.array([(norm - sum(map(abs, row))) % P for row in weight.tolist()], dtype=np.int64)
        prover._limbs(plan, plan.parts[0].slack, slack, found)
        return [found[number] for number in range(len(found))]

    monkeypatch.setattr(prover, "_parts", wrapped)
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    with pytest.raises(VerifaiError):
        opened = [OpenedRoot(bytes.fromhex(key.identity), 0)]
        proof = prover.prove_registration(key, 0)
        relations.verify_relation(Kind.REGISTRATION, trusted.circuit, trusted.digest, opened, proof)
