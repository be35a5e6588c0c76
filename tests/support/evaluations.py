"""A small evaluation in several forms, and an insider who assembles false ones with every key and digest right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.batch_circuits import small_circuit
from verifai.bundle.dsse import attest
from verifai.bundle.reader import open_bundle
from verifai.bundle.sbom import make_sbom
from verifai.bundle.writer import Content, write_bundle
from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.envelope import Subject
from verifai.domain.attestation.evaluation import EvaluationPredicate
from verifai.domain.attestation.manifest import MODEL_FILE, SBOM_FILE, SIDE_FILES
from verifai.domain.circuit_spec import Budget
from verifai.domain.counting import LABELS, NO_LABEL, RIGHT, PinnedCount
from verifai.domain.digest import Sha256, sha256
from verifai.domain.evaluation.data_lock import DataKind, DataLock, DataTask
from verifai.domain.progress import SILENT
from verifai.domain.statement import Statement, Visibility, WeightVisibility
from verifai.stages.compile import compile_circuit
from verifai.stages.evaluation.answers import Answers, reading_of
from verifai.stages.evaluation.claims import file_names
from verifai.stages.evaluation.data_set import DATA_FILE, DataSet, pin, to_file
from verifai.stages.evaluation.judge import metrics_of
from verifai.stages.prove import prove
from verifai.stages.ready import ReadyCircuit, ready_circuit
from verifai.stages.verify import find_claims, verify_proof

BATCH, ROWS = 4, 10
_PROVEN: dict[tuple[Path, bytes], Path] = {}
CREATED = "2026-06-01T00:00:00Z"


def circuit(
    root: Path,
    name: str,
    visibility: Visibility = Visibility.PUBLIC,
    weights: WeightVisibility = WeightVisibility.PUBLIC,
    batch: int = BATCH,
) -> CircuitFolder:
    """``y = argmax(x·w)`` over three classes, for batches of four."""
    folder = small_circuit(root, name, visibility, weights)
    if batch:
        compile_circuit(folder, batch=batch)
    return folder


def counting_circuit(root: Path, name: str, batch: int = BATCH, budget: int | None = None) -> CircuitFolder:
    """The same with hidden weights and a hidden class: it shows how many answers of a batch are right."""
    folder = small_circuit(root, name, Visibility.PUBLIC, WeightVisibility.PRIVATE, budget=budget)
    path = folder.folder / "circuit.toml"
    text = path.read_text().replace('y = "public"', 'y = "private"')
    path.write_text(text.replace('engine = "sumcheck"', 'engine = "sumcheck"\ncount_right = true', 1))
    written = CircuitFolder(folder.folder)
    compile_circuit(written, batch=batch)
    return written


def rows_set(count: int = ROWS, *, seed: int = 7, groups: Sequence[str] = ("a", "b")) -> DataSet:
    """Rows for :func:`circuit`; labels are what it answers, but for a few."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.9, 0.9, (count, 4)).astype(np.float32)
    w = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    labels = (x @ w).argmax(axis=1).astype(np.int64)
    labels[::5] = (labels[::5] + 1) % 3
    named = tuple(groups[at % len(groups)] for at in range(count)) if groups else ()
    return DataSet(DataKind.ARRAYS, DataTask.CLASSIFICATION, {"x": x}, labels, ("0", "1", "2"), named)


def lock_of(data: DataSet, name: str = "rows") -> DataLock:
    return pin(data, name, "label", **({"group": "group"} if data.groups else {}))


