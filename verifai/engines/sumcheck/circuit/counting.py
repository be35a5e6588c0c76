"""Circuits that count right answers, and the rule that makes their count mean something. Standard library only.

Such a circuit is that of a batch (:mod:`.batch`) with a tail: of each item the model's answer k is compared with a public label
y, and the number of items with k = y is the one public output. Its bytes say nothing of that; it is a circuit without a batch
axis, whose tensors have the items as their first axis. The rule recognises it, whoever made it:

* every operation before the tail keeps items apart and treats all of them alike, and none reads a label. So every answer is one
  and the same function of its own item's inputs (and of the weights), and depends on no label and on no place in the batch;
* the tail is exactly ``k − y``, the table [argument = 0], the sum over all items, and a table that leaves the sum as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.batch import MIN_BATCH, keeps_apart
from verifai.engines.sumcheck.circuit.bounds import need
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility

MAX_ITEMS = (1 << 15) - 1
"""So that the count lies within a table of 2^16 values."""
MAX_CLASSES = (1 << 15) - 1
NO_LABEL = -1
"""The label of an item that is not to be counted: no answer equals it."""
TAIL = 4


@dataclass(frozen=True, slots=True)
class Counting:
    """What a circuit counts.

    Attributes:
        items: how many.
        answer: which output of the circuit, by its place, holds the answers, or the scores that they are the largest of.
        scored: whether it holds scores; of equal scores the lowest place is the answer.
        classes: answers lie in [0, classes).
    """

    items: int
    answer: int
    scored: bool
    classes: int


def check_counting(circuit: Circuit, items: int) -> Counting:
    """Check that ``circuit``, which keeps the rules of :mod:`.check`, counts the right answers of ``items`` items, as above.

    The labels are its last input, the count is its last output, and all other outputs are hidden.

    Raises:
        EvidenceRejected: ``circuit-invalid``.
    """
    need(circuit.batch == 0 and MIN_BATCH <= items <= MAX_ITEMS, "a counting circuit has no batch axis, and 2 items or more")
    need(len(circuit.inputs) > 1 and len(circuit.outputs) > 1 and len(circuit.ops) > TAIL, "a counting circuit has no tail")
    counting = _tail(circuit, items)
    labels = circuit.inputs[-1].tensor
    above = circuit.ops[:-TAIL]
    for number, op in enumerate(above):
        kind = f"op {number} ({type(op).__name__})"
        need(labels not in ops.operands(op), f"{kind} reads the labels")
        for tensor in (*ops.operands(op), *ops.results(op)):
            need(circuit.tensors[tensor].shape[0] == items, f"{kind}: the first axis is not that of the items")
        need(keeps_apart(circuit, op) and alike(op, items), f"{kind} mixes the items, or does not treat them alike")
    return counting


def alike(op: ops.Op, items: int) -> bool:
    """Whether ``op``, which keeps items apart, does the same with each: only a View could choose by the item."""
    every = tuple(range(items))
    return not isinstance(op, ops.View) or all(piece.indices[0] == every for piece in op.pieces)


def _tail(circuit: Circuit, items: int) -> Counting:
    """The last operations, and the tensors that only they read."""
    difference, equal, total, shown = circuit.ops[-TAIL:]
    need(
        isinstance(difference, ops.LinearCombination)
        and isinstance(equal, ops.Lookup)
        and isinstance(total, ops.RowSum)
        and isinstance(shown, ops.Lookup),
        "the last operations do not count",
    )
    assert isinstance(difference, ops.LinearCombination)
    assert isinstance(equal, ops.Lookup)
    assert isinstance(total, ops.RowSum)
    assert isinstance(shown, ops.Lookup)
    labels, right = circuit.inputs[-1], circuit.outputs[-1]
    need(labels.visibility is Visibility.PUBLIC and right.visibility is Visibility.PUBLIC, "labels or count are hidden")
    others = circuit.outputs[:-1]
    need(all(port.visibility is not Visibility.PUBLIC for port in others), "a counting circuit shows more than its count")
    need(
        len(difference.sources) == 2
        and difference.sources[1] == labels.tensor
        and (difference.multipliers, difference.constant) == ((1, -1), 0),
        "the first of the last operations is not: answer − label",
    )
    need(equal.x == difference.out, "what is compared is not the difference of answer and label")
    rank = len(circuit.tensors[equal.out].shape)
    need((total.x, total.y, total.multiplier, total.axes) == (equal.out, ops.NONE, 1, rank), "not every item is added once")
    need((shown.x, shown.out) == (total.out, right.tensor), "the count is not what is shown")
    answer, label = circuit.tensors[difference.sources[0]], circuit.tensors[labels.tensor]
    need(label.size == items and label.shape[0] == items, "there is not one label per item")
    compared, plain = circuit.tables[equal.table], circuit.tables[shown.table]
    reachable = circuit.tensors[equal.x]
    need(
        all(compared.at(value) == (value == 0) for value in range(reachable.low, reachable.high + 1)),
        "the table of the comparison is not [argument = 0]",
    )
    need(all(plain.at(value) == value for value in range(items + 1)), "the count's table changes it")
    need((label.low, label.high) == (NO_LABEL, answer.high), "the labels' range is not that of the answers")
    need(answer.low >= 0 and answer.high < MAX_CLASSES, "the answers are no places of classes")
    plainly = all((one.scale, one.zero_point) == ((1, 1), 0) for one in (label, circuit.tensors[right.tensor], answer))
    need(plainly, "labels, answers or count are not shown as they are")
    return _answer(circuit, items, difference.sources[0])


def _answer(circuit: Circuit, items: int, answer: int) -> Counting:
    """The answers are an output of the model's, or name the largest cell of one."""
    outputs = [port.tensor for port in circuit.outputs[:-1]]
    classes = circuit.tensors[answer].high + 1
    if answer in outputs:
        return Counting(items, outputs.index(answer), False, classes)
    made = next((op for op in circuit.ops if answer in ops.results(op)), None)
    need(isinstance(made, ops.ArgMax), "the answers are neither an output nor the places of its largest cells")
    assert isinstance(made, ops.ArgMax)
    need(made.x in outputs, "the scores are no output")
    return Counting(items, outputs.index(made.x), True, classes)
