"""The attack suite: cheaper or other models that a dishonest verifier might run, made from the honest one.

Each attack is a function from a model to another model of the same inputs and outputs; input edits are functions of a sample. A
calibration covers the attacks it names and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

Array = NDArray[Any]
MIN_WEIGHTS = 16
"""Tensors with fewer cells (scalars, axes, epsilons) are left alone: changing them breaks the graph, it does not cheapen it."""


@dataclass(frozen=True, slots=True)
class ModelAttack:
    """One attack on the weights."""

    name: str
    apply: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class InputAttack:
    """One edit of a sample."""

    name: str
    apply: Callable[[Mapping[str, Array]], dict[str, Array]]


def standard_model_attacks() -> tuple[ModelAttack, ...]:
    """The suite of docs/consensus.md: noise, pruning, quantisation, a swapped layer."""
    noise = tuple(ModelAttack(f"weight-noise-{level:.0e}".replace("e-0", "e-"), _noise(level)) for level in (1e-4, 1e-3, 1e-2))
    pruned = tuple(ModelAttack(f"prune-{percent}%", _prune(percent / 100)) for percent in (1, 10))
    return (
        *noise,
        *pruned,
        ModelAttack("fp16-weights", lambda model: _map_weights(model, lambda w, _: w.astype(np.float16))),
        ModelAttack("int8-weights", lambda model: _map_weights(model, lambda w, _: fake_quantise(w, 8))),
        ModelAttack("int4-weights", lambda model: _map_weights(model, lambda w, _: fake_quantise(w, 4, block=32))),
        ModelAttack("swap-layer", swap_layer),
    )


def edit_input(share: float = 0.01) -> InputAttack:
    """Change one value (or ``share`` of a tensor's values, at least one) by the tensor's spread, or an integer by one."""

    def apply(sample: Mapping[str, Array]) -> dict[str, Array]:
        # In C order, so that the flat view below is a view and the edit is not lost in a copy.
        edited = {name: np.array(values, order="C") for name, values in sample.items()}
        # The largest tensor is the data; masks and lengths are smaller or come later in the alphabet.
        name = max(sorted(edited), key=lambda one: (edited[one].size, edited[one].std() if edited[one].size else 0.0))
        flat = edited[name].reshape(-1)
        generator = np.random.default_rng(flat.size)
        places = generator.choice(flat.size, max(1, int(share * flat.size)), replace=False)
        if flat.dtype.kind == "f":
            flat[places] += max(float(flat.std()), 1e-3)
        else:
            flat[places] = np.where(flat[places] > 0, flat[places] - 1, flat[places] + 1)
        return edited

    return InputAttack("input-edited", apply)


def fake_quantise(weights: Array, bits: int, *, block: int = 0) -> Array:
    """Round to a symmetric integer grid and back; one scale per tensor, or per ``block`` consecutive values."""
    flat = weights.astype(np.float64).reshape(-1)
    size = block or flat.size
    padded = np.zeros(-(-flat.size // size) * size)
    padded[: flat.size] = flat
    rows = padded.reshape(-1, size)
    top = 2 ** (bits - 1) - 1
    scale = np.max(np.abs(rows), axis=1, keepdims=True) / top
    scale[scale == 0.0] = 1.0
    rounded = np.clip(np.rint(rows / scale), -top, top) * scale
    return np.asarray(rounded.reshape(-1)[: flat.size].reshape(weights.shape))


def swap_layer(model: bytes) -> bytes:
    """Exchange the values of the two largest weight tensors of one shape; with no such pair, reverse the largest tensor."""
    proto = ModelProto.FromString(model)
    tensors = sorted(_weights(proto), key=lambda tensor: (-_size(tensor), tensor.name))
    by_shape: dict[tuple[int, ...], TensorProto] = {}
    for tensor in tensors:
        twin = by_shape.setdefault(tuple(tensor.dims), tensor)
        if twin is not tensor:
            mine, theirs = numpy_helper.to_array(tensor), numpy_helper.to_array(twin)
            if not np.array_equal(mine, theirs):
                _store(tensor, theirs)
                _store(twin, mine)
                return bytes(proto.SerializeToString(deterministic=True))
    if tensors:
        _store(tensors[0], numpy_helper.to_array(tensors[0])[::-1])
    return bytes(proto.SerializeToString(deterministic=True))


def _noise(level: float) -> Callable[[bytes], bytes]:
    def one(weights: Array, generator: np.random.Generator) -> Array:
        return weights + level * float(np.std(weights)) * generator.standard_normal(weights.shape)

    return lambda model: _map_weights(model, one)


def _prune(share: float) -> Callable[[bytes], bytes]:
    def one(weights: Array, _: np.random.Generator) -> Array:
        return np.where(np.abs(weights) <= np.quantile(np.abs(weights), share), 0.0, weights)

    return lambda model: _map_weights(model, one)


def _map_weights(model: bytes, change: Callable[[Array, np.random.Generator], Array]) -> bytes:
    proto = ModelProto.FromString(model)
    generator = np.random.default_rng(2024)
    for tensor in _weights(proto):
        _store(tensor, change(numpy_helper.to_array(tensor).astype(np.float64), generator))
    return bytes(proto.SerializeToString(deterministic=True))


def _weights(proto: ModelProto) -> Iterator[TensorProto]:
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16)
    for tensor in proto.graph.initializer:
        if tensor.data_type in kinds and _size(tensor) >= MIN_WEIGHTS:
            yield tensor


def _size(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))


def _store(tensor: TensorProto, values: Array) -> None:
    kind = np.float16 if tensor.data_type == TensorProto.FLOAT16 else np.float32
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, dtype=kind), tensor.name))
