"""Operators of com.microsoft, as onnxruntime's optimisers and model builders write them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tools.coverage.build_onnx import Body, Writer, onnx_case
from tools.coverage.case import Case, Data, Made, integers, normal, pixels

ROUTE = "onnxruntime fused operators"
X, ROWS = normal(2, 6), normal(1, 5, 8)
Spec = tuple[dict[str, Data], Body]


def _fused_gemm(w: Writer) -> str:
    return str(w.ms("FusedGemm", "x", w.weight(6, 4), w.weight(4), activation="LeakyRelu", activation_alpha=0.2))


def _fused_conv(w: Writer) -> str:
    return str(
        w.ms("FusedConv", "x", w.weight(4, 3, 3, 3), w.weight(4), activation="Relu", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    )


def _attention(w: Writer, **options: Any) -> str:
    return str(w.ms("Attention", "x", w.weight(8, 24), w.weight(24), num_heads=2, **options))


def _attention_masked(w: Writer) -> str:
    return str(w.ms("Attention", "x", w.weight(8, 24), w.weight(24), "m", num_heads=2))


def _multi_head(w: Writer) -> str:
    q, k, v = (w.add("MatMul", "x", w.weight(8, 8)) for _ in range(3))
    return str(w.ms("MultiHeadAttention", q, k, v, w.weight(24), num_heads=2))


def _embed(w: Writer) -> list[str]:
    found: list[str] = w.ms(
        "EmbedLayerNormalization", "i", "s", w.weight(40, 8), w.weight(12, 8), w.weight(2, 8), w.weight(8), w.weight(8), "m", count=2,
        epsilon=1e-6,
    )  # fmt: skip
    return found


def _group_query(w: Writer) -> list[str]:
    angles = np.arange(8)[:, None] * np.array([1.0, 0.1, 0.01, 0.001, 1.0, 0.1, 0.01, 0.001])
    found: list[str] = w.ms(
        "GroupQueryAttention", "q", "k", "v", "", "", w.const([[4]], "int32"), w.const(5, "int32"),
        w.const(np.cos(angles)), w.const(np.sin(angles)), count=3, num_heads=4, kv_num_heads=2, do_rotary=1,
    )  # fmt: skip
    return found[:1]


def _rotary(w: Writer) -> str:
    angles = np.arange(6)[:, None] * np.array([1.0, 0.1, 0.01, 0.001])
    return str(w.ms("RotaryEmbedding", "x", "p", w.const(np.cos(angles)), w.const(np.sin(angles)), interleaved=1))


def _specs() -> dict[str, Spec]:
    return {
        "bias-gelu": ({"x": X}, lambda w: w.ms("BiasGelu", "x", w.weight(6))), "fast-gelu": ({"x": X}, lambda w: w.ms("FastGelu", "x", w.weight(6))), "quick-gelu": ({"x": X}, lambda w: w.ms("QuickGelu", "x", alpha=1.702)), "gelu": ({"x": X}, lambda w: w.ms("Gelu", "x")),
        "fused-gemm": ({"x": X}, _fused_gemm), "fused-conv": ({"x": normal(1, 3, 6, 6)}, _fused_conv), "fused-matmul": ({"x": X, "y": X}, lambda w: w.ms("FusedMatMul", "x", "y", transB=1, alpha=0.125)), "fused-matmul-weights": ({"x": X}, lambda w: w.ms("FusedMatMul", "x", w.weight(6, 3), alpha=0.5)),
        "skip-layer-norm": ({"x": ROWS, "y": ROWS}, lambda w: w.ms("SkipLayerNormalization", "x", "y", w.weight(8), w.weight(8), w.weight(8), epsilon=1e-5)), "skip-rms-norm": ({"x": ROWS, "y": ROWS}, lambda w: w.ms("SkipSimplifiedLayerNormalization", "x", "y", w.weight(8), epsilon=1e-5)),
        "skip-layer-norm-sum": ({"x": ROWS, "y": ROWS}, lambda w: [w.ms("SkipLayerNormalization", "x", "y", w.weight(8), w.weight(8), count=4, epsilon=1e-5)[at] for at in (0, 3)]), "rms-norm": ({"x": ROWS}, lambda w: w.add("SimplifiedLayerNormalization", "x", w.weight(8), epsilon=1e-5, axis=-1)),
        "attention": ({"x": ROWS}, _attention), "attention-causal": ({"x": ROWS}, partial(_attention, unidirectional=1)), "attention-masked": ({"x": ROWS, "m": lambda r, n: (np.arange(5) < r.integers(2, 6, (n, 1, 1))).astype("int32")}, _attention_masked), "multi-head": ({"x": ROWS}, _multi_head), "embed-layer-norm": ({"i": integers(1, 40, 1, 5, dtype="int32"), "s": integers(0, 2, 1, 5, dtype="int32"), "m": integers(1, 2, 1, 5, dtype="int32")}, _embed),
        "group-query": ({"q": normal(1, 5, 64), "k": normal(1, 5, 32), "v": normal(1, 5, 32)}, _group_query), "rotary": ({"x": normal(1, 2, 4, 8), "p": integers(0, 6, 1, 4)}, _rotary), "matmul-integer": ({"x": X}, _dynamic), "inverse": ({"x": normal(2, 3, 3)}, lambda w: w.ms("Inverse", w.add("Add", "x", w.const(np.eye(3) * 5)))), "trilu": ({"x": normal(4, 4)}, lambda w: w.ms("Trilu", "x", upper=0)),
        "bias-softmax": ({"x": ROWS, "y": normal(1, 5, 8)}, lambda w: w.ms("BiasSoftmax", "x", "y", axis=2, is_inner_broadcast=0)), "nhwc-conv": ({"x": normal(1, 6, 6, 3)}, lambda w: w.ms("NhwcFusedConv", "x", w.weight(4, 3, 3, 3), kernel_shape=[3, 3])), "group-norm": ({"x": normal(1, 4, 4, 8)}, lambda w: w.ms("GroupNorm", "x", w.weight(8), w.weight(8), groups=2, channels_last=1, activation=0, epsilon=1e-5)),
        "crop-and-resize": ({"x": pixels(1, 3, 8, 8)}, lambda w: w.ms("CropAndResize", "x", w.const([[0.0, 0.0, 0.5, 0.7]]), w.const([0], "int32"), w.const([3, 3], "int32"))), "grid-sample": ({"x": normal(1, 2, 6, 6), "g": normal(1, 3, 3, 2, scale=0.5)}, lambda w: w.ms("GridSample", "x", "g", mode="bilinear")),
        "two-gelus": ({"x": normal(2, 6)}, lambda w: w.ms("QuickGelu", w.ms("BiasGelu", "x", w.weight(6)), alpha=1.0)), "range": ({"x": integers(0, 9, 6, dtype="int32")}, lambda w: w.add("Mul", "x", w.ms("Range", w.const(0, "int32"), w.const(6, "int32")))),
    }  # fmt: skip


def _dynamic(w: Writer) -> str:
    return str(
        w.ms("DynamicQuantizeMatMul", "x", w.const(np.arange(24).reshape(6, 4) - 12, "int8"), w.const(0.05), w.const(0, "int8"))
    )


def _optimised(kind: str, level: int, work: Path) -> Made:
    """A model of another route, as onnxruntime writes it after its own optimisations."""
    import onnxruntime

    from tools.coverage.routes import all_cases

    source = work / "source"
    source.mkdir()
    made = next(case for case in all_cases() if case.slug == kind).make(source)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(level)
    options.optimized_model_filepath = str(work / "model.onnx")
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(str(made.model), options, providers=["CPUExecutionProvider"])
    return Made(work / "model.onnx", made.inputs)


def _transformers_optimiser(kind: str, model_type: str, work: Path) -> Made:
    """As onnxruntime.transformers.optimizer writes it."""
    from onnxruntime.transformers import optimizer

    from tools.coverage.routes import all_cases

    source = work / "source"
    source.mkdir()
    made = next(case for case in all_cases() if case.slug == kind).make(source)
    optimizer.optimize_model(str(made.model), model_type, num_heads=2, hidden_size=16, opt_level=0).save_model_to_file(
        str(work / "model.onnx")
    )
    return Made(work / "model.onnx", made.inputs)


def cases() -> Sequence[Case]:
    """All of them."""
    found = [onnx_case("ms", ROUTE, slug, 17, data, body) for slug, (data, body) in _specs().items()]
    for kind in ("hf-bert-classifier", "hf-gpt2", "hf-mobilenet-v2", "nn-encoder-layer", "hf-squeeze-excite", "keras-conv2d"):
        found.append(Case(f"ms-extended-{kind}", ROUTE, partial(_optimised, kind, 2)))
    found.append(Case("ms-all-levels-resnet", ROUTE, partial(_optimised, "hf-resnet", 99)))
    for kind, model_type in (
        ("hf-bert", "bert"),
        ("hf-distilbert", "bert"),
        ("hf-gpt2", "gpt2"),
        ("hf-vit", "vit"),
        ("hf-t5-encoder", "bert"),
        ("hf-llama", "gpt2"),
    ):
        found.append(Case(f"ms-optimizer-{kind}", ROUTE, partial(_transformers_optimiser, kind, model_type)))
    return found
