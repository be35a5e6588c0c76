"""Rewrites before anything is lowered: dynamic quantisation, tables of stored integers, and ranks of roots.

**Dynamic quantisation** (onnxruntime's ``quantize_dynamic``) rounds every activation to 8 bits of a range taken from the very
tensor. The circuit multiplies the stored weights with the activation itself, in its own and finer grid: it leaves out a
rounding, so it is nearer to the layer's meaning than the model is. How far the two are apart is part of the measured fidelity,
for which the model as it is, with its rounding, is the reference.

**Tables** of stored integers from which rows are chosen, with one scale, become tables of real numbers.

**Magnitudes**, √(a² + b²), are roots of sums that are not rounded before.

**Ranks** do not change under a root, so what only orders roots orders their squares, which are not rounded once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from verifai.engines.sumcheck.lowering.graph import DOMAIN, SourceGraph
from verifai.onnx_graph.graph import Node
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.tensors import Array

STATIC = "Quantise with scales that calibration fixes: onnxruntime.quantization.quantize_static(model, result, data)."
"""The recipe of static quantisation, for hints."""
_PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
_VIEWS = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
_CHOOSERS = frozenset({"Gather", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice"})


def rewritten(graph: SourceGraph) -> SourceGraph:
    """The graph with these rewritten, wherever they are exactly of the form that is described."""
    for rule in (_plain_indices, _requantised_weights, _stored_tables, _dynamic, _flat_transposes, _magnitudes, _ranks):
        graph = rule(graph)
    return graph


def _made(graph: SourceGraph) -> dict[str, Node]:
    return {name: node for node in graph.nodes for name in node.outputs if name}


def _with(graph: SourceGraph, changed: Mapping[int, Node | None], constants: Mapping[str, Array]) -> SourceGraph:
    """The graph with nodes (by ``id``) replaced or dropped, more constants, and readers counted again."""
    nodes = [changed.get(id(node), node) for node in graph.nodes]
    kept = tuple(node for node in nodes if node is not None)
    readers = Counter(name for node in kept for name in node.inputs if name)
    readers.update(graph.outputs)
    shapes = {**graph.shapes, **{name: array.shape for name, array in constants.items()}}
    return replace(graph, nodes=kept, constants={**graph.constants, **constants}, shapes=shapes, readers=readers)


def _fresh(graph: SourceGraph, name: str) -> str:
    taken = {*graph.constants, *graph.shapes}
    while name in taken:
        name += "'"
    return name


# Dynamic quantisation


def dynamic_hint(model: OnnxModel) -> str:
    """What to do about a circuit that is far from a model which rounds each input at scales of its own; "" for others."""
    if not any(node.op_type == "DynamicQuantizeLinear" for node in model.proto.graph.node):
        return ""
    return f"The model rounds to 8 bits at scales that each input has anew, and the circuit does not round there. {STATIC} "


def _dynamic(graph: SourceGraph) -> SourceGraph:
    made = _made(graph)
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    changed: dict[int, Node | None] = {}
    constants: dict[str, Array] = {}
    for node in graph.nodes:
        if node.op_type in _PRODUCTS and not node.domain:
            _dynamic_product(graph, node, made, readers, changed, constants)
    return _swept(_with(graph, changed, constants)) if changed else graph


def _swept(graph: SourceGraph) -> SourceGraph:
    """The graph without the quantisers and products of scales that nothing reads any more."""
    while dead := {
        id(node): None
        for node in graph.nodes
        if node.op_type in ("DynamicQuantizeLinear", "Mul") and not any(graph.readers.get(n, 0) for n in node.outputs)
    }:
        graph = _with(graph, dead, {})
    return graph


def _dynamic_product(
    graph: SourceGraph,
    node: Node,
    made: Mapping[str, Node],
    readers: Mapping[str, list[Node]],
    changed: dict[int, Node | None],
    constants: dict[str, Array],
) -> None:
    """Cast(product(quantised x, stored weights)) · (x's scale · the weights') as the product of x and the weights' numbers."""
    inputs = (*node.inputs, "", "")[:4]
    quantiser, stored = made.get(inputs[0]), graph.constants.get(inputs[1])
    if quantiser is None or stored is None or quantiser.op_type != "DynamicQuantizeLinear":
        return
    if [inputs[0], inputs[2]] != [quantiser.outputs[0], quantiser.outputs[2]]:
        return
    zero = graph.constants.get(inputs[3]) if inputs[3] else np.zeros((), np.uint8)
    cast = _only(graph, readers, node.outputs[0], "Cast")
    scaled = _only(graph, readers, cast.outputs[0], "Mul") if cast is not None else None
    if zero is None or cast is None or scaled is None:
        return
    factor = _factor(graph, made, quantiser.outputs[1], next(n for n in scaled.inputs if n != cast.outputs[0]))
    channels = stored.shape[-1] if node.op_type == "MatMulInteger" else stored.shape[0]
    weights = None if factor is None else _weights(node, stored, zero, factor, channels)
    if weights is None or graph.shapes[scaled.outputs[0]] != graph.shapes[node.outputs[0]]:
        return
    name = _fresh(graph, f"{inputs[1]}.numbers{len(constants) or ''}")
    constants[name] = weights
    changed[id(node)] = changed[id(cast)] = None
    changed[id(scaled)] = Node(
        _PRODUCTS[node.op_type], [quantiser.inputs[0], name], list(scaled.outputs), node.attributes, scaled.name
    )