@dataclass
class Insider:
    """Assembles an evaluation from any proofs, samples and statements.

    Attributes:
        order: which sample is proven at each place; by default all in order.
        carried: the samples that are put into the bundle. stated: what the evaluation says of the data set.
        proofs: how the proofs are ordered and left out in the evaluation.
        edit: changes the metrics before they are signed.
        clamped: how many cells each proof is said to have cut off.
        labels: of a circuit that counts, what is counted with at each place, filler too; by default the data set's own.
        left_out: what is said to lie outside.
    """

    folder: CircuitFolder
    data: DataSet
    work: Path
    order: Sequence[int] | None = None
    proven: DataSet | None = None
    carried: DataSet | None = None
    stated: DataLock | None = None
    count: int | None = None
    listed: Sequence[int] | None = None
    edit: Mapping[str, Any] = field(default_factory=dict)
    edit_whole: Mapping[str, Any] = field(default_factory=dict)
    output_name: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    sizes: Sequence[int] | None = None
    twice: bool = False
    clamped: Sequence[int] = ()
    labels: Sequence[int] | None = None
    left_out: Sequence[int] = ()

    def write(self, output: Path) -> Path:
        proven = self.proven or self.data
        order = list(self.order if self.order is not None else range(len(proven)))
        x = proven.inputs["x"]
        assert not isinstance(x, tuple)
        samples = [{"x": x[at : at + 1]} for at in order]
        ready = ready_circuit(self.folder)
        if ready.summary.counting is not None:
            samples = self._labelled(samples, order, ready.summary.counting)
        parts = [
            self._proven(samples[first:last], self.work / f"{output.name}-{number}")
            for number, (first, last) in enumerate(self._spans(len(samples), ready.batch or 1))
        ]
        lock = self.stated or lock_of(self.data)
        with ExitStack() as stack:
            opened = [stack.enter_context(open_bundle(path)) for path in parts]
            found = [verify_proof(one, ready.lock, allow_test_srs=True, budget=Budget(), progress=SILENT) for one in opened]
            counted = self.carried or self.data
            if ready.summary.counting is None:
                answer, padded = self._answers([one.statement for one in found], ready, lock, counted, order)
            else:
                shown = [one.quantised or (0,) for part in found for one in part.statement.tensors if one.name == RIGHT]
                answer, padded = ready.summary.counting.answer, Answers(right=sum(one[0] for one in shown))
            metrics = dict(metrics_of(lock, counted, padded, self.left_out).to_json()) | dict(self.edit)
            metrics["whole"] = {**metrics["whole"], **self.edit_whole}
            digests = [
                {e.path.removeprefix("payload/"): e.sha256 for e in one.manifest.files if _engine(e.path)} for one in opened
            ]
            payload: dict[str, Content] = {}
            proofs = []
            for number, (one, sums, names) in enumerate(zip(opened, digests, file_names(digests), strict=True)):
                payload |= {names[name]: one.payload[name] for name in sums}
                payload |= self.files
                subjects = [
                    Subject(
                        f"payload/{names[name]}",
                        sha256(self.files[names[name]]) if names[name] in self.files else Sha256(digest),
                    )
                    for name, digest in sums.items()
                ]
                proof = find_claims(one)[1]
                proofs.append(attest(replace(proof, clamped_cells=self.clamped[number]) if self.clamped else proof, subjects))
            payload[DATA_FILE] = self.files.get(DATA_FILE, to_file(counted))
            data_bytes = payload[DATA_FILE]
            assert isinstance(data_bytes, bytes)
            listed = [proofs[at].id for at in (self.listed if self.listed is not None else range(len(proofs)))]
            predicate = EvaluationPredicate(
                circuit=ready.attestation.id,
                proofs=tuple(listed),
                data_root=lock.root,
                count=self.count or lock.count,
                output=self.output_name or answer,
                metrics=metrics,
                created=CREATED,
                left_out=tuple(self.left_out),
            )
            claim = attest(predicate, (Subject(f"payload/{DATA_FILE}", sha256(data_bytes)),))
            claims = [claim]
            if self.twice:
                other = replace(predicate, created="2026-06-02T00:00:00Z")
                claims.append(attest(other, (Subject(f"payload/{DATA_FILE}", sha256(data_bytes)),)))
            if MODEL_FILE in opened[0].payload:
                payload[MODEL_FILE] = opened[0].payload[MODEL_FILE]
            sums = {name: sha256(one if isinstance(one, bytes) else one.read_bytes()) for name, one in payload.items()}
            payload[SBOM_FILE] = make_sbom(ready.described, CREATED, sums)
            write_bundle(output, payload=payload, attestations=[ready.attestation, *proofs, *claims], created=CREATED)
        return output

    def _answers(
        self, statements: Sequence[Statement], ready: ReadyCircuit, lock: DataLock, counted: DataSet, order: Sequence[int]
    ) -> tuple[str, Answers]:
        """What was answered, as many answers as the data set has samples that are not left out."""
        reading = reading_of(statements[0], lock, ready.lock.names, ready.summary.fidelity)
        labels = [int(counted.labels[at % len(counted)]) for at in order]
        answers, place = [], 0
        for one in statements:
            answers.append(reading.answers(one, labels[place : place + one.inferences]))
            place += one.inferences
        joined = Answers.joined(answers)
        wanted = len(counted) - len(self.left_out)
        missing = max(0, wanted - len(joined.decided))
        return reading.output, Answers((*joined.decided, *([0] * missing))[:wanted])

    def _labelled(self, samples: Sequence[dict[str, Any]], order: Sequence[int], counting: PinnedCount) -> list[dict[str, Any]]:
        """Whole batches, with what each sample is counted by."""
        missing = -len(samples) % counting.items
        filled = [*samples, *samples[-1:] * missing]
        labels = self.labels
        if labels is None:
            labels = [*(int(self.data.labels[at % len(self.data)]) for at in order), *[NO_LABEL] * missing]
        shape = counting.label_shape
        return [{**one, LABELS: np.full(shape, label, np.int64)} for one, label in zip(filled, labels, strict=True)]

    def _proven(self, samples: Sequence[Mapping[str, Any]], folder: Path) -> Path:
        """One proof; the same samples are proven once."""
        key = (self.folder.folder, b"".join(value.tobytes() for one in samples for value in one.values()))
        if key not in _PROVEN:
            (_PROVEN[key],) = (made.path for made in prove(self.folder, samples, folder, compare=False))
        return _PROVEN[key]

    def _spans(self, count: int, batch: int) -> list[tuple[int, int]]:
        if self.sizes is None:
            return [(first, min(first + batch, count)) for first in range(0, count, batch)]
        ends = np.cumsum(self.sizes).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True))


def _engine(path: str) -> bool:
    return path.startswith("payload/") and path.removeprefix("payload/") not in SIDE_FILES
