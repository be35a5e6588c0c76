"""Linear operators: Gemm, MatMul, Conv."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.program import padded_shape
from verifai.engines.sumcheck.lowering.affine import Affine, folded_convolution, folded_product, folded_squares
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.select import chosen_product
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import (
    ZERO_CELL,
    BatchedTerm,
    ConvTerm,
    GatedTerm,
    Held,
    Lazy,
    MatMulTerm,
    ProductTerm,
    SquaresTerm,
    Term,
    affine_program,
)
from verifai.engines.sumcheck.quantise.functions import Program
from verifai.onnx_graph.graph import Node

Floats = NDArray[np.float64]
_SQUARE: Program = (("x",), ("x",), ("mul",))
MAX_SQUARES = 1 << 14
"""Of weights of squares: each is a cell of a product, so that more of them cost more than rounding the squares first."""


def _gemm(state: State, node: Node) -> None:
    weight = state.constant(node, 1)
    if weight is None or weight.ndim != 2:
        raise unsupported(node, "the second operand must be a constant matrix")
    if node.integer("transA", 0):
        raise unsupported(node, "transA is not supported")
    weight = (weight if node.integer("transB", 0) else weight.T) * node.number("alpha", 1.0)
    bias = state.constant(node, 2)
    if len(node.inputs) > 2 and node.inputs[2] and bias is None:
        raise unsupported(node, "the bias must be constant")
    if bias is None:
        state.set_lazy(node, state.new_form(node, *product_terms(state, node, weight, None)))
        return
    bias = bias * node.number("beta", 1.0)
    if bias.ndim < 2 or bias.shape[0] == 1:
        row = np.broadcast_to(bias.reshape(-1), (len(weight),))
        state.set_lazy(node, state.new_form(node, *product_terms(state, node, weight, row)))
        return
    # One bias per row too: x·W with x taken as a column of pictures of one cell, channels (row, column).
    raise unsupported(node, "the bias must be one number per output column", "Write it as MatMul and Add.")


def product_terms(state: State, node: Node, weight: Floats, bias: Floats | None) -> tuple[Term, ...]:
    """The first operand times weightᵀ, plus bias; constants that move or stretch its cells are folded in."""
    value = state.value(node, 0)
    if any(table.shape == weight.shape and bool((table == weight).all()) for table in state.chosen):
        # A head that is tied to the embedding is one weight with it, as long as nothing is folded in.
        return (MatMulTerm(state.held(node, 0), weight, bias),)
    gated = _gated(state, node, weight, bias)
    if gated is not None:
        return (gated,)
    folded = folded_product(value, weight, bias) if isinstance(value, Affine) else None
    exact = None if folded else affine_squares(state, node.inputs[0], weight)
    if exact is not None:
        return exact if bias is None else (exact[0], with_bias(exact[1], bias))
    squares = None if folded else _squares(state, node, weight)
    if squares is None:
        return folded or (MatMulTerm(state.held(node, 0), weight, bias),)
    if bias is None:
        return (squares,)
    return squares, MatMulTerm(squares.x, np.zeros_like(weight), bias)


_MOST_GATED = 58
"""Bits that a gated layer's sum may have at the shift that its weights need."""


def _gated(state: State, node: Node, weight: Floats, bias: Floats | None) -> GatedTerm | None:
    """weight times a product of two values that only layers read: the product is summed as it is, not rounded before."""
    name = node.inputs[0]
    value = state.values[name]
    if not state.unrounded or not isinstance(value, Lazy) or len(value.form.terms) != 1 or value.form.constant != 0.0:
        return None
    term, slope = value.form.terms[0], affine_program(value.program)
    if not isinstance(term, ProductTerm) or slope is None or slope[1] != 0 or value.form.shape != value.shape:
        return None
    layers = [reader for reader in state.graph.nodes if name in reader.inputs]
    constants = state.graph.constants
    if name in state.graph.outputs or not all(
        reader.op_type in ("MatMul", "Gemm") and reader.inputs[0] == name and reader.inputs[1] in constants for reader in layers
    ):
        return None
    found = GatedTerm(term.a, term.b, weight * (term.factor * float(slope[0])), bias)
    # At the finest that its weights ask for, cells of both operands at the ends of their ranges must not break a bound.
    operands = [state.builder.tensors[held.tensor].magnitude for held in (term.a, term.b)]
    return found if prod(max(one, 1) for one in operands) * weight.shape[1] < 1 << (_MOST_GATED - _GATED_WEIGHT_BITS) else None


