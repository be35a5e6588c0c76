"""Models in eight bits, as onnxruntime's quantiser writes them: static in two formats, and dynamic; and halves by its converter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tools.coverage.case import Array, Case, Made

ROUTE = "onnxruntime int8 and float16"
STATIC = (
    "nn-lazy-conv-pixels",
    "hf-resnet",
    "hf-mobilenet-v2",
    "hf-vae",
    "nn-encoder-layer",
    "hf-squeeze-excite",
    "hf-upernet-free-unet",
    "keras-conv2d",
)
DYNAMIC = ("hf-bert-classifier", "hf-vae", "nn-encoder-layer", "nn-lstm-both-ways-3", "hf-vit", "hf-distilbert")
HALVES = ("hf-vae", "hf-bert-classifier", "nn-lazy-conv-pixels", "hf-mixer", "nn-gru-both-ways")


def _source(kind: str, work: Path) -> Made:
    from tools.coverage.routes import all_cases

    (work / "source").mkdir()
    return next(case for case in all_cases() if case.slug == kind).make(work / "source")


class _Reader:
    def __init__(self, inputs: dict[str, Array]) -> None:
        self._rows = iter([{name: array[at] for name, array in inputs.items()} for at in range(32)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._rows, None)


def _static(kind: str, options: dict[str, Any], work: Path) -> Made:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    made = _source(kind, work)
    prepared = work / "prepared.onnx"
    quant_pre_process(str(made.model), str(prepared), skip_symbolic_shape=True)
    given = {**options, "quant_format": getattr(QuantFormat, options["quant_format"])}
    given["activation_type"] = getattr(QuantType, options.get("activation_type", "QUInt8"))
    quantize_static(str(prepared), str(work / "model.onnx"), _Reader(made.inputs), weight_type=QuantType.QInt8, **given)
    return Made(work / "model.onnx", made.inputs)


def _dynamic(kind: str, options: dict[str, Any], work: Path) -> Made:
    from onnxruntime.quantization import quantize_dynamic

    made = _source(kind, work)
    quantize_dynamic(str(made.model), str(work / "model.onnx"), **options)
    return Made(work / "model.onnx", made.inputs)


def _weights_only(kind: str, work: Path) -> Made:
    """Four-bit weights in blocks, for language models."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    made = _source(kind, work)
    tool = MatMulNBitsQuantizer(onnx.load(made.model), block_size=16, is_symmetric=False)
    tool.process()
    tool.model.save_model_to_file(str(work / "model.onnx"))
    return Made(work / "model.onnx", made.inputs)


def _halves(kind: str, keep: bool, work: Path) -> Made:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    made = _source(kind, work)
    onnx.save(convert_float_to_float16(onnx.load(made.model), keep_io_types=keep), work / "model.onnx")
    inputs = {k: v.astype(np.float16) if v.dtype == np.float32 and not keep else v for k, v in made.inputs.items()}
    return Made(work / "model.onnx", inputs)


def cases() -> Sequence[Case]:
    """All of them."""
    found = []
    for number, kind in enumerate(STATIC):
        qdq = {"quant_format": "QDQ", "per_channel": number % 2 == 0, "activation_type": ("QUInt8", "QInt8")[number % 2]}
        found.append(Case(f"int8-qdq-{kind}", ROUTE, partial(_static, kind, qdq)))
        found.append(
            Case(
                f"int8-qoperator-{kind}",
                ROUTE,
                partial(_static, kind, {"quant_format": "QOperator", "per_channel": number % 2 == 1}),
            )
        )
    found += [
        Case(f"int8-dynamic-{kind}", ROUTE, partial(_dynamic, kind, {"per_channel": kind == "hf-vae"})) for kind in DYNAMIC
    ]
    found += [Case(f"int4-weights-{kind}", ROUTE, partial(_weights_only, kind)) for kind in ("hf-llama", "hf-vae")]
    return found + [Case(f"half-{kind}", ROUTE, partial(_halves, kind, at % 2 == 0)) for at, kind in enumerate(HALVES)]
