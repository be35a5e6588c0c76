"""What a circuit answered, from proven outputs alone: a class or a number per sample."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import cycle

from verifai.domain.evaluation.data_lock import DataLock, DataTask
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding, holds, not_checked
from verifai.domain.names import PlaceNames
from verifai.domain.shown import ShownTensor, shown_values
from verifai.domain.statement import Encoding, Role, Statement, TensorStatement, Visibility
from verifai.errors import PolicyNotMet

STEP = "E6"
_NUMBER = re.compile(r"-?[0-9]+")
_ANSWER = "Ask for a circuit that shows its answer: the class alone is enough (ArgMax), the scores may stay hidden."


@dataclass(frozen=True)
class Answers:
    """Of one or more samples, in order.

    Attributes:
        decided: the data set's class, or the number of its classes for one that it lacks; none for regression.
        ranks: at which place, from 0, the data set's class would stand by the scores; none where they are not shown.
        width: how many scores there are; 0 where they are not shown.
        numbers: proven numbers, exactly; none for classification.
        margins: by how much the score of the decided class is above the next; none where scores are not shown.
        right: how many answers are right, where proofs count them and show no more; else ``None``.
    """

    decided: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    width: int = 0
    numbers: tuple[Fraction, ...] = ()
    margins: tuple[float, ...] = ()
    right: int | None = None

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """Of the samples of several statements, in order."""
        return cls(
            decided=tuple(one for part in parts for one in part.decided),
            ranks=tuple(one for part in parts for one in part.ranks),
            width=parts[0].width,
            numbers=tuple(one for part in parts for one in part.numbers),
            margins=tuple(one for part in parts for one in part.margins),
            right=None if parts[0].right is None else sum(part.right or 0 for part in parts),
        )


@dataclass(frozen=True)
class Reading:
    """How the outputs of one circuit are read; made by :func:`reading_of`.

    Attributes:
        output: its name.
        places: by place of the model's classes, the data set's class.
        finding: how the classes of both were brought together.
    """

    output: str
    data: DataLock
    names: PlaceNames
    fidelity: Fidelity
    places: tuple[int, ...] | None
    finding: Finding

    def answers(self, statement: Statement, labels: Sequence[int]) -> Answers:
        """Of the samples of one statement; ``labels``: their classes, for ranks."""
        (tensor,) = (one for one in statement.of(Role.OUTPUT) if one.name == self.output)
        if self.data.task is DataTask.REGRESSION:
            return Answers(numbers=exact_values(tensor))
        shown = shown_values(replace(statement, tensors=(tensor,)), self.names, self.fidelity)
        decided, ranks, margins, width = [], [], [], 0
        for one, label in zip(shown, labels, strict=True):
            if not one.decisions:  # a score that no double holds
                raise _no_answer(self.data.task, (tensor,))
            decided.append(self._class(one.decisions[0].index))
            scores = _scores(one)
            if scores:
                width = len(scores)
                ranks.append(self._rank(scores, label))
                first, second = sorted(scores, reverse=True)[:2]
                margins.append(first - second)
        return Answers(tuple(decided), tuple(ranks), width, (), tuple(margins))

    def _class(self, place: int) -> int:
        """The data set's class of a place of the model's."""
        other = len(self.data.classes)
        if self.places is None:
            return place if 0 <= place < other else other
        return self.places[place] if 0 <= place < len(self.places) else other

    def _rank(self, scores: Sequence[float], label: int) -> int:
        place = label if self.places is None else self.places.index(label) if label in self.places else len(scores)
        if place >= len(scores):
            return len(scores)
        return sum(one > scores[place] or (one == scores[place] and at < place) for at, one in enumerate(scores))


def _scores(shown: ShownTensor) -> tuple[float, ...]:
    """One per class; none where the output is the class itself, or one cell that is on one side or the other."""
    if not shown.leaders or shown.width < 2:
        return ()
    return tuple(value for value in shown.values if value is not None)


def reading_of(statement: Statement, data: DataLock, names: PlaceNames, fidelity: Fidelity) -> Reading:
    """How the outputs of a circuit are read against a data set: the first public output that says one thing per sample.

    Raises:
        PolicyNotMet: ``evaluation-output-hidden``, ``evaluation-no-answer``, ``classes-differ``.
    """
    outputs = statement.of(Role.OUTPUT)
    for tensor in outputs:
        if tensor.visibility is not Visibility.PUBLIC or tensor.quantised is None:
            continue
        if data.task is DataTask.REGRESSION:
            if len(tensor.quantised) == statement.inferences and not _decides(statement, tensor, names, fidelity):
                finding = holds("answers-read", f"output {tensor.name!r} is one number per sample", STEP)
                return Reading(tensor.name, data, names, fidelity, None, finding)
        elif _decides(statement, tensor, names, fidelity):
            places, finding = places_of(tensor.name, data, names)
            return Reading(tensor.name, data, names, fidelity, places, finding)
    hidden = [tensor.name for tensor in outputs if tensor.visibility is not Visibility.PUBLIC]
    if hidden:
        raise PolicyNotMet(
            "evaluation-output-hidden",
            f"output {hidden[0]!r} is hidden, so its answers cannot be counted",
            where=hidden[0],
            hint=_ANSWER,
        )
    raise _no_answer(data.task, outputs)


def _no_answer(task: DataTask, outputs: Sequence[TensorStatement]) -> PolicyNotMet:
    asked = "a number" if task is DataTask.REGRESSION else "a class"
    return PolicyNotMet(
        "evaluation-no-answer",
        f"no output says {asked} for each sample, and the labels of the data set are of that kind",
        where=", ".join(tensor.name for tensor in outputs),
        hint="Set `classes` in circuit.toml as the model means its outputs, or pin the data set with another --task.",
    )


def _decides(statement: Statement, tensor: TensorStatement, names: PlaceNames, fidelity: Fidelity) -> bool:
    """Whether the output names one class per sample."""
    first = replace(statement, tensors=(tensor,)).items()[0]
    (shown,) = shown_values(first, names, fidelity)
    return shown.decides and not shown.every and shown.decided == 1


def places_of(output: str, data: DataLock, names: PlaceNames) -> tuple[tuple[int, ...] | None, Finding]:
    """By place of the model's classes the data set's class; ``None`` where both count from 0 in one order.

    Raises:
        PolicyNotMet: ``classes-differ``.
    """
    labels, classes = names.labels.get(output, ()), data.classes
    other = len(classes)
    if labels and set(classes) <= set(labels):
        at = {name: number for number, name in enumerate(classes)}
        return tuple(at.get(name, other) for name in labels), holds(
            "answers-read", f"the classes of output {output!r} are the data set's, by name", STEP
        )
    counted = classes == tuple(str(number) for number in range(len(classes)))
    numbers = bool(labels) and all(map(_NUMBER.fullmatch, labels))
    if numbers and set(labels) < set(classes) and other > len(labels):  # as 1, 2, 3 of a data set that has no 0
        at = {name: number for number, name in enumerate(classes)}
        message = f"the classes of output {output!r} are the data set's, by name; it has {other - len(labels)} more"
        return tuple(at[name] for name in labels), holds("answers-read", message, STEP)
    if labels and (not counted or numbers):  # where labels are other numbers, a 1 may be the class "1" or the second one
        odd = sorted(set(classes) - set(labels))[0]
        raise PolicyNotMet(
            "classes-differ",
            f"the data set has a class {odd!r}, which the lock does not have among the labels of output {output!r}",
            where=output,
            hint="Pin the data set with --class for each of the circuit's labels, in their order.",
        )
    if labels and other > len(labels):
        message = f"the data set has {other} classes, output {output!r} has {len(labels)}"
        raise PolicyNotMet("classes-differ", message, where=output, hint="This data set is not for this model.")
    if counted:
        return None, holds("answers-read", f"the labels are places of the classes of output {output!r}", STEP)
    message = f"the lock names no classes of output {output!r}: the data set's were taken in their order"
    remedy = "Name them in circuit.toml (labels below [outputs]), and compile again."
    return None, not_checked("classes-by-place", message, STEP, remedy=remedy, where=output)


def exact_values(tensor: TensorStatement) -> tuple[Fraction, ...]:
    """The public values as fractions, as in the model's own tensor."""
    assert tensor.quantised is not None
    if tensor.stored:
        return tuple(map(Fraction, tensor.quantised))
    if tensor.encoding is Encoding.FLOAT32:
        return tuple(map(Fraction, tensor.values()))
    if tensor.columns:
        return tuple((q - one.zero_point) * one.scale for q, one in zip(tensor.quantised, cycle(tensor.columns), strict=False))
    return tuple((q - tensor.zero_point) * tensor.scale for q in tensor.quantised)
