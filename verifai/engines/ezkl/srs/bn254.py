"""Just enough of the curve BN254 (alt_bn128) to judge a structured reference string: no pairing, no secrets.

Sources: EIP-196 and EIP-197 for the primes, the equations and the generators. Affine coordinates, ``None`` for the point at
infinity. Not constant-time: everything here is public.
"""

from __future__ import annotations

from verifai.engines.ezkl.field import MODULUS

ORDER = MODULUS
PRIME = 0x30644E72E131A029B85045B68181585D97816A916871CA8D3C208C16D87CFD47
"""Base field of the curve y² = x³ + 3 (EIP-196)."""

Fp2 = tuple[int, int]
"""a + b·i with i² = −1."""
G1 = tuple[int, int]
G2 = tuple[Fp2, Fp2]

G1_GENERATOR: G1 = (1, 2)
G2_GENERATOR: G2 = (
    (
        0x1800DEEF121F1E76426A00665E5C4479674322D4F75EDADD46DEBD5CD992F6ED,
        0x198E9393920D483A7260BFB731FB5D25F1AA493335A9E71297E485B7AEF312C2,
    ),
    (
        0x12C85EA5DB8C6DEB4AAB71808DCB408FE3D1E7690C43D37B4CE6CC0166FA7DAA,
        0x090689D0585FF075EC9E99AD690C3395BC4B313370B38EF355ACDADCD122975B,
    ),
)


def on_g1(point: G1) -> bool:
    """Whether the point satisfies y² = x³ + 3. G1 has cofactor 1, so it is then in the group."""
    x, y = point
    return (y * y - x * x * x - 3) % PRIME == 0


def g1_add(p: G1 | None, q: G1 | None) -> G1 | None:
    """Affine addition."""
    if p is None:
        return q
    if q is None:
        return p
    if p[0] == q[0]:
        if (p[1] + q[1]) % PRIME == 0:
            return None
        slope = 3 * p[0] * p[0] * pow(2 * p[1], -1, PRIME)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, PRIME)
    x = (slope * slope - p[0] - q[0]) % PRIME
    return (x, (slope * (p[0] - x) - p[1]) % PRIME)


def g1_negate(p: G1) -> G1:
    """The inverse point."""
    return (p[0], -p[1] % PRIME)


def g1_multiply(p: G1, scalar: int) -> G1 | None:
    """``scalar`` · p by double and add."""
    result: G1 | None = None
    addend: G1 | None = p
    while scalar:
        if scalar & 1:
            result = g1_add(result, addend)
        addend = g1_add(addend, addend)
        scalar >>= 1
    return result


def in_g2(point: G2) -> bool:
    """Whether the point is on the twist y² = x³ + 3/(9 + i) and of order r (the twist has a cofactor)."""
    x, y = point
    left = _mul(y, y)
    twist_b = _mul((3, 0), _inverse((9, 1)))
    right = _add(_mul(_mul(x, x), x), twist_b)
    return left == right and _multiply(point, ORDER) is None


def _add(a: Fp2, b: Fp2) -> Fp2:
    return ((a[0] + b[0]) % PRIME, (a[1] + b[1]) % PRIME)


def _sub(a: Fp2, b: Fp2) -> Fp2:
    return ((a[0] - b[0]) % PRIME, (a[1] - b[1]) % PRIME)


def _mul(a: Fp2, b: Fp2) -> Fp2:
    return ((a[0] * b[0] - a[1] * b[1]) % PRIME, (a[0] * b[1] + a[1] * b[0]) % PRIME)


def _inverse(a: Fp2) -> Fp2:
    norm = pow(a[0] * a[0] + a[1] * a[1], -1, PRIME)
    return (a[0] * norm % PRIME, -a[1] * norm % PRIME)


def _g2_add(p: G2 | None, q: G2 | None) -> G2 | None:
    if p is None:
        return q
    if q is None:
        return p
    if p[0] == q[0]:
        if _add(p[1], q[1]) == (0, 0):
            return None
        slope = _mul(_mul((3, 0), _mul(p[0], p[0])), _inverse(_mul((2, 0), p[1])))
    else:
        slope = _mul(_sub(q[1], p[1]), _inverse(_sub(q[0], p[0])))
    x = _sub(_sub(_mul(slope, slope), p[0]), q[0])
    return (x, _sub(_mul(slope, _sub(p[0], x)), p[1]))


def _multiply(p: G2, scalar: int) -> G2 | None:
    result: G2 | None = None
    addend: G2 | None = p
    while scalar:
        if scalar & 1:
            result = _g2_add(result, addend)
        addend = _g2_add(addend, addend)
        scalar >>= 1
    return result
