"""Tensors of integers that stand for reals: what a verifier compares is what the model's own tensor holds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.sumcheck_models import model
from tests.unit.engines.sumcheck.test_engine import ENGINE, Compiled, compiled, spec_of
from verifai.domain.findings import Outcome
from verifai.domain.record import Record
from verifai.domain.statement import Role, TensorStatement, Visibility
from verifai.engines.interface import CompileRequest
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.errors import EvidenceRejected, InputRejected, UsageError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.stages.matching import match


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """uint8 in, dequantised, a rectifier, quantised again: uint8 out."""
    constants = {"s": np.float32(0.05), "z": np.uint8(100)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["r"]),
        helper.make_node("Relu", ["r"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "stored",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, (1, 4))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    net = canonicalise(proto.SerializeToString(), where="test").model
    pick = np.random.default_rng(3)
    feeds = [{"x": pick.integers(0, 256, (1, 4)).astype(np.uint8)} for _ in range(12)]
    spec, build = spec_of(net), tmp_path_factory.mktemp("stored")
    made = ENGINE.compile(CompileRequest(net, spec, {"x": np.stack([feed["x"] for feed in feeds])}, build, build))
    return Compiled(net, spec, made.section, build, feeds)


def test_the_lock_says_that_a_tensor_is_of_integers(stored: Compiled):
    assert [tensor.stored for tensor in parse_section(stored.section).tensors] == [True, True]


def test_stored_integers_are_compared_as_they_are(stored: Compiled, tmp_path: Path):
    proof = stored.prove()
    statement = ENGINE.verify(stored.request(tmp_path, proof.files)).statement
    for tensor, values in zip(statement.tensors, (stored.feeds[0]["x"], None), strict=True):
        given = np.array(tensor.values()).reshape(1, 4).astype(np.uint8) if values is None else values
        assert tensor.stored and tensor.quantised == tuple(given.reshape(-1).tolist()) and tensor.zero_point == 100
        for dtype in ("uint8", "int64", "float32"):
            assert match(ENGINE, tensor, given.astype(dtype)).outcome is Outcome.HOLDS
        reals = (given.astype(np.float64) - 100) * float(tensor.scale)
        with pytest.raises(EvidenceRejected):
            match(ENGINE, tensor, reals.astype(np.float32))
    with pytest.raises(InputRejected):
        ENGINE.quantise(statement.of(Role.INPUT)[0], np.full((1, 4), 1.5))


def test_an_auditor_compares_it_with_the_model(stored: Compiled, tmp_path: Path):
    request = stored.request(tmp_path, stored.prove().files)
    assert {one.outcome for one in ENGINE.rederive(request, stored.net)} == {Outcome.HOLDS}
    section = {
        **stored.section,
        "tensors": [{k: v for k, v in one.items() if k != "stored"} for one in stored.section["tensors"]],
    }
    assert [one.outcome for one in ENGINE.rederive(replace(request, section=section), stored.net)] == [Outcome.REJECTED]


def test_a_lock_that_calls_plain_numbers_stored_is_broken(tmp_path: Path):
    net = model([helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)], {"x": (1, 4)}, {"y": (1,)}, whole=("y",))
    plain = compiled(net, spec_of(net), tmp_path)
    request = plain.request(tmp_path, plain.prove().files)
    assert [tensor.stored for tensor in parse_section(plain.section).tensors] == [False, False]
    tensors = [dict(one) for one in plain.section["tensors"]]
    tensors[1]["stored"] = True
    with pytest.raises(UsageError) as refused:
        ENGINE.verify(replace(request, section={**plain.section, "tensors": tensors}))
    assert refused.value.code == "bad-lock"


def test_a_statement_carries_it_in_one_spelling():
    tensor = TensorStatement(Role.INPUT, "x", (2,), Visibility.PUBLIC, Fraction(1, 8), 3, (7, 8), stored=True)
    document = tensor.to_json()
    assert document["stored"] is True and tensor.values() == (7.0, 8.0)
    assert TensorStatement.from_record(Record(document, "t", error=UsageError, code="malformed")) == tensor
    assert "stored" not in replace(tensor, stored=False).to_json()
    with pytest.raises(UsageError):
        TensorStatement.from_record(Record({**document, "stored": False}, "t", error=UsageError, code="malformed"))
    with pytest.raises(ValueError, match="stand for nothing"):
        replace(tensor, scale=Fraction(1), zero_point=0)
