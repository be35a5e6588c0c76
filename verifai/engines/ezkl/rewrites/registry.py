"""Rewrites of the graph that keep the function and make ezkl's circuit smaller.

Each is a named, deterministic pass over a canonical model. The names that were applied are pinned in the lock, so an auditor
rewrites the same canonical ONNX file with the same code and must reach the same verification key. ``docs/tuning.md`` says why
each one is exact; ``tests/unit/ezkl_tuning`` compares both graphs on onnxruntime.

The passes expect what canonicalisation promises: static shapes, explicit attributes, every value typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from verifai.engines.ezkl.parameters import FOLDED, CircuitParameters
from verifai.engines.ezkl.rewrites.affine import affine_into_products, fold
from verifai.engines.ezkl.rewrites.graph import Rewriting
from verifai.engines.ezkl.rewrites.pooling import absolute_values, max_pool_as_relu, relu_after_max_pool
from verifai.engines.ezkl.rewrites.products import convolution_as_matmul, vector_product_as_convolution
from verifai.errors import UsageError

REWRITES: Mapping[str, Callable[[Rewriting], int]] = {
    FOLDED: affine_into_products,
    "relu-after-max-pool": relu_after_max_pool,
    "absolute-values": absolute_values,
    "max-pool-as-relu": max_pool_as_relu,
    "convolution-as-matmul": convolution_as_matmul,
    "vector-product-as-convolution": vector_product_as_convolution,
}
"""Every rewrite, in the order in which they are useful. Names are pinned in locks: never change what a name does."""

_POOLS = ("relu-after-max-pool", "max-pool-as-relu")
_ABSOLUTE = ("relu-after-max-pool", "absolute-values", "max-pool-as-relu")
_MATMUL = ("convolution-as-matmul",)
_PRODUCTS = ("convolution-as-matmul", "vector-product-as-convolution")
PLANS: tuple[tuple[str, ...], ...] = (
    (FOLDED,),
    (FOLDED, *_POOLS),
    (FOLDED, *_ABSOLUTE),
    *((FOLDED, *first, *then) for first in (_POOLS, _ABSOLUTE) for then in (_MATMUL, _PRODUCTS)),
)
"""The combinations that are worth trying. Folding never costs anything, and scales of columns need it first."""


def apply(model_onnx: bytes, names: Sequence[str], columns: Mapping[str, Sequence[tuple[float, float]]] | None = None) -> bytes:
    """Apply ``names`` in order to a canonical model.

    Args:
        columns: by input, (factor, offset) of each column x = factor·x' + offset: the result takes x' in place of x. The first
            of ``names`` is then :data:`~verifai.engines.ezkl.parameters.FOLDED`.

    Returns:
        The rewritten ONNX file; ``model_onnx`` itself when there is nothing to do. Same input, same bytes.

    Raises:
        UsageError: code ``bad-lock``, for an unknown name, or columns that are not those of an input.
    """
    data = model_onnx
    if columns:
        if tuple(names[:1]) != (FOLDED,):
            raise UsageError("bad-lock", f"columns need the rewrite {FOLDED!r}, before all others")
        model = Rewriting.read(data)
        fold(model, columns)
        data, names = model.write(), names[1:]
    for name in names:
        if name not in REWRITES:
            raise UsageError("bad-lock", f"no such graph rewrite: {name[:60]!r}", hint="Known: " + ", ".join(REWRITES))
        model = Rewriting.read(data)
        if REWRITES[name](model):
            data = model.write()
    return data


def circuit_onnx(model_onnx: bytes, parameters: CircuitParameters) -> bytes:
    """The file that ezkl compiles for ``parameters``. Raises as :func:`apply`."""
    scale = parameters.input_scale
    columns = {one.tensor: [column.affine(scale) for column in one.columns] for one in parameters.columns}
    return apply(model_onnx, parameters.rewrites, columns)
