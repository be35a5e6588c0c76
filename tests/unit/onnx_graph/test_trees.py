"""Ensembles of trees become comparisons, products and one sum that decide as onnxruntime's trees do, for every float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.passes import trees
from verifai.onnx_graph.passes.trees import below
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.runtime import open_session

FEATURES = 4
LEQ = ("BRANCH_LEQ",)
ALL = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
EDGES = np.array([0.0, -0.0, 0.5, 1.0, -1.0, 3.4028235e38, 1e-45, 0.1, 0.3], np.float32)


def grown(seed: int, *, trees: int = 3, leaves: int = 9, modes: tuple[str, ...] = LEQ) -> dict[str, list[Any]]:
    """Random trees of ``leaves`` leaves each, of any shape, with thresholds among the numbers that inputs take."""
    random = np.random.default_rng(seed)
    nodes: dict[str, list[Any]] = {
        f"nodes_{name}": [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    ends: list[tuple[int, int]] = []
    for tree in range(trees):
        kinds, children = ["LEAF"], {}
        while kinds.count("LEAF") < leaves:
            at = int(random.choice([number for number, kind in enumerate(kinds) if kind == "LEAF"]))
            kinds[at], children[at] = str(random.choice(modes)), (len(kinds), len(kinds) + 1)
            kinds += ["LEAF", "LEAF"]
        for number, kind in enumerate(kinds):
            yes, no = children.get(number, (0, 0))
            row = (tree, number, int(random.integers(FEATURES)), float(random.choice(EDGES)), kind, yes, no)
            for key, value in zip(nodes, row, strict=True):
                nodes[key].append(value)
            ends += [(tree, number)] if kind == "LEAF" else []
    return {**nodes, "ends": ends}


def rows(seed: int, count: int = 200) -> np.ndarray:
    """Numbers at the thresholds, next to them, and anywhere."""
    random = np.random.default_rng(seed)
    cells = random.choice(EDGES, (count, FEATURES))
    with np.errstate(over="ignore"):
        near = np.nextafter(cells, random.choice(np.array([-np.inf, np.inf], np.float32), cells.shape))
    near = np.where(np.isfinite(near), near, cells)
    other = np.where(random.random(cells.shape) < 0.6, near, random.standard_normal(cells.shape))
    return np.where(random.random(cells.shape) < 0.5, cells, other).astype(np.float32)


def source(
    kind: str, attributes: dict[str, Any], outputs: list[tuple[str, int]], version: int = 3, batch: int = 1
) -> onnx.ModelProto:
    node = helper.make_node(kind, ["x"], [name for name, _ in outputs], domain="ai.onnx.ml", name="trees", **attributes)
    name, width = outputs[-1]
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, FEATURES])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def regressor(seed: int, *, targets: int = 2, modes: tuple[str, ...] = LEQ, batch: int = 1, **more: Any) -> onnx.ModelProto:
    sizes = {name: more.pop(name) for name in ("trees", "leaves") if name in more}
    forest = grown(seed, modes=modes, **sizes)
    ends = forest.pop("ends")
    random = np.random.default_rng(seed + 1)
    given = {
        **forest,
        "target_treeids": [tree for tree, _ in ends for _ in range(targets)],
        "target_nodeids": [leaf for _, leaf in ends for _ in range(targets)],
        "target_ids": [target for _ in ends for target in range(targets)],
        "target_weights": random.standard_normal(len(ends) * targets).astype(np.float32).tolist(),
        "n_targets": targets,
    }
    return source("TreeEnsembleRegressor", {**given, **more}, [("y", targets)], batch=batch)


def classifier(seed: int, *, labels: int, ids: list[int], low: float = -1.0, **more: Any) -> onnx.ModelProto:
    forest = grown(seed)
    ends = forest.pop("ends")
    random = np.random.default_rng(seed + 1)
    given = {
        **forest,
        "class_treeids": [tree for tree, _ in ends for _ in ids],
        "class_nodeids": [leaf for _, leaf in ends for _ in ids],
        "class_ids": [one for _ in ends for one in ids],
        "class_weights": random.uniform(low, 1, len(ends) * len(ids)).astype(np.float32).tolist(),
        "classlabels_int64s": list(range(labels)),
    }
    return source("TreeEnsembleClassifier", {**given, **more}, [("label", 1), ("y", labels)])


def same(model: onnx.ModelProto, data: np.ndarray) -> None:
    """The canonical model's outputs are those of onnxruntime on the source."""
    made = canonicalise(model.SerializeToString(), where="m").model
    assert {node.domain for node in made.proto.graph.node} == {""}
    again = canonicalise(made.data, where="m").model
    assert again.data == made.data
    session, reference = open_session(model.SerializeToString()), Reference(made)
    batch = made.inputs[0].shape[0]
    for start in range(0, len(data) - batch + 1, batch):
        feed = {"x": data[start : start + batch]}
        (expected,) = session.run(["y"], feed)
        np.testing.assert_allclose(reference.run(feed)["y"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("modes", [LEQ, ALL])
def test_every_way_of_branching_decides_as_onnxruntime_does(seed: int, modes: tuple[str, ...]) -> None:
    same(regressor(seed, modes=modes), rows(seed))


@pytest.mark.parametrize("sizes", [{"trees": 40, "leaves": 4}, {"trees": 2, "leaves": 300}, {"trees": 1, "leaves": 2}])
def test_trees_of_any_size_are_cut_into_chunks(sizes: dict[str, int]) -> None:
    same(regressor(5, **sizes), rows(5))


def test_several_rows_at_once() -> None:
    same(regressor(6, trees=12, batch=5), rows(6))


@pytest.mark.parametrize(
    "more",
    [
        {"aggregate_function": "AVERAGE"},
        {"base_values": [0.5, -2.0]},
        {"post_transform": "LOGISTIC"},
        {"post_transform": "SOFTMAX"},
        {"aggregate_function": "AVERAGE", "base_values": [1.0, 2.0], "post_transform": "SOFTMAX"},
    ],
)
def test_what_a_regressor_does_with_its_sums(more: dict[str, Any]) -> None:
    same(regressor(7, **more), rows(7))


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("base", [None, [0.25, -0.5, 1.0]])
def test_classifiers_of_several_classes(transform: str, base: list[float] | None) -> None:
    more = {} if base is None else {"base_values": base}
    same(classifier(8, labels=3, ids=[0, 1, 2], post_transform=transform, **more), rows(8))


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("low", [-1.0, 0.01])
@pytest.mark.parametrize(("ids", "base"), [([0], None), ([1], None), ([0], [0.3]), ([0, 1], None)])
def test_two_classes(transform: str, low: float, ids: list[int], base: list[float] | None) -> None:
    """Of two classes boosting weighs one only; whether weights are negative tells probabilities from margins."""
    more = {} if base is None else {"base_values": base}
    same(classifier(9, labels=2, ids=ids, low=low, post_transform=transform, **more), rows(9))


def test_thresholds_in_float64_decide_as_in_float64() -> None:
    """Between two float32 numbers, where rounding to the nearest would move a number to the other side."""
    numbers = np.array([0.02286863513290882, 0.1, 1.0, 16777216.0], np.float32)
    thresholds = [float(np.float64(number) - 1e-10 * float(number)) for number in numbers]
    for threshold, number in zip(thresholds, numbers, strict=True):
        assert np.float32(threshold) == number
        rounded = below(threshold)
        assert rounded < float(number) and float(np.float32(rounded)) == rounded
        assert np.nextafter(np.float32(rounded), np.float32(np.inf)) == number
    model = regressor(10)
    node = model.graph.node[0]
    kept = [one for one in node.attribute if one.name != "nodes_values"]
    values = next(one for one in node.attribute if one.name == "nodes_values")
    precise = np.array([float(np.nextafter(np.float64(value), -np.inf)) for value in values.floats])
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("nodes_values_as_tensor", numpy_helper.from_array(precise))])
    made = canonicalise(model.SerializeToString(), where="m").model
    table = next(t for t in made.proto.graph.initializer if t.name == "trees_thresholds")
    found = numpy_helper.to_array(table)
    assert set(found.tolist()) <= {below(float(value)) for value in precise} | {0.0}


