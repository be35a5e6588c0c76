"""An evaluation checked: every proof verified, every sample matched with the pinned data set, every metric counted again.

The steps E1 to E6 are those of ``docs/bundle-format.md``. Nothing that the evaluation says of itself is used for the result:
its metrics are compared with what is counted here, and a difference rejects it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from verifai.bundle.reader import OpenBundle, open_bundle
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.evaluation import EvaluationPredicate
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256, short
from verifai.domain.evaluation.data_lock import DataLock, DataTask
from verifai.domain.evaluation.metrics import Counted, Metrics, count_classes, places_by_group, sum_errors
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding, Outcome, holds
from verifai.domain.names import PlaceNames
from verifai.domain.openings import OpenedBy
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import Role, Statement, TensorStatement, Visibility
from verifai.engines.interface import ProofEngine
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, InputRejected, PolicyNotMet
from verifai.onnx_graph.tensors import Array
from verifai.stages.evaluation.answers import Answers, Reading, reading_of
from verifai.stages.evaluation.claims import EvaluationClaims, find_evaluation
from verifai.stages.evaluation.data_set import DataSet, read_carried
from verifai.stages.evaluation.samples import cells_per_item, stacked, stated_inputs
from verifai.stages.matching import HIDING_ROOT, check_context, check_context_bound
from verifai.stages.verify import SATURATED, Expectations, VerifiedBundle, note_clamped, verify_proof


@dataclass(frozen=True)
class VerifiedEvaluation:
    """An evaluation that holds; made only by :func:`verify_evaluation`.

    Attributes:
        statement: of the first proof, for what all of them say alike: privacy, weights.
        metrics: counted here.
        samples: the data set, with what was answered to each sample in ``answers``.
        findings: one per step; what all proofs say alike is there once.
        opened: the openings of all proofs.
    """

    bundle_id: Sha256
    predicate: EvaluationPredicate
    circuit: CircuitPredicate
    statement: Statement
    data: DataLock
    samples: DataSet
    metrics: Metrics
    answers: Answers
    findings: tuple[Finding, ...]
    opened: OpenedBy
    fidelity: Fidelity
    names: PlaceNames


@dataclass(frozen=True)
class ProvenPart:
    """One proof of an evaluation, verified.

    Attributes:
        inputs: the data set's own values of its samples, by input, stacked where it is of a batch: they are the proven ones.
    """

    bundle: OpenBundle
    verified: VerifiedBundle
    inputs: Mapping[str, Array]


def verify_evaluation_at(
    path: Path,
    lock: CircuitLock,
    data: DataLock,
    expect: Expectations | None = None,
    *,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> VerifiedEvaluation:
    """The same for the bundle at ``path``, a folder or a single file; the context is matched with each proof's.

    Raises:
        As :func:`verify_evaluation`; EvidenceRejected ``context-mismatch``, PolicyNotMet ``context-not-bound``.
    """
    expect = expect or Expectations()

    def context(part: ProvenPart) -> Sequence[Finding]:
        statement = part.verified.statement
        finding = check_context(statement, expect.context)
        check_context_bound(statement, expect.context, signed=expect.context_signed)
        return (finding,)

    with open_bundle(path) as bundle:  # V1: steps R1–R9
        return verify_evaluation(
            bundle, lock, data, allow_test_srs=expect.allow_test_srs, budget=budget, progress=progress, visit=context
        )


Visit = Callable[[ProvenPart], Sequence[Finding]]
"""What a caller judges of each proof by itself, such as the context; returns its findings."""


def verify_evaluation(
    bundle: OpenBundle,
    lock: CircuitLock,
    data: DataLock,
    *,
    allow_test_srs: bool = False,
    budget: Budget | None = None,
    progress: Progress = SILENT,
    visit: Visit | None = None,
) -> VerifiedEvaluation:
    """Verify the evaluation in an open bundle against the trusted locks of circuit and data set.

    Proofs are verified one after the other; memory does not grow with their number, but for the samples and what was answered.

    Raises:
        EvidenceRejected: something is false; ``data-…``, ``sample-…``, ``metrics-differ``, and what a single proof can be.
        PolicyNotMet: ``no-evaluation``, ``evaluation-input-hidden``, ``evaluation-output-hidden``, ``classes-differ``, …
        Undecided: it could not be checked.
    """
    claims = find_evaluation(bundle)  # E1
    findings = _Findings()
    findings.add(holds("evaluation-complete", f"one evaluation, its circuit and {len(claims.parts)} proofs, no others", "E1"))
    findings.add(_check_pin(claims.predicate, data))  # E2
    samples = read_carried(claims.data, data)  # E3
    message = f"the {data.count:,} samples in the bundle, with their labels, are those that the lock of {data.name!r} pins"
    findings.add(holds("data-pinned", message, "E3", evidence=data.root))
    progress.phase(f"verifying {len(claims.parts)} proofs", len(claims.parts))
    walk = _Walk(samples, data, lock)
    cut: ProofPredicate | None = None  # the proof whose prover says that it cut off the most
    for number, part in enumerate(claims.parts):
        verified = verify_proof(part, lock, allow_test_srs=allow_test_srs, budget=budget or Budget(), progress=SILENT)  # E4
        findings.add(*(one for one in verified.findings if one.code != SATURATED))
        cut = max((one for one in (cut, verified.proof) if one is not None), key=lambda one: one.clamped_cells or 0)
        inputs = walk.take(verified, f"proof {number}")  # E5
        findings.add(*(visit(ProvenPart(part, verified, inputs)) if visit is not None else ()))
        progress.advance()
    assert cut is not None
    findings.add(*note_clamped(cut))
    return _counted(bundle, claims, data, samples, walk, findings)


def _check_pin(predicate: EvaluationPredicate, data: DataLock) -> Finding:
    """E2: the evaluation is about the data set that whoever judges it has pinned."""
    if (predicate.data_root, predicate.count) != (data.root, data.count):
        raise EvidenceRejected(
            "data-not-pinned",
            f"the evaluation is about {predicate.count:,} samples of root {short(predicate.data_root)}, "
            f"the lock pins {data.count:,} of root {short(data.root)}",
            where="data",
            hint="Use the lock of the data set that was evaluated, if that is the one you want; else ask for another one.",
        )
    return holds("data-root-pinned", f"the data set is the pinned one, {data.name!r}", "E2", evidence=data.root)


def _counted(
    bundle: OpenBundle,
    claims: EvaluationClaims,
    data: DataLock,
    samples: DataSet,
    walk: _Walk,
    findings: _Findings,
) -> VerifiedEvaluation:
    verified, reading, answers = walk.finished()
    findings.add(
        holds("samples-matched", f"each of the {data.count:,} proven inputs is the sample at its place", "E5"), reading.finding
    )
    metrics = metrics_of(data, samples, answers)
    if metrics.to_json() != claims.predicate.metrics or claims.predicate.output != reading.output:
        raise EvidenceRejected(
            "metrics-differ",
            f"the evaluation does not say what is counted: {_difference(metrics, claims.predicate)}",
            where=f"attestations/{claims.attestation.id}",
        )
    findings.add(holds("metrics-counted", "the stated metrics are those that were counted again, exactly", "E6"))
    return VerifiedEvaluation(
        bundle_id=bundle.bundle_id,
        predicate=claims.predicate,
        circuit=claims.circuit,
        statement=verified.statement,
        data=data,
        samples=samples,
        metrics=metrics,
        answers=answers,
        findings=findings.all(),
        opened=replace(walk.opened(), where=str(bundle.path)),
        fidelity=verified.fidelity,
        names=verified.names,
    )


def _difference(metrics: Metrics, predicate: EvaluationPredicate) -> str:
    counted, stated = metrics.to_json(), predicate.metrics
    for field in sorted({*counted["whole"], *stated["whole"]}):
        ours, theirs = counted["whole"].get(field), stated["whole"].get(field)
        if ours != theirs:
            return f"{field} is {str(ours)[:60]}, it says {str(theirs)[:60]}"
    return "its groups differ" if counted["groups"] != stated["groups"] else "its output is another one"


def metrics_of(data: DataLock, samples: DataSet, answers: Answers) -> Metrics:
    """Count answers against labels: of the whole data set and of each group."""
    groups = places_by_group(samples.groups)
    return Metrics(
        _count(data, samples.labels, answers, None),
        {name: _count(data, samples.labels, answers, places) for name, places in groups.items()},
    )


def _count(data: DataLock, labels: Array, answers: Answers, places: Sequence[int] | None) -> Counted:
    chosen = range(len(labels)) if places is None else places
    wanted = labels.tolist()
    if data.task is DataTask.REGRESSION:
        return sum_errors([Fraction(wanted[at]) for at in chosen], [answers.numbers[at] for at in chosen])
    return count_classes(
        len(data.classes),
        [wanted[at] for at in chosen],
        [answers.decided[at] for at in chosen],
        [answers.ranks[at] for at in chosen] if answers.ranks else (),
        answers.width,
    )


class _Findings:
    """Findings of many proofs, each kind once: the code and outcome of one step, where their words may name one proof."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Outcome, str, str], Finding] = {}

    def add(self, *findings: Finding) -> None:
        for one in findings:
            self._found.setdefault((one.code, one.outcome, one.step, one.where), one)

    def all(self) -> tuple[Finding, ...]:
        return tuple(self._found.values())


