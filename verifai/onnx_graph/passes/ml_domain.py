"""Operators of ``ai.onnx.ml`` → plain operators with exactly the same meaning, or a refusal by name.

Meaning as in the ONNX specification (docs/Operators-ml.md) for real-valued two-dimensional inputs of shape (N, features), with
onnxruntime's reading where the specification is silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.support_vectors import support_vector_classifier, support_vector_regressor
from verifai.onnx_graph.passes.tree_operators import tree_classifier, tree_ensemble, tree_regressor
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array

_FLOAT = np.dtype(np.float32)
_HINTS = {
    "ZipMap": "Export classifiers with zipmap switched off.",
}


def lower_ml(graph: Graph, node: Node) -> list[Node]:
    """The plain nodes that mean what ``node`` means.

    Raises:
        UnsupportedModel: ``model-unknown-domain`` for an operator, or a form of it, without an exact lowering.
    """
    lower = _LOWERINGS.get(node.op_type)
    if lower is None:
        hint = next((hint for start, hint in _HINTS.items() if node.op_type.startswith(start)), "Use plain linear algebra.")
        raise _no_form(node, "has no exact form in standard operators", hint)
    for name in node.inputs:
        kind = graph.types[name]
        if kind.dtype != _FLOAT or len(kind.shape) != 2:
            if node.op_type == "ArrayFeatureExtractor" and (name != node.inputs[0] or kind.dtype.kind in "fi"):
                continue
            if node.op_type == "OneHotEncoder" and kind.dtype == np.int64 and len(kind.shape) == 2:
                continue
            raise _no_form(node, f"is supported for float32 of two axes only, not {kind.dtype} of shape {kind.shape}")
    return lower(graph, node)


def _no_form(node: Node, problem: str, hint: str = "") -> Exception:
    return refuse("model-unknown-domain", f"ai.onnx.ml.{node.op_type} {problem}", node.where, hint)


def _floats(node: Node, name: str) -> Array:
    value = node.attributes.get(name)
    return np.array(value if isinstance(value, tuple) else (), dtype=_FLOAT)


def _scaler(graph: Graph, node: Node) -> list[Node]:
    """(X − offset) · scale."""
    middle = graph.fresh(f"{node.name}_centred")
    offset = graph.constant(f"{node.name}_offset", _per_feature(graph, node, _floats(node, "offset")))
    scale = graph.constant(f"{node.name}_factor", _per_feature(graph, node, _floats(node, "scale")))
    return [
        Node("Sub", [node.inputs[0], offset], [middle], {}, f"{node.name}_sub"),
        Node("Mul", [middle, scale], node.outputs, {}, f"{node.name}_mul"),
    ]


def _per_feature(graph: Graph, node: Node, values: Array) -> Array:
    if values.size not in (1, graph.types[node.inputs[0]].shape[1]):
        raise _no_form(node, f"has {values.size} factors for {graph.types[node.inputs[0]].shape[1]} features")
    return values


def _linear(graph: Graph, node: Node, outputs: int, weights: Array, bias: Array, result: str) -> list[Node]:
    features = graph.types[node.inputs[0]].shape[1]
    if weights.size != outputs * features or bias.size not in (0, outputs):
        raise _no_form(
            node,
            f"has {weights.size} coefficients for {outputs} outputs of {features} features",
            "Export the estimator itself.",
        )
    operands = [
        node.inputs[0],
        graph.constant(f"{node.name}_weight", np.ascontiguousarray(weights.reshape(outputs, features).T)),
    ]
    if bias.size:
        operands.append(graph.constant(f"{node.name}_bias", bias))
    attributes = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    return [Node("Gemm", operands, [result], dict(attributes), f"{node.name}_linear")]


def _finish(graph: Graph, node: Node, build: Callable[[str], list[Node]], output: str) -> list[Node]:
    """The linear part, then ``post_transform``."""
    mode = node.text("post_transform", "NONE")
    if mode == "NONE":
        return build(output)
    if mode not in ("LOGISTIC", "SOFTMAX"):
        raise _no_form(node, f"with post_transform {mode} has no exact form in standard operators")
    raw = graph.fresh(f"{node.name}_raw")
    last = (
        Node("Sigmoid", [raw], [output], {}, f"{node.name}_sigmoid")
        if mode == "LOGISTIC"
        else Node("Softmax", [raw], [output], {"axis": 1}, f"{node.name}_softmax")
    )
    return [*build(raw), last]


def _linear_regressor(graph: Graph, node: Node) -> list[Node]:
    targets = node.integer("targets", 1)
    weights, bias = _floats(node, "coefficients"), _floats(node, "intercepts")
    return _finish(graph, node, lambda result: _linear(graph, node, targets, weights, bias, result), node.outputs[0])


def _linear_classifier(graph: Graph, node: Node) -> list[Node]:
    """Scores, and the largest one's label where other nodes read that, as votes of one-vs-one classifiers do.

    With one row for two classes the scores' form is not specified.
    """
    weights, bias = _floats(node, "coefficients"), _floats(node, "intercepts")
    labels = max(len(node.ints("classlabels_ints") or ()), len(_strings(node)))
    if labels < 2 or bias.size not in (0, labels):
        raise _no_form(node, f"with {bias.size} rows for {labels} classes has no exact form in standard operators")
    whole = node.ints("classlabels_ints") or ()
    label = node.outputs[0]
    named = len(whole) == labels and label not in graph.outputs and any(label in other.inputs for other in graph.pending)
    if not named:
        scores = _scores_only(graph, node)
        return _finish(graph, node, lambda result: _linear(graph, node, labels, weights, bias, result), scores)
    raw = graph.fresh(f"{node.name}_raw")
    place = graph.fresh(f"{node.name}_place")
    table = graph.constant(f"{node.name}_labels", np.array(whole, np.int64))
    nodes = [
        *_linear(graph, node, labels, weights, bias, raw),
        Node("ArgMax", [raw], [place], {"axis": 1, "keepdims": 0, "select_last_index": 0}, f"{node.name}_argmax"),
        Node("Gather", [table, place], [label], {"axis": 0}, f"{node.name}_label"),
    ]
    if len(node.outputs) > 1 and node.outputs[1]:
        same = Node("Identity", [raw], [node.outputs[1]], {}, f"{node.name}_scores")
        nodes += _finish(graph, node, lambda result: [replace(same, outputs=[result])], node.outputs[1])
    return nodes


def _scores_only(graph: Graph, node: Node) -> str:
    """A classifier's scores. Raises UnsupportedModel (``model-unknown-domain``) when its labels are read."""
    label = node.outputs[0]
    if label in graph.outputs:
        raise _no_form(node, "yields labels", "Keep the scores only (--select NAME), and take the largest outside the model.")
    if any(label in other.inputs for other in graph.pending):
        raise _no_form(
            node, "yields labels that other nodes read", "Export the estimator itself (`verifai export model.skops -o FILE`)."
        )
    if len(node.outputs) < 2 or not node.outputs[1]:
        raise _no_form(node, "yields no scores", "Export the scores.")
    return node.outputs[1]


