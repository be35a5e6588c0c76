"""What an ONNX value is while a graph is lowered: cells of a held tensor, or a linear form with a function still to apply."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.quantise.functions import IDENTITY, Program

Floats = NDArray[np.float64]
Index = NDArray[np.int64]

ZERO_CELL = -1
"""In an index map: the cell is the real value 0, which is the integer 0."""


@dataclass(frozen=True, eq=False)
class Held:
    """A value whose cells are cells of a circuit tensor.

    Attributes:
        tensor: the circuit tensor.
        index: of the value's shape: the flat true cell of ``tensor`` that each cell is, or ZERO_CELL.
        step: the real value of one integer step. zero_point: of the stored integer, in imported models.
    """

    tensor: int
    index: Index
    step: Fraction
    zero_point: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape, as ONNX has it."""
        return self.index.shape

    def at(self, index: Index) -> Held:
        """The same cells in another arrangement."""
        return replace(self, index=index)


@dataclass(frozen=True, eq=False)
class MatMulTerm:
    """Σ_k x[…, k]·weight[o, k] + bias[o]; x of shape (…, K), weight (O, K)."""

    x: Held
    weight: Floats
    bias: Floats | None


@dataclass(frozen=True, eq=False)
class ConvTerm:
    """A 2-D convolution as in :class:`..circuit.ops.Conv`; x of shape (N, C, H, W), real weights."""

    x: Held
    weight: Floats
    bias: Floats | None
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    groups: int


@dataclass(frozen=True, eq=False)
class CellTerm:
    """factor·x."""

    x: Held
    factor: float


@dataclass(frozen=True, eq=False)
class ProductTerm:
    """factor·a·b, cell by cell."""

    a: Held
    b: Held
    factor: float


@dataclass(frozen=True, eq=False)
class BatchedTerm:
    """factor·a @ b over the last two axes; equal leading axes."""

    a: Held
    b: Held
    factor: float


@dataclass(frozen=True, eq=False)
class SquaresTerm:
    """Σ_k weight[o, k]·x[…, k]²; x of shape (…, K), weight (O, K)."""

    x: Held
    weight: Floats


@dataclass(frozen=True, eq=False)
class WindowTerm:
    """factor·(sum of the window); x of shape (N, C, H, W)."""

    x: Held
    factor: float
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RowTerm:
    """factor·(sum over the last ``axes`` axes)."""

    x: Held
    factor: float
    axes: int


@dataclass(frozen=True, eq=False)
class SelectTerm:
    """rows[x[…] − low, c]: one cell of few values chooses a row of real constants; always a form's only term.

    Attributes:
        x: of the form's shape without its last axis; an integer, of step 1.
        rows: (values that x can take, channels). low: the least value that x can take.
    """

    x: Held
    rows: Floats
    low: int


@dataclass(frozen=True, eq=False)
class GatedTerm:
    """Σ_k a[…, k]·b[…, k]·weight[o, k] + bias[o]; a and b of shape (…, K), weight (O, K)."""

    a: Held
    b: Held
    weight: Floats
    bias: Floats | None


@dataclass(frozen=True, eq=False)
class TableTerm:
    """table[index[…], c]·factor: rows of a constant by the numbers of a public tensor, all of it."""

    index: int
    table: Floats
    factor: float


Term: TypeAlias = (
    MatMulTerm
    | ConvTerm
    | CellTerm
    | ProductTerm
    | BatchedTerm
    | SquaresTerm
    | GatedTerm
    | TableTerm
    | WindowTerm
    | RowTerm
    | SelectTerm
)


@dataclass(frozen=True, eq=False)
class Form:
    """A real linear form: the sum of ``terms`` and ``constant``. Two values are functions of one form if they hold one object.

    Attributes:
        shape: of the circuit tensors that the terms become. logical: of the ONNX value; the same cells in the same order.
        name: the ONNX value, whose calibrated range is the form's.
    """

    terms: tuple[Term, ...]
    constant: float
    shape: tuple[int, ...]
    logical: tuple[int, ...]
    name: str


