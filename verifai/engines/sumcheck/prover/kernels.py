"""The hot loops. Vectors over F are arrays of shape (2, n): components a and b of a + b·x, uint64, canonical.

The first variable of a multilinear extension is the highest bit of the index, so binding it folds the two halves of an array:
contiguous slices, which LLVM turns into vector code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.prover.intrinsics import (
    egather,
    emul,
    eproducts,
    esum,
    fadd,
    fgather,
    fmul,
    fproducts,
    fsub,
    fsum,
)
from verifai.engines.sumcheck.prover.jit import kernel

U64 = NDArray[np.uint64]

_ZERO = np.uint64(0)
_CACHED_WORDS = 1 << 14
"""Of a part of a transform."""
_CACHED_CELLS = 1 << 11
"""Of each quarter of a long vector, cells that stay in the cache with their weights."""


@kernel
def eq_table(point: U64) -> Any:
    """All eq(point, i), i in [0, 2^k). point (k, 2) → (2, 2^k)."""
    k = point.shape[0]
    out = np.empty((2, 1 << k), dtype=np.uint64)
    out[0, 0] = np.uint64(1)
    out[1, 0] = _ZERO
    size = 1
    for step in range(k):
        r0 = point[k - 1 - step, 0]
        r1 = point[k - 1 - step, 1]
        low0, low1 = out[0, :size], out[1, :size]
        high0, high1 = out[0, size : 2 * size], out[1, size : 2 * size]
        for i in range(size):
            h0, h1 = emul(low0[i], low1[i], r0, r1)
            low0[i] = fsub(low0[i], h0)
            low1[i] = fsub(low1[i], h1)
            high0[i] = h0
            high1[i] = h1
        size *= 2
    return out


@kernel
def fold_range(values: U64, missing: int, r0: Any, r1: Any, out: U64, start: int, stop: int) -> None:
    """Cells [start, stop) of (2, n/2): the first variable of (2, n) bound to r.

    ``values``: the last n − missing cells; the first ``missing`` ones, at most half, are 0.
    """
    half = (values.shape[1] + missing) // 2
    high = half - missing
    alone = min(max(missing, start), stop)  # up to here the low cell is 0
    high0, high1 = values[0, high + start : high + alone], values[1, high + start : high + alone]
    out0, out1 = out[0, start:alone], out[1, start:alone]
    for i in range(alone - start):
        out0[i], out1[i] = emul(high0[i], high1[i], r0, r1)
    low0, low1 = values[0, alone - missing : stop - missing], values[1, alone - missing : stop - missing]
    high0, high1 = values[0, high + alone : high + stop], values[1, high + alone : high + stop]
    out0, out1 = out[0, alone:stop], out[1, alone:stop]
    for i in range(stop - alone):
        d0, d1 = emul(fsub(high0[i], low0[i]), fsub(high1[i], low1[i]), r0, r1)
        out0[i] = fadd(low0[i], d0)
        out1[i] = fadd(low1[i], d1)


@kernel
def fold_base_range(values: U64, missing: int, r0: Any, r1: Any, out: U64, start: int, stop: int) -> None:
    """:func:`fold_range` of (n,) over F_p, r in F."""
    half = (values.shape[0] + missing) // 2
    first = half - missing
    alone = min(max(missing, start), stop)
    high = values[first + start : first + alone]
    out0, out1 = out[0, start:alone], out[1, start:alone]
    for i in range(alone - start):
        out0[i] = fmul(high[i], r0)
        out1[i] = fmul(high[i], r1)
    low, high = values[alone - missing : stop - missing], values[first + alone : first + stop]
    out0, out1 = out[0, alone:stop], out[1, alone:stop]
    for i in range(stop - alone):
        d = fsub(high[i], low[i])
        out0[i] = fadd(low[i], fmul(d, r0))
        out1[i] = fmul(d, r1)


@kernel
def dot(left: U64, right: U64) -> Any:
    """Σ left_i·right_i over F: (2, n), (2, n) → (a, b)."""
    l0, l1, m0, m1 = left[0], left[1], right[0], right[1]
    words = eproducts()
    for i in range(l0.shape[0]):
        egather(words, l0[i], l1[i], m0[i], m1[i])
    return esum(words)


@kernel
def dot_base(left: U64, right: U64) -> Any:
    """Σ left_i·right_i, left over F_p: (n,), (2, n) → (a, b)."""
    m0, m1 = right[0], right[1]
    a = fproducts()
    b = fproducts()
    for i in range(left.shape[0]):
        fgather(a, left[i], m0[i])
        fgather(b, left[i], m1[i])
    return fsum(a), fsum(b)


@kernel
def combine_rows(weights: U64, matrix: U64) -> Any:
    """Σ_i weights_i·matrix[i, :]: (2, R), (R, C) over F_p → (2, C)."""
    rows, columns = matrix.shape
    out = np.zeros((2, columns), dtype=np.uint64)
    out0, out1 = out[0], out[1]
    for i in range(rows):
        w0 = weights[0, i]
        w1 = weights[1, i]
        row = matrix[i]
        for j in range(columns):
            out0[j] = fadd(out0[j], fmul(row[j], w0))
            out1[j] = fadd(out1[j], fmul(row[j], w1))
    return out


@kernel
def combine_columns(matrix: U64, weights: U64) -> Any:
    """Σ_j matrix[:, j]·weights_j: (R, C) over F_p, (2, C) → (2, R)."""
    rows, columns = matrix.shape
    out = np.empty((2, rows), dtype=np.uint64)
    w0, w1 = weights[0], weights[1]
    for i in range(rows):
        row = matrix[i]
        a = fproducts()
        b = fproducts()
        for j in range(columns):
            fgather(a, row[j], w0[j])
            fgather(b, row[j], w1[j])
        out[0, i] = fsum(a)
        out[1, i] = fsum(b)
    return out


@kernel
def combine_columns_ext(matrix0: U64, matrix1: U64, weights: U64) -> Any:
    """Σ_j matrix[:, j]·weights_j, matrix over F as two (R, C) arrays → (2, R)."""
    rows, columns = matrix0.shape
    out = np.empty((2, rows), dtype=np.uint64)
    w0, w1 = weights[0], weights[1]
    for i in range(rows):
        row0 = matrix0[i]
        row1 = matrix1[i]
        words = eproducts()
        for j in range(columns):
            egather(words, row0[j], row1[j], w0[j], w1[j])
        out[0, i], out[1, i] = esum(words)
    return out


@kernel
def add_powers(target0: U64, target1: U64, points: U64, weights: U64) -> None:
    """target[j] += Σ_i weights_i·points_i^j: components (n,), points (t,) over F_p, weights (2, t).

    A table of the low powers stays in the cache, while the weights take on the high ones.
    """
    n, t = target0.shape[0], points.shape[0]
    size = min(n, 256)
    table = np.empty((t, size), dtype=np.uint64)
    steps = np.empty(t, dtype=np.uint64)
    for i in range(t):
        power = np.uint64(1)
        for j in range(size):
            table[i, j] = power
            power = fmul(power, points[i])
        steps[i] = power
    w0, w1 = weights[0].copy(), weights[1].copy()
    for start in range(0, n, size):
        out0, out1 = target0[start : start + size], target1[start : start + size]
        for i in range(t):
            row = table[i]
            a = w0[i]
            b = w1[i]
            for j in range(out0.shape[0]):
                out0[j] = fadd(out0[j], fmul(row[j], a))
                out1[j] = fadd(out1[j], fmul(row[j], b))
            w0[i] = fmul(a, steps[i])
            w1[i] = fmul(b, steps[i])


@kernel
def outer_add(target0: U64, target1: U64, left: U64, right: U64) -> None:
    """target[i·m + j] += left_i·right_j: components (n·m,), (2, n), (2, m)."""
    n, m = left.shape[1], right.shape[1]
    r0, r1 = right[0], right[1]
    for i in range(n):
        a = left[0, i]
        b = left[1, i]
        if a == _ZERO and b == _ZERO:
            continue
        t0 = target0[i * m : (i + 1) * m]
        t1 = target1[i * m : (i + 1) * m]
        for j in range(m):
            p0, p1 = emul(r0[j], r1[j], a, b)
            t0[j] = fadd(t0[j], p0)
            t1[j] = fadd(t1[j], p1)


@kernel
def outer(left: U64, right: U64) -> Any:
    """left_i·right_j at i·m + j: (2, n), (2, m) → (2, n·m)."""
    n, m = left.shape[1], right.shape[1]
    out = np.empty((2, n * m), dtype=np.uint64)
    r0, r1 = right[0], right[1]
    for i in range(n):
        a = left[0, i]
        b = left[1, i]
        t0 = out[0, i * m : (i + 1) * m]
        t1 = out[1, i * m : (i + 1) * m]
        for j in range(m):
            p0, p1 = emul(r0[j], r1[j], a, b)
            t0[j] = p0
            t1[j] = p1
    return out


@kernel
def scaled(values: U64, s0: Any, s1: Any) -> Any:
    """values·s over F."""
    out = np.empty_like(values)
    v0, v1, o0, o1 = values[0], values[1], out[0], out[1]
    for i in range(v0.shape[0]):
        p0, p1 = emul(v0[i], v1[i], s0, s1)
        o0[i] = p0
        o1[i] = p1
    return out


@kernel
def product_round_range(left: U64, right: U64, start: int, stop: int) -> Any:
    """Degree-2 round over F: (Σ l_low·r_low, Σ (l_high − l_low)(r_high − r_low)), over pairs [start, stop)."""
    half = left.shape[1] // 2
    l0, l1 = left[0, start:stop], left[1, start:stop]
    h0, h1 = left[0, half + start : half + stop], left[1, half + start : half + stop]
    m0, m1 = right[0, start:stop], right[1, start:stop]
    k0, k1 = right[0, half + start : half + stop], right[1, half + start : half + stop]
    constant = eproducts()
    leading = eproducts()
    for i in range(stop - start):
        egather(constant, l0[i], l1[i], m0[i], m1[i])
        egather(leading, fsub(h0[i], l0[i]), fsub(h1[i], l1[i]), fsub(k0[i], m0[i]), fsub(k1[i], m1[i]))
    return (*esum(constant), *esum(leading))


@kernel
def weighted_round(weights: U64, left: U64, right: U64) -> Any:
    """Degree-3 round of Σ w·f·g over F: coefficients 0, 2 and 3 of the round's polynomial, as six words."""
    half = weights.shape[1] // 2
    w0, w1, v0, v1 = weights[0, :half], weights[1, :half], weights[0, half:], weights[1, half:]
    l0, l1, h0, h1 = left[0, :half], left[1, :half], left[0, half:], left[1, half:]
    m0, m1, k0, k1 = right[0, :half], right[1, :half], right[0, half:], right[1, half:]
    constant = eproducts()
    square = eproducts()
    cube = eproducts()
    for i in range(half):
        f0, f1 = fsub(h0[i], l0[i]), fsub(h1[i], l1[i])
        g0, g1 = fsub(k0[i], m0[i]), fsub(k1[i], m1[i])
        u0, u1 = fsub(v0[i], w0[i]), fsub(v1[i], w1[i])
        x0, x1 = emul(l0[i], l1[i], m0[i], m1[i])
        egather(constant, w0[i], w1[i], x0, x1)
        x0, x1 = emul(f0, f1, g0, g1)
        egather(square, w0[i], w1[i], x0, x1)
        egather(cube, u0, u1, x0, x1)
        x0, x1 = emul(f0, f1, m0[i], m1[i])
        y0, y1 = emul(l0[i], l1[i], g0, g1)
        egather(square, u0, u1, fadd(x0, y0), fadd(x1, y1))
    return (*esum(constant), *esum(square), *esum(cube))


