"""Functions that a file defines itself, put in place of their calls before anything else is looked at.

PyTorch's and scikit-learn's exporters write parts of a model so. ``onnx.inliner`` does the work; it is given a file only when
the calls form no circle and the result, counted beforehand, stays within the limit of nodes.
"""

from __future__ import annotations

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, defs, inliner

from verifai.onnx_graph.limits import MAX_NODES
from verifai.onnx_graph.refusal import printable, refuse

_MAX_DEPTH = 64
Key = tuple[str, str, str]


def inlined(model: ModelProto, where: str) -> ModelProto:
    """The model without functions of its own; itself where it has none.

    Raises:
        UnsupportedModel: ``model-malformed`` for calls in a circle, functions defined twice, or versions that do not fit;
            ``model-too-large``.
    """
    if not model.functions:
        return model
    _check(model, where)
    model = _same_versions(model)
    try:
        plain: ModelProto = inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, IndexError, TypeError) as problem:
        text = printable(" ".join(str(problem).split()), 200)
        raise refuse("model-malformed", f"its functions cannot be put in place: {text}", where) from None
    if plain.functions:
        name = printable(plain.functions[0].name)
        raise refuse("model-bad-version", f"the function {name} needs another opset than the model", where, "Export it again.")
    return plain


def _same_versions(model: ModelProto) -> ModelProto:
    """A function that was written for another version of a domain is of the model's, where no operator in it has changed."""
    wanted = {_domain(entry.domain): entry.version for entry in model.opset_import}
    copied = ModelProto()
    copied.CopyFrom(model)
    for function in copied.functions:
        for entry in function.opset_import:
            domain = _domain(entry.domain)
            version = wanted.setdefault(domain, entry.version)
            same = [
                _since(node, version) == _since(node, entry.version)
                for node in _all_nodes(function.node)
                if _domain(node.domain) == domain
            ]
            if all(same):
                entry.version = version
    present = {_domain(entry.domain) for entry in copied.opset_import}
    for domain in sorted(set(wanted) - present):
        copied.opset_import.add(domain=domain, version=wanted[domain])
    return copied


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _since(node: NodeProto, version: int) -> int:
    """The version of the operator's present form; 0 for none."""
    try:
        return int(defs.get_schema(node.op_type, version, _domain(node.domain)).since_version)
    except defs.SchemaError:
        return 0


def _check(model: ModelProto, where: str) -> None:
    """No circle, and no more nodes in the end than a model may have."""
    bodies: dict[Key, list[NodeProto]] = {}
    for function in model.functions:
        key = (function.domain, function.name, getattr(function, "overload", ""))
        if key in bodies:
            raise refuse("model-malformed", f"the function {printable(function.name)!r} is defined twice", where)
        if function.domain in ("", "ai.onnx"):
            raise refuse("model-malformed", f"the function {printable(function.name)!r} stands for a standard operator", where)
        bodies[key] = list(_all_nodes(function.node))
    sizes: dict[Key, int] = {}
    for key in bodies:
        _size(key, bodies, sizes, (), where)
    total = sum(sizes.get(_key(node), 1) for node in _all_nodes(model.graph.node))
    if total > MAX_NODES:
        raise refuse("model-too-large", f"{total} nodes with those of its functions; the limit is {MAX_NODES}", where)


def _size(key: Key, bodies: dict[Key, list[NodeProto]], sizes: dict[Key, int], above: tuple[Key, ...], where: str) -> int:
    """How many nodes a call of the function becomes."""
    if key in above or len(above) > _MAX_DEPTH:
        raise refuse("model-malformed", f"the function {printable(key[1])!r} calls itself, or calls are too deep", where)
    if key not in sizes:
        found = 0
        for node in bodies[key]:
            called = _key(node)
            found += _size(called, bodies, sizes, (*above, key), where) if called in bodies else 1
            if found > MAX_NODES:
                raise refuse("model-too-large", f"the function {printable(key[1])!r} is more than {MAX_NODES} nodes", where)
        sizes[key] = found
    return sizes[key]


def _key(node: NodeProto) -> Key:
    return (node.domain, node.op_type, getattr(node, "overload", ""))


def _all_nodes(nodes: object) -> list[NodeProto]:
    """The nodes, and those of the graphs inside them."""
    found: list[NodeProto] = []
    stack = list(nodes)  # type: ignore[call-overload]
    while stack:
        node = stack.pop()
        found.append(node)
        for attribute in node.attribute:
            graphs: list[GraphProto] = [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
            for graph in graphs:
                stack.extend(graph.node)
    return found
