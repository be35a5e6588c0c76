"""Goldilocks arithmetic as LLVM intrinsics: branch-free, canonical outputs, quick to compile.

docs/engine/protocol.md, section "The prover's arithmetic", says why.

Every function takes canonical operands (< p) and returns canonical results. ``ext_*`` work on pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _untyped_intrinsic


def intrinsic(function: Callable[..., Any]) -> Any:
    """``numba.extending.intrinsic``, typed: the typing context, its first parameter, is not for callers."""
    return _untyped_intrinsic(function)


_I64 = ir.IntType(64)
_P = 2**64 - 2**32 + 1
_EPS = 2**32 - 1


def _c(value: int) -> Any:
    return ir.Constant(_I64, value)


def _add(b: Any, x: Any, y: Any) -> Any:
    """x + y mod p: the sum wraps at most once; adding 2^32 − 1 replaces 2^64 by its residue."""
    total = b.add(x, y)
    wrapped = b.icmp_unsigned("<", total, x)
    over = b.icmp_unsigned(">=", total, _c(_P))
    return b.select(b.or_(wrapped, over), b.sub(total, _c(_P)), total)


def _sub(b: Any, x: Any, y: Any) -> Any:
    difference = b.sub(x, y)
    return b.select(b.icmp_unsigned("<", x, y), b.add(difference, _c(_P)), difference)


def _canonical(b: Any, x: Any) -> Any:
    return b.select(b.icmp_unsigned(">=", x, _c(_P)), b.sub(x, _c(_P)), x)


def _reduce(b: Any, low: Any, high: Any) -> Any:
    """low + 2^64·high mod p, by 2^64 ≡ 2^32 − 1 and 2^96 ≡ −1."""
    high_high = b.lshr(high, _c(32))
    high_low = b.and_(high, _c(_EPS))
    first = b.sub(low, high_high)
    borrowed = b.icmp_unsigned("<", low, high_high)
    first = b.select(borrowed, b.sub(first, _c(_EPS)), first)
    second = b.sub(b.shl(high_low, _c(32)), high_low)
    total = b.add(first, second)
    carried = b.icmp_unsigned("<", total, second)
    total = b.select(carried, b.add(total, _c(_EPS)), total)
    return _canonical(b, total)


def _wide(b: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The 128-bit product as (low, high), from 32-bit limbs: LLVM turns this into vector code, which it cannot with i128."""
    x0, x1 = b.and_(x, _c(_EPS)), b.lshr(x, _c(32))
    y0, y1 = b.and_(y, _c(_EPS)), b.lshr(y, _c(32))
    p00, p01, p10, p11 = b.mul(x0, y0), b.mul(x0, y1), b.mul(x1, y0), b.mul(x1, y1)
    middle = b.add(b.add(b.lshr(p00, _c(32)), b.and_(p01, _c(_EPS))), p10)
    high = b.add(b.add(b.lshr(p01, _c(32)), b.lshr(middle, _c(32))), p11)
    low = b.or_(b.shl(middle, _c(32)), b.and_(p00, _c(_EPS)))
    return low, high


def _mul(b: Any, x: Any, y: Any) -> Any:
    low, high = _wide(b, x, y)
    return _reduce(b, low, high)


def _mul7(b: Any, x: Any) -> Any:
    """7·x: the product's high word is below 7, so its residue high·(2^32 − 1) is one more small addition."""
    high = b.mul(b.lshr(x, _c(32)), _c(7))
    carry = b.lshr(b.mul(b.and_(x, _c(_EPS)), _c(7)), _c(32))
    top = b.lshr(b.add(high, carry), _c(32))
    low = b.mul(x, _c(7))
    total = b.add(low, b.mul(top, _c(_EPS)))
    carried = b.icmp_unsigned("<", total, low)
    return _canonical(b, b.select(carried, b.add(total, _c(_EPS)), total))


def _pair(context: Any, builder: Any, signature: Any, first: Any, second: Any) -> Any:
    return context.make_tuple(builder, signature.return_type, [first, second])


_U = types.uint64
_U2 = types.UniTuple(types.uint64, 2)


@intrinsic
def fadd(typingctx: Any, x: Any, y: Any) -> Any:
    """x + y in F_p."""
    return _U(_U, _U), lambda context, builder, signature, args: _add(builder, *args)


@intrinsic
def fsub(typingctx: Any, x: Any, y: Any) -> Any:
    """x − y in F_p."""
    return _U(_U, _U), lambda context, builder, signature, args: _sub(builder, *args)


@intrinsic
def fmul(typingctx: Any, x: Any, y: Any) -> Any:
    """x·y in F_p."""
    return _U(_U, _U), lambda context, builder, signature, args: _mul(builder, *args)


@intrinsic
def emul(typingctx: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """(a + b·x)(c + d·x) in F; returns the pair."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b, c, d = args
        ac, bd = _mul(builder, a, c), _mul(builder, b, d)
        cross = _mul(builder, _add(builder, a, b), _add(builder, c, d))
        first = _add(builder, ac, _mul7(builder, bd))
        second = _sub(builder, cross, _add(builder, ac, bd))
        return _pair(context, builder, signature, first, second)

    return _U2(_U, _U, _U, _U), generate