def _only(graph: SourceGraph, readers: Mapping[str, list[Node]], name: str, op_type: str) -> Node | None:
    """The value's only reader, if it is of this operator."""
    found = readers.get(name, [])
    alone = len(found) == 1 and graph.readers.get(name, 0) == 1
    return found[0] if alone and found[0].op_type == op_type and not found[0].domain else None


def _factor(graph: SourceGraph, made: Mapping[str, Node], scale: str, name: str) -> Array | None:
    """The constant that the quantiser's scale is multiplied with; 1 for the scale itself."""
    if name == scale:
        return np.ones((), np.float32)
    product = made.get(name)
    if product is None or product.op_type != "Mul" or product.domain or scale not in product.inputs:
        return None
    others = [one for one in product.inputs if one != scale]
    return graph.constants.get(others[0]) if len(others) == 1 else None


def _weights(node: Node, stored: Array, zero: Array, factor: Array, channels: int) -> Array | None:
    """(stored − zero point) · factor, each of the two one number or one per output channel."""
    matmul = node.op_type == "MatMulInteger"
    shape = [1] * stored.ndim
    shape[-1 if matmul else 0] = channels
    parts = []
    for array in (zero, factor):
        at_channels = array.ndim == 0 or array.shape[-1 if matmul else max(-array.ndim, 1 - stored.ndim)] == array.size
        if array.size not in (1, channels) or (array.size > 1 and not at_channels):
            return None
        parts.append(array.reshape(shape) if array.size > 1 else array.reshape(()))
    if stored.ndim < 2:
        return None
    numbers = (stored.astype(np.int64) - parts[0].astype(np.int64)).astype(np.float64) * parts[1].astype(np.float64)
    return np.ascontiguousarray(numbers, np.float32)


# Numbers of rows that count from the end


def _plain_indices(graph: SourceGraph) -> SourceGraph:
    """Gather by Where(i < 0, i + n, i), of a constant table of n rows: by i, as Gather counts from the end by itself."""
    made = _made(graph)
    changed: dict[int, Node | None] = {}
    for node in graph.nodes:
        table = graph.constants.get(node.inputs[0]) if node.op_type == "Gather" and not node.domain else None
        choice = made.get(node.inputs[1]) if table is not None else None
        if table is None or choice is None or choice.op_type != "Where" or choice.domain or not table.ndim:
            continue
        below, moved = (made.get(name) for name in choice.inputs[:2])
        index = choice.inputs[2]
        if below is None or moved is None or (below.op_type, moved.op_type) != ("Less", "Add") or index not in moved.inputs:
            continue
        zero, count = (
            graph.constants.get(below.inputs[1]),
            graph.constants.get(next((n for n in moved.inputs if n != index), "")),
        )
        rows = table.shape[node.integer("axis", 0) % table.ndim]
        if below.inputs[0] == index and _is(zero, 0) and _is(count, rows):
            changed[id(node)] = Node("Gather", [node.inputs[0], index], node.outputs, node.attributes, node.name)
    return _unread_gone(_with(graph, changed, {})) if changed else graph


def _is(array: Array | None, number: int) -> bool:
    """Whether it is this one whole number."""
    return array is not None and array.size == 1 and array.dtype.kind in "iu" and int(array.reshape(-1)[0]) == number


def _unread_gone(graph: SourceGraph) -> SourceGraph:
    while dead := {id(node): None for node in graph.nodes if not any(graph.readers.get(n, 0) for n in node.outputs)}:
        graph = _with(graph, dead, {})
    return graph


# Weights of which stored integers are made twice


