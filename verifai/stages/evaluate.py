"""evaluate: a circuit and a data set become one bundle: every sample proven, every metric countable by whoever reads it.

Proofs are made as batches of ``prove`` are, in a folder beside the output; so a run that was interrupted is continued by the
same command. The bundle is written when all of them are there.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verifai.bundle.dsse import attest
from verifai.bundle.reader import open_bundle
from verifai.bundle.sbom import make_sbom
from verifai.bundle.writer import Content, write_bundle
from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.attestation.evaluation import MAX_PROOFS, EvaluationPredicate
from verifai.domain.attestation.manifest import MODEL_FILE, SBOM_FILE, SIDE_FILES
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.counting import LABELS, NO_LABEL
from verifai.domain.digest import Sha256, sha256
from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.evaluation.metrics import Metrics
from verifai.domain.progress import SILENT, Progress
from verifai.domain.proof_index import sample_id
from verifai.domain.shell import shell
from verifai.domain.statement import EngineName, Statement, Visibility
from verifai.domain.trust_keys import Signer
from verifai.domain.workforce import ALONE, Workforce
from verifai.engines.capabilities import StatesInputRanges
from verifai.errors import PolicyNotMet, UsageError, VerifaiError
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.run import prove_batch
from verifai.stages.evaluation.answers import Answers, Reading, reading_of
from verifai.stages.evaluation.claims import file_names
from verifai.stages.evaluation.counted import CountReading, count_reading
from verifai.stages.evaluation.data_set import DATA_FILE, DataSet, require_pinned, to_file
from verifai.stages.evaluation.judge import VerifiedEvaluation, metrics_of, verify_evaluation
from verifai.stages.evaluation.samples import model_inputs
from verifai.stages.outside import outside_words, refuse_outside
from verifai.stages.ready import ReadyCircuit, ready_circuit
from verifai.stages.verify import find_claims, verify_proof

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle


@dataclass(frozen=True)
class EvaluateOptions:
    """How an evaluation is proven; fields that :class:`~verifai.stages.batch.report.BatchOptions` has as well mean the same."""

    engine: EngineName | None = None
    context: str = ""
    signers: Sequence[Signer] = ()
    threads: int | None = None
    workforce: Workforce = ALONE
    max_memory: int | None = None
    renew_roots: bool = False


@dataclass(frozen=True)
class Evaluated:
    """An evaluation on disk.

    Attributes:
        evaluation: verified again, by the locks of circuit and data set.
        proofs: how many it has; ``earlier``: how many of them an earlier run had made.
        size: of the bundle, in bytes.
    """

    path: Path
    evaluation: VerifiedEvaluation
    proofs: int
    earlier: int
    size: int


def work_folder(output: Path) -> Path:
    """Where the proofs of an evaluation lie until it is written."""
    return output.parent / f".{output.name}.proofs"


def evaluate(
    folder: CircuitFolder,
    samples: DataSet,
    data: DataLock,
    output: Path,
    options: EvaluateOptions | None = None,
    *,
    progress: Progress = SILENT,
) -> Evaluated:
    """Prove every sample and write the evaluation's bundle to ``output``; one that is there already is verified and returned.

    Raises:
        UsageError: ``data-lock-differs`` when the samples are not those that ``data`` pins; ``evaluation-differs`` when
            something else is at ``output``; what :func:`verifai.stages.batch.run.prove_batch` raises.
        InputRejected: no sample that the circuit can represent, before the first proof.
        PolicyNotMet: what no reader could count, before the first proof: a hidden input, for example.
        Undecided: as there.
    """
    options = options or EvaluateOptions()
    _require_pinned(samples, data)
    ready = ready_circuit(
        folder, engine=options.engine, signers=options.signers, threads=options.threads, max_memory=options.max_memory
    )
    if output.exists():
        return _there_already(output, ready, data, progress)
    _require_countable(folder, counts=ready.summary.counting is not None)
    inputs = model_inputs(samples, folder.model.inputs, ready.lock.names).samples
    left_out = _outside(ready, inputs, progress)
    proven = [place for place in range(len(inputs)) if place not in left_out]
    given = _given(ready, samples, data, inputs, proven)
    proofs = -(-len(given) // ready.batch) if ready.batch else len(given)
    if proofs > MAX_PROOFS:
        raise UsageError(
            "bad-option",
            f"{proofs:,} proofs, and an evaluation has at most {MAX_PROOFS:,}",
            where=str(folder.folder),
            hint=f"Run: `verifai compile {shell(folder.folder)} --batch 256`",
        )
    work = work_folder(output)
    report = prove_batch(
        folder,
        given,
        work,
        BatchOptions(
            engine=options.engine,
            context=options.context,
            signers=options.signers,
            threads=options.threads,
            workforce=options.workforce,
            max_memory=options.max_memory,
            renew_roots=options.renew_roots,
            resume=work.exists(),
        ),
        progress=progress,
    )
    known = {made.index: made.statement for made in report.made}
    parts = [work / sample_id(number) for number in range(proofs)]
    _write(output, parts, known, ready, samples, data, proven, options)
    shutil.rmtree(work, ignore_errors=True)
    evaluation = _verified(output, ready.lock, data, ready.budget, progress)
    return Evaluated(output, evaluation, proofs, proofs - len(report.made), _size(output))


def _require_pinned(samples: DataSet, data: DataLock) -> None:
    try:
        require_pinned(samples, data)
    except VerifaiError as problem:
        raise UsageError("data-lock-differs", problem.message, where=data.where) from None


def _outside(ready: ReadyCircuit, inputs: Sequence[Mapping[str, Any]], progress: Progress) -> frozenset[int]:
    """Places of the samples that the circuit cannot take; the others are proven, and these counted as wrong.

    None of an engine whose ranges nobody else can read: what it cannot prove is refused when its proofs begin.

    Raises:
        SamplesOutside: when there is no other.
    """
    if not isinstance(ready.engine, StatesInputRanges):
        return frozenset()
    found = ready.outside(inputs, progress)
    places = frozenset(one.row for one in found)
    if len(places) == len(inputs):
        refuse_outside(found, len(inputs))
    if found:
        progress.note(
            f"{len(places):,} of {len(inputs):,} samples lie outside what the circuit takes; nothing about them is proven, and "
            f"the evaluation names them. The first: {outside_words(found[0])}"
        )
    return places


def _given(
    ready: ReadyCircuit, samples: DataSet, data: DataLock, inputs: Sequence[Mapping[str, Any]], proven: Sequence[int]
) -> Sequence[Mapping[str, Any]]:
    """What is proven: the samples' inputs; where right answers are counted, with their labels, in whole batches.

    Places beyond the last sample hold that sample again, with a label that no answer has.
    """
    chosen = [inputs[place] for place in proven]
    counting = ready.summary.counting
    if counting is None:
        return chosen
    known = samples.labels.tolist()
    labels = count_reading(counting, data, ready.lock.names).labels([known[place] for place in proven])
    missing = -len(chosen) % counting.items
    chosen, labels = [*chosen, *chosen[-1:] * missing], [*labels, *[NO_LABEL] * missing]
    return [{**one, LABELS: np.full(counting.label_shape, label, np.int64)} for one, label in zip(chosen, labels, strict=True)]


def _require_countable(folder: CircuitFolder, *, counts: bool) -> None:
    """Refuse before the first proof what no reader could match or count after the last."""
    for tensor in folder.model.inputs:
        visibility = folder.spec.tensors[tensor.name]
        hides = visibility is Visibility.PRIVATE or (visibility is Visibility.HASHED and folder.spec.zero_knowledge)
        if hides:
            raise PolicyNotMet(
                "evaluation-input-hidden",
                f"input {tensor.name!r} is {visibility.value}, so nobody could match it with the data set",
                where=f"{folder.folder}/circuit.toml: [tensors]",
                hint="Make it public; weights and scores may stay hidden.",
            )
    if counts:
        return
    if folder.model.outputs and all(folder.spec.tensors[one.name] is not Visibility.PUBLIC for one in folder.model.outputs):
        raise PolicyNotMet(
            "evaluation-output-hidden",
            "every output is hidden, so no answer could be counted",
            where=f"{folder.folder}/circuit.toml: [tensors]",
            hint="Show the class alone (ArgMax), with the scores hidden; or write count_right = true in [circuit].",
        )


def _there_already(output: Path, ready: ReadyCircuit, data: DataLock, progress: Progress) -> Evaluated:
    try:
        evaluation = _verified(output, ready.lock, data, ready.budget, progress)
    except VerifaiError as problem:
        if problem.status in (70, 130):
            raise
        raise UsageError(
            "evaluation-differs",
            f"something else is there, or an evaluation that does not hold: {problem.message}",
            where=str(output),
            hint="Choose another name for the output; evidence is never overwritten.",
        ) from None
    proofs = len(evaluation.predicate.proofs)
    return Evaluated(output, evaluation, proofs, proofs, _size(output))


def _verified(output: Path, lock: CircuitLock, data: DataLock, budget: Budget, progress: Progress) -> VerifiedEvaluation:
    with open_bundle(output) as bundle:
        # Insecure set-up material is the lock's affair here: whoever judges the evaluation decides about it.
        return verify_evaluation(bundle, lock, data, allow_test_srs=True, budget=budget, progress=progress)


def _size(output: Path) -> int:
    return sum(one.stat().st_size for one in output.rglob("*") if one.is_file()) if output.is_dir() else output.stat().st_size


def _write(
    output: Path,
    parts: Sequence[Path],
    known: dict[int, Statement],
    ready: ReadyCircuit,
    samples: DataSet,
    data: DataLock,
    proven: Sequence[int],
    options: EvaluateOptions,
) -> Sha256:
    """Put the proofs into one bundle, each file once."""
    with ExitStack() as stack:
        opened = [stack.enter_context(open_bundle(path)) for path in parts]
        reading, metrics = _count(opened, known, ready, samples, data, proven)
        digests = [
            {entry.path.removeprefix("payload/"): entry.sha256 for entry in one.manifest.files if _of_engine(entry.path)}
            for one in opened
        ]
        payload: dict[str, Content] = {}
        proofs: list[Attestation] = []
        for one, sums, names in zip(opened, digests, file_names(digests), strict=True):
            payload |= {names[name]: one.payload[name] for name in sums}
            subjects = [Subject(f"payload/{names[name]}", Sha256(digest)) for name, digest in sums.items()]
            proofs.append(attest(find_claims(one)[1], subjects, options.signers))
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        payload[DATA_FILE] = carried = to_file(samples)
        predicate = EvaluationPredicate(
            circuit=ready.attestation.id,
            proofs=tuple(one.id for one in proofs),
            data_root=data.root,
            count=data.count,
            output=reading.output,
            metrics=metrics.to_json(),
            created=created,
            left_out=tuple(sorted(set(range(data.count)) - set(proven))),
        )
        claim = attest(predicate, (Subject(f"payload/{DATA_FILE}", sha256(carried)),), options.signers)
        if MODEL_FILE in opened[0].payload:
            payload[MODEL_FILE] = opened[0].payload[MODEL_FILE]
        sums = {name: sha256(one if isinstance(one, bytes) else one.read_bytes()) for name, one in payload.items()}
        payload[SBOM_FILE] = make_sbom(ready.described, created, sums)
        return write_bundle(
            output,
            payload=payload,
            attestations=[ready.attestation, *proofs, claim],
            signers=options.signers,
            created=created,
        )


def _of_engine(path: str) -> bool:
    return path.startswith("payload/") and path.removeprefix("payload/") not in SIDE_FILES


def _count(
    opened: Sequence[OpenBundle],
    known: dict[int, Statement],
    ready: ReadyCircuit,
    samples: DataSet,
    data: DataLock,
    proven: Sequence[int],
) -> tuple[Reading | CountReading, Metrics]:
    """The metrics, from statements of this run; proofs of an earlier run are verified for theirs."""
    reading: Reading | CountReading | None = None
    counting, labels = ready.summary.counting, samples.labels.tolist()
    place = 0
    answers: list[Answers] = []
    for number, one in enumerate(opened):
        statement = known.get(number)
        if statement is None:
            found = verify_proof(one, ready.lock, allow_test_srs=True, budget=ready.budget, progress=SILENT)
            statement = found.statement
        if reading is None and counting is not None:
            reading = count_reading(counting, data, ready.lock.names)
        elif reading is None:
            reading = reading_of(statement, data, ready.lock.names, ready.summary.fidelity)
        assert reading is not None
        items = statement.inferences if counting is None else counting.items
        of_these = [labels[at] for at in proven[place : place + items]]
        if isinstance(reading, CountReading):
            answers.append(Answers(right=reading.right(statement, of_these, f"proof {number}")))
        else:
            answers.append(reading.answers(statement, of_these))
        place += len(of_these)
    assert reading is not None
    left_out = sorted(set(range(data.count)) - set(proven))
    return reading, metrics_of(data, samples, Answers.joined(answers), left_out)
