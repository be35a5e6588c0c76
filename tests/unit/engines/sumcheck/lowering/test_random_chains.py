"""Random chains of operators: check and compile agree about each, and nothing ends otherwise than in a circuit or a refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.lowering_runs import FINE, built, feeds_of, n, outputs, supported
from verifai.engines.sumcheck.constraints import audit
from verifai.engines.sumcheck.planning.plan import planned
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

f = np.float32
SHAPE = (3, 4)
UNARY = [
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Abs",
    "Neg",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Floor",
    "Round",
    "Sign",
    "Softplus",
    "Identity",
]
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"]
COMPARE = ["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"]
REDUCE = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
    "ReduceProd",
]


class Chain:
    """A graph under construction: values of shape (3, 4), of which the newest are read most."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {"axis": np.array([1]), "column": np.array([3, 1])}
        self.values = ["x"]
        self.booleans: list[str] = []

    def pick(self, names: list[str]) -> str:
        return names[-1 - min(int(self.random.integers(0, 3)), len(names) - 1)]

    def name(self) -> str:
        return f"v{len(self.nodes)}"

    def constant(self, shape: tuple[int, ...]) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = self.random.uniform(-1, 1, shape).astype(f)
        return name

    def operand(self) -> str:
        """A value, a number, a row or a whole constant."""
        kind = int(self.random.integers(0, 5))
        return self.pick(self.values) if kind < 2 else self.constant([(), (4,), SHAPE][kind - 2])

    def step(self) -> None:
        made = [self._unary, self._binary, self._reduced, self._compared, self._chosen, self._layer, self._row, self._logic]
        made[int(self.random.integers(0, len(made)))]()

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = self.name()
        self.nodes.append(n(kind, *inputs, out=name, **attributes))
        return name

    def _unary(self) -> None:
        self.values.append(self._add(str(self.random.choice(UNARY)), self.pick(self.values)))

    def _binary(self) -> None:
        sides = [self.pick(self.values), self.operand()]
        sides = sides[::-1] if self.random.random() < 0.3 else sides
        self.values.append(self._add(str(self.random.choice(BINARY)), *sides))

    def _reduced(self) -> None:
        x = self.pick(self.values)
        row = self._add(str(self.random.choice(REDUCE)), x, "axis")
        self.values.append(self._add(str(self.random.choice(["Add", "Sub", "Mul", "Div"])), x, row))

    def _compared(self) -> None:
        sides = [self.pick(self.values), self.operand()]
        self.booleans.append(self._add(str(self.random.choice(COMPARE)), *sides))

    def _logic(self) -> None:
        if self.booleans:
            both = [self.pick(self.booleans), self.pick(self.booleans)]
            kind = str(self.random.choice(["And", "Or", "Xor", "Not"]))
            self.booleans.append(self._add(kind, *both[: 1 if kind == "Not" else 2]))

    def _chosen(self) -> None:
        if not self.booleans:
            return
        if self.random.random() < 0.3:
            self.values.append(self._add("Cast", self.pick(self.booleans), to=1))
        else:
            self.values.append(self._add("Where", self.pick(self.booleans), self.operand(), self.pick(self.values)))

    def _layer(self) -> None:
        left = self.random.random() < 0.5
        weight = self.constant((3, 3) if left else (4, 4))
        x = self.pick(self.values)
        self.values.append(self._add("MatMul", *((weight, x) if left else (x, weight))))

    def _row(self) -> None:
        kind = str(self.random.choice(["Softmax", "LogSoftmax", "LpNormalization", "Concat"]))
        x = self.pick(self.values)
        if kind == "Concat":
            part = self._add("Concat", x, self.constant((3, 2)), axis=1)
            self.constants |= {"from": np.array([1]), "to": np.array([5])}
            self.values.append(self._add("Slice", part, "from", "to", "axis"))
        else:
            self.values.append(self._add(kind, x, axis=1, **({"p": int(self.random.integers(1, 3))} if "Lp" in kind else {})))

    def model(self) -> onnx.ModelProto:
        end = n("Identity", self.values[-1])
        used = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(
            [*self.nodes, end], "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in self.constants.items() if name in used],
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def chain(seed: int) -> OnnxModel | None:
    """A canonical model, or None where the constants alone make it none."""
    made = Chain(seed)
    for _ in range(2 + seed % 7):
        made.step()
    try:
        return canonicalise(made.model().SerializeToString(), where="chain").model
    except UnsupportedModel:
        return None


UNDECIDED = {"range-holds-pole", "circuit-bound", "no-scale", "constant-value", "not-finite", "reference-failed"}
"""Refusals that only data bring about."""


@pytest.mark.parametrize("seed", range(60))
def test_check_and_compile_agree_and_every_column_has_its_constraint(seed: int) -> None:
    net = chain(seed)
    if net is None:
        return
    feeds = feeds_of(net, count=6, seed=seed)
    try:
        made = built(net, feeds, FINE)
    except UnsupportedModel as problem:
        assert problem.code in UNDECIDED or not supported(net), problem
        return
    assert supported(net)
    audit(planned(made.circuit))
    for found, expected, step in outputs(net, made, feeds[0]):
        assert found.shape == expected.shape and step > 0
