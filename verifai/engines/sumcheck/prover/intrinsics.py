"""Goldilocks arithmetic as LLVM intrinsics: branch-free, canonical outputs, quick to compile.

docs/engine/protocol.md, section "The prover's arithmetic", says why.

Every function takes canonical operands (< p) and returns canonical results; functions that begin with e work on pairs.

A sum of products is kept as plain integers, unreduced, until it ends (:func:`fproducts`, :func:`eproducts`): LLVM turns sums
of integers into vector code, which it cannot with sums modulo p, and one reduction replaces one per term.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
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


def _words(b: Any, x: Any, y: Any) -> list[Any]:
    """x·y = Σ word_k·2^(32k), every word below 3·2^32."""
    x0, x1 = b.and_(x, _c(_EPS)), b.lshr(x, _c(32))
    y0, y1 = b.and_(y, _c(_EPS)), b.lshr(y, _c(32))
    p00, p01, p10, p11 = b.mul(x0, y0), b.mul(x0, y1), b.mul(x1, y0), b.mul(x1, y1)
    low = [b.and_(one, _c(_EPS)) for one in (p00, p01, p10, p11)]
    high = [b.lshr(one, _c(32)) for one in (p00, p01, p10, p11)]
    return [low[0], b.add(high[0], b.add(low[1], low[2])), b.add(low[3], b.add(high[1], high[2])), high[3]]


_JOIN = "verifai.join"


def _joined(b: Any, words: list[Any]) -> Any:
    """Σ word_k·2^(32k) mod p, for any four words below 2^64.

    A function of its own that is never inlined: from what follows a loop, LLVM would draw conclusions (``freeze``) back into
    the loop, which then no longer looks like a sum to it and stays scalar.
    """
    function = b.module.globals.get(_JOIN)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(_I64, [_I64] * 4), _JOIN)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inside = ir.IRBuilder(function.append_basic_block())
        w0, w1, w2, w3 = (_canonical(inside, word) for word in function.args)
        # 2^64 ≡ 2^32 − 1 and 2^96 ≡ −1.
        total = _add(inside, w0, _mul(inside, w1, _c(1 << 32)))
        inside.ret(_sub(inside, _add(inside, total, _mul(inside, w2, _c(_EPS))), w3))
    return b.call(function, words)


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
_WORDS = types.CPointer(types.uint64)

MAX_TERMS = 1 << 30
"""Most terms of one sum of products: each adds less than 3·2^32 to a word of 64 bits. No tensor has more than 2^28 cells."""


@intrinsic
def fadd(typingctx: Any, x: Any, y: Any) -> Any:
    """x + y in F_p."""
    return _U(_U, _U), lambda context, builder, signature, args: _add(builder, *args)


@intrinsic
def fsub(typingctx: Any, x: Any, y: Any) -> Any:
    """x − y in F_p."""
    return _U(_U, _U), lambda context, builder, signature, args: _sub(builder, *args)


@intrinsic
def ffrom(typingctx: Any, x: Any) -> Any:
    """A signed integer as an element of F_p; what is unsigned is one already."""
    signed = x.signed

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x,) = args
        negative = builder.icmp_signed("<", x, _c(0))
        return builder.select(negative, builder.add(x, _c(_P)), x) if signed else x

    return _U(types.int64 if signed else _U), generate


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


def _fresh(builder: Any, count: int) -> Any:
    """Words on the stack, set to 0; each call site has its own. LLVM turns them into registers."""
    array = cgutils.alloca_once(builder, ir.ArrayType(_I64, count))
    first = builder.gep(array, [_c(0), _c(0)])
    for k in range(count):
        builder.store(_c(0), builder.gep(first, [_c(k)]))
    return first


def _gather(builder: Any, words: Any, added: list[Any]) -> None:
    for k, word in enumerate(added):
        place = builder.gep(words, [_c(k)])
        builder.store(builder.add(builder.load(place), word), place)


def _gathered(builder: Any, words: Any, start: int) -> Any:
    return _joined(builder, [builder.load(builder.gep(words, [_c(start + k)])) for k in range(4)])


@intrinsic
def fproducts(typingctx: Any) -> Any:
    """An empty sum of products in F_p: four words, for :func:`fgather` and :func:`fsum` in the same kernel."""
    return _WORDS(), lambda context, builder, signature, args: _fresh(builder, 4)


@intrinsic
def eproducts(typingctx: Any) -> Any:
    """An empty sum of products in F: twelve words, for :func:`egather` and :func:`esum` in the same kernel."""
    return _WORDS(), lambda context, builder, signature, args: _fresh(builder, 12)


@intrinsic
def fgather(typingctx: Any, words: Any, x: Any, y: Any) -> Any:
    """Add x·y, in F_p, to the sum."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, x, y = args
        _gather(builder, words, _words(builder, x, y))
        return context.get_dummy_value()

    return types.void(_WORDS, _U, _U), generate


@intrinsic
def fsum(typingctx: Any, words: Any) -> Any:
    """The sum in F_p."""
    return _U(_WORDS), lambda context, builder, signature, args: _gathered(builder, args[0], 0)


@intrinsic
def egather(typingctx: Any, words: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Add (a + b·x)(c + d·x), in F, to the sum: a·c, b·d and (a + b)(c + d), four words each."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, a, b, c, d = args
        cross = _words(builder, _add(builder, a, b), _add(builder, c, d))
        _gather(builder, words, _words(builder, a, c) + _words(builder, b, d) + cross)
        return context.get_dummy_value()

    return types.void(_WORDS, _U, _U, _U, _U), generate


@intrinsic
def esum(typingctx: Any, words: Any) -> Any:
    """The sum in F, as a pair."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ac, bd, cross = (_gathered(builder, args[0], k) for k in (0, 4, 8))
        first = _add(builder, ac, _mul7(builder, bd))
        return _pair(context, builder, signature, first, _sub(builder, cross, _add(builder, ac, bd)))

    return _U2(_WORDS), generate
