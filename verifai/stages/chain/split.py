"""split: one model becomes a chain of circuits, so that the parts of one inference are proven by different machines.

Each boundary tensor is hashed in both of its circuits, and its scale and range, which the engine chooses once from the whole
model's calibration data, are written into both specifications: equal integers then have equal roots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.circuit_spec import AskedPrivacy, Budget, CircuitSpec
from verifai.domain.digest import Sha256
from verifai.domain.fidelity import FidelityFloor, Task
from verifai.domain.names import resolve_names
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.domain.table_columns import TableColumns
from verifai.engines.capabilities import SplitRequest
from verifai.errors import UsageError
from verifai.execution.files import write_atomic
from verifai.onnx_graph.cut import cut_model
from verifai.onnx_graph.inputs import read_complete, to_arrays
from verifai.onnx_graph.load import load_path
from verifai.onnx_graph.npz import write_npz
from verifai.onnx_graph.reference import Reference
from verifai.stages.chain.engines import splitting_engines

if TYPE_CHECKING:
    from verifai.engines.interface import Tensors
    from verifai.onnx_graph.model import OnnxModel

_HEADER = """\
# Segment {which}, written by `verifai split`. Its boundary tensors are hashed, and their scale and range are pinned
# below: the neighbouring segment has the same, so that the proofs chain. Compile and prove it like any circuit.

"""
_NAME_LENGTH = 56


@dataclass(frozen=True)
class SplitSegment:
    """One segment written.

    Attributes:
        inputs, outputs: tensor names.
    """

    folder: Path
    model_sha256: Sha256
    nodes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """A segment's place in the split, and the names of all tensors that pass from one segment to the next."""

    engine: EngineName
    number: int
    of: int
    boundaries: frozenset[str]


def read_source(path: Path, calibration: Path | None, name: str) -> tuple[OnnxModel, CircuitSpec, Path | None]:
    """The model to split, what its author wants, and its calibration data: a circuit folder, or an ONNX file, all public."""
    if path.is_dir() or path.name == "circuit.toml":
        folder = CircuitFolder(path)
        own = None if folder.spec.calibration is None else folder.folder / folder.spec.calibration
        return folder.model, folder.spec, calibration or own
    model = load_path(path)
    spec = CircuitSpec(
        name=re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or "model",
        model=path.name,
        engine=splitting_engines()[0].name,
        tensors={tensor.name: Visibility.PUBLIC for tensor in (*model.inputs, *model.outputs)},
        weights=WeightVisibility.PUBLIC,
        calibration=None,
        calibration_samples=None,
        task=Task.REGRESSION,
        budget=Budget(),
        fidelity=FidelityFloor(),
    )
    return model, spec, calibration


def split_model(
    path: Path, cuts: Sequence[str], output: Path, *, calibration: Path | None = None, progress: Progress = SILENT
) -> tuple[SplitSegment, ...]:
    """Write one circuit folder per segment: ``output/1``, ``output/2``, …; equal arguments give equal bytes.

    Args:
        path: a circuit folder, whose specification the segments keep, or an ONNX file.
        cuts: one cut each, as in :func:`verifai.onnx_graph.cut.cut_model`.
        calibration: real inputs of the whole model (``.npz``); by default the circuit's own.

    Raises:
        UsageError: ``unknown-tensor``, ``no-calibration-data``, ``file-exists``, ``privacy-unsupported``, ``bad-spec``.
        UnsupportedModel: ``cut-invalid``, with the node named, and what calibration raises.
    """
    model, spec, data = read_source(path, calibration, output.resolve().name)
    if spec.count_right:
        message = "right answers are counted by one circuit: the segments of a chain would show them, or nothing"
        raise UsageError(
            "bad-spec", message, where=f"{path}: circuit.count_right", hint="Leave count_right out, or do not split."
        )
    able = splitting_engines()
    engine = next((one for one in able if one.name is spec.engine), able[0])
    engine.check_split(spec, where=str(path))
    segments, crossing = cut_model(model, cuts)
    folders = [output / str(number + 1) for number in range(len(segments))]
    for folder in folders:
        if folder.exists() or folder.is_symlink():
            raise UsageError("file-exists", "this folder exists already", where=str(folder), hint="Choose another --output.")
    samples = _samples(model, spec, data)
    boundaries = [name for cut in crossing for name in cut]
    request = SplitRequest(model, spec, segments=segments, boundaries=boundaries, samples=samples, progress=progress)
    options = engine.split_options(request)
    written = []
    for number, (folder, segment, chosen) in enumerate(zip(folders, segments, options, strict=True), 1):
        place = _Place(engine.name, number, len(segments), frozenset(boundaries))
        document = _document(spec, segment, chosen, place)
        secret = spec.weights is not WeightVisibility.PUBLIC
        _write(folder, document, segment, samples, f"{number} of {len(segments)}", secret)
        inputs, outputs = (tuple(tensor.name for tensor in side) for side in (segment.inputs, segment.outputs))
        written.append(SplitSegment(folder, segment.sha256, len(segment.proto.graph.node), inputs, outputs))
        samples = _through(segment, samples)
    return tuple(written)


