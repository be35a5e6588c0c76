"""export: a source model → a canonical ONNX model, shown to compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.progress import SILENT, Progress
from verifai.domain.tensor import TensorSpec
from verifai.errors import InternalError, UnsupportedModel, UsageError
from verifai.exporters.interface import Arrays, Exported, Source
from verifai.exporters.registry import export_source
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.exact import exact_cast
from verifai.onnx_graph.load import load_canonical
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

PARITY_LIMIT = 1e-3
"""Largest relative error that is accepted unless the caller says otherwise; float32 arithmetic stays well below."""

_GENERATED = 8
_SEED = 20240229


@dataclass(frozen=True, slots=True)
class Parity:
    """The canonical model against its source.

    Attributes:
        samples: how many inputs were compared.
        generated: how many of them were made up (uniform in [0, 1)), because none or few were given.
        max_abs_error: largest absolute difference of any output value.
        max_error: the same relative to the larger of 1 and the source's largest absolute output; this is what is limited.
        limit: the largest accepted ``max_error``.
    """

    samples: int
    generated: int
    max_abs_error: float
    max_error: float
    limit: float


@dataclass(frozen=True)
class ExportResult:
    """An exported model.

    Attributes:
        model: canonical.
        notices: what was changed that a person should know, one sentence each.
        parity: how close it is to the source.
    """

    model: OnnxModel
    notices: tuple[str, ...]
    parity: Parity


def export(
    source: str | Path,
    *,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    trust_pickle: bool = False,
    samples: Sequence[Arrays] | Callable[[OnnxModel], Sequence[Arrays]] = (),
    parity_limit: float = PARITY_LIMIT,
    progress: Progress = SILENT,
) -> ExportResult:
    """Convert a model, bring it to the canonical form, and compare it with its source.

    Args:
        source: ``model.onnx``; a PyTorch program ``.pt2``; a scikit-learn ``.skops``; ``pkg.module:factory``, which is imported
            from the current folder and called (so its code runs); or a pickle, with ``trust_pickle``.
        dims: size of each symbolic dimension by name, or by ``input:axis``.
        shapes: shape per argument of ``forward``, for PyTorch modules without example inputs.
        trust_pickle: load files that can run code.
        samples: real inputs by name, of the model's shapes and dtypes (batch included), compared besides generated ones; or a
            function that gives them once the exported model, and so its shapes, are known.
        parity_limit: see :class:`Parity`; must be finite and not negative.

    Raises:
        UnsupportedModel: ``model-…``; ``parity-exceeded``, with the output and the error named.
        UsageError: ``file-missing``, ``source-unknown``, ``source-failed``, ``pickle-refused``, ``extra-missing``.
        InputRejected: when a given sample does not fit the model.
    """
    if not (np.isfinite(parity_limit) and parity_limit >= 0):
        raise UsageError("bad-option", "the parity limit must be a finite number of at least 0", where="parity limit")
    progress.phase("convert")
    found = export_source(Source(str(source), shapes or {}, trust_pickle))
    progress.phase("canonicalise")
    canonical = canonicalise(found.data, where=found.where, dims=dims, folder=found.folder)
    model = _checked(canonical.model)
    progress.phase("compare")
    parity = _compare(model, found, samples(model) if callable(samples) else samples, parity_limit)
    return ExportResult(model, (*found.notices, *canonical.notices), parity)


def _checked(model: OnnxModel) -> OnnxModel:
    """The result is read as everyone will read it; a canonical form that is not a fixed point would be a bug of ours."""
    try:
        return load_canonical(model.data, where="the exported model")
    except UnsupportedModel as problem:
        raise InternalError("bug", f"the exported model is refused: {problem}", hint="Report it with the model.") from problem


def _compare(model: OnnxModel, found: Exported, given: Sequence[Arrays], limit: float) -> Parity:
    reference = Reference(model)
    real = [*given, *(_fitted(sample, model) for sample in found.samples if _fits(sample, model))]
    made = generated_inputs(model, _GENERATED)
    largest = largest_relative = 0.0
    for inputs in (*real, *made):
        ours = reference.run(inputs)
        theirs = found.run(inputs)
        for spec in model.outputs:
            if spec.name not in theirs:
                raise UnsupportedModel("parity-exceeded", "the source has no such output", where=f"output {spec.name!r}")
            error, relative = _difference(ours[spec.name], np.asarray(theirs[spec.name]), spec)
            if not relative <= limit:
                raise UnsupportedModel(
                    "parity-exceeded",
                    f"the exported model differs from its source by {error:.3g} (relative {relative:.3g}, limit {limit:.3g})",
                    where=f"output {spec.name!r}",
                    hint="If the difference is rounding that you accept, raise the limit; else report the model.",
                )
            largest, largest_relative = max(largest, error), max(largest_relative, relative)
    return Parity(len(real) + len(made), len(made), largest, largest_relative, limit)


def _difference(ours: NDArray[Any], theirs: NDArray[Any], spec: TensorSpec) -> tuple[float, float]:
    """Largest absolute and relative difference; NaN compares as equal to NaN only, infinity to itself only."""
    if theirs.size != ours.size:
        raise UnsupportedModel(
            "parity-exceeded", f"the source yields shape {theirs.shape}, the export {ours.shape}", where=f"output {spec.name!r}"
        )
    left = np.asarray(ours, dtype=np.float64).ravel()
    right = np.asarray(theirs, dtype=np.float64).ravel()
    special = ~(np.isfinite(left) & np.isfinite(right))
    if not np.array_equal(left[special], right[special], equal_nan=True):
        return float("inf"), float("inf")
    gaps = np.abs(left[~special] - right[~special])
    error = float(gaps.max(initial=0.0))
    scale = max(1.0, float(np.abs(right[~special]).max(initial=0.0)))
    return error, error / scale


def generated_inputs(model: OnnxModel, count: int) -> list[dict[str, NDArray[Any]]]:
    """Seeded inputs: uniform in [0, 1) for floats, 0 or 1 for integers and booleans, which are valid indices of most tables."""
    generator = np.random.default_rng(_SEED)
    samples = []
    for _ in range(count):
        sample: dict[str, NDArray[Any]] = {}
        for spec in model.inputs:
            if spec.dtype == "float32":
                sample[spec.name] = generator.random(spec.shape, dtype=np.float32)
            else:
                sample[spec.name] = generator.integers(0, 2, spec.shape).astype(spec.dtype)
        samples.append(sample)
    return samples


def _fits(sample: Arrays, model: OnnxModel) -> bool:
    """Example inputs of another batch size than the exported one cannot be compared."""
    return all(spec.name in sample and sample[spec.name].shape == spec.shape for spec in model.inputs)


def _fitted(sample: Arrays, model: OnnxModel) -> dict[str, NDArray[Any]]:
    rounded = {
        spec.name: sample[spec.name].astype(spec.dtype) if spec.dtype == "float32" else sample[spec.name]
        for spec in model.inputs
    }
    return {spec.name: exact_cast(rounded[spec.name], spec.dtype, f"example input {spec.name!r}") for spec in model.inputs}