def test_a_branch_that_is_always_taken_has_no_threshold() -> None:
    model = regressor(11)
    values = next(one for one in model.graph.node[0].attribute if one.name == "nodes_values")
    values.floats[0] = np.inf
    same(model, rows(11))


def test_the_newer_operator_with_sets() -> None:
    """x0 in {1, 2.5} → leaf 0, else x1 < 0.5 → leaf 1, else leaf 2."""

    def tensor(values: list[float], kind: Any = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, kind))

    attributes = {
        "nodes_splits": tensor([0.0, 0.5]), "nodes_featureids": [0, 1], "nodes_modes": tensor([6, 1], np.uint8),
        "nodes_truenodeids": [0, 1], "nodes_trueleafs": [1, 1], "nodes_falsenodeids": [1, 2], "nodes_falseleafs": [0, 1],
        "tree_roots": [0], "leaf_targetids": [0, 0, 0], "leaf_weights": tensor([10.0, 20.0, 30.0]),
        "membership_values": tensor([1.0, 2.5, np.nan]), "aggregate_function": 1, "n_targets": 1, "post_transform": 0,
    }  # fmt: skip
    model = source("TreeEnsemble", attributes, [("y", 1)], version=5)
    made = canonicalise(model.SerializeToString(), where="m").model
    cases = {(1.0, 0.0): 10, (2.5, 9.0): 10, (2.0, 0.25): 20, (2.0, 0.5): 30, (np.nextafter(np.float32(1), 2), 0.5): 30}
    for (first, second), expected in cases.items():
        feed = {"x": np.array([[first, second, 0, 0]], np.float32)}
        assert Reference(made).run(feed)["y"].item() == expected


