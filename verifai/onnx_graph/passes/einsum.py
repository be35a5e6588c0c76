"""Einsum as sums, products of matrices and rearrangements: any number of operands, dots, and letters that repeat."""

from __future__ import annotations

from math import prod
from string import ascii_letters

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.steps import Steps
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import checked_size

_MOST_OPERANDS = 16


def einsum(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Operands are joined from the left, each pair by one product. Raises UnsupportedModel (``model-malformed``)."""
    del opset
    equation = "".join(node.text("equation", "").split())
    shapes = [graph.types[name].shape for name in node.inputs]
    read = _read(equation, shapes)
    if read is None or not 1 <= len(shapes) <= _MOST_OPERANDS or graph.types[node.inputs[0]].dtype.kind != "f":
        return [node]
    terms, right = read
    if any(len(term) != len(shape) for term, shape in zip(terms, shapes, strict=True)):
        raise refuse("model-malformed", f"the equation {equation[:60]!r} does not fit its operands", node.where)
    steps = Steps(graph, node)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if size != 1 and sizes.setdefault(letter, size) != size:
                raise refuse("model-malformed", f"the axes {letter!r} of {equation[:60]!r} differ in size", node.where)
    sizes = {letter: sizes.get(letter, 1) for letter in "".join(terms)}
    if len(set(right)) != len(right) or not set(right) <= set(sizes):
        raise refuse("model-malformed", f"the result of {equation[:60]!r} has an axis of its own, or one twice", node.where)
    operands = [_plain(steps, name, term, shape, sizes) for name, term, shape in zip(node.inputs, terms, shapes, strict=True)]
    name, term = operands[0]
    for place, (other, letters) in enumerate(operands[1:], start=1):
        later = right + "".join(one for _, one in operands[place + 1 :])
        name, term = _joined(steps, (name, term), (other, letters), later, sizes)
    name, term = _summed(steps, name, term, right)
    for letter in right:
        if letter not in term:  # of size 1 wherever it stood
            name = steps.add("Unsqueeze", [name, steps.constant("axis", np.array([len(term)]))], "wide")
            term += letter
    order = tuple(term.index(letter) for letter in right)
    if order != tuple(range(len(order))):
        name = steps.add("Transpose", [name], "ordered", perm=order)
    steps.add("Identity", [name], "result", node.outputs[0])
    return steps.nodes


def _read(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str] | None:
    """The letters of each operand and of the result, with letters in place of dots; ``None`` where they cannot be read."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes) or any(term.count("...") > 1 for term in (*terms, right)):
        return None
    free = [one for one in reversed(ascii_letters) if one not in equation]
    counts = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    dots = max((count for term, count in zip(terms, counts, strict=True) if "..." in term), default=0)
    if dots > len(free) or min(counts) < 0:
        return None
    hidden = "".join(free[:dots])
    terms = [term.replace("...", hidden[dots - count :]) for term, count in zip(terms, counts, strict=True)]
    letters = "".join(terms)
    if not arrow:
        right = hidden + "".join(sorted(one for one in set(letters) if letters.count(one) == 1 and one not in hidden))
    right = right.replace("...", hidden)
    return (terms, right) if all(one.isalpha() for one in letters + right) else None


def _plain(steps: Steps, name: str, term: str, shape: tuple[int, ...], sizes: dict[str, int]) -> tuple[str, str]:
    """The operand with every letter once, and without axes of size 1 that stand for larger ones."""
    if len(set(term)) != len(term):
        unique = "".join(dict.fromkeys(term))
        extents = [sizes[letter] for letter in unique]
        checked_size([*extents, 1], np.dtype(np.int64), steps.node.where)
        places = np.indices(extents).reshape(len(extents), -1)
        cells = [places[unique.index(letter)] * (size > 1) for letter, size in zip(term, shape, strict=True)]
        flat = steps.reshaped(name, [prod(shape)], "flat")
        chosen = steps.constant("diagonal", np.ravel_multi_index(tuple(cells), shape).reshape(extents))
        return steps.add("Gather", [flat, chosen], "diagonal", axis=0), unique
    thin = [axis for axis, (letter, size) in enumerate(zip(term, shape, strict=True)) if size == 1 and sizes[letter] != 1]
    if thin:
        name = steps.add("Squeeze", [name, steps.constant("thin", np.array(thin))], "thin")
        term = "".join(letter for axis, letter in enumerate(term) if axis not in thin)
    return name, term


def _summed(steps: Steps, name: str, term: str, kept: str) -> tuple[str, str]:
    """Summed over all letters that are not kept."""
    alone = [axis for axis, letter in enumerate(term) if letter not in kept]
    if not alone:
        return name, term
    axes = steps.constant("alone", np.array(alone, np.int64))
    name = steps.add("ReduceSum", [name, axes], "sum", keepdims=0, noop_with_empty_axes=0)
    return name, "".join(letter for letter in term if letter in kept)


def _joined(steps: Steps, left: tuple[str, str], right: tuple[str, str], later: str, sizes: dict[str, int]) -> tuple[str, str]:
    """The product of two operands, summed over the letters that nothing later reads."""
    a, first = _summed(steps, *left, later + right[1])
    b, second = _summed(steps, *right, later + first)
    batch = [letter for letter in first if letter in second and letter in later]
    summed = [letter for letter in first if letter in second and letter not in later]
    rows = [letter for letter in first if letter not in second]
    columns = [letter for letter in second if letter not in first]

    def shaped(name: str, term: str, order: list[str], shape: list[int], label: str) -> str:
        turn = tuple(term.index(letter) for letter in order)
        turned = name if turn == tuple(range(len(turn))) else steps.add("Transpose", [name], f"{label}_turned", perm=turn)
        return steps.reshaped(turned, shape, label)

    def cells(group: list[str]) -> int:
        return prod(sizes[letter] for letter in group)

    many = [sizes[one] for one in batch]
    a = shaped(a, first, batch + rows + summed, [*many, cells(rows), cells(summed)], "left")
    b = shaped(b, second, batch + summed + columns, [*many, cells(summed), cells(columns)], "right")
    checked_size([*many, cells(rows), cells(columns)], np.dtype(np.float32), steps.node.where)
    made = steps.add("MatMul", [a, b], "product")
    order = batch + rows + columns
    return steps.reshaped(made, [sizes[one] for one in order], "whole"), "".join(order)