def _requantised_weights(graph: SourceGraph) -> SourceGraph:
    """QuantizeLinear of a constant, or of what DequantizeLinear made of one: the stored integers that it yields."""
    numbers = {name: array for name, array in graph.constants.items() if array.dtype == np.float32}
    changed: dict[int, Node | None] = {}
    constants: dict[str, Array] = {}
    for node in graph.nodes:
        if node.domain or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        if node.op_type == "DequantizeLinear":
            stored = constants.get(node.inputs[0], graph.constants.get(node.inputs[0]))
            found = None if stored is None else _numbers(graph, node, stored)
            if found is not None:
                numbers[node.outputs[0]] = found
            continue
        scale, zero = (graph.constants.get(name) for name in (*node.inputs, "")[1:3])
        given = numbers.get(node.inputs[0])
        if given is None or scale is None or scale.size != 1 or zero is None or zero.size != 1:
            continue
        limits = np.iinfo(zero.dtype)
        steps = np.rint(given / scale.reshape(()).astype(np.float32)).astype(np.int64) + int(zero.reshape(()))
        constants[node.outputs[0]] = np.clip(steps, limits.min, limits.max).astype(zero.dtype)
        changed[id(node)] = None
    return _with(graph, changed, constants) if changed else graph


# Tables of stored integers


def _stored_tables(graph: SourceGraph) -> SourceGraph:
    """Gather(stored table) then DequantizeLinear of one scale; and a table that DequantizeLinear made: real tables both."""
    made = _made(graph)
    changed: dict[int, Node | None] = {}
    constants: dict[str, Array] = {}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        if node.domain:
            continue
        source = made.get(node.inputs[0]) if node.inputs else None
        if node.op_type == "DequantizeLinear" and source is not None and source.op_type in _CHOOSERS:
            chain = _to_constant(graph, made, source)
            numbers = None if chain is None else _numbers(graph, node, graph.constants[chain[-1].inputs[0]])
            if chain is None or numbers is None or any(graph.readers.get(one.outputs[0], 0) != 1 for one in chain):
                continue
            name = _fresh(graph, f"{chain[-1].inputs[0]}.numbers")
            constants[name] = numbers
            for one in chain:
                inputs = [name if one is chain[-1] else one.inputs[0], *one.inputs[1:]]
                outputs = list(node.outputs) if one is chain[0] else one.outputs
                changed[id(one)] = Node(one.op_type, inputs, outputs, one.attributes, one.name)
            changed[id(node)] = None
        elif node.op_type == "Gather" and source is not None and source.op_type == "DequantizeLinear":
            stored = graph.constants.get(source.inputs[0])
            numbers = None if stored is None else _numbers(graph, source, stored)
            if numbers is not None:
                name = renamed.setdefault(node.inputs[0], _fresh(graph, f"{source.inputs[0]}.numbers"))
                constants[name] = numbers
                changed[id(node)] = Node("Gather", [name, *node.inputs[1:]], node.outputs, node.attributes, node.name)
    if not changed:
        return graph
    types = {**graph.types, **{name: "float32" for one in changed.values() if one is not None for name in one.outputs}}
    return replace(_with(graph, changed, constants), types=types)


def _to_constant(graph: SourceGraph, made: Mapping[str, Node], node: Node) -> list[Node] | None:
    """The nodes from ``node`` back to a constant table, which only move its cells; ``None`` for others."""
    chain = [node]
    while chain[-1].inputs[0] not in graph.constants:
        before = made.get(chain[-1].inputs[0])
        if before is None or before.domain or before.op_type not in _CHOOSERS or len(before.outputs) != 1:
            return None
        chain.append(before)
    return chain if any(one.op_type == "Gather" and one.inputs[1] not in graph.constants for one in chain) else None


def _numbers(graph: SourceGraph, node: Node, stored: Array) -> Array | None:
    """(stored − zero point) · scale of a DequantizeLinear with one of each, as float32 gives it."""
    parameters = [graph.constants.get(name) if name else np.zeros((), np.uint8) for name in (*node.inputs, "")[1:3]]
    if any(one is None or one.size != 1 for one in parameters) or stored.dtype.kind not in "iu":
        return None
    scale, zero = (np.asarray(one).reshape(()) for one in parameters)
    return np.ascontiguousarray((stored.astype(np.int64) - zero.astype(np.int64)).astype(np.float32) * scale.astype(np.float32))


# Transposes that move no cell


