"""ONNX by hand: operators of opsets 7 to 24 in the forms that converters write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from tools.coverage.build_onnx import Body, onnx_case
from tools.coverage.case import Case, Data, flags, integers, normal, pixels, uniform

ROUTE = "ONNX by hand"
X, IMG, POS, INT = normal(2, 6), normal(1, 3, 8, 8), uniform(0.3, 4, 2, 6), integers(-20, 40, 2, 6)
Spec = tuple[int, dict[str, Data], Body]


def _u(op: str, opset: int, data: Data = X, **attributes: object) -> Spec:
    return opset, {"x": data}, lambda w: str(w.add(op, "x", **attributes))


def _b(op: str, opset: int, first: Data = X, second: Data = X, **attributes: object) -> Spec:
    return opset, {"x": first, "y": second}, lambda w: str(w.add(op, "x", "y", **attributes))


def _single() -> dict[str, Spec]:
    return {
        "batch-norm-7": (7, {"x": IMG}, lambda w: w.add("BatchNormalization", "x", w.weight(3), w.weight(3), w.weight(3), w.const([0.5, 1, 2]))),
        "upsample-7": _u("Upsample", 7, IMG, scales=[1.0, 1.0, 2.0, 2.0]), "dropout-7": _u("Dropout", 7, ratio=0.4), "softmax-7-flat": _u("Softmax", 8, normal(2, 3, 4), axis=1),
        "clip-6-way": _u("Clip", 10, min=-0.5, max=0.7), "pad-10": _u("Pad", 10, IMG, mode="constant", pads=[0, 0, 1, 2, 0, 0, 1, 0], value=1.5), "slice-9": _u("Slice", 9, starts=[0, 1], ends=[2, 99], axes=[0, 1]),
        "topk-9": (9, {"x": X}, lambda w: w.add("TopK", "x", count=2, k=3)), "reduce-sum-11": _u("ReduceSum", 11, axes=[-1], keepdims=0), "unsqueeze-11": _u("Unsqueeze", 11, axes=[0, -1]), "split-11": (11, {"x": X}, lambda w: w.add("Split", "x", count=3, axis=1)),
        "squeeze-11-all": (11, {"x": normal(1, 6, 1)}, lambda w: w.add("Squeeze", "x")), "resize-10": (10, {"x": IMG}, lambda w: w.add("Resize", "x", w.const([1, 1, 2, 2]), mode="linear")),
        "resize-11-tf": (11, {"x": IMG}, lambda w: w.add("Resize", "x", w.const([]), w.const([1, 1, 1.5, 1.5]), mode="linear", coordinate_transformation_mode="asymmetric")),
        "resize-crop": (13, {"x": IMG}, lambda w: w.add("Resize", "x", w.const([0, 0, 0.1, 0.2, 1, 1, 0.9, 0.8]), "", w.ints(1, 3, 5, 5), mode="linear", coordinate_transformation_mode="tf_crop_and_resize")),
        "resize-cubic": (13, {"x": IMG}, lambda w: w.add("Resize", "x", "", w.const([1, 1, 2, 2]), mode="cubic", coordinate_transformation_mode="half_pixel")),
        "resize-antialias": (18, {"x": IMG}, lambda w: w.add("Resize", "x", "", "", w.ints(1, 3, 5, 5), mode="linear", antialias=1)), "resize-not-larger": (18, {"x": IMG}, lambda w: w.add("Resize", "x", "", "", w.ints(5, 7), axes=[2, 3], mode="nearest", keep_aspect_ratio_policy="not_larger")),
        "gelu-20": _u("Gelu", 20, approximate="tanh"), "swish-24": _u("Swish", 24, alpha=1.3), "rms-norm-23": (23, {"x": X}, lambda w: w.add("RMSNormalization", "x", w.weight(6))), "group-norm-21": (21, {"x": normal(1, 4, 5, 5)}, lambda w: w.add("GroupNormalization", "x", w.weight(4), w.weight(4), num_groups=2)),
        "layer-norm-17-three": (17, {"x": X}, lambda w: w.add("LayerNormalization", "x", w.weight(6), w.weight(6), count=3)), "lp-normalization": _u("LpNormalization", 18, p=1, axis=1), "mvn": _u("MeanVarianceNormalization", 13, IMG), "lrn": _u("LRN", 13, normal(1, 6, 4, 4), size=5, alpha=0.01, bias=1.5),
        "global-lp-pool": _u("GlobalLpPool", 13, IMG, p=2), "lp-pool": _u("LpPool", 18, IMG, kernel_shape=[2, 2], strides=[2, 2], p=2), "lp-pool-padded": _u("LpPool", 18, IMG, kernel_shape=[3, 3], pads=[1, 1, 1, 1], p=1), "max-pool-dilated-8": _u("MaxPool", 10, IMG, kernel_shape=[2, 2], dilations=[2, 2]),
        "average-pool-same": _u("AveragePool", 11, IMG, kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]), "average-pool-19-dilated": _u("AveragePool", 19, IMG, kernel_shape=[2, 2], dilations=[2, 2]), "max-roi-pool": (13, {"x": IMG}, lambda w: w.add("MaxRoiPool", "x", w.const([[0, 0, 0, 5, 5]]), pooled_shape=[2, 2])),
        "roi-align": (16, {"x": IMG}, lambda w: w.add("RoiAlign", "x", w.const([[0, 0, 5, 5], [1, 2, 6, 7]]), w.ints(0, 0), output_height=2, output_width=2, sampling_ratio=2)), "roi-align-data": (16, {"x": IMG, "r": uniform(0, 7, 2, 4)}, lambda w: w.add("RoiAlign", "x", "r", w.ints(0, 0), output_height=2, output_width=2, sampling_ratio=2)),
        "max-unpool": (11, {"x": normal(1, 1, 4, 4)}, lambda w: w.add("MaxUnpool", *w.add("MaxPool", "x", count=2, kernel_shape=[2, 2], strides=[2, 2]), kernel_shape=[2, 2], strides=[2, 2])), "hardmax": _u("Hardmax", 13, axis=1), "thresholded-relu": _u("ThresholdedRelu", 10, alpha=0.4), "shrink": _u("Shrink", 9, lambd=0.3, bias=0.1),
        "depth-to-space-crd": _u("DepthToSpace", 13, normal(1, 8, 3, 3), blocksize=2, mode="CRD"), "col2im": (18, {"x": normal(1, 12, 9)}, lambda w: w.add("Col2Im", "x", w.ints(4, 4), w.ints(2, 2))), "grid-sample-16": (16, {"x": IMG, "g": uniform(-1, 1, 1, 3, 3, 2)}, lambda w: w.add("GridSample", "x", "g", mode="bilinear")),
        "affine-grid": (20, {"t": normal(1, 2, 3, scale=0.3)}, lambda w: w.add("AffineGrid", "t", w.ints(1, 1, 4, 5))), "center-crop-pad": (18, {"x": IMG}, lambda w: w.add("CenterCropPad", "x", w.ints(5, 10), axes=[2, 3])), "reverse-sequence": (10, {"x": normal(4, 2)}, lambda w: w.add("ReverseSequence", "x", w.ints(3, 4))),
        "trilu-data": _u("Trilu", 14, normal(4, 4), upper=0), "eye-like": (9, {"x": normal(4, 4)}, lambda w: w.add("Add", "x", w.add("EyeLike", "x", k=1))), "is-nan": (13, {"x": X}, lambda w: w.add("Where", w.add("IsNaN", "x"), w.const(0.0), "x")), "is-inf": (13, {"x": X}, lambda w: w.add("Where", w.add("IsInf", "x"), w.const(0.0), "x")),
        "mod-fmod": _b("Mod", 13, X, uniform(0.5, 2, 2, 6), fmod=1), "mod-integers": _b("Mod", 13, INT, integers(1, 9, 2, 6)), "mod-constant": (13, {"x": INT}, lambda w: w.add("Mod", "x", w.ints(7))), "round": (11, {"x": normal(2, 6, scale=3)}, lambda w: w.add("Round", "x")), "div-integers": (13, {"x": INT}, lambda w: w.add("Div", "x", w.ints(3))),
        "div-integers-data": _b("Div", 13, INT, integers(1, 9, 2, 6)), "bit-shift": (11, {"x": integers(0, 60, 2, 6, dtype="uint8")}, lambda w: w.add("BitShift", "x", w.const([2], "uint8"), direction="RIGHT")), "bitwise-and": (18, {"x": integers(0, 60, 2, 6)}, lambda w: w.add("BitwiseAnd", "x", w.ints(12))), "bitwise-xor-data": _b("BitwiseXor", 18, integers(0, 60, 2, 6), integers(0, 60, 2, 6)),
        "bitwise-not": _u("BitwiseNot", 18, INT), "det": _u("Det", 11, normal(2, 3, 3)), "det-2": _u("Det", 22, normal(4, 2, 2)), "einsum-ellipsis": (12, {"x": normal(2, 3, 4)}, lambda w: w.add("Einsum", "x", w.weight(4, 5), equation="...i,ij->...j")), "einsum-three": (12, {"x": normal(2, 3), "y": normal(3, 4)}, lambda w: w.add("Einsum", "x", "y", w.weight(4, 2), equation="ab,bc,cd->ad")),
        "cumsum-exclusive": (14, {"x": X}, lambda w: w.add("CumSum", "x", w.const(1, "int64"), exclusive=1, reverse=1)), "cumsum-int": (14, {"x": INT}, lambda w: w.add("CumSum", "x", w.const(0, "int32"))), "range-times": (11, {"x": X}, lambda w: w.add("Mul", "x", w.add("Cast", w.add("Range", w.const(0, "int64"), w.const(6, "int64"), w.const(1, "int64")), to=1))), "one-hot": (11, {"x": integers(-3, 5, 4)}, lambda w: w.add("OneHot", "x", w.const(5, "int64"), w.const([-1.0, 2.0]), axis=0)),
        "gather-nd-batch": (13, {"x": normal(2, 3, 4), "i": integers(0, 3, 2, 1)}, lambda w: w.add("GatherND", "x", "i", batch_dims=1)), "gather-elements": (13, {"x": X, "i": integers(-6, 6, 2, 3)}, lambda w: w.add("GatherElements", "x", "i", axis=1)), "scatter-elements": (18, {"x": X}, lambda w: w.add("ScatterElements", "x", w.const([[0, 2], [1, 3]], "int64"), w.weight(2, 2), axis=1)),
        "scatter-add": (18, {"x": X, "y": normal(2, 3)}, lambda w: w.add("ScatterElements", "x", w.const([[0, 2, 2], [1, 3, 1]], "int64"), "y", axis=1, reduction="add")), "scatter-max": (18, {"x": X, "y": normal(2, 3)}, lambda w: w.add("ScatterElements", "x", w.const([[0, 2, 2], [1, 3, 1]], "int64"), "y", axis=1, reduction="max")), "scatter-nd-add": (18, {"x": normal(4, 3), "y": normal(3, 3)}, lambda w: w.add("ScatterND", "x", w.const([[1], [3], [1]], "int64"), "y", reduction="add")),
        "tensor-scatter-24": (24, {"x": normal(1, 4, 3), "y": normal(1, 1, 3)}, lambda w: w.add("TensorScatter", "x", "y", w.ints(2))), "compress": (11, {"x": X}, lambda w: w.add("Compress", "x", w.const([1, 0, 1, 1, 0, 0], "bool"), axis=1)), "expand": (13, {"x": normal(2, 1)}, lambda w: w.add("Expand", "x", w.ints(3, 2, 4))), "tile": (13, {"x": X}, lambda w: w.add("Tile", "x", w.ints(2, 3))),
        "celu-selu": (12, {"x": X}, lambda w: w.add("Selu", w.add("Celu", "x", alpha=0.8))), "mish": _u("Mish", 18), "prelu-rank": (9, {"x": IMG}, lambda w: w.add("PRelu", "x", w.weight(3, 1, 1))), "softplus-softsign": (13, {"x": X}, lambda w: w.add("Softsign", w.add("Softplus", "x"))), "sum-of-three": (13, {"x": X, "y": X}, lambda w: w.add("Sum", "x", "y", w.weight(6))), "mean-of-two": _b("Mean", 13, X, normal(6)),
        "pow-square-int": (15, {"x": X}, lambda w: w.add("Pow", "x", w.const(2, "int64"))), "pow-data": _b("Pow", 13, POS, X), "reciprocal-wide": _u("Reciprocal", 13, uniform(0.01, 100, 2, 6)), "reduce-log-sum-exp": _u("ReduceLogSumExp", 13, axes=[1]), "reduce-log-sum": _u("ReduceLogSum", 13, POS, axes=[1], keepdims=0), "reduce-prod": _u("ReduceProd", 13, uniform(0.5, 1.5, 2, 6), axes=[1]),
        "reduce-l1-noop": (18, {"x": X}, lambda w: w.add("ReduceL1", "x", w.ints(), noop_with_empty_axes=1)), "reduce-sum-square": _u("ReduceSumSquare", 13, axes=[0, 1]), "xor-not": (7, {"x": flags(2, 6), "y": flags(2, 6)}, lambda w: w.add("Not", w.add("Xor", "x", "y"))), "equal-int": _b("Equal", 13, integers(0, 4, 2, 6), integers(0, 4, 2, 6)), "greater-7-float": _b("Greater", 9), "where-int": (16, {"c": flags(2, 6, share=0.5), "x": INT, "y": INT}, lambda w: w.add("Where", "c", "x", "y")),
        "argmax-last": _u("ArgMax", 13, X, axis=-1, keepdims=0, select_last_index=1), "min-max-int": (13, {"x": INT, "y": INT}, lambda w: w.add("Max", w.add("Min", "x", "y"), w.ints(0))), "abs-neg-int": (13, {"x": INT}, lambda w: w.add("Neg", w.add("Abs", "x"))), "matmul-int": (13, {"x": integers(0, 10, 2, 6)}, lambda w: w.add("MatMul", "x", w.const(np.arange(12).reshape(6, 2) - 5, "int64"))), "sum-int": (13, {"x": INT}, lambda w: w.add("ReduceSum", "x", w.ints(1))),
        "cast-chain": (13, {"x": normal(2, 6, scale=5)}, lambda w: w.add("Cast", w.add("Cast", w.add("Cast", "x", to=TensorProto.INT32), to=TensorProto.BOOL), to=TensorProto.FLOAT)), "cast-uint8": (13, {"x": pixels(3, 4)}, lambda w: w.add("Cast", "x", to=TensorProto.UINT8)), "double-model": (13, {"x": lambda r, n: r.standard_normal((n, 2, 6))}, lambda w: w.add("MatMul", "x", w.const(w.rng.standard_normal((6, 3)), "float64"))),
        "half-model": (13, {"x": lambda r, n: r.standard_normal((n, 2, 6)).astype("float16")}, lambda w: w.add("Relu", w.add("MatMul", "x", w.const(w.rng.standard_normal((6, 3)), "float16")))), "mel-matrix": (17, {"x": POS}, lambda w: w.add("MatMul", w.add("Concat", "x", w.add("Slice", "x", w.ints(0), w.ints(3), w.ints(1)), axis=1), w.add("MelWeightMatrix", w.const(4, "int64"), w.const(16, "int64"), w.const(8000, "int64"), w.const(0.0), w.const(4000.0)))),
        "dft": (17, {"x": normal(1, 16, 1)}, lambda w: w.add("DFT", "x", axis=1)), "dft-20-onesided": (20, {"x": normal(1, 16, 1)}, lambda w: w.add("DFT", "x", "", w.const(1, "int64"), onesided=1)), "stft": (17, {"x": normal(1, 48, 1)}, lambda w: w.add("STFT", "x", w.const(8, "int64"), w.add("HannWindow", w.const(16, "int64")))),
        "non-max-suppression": (11, {"b": uniform(0, 1, 1, 5, 4), "s": uniform(0, 1, 1, 1, 5)}, lambda w: w.add("NonMaxSuppression", "b", "s", w.ints(3), w.const([0.5]), w.const([0.1]))), "non-zero-count": (13, {"x": X}, lambda w: w.add("ReduceSum", w.add("Cast", w.add("Greater", "x", w.const(0.0)), to=1), w.ints(0, 1))), "unique": (11, {"x": integers(0, 4, 6)}, lambda w: w.add("Unique", "x")),
        "softmax-cross-entropy": (13, {"x": normal(3, 5)}, lambda w: w.add("SoftmaxCrossEntropyLoss", "x", w.ints(1, 0, 4))), "negative-log-likelihood": (13, {"x": normal(3, 5)}, lambda w: w.add("NegativeLogLikelihoodLoss", w.add("LogSoftmax", "x"), w.ints(1, 0, 4))), "random-free-bernoulli": (13, {"x": X}, lambda w: w.add("Identity", w.add("Dropout", "x"))),
        "deform-conv": (22, {"x": normal(1, 1, 5, 5), "o": normal(1, 8, 4, 4, scale=0.3)}, lambda w: w.add("DeformConv", "x", w.weight(1, 1, 2, 2), "o", kernel_shape=[2, 2])), "conv-integer": (10, {"x": integers(0, 255, 1, 1, 5, 5, dtype="uint8")}, lambda w: w.add("ConvInteger", "x", w.const(np.arange(9).reshape(1, 1, 3, 3), "uint8"))), "matmul-integer": (10, {"x": integers(0, 255, 3, 4, dtype="uint8")}, lambda w: w.add("MatMulInteger", "x", w.const(np.arange(8).reshape(4, 2) - 4, "int8"))),
        "dynamic-quantize": (11, {"x": X}, lambda w: w.add("DynamicQuantizeLinear", "x", count=3)[0]),
    }  # fmt: skip


def cases() -> Sequence[Case]:
    """All of them."""
    return [onnx_case("hand", ROUTE, slug, opset, data, body) for slug, (opset, data, body) in _single().items()]