@kernel
def product_round_base_range(left: U64, right: U64, missing: int, start: int, stop: int) -> Any:
    """:func:`product_round_range` with ``left`` (n,) over F_p; of both, the first ``missing`` cells are 0 and not there."""
    half = (left.shape[0] + missing) // 2
    first = half - missing
    alone = min(max(missing, start), stop)
    a0 = fproducts()
    a1 = fproducts()
    c0 = fproducts()
    c1 = fproducts()
    high = left[first + start : first + alone]
    k0, k1 = right[0, first + start : first + alone], right[1, first + start : first + alone]
    for i in range(alone - start):
        fgather(c0, high[i], k0[i])
        fgather(c1, high[i], k1[i])
    low, high = left[alone - missing : stop - missing], left[first + alone : first + stop]
    m0, m1 = right[0, alone - missing : stop - missing], right[1, alone - missing : stop - missing]
    k0, k1 = right[0, first + alone : first + stop], right[1, first + alone : first + stop]
    for i in range(stop - alone):
        fgather(a0, low[i], m0[i])
        fgather(a1, low[i], m1[i])
        d = fsub(high[i], low[i])
        fgather(c0, d, fsub(k0[i], m0[i]))
        fgather(c1, d, fsub(k1[i], m1[i]))
    return fsum(a0), fsum(a1), fsum(c0), fsum(c1)