def _flat_transposes(graph: SourceGraph) -> SourceGraph:
    """A Transpose that only moves axes of size 1, as a Reshape: it leaves a sum a sum, which is then rounded once."""
    changed: dict[int, Node | None] = {}
    constants: dict[str, Array] = {}
    for node in graph.nodes:
        perm = node.ints("perm")
        if node.op_type != "Transpose" or node.domain or perm is None or node.inputs[0] in graph.constants:
            continue
        sizes = graph.shapes[node.inputs[0]]
        wide = [axis for axis in perm if sizes[axis] > 1]
        if wide == sorted(wide):
            name = _fresh(graph, f"{node.outputs[0]}.shape")
            constants[name] = np.array(graph.shapes[node.outputs[0]], np.int64)
            changed[id(node)] = Node("Reshape", [node.inputs[0], name], node.outputs, {"allowzero": 0}, node.name)
    return _with(graph, changed, constants) if changed else graph


# Ranks of roots


def _ranks(graph: SourceGraph) -> SourceGraph:
    """TopK whose values nobody reads, ArgMax and ArgMin of roots: of what the roots are taken from."""
    made = _made(graph)
    changed: dict[int, Node | None] = {}
    for node in graph.nodes:
        if node.domain or node.op_type not in ("TopK", "ArgMax", "ArgMin"):
            continue
        if node.op_type == "TopK" and node.outputs[0] and graph.readers.get(node.outputs[0], 0):
            continue
        chain, found = _below(graph, made, node.inputs[0])
        roots = [one for one in chain if one.op_type == "Sqrt"]
        if len(roots) != 1 or any(id(one) in changed for one in chain):
            continue
        views = [one for one in chain if one.op_type in _VIEWS]
        attributes = {**node.attributes, **({"squared": 1} if node.op_type == "TopK" else {})}
        for upper, lower in zip([node, *views], [*views, None], strict=True):
            inputs = [found if lower is None else lower.outputs[0], *upper.inputs[1:]]
            own = attributes if upper is node else upper.attributes
            changed[id(upper)] = Node(upper.op_type, inputs, upper.outputs, own, upper.name)
        changed.update((id(one), None) for one in chain if one.op_type not in _VIEWS)
    return _with(graph, changed, {}) if changed else graph


def _below(graph: SourceGraph, made: Mapping[str, Node], name: str) -> tuple[list[Node], str]:
    """From a value down: the nodes that move its cells, one root, and the rectifier that keeps its operand from below 0, of
    which nothing else is read; and what they start from."""
    chain: list[Node] = []
    rooted = rectified = False
    while (one := made.get(name)) is not None and not one.domain and graph.readers.get(name) == 1:
        root, rectifier = one.op_type == "Sqrt" and not rooted, one.op_type == "Relu" and rooted and not rectified
        if not (one.op_type in _VIEWS or root or rectifier):
            break
        rooted, rectified = rooted or root, rectified or rectifier
        chain.append(one)
        name = one.inputs[0]
    return chain, name


# Magnitudes of pairs


def _magnitudes(graph: SourceGraph) -> SourceGraph:
    """√(a² + b²), as spectra are: the root of the sum itself. Rounded before, a sum near 0 would have a root of many steps."""
    made = _made(graph)
    changed: dict[int, Node | None] = {}
    for node in graph.nodes:
        if node.op_type != "Sqrt" or node.domain or graph.readers.get(node.inputs[0]) != 1:
            continue
        total = made.get(node.inputs[0])
        if total is None or total.op_type != "Add" or total.domain:
            continue
        parts = [_base(graph, made, name) for name in total.inputs]
        shapes = {graph.shapes.get(name) for name in (*(part for part in parts if part), node.outputs[0])}
        if None in parts or len(shapes) != 1 or parts[0] == parts[1]:
            continue
        changed[id(node)] = Node("Magnitude", [part for part in parts if part], node.outputs, {}, node.name, DOMAIN)
        changed[id(total)] = None
        changed.update((id(made[name]), None) for name in total.inputs)
    return _with(graph, changed, {}) if changed else graph


def _base(graph: SourceGraph, made: Mapping[str, Node], name: str) -> str | None:
    """x where the value is x², which nothing else reads."""
    node = made.get(name)
    if node is None or node.domain or graph.readers.get(name) != 1 or node.inputs[0] in graph.constants:
        return None
    if node.op_type == "Mul" and node.inputs[0] == node.inputs[1]:
        return node.inputs[0]
    exponent = graph.constants.get(node.inputs[1]) if node.op_type == "Pow" else None
    two = exponent is not None and exponent.size == 1 and float(exponent.reshape(-1)[0]) == 2.0
    return node.inputs[0] if two else None
