"""Windows of functionals: all ways to compute them give the sum that defines them."""

from __future__ import annotations

import random

from verifai.engines.sumcheck.protocol import convolution, field
from verifai.engines.sumcheck.protocol.axes import Dense
from verifai.engines.sumcheck.protocol.convolution import windows
from verifai.engines.sumcheck.protocol.field import ONE, ZERO, Ext, P
from verifai.engines.sumcheck.protocol.geometry import truncated


def _vector(pick: random.Random, count: int) -> list[Ext]:
    edges = [ZERO, ONE, (P - 1, P - 1), (P - 1, 0), (0, P - 1)]
    return [pick.choice(edges) if pick.random() < 0.2 else (pick.randrange(P), pick.randrange(P)) for _ in range(count)]


def _defined(entries, weights, length, size, stride, dilation, pad):
    result = [ZERO] * length
    for u, weight in enumerate(weights):
        for o, entry in enumerate(entries):
            i = o * stride + u * dilation - pad
            if 0 <= i < size:
                result[i] = field.add(result[i], field.product(entry, weight))
    return tuple(result)


def test_every_way_gives_the_sum_that_defines_it(monkeypatch):
    pick = random.Random(7)
    for _ in range(300):
        out, kernel = pick.randrange(1, 12), pick.randrange(1, 9)
        stride, dilation, pad = pick.randrange(1, 7), pick.randrange(1, 5), pick.randrange(0, 9)
        size = pick.randrange(1, 60)
        shape = (1 << (size - 1).bit_length(), size, stride, dilation, pad)
        entries = _vector(pick, out)
        for weights in (_vector(pick, kernel), [ONE] * kernel, [ZERO] * (kernel - 1) + [ONE], [ZERO] * kernel):
            expected = _defined(entries, weights, *shape)
            assert windows(entries, weights, *shape) == expected
            assert convolution._multiplied(entries, weights, *shape) == expected


def test_large_kernels_are_not_taken_entry_by_entry(monkeypatch):
    monkeypatch.setattr(convolution, "_direct", None)
    pick = random.Random(8)
    entries, weights = _vector(pick, 1 << 10), _vector(pick, 1 << 9)
    shape = (1 << 11, (1 << 10) + (1 << 9) - 1, 1, 1, 0)
    whole = windows(entries, weights, *shape)
    assert field.total(whole) == field.product(field.total(entries), field.total(weights))
    assert windows(entries, [ONE] * (1 << 15), 1, 1, 1, 1, 5) == (field.total(entries[: 5 + 1]),)


def test_an_axis_without_padding_is_handed_on_before_anything_is_made():
    class Lazy(Dense):
        def dense(self):
            raise AssertionError("a vector as long as the axis was made")

    axis = Lazy((ONE,) * 8)
    assert truncated(axis, 8) is axis
