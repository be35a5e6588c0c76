"""demo: the whole tour on a shipped real model and real inputs, forgeries included.

The forger of this tour is as strong as a real one: every forged bundle is sealed again, with all digests and subjects made
consistent, so what refuses it is never a mere checksum.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Role, Statement
from verifai.errors import UsageError
from verifai.onnx_graph.inputs import Samples, read_samples
from verifai.onnx_graph.load import load_path
from verifai.showcase.demo_evaluation import EvaluatedDigits, evaluated_digits
from verifai.showcase.demo_hidden import HiddenPicture, hidden_picture
from verifai.showcase.demo_steps import CONTEXT, Proved, Refused, check, refusals, reseal
from verifai.stages.compile import CompileResult, compile_circuit
from verifai.stages.export import ExportResult, export
from verifai.stages.prove import prove
from verifai.stages.ready import ProvedBundle
from verifai.stages.verify import Expectations, VerifiedBundle, verify_bundle

CIRCUIT = "digits-cnn"
SAMPLES = 3
_PARITY_SAMPLES = 50


@dataclass(frozen=True)
class Exported:
    """The source model became canonical ONNX."""

    result: ExportResult
    seconds: float


@dataclass(frozen=True)
class Compiled:
    """The pinned circuit was reproduced."""

    result: CompileResult
    seconds: float


@dataclass(frozen=True)
class SideBySide:
    """The first picture again, proven by the second engine.

    Attributes:
        first, second: of ezkl and of sumcheck. agree: whether both statements name the same digit.
        cold_seconds: of sumcheck's first prove in this process, kernels loaded or compiled included.
    """

    first: Proved
    second: Proved
    cold_seconds: float

    @property
    def agree(self) -> bool:
        """Whether both engines prove the same digit."""
        return self.first.digit == self.second.digit


DemoEvent = Exported | Compiled | Proved | Refused | SideBySide | HiddenPicture | EvaluatedDigits


def find_checkout() -> Path:
    """The folder with ``circuits/`` and ``fixtures/``. Raises UsageError when verifai was installed without them."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "circuits" / CIRCUIT / "circuit.lock").is_file():
        raise UsageError(
            "file-missing",
            "the demo needs the shipped circuits and fixtures",
            where=str(root / "circuits" / CIRCUIT),
            hint="Run it from a checkout: `make demo`. Without one there is `verifai demo --language-model`.",
        )
    return root


def run_demo(work: Path, *, checkout: Path | None = None, progress: Progress = SILENT) -> Iterator[DemoEvent]:
    """Run the tour in ``work``, an empty folder, yielding each event as it happens.

    Raises:
        UsageError: ``file-missing`` outside a checkout.
        InternalError: ``demo-accepted-forgery``, when a forgery is not refused: then do not use this release.
    """
    root = checkout or find_checkout()
    fixture = root / "fixtures" / CIRCUIT
    begun = time.monotonic()
    real = read_samples(fixture / "heldout.npz", load_path(fixture / "model.onnx"))
    exported = export(fixture / "source.onnx", samples=real[:_PARITY_SAMPLES])
    yield Exported(exported, time.monotonic() - begun)

    folder = _own_copy(root, work, exported.model.data)
    begun = time.monotonic()
    compiled = compile_circuit(folder, locked=True, progress=progress)
    yield Compiled(compiled, time.monotonic() - begun)

    samples, labels = _pictures(real)
    first: Proved | None = None
    for bundle in prove(folder, samples, work / "evidence", engine=EngineName.EZKL, context=CONTEXT, progress=progress):
        event = check(folder, bundle, samples[bundle.index], labels[bundle.index], progress)
        first = first or event
        yield event
    assert first is not None
    yield from _forgeries(folder, first.bundle, samples[0], work / "forged", progress)
    yield _second_engine(folder, first, samples[0], work / "sumcheck", progress)
    yield from hidden_picture(folder, samples[0], labels[0], work / "hidden", progress)
    yield evaluated_digits(folder, fixture / "heldout.npz", work / "evaluation", progress)