class _Walk:
    """Goes over the proofs in order: each proven item must be the sample at its place."""

    def __init__(self, samples: DataSet, data: DataLock, lock: CircuitLock) -> None:
        self._samples = samples
        self._data = data
        self._lock = lock
        self._inputs: Sequence[dict[str, Array]] = ()
        self._reading: Reading | None = None
        self._verified: VerifiedBundle | None = None
        self._opened: list[OpenedBy] = []
        self._answers: list[Answers] = []
        self.place = 0

    def take(self, verified: VerifiedBundle, where: str) -> Mapping[str, Array]:
        """One proof's samples; returns their inputs, which it was found to be about."""
        statement = verified.statement
        if self._verified is None:
            self._verified = verified
            self._inputs = _own_inputs(self._samples, statement, verified.names)
            self._reading = reading_of(statement, self._data, verified.names, verified.fidelity)
        assert self._reading is not None
        first, last = self.place, self.place + statement.inferences
        if last > self._data.count:
            raise EvidenceRejected(
                "sample-added",
                f"{last:,} inferences are proven, the data set has {self._data.count:,} samples",
                where=where,
                hint="One sample was counted twice, or one that the data set does not have.",
            )
        engine = engine_for(statement.engine)
        inputs = {one.name: self._match(engine, one, first, last, where) for one in statement.of(Role.INPUT)}
        self._answers.append(self._reading.answers(statement, self._samples.labels[first:last].tolist()))
        # Each opening is told with its own proof's digest: the proofs of one evaluation are compared with each other too.
        self._opened.append(verified.opened)
        self.place = last
        return inputs

    def _match(self, engine: ProofEngine, tensor: TensorStatement, first: int, last: int, where: str) -> Array:
        if tensor.visibility is Visibility.PRIVATE:
            raise _hidden(tensor.name, "the proof binds it to nothing that you hold")
        wanted = stacked(self._inputs[first:last], tensor)
        try:
            if tensor.visibility is Visibility.PUBLIC:
                same = tensor.holds(engine.quantise(tensor, wanted))
            else:
                same = engine.digest(tensor, wanted) == tensor.digest
        except InputRejected as problem:
            if problem.code == HIDING_ROOT:
                raise _hidden(tensor.name, "its digest hides it from whoever has no seed") from None
            raise EvidenceRejected(
                "sample-unknown", f"a sample cannot be what was proven: {problem.message}", where=f"{where}: {tensor.name!r}"
            ) from None
        if not same:
            raise self._mismatch(engine, tensor, first, where)
        return wanted

    def _mismatch(self, engine: ProofEngine, tensor: TensorStatement, first: int, where: str) -> EvidenceRejected:
        """Which sample was proven in another one's place."""
        if tensor.quantised is None:
            message = f"the inputs of samples {first} to {first + max(0, len(tensor.shape) and tensor.shape[0]) - 1} are others"
            return EvidenceRejected("sample-unknown", message, where=f"{where}: {tensor.name!r}", hint=_OTHERS)
        size = cells_per_item(tensor)
        one = replace(tensor, quantised=tensor.quantised[:size], shape=tensor.shape[1:], batch=0) if tensor.batch else tensor
        known: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, sample in enumerate(self._inputs):
            known[engine.quantise(one, sample[tensor.name])].append(place)
        proven = [tensor.quantised[at : at + size] for at in range(0, len(tensor.quantised), size)]
        for number, cells in enumerate(proven):
            place, found = first + number, known.get(tuple(cells), [])
            if place in found:
                continue
            code, message = _what(place, found)
            return EvidenceRejected(code, message, where=f"{where}, item {number}: {tensor.name!r}", hint=_OTHERS)
        return EvidenceRejected("sample-unknown", "the proven inputs are others", where=where, hint=_OTHERS)

    def finished(self) -> tuple[VerifiedBundle, Reading, Answers]:
        """After the last proof."""
        assert self._verified is not None
        assert self._reading is not None
        if self.place < self._data.count:
            raise EvidenceRejected(
                "sample-missing",
                f"{self.place:,} samples are proven, the data set has {self._data.count:,}: the last ones are missing",
                hint="Ask for the whole evaluation: what is left out may be what was answered wrongly.",
            )
        return self._verified, self._reading, Answers.joined(self._answers)

    def opened(self) -> OpenedBy:
        """All openings as one, each with the digest of the proof that it was made for."""
        told = [
            replace(one, proof_sha256=one.proof_sha256 or part.proof_sha256) for part in self._opened for one in part.openings
        ]
        return OpenedBy("", self._opened[0].proof_sha256, tuple(told))


