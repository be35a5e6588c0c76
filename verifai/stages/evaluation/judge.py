"""An evaluation checked: every proof verified, every sample matched with the pinned data set, every metric counted again.

The steps E1 to E6 are those of ``docs/bundle-format.md``. Nothing that the evaluation says of itself is used for the result:
its metrics are compared with what is counted here, and a difference rejects it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
from verifai.domain.evaluation.metrics import (
    ClassCounts,
    ErrorSums,
    Metrics,
    RightCount,
    count_classes,
    places_by_group,
    sum_errors,
)
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding, Outcome, holds, not_checked
from verifai.domain.names import PlaceNames
from verifai.domain.openings import OpenedBy
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import Role, Statement, TensorStatement, Visibility
from verifai.engines.capabilities import KnowsBatches, StatesInputRanges
from verifai.engines.interface import ProofEngine
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, InputRejected, PolicyNotMet
from verifai.onnx_graph.tensors import Array
from verifai.stages.evaluation.answers import Answers, Reading, reading_of
from verifai.stages.evaluation.claims import EvaluationClaims, find_evaluation
from verifai.stages.evaluation.counted import CountReading, count_reading, of_items
from verifai.stages.evaluation.data_set import DataSet, read_carried
from verifai.stages.evaluation.left_out import require_outside
from verifai.stages.evaluation.samples import cells_per_item, stacked, stated_inputs
from verifai.stages.matching import HIDING_ROOT, check_context, check_context_bound
from verifai.stages.verify import SATURATED, Expectations, VerifiedBundle, note_clamped, verify_proof

SHOWN = 20
"""Places that a finding names one by one."""


@dataclass(frozen=True)
class VerifiedEvaluation:
    """An evaluation that holds; made only by :func:`verify_evaluation`.

    Attributes:
        statement: of the first proof, for what all of them say alike: privacy, weights.
        metrics: counted here.
        samples: the data set. answers: what was answered, to each sample that is not left out, in their order.
        left_out: places of the samples that lie outside what the circuit takes.
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
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class ProvenPart:
    """One proof of an evaluation, verified.

    Attributes:
        verified: where right answers are counted inside, its statement is the one about the samples, without labels and count.
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
    walk = _Walk(samples, data, lock, claims.predicate.left_out)
    cut: ProofPredicate | None = None  # the proof whose prover says that it cut off the most
    for number, part in enumerate(claims.parts):
        verified = verify_proof(part, lock, allow_test_srs=allow_test_srs, budget=budget or Budget(), progress=SILENT)  # E4
        findings.add(*(one for one in verified.findings if one.code != SATURATED))
        cut = max((one for one in (cut, verified.proof) if one is not None), key=lambda one: one.clamped_cells or 0)
        taken = walk.take(part, verified, f"proof {number}")  # E5
        findings.add(*(visit(taken) if visit is not None else ()))
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
        holds("samples-matched", f"each of the {walk.place:,} proven inputs is the sample at its place", "E5"), reading.finding
    )
    left_out = claims.predicate.left_out
    if left_out:
        findings.add(_left_out(left_out, data))
    metrics = metrics_of(data, samples, answers, left_out)
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
        left_out=left_out,
    )


def _left_out(places: Sequence[int], data: DataLock) -> Finding:
    named = ", ".join(map(str, places[:SHOWN])) + (" …" if len(places) > SHOWN else "")
    how = "no error of theirs is known" if data.task is DataTask.REGRESSION else "each is counted as wrong"
    message = f"{len(places):,} of {data.count:,} samples lie outside what the circuit takes ({named}): {how}"
    remedy = "Ask for a circuit that is calibrated with data that cover the data set."
    return not_checked("samples-left-out", message, "E5", remedy=remedy)


def _difference(metrics: Metrics, predicate: EvaluationPredicate) -> str:
    counted, stated = metrics.to_json(), predicate.metrics
    for field in sorted({*counted["whole"], *stated["whole"]}):
        ours, theirs = counted["whole"].get(field), stated["whole"].get(field)
        if ours != theirs:
            return f"{field} is {str(ours)[:60]}, it says {str(theirs)[:60]}"
    return "its groups differ" if counted["groups"] != stated["groups"] else "its output is another one"


def metrics_of(data: DataLock, samples: DataSet, answers: Answers, left_out: Sequence[int] = ()) -> Metrics:
    """Count answers against labels: of the whole data set and of each group. ``left_out``: places without an answer."""
    if answers.right is not None:  # of groups nothing is known
        return Metrics(RightCount(data.count, answers.right, len(left_out)))
    groups = places_by_group(samples.groups)
    missing = frozenset(left_out)
    at = {place: number for number, place in enumerate(place for place in range(len(samples)) if place not in missing)}
    counted = {name: _count(data, samples.labels, answers, places, at) for name, places in groups.items()}
    whole = _count(data, samples.labels, answers, range(len(samples)), at)
    assert whole is not None
    return Metrics(whole, {name: one for name, one in counted.items() if one is not None})


def _count(
    data: DataLock, labels: Array, answers: Answers, places: Sequence[int], at: Mapping[int, int]
) -> ClassCounts | ErrorSums | None:
    """Of the samples at ``places``; ``at``: by place, the number of its answer. ``None`` for a regression without a number."""
    wanted = labels.tolist()
    answered = [place for place in places if place in at]
    missing = len(places) - len(answered)
    if data.task is DataTask.REGRESSION:
        numbers = [answers.numbers[at[place]] for place in answered]
        return sum_errors([Fraction(wanted[place]) for place in answered], numbers, missing) if answered else None
    return count_classes(
        len(data.classes),
        [wanted[place] for place in places],
        [answers.decided[at[place]] if place in at else len(data.classes) for place in places],
        [answers.ranks[at[place]] if place in at else answers.width for place in places] if answers.ranks else (),
        answers.width,
        missing,
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

    def __init__(self, samples: DataSet, data: DataLock, lock: CircuitLock, left_out: Sequence[int]) -> None:
        missing = frozenset(left_out)
        self._left_out = left_out
        self._proven = [place for place in range(data.count) if place not in missing]
        self._samples = samples
        self._data = data
        self._lock = lock
        self._inputs: Sequence[dict[str, Array]] = ()
        self._reading: Reading | CountReading | None = None
        self._verified: VerifiedBundle | None = None
        self._labels: Sequence[int] = ()
        self._opened: list[OpenedBy] = []
        self._answers: list[Answers] = []
        self.place = 0

    def take(self, part: OpenBundle, verified: VerifiedBundle, where: str) -> ProvenPart:
        """One proof's samples, which it was found to be about."""
        if self._verified is None:
            self._begin(part, verified)
        assert self._reading is not None
        statement, reading = verified.statement, self._reading
        rest = len(self._proven) - self.place
        claimed = min(reading.counting.items, rest) if isinstance(reading, CountReading) else statement.inferences
        if claimed > rest or not claimed:
            raise EvidenceRejected(
                "sample-added",
                f"{self.place + max(1, claimed):,} inferences are proven, the data set has {len(self._proven):,} samples",
                where=where,
                hint="One sample was counted twice, or one that the data set does not have.",
            )
        places = self._proven[self.place : self.place + claimed]
        labels = [self._labels[place] for place in places]
        if isinstance(reading, CountReading):
            self._answers.append(Answers(right=reading.right(statement, labels, where)))
            verified = replace(verified, statement=of_items(statement, reading.counting, claimed, where))
        else:
            self._answers.append(reading.answers(statement, labels))
        engine = engine_for(statement.engine)
        inputs = {one.name: self._match(engine, one, places, where) for one in verified.statement.of(Role.INPUT)}
        # Each opening is told with its own proof's digest: the proofs of one evaluation are compared with each other too.
        self._opened.append(verified.opened)
        self.place += claimed
        return ProvenPart(part, verified, inputs)

    def _begin(self, part: OpenBundle, verified: VerifiedBundle) -> None:
        """With the first proof: how inputs and answers are read, and whether what is left out cannot be proven."""
        if not self._proven:
            raise EvidenceRejected(
                "sample-added", "every sample is said to lie outside what the circuit takes, and one is proven", where="proof 0"
            )
        statement, engine = verified.statement, engine_for(verified.statement.engine)
        section = self._lock.section(statement.engine)
        counting = verified.counting
        if isinstance(engine, KnowsBatches) and not engine.treats_alike(section, part.payload):
            raise PolicyNotMet(
                "items-not-alike",
                "the pinned circuit does not treat all samples of a batch alike: it may know this data set's order",
                where="circuit",
                hint="Do not take its figures for a model's; ask for a circuit that `verifai compile` made.",
            )
        if counting is None:
            self._reading = reading_of(statement, self._data, verified.names, verified.fidelity)
        else:
            self._reading = count_reading(counting, self._data, verified.names)
            statement = of_items(statement, counting, min(counting.items, len(self._proven)), "proof 0")
        self._labels = self._samples.labels.tolist()
        self._inputs = _own_inputs(self._samples, statement, verified.names)
        if self._left_out:
            ranges = engine.input_ranges(section, part.payload) if isinstance(engine, StatesInputRanges) else {}
            require_outside(engine, statement, ranges, self._inputs, self._left_out)
        self._verified = replace(verified, statement=statement)

    def _match(self, engine: ProofEngine, tensor: TensorStatement, places: Sequence[int], where: str) -> Array:
        if tensor.visibility is Visibility.PRIVATE:
            raise _hidden(tensor.name, "the proof binds it to nothing that you hold")
        wanted = stacked([self._inputs[place] for place in places], tensor)
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
            raise self._mismatch(engine, tensor, places, where)
        return wanted

    def _mismatch(self, engine: ProofEngine, tensor: TensorStatement, places: Sequence[int], where: str) -> EvidenceRejected:
        """Which sample was proven in another one's place."""
        if tensor.quantised is None:
            message = f"the inputs of samples {places[0]} to {places[-1]} are others"
            return EvidenceRejected("sample-unknown", message, where=f"{where}: {tensor.name!r}", hint=_OTHERS)
        size = cells_per_item(tensor)
        one = replace(tensor, quantised=tensor.quantised[:size], shape=tensor.shape[1:], batch=0) if tensor.batch else tensor
        known: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        missing = frozenset(self._left_out)
        for place, sample in ((at, one) for at, one in enumerate(self._inputs) if at not in missing):
            with suppress(InputRejected):  # no integer stands for it, so it is not what was proven
                known[engine.quantise(one, sample[tensor.name])].append(place)
        proven = [tensor.quantised[at : at + size] for at in range(0, len(tensor.quantised), size)]
        for number, cells in enumerate(proven):
            place, found = places[number], known.get(tuple(cells), [])
            if place in found:
                continue
            code, message = _what(place, found)
            return EvidenceRejected(code, message, where=f"{where}, item {number}: {tensor.name!r}", hint=_OTHERS)
        return EvidenceRejected("sample-unknown", "the proven inputs are others", where=where, hint=_OTHERS)

    def finished(self) -> tuple[VerifiedBundle, Reading | CountReading, Answers]:
        """After the last proof."""
        assert self._verified is not None
        assert self._reading is not None
        if self.place < len(self._proven):
            raise EvidenceRejected(
                "sample-missing",
                f"{self.place:,} samples are proven, of {len(self._proven):,}: the last ones are missing",
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