@kernel
def halve_sum(values: U64) -> Any:
    """Sum out the first variable: (2, n) → (2, n/2). Turns eq(r, ·) into eq(r[1:], ·)."""
    half = values.shape[1] // 2
    out = np.empty((2, half), dtype=np.uint64)
    for c in range(2):
        low, high, target = values[c, :half], values[c, half:], out[c]
        for i in range(half):
            target[i] = fadd(low[i], high[i])
    return out


@kernel
def factors_round(eq: U64, factors: U64, point: int) -> Any:
    """Σ eq·Π_j f_j(X = point) for factors (J, 2, n): one evaluation of a zero-check's inner polynomial.

    Every factor is linear in X, f(X) = low + X·(high − low).
    """
    count = factors.shape[0]
    half = factors.shape[2] // 2
    x = np.uint64(point)
    a0 = a1 = _ZERO
    for i in range(half):
        t0 = eq[0, i]
        t1 = eq[1, i]
        for j in range(count):
            low0 = factors[j, 0, i]
            low1 = factors[j, 1, i]
            f0 = fadd(low0, fmul(x, fsub(factors[j, 0, half + i], low0)))
            f1 = fadd(low1, fmul(x, fsub(factors[j, 1, half + i], low1)))
            t0, t1 = emul(t0, t1, f0, f1)
        a0 = fadd(a0, t0)
        a1 = fadd(a1, t1)
    return a0, a1


