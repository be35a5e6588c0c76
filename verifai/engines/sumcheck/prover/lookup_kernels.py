"""The hot loops of the lookups: leaves, layers and rounds of fractions. Arrays as in :mod:`.kernels`."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.prover.intrinsics import (
    egather,
    emul,
    eproducts,
    esum,
    fadd,
    ffrom,
    fgather,
    fmul,
    fproducts,
    fsub,
    fsum,
)
from verifai.engines.sumcheck.prover.jit import kernel
from verifai.engines.sumcheck.prover.kernels import U64

_ZERO, _ONE = np.uint64(0), np.uint64(1)

_BLOCK = 2048
"""Pairs that a fused pass takes at a time: what it has bound is still in the cache when it adds up."""


@kernel
def leaf_layer_range(p0: U64, p1: U64, q0: U64, q1: U64, out_p: U64, out_q: U64, first: int, start: int, stop: int) -> None:
    """Fractions [start, stop) of p0/q0 + p1/q1 for leaves, to [start − first, stop − first) of the outputs (2, h).

    p0 (n,) and p1 (V,) over F_p, q0 (2, n) and q1 (2, V): behind V, p1/q1 is 0/1.
    """
    full = min(max(q1.shape[1], start), stop)
    n0, n1, qa0, qa1, qb0, qb1 = (
        p0[start:stop],
        p1[start:full],
        q0[0, start:stop],
        q0[1, start:stop],
        q1[0, start:full],
        q1[1, start:full],
    )
    op0, op1 = out_p[0, start - first : stop - first], out_p[1, start - first : stop - first]
    oq0, oq1 = out_q[0, start - first : stop - first], out_q[1, start - first : stop - first]
    for i in range(full - start):
        op0[i] = fadd(fmul(n0[i], qb0[i]), fmul(n1[i], qa0[i]))
        op1[i] = fadd(fmul(n0[i], qb1[i]), fmul(n1[i], qa1[i]))
        z0, z1 = emul(qa0[i], qa1[i], qb0[i], qb1[i])
        oq0[i] = z0
        oq1[i] = z1
    for i in range(full - start, stop - start):
        op0[i] = n0[i]
        op1[i] = _ZERO
        oq0[i] = qa0[i]
        oq1[i] = qa1[i]


@kernel
def fraction_layer_range(p0: U64, p1: U64, q0: U64, q1: U64, out_p: U64, out_q: U64, first: int, start: int, stop: int) -> None:
    """:func:`leaf_layer_range` for fractions over F, (2, n) each."""
    pa0, pa1, pb0, pb1 = p0[0, start:stop], p0[1, start:stop], p1[0, start:stop], p1[1, start:stop]
    qa0, qa1, qb0, qb1 = q0[0, start:stop], q0[1, start:stop], q1[0, start:stop], q1[1, start:stop]
    op0, op1 = out_p[0, start - first : stop - first], out_p[1, start - first : stop - first]
    oq0, oq1 = out_q[0, start - first : stop - first], out_q[1, start - first : stop - first]
    for i in range(stop - start):
        x0, x1 = emul(pa0[i], pa1[i], qb0[i], qb1[i])
        y0, y1 = emul(pb0[i], pb1[i], qa0[i], qa1[i])
        op0[i] = fadd(x0, y0)
        op1[i] = fadd(x1, y1)
        z0, z1 = emul(qa0[i], qa1[i], qb0[i], qb1[i])
        oq0[i] = z0
        oq1[i] = z1


@kernel
def _bind(l0: U64, l1: U64, h0: U64, h1: U64, r0: Any, r1: Any, o0: U64, o1: U64) -> None:
    for i in range(o0.shape[0]):
        d0, d1 = emul(fsub(h0[i], l0[i]), fsub(h1[i], l1[i]), r0, r1)
        o0[i] = fadd(l0[i], d0)
        o1[i] = fadd(l1[i], d1)


@kernel
def _bind_to_tail(l0: U64, l1: U64, tail0: Any, tail1: Any, r0: Any, r1: Any, o0: U64, o1: U64) -> None:
    for i in range(o0.shape[0]):
        d0, d1 = emul(fsub(tail0, l0[i]), fsub(tail1, l1[i]), r0, r1)
        o0[i] = fadd(l0[i], d0)
        o1[i] = fadd(l1[i], d1)


@kernel
def _bind_base(low: U64, high: U64, r0: Any, r1: Any, o0: U64, o1: U64) -> None:
    for i in range(o0.shape[0]):
        d = fsub(high[i], low[i])
        o0[i] = fadd(low[i], fmul(d, r0))
        o1[i] = fmul(d, r1)


@kernel
def bound_range(values: U64, half: int, tail0: Any, tail1: Any, r0: Any, r1: Any, out: U64, start: int, stop: int) -> None:
    """Cells [start, stop) of a vector of 2·half cells, its first variable bound to r.

    values (2, V), constant behind V, or (2·half,) over F_p. out (2, min(V, half)): behind that it is the same constant.
    """
    if values.ndim == 1:
        _bind_base(values[start:stop], values[half + start : half + stop], r0, r1, out[0, start:stop], out[1, start:stop])
    else:
        v0, v1, o0, o1 = values[0], values[1], out[0], out[1]
        end = max(start, min(stop, out.shape[1]))
        cut = max(start, min(end, values.shape[1] - half))
        high = half + start
        _bind(v0[start:cut], v1[start:cut], v0[high : half + cut], v1[high : half + cut], r0, r1, o0[start:cut], o1[start:cut])
        _bind_to_tail(v0[cut:end], v1[cut:end], tail0, tail1, r0, r1, o0[cut:end], o1[cut:end])


@kernel
def mix_range(s1: U64, q1: U64, m0: Any, m1: Any, start: int, stop: int) -> None:
    """s1 += mix·q1 in cells [start, stop), as far as the vectors (2, V) go."""
    end = min(stop, s1.shape[1])
    s0, s1_, q0, q1_ = s1[0, start:end], s1[1, start:end], q1[0, start:end], q1[1, start:end]
    for i in range(end - start):
        x0, x1 = emul(q0[i], q1_[i], m0, m1)
        s0[i] = fadd(s0[i], x0)
        s1_[i] = fadd(s1_[i], x1)


@kernel
def _pairs(
    e0: U64, e1: U64,
    al0: U64, al1: U64, ah0: U64, ah1: U64, bl0: U64, bl1: U64, bh0: U64, bh1: U64,
    cl0: U64, cl1: U64, ch0: U64, ch1: U64, dl0: U64, dl1: U64, dh0: U64, dh1: U64,
) -> Any:  # fmt: skip
    """Constant and leading coefficient of Σ eq·(a·b + c·d), each linear from its low to its high half."""
    constant = eproducts()
    leading = eproducts()
    for i in range(e0.shape[0]):
        x0, x1 = emul(al0[i], al1[i], bl0[i], bl1[i])
        y0, y1 = emul(cl0[i], cl1[i], dl0[i], dl1[i])
        egather(constant, fadd(x0, y0), fadd(x1, y1), e0[i], e1[i])
        x0, x1 = emul(fsub(ah0[i], al0[i]), fsub(ah1[i], al1[i]), fsub(bh0[i], bl0[i]), fsub(bh1[i], bl1[i]))
        y0, y1 = emul(fsub(ch0[i], cl0[i]), fsub(ch1[i], cl1[i]), fsub(dh0[i], dl0[i]), fsub(dh1[i], dl1[i]))
        egather(leading, fadd(x0, y0), fadd(x1, y1), e0[i], e1[i])
    a0, a1 = esum(constant)
    c0, c1 = esum(leading)
    return a0, a1, c0, c1


@kernel
def _pairs_base(
    e0: U64, e1: U64, al: U64, ah: U64, bl0: U64, bl1: U64, bh0: U64, bh1: U64,
    cl0: U64, cl1: U64, ch0: U64, ch1: U64, dl0: U64, dl1: U64, dh0: U64, dh1: U64,
) -> Any:  # fmt: skip
    """:func:`_pairs` with a over F_p."""
    constant = eproducts()
    leading = eproducts()
    for i in range(e0.shape[0]):
        y0, y1 = emul(cl0[i], cl1[i], dl0[i], dl1[i])
        egather(constant, fadd(fmul(al[i], bl0[i]), y0), fadd(fmul(al[i], bl1[i]), y1), e0[i], e1[i])
        y0, y1 = emul(fsub(ch0[i], cl0[i]), fsub(ch1[i], cl1[i]), fsub(dh0[i], dl0[i]), fsub(dh1[i], dl1[i]))
        d = fsub(ah[i], al[i])
        x0, x1 = fmul(d, fsub(bh0[i], bl0[i])), fmul(d, fsub(bh1[i], bl1[i]))
        egather(leading, fadd(x0, y0), fadd(x1, y1), e0[i], e1[i])
    a0, a1 = esum(constant)
    c0, c1 = esum(leading)
    return a0, a1, c0, c1


@kernel
def _weighted_sum(e0: U64, e1: U64, v0: U64, v1: U64) -> Any:
    words = eproducts()
    for i in range(e0.shape[0]):
        egather(words, v0[i], v1[i], e0[i], e1[i])
    return esum(words)


@kernel
def _weighted_sum_base(e0: U64, e1: U64, v: U64) -> Any:
    a = fproducts()
    b = fproducts()
    for i in range(e0.shape[0]):
        fgather(a, v[i], e0[i])
        fgather(b, v[i], e1[i])
    return fsum(a), fsum(b)


@kernel
def _halves(
    eq: U64, p0: U64, q1: U64, q0: U64, s1: U64, tails: U64, known_low: bool, known_high: bool, start: int, stop: int
) -> Any:
    """:func:`_pairs` over pairs [start, stop), at most one block; q1 and s1 are ``tails`` where they are not known."""
    half = q0.shape[1] // 2
    low, high = half + start, half + stop
    e0, e1 = eq[0, start:stop], eq[1, start:stop]
    c0, c1 = q0[0], q0[1]
    if not known_low:  # q1 is 1 and s1 is mix on both sides: Σ eq·(p0 + mix·q0), and a leading coefficient of 0
        x0, x1 = _weighted_sum(e0, e1, c0[start:stop], c1[start:stop])
        y0, y1 = emul(x0, x1, tails[2, 0], tails[3, 0])
        if p0.ndim == 1:
            x0, x1 = _weighted_sum_base(e0, e1, p0[start:stop])
        else:
            x0, x1 = _weighted_sum(e0, e1, p0[0, start:stop], p0[1, start:stop])
        return fadd(x0, y0), fadd(x1, y1), _ZERO, _ZERO
    bl0, bl1, dl0, dl1 = q1[0, start:stop], q1[1, start:stop], s1[0, start:stop], s1[1, start:stop]
    if known_high:
        bh0, bh1, dh0, dh1 = q1[0, low:high], q1[1, low:high], s1[0, low:high], s1[1, low:high]
    else:
        count = stop - start
        bh0, bh1, dh0, dh1 = tails[0, :count], tails[1, :count], tails[2, :count], tails[3, :count]
    if p0.ndim == 1:
        return _pairs_base(
            e0, e1, p0[start:stop], p0[low:high], bl0, bl1, bh0, bh1,
            c0[start:stop], c1[start:stop], c0[low:high], c1[low:high], dl0, dl1, dh0, dh1,
        )  # fmt: skip
    return _pairs(
        e0, e1, p0[0, start:stop], p0[1, start:stop], p0[0, low:high], p0[1, low:high], bl0, bl1, bh0, bh1,
        c0[start:stop], c1[start:stop], c0[low:high], c1[low:high], dl0, dl1, dh0, dh1,
    )  # fmt: skip


@kernel
def _tails(m0: Any, m1: Any) -> Any:
    """What q1 and s1 hold behind their ends, a block long: 1 and mix, by components."""
    tails = np.zeros((4, _BLOCK), dtype=np.uint64)
    tails[0, :] = _ONE
    tails[2, :] = m0
    tails[3, :] = m1
    return tails


@kernel
def _round(eq: U64, p0: U64, q1: U64, q0: U64, s1: U64, tails: U64, start: int, stop: int) -> Any:
    """:func:`_halves` over at most one block, cut where one of its halves is no longer known."""
    half = q0.shape[1] // 2
    both = max(start, min(stop, q1.shape[1] - half))
    some = max(both, min(stop, q1.shape[1]))
    a0, a1, c0, c1 = _halves(eq, p0, q1, q0, s1, tails, True, True, start, both)
    x0, x1, y0, y1 = _halves(eq, p0, q1, q0, s1, tails, True, False, both, some)
    a0, a1, c0, c1 = fadd(a0, x0), fadd(a1, x1), fadd(c0, y0), fadd(c1, y1)
    x0, x1, y0, y1 = _halves(eq, p0, q1, q0, s1, tails, False, False, some, stop)
    return fadd(a0, x0), fadd(a1, x1), c0, c1


@kernel
def fraction_start_range(eq: U64, p0: U64, q1: U64, q0: U64, s1: U64, m0: Any, m1: Any, start: int, stop: int) -> Any:
    """The first round of Σ eq·(p0·q1 + q0·s1), s1 being p1 before and p1 + mix·q1 after; over pairs [start, stop).

    Args:
        eq: (2, n/2), over the remaining variables. p0: (2, n), or (n,) over F_p as of leaves. q0: (2, n).
        q1, s1: (2, V), V ≤ n; behind V, q1 is 1, p1 is 0 and so s1 is mix.

    Returns:
        Constant and leading coefficient of the inner polynomial, as four words.
    """
    half = q0.shape[1] // 2
    tails = _tails(m0, m1)
    a0 = a1 = c0 = c1 = _ZERO
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        mix_range(s1, q1, m0, m1, first, last)
        mix_range(s1, q1, m0, m1, half + first, half + last)
        x0, x1, y0, y1 = _round(eq, p0, q1, q0, s1, tails, first, last)
        a0, a1, c0, c1 = fadd(a0, x0), fadd(a1, x1), fadd(c0, y0), fadd(c1, y1)
    return a0, a1, c0, c1


@kernel
def fraction_next_range(
    eq: U64, p0: U64, q1: U64, q0: U64, s1: U64, m0: Any, m1: Any, r0: Any, r1: Any,
    out_p0: U64, out_q1: U64, out_q0: U64, out_s1: U64, start: int, stop: int,
) -> Any:  # fmt: skip
    """Bind the first variable to r, and compute the next round in the same pass; over pairs [start, stop) of what is bound.

    Operands as :func:`fraction_start_range` leaves them. Outputs have half the cells, of q1 and s1 the first min(V, n/2), and
    are all over F. eq: (2, n/4).
    """
    half = q0.shape[1] // 2
    quarter = half // 2
    tails = _tails(m0, m1)
    a0 = a1 = c0 = c1 = _ZERO
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        for shift in (0, quarter):
            at, end = shift + first, shift + last
            bound_range(p0, half, _ZERO, _ZERO, r0, r1, out_p0, at, end)
            bound_range(q0, half, _ZERO, _ZERO, r0, r1, out_q0, at, end)
            bound_range(q1, half, _ONE, _ZERO, r0, r1, out_q1, at, end)
            bound_range(s1, half, m0, m1, r0, r1, out_s1, at, end)
        x0, x1, y0, y1 = _round(eq, out_p0, out_q1, out_q0, out_s1, tails, first, last)
        a0, a1, c0, c1 = fadd(a0, x0), fadd(a1, x1), fadd(c0, y0), fadd(c1, y1)
    return a0, a1, c0, c1


@kernel
def add_scaled_range(p: U64, q: U64, s0: Any, s1: Any, out: U64, start: int, stop: int) -> None:
    """Cells [start, stop) of p + s·q over F."""
    p0, p1, q0, q1 = p[0, start:stop], p[1, start:stop], q[0, start:stop], q[1, start:stop]
    o0, o1 = out[0, start:stop], out[1, start:stop]
    for i in range(stop - start):
        x0, x1 = emul(q0[i], q1[i], s0, s1)
        o0[i] = fadd(p0[i], x0)
        o1[i] = fadd(p1[i], x1)


@kernel
def fraction_round_range(eq: U64, p0: U64, q1: U64, q0: U64, s1: U64, start: int, stop: int) -> Any:
    """One round of Σ eq·(p0·q1 + q0·s1), s1 = p1 + λ·q1: constant and leading coefficient of the inner polynomial.

    eq (2, n/2) is over the remaining variables, the others are (2, n); over pairs [start, stop).
    """
    half = p0.shape[1] // 2
    high, end = half + start, half + stop
    e0, e1 = eq[0, start:stop], eq[1, start:stop]
    al0, al1, ah0, ah1 = p0[0, start:stop], p0[1, start:stop], p0[0, high:end], p0[1, high:end]
    bl0, bl1, bh0, bh1 = q1[0, start:stop], q1[1, start:stop], q1[0, high:end], q1[1, high:end]
    cl0, cl1, ch0, ch1 = q0[0, start:stop], q0[1, start:stop], q0[0, high:end], q0[1, high:end]
    dl0, dl1, dh0, dh1 = s1[0, start:stop], s1[1, start:stop], s1[0, high:end], s1[1, high:end]
    constant = eproducts()
    leading = eproducts()
    for i in range(stop - start):
        x0, x1 = emul(al0[i], al1[i], bl0[i], bl1[i])
        y0, y1 = emul(cl0[i], cl1[i], dl0[i], dl1[i])
        egather(constant, fadd(x0, y0), fadd(x1, y1), e0[i], e1[i])
        x0, x1 = emul(fsub(ah0[i], al0[i]), fsub(ah1[i], al1[i]), fsub(bh0[i], bl0[i]), fsub(bh1[i], bl1[i]))
        y0, y1 = emul(fsub(ch0[i], cl0[i]), fsub(ch1[i], cl1[i]), fsub(dh0[i], dl0[i]), fsub(dh1[i], dl1[i]))
        egather(leading, fadd(x0, y0), fadd(x1, y1), e0[i], e1[i])
    return (*esum(constant), *esum(leading))


@kernel
def fingerprints(t0: U64, t1: U64, constant: U64, first: U64 | Ints, second: U64 | Ints, b0: Any, b1: Any) -> None:
    """t = constant − first − β·second, for columns over F_p or of signed integers and a constant (2,) in F; t by components."""
    c0 = constant[0]
    c1 = constant[1]
    for i in range(first.shape[0]):
        y = ffrom(second[i])
        t0[i] = fsub(fsub(c0, ffrom(first[i])), fmul(y, b0))
        t1[i] = fsub(c1, fmul(y, b1))


@kernel
def fingerprints_single(t0: U64, t1: U64, constant: U64, first: U64 | Ints) -> None:
    """t = constant − first, for a column as in :func:`fingerprints`."""
    c0 = constant[0]
    c1 = constant[1]
    for i in range(first.shape[0]):
        t0[i] = fsub(c0, ffrom(first[i]))
        t1[i] = c1
