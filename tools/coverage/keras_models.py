"""Keras 3 models through Keras' own ONNX export, with PyTorch as its backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tools.coverage.case import Case, Data, Made, drawn, integers, normal, pixels, table, uniform

ROUTE = "Keras"
PICTURE, SERIES, ROW = normal(1, 12, 12, 3), normal(1, 10, 4), normal(1, 8)


def _layers() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras.layers


def _stack(*names: Any) -> Callable[[Any], Any]:
    """Layers one after the other, each as (class name, positional arguments, options)."""

    def build(x: Any) -> Any:
        for name, arguments, options in names:
            inner = {key: value() if callable(value) else value for key, value in options.items()}
            x = getattr(_layers(), name)(*(one() if callable(one) else one for one in arguments), **inner)(x)
        return x

    return build


def _layer(name: str, *arguments: Any, **options: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    return name, arguments, options


def _made(slug: str, build: Callable[..., Any], data: dict[str, Data], work: Path) -> Made:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(len(slug))
    inputs = drawn(slug, data)
    given = [keras.Input(array.shape[2:], batch_size=1, dtype=array.dtype.name, name=name) for name, array in inputs.items()]
    model = keras.Model(given if len(given) > 1 else given[0], build(*given))
    for layer in model.layers:  # statistics such as training leaves
        if layer.__class__.__name__ == "BatchNormalization":
            rng = np.random.default_rng(0)
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    model([array[0] for array in inputs.values()] if len(inputs) > 1 else next(iter(inputs.values()))[0])
    path = work / "model.onnx"
    model.export(str(path), format="onnx", verbose=False)
    import onnx

    names = [one.name for one in onnx.load(path).graph.input]
    return Made(path, dict(zip(names, inputs.values(), strict=True)))


def _plain() -> dict[str, tuple[Callable[..., Any], dict[str, Data]]]:
    conv = partial(_layer, "Conv2D")
    found: dict[str, tuple[Any, Data]] = {
        "dense": (_stack(_layer("Dense", 12, activation="relu"), _layer("Dropout", 0.3), _layer("Dense", 3, activation="softmax")), table(1, 8)),
        "normalization": (_stack(_layer("Normalization", mean=100.0, variance=900.0), _layer("Dense", 4, activation="swish")), normal(1, 8, mean=100, scale=30)),
        "conv2d": (_stack(_layer("Rescaling", 1 / 255), conv(6, 3, activation="relu"), _layer("MaxPooling2D"), _layer("Flatten"), _layer("Dense", 3)), pixels(1, 12, 12, 3)),
        "conv2d-same-strided": (_stack(conv(6, 3, strides=2, padding="same", activation="elu")), PICTURE),
        "conv2d-dilated": (_stack(conv(4, 3, dilation_rate=2, activation="selu")), PICTURE),
        "conv1d-causal": (_stack(_layer("Conv1D", 6, 3, padding="causal", activation="tanh")), SERIES),
        "conv3d": (_stack(_layer("Conv3D", 2, 3)), normal(1, 5, 5, 5, 2)),
        "separable-conv": (_stack(_layer("SeparableConv2D", 6, 3, padding="same")), PICTURE),
        "depthwise-conv": (_stack(_layer("DepthwiseConv2D", 3, strides=2, padding="same", depth_multiplier=2)), PICTURE),
        "conv-transpose": (_stack(_layer("Conv2DTranspose", 4, 3, strides=2, padding="same")), PICTURE),
        "conv1d-transpose": (_stack(_layer("Conv1DTranspose", 4, 3, strides=2)), SERIES),
        "batch-norm": (_stack(conv(6, 3), _layer("BatchNormalization"), _layer("ReLU", max_value=6.0), _layer("GlobalAveragePooling2D")), PICTURE),
        "layer-norm": (_stack(_layer("LayerNormalization"), _layer("Dense", 4, activation="gelu")), SERIES),
        "group-norm": (_stack(conv(8, 3), _layer("GroupNormalization", groups=4)), PICTURE),
        "unit-norm": (_stack(_layer("Dense", 6), _layer("UnitNormalization")), ROW),
        "rms-norm": (_stack(_layer("RMSNormalization"), _layer("Dense", 3)), SERIES),
        "softplus": (_stack(_layer("Dense", 6, activation="softplus"), _layer("Dense", 2)), ROW),
        "lstm": (_stack(_layer("LSTM", 6), _layer("Dense", 2)), SERIES),
        "lstm-sequences-2": (_stack(_layer("LSTM", 6, return_sequences=True), _layer("LSTM", 5)), SERIES),
        "gru": (_stack(_layer("GRU", 6, return_sequences=True)), SERIES),
        "gru-reset-before": (_stack(_layer("GRU", 6, reset_after=False)), SERIES),
        "simple-rnn": (_stack(_layer("SimpleRNN", 6)), SERIES),
        "bidirectional-lstm": (_stack(_layer("Bidirectional", lambda: _layers().LSTM(5, return_sequences=True))), SERIES),
        "bidirectional-gru-sum": (_stack(_layer("Bidirectional", lambda: _layers().GRU(5), merge_mode="sum")), SERIES),
        "conv-lstm": (_stack(_layer("ConvLSTM2D", 3, 3, padding="same")), normal(1, 3, 6, 6, 2)),
        "time-distributed": (_stack(_layer("TimeDistributed", lambda: _layers().Dense(3, activation="relu"))), SERIES),
        "embedding": (_stack(_layer("Embedding", 40, 6), _layer("GlobalAveragePooling1D"), _layer("Dense", 2, activation="sigmoid")), integers(0, 40, 1, 9, dtype="int32")),
        "embedding-masked-lstm": (_stack(_layer("Embedding", 40, 6, mask_zero=True), _layer("LSTM", 5)), integers(0, 40, 1, 6, dtype="int32")),
        "pool-average": (_stack(_layer("AveragePooling2D", 3, strides=2, padding="same")), PICTURE),
        "pool-max-same": (_stack(_layer("MaxPooling2D", 3, strides=2, padding="same")), PICTURE),
        "pool-1d": (_stack(_layer("MaxPooling1D", 2), _layer("AveragePooling1D", 2), _layer("GlobalMaxPooling1D")), SERIES),
        "pool-3d": (_stack(_layer("AveragePooling3D", 2)), normal(1, 4, 4, 4, 2)),
        "upsampling": (_stack(_layer("UpSampling2D", 2), conv(3, 3)), PICTURE),
        "upsampling-bilinear": (_stack(_layer("UpSampling2D", 2, interpolation="bilinear")), PICTURE),
        "upsampling-bicubic": (_stack(_layer("UpSampling2D", 2, interpolation="bicubic")), PICTURE),
        "resizing": (_stack(_layer("Resizing", 7, 9), conv(3, 3)), PICTURE),
        "zero-padding": (_stack(_layer("ZeroPadding2D", ((1, 2), (0, 3))), _layer("Cropping2D", 1)), PICTURE),
        "permute-reshape": (_stack(_layer("Permute", (2, 1)), _layer("Reshape", (5, 8)), _layer("Flatten")), SERIES),
        "repeat-vector": (_stack(_layer("Dense", 3), _layer("RepeatVector", 4), _layer("LSTM", 4, return_sequences=True)), ROW),
        "prelu": (_stack(_layer("Dense", 6), _layer("PReLU", alpha_initializer="ones")), ROW),
        "leaky-relu-elu": (_stack(_layer("Dense", 6), _layer("LeakyReLU", negative_slope=0.2), _layer("ELU", alpha=0.7)), ROW),
        "softmax-axis": (_stack(_layer("Softmax", axis=1)), SERIES),
        "activations": (_stack(*(_layer("Dense", 6, activation=name) for name in ("mish", "hard_silu", "softsign", "hard_sigmoid", "relu6", "log_softmax"))), ROW),
        "activations-more": (_stack(*(_layer("Dense", 6, activation=name) for name in ("hard_tanh", "celu", "squareplus", "tanh_shrink", "soft_shrink", "exponential"))), ROW),
        "sparsemax": (_stack(_layer("Dense", 4, activation="sparsemax")), ROW),
        "silu": (_stack(_layer("Dense", 4, activation="silu"), _layer("Dense", 1, activation="linear")), uniform(0, 1, 1, 8)),
    }  # fmt: skip
    return {slug: (build, {"x": data}) for slug, (build, data) in found.items()}


def _functional() -> dict[str, tuple[Callable[..., Any], dict[str, Data]]]:
    def merges(x: Any, y: Any) -> Any:
        k = _layers()
        a, b = k.Dense(6)(x), k.Dense(6)(y)
        merged = [
            k.Add()([a, b]),
            k.Multiply()([a, b]),
            k.Maximum()([a, b]),
            k.Subtract()([a, b]),
            k.Average()([a, b]),
            k.Minimum()([a, b]),
        ]
        return k.Concatenate()(merged)

    def attention(x: Any) -> Any:
        k = _layers()
        y = k.LayerNormalization()(x + k.MultiHeadAttention(2, 4)(x, x))
        return k.Add()([y, k.Dense(4)(k.Dense(8, activation="gelu")(y))])

    def causal(x: Any) -> Any:
        return _layers().MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)

    def residual(x: Any) -> Any:
        k = _layers()
        y = k.Activation("relu")(k.BatchNormalization()(k.Conv2D(3, 3, padding="same")(x)))
        return k.GlobalMaxPooling2D()(k.Add()([x, y]))

    def wide_and_deep(x: Any, tokens: Any) -> Any:
        k = _layers()
        return k.Dense(1, activation="sigmoid")(
            k.Concatenate()([k.Flatten()(k.Embedding(20, 4)(tokens)), k.Dense(6, activation="relu")(x)])
        )

    pair: dict[str, Data] = {"x": normal(1, 8), "y": normal(1, 5)}
    return {
        "merges": (merges, pair),
        "dot": (lambda x, y: _layers().Dot(axes=-1, normalize=True)([_layers().Dense(4)(x), _layers().Dense(4)(y)]), pair),
        "attention": (attention, {"x": SERIES}), "attention-causal": (causal, {"x": SERIES}), "residual": (residual, {"x": PICTURE}),
        "attention-luong": (lambda x: _layers().Attention(use_scale=True)([x, x]), {"x": SERIES}),
        "attention-bahdanau": (lambda x: _layers().AdditiveAttention()([x, x]), {"x": normal(1, 5, 4)}),
        "attention-grouped": (lambda x: _layers().GroupQueryAttention(4, 4, 2)(x, x), {"x": SERIES}),
        "wide-and-deep": (wide_and_deep, {"x": ROW, "tokens": integers(0, 20, 1, 3, dtype="int32")}),
        "einsum-dense": (lambda x: _layers().EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(x), {"x": SERIES}),
        "two-outputs": (lambda x: [_layers().Dense(3, activation="softmax", name="kind")(x), _layers().Dense(1, name="size")(x)], {"x": ROW}),
    }  # fmt: skip


def cases() -> Sequence[Case]:
    """All of them."""
    every = {**_plain(), **_functional()}
    return [Case(f"keras-{slug}", ROUTE, partial(_made, f"keras-{slug}", build, data)) for slug, (build, data) in every.items()]
