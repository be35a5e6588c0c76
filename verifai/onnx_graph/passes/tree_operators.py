"""``TreeEnsembleClassifier``, ``TreeEnsembleRegressor`` and ``TreeEnsemble`` of ``ai.onnx.ml`` → :mod:`.trees`.

Meaning as in the ONNX specification, with onnxruntime's reading where it is silent: what a classifier of two classes yields
whose trees weigh one of them only, and where base values go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.trees import Branching, Forest, scores
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array

_CODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
"""Of TreeEnsemble 5, by number."""
_SUM, _AVERAGE = "SUM", "AVERAGE"


def _no_form(node: Node, problem: str, hint: str = "") -> Exception:
    return refuse("model-unknown-domain", f"ai.onnx.ml.{node.op_type} {problem}", node.where, hint)


def _malformed(node: Node, problem: str) -> Exception:
    return refuse("model-malformed", problem, node.where)


def _numbers(node: Node, name: str) -> Array:
    """A list, or the tensor that may stand instead of it."""
    for key in (name, f"{name}_as_tensor"):
        value = node.attributes.get(key)
        if isinstance(value, np.ndarray):
            return value.reshape(-1)
        if isinstance(value, tuple):
            return np.array(value)
    return np.zeros(0)


def _of_length(node: Node, names: Sequence[str], count: int | None = None) -> list[Array]:
    arrays = [_numbers(node, name) for name in names]
    count = len(arrays[0]) if count is None else count
    for name, array in zip(names, arrays, strict=True):
        if len(array) != count:
            raise _malformed(node, f"{name} has {len(array)} entries, not {count}")
    return arrays


def _forest(node: Node, kind: str) -> Forest:
    """The trees of the older two operators; ``kind``: ``class`` or ``target``, the prefix of what leaves weigh."""
    places = ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_truenodeids", "nodes_falsenodeids")
    trees, ids, columns, values, yes, no = _of_length(node, places)
    modes = node.attributes.get("nodes_modes")
    if not isinstance(modes, tuple) or len(modes) != len(trees):
        raise _malformed(node, "nodes_modes does not have one entry per node")
    numbers: dict[tuple[int, int], int] = {}
    roots: dict[int, int] = {}
    for number, key in enumerate(zip(trees.tolist(), ids.tolist(), strict=True)):
        if key in numbers:
            raise _malformed(node, f"tree {key[0]} has two nodes {key[1]}")
        numbers[key] = number
        roots.setdefault(key[0], number)
    inner: dict[int, Branching] = {}
    for number, mode in enumerate(modes):
        text = mode.decode("utf-8", errors="replace") if isinstance(mode, bytes) else str(mode)
        if text == "LEAF":
            continue
        if text not in _CODES[:-1]:
            raise _malformed(node, f"a node has the mode {text[:40]!r}")
        targets = [numbers.get((int(trees[number]), int(end[number]))) for end in (yes, no)]
        if targets[0] is None or targets[1] is None:
            raise _malformed(node, f"node {int(ids[number])} of tree {int(trees[number])} leads to a node that there is not")
        inner[number] = Branching(int(columns[number]), text, float(values[number]), targets[0], targets[1])
    owners = _of_length(node, [f"{kind}_{name}" for name in ("treeids", "nodeids", "ids", "weights")])
    weights: dict[int, dict[int, float]] = {}
    for tree, leaf, output, weight in zip(*(array.tolist() for array in owners), strict=True):
        owner = numbers.get((tree, leaf))
        if owner is None or owner in inner:
            raise _malformed(node, f"a weight belongs to node {leaf} of tree {tree}, which is no leaf")
        given = weights.setdefault(owner, {})
        given[int(output)] = given.get(int(output), 0.0) + float(weight)
    if not roots:
        raise _malformed(node, "it has no tree")
    return Forest(tuple(roots.values()), inner, weights)


def _scaled(forest: Forest, factor: float) -> Forest:
    weights = {leaf: {output: weight * factor for output, weight in own.items()} for leaf, own in forest.weights.items()}
    return Forest(forest.roots, forest.inner, weights)


def _aggregated(node: Node, forest: Forest, mode: str) -> Forest:
    if mode == _SUM:
        return forest
    if mode != _AVERAGE:
        raise _no_form(node, f"with aggregate_function {mode[:40]} has no exact form in standard operators")
    return _scaled(forest, 1.0 / len(forest.roots))


def _within(node: Node, forest: Forest, outputs: int) -> None:
    named = {output for own in forest.weights.values() for output in own}
    if not 0 < outputs <= 1 << 16 or any(not 0 <= output < outputs for output in named):
        raise _malformed(node, f"a weight belongs to an output that is not among the {outputs}")


def _finished(graph: Graph, node: Node, build: Callable[[str], list[Node]], mode: str, output: str) -> list[Node]:
    """The scores, then ``post_transform``."""
    if mode == "NONE":
        return build(output)
    if mode not in ("LOGISTIC", "SOFTMAX"):
        raise _no_form(node, f"with post_transform {mode[:40]} has no exact form in standard operators")
    raw = graph.fresh(f"{node.name}_raw")
    kind, attributes = ("Sigmoid", {}) if mode == "LOGISTIC" else ("Softmax", {"axis": 1})
    return [*build(raw), Node(kind, [raw], [output], dict(attributes), f"{node.name}_{kind.lower()}")]


def tree_regressor(graph: Graph, node: Node) -> list[Node]:
    """TreeEnsembleRegressor."""
    targets = node.integer("n_targets", 1)
    forest = _aggregated(node, _forest(node, "target"), node.text("aggregate_function", _SUM))
    _within(node, forest, targets)
    base = _numbers(node, "base_values").tolist() or [0.0] * targets
    if len(base) != targets:
        raise _malformed(node, f"{len(base)} base values for {targets} outputs")
    if targets > 1 and any(value and not _always(forest, output) for output, value in enumerate(base)):
        raise _no_form(node, "with base values needs a weight of each output in each leaf")
    mode = node.text("post_transform", "NONE")
    return _finished(graph, node, lambda out: scores(graph, node, forest, targets, base, out), mode, node.outputs[0])


def tree_classifier(graph: Graph, node: Node, output: str) -> list[Node]:
    """TreeEnsembleClassifier: its scores, ``output``."""
    labels = node.attributes.get("classlabels_int64s") or node.attributes.get("classlabels_strings")
    classes = len(labels) if isinstance(labels, tuple) else 0
    forest = _forest(node, "class")
    base = _numbers(node, "base_values").tolist()
    mode = node.text("post_transform", "NONE")
    named = sorted({place for own in forest.weights.values() for place in own})
    if classes == 2 and len(named) == 1 and len(base) < 2:
        return _one_of_two(graph, node, forest, base, mode, output, named[0])
    if len(base) not in (0, classes) or classes < 2:
        raise _no_form(node, f"with {len(base)} base values for {classes} classes has no exact form in standard operators")
    _within(node, forest, classes)
    if classes == 2 and (any(base) or not _always(forest, 1)):
        # onnxruntime takes a row that reaches no weight of the second class for one of a single score.
        raise _no_form(node, "of two classes, both weighed, needs weights of both in each leaf, and no base values")
    base = base or [0.0] * classes
    return _finished(graph, node, lambda out: scores(graph, node, forest, classes, base, out), mode, output)


def _one_of_two(
    graph: Graph, node: Node, forest: Forest, base: Sequence[float], mode: str, output: str, named: int
) -> list[Node]:
    """Two classes, of which the trees weigh one. With s its score: of the second class 0 and s; of the first −s and s, or 1 − s
    and s where no weight is negative, since s is a probability then."""
    if named not in (0, 1) or mode not in ("NONE", "LOGISTIC"):
        raise _no_form(node, f"of two classes with post_transform {mode[:40]} has no exact form in standard operators")
    weights = [weight for own in forest.weights.values() for weight in own.values()]
    start = [0.0, 0.0]
    if named == 0:
        turned = {leaf: {1: own[0], 0: -own[0]} for leaf, own in forest.weights.items() if 0 in own}
        forest = Forest(forest.roots, forest.inner, turned)
        shift = base[0] if base else 0.0
        start = [(1.0 if mode == "NONE" and min(weights) >= 0 else 0.0) - shift, shift]
    return _finished(graph, node, lambda out: scores(graph, node, forest, 2, start, out), mode, output)


def _always(forest: Forest, output: int) -> bool:
    """Whether every row reaches a leaf that names the output: all leaves of some tree do."""
    for root in forest.roots:
        pending, seen = [root], set()
        while pending:
            at = pending.pop()
            branch = forest.inner.get(at)
            if at in seen or (branch is None and output not in forest.weights.get(at, {})):
                break
            seen.add(at)
            pending += [] if branch is None else [branch.yes, branch.no]
        else:
            return True
    return False


def tree_ensemble(graph: Graph, node: Node) -> list[Node]:
    """TreeEnsemble of version 5: inner nodes and leaves are numbered apart."""
    columns, values, yes, no, yes_leaf, no_leaf = _of_length(
        node,
        ("nodes_featureids", "nodes_splits", "nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs"),
    )
    count = len(columns)
    (modes,) = _of_length(node, ("nodes_modes",), count)
    owners, weights = _of_length(node, ("leaf_targetids", "leaf_weights"))
    sets = _membership(node, modes)
    inner: dict[int, Branching] = {}
    for number in range(count):
        code = int(modes[number])
        if not 0 <= code < len(_CODES):
            raise _malformed(node, f"a node has the mode {code}")
        ends = []
        for target, leaf in ((yes, yes_leaf), (no, no_leaf)):
            at, limit = int(target[number]), len(owners) if leaf[number] else count
            if not 0 <= at < limit:
                raise _malformed(node, f"node {number} leads to a node that there is not")
            ends.append(at + count if leaf[number] else at)
        members = sets.get(number, ())
        inner[number] = Branching(int(columns[number]), _CODES[code], float(values[number]), ends[0], ends[1], members)
    roots = tuple(int(root) for root in _numbers(node, "tree_roots").tolist())
    if not roots or any(not 0 <= root < count for root in roots):
        raise _malformed(node, "a root is no node")
    # A tree that is one leaf is written as a node with the same leaf on both sides.
    copies = {number + count: {int(owners[number]): float(weights[number])} for number in range(len(owners))}
    forest = _apart(Forest(roots, inner, copies))
    targets = node.integer("n_targets", 1)
    modes_of_sum = ("AVERAGE", "SUM", "MIN", "MAX")
    forest = _aggregated(node, forest, modes_of_sum[min(max(node.integer("aggregate_function", 1), 0), 3)])
    _within(node, forest, targets)
    transforms = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    mode = transforms[min(max(node.integer("post_transform", 0), 0), 4)]
    base = [0.0] * targets
    return _finished(graph, node, lambda out: scores(graph, node, forest, targets, base, out), mode, node.outputs[0])


def _apart(forest: Forest) -> Forest:
    """Leaves that two branches share, once for each."""
    inner, weights = dict(forest.inner), dict(forest.weights)
    taken: set[int] = set()
    following = max([*inner, *weights], default=0) + 1
    for number, branch in forest.inner.items():
        ends = []
        for end in (branch.yes, branch.no):
            if end in taken and end in weights:
                weights[following] = weights[end]
                end, following = following, following + 1
            taken.add(end)
            ends.append(end)
        inner[number] = Branching(branch.column, branch.mode, branch.threshold, ends[0], ends[1], branch.members)
    return Forest(forest.roots, inner, weights)


def _membership(node: Node, modes: Array) -> dict[int, tuple[float, ...]]:
    """The set of each node that tests for one: runs of ``membership_values``, which NaN ends."""
    values = _numbers(node, "membership_values").tolist()
    sets: list[list[float]] = [[]]
    for value in values:
        if np.isnan(value):
            sets.append([])
        else:
            sets[-1].append(float(value))
    asking = [number for number, code in enumerate(modes.tolist()) if int(code) == len(_CODES) - 1]
    sets = sets[: len(asking)] if len(sets) > len(asking) and not sets[-1] else sets
    if asking and (len(sets) != len(asking) or not all(sets)):
        raise _malformed(node, f"{len(asking)} nodes test for a set, but there are {len(sets)} sets")
    return {number: tuple(one) for number, one in zip(asking, sets, strict=True)} if asking else {}
