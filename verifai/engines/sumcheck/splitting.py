"""Splitting: the scale and range of each boundary tensor, chosen once and pinned in both segments that it touches.

Equal scales make equal integers, and those have equal roots: that is what chains the segments' proofs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.progress import Progress
from verifai.engines.capabilities import SplitRequest
from verifai.engines.interface import Tensors
from verifai.engines.sumcheck.building import bindings, options_of
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, signed_width
from verifai.engines.sumcheck.lowering.graph import read_graph
from verifai.engines.sumcheck.lowering.lower import is_quantised
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Scale, Segment, choose_scale, outwards
from verifai.errors import UnsupportedModel, UsageError
from verifai.onnx_graph.model import OnnxModel


def check_split(spec: CircuitSpec, where: str) -> None:
    """Refuse a circuit that cannot be split, before any cost.

    Raises:
        UsageError: ``privacy-unsupported``; ``bad-spec``, also for what is a segment already.
    """
    bindings(spec)
    options = options_of(spec)
    if options.boundary or options.segment is not None:
        raise UsageError(
            "bad-spec", "this circuit is a segment already", where=where, hint="Split the whole model at all cuts at once."
        )


def split_options(request: SplitRequest) -> tuple[Mapping[str, Any], ...]:
    """``[engine.sumcheck]`` of each segment: the whole circuit's options, with the segment's place and its boundaries' scales.

    Raises:
        UnsupportedModel: ``cut-invalid``, ``reference-failed``, ``not-finite``.
    """
    options = options_of(request.spec)
    scales = boundary_scales(request.model, request.samples, request.boundaries, options, request.progress)
    found = []
    for number, segment in enumerate(request.segments, 1):
        ends = {tensor.name for tensor in (*segment.inputs, *segment.outputs)}
        chosen = replace(
            options,
            boundary={name: scale for name, scale in scales.items() if name in ends},
            segment=Segment(request.model.sha256, number, len(request.segments)),
        )
        found.append(chosen.to_document())
    return tuple(found)


def boundary_scales(
    model: OnnxModel, samples: Sequence[Tensors], names: Sequence[str], options: QuantiserOptions, progress: Progress
) -> dict[str, Scale]:
    """The scale of each boundary tensor: that of an inner tensor of the whole model, which the segment before saturates to."""
    if is_quantised(read_graph(model)):
        raise UnsupportedModel(
            "cut-invalid",
            "the model brings its own integers; splitting chooses scales, and would not keep them",
            where="QuantizeLinear",
            hint="Split the float model that it was made from.",
        )
    progress.phase("calibrate", len(samples))
    levels = (1 << options.activation_bits) - 1
    ranges = calibrate(model, samples, options.method, percentile=options.percentile, levels=levels)
    scales = {}
    for name in names:
        reach = outwards(ranges[name], options.activation_margin)
        scale = choose_scale(reach, options.activation_bits)
        if signed_width(scale.low, scale.high) > MAX_WIDTH:  # 16 bits on one side of 0: its table would have 2^17 rows
            scale = choose_scale(reach, options.activation_bits - 1)
        scales[name] = scale
    return scales
