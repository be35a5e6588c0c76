"""Proofs that count right answers: which labels they have to have counted with, and what of them is left to judge.

Such a proof shows the inputs of its samples, their labels, and how many answers are right; see docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from verifai.domain.counting import LABELS, NO_LABEL, RIGHT, PinnedCount
from verifai.domain.evaluation.data_lock import DataLock, DataTask
from verifai.domain.findings import Finding
from verifai.domain.names import PlaceNames
from verifai.domain.statement import Role, Statement, TensorStatement
from verifai.errors import EvidenceRejected, PolicyNotMet
from verifai.stages.evaluation.answers import places_of

_COUNT = ((Role.INPUT, LABELS), (Role.OUTPUT, RIGHT))
"""What is not matched with the samples. An input that is called as the count is would be an input of the model's."""
_ASK = "Reject it: labels were exchanged, or more was counted than the data set has."


@dataclass(frozen=True)
class CountReading:
    """How the count of a circuit is read against a data set; made by :func:`count_reading`.

    Attributes:
        output: the hidden output whose answers are counted.
        places: by class of the data set, its place among the circuit's; :data:`NO_LABEL` for one that the circuit lacks.
        finding: how the classes of both were brought together.
    """

    counting: PinnedCount
    output: str
    places: tuple[int, ...]
    finding: Finding

    def labels(self, classes: Sequence[int]) -> list[int]:
        """What a proof has to have counted with, for samples of these classes."""
        return [self.places[one] for one in classes]

    def right(self, statement: Statement, classes: Sequence[int], where: str) -> int:
        """How many of the samples of a verified statement are answered rightly; ``classes``: the data set's, of these samples.

        Raises:
            EvidenceRejected: ``count-labels-differ``, ``sample-added``.
        """
        shown = _one(statement, Role.INPUT, LABELS).quantised or ()
        wanted = self.labels(classes)
        if len(shown) != self.counting.items:  # no verified proof of a counting circuit says so
            message = f"{len(shown):,} labels are stated, the circuit counts over {self.counting.items:,} samples"
            raise EvidenceRejected("count-labels-differ", message, where=f"{where}: {LABELS!r}", hint=_ASK)
        for number, (label, found) in enumerate(zip(wanted, shown, strict=False)):
            if label != found:
                message = f"item {number} was counted by label {found}, the pinned data set has {label} there"
                raise EvidenceRejected("count-labels-differ", message, where=f"{where}: {LABELS!r}", hint=_ASK)
        if any(found != NO_LABEL for found in shown[len(wanted) :]):
            message = "an item beyond the data set's samples has a label, so it may have been counted"
            raise EvidenceRejected("sample-added", message, where=f"{where}: {LABELS!r}", hint=_ASK)
        (right,) = _one(statement, Role.OUTPUT, RIGHT).quantised or (0,)
        if not 0 <= right <= len(wanted):  # no proof of a counting circuit says so
            message = f"{right} of {len(wanted)} answers are said to be right"
            raise EvidenceRejected("metrics-differ", message, where=where)
        return right


def count_reading(counting: PinnedCount, data: DataLock, names: PlaceNames) -> CountReading:
    """How a count is read.

    Raises:
        PolicyNotMet: ``evaluation-no-answer``, ``classes-differ``.
    """
    if data.task is not DataTask.CLASSIFICATION:
        message = "the circuit counts right answers, and the labels of the data set are numbers"
        hint = "Evaluate it with a data set of classes."
        raise PolicyNotMet("evaluation-no-answer", message, where=counting.answer, hint=hint)
    by_model, finding = places_of(counting.answer, data, names)
    count = len(data.classes)
    if by_model is None:
        places = tuple(at if at < counting.classes else NO_LABEL for at in range(count))
    else:
        known = {one: at for at, one in reversed(list(enumerate(by_model))) if at < counting.classes}
        places = tuple(known.get(at, NO_LABEL) for at in range(count))
    return CountReading(counting, counting.answer, places, finding)


def of_items(statement: Statement, counting: PinnedCount, samples: int, where: str) -> Statement:
    """The statement without labels and count, as one about the first ``samples`` items, so that it is matched as a batch's is.

    Raises:
        EvidenceRejected: ``sample-added``, when what fills the places beyond them is not the last of them again.
    """
    own = [one for one in statement.tensors if (one.role, one.name) not in _COUNT]
    return replace(statement, tensors=tuple(_of_items(one, counting, samples, where) for one in own))


def _of_items(tensor: TensorStatement, counting: PinnedCount, samples: int, where: str) -> TensorStatement:
    cells = None
    if tensor.quantised is not None:
        each = prod(tensor.shape[1:])
        cells, filler = tensor.quantised[: samples * each], tensor.quantised[samples * each :]
        if filler != cells[-each:] * (counting.items - samples):
            message = "places beyond the data set's last sample hold something else than that sample again"
            raise EvidenceRejected("sample-added", message, where=f"{where}: {tensor.name!r}", hint=_ASK)
    return replace(tensor, shape=(samples, *tensor.shape[1:]), quantised=cells, batch=counting.items)


def _one(statement: Statement, role: Role, name: str) -> TensorStatement:
    (found,) = (one for one in statement.of(role) if one.name == name)
    return found