def _samples(model: OnnxModel, spec: CircuitSpec, data: Path | None) -> list[Tensors]:
    if data is None:
        raise UsageError(
            "no-calibration-data",
            "split needs calibration data: the scale of a boundary tensor is chosen from it",
            hint="Give real inputs: --calibration samples.npz.",
        )
    names = resolve_names(spec.names, model.inputs, model.outputs, "circuit.toml")
    columns = TableColumns(names.columns, spec.dropped, {name: names.texts(name) for name in names.categories})
    return list(read_complete(data, model, columns=columns).samples[: spec.calibration_samples])


def _through(segment: OnnxModel, samples: Sequence[Tensors]) -> list[Tensors]:
    """What the float segment makes of the samples: the next segment's calibration data."""
    return list(Reference(segment).run_batch(samples))


def _document(spec: CircuitSpec, segment: OnnxModel, options: Mapping[str, Any], place: _Place) -> dict[str, Any]:
    """A segment's specification. A floor on the whole model's fidelity says nothing about a part's, so none is taken over."""
    ends = (*segment.inputs, *segment.outputs)
    tensors = {one.name: "hashed" if one.name in place.boundaries else spec.tensors[one.name].value for one in ends}
    memory = {} if spec.budget.memory_bytes is None else {"memory": f"{spec.budget.memory_bytes} B"}
    # A segment without a private tensor of its own would else fall back to hiding nothing, its boundary least of all.
    level = AskedPrivacy.ZERO_KNOWLEDGE if spec.zero_knowledge else spec.privacy
    limits = {"prove_seconds": spec.budget.prove_seconds, "setup_seconds": spec.budget.setup_seconds}
    return {
        "circuit": {
            "name": f"{spec.name[:_NAME_LENGTH]}-{place.number}",
            "description": f"Segment {place.number} of {place.of} of {spec.description or spec.name}",
            "model": MODEL_FILE,
            "engine": place.engine.value,
            # An inner tensor's largest cell is no class.
            **({} if spec.batch is None else {"batch": spec.batch}),
            "task": (spec.task if place.number == place.of else Task.REGRESSION).value,
        },
        "tensors": tensors,
        "weights": {"visibility": spec.weights.value},
        **({} if level is None else {"privacy": {"level": level.value}}),
        "calibration": {"data": "calibration.npz"},
        "fidelity": {"floor": "none"},
        "budget": {**memory, **{name: value for name, value in limits.items() if value is not None}},
        "engine": {place.engine.value: dict(options)},
    }


def _write(
    folder: Path, document: Mapping[str, Any], segment: OnnxModel, samples: Sequence[Tensors], which: str, secret: bool
) -> None:
    """``secret``: the weights are not public, so the model is for its owner's eyes only."""
    folder.mkdir(parents=True)
    write_atomic(folder / MODEL_FILE, segment.data, mode=0o600 if secret else None)
    # Inner tensors of real inputs: as confidential as the inputs themselves.
    write_atomic(folder / "calibration.npz", write_npz(to_arrays(samples, segment)), mode=0o600)
    write_atomic(folder / "circuit.toml", (_HEADER.format(which=which) + tomli_w.dumps(document)).encode())
    made = CircuitFolder(folder)
    _ = made.spec, made.model