_OTHERS = "Reject it: samples were dropped, repeated or exchanged, or others were proven."


def _what(place: int, found: Sequence[int]) -> tuple[str, str]:
    """Code and words for an item in the place of sample ``place`` that is the samples ``found``."""
    if not found:
        return "sample-unknown", f"what is proven in the place of sample {place} is no sample of the data set"
    if found[0] < place:
        return "sample-repeated", f"in the place of sample {place}, sample {found[0]} is proven once more"
    return "sample-out-of-order", f"in the place of sample {place}, sample {found[0]} is proven: some are missing or exchanged"


def _own_inputs(samples: DataSet, statement: Statement, names: PlaceNames) -> Sequence[dict[str, Array]]:
    try:
        return stated_inputs(samples, statement, names).samples
    except InputRejected as problem:
        raise PolicyNotMet(
            "evaluation-other-inputs",
            f"the pinned data set does not fit the circuit's inputs: {problem.message}",
            where=problem.where,
            hint="This data set is not for this model; or the lock does not name the columns that the circuit takes.",
        ) from None


def _hidden(name: str, why: str) -> PolicyNotMet:
    return PolicyNotMet(
        "evaluation-input-hidden",
        f"input {name!r} is hidden, and {why}: it cannot be matched with the data set",
        where=name,
        hint="Ask for an evaluation with this input public: weights and scores may stay hidden.",
    )
