"""Tensors at the ends of a segment: scale and range are pinned, so that the neighbours' circuits agree on every integer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verifai.engines.interface import PinnedScale, PinnedSegment, SegmentTensor
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.lock_section import WHERE, LockSection
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Scale
from verifai.errors import UsageError

if TYPE_CHECKING:
    from verifai.onnx_graph.model import OnnxModel


def check_names(options: QuantiserOptions, model: OnnxModel) -> None:
    """Every boundary tensor is an input or output of the model. Raises UsageError (``bad-spec``)."""
    known = [tensor.name for tensor in (*model.inputs, *model.outputs)]
    for name in options.boundary:
        if name not in known:
            raise UsageError(
                "bad-spec",
                f"{name!r} is no input or output of the model",
                where="circuit.toml: [engine.sumcheck].boundary",
                hint="It has: " + ", ".join(known),
            )


def check_boundary(section: LockSection, circuit: Circuit) -> None:
    """The pinned circuit has the pinned scale, range and zero point at every boundary, and a statement reads it by them.

    Raises:
        UsageError: ``bad-lock``.
    """
    left = dict(section.options.boundary)
    for pinned, port in zip(section.tensors, (*circuit.inputs, *circuit.outputs), strict=True):
        scale = left.pop(pinned.name, None)
        tensor = circuit.tensors[port.tensor]
        found = (tensor.scale, tensor.low, tensor.high, tensor.zero_point)
        if scale is not None and found != (scale.step.as_integer_ratio(), scale.low, scale.high, scale.zero_point):
            message = f"the pinned circuit has another scale or range at the boundary {pinned.name!r} than the section says"
            raise UsageError("bad-lock", message, where=f"{WHERE}.options.boundary")
        shown = section.scales.get(pinned.name)
        if scale is not None and shown is not None and (shown.columns or shown.ordered):
            # The circuit is lowered by the boundary's scale: statements would read its integers by another one.
            message = f"the section's scale of the boundary {pinned.name!r} is another than the boundary's"
            raise UsageError("bad-lock", message, where=f"{WHERE}.scales")
    if left:
        message = f"{next(iter(left))!r} is no input or output of the circuit"
        raise UsageError("bad-lock", message, where=f"{WHERE}.options.boundary")


def pinned_segment(section: LockSection) -> PinnedSegment | None:
    """Which part of a split model the section pins, with its boundaries; ``None`` for a whole model."""
    segment = section.options.segment
    if segment is None:
        return None
    pins = {name: _pin(scale) for name, scale in section.options.boundary.items()}
    tensors = tuple(
        SegmentTensor(tensor.role, tensor.name, tensor.shape, tensor.visibility, pins.get(tensor.name))
        for tensor in section.tensors
    )
    return PinnedSegment(segment.model_sha256, segment.number, segment.of, tensors)


def _pin(scale: Scale) -> PinnedScale:
    return PinnedScale(scale.step, scale.low, scale.high, scale.zero_point)