@kernel
def scale_base(values: U64, factor: Any) -> Any:
    """values·factor over F_p, one axis."""
    out = np.empty_like(values)
    for i in range(values.shape[0]):
        out[i] = fmul(values[i], factor)
    return out


@kernel
def centred(rows: U64, start: int, stop: int, out: NDArray[np.float64]) -> Any:
    """Columns [start, stop) as integers next to 0, (R, stop − start) in double precision; and the largest magnitude.

    From 2^53 on they are rounded: look at the magnitude first.
    """
    largest = _ZERO
    half = np.uint64(P // 2)
    for i in range(rows.shape[0]):
        row = rows[i, start:stop]
        target = out[i]
        for j in range(stop - start):
            negative = row[j] > half
            magnitude = np.uint64(P) - row[j] if negative else row[j]
            largest = max(largest, magnitude)
            value = np.float64(np.int64(magnitude))
            target[j] = -value if negative else value
    return largest


@kernel
def encode_block(columns: U64, twiddles: U64, shift: Any, out: U64, first: int) -> None:
    """One coset of the Reed–Solomon code: out[q, first + i] = row_i(shift·ω^bitrev(q)), q in [0, K).

    columns (C, R), the transposed matrix, C ≤ K, zero coefficients above C; out (K, first + R), the first columns are left
    alone; twiddles: ω^j for j < K/2, ω of order K. Decimation in frequency, so the output order is bit-reversed.
    """
    count, rows = columns.shape
    size = out.shape[0]
    power = np.uint64(1)
    for j in range(size):
        target = out[j, first:]
        if j < count:
            source = columns[j]
            for i in range(rows):
                target[i] = fmul(source[i], power)
        else:
            for i in range(rows):
                target[i] = _ZERO
        power = fmul(power, shift)
    near = size  # parts of this length stay in the cache: the stages before it go over everything, those after it part by part
    while near > 2 and near * rows > _CACHED_WORDS:
        near //= 2
    for part in range(2):
        width, least = (size, near) if part == 0 else (near, 1)
        for first_row in range(0, size, width):
            length = width
            stride = size // width
            while length > least:
                half = length // 2
                for start in range(first_row, first_row + width, length):
                    for j in range(half):
                        w = twiddles[j * stride]
                        x = out[start + j, first:]
                        y = out[start + j + half, first:]
                        for i in range(rows):
                            a = x[i]
                            b = y[i]
                            x[i] = fadd(a, b)
                            y[i] = fmul(fsub(a, b), w)
                length = half
                stride *= 2


@kernel
def _sums_with(f: U64, g: U64, w0: U64, w1: U64) -> Any:
    """Σ f·w and Σ g·w: f and g (n,) over F_p, w over F; four words."""
    a = fproducts()
    b = fproducts()
    c = fproducts()
    d = fproducts()
    for i in range(f.shape[0]):
        fgather(a, f[i], w0[i])
        fgather(b, f[i], w1[i])
        fgather(c, g[i], w0[i])
        fgather(d, g[i], w1[i])
    return fsum(a), fsum(b), fsum(c), fsum(d)


@kernel
def _sum_with(f: U64, w0: U64, w1: U64) -> Any:
    """Σ f·w: two words."""
    a = fproducts()
    b = fproducts()
    for i in range(f.shape[0]):
        fgather(a, f[i], w0[i])
        fgather(b, f[i], w1[i])
    return fsum(a), fsum(b)


@kernel
def _apart(high: U64, low: U64, out: U64) -> None:
    for i in range(out.shape[0]):
        out[i] = fsub(high[i], low[i])


@kernel
def quad_sums(cells: U64, weights: U64) -> Any:
    """Eleven sums Σ f·w over F, a word per component, for the quarters 2a + b of the first two variables (a, b).

    cells: quarters over F_p, (4, n). weights: two rows a quarter, (8, n). f_ab, w_ab being quarters: f_a0·w_c0 for (a, c) = 00,
    01, 10, 11, then (f_a1 − f_a0)(w_c1 − w_c0) for the same, then f_01·w_01, f_11·w_11 and (f_11 − f_01)(w_11 − w_01).
    """
    n = cells.shape[1]
    size = min(n, _CACHED_CELLS)
    out = np.zeros(22, dtype=np.uint64)
    d, e = np.empty((3, size), dtype=np.uint64), np.empty((6, size), dtype=np.uint64)
    for start in range(0, n, size):
        stop = start + size
        for a in range(2):
            _apart(cells[2 * a + 1, start:stop], cells[2 * a, start:stop], d[a])
            for word in range(2):
                low = 4 * a + word
                _apart(weights[low + 2, start:stop], weights[low, start:stop], e[2 * a + word])
        _apart(cells[3, start:stop], cells[1, start:stop], d[2])
        for word in range(2):
            _apart(weights[6 + word, start:stop], weights[2 + word, start:stop], e[4 + word])
        for c in range(2):
            w0, w1 = weights[4 * c, start:stop], weights[4 * c + 1, start:stop]
            s = _sums_with(cells[0, start:stop], cells[2, start:stop], w0, w1)
            t = _sums_with(d[0], d[1], e[2 * c], e[2 * c + 1])
            for a in range(2):
                for word in range(2):
                    place = 2 * (2 * a + c) + word
                    out[place] = fadd(out[place], s[2 * a + word])
                    out[8 + place] = fadd(out[8 + place], t[2 * a + word])
        x = _sum_with(cells[1, start:stop], weights[2, start:stop], weights[3, start:stop])
        y = _sum_with(cells[3, start:stop], weights[6, start:stop], weights[7, start:stop])
        z = _sum_with(d[2], e[4], e[5])
        for word in range(2):
            out[16 + word] = fadd(out[16 + word], x[word])
            out[18 + word] = fadd(out[18 + word], y[word])
            out[20 + word] = fadd(out[20 + word], z[word])
    return out


@kernel
def quad_fold(cells: U64, weights: U64, at: U64, scaled_at: U64, out_cells: U64, out_weights: U64, start: int) -> None:
    """The same quarters with both variables bound: Σ_q at_q·f_q and Σ_q scaled_at_q·w_q, to the places from ``start`` on.

    at, scaled_at (4, 2): an element of F for each quarter. out_cells, out_weights: (2, N).
    """
    n = cells.shape[1]
    x0, x1 = out_cells[0, start : start + n], out_cells[1, start : start + n]
    y0, y1 = out_weights[0, start : start + n], out_weights[1, start : start + n]
    x0[:], x1[:], y0[:], y1[:] = _ZERO, _ZERO, _ZERO, _ZERO
    for q in range(4):
        f, w0, w1 = cells[q], weights[2 * q], weights[2 * q + 1]
        a0, a1, b0, b1 = at[q, 0], at[q, 1], scaled_at[q, 0], scaled_at[q, 1]
        for i in range(n):
            x0[i] = fadd(x0[i], fmul(f[i], a0))
            x1[i] = fadd(x1[i], fmul(f[i], a1))
        for i in range(n):
            p0, p1 = emul(w0[i], w1[i], b0, b1)
            y0[i] = fadd(y0[i], p0)
            y1[i] = fadd(y1[i], p1)