def _second_engine(
    folder: CircuitFolder, first: Proved, sample: Mapping[str, Any], work: Path, progress: Progress
) -> SideBySide:
    """The same picture with the sumcheck engine, twice: the first call also loads the kernels."""
    compile_circuit(folder, engine=EngineName.SUMCHECK, locked=True, progress=progress)
    cold, warm = (
        bundle
        for run in ("cold", "warm")
        for bundle in prove(folder, [sample], work / run, engine=EngineName.SUMCHECK, context=CONTEXT, progress=progress)
    )
    return SideBySide(first, check(folder, warm, sample, first.label, progress), cold.seconds)


def _own_copy(root: Path, work: Path, model: bytes) -> CircuitFolder:
    """The circuit as a user would have it: specification, lock, exported model, data; nothing built."""
    circuit, fixture = work / "circuits" / CIRCUIT, work / "fixtures" / CIRCUIT
    circuit.mkdir(parents=True)
    fixture.mkdir(parents=True)
    for name in ("circuit.toml", "circuit.lock"):
        shutil.copyfile(root / "circuits" / CIRCUIT / name, circuit / name)
    (fixture / "model.onnx").write_bytes(model)
    shutil.copyfile(root / "fixtures" / CIRCUIT / "calibration.npz", fixture / "calibration.npz")
    shutil.copytree(root / "fixtures" / "srs", work / "fixtures" / "srs")
    return CircuitFolder(circuit)


def _pictures(read: Samples) -> tuple[Sequence[Mapping[str, Any]], Sequence[int]]:
    """The first held-out sample of three different digits."""
    assert read.label is not None
    chosen: dict[int, int] = {}
    for index, label in enumerate(read.label.tolist()):
        chosen.setdefault(int(label), index)
        if len(chosen) == SAMPLES:
            break
    return [read.samples[index] for index in chosen.values()], list(chosen)


def _forgeries(
    folder: CircuitFolder, bundle: ProvedBundle, sample: Mapping[str, Any], work: Path, progress: Progress
) -> Iterator[Refused]:
    work.mkdir()
    name, picture = next(iter(sample.items()))
    flipped = picture.copy()
    flipped.flat[20] = 1.0 - flipped.flat[20]
    vk = next(path.name for path in (bundle.path / "payload").iterdir() if path.name.startswith("vk"))

    def resealed(label: str, **how: Any) -> Callable[[], VerifiedBundle]:
        def attempt() -> VerifiedBundle:
            forged = reseal(bundle.path, work / label, **how)
            return verify_bundle(forged, folder.lock(), Expectations(allow_test_srs=True), progress=progress)

        return attempt

    def other_picture() -> VerifiedBundle:
        expect = Expectations(inputs={name: flipped}, allow_test_srs=True)
        return verify_bundle(bundle.path, folder.lock(), expect, progress=progress)

    attempts: dict[str, Callable[[], VerifiedBundle]] = {
        "one pixel of the picture flipped": other_picture,
        "one output raised by one step": resealed("output", payload={"proof.json": _raise_output}, statement=_raise_logit),
        "one weight of the model changed": resealed("weight", payload={MODEL_FILE: _change_weight}),
        "one byte of the verification key changed": resealed("vk", payload={vk: _flip_middle_byte}),
        "one byte of the proof changed": resealed("proof", payload={"proof.json": _flip_proof_byte}),
    }
    yield from refusals(attempts)


def _raise_output(data: bytes) -> bytes:
    document = json.loads(data)
    # The outputs come last among the instances; this is the first of ten logits, a little-endian field element.
    value = int.from_bytes(bytes.fromhex(document["instances"][-10]), "little") + 1
    document["instances"][-10] = value.to_bytes(32, "little").hex()
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _raise_logit(statement: Statement) -> Statement:
    tensors = []
    for tensor in statement.tensors:
        if tensor.role is Role.OUTPUT and tensor.quantised is not None:
            tensor = replace(tensor, quantised=(tensor.quantised[0] + 1, *tensor.quantised[1:]))
        tensors.append(tensor)
    return replace(statement, tensors=tuple(tensors))


def _change_weight(data: bytes) -> bytes:
    import onnx
    from onnx import numpy_helper

    model = onnx.ModelProto.FromString(data)
    weight = model.graph.initializer[0]
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    changed: bytes = model.SerializeToString(deterministic=True)
    return changed


def _flip_middle_byte(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _flip_proof_byte(data: bytes) -> bytes:
    document = json.loads(data)
    document["proof"] = _flip_middle_byte(bytes.fromhex(document["proof"])).hex()
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
