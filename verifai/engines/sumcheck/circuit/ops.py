"""The operations of the integer circuit and their exact meaning. Standard library only.

Tensor operands are indices into ``Circuit.tensors``, weights into ``Circuit.weights``, tables into ``Circuit.tables``; NONE
stands for an absent one. Read the conventions in :mod:`.program` first: operands read as 0 on padding unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from verifai.engines.sumcheck.circuit.dispatch import require

NONE = 0xFFFF_FFFF
"""Stands for "no tensor", "no weight", "no axis" and "no source cell" wherever an index is optional."""


@dataclass(frozen=True, slots=True)
class MatMul:
    """Linear, dense: z[r…, o] = Σ_k… W[o, k…]·x[r…, k…] + b[o].

    The last ``contract`` axes of ``x`` are summed over; W has shape (O,) + those axes' true sizes. ``bias``: weight of shape
    (O,), or NONE. The bias is added on true cells only, so padding is 0. Output: (r…, O).
    """

    x: int
    weight: int
    bias: int
    out: int
    contract: int


@dataclass(frozen=True, slots=True)
class Conv:
    """Linear, 2-D convolution: x (n…, C, H, W), W (Co, C/g, Kh, Kw), z (n…, Co, OH, OW), with one leading axis or more.

    z[n…, o, y, x] = b[o] + Σ_{c, u, v} W[o, c, u, v]·x[n…, o', y', x'], with o' = (o ÷ (Co/g))·C/g + c,
    y' = y·s_h + u·d_h − p_top, x' = x·s_w + v·d_w − p_left; cells outside read as 0. With ``groups`` > 1, C/g and Co/g are
    powers of two, so that the group is the channel's top bits.
    A 1-D convolution is one with H = Kh = 1.

    Attributes:
        stride, dilation: (height, width). pads: (top, left, bottom, right).
    """

    x: int
    weight: int
    bias: int
    out: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    groups: int


@dataclass(frozen=True, slots=True)
class BatchedMatMul:
    """z[b…, i, j] = M·Σ_k a[b…, i, k]·b[b…, k, j]; equal leading axes b…"""

    a: int
    b: int
    out: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class Mul:
    """z = M·a·b, cell by cell; equal shapes. ``a`` and ``b`` may be one tensor."""

    a: int
    b: int
    out: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class LinearCombination:
    """z = Σ M_i·x_i + c on true cells, 0 on padding; equal shapes. ``sources`` are distinct."""

    sources: tuple[int, ...]
    multipliers: tuple[int, ...]
    constant: int
    out: int


@dataclass(frozen=True, slots=True)
class WindowSum:
    """z[n…, c, y, x] = M·Σ_{u, v} x[n…, c, y·s_h + u − p_top, x·s_w + v − p_left]; cells outside read as 0.

    Attributes:
        kernel, stride: (height, width). pads: (top, left, bottom, right).
    """

    x: int
    out: int
    multiplier: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowSum:
    """z[r…] = M·Σ_k… x[r…, k…]·y[r…, k…] over the last ``axes`` axes; ``y`` NONE: the factor is absent."""

    x: int
    y: int
    out: int
    multiplier: int
    axes: int


@dataclass(frozen=True, slots=True)
class Requant:
    """t = ⌊(z + 2^(s−1)) / 2^s⌋ (s = 0: t = z); y = T[clamp(t)], clamp to T's domain [−2^(w−1), 2^(w−1)).

    Attributes:
        shift: s. limbs: widths b_i of the remainder's limbs, lowest first; Σ b_i = s, each in [1, 16]; empty for s = 0.
        saturate: whether t's bound exceeds the domain, so that the split t = 2^(w−1)·h + l is proven. Forced by the bounds:
            true exactly when it does.

    Trace columns: ``rem{i}`` = limbs of z + 2^(s−1) − 2^s·t; when ``saturate``: ``h``, ``l``, ``sigma``, ``kappa``, ``u``
    with u = σ·t + κ, (σ, κ) = (1, 0) for h ∈ {−1, 0}, (0, −2^(w−1)) for h < −1, (0, 2^(w−1) − 1) for h > 0.
    On padding z = 0, t = 0, so y = T[0] and rem = 2^(s−1).
    """

    z: int
    out: int
    table: int
    shift: int
    limbs: tuple[int, ...]
    saturate: bool


@dataclass(frozen=True, slots=True)
class Lookup:
    """y = T[x]; x's bound lies in T's domain [−2^(w−1), 2^(w−1)). On padding y = T[0]."""

    x: int
    out: int
    table: int


@dataclass(frozen=True, slots=True)
class WindowMax:
    """y[n…, c, y, x] = max over the window of x; taps outside the true cells read as x.low, so padding is x.low.

    At most 4 taps (kernel h·w ≤ 4); larger windows are rows first, then columns. A window wholly outside is x.low.
    """

    x: int
    out: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowMax:
    """m[r…] = max_k x[r…, k] over the last axis; E[r…, k] = T[min(m − x, D)], D = 2^w − 1 the table's last argument.

    Softmax's first half, and ReduceMax when ``exp`` is NONE (E is not computed; T is then all zeros). T is on [0, 2^w), and
    T[D] = 0: row D also serves padding cells and saturated differences. m's padding cells are 0, E's are T[D] = 0.

    Attributes:
        saturate: whether x.high − x.low ≥ D, so that the split of the difference is proven; forced by the bounds.

    Trace columns: ``g`` = [m − x = 0] (padding: 0); when ``saturate``: ``h``, ``l``, ``sigma``, ``kappa``, ``u`` with
    m − x = 2^w·h + l, u = σ·(m − x) + κ, (1, 0) for h = 0, (0, D) for h > 0.
    """

    x: int
    out: int
    exp: int
    table: int
    saturate: bool


@dataclass(frozen=True, slots=True)
class Recip:
    """K = R·2^e for 1 ≤ q < 2^30: e = 29 − ⌊log2 q⌋, R = ⌊2^46 / (q·2^e)⌋. Padding of q reads as 1, so K's is 2^46.

    Trace columns: ``e``, ``pow`` = 2^e, ``qe`` = q·2^e, ``R``, ``rho`` = 2^46 − R·q·2^e, each per cell of q.
    """

    q: int
    out: int


@dataclass(frozen=True, slots=True)
class Isqrt:
    """q = ⌊√v⌋ for 0 ≤ v < 2^60. Padding is 0.

    Trace columns: none besides q; v − q² and 2q − v + q² are range-checked in limbs by the protocol.
    """

    v: int
    out: int


@dataclass(frozen=True, slots=True)
class ArgMax:
    """k[r…] = the lowest index of the largest cell along the last axis. Padding rows are 0."""

    x: int
    out: int


@dataclass(frozen=True, slots=True)
class Rescale:
    """y = ⌊(z + 2^(s−1)) / 2^s⌋, s ≥ 1: rounding without a table. y lies in [−2^(B−1), 2^(B−1)), or nothing is proven.

    Attributes:
        shift: s. limbs: widths of the remainder's limbs, lowest first, adding up to s; each in [1, 16].
        digits: widths of the digits of y − base, lowest first, adding up to B ≤ 40; each in [1, 16]. base: −2^(B−1).

    Trace columns: ``rem{i}`` = limbs of z + 2^(s−1) − 2^s·y, ``y{i}`` = digits of y − base. On padding z = 0, so y = 0.
    """

    z: int
    out: int
    shift: int
    limbs: tuple[int, ...]
    digits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GatedMatMul:
    """z[r…, o] = Σ_k… W[o, k…]·a[r…, k…]·b[r…, k…] + b[o]: a linear layer of a product that is not rounded.

    Shapes, weight and bias as in :class:`MatMul`; ``a`` and ``b`` have equal shapes, and may be one tensor.
    """

    a: int
    b: int
    weight: int
    bias: int
    out: int
    contract: int


@dataclass(frozen=True, slots=True)
class RowScale:
    """z[r…, k] = M·x[r…, k]·f[r…]; f has x's leading axes, or one axis of one cell where there are none."""

    x: int
    factor: int
    out: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class WeightRows:
    """z[t…, d…] = W[index[t…], d…]. ``index`` is a public input or output, whose bounds lie within the rows of W."""

    index: int
    weight: int
    out: int


@dataclass(frozen=True, slots=True)
class TopIndex:
    """k[r…] = the lowest index of the largest cell along the last axis; k is a public output. Padding rows are 0.

    Attributes:
        digits: widths of the digits of v − x_j − [j < k], v = x_k, lowest first, adding up to B ≤ 40; each in [1, 16]. A row
            whose cells differ by more is not proven.

    Trace columns: none. Committed are v and all digits but the highest.
    """

    x: int
    out: int
    digits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Relabel:
    """The same padded cells under another shape: ỹ(point) = x̃(point). The true cells are the same set."""

    x: int
    out: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a View: which output cells one source fills.

    Attributes:
        source: tensor.
        axes: per output axis, the source axis that it drives, or NONE (the source does not vary along it).
        indices: per output axis, one entry per true coordinate: the source coordinate along the driven axis (0 where none is
            driven), or NONE where this piece does not cover the coordinate.
        fixed: per source axis, its constant coordinate where no output axis drives it, else NONE.
    """

    source: int
    axes: tuple[int, ...]
    indices: tuple[tuple[int, ...], ...]
    fixed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class View:
    """An index map that is separable per axis: y[j…] = source[…] of the one piece that covers j…, else ``constant``.

    Transpose, Slice, Concat, Pad, Expand, Split and Gather along an axis. Pieces cover disjoint boxes.
    """

    pieces: tuple[Piece, ...]
    constant: int
    out: int


@dataclass(frozen=True, slots=True)
class Gather:
    """Any other index map: y.flat[j] = x.flat[indices[j]] over true cells, row-major; NONE reads ``constant``."""

    x: int
    out: int
    indices: tuple[int, ...]
    constant: int


Op: TypeAlias = (
    MatMul
    | Conv
    | BatchedMatMul
    | Mul
    | LinearCombination
    | WindowSum
    | RowSum
    | Requant
    | Lookup
    | WindowMax
    | RowMax
    | Recip
    | Isqrt
    | ArgMax
    | Rescale
    | GatedMatMul
    | RowScale
    | WeightRows
    | TopIndex
    | Relabel
    | View
    | Gather
)

HELD, VIRTUAL = True, False

_RESULT_KIND: dict[type[Any], bool] = {
    MatMul: VIRTUAL,
    Conv: VIRTUAL,
    BatchedMatMul: VIRTUAL,
    Mul: VIRTUAL,
    LinearCombination: VIRTUAL,
    WindowSum: VIRTUAL,
    RowSum: VIRTUAL,
    Requant: HELD,
    Lookup: HELD,
    WindowMax: HELD,
    RowMax: HELD,
    Recip: HELD,
    Isqrt: HELD,
    ArgMax: HELD,
    Rescale: HELD,
    GatedMatMul: VIRTUAL,
    RowScale: VIRTUAL,
    WeightRows: VIRTUAL,
    TopIndex: HELD,
    Relabel: VIRTUAL,
    View: VIRTUAL,
    Gather: VIRTUAL,
}


def holds_results(op: Op) -> bool:
    """Whether the results of ``op`` are held tensors (committed or public); else they are virtual, and nothing stores them."""
    return require(_RESULT_KIND, op, "held and virtual results")


def _pair(op: BatchedMatMul | Mul | GatedMatMul) -> tuple[int, ...]:
    return (op.a, op.b)


def _row_sum_operands(op: RowSum) -> tuple[int, ...]:
    return (op.x,) if op.y == NONE else (op.x, op.y)


def _only_x(
    op: MatMul | Conv | WindowSum | Lookup | WindowMax | RowMax | ArgMax | TopIndex | Relabel | Gather,
) -> tuple[int, ...]:
    return (op.x,)


_OPERANDS: dict[type[Any], Callable[[Any], tuple[int, ...]]] = {
    MatMul: _only_x,
    Conv: _only_x,
    BatchedMatMul: _pair,
    Mul: _pair,
    LinearCombination: lambda op: op.sources,
    WindowSum: _only_x,
    RowSum: _row_sum_operands,
    Requant: lambda op: (op.z,),
    Lookup: _only_x,
    WindowMax: _only_x,
    RowMax: _only_x,
    Recip: lambda op: (op.q,),
    Isqrt: lambda op: (op.v,),
    ArgMax: _only_x,
    Rescale: lambda op: (op.z,),
    GatedMatMul: _pair,
    RowScale: lambda op: (op.x, op.factor),
    WeightRows: lambda op: (op.index,),
    TopIndex: _only_x,
    Relabel: _only_x,
    View: lambda op: tuple(piece.source for piece in op.pieces),
    Gather: _only_x,
}


def operands(op: Op) -> tuple[int, ...]:
    """The tensors that ``op`` reads, in order of its fields; a tensor read twice occurs twice."""
    return require(_OPERANDS, op, "operands")(op)


def _one_result(op: Op) -> tuple[int, ...]:
    return (op.out,)


def _row_max_results(op: RowMax) -> tuple[int, ...]:
    return (op.out,) if op.exp == NONE else (op.out, op.exp)


_RESULTS: dict[type[Any], Callable[[Any], tuple[int, ...]]] = {
    MatMul: _one_result,
    Conv: _one_result,
    BatchedMatMul: _one_result,
    Mul: _one_result,
    LinearCombination: _one_result,
    WindowSum: _one_result,
    RowSum: _one_result,
    Requant: _one_result,
    Lookup: _one_result,
    WindowMax: _one_result,
    RowMax: _row_max_results,
    Recip: _one_result,
    Isqrt: _one_result,
    ArgMax: _one_result,
    Rescale: _one_result,
    GatedMatMul: _one_result,
    RowScale: _one_result,
    WeightRows: _one_result,
    TopIndex: _one_result,
    Relabel: _one_result,
    View: _one_result,
    Gather: _one_result,
}


def results(op: Op) -> tuple[int, ...]:
    """The tensors that ``op`` defines."""
    return require(_RESULTS, op, "results")(op)
