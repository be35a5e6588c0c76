"""``SVMRegressor`` and ``SVMClassifier`` of ``ai.onnx.ml`` → products, sums and the kernel's function.

With support vectors s, kernel K and dual coefficients c the score is Σ c · K(x, s) + ρ: one for a regressor, one per pair of
classes for a classifier, of which two classes are written as [−score, score]. |x − s|² is written as |x|² − 2 x·s + |s|²,
measured from the vectors' middle, so that little cancels. Votes make the label, and an iteration the probabilities: neither is
here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array, checked_size

_HINT = "Export the estimator itself (`verifai export model.skops -o FILE`): its decision function has a form."
_MAX_DEGREE = 16


def support_vector_regressor(graph: Graph, node: Node) -> list[Node]:
    """The nodes of an ``SVMRegressor`` with one target."""
    if node.integer("one_class", 0) or node.text("post_transform", "NONE") != "NONE":
        raise _no_form(node, "yields a sign, or transforms its result")
    coefficients, rho = _floats(node, "coefficients"), _floats(node, "rho")
    count = node.integer("n_supports", 0)
    if count < 1 or len(coefficients) != count or len(rho) != 1:
        raise _no_form(node, "has no support vectors, or not one coefficient for each")
    machine = _Machine(graph, node, count)
    return machine.score(coefficients[None], rho, node.outputs[0])


def support_vector_classifier(graph: Graph, node: Node, scores: str) -> list[Node]:
    """The nodes that give ``scores`` of an ``SVMClassifier``; its labels must not be read."""
    per_class = node.ints("vectors_per_class") or ()
    classes, count = len(per_class), sum(per_class)
    coefficients, rho = _floats(node, "coefficients"), _floats(node, "rho")
    if node.attributes.get("prob_a") or node.text("post_transform", "NONE") != "NONE":
        raise _no_form(node, "finds probabilities by iteration, or transforms its scores")
    pairs = [(first, second) for first in range(classes) for second in range(first + 1, classes)]
    if classes < 2 or min(per_class) < 0 or len(coefficients) != (classes - 1) * count or len(rho) != len(pairs):
        raise _no_form(node, "has coefficients that do not fit its classes")
    # The file holds about classes · count and classes² numbers; the weights are classes² · count.
    checked_size([len(pairs), max(count, graph.types[node.inputs[0]].shape[1]), 2], np.dtype(np.float32), node.where)
    dual = coefficients.reshape(classes - 1, count)
    owner = np.repeat(np.arange(classes), per_class)
    weights = np.stack([np.where(owner == i, dual[j - 1], 0) + np.where(owner == j, dual[i], 0) for i, j in pairs])
    if classes == 2:
        weights, rho = np.concatenate([-weights, weights]), np.concatenate([-rho, rho])
    return _Machine(graph, node, count).score(weights, rho, scores)


class _Machine:
    """One node being lowered."""

    def __init__(self, graph: Graph, node: Node, count: int) -> None:
        self._graph, self._node = graph, node
        self._nodes: list[Node] = []
        features = graph.types[node.inputs[0]].shape[1]
        vectors, parameters = _floats(node, "support_vectors"), _floats(node, "kernel_params")
        if count < 1 or len(vectors) != count * features or len(parameters) not in (0, 3):
            raise _no_form(node, f"has {len(vectors)} numbers in its vectors for {count} of {features} features")
        self._vectors = vectors.reshape(count, features)
        gamma, offset, degree = parameters if len(parameters) else (0.0, 0.0, 3.0)
        self._gamma, self._offset, self._degree = float(gamma), float(offset), float(degree)

    def score(self, weights: Array, rho: Array, output: str) -> list[Node]:
        """kernel · weightsᵀ + ρ, as ``output``."""
        kernels: dict[str, Callable[[str], str]] = {"RBF": self._rbf, "POLY": self._poly, "SIGMOID": self._sigmoid}
        kind, x = self._node.text("kernel_type", "LINEAR"), self._node.inputs[0]
        if kind == "LINEAR":
            self._linear(x, weights @ self._vectors, rho, output)
        elif kind in kernels:
            self._linear(kernels[kind](x), weights, rho, output)
        else:
            raise _no_form(self._node, f"with kernel {kind} has no form")
        return self._nodes

    def _add(self, op_type: str, inputs: list[str], output: str = "", **attributes: int | float) -> str:
        result = output or self._graph.fresh(f"{self._node.name}_{op_type.lower()}")
        self._nodes.append(Node(op_type, inputs, [result], dict(attributes), f"{self._node.name}_{op_type.lower()}"))
        return result

    def _constant(self, values: Array, label: str) -> str:
        return self._graph.constant(f"{self._node.name}_{label}", np.ascontiguousarray(values, dtype=np.float32))

    def _linear(self, x: str, weights: Array, bias: Array, output: str = "") -> str:
        operands = [x, self._constant(weights.T, "weight"), self._constant(bias, "bias")]
        return self._add("Gemm", operands, output, alpha=1.0, beta=1.0, transA=0, transB=0)

    def _rbf(self, x: str) -> str:
        middle = self._vectors.mean(axis=0)
        vectors = self._vectors - middle
        centred = self._add("Sub", [x, self._constant(middle, "middle")])
        square = self._add("Mul", [centred, centred])
        axes = self._graph.constant(f"{self._node.name}_axes", np.array([1], dtype=np.int64))
        size = self._add("ReduceSum", [square, axes], keepdims=1, noop_with_empty_axes=0)
        scaled = self._add("Mul", [size, self._constant(np.array(-self._gamma), "factor")])
        rest = self._linear(centred, 2 * self._gamma * vectors, -self._gamma * (vectors**2).sum(axis=1))
        return self._add("Exp", [self._add("Add", [rest, scaled])])

    def _inner(self, x: str) -> str:
        return self._linear(x, self._gamma * self._vectors, np.full(len(self._vectors), self._offset))

    def _poly(self, x: str) -> str:
        if self._degree != int(self._degree) or not 1 <= self._degree <= _MAX_DEGREE:
            raise _no_form(self._node, f"with degree {self._degree:g} has no form")
        base = result = self._inner(x)
        for _ in range(int(self._degree) - 1):
            result = self._add("Mul", [result, base])
        return result

    def _sigmoid(self, x: str) -> str:
        return self._add("Tanh", [self._inner(x)])


def _floats(node: Node, name: str) -> Array:
    value = node.attributes.get(name)
    return np.array(value if isinstance(value, tuple) else (), dtype=np.float64)


def _no_form(node: Node, problem: str) -> Exception:
    return refuse("model-unknown-domain", f"ai.onnx.ml.{node.op_type} {problem}", node.where, _HINT)