def of_sets(values: list[float], *, sets: int, seed: int = 0) -> tuple[onnx.ModelProto, list[tuple[int, frozenset[float]]]]:
    """One tree of ``sets`` questions in a row, each whether a cell is one of about half of the values: leaf k is the first
    question that is met, the last leaf none. With the columns and sets."""
    random = np.random.default_rng(seed)
    asked = [
        (int(random.integers(FEATURES)), frozenset(float(v) for v in values if random.random() < 0.5)) for _ in range(sets)
    ]
    members = [one for _, chosen in asked for one in (*sorted(chosen), np.nan)]
    tensor = lambda array, kind=np.float32: numpy_helper.from_array(np.array(array, kind))  # noqa: E731
    attributes = {
        "nodes_splits": tensor([0.0] * sets), "nodes_featureids": [column for column, _ in asked],
        "nodes_modes": tensor([6] * sets, np.uint8), "nodes_truenodeids": list(range(sets)), "nodes_trueleafs": [1] * sets,
        "nodes_falsenodeids": [*range(1, sets), sets], "nodes_falseleafs": [*([0] * (sets - 1)), 1],
        "tree_roots": [0], "leaf_targetids": [0] * (sets + 1), "leaf_weights": tensor(np.arange(sets + 1) + 1.0),
        "membership_values": tensor(members), "aggregate_function": 1, "n_targets": 1, "post_transform": 0,
    }  # fmt: skip
    return source("TreeEnsemble", attributes, [("y", 1)], version=5), asked


def test_paths_through_sets_of_hundreds_of_categories_are_exact() -> None:
    """Far more ends on a path than comparisons fit a chunk, cells beside each category among them."""
    values = [float(one) for one in range(0, 900, 3)]
    model, asked = of_sets(values, sets=12)
    made = canonicalise(model.SerializeToString(), where="m").model
    reference, random = Reference(made), np.random.default_rng(1)
    assert len({(column, one) for column, chosen in asked for one in chosen}) > 256
    for _ in range(200):
        row = random.choice(values, FEATURES).astype(np.float32)
        beside = np.nextafter(row, np.float32(random.choice([-np.inf, np.inf])))
        row = np.where(random.random(FEATURES) < 0.3, beside, row).astype(np.float32)
        met = [at for at, (column, chosen) in enumerate(asked) if float(row[column]) in chosen]
        assert reference.run({"x": row[None]})["y"].item() == (met[0] if met else len(asked)) + 1


