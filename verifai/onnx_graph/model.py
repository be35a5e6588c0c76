"""A canonical ONNX model as a value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from verifai.domain.digest import Sha256
from verifai.domain.tensor import TensorSpec

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class OnnxModel:
    """A linted, canonical, static model. Made only by :mod:`verifai.onnx_graph.load`, so holding one means it was checked.

    Attributes:
        data: the canonical file's exact bytes.
        sha256: their digest: the model's identity in every statement.
        inputs, outputs: in the graph's order.
    """

    data: bytes
    sha256: Sha256
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The parsed model. Treat it as read-only; copy before changing it."""
        import onnx

        model: onnx.ModelProto = onnx.ModelProto.FromString(self.data)
        return model
