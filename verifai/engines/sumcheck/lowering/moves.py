"""More operators that only rearrange cells, by constant places: repeated, dilated, scattered or mirrored.

Where no View expresses one, :mod:`.views` makes it a product with a constant matrix that has one 1 per result: exact,
since a sum of one term needs no rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from verifai.engines.sumcheck.lowering.affine import Affine
from verifai.engines.sumcheck.lowering.comparisons import narrowed, sloped
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.integers import note_joined
from verifai.engines.sumcheck.lowering.linear import planar, planar_pair, planar_shape
from verifai.engines.sumcheck.lowering.select import computed_rows
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import ZERO_CELL, ConvTerm
from verifai.engines.sumcheck.lowering.views import Index, concatenate
from verifai.onnx_graph.graph import Node

_Change = Callable[[State, Node, Index], Index]


def places(state: State, node: Node, position: int, what: str) -> Index:
    """A constant operand of integers. Raises UnsupportedModel."""
    found = state.graph.constants.get(node.inputs[position]) if position < len(node.inputs) else None
    if found is None or found.dtype.kind not in "iub":
        raise unsupported(node, f"{what} must be constant")
    return np.asarray(found, np.int64)


def rearranged(change: _Change) -> Callable[[State, Node], None]:
    """A rule that changes the index map of operand 0."""

    def lower(state: State, node: Node) -> None:
        value = state.value(node, 0)
        if isinstance(value, Affine):
            cells = change(state, node, np.arange(prod(value.shape)).reshape(value.shape))
            if (cells != ZERO_CELL).all():
                state.values[node.outputs[0]] = value.mapped(lambda one: one.reshape(-1)[cells])
                return
        held = state.held(node, 0)
        state.set_held(node, held.at(np.ascontiguousarray(change(state, node, held.index))))

    return lower


def _tile(state: State, node: Node, index: Index) -> Index:
    repeats = tuple(places(state, node, 1, "the repeats").reshape(-1).tolist())
    if len(repeats) != index.ndim or min(repeats, default=1) < 1:
        raise unsupported(node, "its repeats do not fit, or leave nothing")
    return np.tile(index, repeats)


def _depth_to_space(state: State, node: Node, index: Index) -> Index:
    del state
    batch, channels, height, width = index.shape
    block = node.integer("blocksize", 1)
    inner = channels // block**2
    if node.text("mode", "DCR") == "DCR":
        cells = index.reshape(batch, block, block, inner, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        cells = index.reshape(batch, inner, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return cells.reshape(batch, inner, height * block, width * block)


def _space_to_depth(state: State, node: Node, index: Index) -> Index:
    del state
    batch, channels, height, width = index.shape
    block = node.integer("blocksize", 1)
    cells = index.reshape(batch, channels, height // block, block, width // block, block).transpose(0, 3, 5, 1, 2, 4)
    return cells.reshape(batch, channels * block**2, height // block, width // block)


def _bounded(node: Node, found: Index, size: int, axis: int) -> Index:
    """Places counted from the end where negative. Raises UnsupportedModel for one that is none, as onnxruntime does."""
    if found.size == 0 or int(found.min()) < -size or int(found.max()) >= size:
        raise unsupported(node, f"an index lies outside the {size} places of axis {axis}, or there is none")
    return np.where(found < 0, found + size, found)


def _gather_elements(state: State, node: Node, index: Index) -> Index:
    axis = node.integer("axis", 0) % index.ndim
    wanted = _bounded(node, places(state, node, 1, "the indices"), index.shape[axis], axis)
    if wanted.ndim != index.ndim or any(
        a > b for at, (a, b) in enumerate(zip(wanted.shape, index.shape, strict=True)) if at != axis
    ):
        raise unsupported(node, "its indices have another shape")
    corner = tuple(slice(None) if at == axis else slice(size) for at, size in enumerate(wanted.shape))
    return np.take_along_axis(index[corner], wanted, axis)


def _tuples(state: State, node: Node, position: int, shape: tuple[int, ...], batch: int) -> tuple[Index, ...]:
    """The last axis of the indices as one array per axis of ``shape``, after ``batch`` leading ones."""
    wanted = places(state, node, position, "the indices")
    depth = wanted.shape[-1]
    if depth > len(shape) - batch:
        raise unsupported(node, "its indices have more places than the operand has axes")
    return tuple(_bounded(node, wanted[..., at], shape[batch + at], batch + at) for at in range(depth))


def _gather_nd(state: State, node: Node, index: Index) -> Index:
    batch = node.integer("batch_dims", 0)
    found = _tuples(state, node, 1, index.shape, batch)
    leading = np.ix_(*(np.arange(size) for size in index.shape[:batch])) if batch else ()
    wide = tuple(one.reshape(*one.shape, *[1] * (found[0].ndim - batch)) for one in leading)
    cells: Index = index[(*wide, *found)]
    return cells


def _gather_by_tuples(state: State, node: Node) -> None:
    """GatherND; by computed tuples where all but the last of their axes have one place, as a batch of one has."""
    shape, tuples = (state.graph.shapes[name] for name in node.inputs[:2])
    depth, computed = tuples[-1], node.inputs[1] not in state.graph.constants and node.inputs[0] not in state.graph.constants
    if not computed or node.integer("batch_dims", 0) or not 0 < depth <= len(shape) or set(shape[: depth - 1]) - {1}:
        rearranged(_gather_nd)(state, node)
        return
    found = state.held(node, 1)
    numbers = found.at(np.ascontiguousarray(found.index[..., -1]).reshape(tuples[:-1] or (1,)))
    computed_rows(state, node, numbers, shape[depth - 1], depth - 1, shape)


def _trilu(state: State, node: Node, index: Index) -> Index:
    offset = int(places(state, node, 1, "k").reshape(-1)[0]) if len(node.inputs) > 1 and node.inputs[1] else 0
    kept = (np.triu if node.integer("upper", 1) else np.tril)(np.ones(index.shape[-2:], bool), offset)
    if not kept.any():
        raise unsupported(node, "nothing of its operand is left")
    return np.where(kept, index, ZERO_CELL)


def _reverse(state: State, node: Node, index: Index) -> Index:
    batch, time = node.integer("batch_axis", 1) % index.ndim, node.integer("time_axis", 0) % index.ndim
    lengths = places(state, node, 1, "the lengths").reshape(-1)
    found = index.copy()
    lines, turned = np.moveaxis(index, (batch, time), (0, 1)), np.moveaxis(found, (batch, time), (0, 1))
    if len(lengths) != len(lines) or lengths.min(initial=1) < 0 or lengths.max(initial=0) > lines.shape[1]:
        raise unsupported(node, "its lengths do not fit")
    for line, length in enumerate(lengths.tolist()):
        turned[line, :length] = lines[line, :length][::-1]
    return found


def _centre_crop_pad(state: State, node: Node, index: Index) -> Index:
    target = places(state, node, 1, "the shape").reshape(-1)
    axes = node.ints("axes") or tuple(range(index.ndim))
    for axis, wanted in zip(axes, target.tolist(), strict=True):
        size = index.shape[axis]
        if wanted < size:
            index = index.take(np.arange(wanted) + (size - wanted) // 2, axis=axis)
        elif wanted > size:
            before = (wanted - size) // 2
            width = [(0, 0)] * index.ndim
            width[axis] = (before, wanted - size - before)
            index = np.pad(index, width, constant_values=ZERO_CELL)
    return index


def _scatter(state: State, node: Node) -> None:
    """Cells of operand 2 in places of operand 0, the last of several in one place."""
    if node.text("reduction", "none") != "none":
        raise unsupported(node, "adding up into places is not supported")
    shape, name = state.graph.shapes[node.inputs[0]], node.outputs[0]
    flat = np.arange(prod(shape)).reshape(shape)
    by_tuples = node.op_type == "ScatterND"
    target = flat[_tuples(state, node, 1, shape, 0)] if by_tuples else _gather_elements(state, node, flat)
    updates = state.graph.shapes[node.inputs[2]]
    if target.shape != updates:
        raise unsupported(node, "its updates have another shape than its indices")
    if np.unique(target).size != target.size:
        raise unsupported(node, "two updates have one place")
    constants = [state.constant(node, position) for position in (0, 2)]
    if all(one is not None for one in constants):
        raise unsupported(node, "nothing in it depends on an input")
    line = np.full(flat.size, ZERO_CELL, np.int64)
    if constants[0] is None and constants[1] is None:
        parts = [state.held(node, position, name) for position in (0, 2)]
        both = [part.at(np.ascontiguousarray(part.index).reshape(1, -1)) for part in parts]
        joined = concatenate(state.builder, both, 1, f"{name}.parts", windows=True)
        line = joined.index.reshape(-1)[: flat.size].copy()
        line[target.reshape(-1)] = joined.index.reshape(-1)[flat.size :]
        state.set_held(node, joined.at(line.reshape(shape)))
        return
    position = 0 if constants[0] is None else 2
    held = state.held(node, position)
    if position == 0:
        line = held.index.reshape(-1).copy()
        line[target.reshape(-1)] = ZERO_CELL
    else:
        line[target.reshape(-1)] = held.index.reshape(-1)
    cells_of = held.at(line.reshape(shape))
    if not any(one is not None and one.any() for one in constants):
        state.set_held(node, cells_of)
        return
    numbers = np.zeros(flat.size) if constants[0] is None else np.broadcast_to(constants[0], shape).reshape(-1).copy()
    numbers[target.reshape(-1)] = 0.0 if constants[1] is None else constants[1].reshape(-1)
    note_joined(state, node, (0, 2))
    state.set_lazy(node, sloped(cells_of, shape, np.ones(()), narrowed(numbers.reshape(shape)), name))


def _transposed_convolution(state: State, node: Node) -> None:
    """ConvTranspose: the operand's cells with zeros between them, convolved with the turned kernel."""
    weight, bias = state.constant(node, 1), state.constant(node, 2)
    if weight is None or (len(node.inputs) > 2 and node.inputs[2] and bias is None):
        raise unsupported(node, "weights and bias must be constant")
    x, groups = state.held(node, 0), node.integer("group", 1)
    kernel = weight.shape[2:]
    rank, out = len(kernel), state.graph.shapes[node.outputs[0]]
    if rank > 2:
        raise unsupported(node, "only one and two spatial axes are supported")
    if groups > 1:
        raise unsupported(node, "groups are not supported", "Split it into one per group.")
    strides = node.ints("strides") or (1,) * rank
    dilations = node.ints("dilations") or (1,) * rank
    begin = (node.ints("pads") or (0,) * (2 * rank))[:rank]
    sizes = [(size - 1) * stride + 1 for size, stride in zip(x.shape[2:], strides, strict=True)]
    wide = np.full((*x.shape[:2], *sizes), ZERO_CELL, np.int64)
    wide[(slice(None), slice(None), *(slice(None, None, stride) for stride in strides))] = x.index
    reach = [dilation * (size - 1) for dilation, size in zip(dilations, kernel, strict=True)]
    before = [r - b for r, b in zip(reach, begin, strict=True)]
    after = [out[2 + axis] + reach[axis] - sizes[axis] - before[axis] for axis in range(rank)]
    for axis in range(rank):  # a negative padding cuts cells off
        at = 2 + axis
        low, high = max(0, -before[axis]), wide.shape[at] - max(0, -after[axis])
        wide = wide.take(np.arange(low, high), axis=at)
    turned = np.flip(weight, axis=tuple(range(2, 2 + rank))).swapaxes(0, 1)
    pads = (*(max(0, one) for one in before), *(max(0, one) for one in after))
    pads = pads if rank == 2 else (0, pads[0], 0, pads[1])
    cells = planar(x.at(np.ascontiguousarray(wide)), node)
    full = np.ascontiguousarray(turned).reshape(*turned.shape[:2], *planar_pair(kernel, 1))
    term = ConvTerm(cells, full, bias, (1, 1), planar_pair(dilations, 1), pads, 1)
    state.set_lazy(node, state.new_form(node, term, shape=planar_shape(out)))


def mirrored(node: Node, index: Index, width: list[tuple[int, int]], mode: str) -> Index:
    """Padding by the operand's own cells: mirrored, repeated from the other end, or the border's."""
    if mode == "reflect" and any(max(pair) >= size for pair, size in zip(width, index.shape, strict=True) if max(pair)):
        raise unsupported(node, "it mirrors more cells than there are")
    found: Index = np.pad(index, width, mode=mode)  # type: ignore[call-overload]
    return found


HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "Tile": rearranged(_tile),
    "DepthToSpace": rearranged(_depth_to_space),
    "SpaceToDepth": rearranged(_space_to_depth),
    "GatherElements": rearranged(_gather_elements),
    "GatherND": _gather_by_tuples,
    "Trilu": rearranged(_trilu),
    "ReverseSequence": rearranged(_reverse),
    "CenterCropPad": rearranged(_centre_crop_pad),
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "ConvTranspose": _transposed_convolution,
}
