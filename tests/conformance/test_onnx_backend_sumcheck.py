"""The onnx package's backend node tests: every case passes within its derived tolerance, or is skipped for a stated reason."""

from __future__ import annotations

import pytest

from tests.conformance.make_sumcheck_operators import TARGET, render, results
from tests.support.onnx_node_cases import cases, evaluate, operators

pytestmark = pytest.mark.filterwarnings("ignore")

MUST_PASS = {
    "Conv", "Gemm", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Sigmoid", "Tanh", "Erf", "Add", "Sub", "Concat",
    "Softmax", "QLinearConv", "QLinearMatMul", "ArgMax", "Mul", "MatMul",
    "Flatten", "Reshape", "Transpose", "Slice", "Split", "Gather", "ReduceMean", "ReduceMax", "GlobalMaxPool",
    "LayerNormalization", "Max", "Min", "PRelu", "Pad",
}  # fmt: skip


def test_no_case_fails() -> None:
    failed = [o for outcomes in results().values() for o in outcomes if not o.passed and not o.reason]
    assert not failed, [(outcome.name, outcome.error, outcome.tolerance) for outcome in failed]


def test_the_claimed_operators_pass_some_case_and_claims_are_not_empty() -> None:
    passed = {operator for operator, outcomes in results().items() if any(outcome.passed for outcome in outcomes)}
    assert passed >= MUST_PASS


def test_the_table_in_the_documentation_is_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == render(results()), "run: python -m tests.conformance.make_sumcheck_operators"


def test_a_wrong_circuit_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tolerance is tight: a result that is off by a hundredth of its range fails."""
    from tests.support import onnx_node_cases as node_cases

    genuine = node_cases.run
    case = next(iter(cases("Conv")))
    assert evaluate(case).passed and "Conv" in operators()

    def off(circuit: object, weights: object, inputs: object) -> object:
        trace = genuine(circuit, weights, inputs)  # type: ignore[arg-type]
        out = trace.circuit.outputs[0].tensor
        trace.tensors[out][...] += 10
        return trace

    monkeypatch.setattr(node_cases, "run", off)
    monkeypatch.setattr(node_cases, "_prove", lambda *_: None)
    assert not evaluate(case).passed
