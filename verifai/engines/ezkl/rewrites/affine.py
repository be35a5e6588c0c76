"""Constants that move or stretch the cells of a value fold into the linear layer that reads it.

A scaler (x − μ)/σ before a layer x·W + b is the layer W/σ and b − (μ/σ)·W: no cell of its own, and no rounding of 1/σ, which
for a column of thousands is nothing at ezkl's scales. Scales of columns, x = factor·x' + offset, go the same way. What is
folded is computed in double precision, sums correctly rounded (``math.fsum``), and rounded to single precision once, so that
every machine comes to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray

from verifai.engines.ezkl.rewrites.graph import Array, Rewriting, attributes_of
from verifai.errors import UsageError

Floats = NDArray[np.float64]
_MOVES = ("Add", "Sub")
_STRETCHES = ("Mul", "Div")
_ARRANGES = ("Gather", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


@dataclass(frozen=True, eq=False)
class _Affine:
    """factor·base + offset, cell by cell, not yet computed.

    Attributes:
        base: a value of the rewritten graph, of the same shape.
        bare: inputs whose columns' scales are all that there is of it.
    """

    base: str
    factor: Floats
    offset: Floats
    bare: frozenset[str] = frozenset()


def affine_into_products(model: Rewriting) -> int:
    """As :func:`fold`, of a graph that takes its inputs as they are."""
    return fold(model, {}).folded


@dataclass
class Folded:
    """What a pass did.

    Attributes:
        folded: how many constants became part of others.
        computed: cells by input whose columns' scales are computed one by one, because nothing that is linear takes them.
    """

    folded: int = 0
    computed: dict[str, int] = field(default_factory=dict)


def fold(model: Rewriting, columns: Mapping[str, Sequence[tuple[float, float]]]) -> Folded:
    """Rewrite the whole graph.

    Args:
        columns: by input, (factor, offset) of each place of the last axis; the graph then takes x' for x = factor·x' + offset.

    Raises:
        UsageError: code ``bad-lock``, when columns do not belong to an input.
    """
    return _Pass(model, columns).run()


class _Pass:
    def __init__(self, model: Rewriting, columns: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        self._model = model
        self._lazy: dict[str, _Affine] = {}
        self._done = Folded()
        self._floats = _floats(model)
        inputs = {value.name for value in model.proto.graph.input}
        for name, pairs in columns.items():
            if name not in inputs or model.shapes[name][-1:] != (len(pairs),):
                raise UsageError("bad-lock", f"{len(pairs)} columns do not belong to the model's {name[:60]!r}")
            array = np.broadcast_to(np.array(pairs, np.float64), (*model.shapes[name], 2))
            self._lazy[name] = _Affine(name, array[..., 0], array[..., 1], frozenset((name,)))

    def run(self) -> Folded:
        for name in list(self._lazy):
            if not self._takes(name):
                self._compute(name)
        for node in self._model.proto.graph.node:
            if not (self._affine(node) or self._arranged(node) or self._joined(node) or self._linear(node)):
                self._model.nodes.append(node)
        return self._done

    def _takes(self, name: str) -> bool:
        """Whether every reader of a value takes it as an affine function."""
        readers = self._model.readers(name)
        return not self._model.is_output(name) and bool(readers) and all(self._may_take(node, name) for node in readers)

    def _may_take(self, node: onnx.NodeProto, name: str) -> bool:
        constants, kind = self._model.constants, node.op_type
        if kind in (*_MOVES, *_STRETCHES):
            return self._other(node) is not None
        if kind in _ARRANGES:
            if node.input[0] != name or not all(one in constants for one in node.input[1:]):
                return False
            # Cells that are copied first are computed once each: worth it where none is computed, or fewer are.
            return prod(self._model.shapes[node.output[0]]) < prod(self._model.shapes[name]) or self._takes(node.output[0])
        if kind == "Concat":
            return self._takes(node.output[0])
        return kind in ("Gemm", "MatMul") and self._weights(node) is not None and node.input[0] == name

    def _other(self, node: onnx.NodeProto) -> str | None:
        """The constant of an affine operation on one value of the result's shape; ``None`` where it is none."""
        constants = [name for name in node.input if name in self._model.constants]
        values = [name for name in node.input if name not in self._model.constants]
        if len(constants) != 1 or len(values) != 1 or (node.op_type == "Div" and node.input[0] in constants):
            return None
        same = self._model.shapes.get(values[0]) == self._model.shapes.get(node.output[0])
        return constants[0] if same and values[0] in self._floats else None

    def _affine(self, node: onnx.NodeProto) -> bool:
        """An operation with a constant becomes part of the value's own affine function."""
        constant = self._other(node) if node.op_type in (*_MOVES, *_STRETCHES) else None
        if constant is None:
            return False
        value = next(name for name in node.input if name != constant)
        known = value in self._lazy
        target = node.output[0]
        if not known and not self._takes(target):
            return False  # a lone operation whose result is read as it is: nothing to gain
        shape = self._model.shapes[target]
        at = self._lazy[value] if known else _Affine(value, np.ones(shape), np.zeros(shape))
        other = self._model.constants[constant].astype(np.float64)
        with np.errstate(all="ignore"):  # a division by 0 is the model's own, and stays what it is
            if node.op_type in _STRETCHES:
                change = other if node.op_type == "Mul" else 1.0 / other
                factor, offset = at.factor * change, at.offset * change
            elif node.op_type == "Add":
                factor, offset = at.factor, at.offset + other
            elif node.input[0] == constant:
                factor, offset = -at.factor, other - at.offset
            else:
                factor, offset = at.factor, at.offset - other
        if not np.isfinite(factor).all() or not np.isfinite(offset).all():
            self._use(value)
            return False
        self._lazy[target] = _Affine(at.base, np.broadcast_to(factor, shape), np.broadcast_to(offset, shape))
        self._done.folded += 1
        if not self._takes(target):
            self._compute(target)
        return True

    def _arranged(self, node: onnx.NodeProto) -> bool:
        """The same cells elsewhere: the operation is applied to what the value is a function of."""
        if node.op_type not in _ARRANGES or node.input[0] not in self._lazy:
            return False
        at = self._lazy[node.input[0]]
        factor, offset = (self._evaluated(node, one) for one in (at.factor, at.offset))
        self._lazy[node.output[0]] = _Affine(self._again(node, [at.base, *node.input[1:]]), factor, offset, at.bare)
        if not self._takes(node.output[0]):
            self._compute(node.output[0])
        return True

    def _joined(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Concat" or not any(name in self._lazy for name in node.input):
            return False
        axis = attributes_of(node)["axis"]
        parts = [self._lazy.get(name) or self._plain(name) for name in node.input]
        base = self._again(node, [part.base for part in parts])
        factor = np.concatenate([part.factor for part in parts], axis=axis)
        offset = np.concatenate([part.offset for part in parts], axis=axis)
        self._lazy[node.output[0]] = _Affine(base, factor, offset, frozenset().union(*(part.bare for part in parts)))
        if not self._takes(node.output[0]):
            self._compute(node.output[0])
        return True

    def _linear(self, node: onnx.NodeProto) -> bool:
        """A product with constant weights takes factors into the weights and offsets into the bias."""
        at = self._lazy.get(node.input[0]) if node.op_type in ("Gemm", "MatMul") and node.input else None
        weights = self._weights(node) if at is not None else None
        if at is None or weights is None:
            return False
        if any(bool((one != one.reshape(-1, one.shape[-1])[0]).any()) for one in (at.factor, at.offset)):
            self._use(node.input[0])  # rows differ, so that one matrix cannot serve them all
            return False
        factor, offset = (one.reshape(-1, one.shape[-1])[0] for one in (at.factor, at.offset))
        attributes = attributes_of(node)
        bias = np.zeros(weights.shape[1])
        if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2]:
            bias = bias + self._model.constants[node.input[2]].astype(np.float64).reshape(-1) * attributes.get("beta", 1.0)
        moved = np.array([math.fsum((*(offset * weights[:, place]), bias[place])) for place in range(weights.shape[1])])
        matrix = self._model.constant("folded_weights", _single((factor[:, None] * weights).T))
        target, inputs = node.output[0], [at.base, matrix]
        inputs.append(self._model.constant("folded_bias", _single(moved)))
        self._emit(onnx.helper.make_node("Gemm", inputs, [target], name=node.name, alpha=1.0, beta=1.0, transA=0, transB=1))
        self._done.folded += 1
        return True

    def _weights(self, node: onnx.NodeProto) -> Floats | None:
        """[in, out] of a product of a matrix with constant weights, alpha included; ``None`` for any other."""
        model, attributes = self._model, attributes_of(node)
        array = model.constants.get(node.input[1]) if len(node.input) > 1 else None
        two = array is not None and array.ndim == 2 and len(model.shapes.get(node.input[0], ())) == 2
        if array is None or not two or attributes.get("transA", 0) or array.dtype != np.float32:
            return None
        width = array.shape[0] if attributes.get("transB", 0) else array.shape[1]
        for name in node.input[2:]:
            if name and (name not in model.constants or model.constants[name].size != width):
                return None
        wide: Floats = array.astype(np.float64) * attributes.get("alpha", 1.0)
        return wide.T if attributes.get("transB", 0) else wide

    def _compute(self, name: str) -> None:
        """Emit the value itself, under its own name; an input keeps its name and its readers get another."""
        at = self._lazy.pop(name)
        for one in at.bare:
            self._done.computed[one] = self._done.computed.get(one, 0) + at.factor.size
        wanted = self._model.fresh(f"{name}_in_units") if at.base == name else name
        value = at.base
        stretched, moved = bool((at.factor != 1).any()), bool((at.offset != 0).any())
        shape = self._model.shapes[name]
        if stretched or not moved:
            factor = self._model.constant("column_factor", _single(at.factor))
            target = self._model.fresh("stretched") if moved else wanted
            self._emit(onnx.helper.make_node("Mul", [value, factor], [target], name=target))
            value = target
            self._model.shapes[target] = shape
        if moved:
            offset = self._model.constant("column_offset", _single(at.offset))
            self._emit(onnx.helper.make_node("Add", [value, offset], [wanted], name=wanted))
        self._model.shapes[wanted] = shape
        if wanted != name:
            for node in self._model.proto.graph.node:
                for place, one in enumerate(node.input):
                    if one == name:
                        node.input[place] = wanted
            self._floats.add(wanted)

    def _use(self, name: str) -> None:
        if name in self._lazy:
            self._compute(name)

    def _plain(self, name: str) -> _Affine:
        """A value, or a constant, as the affine function that it is."""
        shape = self._model.shapes[name]
        return _Affine(name, np.ones(shape), np.zeros(shape))

    def _emit(self, node: onnx.NodeProto) -> None:
        self._model.nodes.append(node)

    def _again(self, node: onnx.NodeProto, inputs: Sequence[str]) -> str:
        """The operation on other inputs; the name of its result."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        target = self._model.fresh(f"{node.output[0]}_of_columns")
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.append(target)
        copy.name = target
        self._emit(copy)
        self._model.shapes[target] = self._model.shapes[node.output[0]]
        return target

    def _evaluated(self, node: onnx.NodeProto, array: Floats) -> Floats:
        """Of factors or offsets, what the operation makes of the cells."""
        shape = self._model.shapes[node.output[0]]
        if node.op_type == "Gather":
            axis = attributes_of(node).get("axis", 0)
            return np.take(array, self._model.constants[node.input[1]], axis=axis)
        return array.reshape(shape)


def _floats(model: Rewriting) -> set[str]:
    """Values that are known to be of single precision."""
    graph = model.proto.graph
    return {
        value.name
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }


def _single(array: Floats) -> Array:
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(array, np.float32)