@dataclass(frozen=True, eq=False)
class Lazy:
    """program(form), cell by cell: not computed until something needs its cells."""

    form: Form
    program: Program = IDENTITY

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape, as ONNX has it."""
        return self.form.logical


def whole(tensor: int, shape: tuple[int, ...], step: Fraction, zero_point: int = 0) -> Held:
    """All cells of a circuit tensor, in order, under ``shape``."""
    return Held(tensor, np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape), step, zero_point)


def scaled(term: Term, factor: float) -> Term:
    """The term times a real factor."""
    if isinstance(term, MatMulTerm | ConvTerm | GatedTerm):
        bias = None if term.bias is None else term.bias * factor
        return replace(term, weight=term.weight * factor, bias=bias)
    if isinstance(term, SelectTerm):
        return replace(term, rows=term.rows * factor)
    if isinstance(term, SquaresTerm):
        return replace(term, weight=term.weight * factor)
    return replace(term, factor=term.factor * factor)


def affine(form: Form, slope: float, intercept: float, name: str) -> Form:
    """slope·form + intercept."""
    terms = form.terms if slope == 1.0 else tuple(scaled(term, slope) for term in form.terms)
    return replace(form, terms=terms, constant=form.constant * slope + intercept, name=name)


def per_column(form: Form, factor: Floats, offset: Floats, name: str) -> Form | None:
    """factor·form + offset per place of the last axis, put into the form's layers; ``None`` where a term has no columns."""
    terms: list[Term] = []
    rest = offset + form.constant * factor
    for term in form.terms:
        if isinstance(term, SquaresTerm):
            terms.append(replace(term, weight=term.weight * factor[:, None]))
        elif isinstance(term, MatMulTerm):
            bias = factor * (0.0 if term.bias is None else term.bias) + rest
            rest = np.zeros_like(rest)
            terms.append(replace(term, weight=term.weight * factor[:, None], bias=bias))
        else:
            return None
    return None if rest.any() else replace(form, terms=tuple(terms), constant=0.0, name=name)


def widened(form: Form, shape: tuple[int, ...]) -> Form:
    """A form of one column of squares and products with constants, broadcast along its last axis to ``shape``: their weights
    are repeated. Any other form as it is."""
    layers = all(isinstance(term, SquaresTerm | MatMulTerm) for term in form.terms)
    narrow = form.logical[-1:] == (1,) and form.shape == form.logical and form.logical[:-1] == shape[:-1]
    if form.logical == shape or not (layers and narrow and any(isinstance(term, SquaresTerm) for term in form.terms)):
        return form
    count = shape[-1]
    terms: list[Term] = []
    for term in form.terms:
        assert isinstance(term, SquaresTerm | MatMulTerm)
        wide = np.repeat(term.weight, count, axis=0)
        if isinstance(term, SquaresTerm):
            terms.append(replace(term, weight=wide))
        else:
            terms.append(replace(term, weight=wide, bias=None if term.bias is None else np.repeat(term.bias, count)))
    return replace(form, terms=tuple(terms), shape=shape, logical=shape)


def merged(terms: Iterable[Term]) -> tuple[Term, ...]:
    """The terms, products of the same cells with constants added up into one."""
    found: list[Term] = []
    for term in terms:
        for at, other in enumerate(found):
            if not isinstance(term, MatMulTerm) or not isinstance(other, MatMulTerm):
                continue
            if other.x.tensor == term.x.tensor and np.array_equal(other.x.index, term.x.index):
                biases = [one.bias for one in (other, term) if one.bias is not None]
                bias = sum(biases[1:], biases[0]) if biases else None
                found[at] = replace(other, weight=other.weight + term.weight, bias=bias)
                break
        else:
            found.append(term)
    return tuple(found)


def affine_program(program: Program) -> tuple[Fraction, Fraction] | None:
    """(slope, intercept) when the program is slope·x + intercept, else None."""
    stack: list[tuple[Fraction, Fraction]] = []
    for name, *numbers in program or (("x",),):
        if name == "x":
            stack.append((Fraction(1), Fraction(0)))
        elif name == "const":
            stack.append((Fraction(0), Fraction(numbers[0], numbers[1])))
        elif name == "neg":
            slope, intercept = stack.pop()
            stack.append((-slope, -intercept))
        elif name in ("add", "sub", "mul", "div"):
            (s2, i2), (s1, i1) = stack.pop(), stack.pop()
            if name in ("add", "sub"):
                sign = 1 if name == "add" else -1
                stack.append((s1 + sign * s2, i1 + sign * i2))
            elif name == "mul" and (s1 == 0 or s2 == 0):
                stack.append((s1 * i2 + s2 * i1, i1 * i2))
            elif name == "div" and s2 == 0 and i2 != 0:
                stack.append((s1 / i2, i1 / i2))
            else:
                return None
        else:
            return None
    (result,) = stack
    return result