_GATED_WEIGHT_BITS = 14


def squared_source(state: State, name: str) -> str | None:
    """The value whose square ``name`` is, where nothing else reads that square; else ``None``."""
    value = state.values[name]
    if not state.fold or not isinstance(value, Lazy) or value.program != _SQUARE or state.graph.readers.get(name, 0) != 1:
        return None
    source = value.form.name
    return source if source in state.values and state.lazy(source).form is value.form else None


def affine_squares(state: State, name: str, weight: Floats) -> tuple[SquaresTerm, MatMulTerm] | None:
    """weight times the squares ``name`` of cells that constants move or stretch, as terms of the cells; ``None`` for others."""
    source = squared_source(state, name)
    value = None if source is None else state.values[source]
    if not isinstance(value, Affine) or weight.size > MAX_SQUARES:
        return None
    return folded_squares(value, weight)


def with_bias(term: MatMulTerm, bias: Floats) -> MatMulTerm:
    """The term, its bias raised by ``bias``."""
    return replace(term, bias=bias if term.bias is None else term.bias + bias)


def _squares(state: State, node: Node, weight: Floats) -> SquaresTerm | None:
    """weight times the squares of a value that nothing else squares: they are summed as they are, not rounded before."""
    name = node.inputs[0]
    source = squared_source(state, name)
    if source is None or weight.size > MAX_SQUARES:
        return None
    x = state.force(source)
    return SquaresTerm(x.at(np.ascontiguousarray(x.index).reshape(state.values[name].shape)), weight)


def _matmul(state: State, node: Node) -> None:
    right = state.constant(node, 1)
    if right is not None:
        if right.ndim != 2:
            raise unsupported(node, "a constant second operand must be a matrix")
        if not chosen_product(state, node, right):
            state.set_lazy(node, state.new_form(node, *product_terms(state, node, right.T, None)))
        return
    if state.constant(node, 0) is not None:
        raise unsupported(node, "a constant first operand is not supported", "Transpose both operands and the result.")
    a, b = state.held(node, 0), state.held(node, 1)
    # A vector is one row on the left, one column on the right, and that axis is not in the result.
    a = a if len(a.shape) > 1 else a.at(a.index[None, :])
    b = b if len(b.shape) > 1 else b.at(b.index[:, None])
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = a.at(np.broadcast_to(a.index, (*leading, *a.shape[-2:])))
    b = b.at(np.broadcast_to(b.index, (*leading, *b.shape[-2:])))
    shape = (*leading, a.shape[-2], b.shape[-1])
    state.set_lazy(node, state.new_form(node, BatchedTerm(a, b, 1.0), shape=shape))


