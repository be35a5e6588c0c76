"""Rewrites of the graph that keep the function and make ezkl's circuit smaller.

Each is a named, deterministic pass over a canonical model. The names that were applied are pinned in the lock, so an auditor
rewrites the same canonical ONNX file with the same code and must reach the same verification key. ``docs/tuning.md`` says why
each one is exact; ``tests/unit/ezkl_tuning`` compares both graphs on onnxruntime.

The passes expect what canonicalisation promises: static shapes, explicit attributes, every value typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from verifai.engines.ezkl.rewrites.graph import Rewriting
from verifai.engines.ezkl.rewrites.pooling import absolute_values, max_pool_as_relu, relu_after_max_pool
from verifai.engines.ezkl.rewrites.products import convolution_as_matmul, vector_product_as_convolution
from verifai.errors import UsageError

REWRITES: Mapping[str, Callable[[Rewriting], int]] = {
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
    (),
    _POOLS,
    _ABSOLUTE,
    *((*first, *then) for first in (_POOLS, _ABSOLUTE) for then in (_MATMUL, _PRODUCTS)),
)
"""The combinations that are worth trying."""


def apply(model_onnx: bytes, names: Sequence[str]) -> bytes:
    """Apply ``names`` in order to a canonical model.

    Returns:
        The rewritten ONNX file; ``model_onnx`` itself when there is nothing to do. Same input, same bytes.

    Raises:
        UsageError: code ``bad-lock``, for an unknown name.
    """
    data = model_onnx
    for name in names:
        if name not in REWRITES:
            raise UsageError("bad-lock", f"no such graph rewrite: {name[:60]!r}", hint="Known: " + ", ".join(REWRITES))
        model = Rewriting.read(data)
        if REWRITES[name](model):
            data = model.write()
    return data
