"""The hot loops of the lookups: leaves, layers and rounds of fractions. Arrays as in :mod:`.kernels`."""

from __future__ import annotations

from typing import Any

from verifai.engines.sumcheck.prover.intrinsics import egather, emul, eproducts, esum, fadd, fmul, fsub
from verifai.engines.sumcheck.prover.jit import kernel
from verifai.engines.sumcheck.prover.kernels import U64



@kernel
def fraction_layer_range(p: U64, q: U64, out_p: U64, out_q: U64, start: int, stop: int) -> None:
    """Fractions [start, stop) of p0/q0 + p1/q1, all in one half of the layer above.

    Layers are (half, component, h): (2, 2, h) → two of (2, 2, h/2), h ≥ 2.
    """
    size = p.shape[2] // 2
    half = start // size
    first, last = start - half * size, stop - half * size
    pa0, pa1, pb0, pb1 = p[0, 0, start:stop], p[0, 1, start:stop], p[1, 0, start:stop], p[1, 1, start:stop]
    qa0, qa1, qb0, qb1 = q[0, 0, start:stop], q[0, 1, start:stop], q[1, 0, start:stop], q[1, 1, start:stop]
    op0, op1 = out_p[half, 0, first:last], out_p[half, 1, first:last]
    oq0, oq1 = out_q[half, 0, first:last], out_q[half, 1, first:last]
    for i in range(stop - start):
        x0, x1 = emul(pa0[i], pa1[i], qb0[i], qb1[i])
        y0, y1 = emul(pb0[i], pb1[i], qa0[i], qa1[i])
        op0[i] = fadd(x0, y0)
        op1[i] = fadd(x1, y1)
        z0, z1 = emul(qa0[i], qa1[i], qb0[i], qb1[i])
        oq0[i] = z0
        oq1[i] = z1


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
def fingerprints(t0: U64, t1: U64, constant: U64, first: U64, second: U64, b0: Any, b1: Any) -> None:
    """t = constant − first − β·second, for columns over F_p and a constant (2,) in F; t by components."""
    c0 = constant[0]
    c1 = constant[1]
    for i in range(first.shape[0]):
        t0[i] = fsub(fsub(c0, first[i]), fmul(second[i], b0))
        t1[i] = fsub(c1, fmul(second[i], b1))


@kernel
def fingerprints_single(t0: U64, t1: U64, constant: U64, first: U64) -> None:
    """t = constant − first, for a column over F_p."""
    c0 = constant[0]
    c1 = constant[1]
    for i in range(first.shape[0]):
        t0[i] = fsub(c0, first[i])
        t1[i] = c1
