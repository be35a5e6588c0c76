"""diff: what changed between two bundles: weights, operators, scale, fidelity, cost, signers. Neither is verified by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifai.bundle.reader import open_bundle
from verifai.bundle.summary import summarise
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.statement import TensorStatement
from verifai.onnx_graph.load import load_path

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

    from verifai.bundle.reader import OpenBundle
    from verifai.bundle.summary import BundleSummary

MODEL_PATH = "payload/model.onnx"
_NONE = "none"


class Aspect(StrEnum):
    """What a change is about."""

    CIRCUIT = "circuit"
    WEIGHTS = "weights"
    OPERATORS = "operators"
    TENSORS = "tensors"
    FIDELITY = "fidelity"
    COST = "cost"
    EVIDENCE = "evidence"
    SIGNERS = "signers"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, as text for people and machines."""

    aspect: Aspect
    item: str
    before: str
    after: str

    def to_json(self) -> dict[str, str]:
        """For ``--json``."""
        return {"aspect": self.aspect.value, "item": self.item, "before": self.before, "after": self.after}


def diff_bundles(before: Path, after: Path) -> tuple[Change, ...]:
    """Every difference that matters to a release; none for two bundles about the same circuit and the same signers.

    Raises:
        UsageError: ``file-missing``.
        EvidenceRejected: one of them is not exactly a bundle.
        UnsupportedModel: a model inside is not one of ours.
    """
    with open_bundle(before) as first, open_bundle(after) as second:
        old, new = summarise(first), summarise(second)
        changes = [*_circuit(old.circuit, new.circuit)]
        digests = [{entry.path: entry.sha256 for entry in one.files}.get(MODEL_PATH) for one in (old, new)]
        if all(digests) and digests[0] != digests[1]:
            changes += _models(_model(first), _model(second))
    return (*changes, *_tensors(old, new), *_cost(old, new), *_evidence(old, new))


def _change(aspect: Aspect, item: str, before: Any, after: Any) -> Iterator[Change]:
    if before != after:
        yield Change(aspect, item, _text(before), _text(after))


def _text(value: Any) -> str:
    if value is None or value == () or value == "":
        return _NONE
    if isinstance(value, Fraction):
        return f"{float(value):.6g}"
    if isinstance(value, tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)


def _circuit(old: CircuitPredicate | None, new: CircuitPredicate | None) -> Iterator[Change]:
    if old is None or new is None:
        yield from _change(Aspect.CIRCUIT, "name", old and old.name, new and new.name)
        return
    for item in ("name", "engine", "engine_version", "model_sha256", "circuit_sha256", "section_sha256", "weights", "insecure"):
        yield from _change(Aspect.CIRCUIT, item, getattr(old, item), getattr(new, item))
    for item in sorted(set(old.pins) | set(new.pins)):
        yield from _change(Aspect.CIRCUIT, item, old.pins.get(item), new.pins.get(item))
    for item in (
        "samples",
        "top1_matches",
        "spread_error",
        "column_error",
        "r2",
        "close_decisions",
        "max_abs_error",
        "mean_abs_error",
        "positions",
        "position_matches",
        "perplexity",
        "circuit_perplexity",
    ):
        yield from _change(Aspect.FIDELITY, item, getattr(old.fidelity, item, None), getattr(new.fidelity, item, None))


def _model(bundle: OpenBundle) -> ModelProto:
    return load_path(bundle.payload[MODEL_FILE]).proto


def _models(old: ModelProto, new: ModelProto) -> Iterator[Change]:
    """Operators by count, weights by tensor: shape, and by how much the values moved."""
    import numpy as np
    from onnx.numpy_helper import to_array

    counts = [Counter(node.op_type for node in one.graph.node) for one in (old, new)]
    for operator in sorted(counts[0] | counts[1]):
        yield from _change(Aspect.OPERATORS, operator, f"× {counts[0][operator]}", f"× {counts[1][operator]}")
    weights: list[dict[str, TensorProto]] = [{one.name: one for one in model.graph.initializer} for model in (old, new)]
    for name in sorted(set(weights[0]) | set(weights[1])):
        pair = [side.get(name) for side in weights]
        if pair[0] is None or pair[1] is None:
            yield from _change(Aspect.WEIGHTS, name, *(None if one is None else f"{tuple(one.dims)}" for one in pair))
            continue
        arrays = [to_array(one) for one in pair if one is not None]
        if arrays[0].shape != arrays[1].shape or arrays[0].dtype != arrays[1].dtype:
            yield from _change(Aspect.WEIGHTS, name, *(f"{one.dtype}{list(one.shape)}" for one in arrays))
        elif not np.array_equal(arrays[0], arrays[1]):
            moved = np.abs(arrays[1].astype(np.float64) - arrays[0].astype(np.float64))
            share = np.count_nonzero(moved) / max(1, moved.size)
            yield Change(Aspect.WEIGHTS, name, f"{moved.size} values", f"{share:.0%} changed, by up to {moved.max():.6g}")


def _tensors(old: BundleSummary, new: BundleSummary) -> Iterator[Change]:
    sides: list[dict[str, TensorStatement]] = []
    for one in (old, new):
        tensors = () if one.proof is None else one.proof.statement.tensors
        sides.append({f"{tensor.role.value} {tensor.name}": tensor for tensor in tensors})
    for name in sorted(set(sides[0]) | set(sides[1])):
        for item in ("shape", "visibility", "scale", "zero_point", "digest_scheme"):
            pair = [getattr(side.get(name), item, None) for side in sides]
            yield from _change(Aspect.TENSORS, f"{name}: {item}", *pair)


def _cost(old: BundleSummary, new: BundleSummary) -> Iterator[Change]:
    sizes = [{entry.path: entry.size for entry in one.files if entry.path.startswith("payload/")} for one in (old, new)]
    for path in sorted(set(sizes[0]) | set(sizes[1])):
        yield from _change(Aspect.COST, path, *(None if path not in side else f"{side[path]} bytes" for side in sizes))


def _evidence(old: BundleSummary, new: BundleSummary) -> Iterator[Change]:
    kinds = [tuple(sorted(item.predicate_type for item in one.attestations)) for one in (old, new)]
    yield from _change(Aspect.EVIDENCE, "attestations", *kinds)
    yield from _change(Aspect.EVIDENCE, "log", *(None if one.log is None else one.log[0] for one in (old, new)))
    yield from _change(Aspect.SIGNERS, "manifest", old.signers, new.signers)
    signers = [tuple(sorted({key for item in one.attestations for key in item.signers})) for one in (old, new)]
    yield from _change(Aspect.SIGNERS, "attestations", *signers)