@pytest.mark.parametrize("bound, most", [("MAX_MEMBERS", 500), ("MAX_CELLS", 5_000)])
def test_sets_beyond_a_bound_are_refused(bound: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = of_sets([float(one) for one in range(100)], sets=20)
    canonicalise(model.SerializeToString(), where="m")
    monkeypatch.setattr(trees, bound, most)
    with pytest.raises(UnsupportedModel, match="categories") as refused:
        canonicalise(model.SerializeToString(), where="m")
    assert refused.value.code == "model-size-bomb"


def test_paths_of_too_many_comparisons_are_refused_before_they_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = of_sets([float(one) for one in range(100)], sets=20)
    monkeypatch.setattr(trees, "MAX_TESTS", 20)
    with pytest.raises(UnsupportedModel, match="comparisons") as refused:
        canonicalise(model.SerializeToString(), where="m")
    assert refused.value.code == "model-size-bomb"


def test_rows_that_onnxruntime_would_take_for_others_are_refused() -> None:
    """Of outputs that a row reaches no weight of, onnxruntime leaves the base value out, or the second class."""
    model = regressor(13, base_values=[0.5, 2.0])
    for name in ("target_treeids", "target_nodeids", "target_ids"):
        del next(one for one in model.graph.node[0].attribute if one.name == name).ints[1::2]
    del next(one for one in model.graph.node[0].attribute if one.name == "target_weights").floats[1::2]
    both = classifier(14, labels=2, ids=[0, 1])
    for name in ("class_treeids", "class_nodeids", "class_ids"):
        del next(one for one in both.graph.node[0].attribute if one.name == name).ints[1::6]
    del next(one for one in both.graph.node[0].attribute if one.name == "class_weights").floats[1::6]
    for source_model in (model, both):
        with pytest.raises(UnsupportedModel, match="in each leaf") as caught:
            canonicalise(source_model.SerializeToString(), where="m")
        assert caught.value.code == "model-unknown-domain"


def broken(**changes: Any) -> onnx.ModelProto:
    model = regressor(12)
    for name, change in changes.items():
        attribute = next(one for one in model.graph.node[0].attribute if one.name == name)
        change(attribute)
    return model


def _set(position: int, value: Any) -> Any:
    def change(attribute: Any) -> None:
        (attribute.ints if attribute.ints else attribute.floats if attribute.floats else attribute.strings)[position] = value

    return change


BROKEN = {
    "a cycle": (broken(nodes_truenodeids=_set(0, 0)), "model-malformed"),
    "a node that there is not": (broken(nodes_falsenodeids=_set(0, 999)), "model-malformed"),
    "two nodes of one number": (broken(nodes_nodeids=_set(1, 0)), "model-malformed"),
    "a column that there is not": (broken(nodes_featureids=_set(0, 77)), "model-malformed"),
    "a weight of no leaf": (broken(target_nodeids=_set(0, 0)), "model-malformed"),
    "an output that there is not": (broken(target_ids=_set(0, 5)), "model-malformed"),
    "a mode that there is not": (broken(nodes_modes=_set(0, b"BRANCH_XOR")), "model-malformed"),
    "lists of different lengths": (broken(nodes_values=lambda a: a.floats.append(1.0)), "model-malformed"),
    "a threshold that is no number": (broken(nodes_values=_set(0, float("nan"))), "model-non-finite"),
    "a weight that is infinite": (broken(target_weights=_set(0, float("inf"))), "model-non-finite"),
    "the least of all trees": (regressor(12, aggregate_function="MIN"), "model-unknown-domain"),
    "base values of another number": (regressor(12, base_values=[1.0]), "model-malformed"),
    "no tree": (source("TreeEnsembleRegressor", {"n_targets": 1}, [("y", 1)]), "model-malformed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_forest_is_refused_with_its_node(name: str) -> None:
    model, code = BROKEN[name]
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(model.SerializeToString(), where="m")
    assert (caught.value.code, "trees" in caught.value.where) == (code, True)


def test_a_tree_deeper_than_any_circuit_is_refused_quickly() -> None:
    depth = 5000
    nodes = {
        "nodes_treeids": [0] * (2 * depth + 1),
        "nodes_nodeids": list(range(2 * depth + 1)),
        "nodes_featureids": [0] * (2 * depth + 1),
        "nodes_values": [float(number) for number in range(2 * depth + 1)],
        "nodes_modes": ["BRANCH_LEQ"] * depth + ["LEAF"] * (depth + 1),
        "nodes_truenodeids": [depth + number for number in range(depth)] + [0] * (depth + 1),
        "nodes_falsenodeids": [*range(1, depth), 2 * depth] + [0] * (depth + 1),
        "target_treeids": [0], "target_nodeids": [2 * depth], "target_ids": [0], "target_weights": [1.0], "n_targets": 1,
    }  # fmt: skip
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(source("TreeEnsembleRegressor", nodes, [("y", 1)]).SerializeToString(), where="m")
    assert caught.value.code == "model-size-bomb"
    assert "max_depth" in caught.value.hint
