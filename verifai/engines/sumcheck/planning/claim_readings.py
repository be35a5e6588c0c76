"""Readings that several rules count: windows, taps of a maximum, a row's differences. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Tensor
from verifai.engines.sumcheck.planning.claim_counter import ENTRY_BYTES, STEP_NS, ClaimCounter, Mask, dense_entries
from verifai.engines.sumcheck.protocol.buses import taps
from verifai.engines.sumcheck.protocol.convolution import DIRECT_RATIO, DIRECT_STEPS


def count_window(
    c: ClaimCounter, op: Any, kernel: Sequence[int], source: Tensor, out: Tensor, times: int, ones: bool = False
) -> None:
    """Height and width of the operand's functional: :func:`..protocol.convolution.windows`."""
    dilation = (1, 1) if isinstance(op, ops.WindowSum) else op.dilation
    for d in range(2):
        entries, taps_, stride = out.shape[d - 2], kernel[d], op.stride[d]
        c.look(out.padded[d - 2], times)
        c.make(source.padded[d - 2], times)
        spread = (entries * stride + taps_ * dilation[d]) // gcd(stride, dilation[d])
        steps = taps_ if ones or taps_ == 1 else 0
        if not ones and entries * taps_ <= max(DIRECT_STEPS, DIRECT_RATIO * spread):
            steps = entries * taps_
        elif not ones:
            # Karatsuba's method: the longer operand in pieces as long as the shorter one.
            short, long = sorted((entries * stride, taps_ * dilation[d]))
            steps = 6 * spread + int(short**0.585) * long
            c.most = max(c.most, 6 * ENTRY_BYTES * spread)
        c.nanoseconds += times * STEP_NS * steps


def grid(source: Tensor) -> Mask:
    """Height and width."""
    return 0b11 << len(source.shape) - 2


def read_taps(c: ClaimCounter, op: ops.WindowMax, times: int) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    for _ in taps(op):
        count_window(c, op, (1, 1), source, out, times)
        c.look(2 * dense_entries(source.bits, grid(source)), times)
        c.read(op.x, grid(source), times)


def read_difference(c: ClaimCounter, op: ops.RowMax) -> None:
    c.read(op.out, 0, 1)
    c.read(op.x, 0, 1)


def along_rows(c: ClaimCounter, source: Tensor) -> None:
    """A column under weights of the last axis' places."""
    c.make(source.padded[-1], 1)
    c.column(source, 1, 1 << (len(source.shape) - 1))
