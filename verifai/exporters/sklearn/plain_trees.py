"""scikit-learn's compiled trees, made from a file's arrays only after these were looked at.

Its ``Tree`` believes the arrays that it is made from: a node that leads beyond the others, or reads a column that there is not,
reads foreign memory at the first prediction. skops therefore calls it unsafe. Here skops makes a :class:`PlainTree` in its
place, which has no compiled code; the real tree is made from that one once its nodes are known to form a tree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import inconsistent
from verifai.exporters.sklearn.writer import Array

LOADER = "TreeNode"
"""What skops saves a compiled tree for."""
_MAX_WIDTH = 1 << 20
_MAX_OUTPUTS = 1 << 12
_LEAF = -1
_STRING = {"__class__": "str", "__module__": "builtins", "__loader__": "TypeNode"}


class PlainTree:
    """What a file says of one tree, as it came.

    Attributes:
        args: what the tree is constructed with. state: what it is filled with.
    """

    args: Any
    state: Any


def plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """skops's description of a compiled tree as that of a plain one. Raises KeyError, TypeError for what is none."""
    content = {"args": state["__reduce__"]["args"], "state": state["content"]}
    key_types = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": [_STRING, _STRING]}
    fields = {
        "__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": content, "key_types": key_types,
    }  # fmt: skip
    return {
        "__class__": PlainTree.__name__, "__module__": PlainTree.__module__, "__loader__": "ObjectNode", "content": fields,
    }  # fmt: skip


def compiled(owner: Any, plain: PlainTree) -> Any:
    """The tree of the estimator ``owner``.

    Raises:
        UsageError: ``source-failed``, when the arrays are not those of a tree.
    """
    from sklearn.tree._tree import Tree

    args, state = getattr(plain, "args", None), getattr(plain, "state", None)
    if not isinstance(args, tuple) or len(args) != 3 or not isinstance(state, dict):
        raise inconsistent(owner, "its tree is not described as fit leaves one")
    width, outputs = _number(owner, args[0], _MAX_WIDTH), _number(owner, args[2], _MAX_OUTPUTS)
    classes, nodes, values = args[1], state.get("nodes"), state.get("values")
    if any(not isinstance(one, np.ndarray) or one.dtype.hasobject for one in (classes, nodes, values)):
        raise inconsistent(owner, "its tree has no arrays")
    assert isinstance(classes, np.ndarray) and isinstance(nodes, np.ndarray) and isinstance(values, np.ndarray)
    if classes.shape != (outputs,) or classes.dtype.kind not in "iu" or classes.min() < 1 or classes.max() > _MAX_WIDTH:
        raise inconsistent(owner, "its tree counts classes in another way than fit")
    if width != getattr(owner, "n_features_in_", None):
        raise inconsistent(owner, "its tree was grown on another number of columns")
    count = len(nodes) if nodes.ndim == 1 else 0
    if not count or values.shape != (count, outputs, int(classes.max())) or not np.isfinite(values).all():
        raise inconsistent(owner, "its tree's arrays differ in length, or hold no numbers")
    if not set(nodes.dtype.names or ()) >= {"left_child", "right_child", "feature", "threshold"}:
        raise inconsistent(owner, "its tree has other nodes than scikit-learn's")
    check_nodes(owner, nodes["left_child"], nodes["right_child"], nodes["feature"], nodes["threshold"], width)
    made = Tree(width, np.ascontiguousarray(classes, np.intp), outputs)
    depth = _number(owner, state.get("max_depth", 0) or 1, count)
    made.__setstate__({"max_depth": depth, "node_count": count, "nodes": nodes, "values": values})
    return made


def check_nodes(owner: Any, left: Array, right: Array, columns: Array, thresholds: Array, width: int) -> None:
    """Both children of a node come after it, or neither is there; inner nodes read one of ``width`` columns.

    Raises:
        UsageError: ``source-failed``.
    """
    count, places = len(left), np.arange(len(left))
    leaf = np.asarray(left) == _LEAF
    inner = ~leaf
    ends = [np.asarray(side, np.int64)[inner] for side in (left, right)]
    below = all(bool(((end > places[inner]) & (end < count)).all()) for end in ends)
    reached = np.concatenate(ends)
    if not below or bool((np.asarray(right)[leaf] != _LEAF).any()) or len(np.unique(reached)) != len(reached):
        raise inconsistent(owner, "its nodes form no tree")
    read = np.asarray(columns, np.int64)[inner]
    if bool(((read < 0) | (read >= width)).any()) or bool(np.isnan(np.asarray(thresholds)[inner]).any()):
        raise inconsistent(owner, "a node compares a column that there is not, or compares with no number")


def _number(owner: Any, value: Any, most: int) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 < value <= most:
        raise inconsistent(owner, "its tree has sizes that no tree has")
    return int(value)