def _support_vector_classifier(graph: Graph, node: Node) -> list[Node]:
    return support_vector_classifier(graph, node, _scores_only(graph, node))


def _tree_classifier(graph: Graph, node: Node) -> list[Node]:
    return tree_classifier(graph, node, _scores_only(graph, node))


def _strings(node: Node) -> tuple[object, ...]:
    value = node.attributes.get("classlabels_strings")
    return value if isinstance(value, tuple) else ()


def _normalizer(graph: Graph, node: Node) -> list[Node]:
    """X / norm(X) per row; a row of zeros stays as it is, as in onnxruntime."""
    mode = node.text("norm", "MAX")
    if mode == "L1" and _sums_to_one(graph, node.inputs[0]):
        return [Node("Identity", node.inputs[:1], node.outputs, {}, node.name)]
    if mode not in ("L1", "L2"):
        raise _no_form(node, f"with norm {mode} has no exact form in standard operators")
    norm, zero = graph.fresh(f"{node.name}_norm"), graph.fresh(f"{node.name}_is_zero")
    divisor = graph.fresh(f"{node.name}_divisor")
    axes = graph.constant(f"{node.name}_axes", np.array([1], dtype=np.int64))
    nothing = graph.constant(f"{node.name}_zero", np.array(0, dtype=_FLOAT))
    one = graph.constant(f"{node.name}_one", np.array(1, dtype=_FLOAT))
    x = node.inputs[0]
    return [
        Node(f"Reduce{mode}", [x, axes], [norm], {"keepdims": 1, "noop_with_empty_axes": 0}, f"{node.name}_norm"),
        Node("Equal", [norm, nothing], [zero], {}, f"{node.name}_is_zero"),
        Node("Where", [zero, one, norm], [divisor], {}, f"{node.name}_divisor"),
        Node("Div", [x, divisor], node.outputs, {}, f"{node.name}_div"),
    ]


def _sums_to_one(graph: Graph, name: str) -> bool:
    """Whether the value is a softmax of rows, which skl2onnx normalises once more."""
    return any(
        node.op_type == "Softmax" and name in node.outputs and node.integer("axis", -1) in (1, -1) for node in graph.nodes
    )


