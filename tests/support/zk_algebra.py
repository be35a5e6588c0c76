"""Exact linear algebra over F_p: reduced row echelon form, products, and pairs of F as rows over F_p."""

from __future__ import annotations

import numpy as np

from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.prover.intrinsics import fadd, fmul, fsub
from verifai.engines.sumcheck.prover.jit import kernel

P64 = np.uint64(P)


@kernel
def _times(matrix, vector, out):
    for i in range(matrix.shape[0]):
        total = np.uint64(0)
        for j in range(matrix.shape[1]):
            if matrix[i, j] != 0:
                total = fadd(total, fmul(matrix[i, j], vector[j]))
        out[i] = total


@kernel
def _multiply(left, right, out):
    for i in range(left.shape[0]):
        out[i] = fmul(left[i], right[i])


@kernel
def _inverse(value):
    result, base, exponent = np.uint64(1), value, np.uint64(0xFFFFFFFEFFFFFFFF)  # p − 2
    while exponent != 0:
        if exponent & np.uint64(1):
            result = fmul(result, base)
        base = fmul(base, base)
        exponent = exponent >> np.uint64(1)
    return result


@kernel
def _reduce(matrix, columns, pivots):
    """Full reduction, row by row; rows are not swapped. Zeros are skipped: most rows and columns are sparse."""
    touched = np.empty(matrix.shape[1], dtype=np.int64)
    for row in range(matrix.shape[0]):
        pivot = -1
        for column in range(columns):
            if matrix[row, column] != 0:
                pivot = column
                break
        pivots[row] = pivot
        if pivot < 0:
            continue
        scale, count = _inverse(matrix[row, pivot]), 0
        for column in range(pivot, matrix.shape[1]):
            if matrix[row, column] != 0:
                matrix[row, column] = fmul(matrix[row, column], scale)
                touched[count] = column
                count += 1
        for other in range(matrix.shape[0]):
            factor = matrix[other, pivot]
            if other != row and factor != 0:
                for k in range(count):
                    column = touched[k]
                    matrix[other, column] = fsub(matrix[other, column], fmul(factor, matrix[row, column]))


def times(matrix, vector):
    """matrix·vector: (m, n) and (n,)."""
    out = np.empty(matrix.shape[0], dtype=np.uint64)
    _times(matrix, vector, out)
    return out


def add(left, right):
    """left + right, canonical."""
    total = left + right
    return np.where((total < left) | (total >= P64), total - P64, total)


def multiply(left, right):
    """left·right, entry by entry, (n,) each."""
    out = np.empty(len(left), dtype=np.uint64)
    _multiply(np.ascontiguousarray(left), np.ascontiguousarray(right), out)
    return out


def subtract(left, right):
    """left − right, canonical."""
    return np.where(left < right, left - right + P64, left - right)


def reduce(matrix, columns):
    """Bring ``matrix`` into reduced form in place; per row its pivot's column, among the first ``columns``, or −1."""
    pivots = np.empty(matrix.shape[0], dtype=np.int64)
    _reduce(matrix, columns, pivots)
    return pivots


def uniform(random, count):
    """Elements of F_p from a NumPy generator."""
    return random.integers(0, P, count, dtype=np.uint64)