def resolve_pads(state: State, node: Node, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
    """(begin…, end…) pads per spatial axis, with ``auto_pad`` and ``ceil_mode`` written out."""
    rank = len(sizes)
    strides = node.ints("strides") or (1,) * rank
    dilations = node.ints("dilations") or (1,) * rank
    auto = node.text("auto_pad", "NOTSET")
    begin = list((node.ints("pads") or (0,) * (2 * rank))[:rank])
    out = state.graph.shapes[node.outputs[0]][2:]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(rank):
            total = max(0, (out[axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1 - sizes[axis])
            begin[axis] = total // 2 if auto == "SAME_UPPER" else total - total // 2
    if min(begin) < 0:
        raise unsupported(node, "negative padding is not supported")
    # The end follows from the output size; it may be negative, when the last windows leave cells unread.
    end = [
        (out[axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1 - sizes[axis] - begin[axis]
        for axis in range(rank)
    ]
    return (*begin, *(max(0, value) for value in end))


def planar(value: Held, node: Node) -> Held:
    """(N, C, L) as (N, C, 1, L); (N, C, H, W) as it is."""
    if len(value.shape) == 3:
        return value.at(value.index[:, :, None, :])
    if len(value.shape) == 4:
        return value
    raise unsupported(node, "only one and two spatial axes are supported")


def planar_pair(values: tuple[int, ...], missing: int) -> tuple[int, ...]:
    """Per-axis parameters for two spatial axes."""
    return values if len(values) == 2 else (missing, *values)


def planar_pads(pads: tuple[int, ...]) -> tuple[int, ...]:
    """(begin…, end…) pads for two spatial axes."""
    return pads if len(pads) == 4 else (0, pads[0], 0, pads[1])


def planar_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(N, C, L) as (N, C, 1, L)."""
    return shape if len(shape) == 4 else (shape[0], shape[1], 1, shape[2])


def _conv(state: State, node: Node) -> None:
    weight = state.constant(node, 1)
    bias = state.constant(node, 2)
    if weight is None or (len(node.inputs) > 2 and node.inputs[2] and bias is None):
        raise unsupported(node, "weights and bias must be constant")
    value = state.value(node, 0)
    if isinstance(value, Affine) and len(value.used()) == 1 and node.integer("group", 1) == 1:
        term, shape = conv_term(state, node, value.part(value.used()[0]), weight, bias)
        folded = folded_convolution(value, term)
        if folded is not None:
            state.set_lazy(node, state.new_form(node, folded, shape=shape))
            return
    term, shape = conv_term(state, node, state.held(node, 0), weight, bias)
    state.set_lazy(node, state.new_form(node, term, shape=shape))


def conv_term(state: State, node: Node, x: Held, weight: Floats, bias: Floats | None) -> tuple[ConvTerm, tuple[int, ...]]:
    """A convolution of one or two axes with real weights, and the shape of its circuit tensor."""
    kernel = weight.shape[2:]
    pads = planar_pads(resolve_pads(state, node, x.shape[2:], kernel))
    stride = planar_pair(node.ints("strides") or (1,) * len(kernel), 1)
    dilation = planar_pair(node.ints("dilations") or (1,) * len(kernel), 1)
    x = planar(x, node)
    weight = weight.reshape(*weight.shape[:2], *planar_pair(kernel, 1))
    groups = node.integer("group", 1)
    outer = weight.shape[0] // groups
    if groups > 1 and padded_shape((outer,))[0] != outer:
        raise unsupported(
            node,
            f"{outer} output channels per group: with groups, a power of two is needed",
            "Use a power of two, or split the convolution into one per group.",
        )
    if groups > 1:
        x, weight, bias = _pad_groups(x, weight, bias, groups)
    return ConvTerm(x, weight, bias, stride, dilation, pads, groups), planar_shape(state.graph.shapes[node.outputs[0]])


def _pad_groups(x: Held, weight: Floats, bias: Floats | None, groups: int) -> tuple[Held, Floats, Floats | None]:
    """Input channels per group up to a power of two, with cells and weights of 0."""
    inner = weight.shape[1]
    wide = padded_shape((inner,))[0]
    if wide == inner:
        return x, weight, bias
    batch, _, height, width = x.shape
    index = np.full((batch, groups, wide, height, width), ZERO_CELL, np.int64)
    index[:, :, :inner] = x.index.reshape(batch, groups, inner, height, width)
    kernel = np.zeros((weight.shape[0], wide, *weight.shape[2:]))
    kernel[:, :inner] = weight
    return x.at(index.reshape(batch, groups * wide, height, width)), kernel, bias


HANDLERS: dict[str, Callable[[State, Node], None]] = {"Gemm": _gemm, "MatMul": _matmul, "Conv": _conv}