def _feature_extractor(graph: Graph, node: Node) -> list[Node]:
    """Cells of the last axis by index, computed indices included; onnxruntime counts from the front only."""
    data, given = node.inputs
    rank, width = len(graph.types[data].shape), graph.types[data].shape[-1]
    kind = graph.types[given]
    if kind.dtype != np.int64:
        raise _no_form(node, f"is supported for int64 indices only, not {kind.dtype}")
    nodes = []
    indices = graph.constants.get(given)
    if indices is None:
        columns = given
        if len(kind.shape) != 1:
            columns, flat = graph.fresh(f"{node.name}_columns"), graph.constant(f"{node.name}_flat", np.array([-1], np.int64))
            nodes.append(Node("Reshape", [given, flat], [columns], {"allowzero": 0}, f"{node.name}_reshape"))
    else:
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < width:
            raise _no_form(node, f"has indices outside the {width} columns")
        columns = graph.constant(f"{node.name}_columns", indices.reshape(-1))
    if rank != 1:
        return [*nodes, Node("Gather", [data, columns], node.outputs, {"axis": rank - 1}, node.name)]
    # onnxruntime gives one row for a line of cells.
    line = graph.fresh(f"{node.name}_line")
    axes = graph.constant(f"{node.name}_axes", np.array([0], np.int64))
    return [
        *nodes,
        Node("Gather", [data, columns], [line], {"axis": 0}, node.name),
        Node("Unsqueeze", [line, axes], node.outputs, {}, f"{node.name}_row"),
    ]


def _binarizer(graph: Graph, node: Node) -> list[Node]:
    """1 where X > threshold, else 0."""
    threshold = graph.constant(f"{node.name}_threshold", np.array(node.number("threshold", 0.0), dtype=_FLOAT))
    above = graph.fresh(f"{node.name}_above")
    return [
        Node("Greater", [node.inputs[0], threshold], [above], {}, f"{node.name}_greater"),
        Node("Cast", [above], node.outputs, {"to": 1}, f"{node.name}_cast"),
    ]


def _imputer(graph: Graph, node: Node) -> list[Node]:
    """Replacing NaN does nothing, because inputs with NaN are refused."""
    if not np.isnan(node.number("replaced_value_float", 0.0)):
        raise _no_form(node, "that replaces a number has no exact form")
    graph.note(f"{node.where} replaces missing values; inputs with NaN are refused, so it was removed.")
    return [Node("Identity", node.inputs[:1], node.outputs, {}, node.name)]


def _feature_vectorizer(graph: Graph, node: Node) -> list[Node]:
    """Columns side by side."""
    widths = tuple(graph.types[name].shape[1] for name in node.inputs)
    if (node.ints("inputdimensions") or widths) != widths:
        raise _no_form(node, "that cuts its inputs has no exact form")
    return [Node("Concat", node.inputs, node.outputs, {"axis": 1}, node.name)]


def _one_hot(graph: Graph, node: Node) -> list[Node]:
    """1 where the whole part of a cell is the category; zeros for an unknown one, where the operator may raise an error."""
    categories = np.array(node.ints("cats_int64s") or (), dtype=np.int64)
    if not categories.size:
        raise _no_form(node, "encodes text", "Encode categories as whole numbers outside the model.")
    if not node.integer("zeros", 1):
        graph.note(f"{node.where} raises an error for an unknown category; the exported model gives it zeros instead.")
    column, whole = graph.fresh(f"{node.name}_column"), graph.fresh(f"{node.name}_whole")
    equal = graph.fresh(f"{node.name}_equal")
    axes = graph.constant(f"{node.name}_axes", np.array([2], dtype=np.int64))
    table = graph.constant(f"{node.name}_categories", categories)
    return [
        Node("Unsqueeze", [node.inputs[0], axes], [column], {}, f"{node.name}_unsqueeze"),
        Node("Cast", [column], [whole], {"to": 7}, f"{node.name}_whole"),
        Node("Equal", [whole, table], [equal], {}, f"{node.name}_equal"),
        Node("Cast", [equal], node.outputs, {"to": 1}, f"{node.name}_cast"),
    ]


_LOWERINGS: dict[str, Callable[[Graph, Node], list[Node]]] = {
    "ArrayFeatureExtractor": _feature_extractor,
    "Binarizer": _binarizer,
    "FeatureVectorizer": _feature_vectorizer,
    "Imputer": _imputer,
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "Normalizer": _normalizer,
    "OneHotEncoder": _one_hot,
    "SVMClassifier": _support_vector_classifier,
    "SVMRegressor": support_vector_regressor,
    "Scaler": _scaler,
    "TreeEnsemble": tree_ensemble,
    "TreeEnsembleClassifier": _tree_classifier,
    "TreeEnsembleRegressor": tree_regressor,
}
