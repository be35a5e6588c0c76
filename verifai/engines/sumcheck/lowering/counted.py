"""A circuit of N items as one that shows how many of N answers are right, and nothing else of its outputs.

The labels come in as a public input, one per item; :mod:`..circuit.counting` says what the result has to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from verifai.domain.counting import LABELS, RIGHT
from verifai.domain.tensor import TensorSpec
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.counting import MAX_CLASSES, MAX_ITEMS, NO_LABEL, check_counting
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Tensor, Visibility
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.quantise.scales import Scale
from verifai.errors import UnsupportedModel, UsageError


def counted(lowered: Lowered, outputs: Sequence[TensorSpec]) -> Lowered:
    """``lowered``, of a batch, as a draft that counts right answers.

    Args:
        outputs: the model's, of one inference, in the circuit's order. The answer is the first of them that names one class:
            a whole number that is the class, or several scores of which the largest is the class's.

    Raises:
        UsageError: ``bad-spec``. UnsupportedModel: ``count-unsupported``.
    """
    batch = lowered.circuit
    if not 2 <= batch.batch <= MAX_ITEMS:
        message = f"right answers are counted over 2 to {MAX_ITEMS:,} samples, not {batch.batch or 1:,}"
        raise UsageError("bad-spec", message, where="circuit.batch", hint="Give another --batch, such as 256.")
    if any(port.visibility is Visibility.PUBLIC for port in batch.outputs):
        raise UsageError(
            "bad-spec",
            "an output is public, and then everybody can count",
            where="circuit.count_right",
            hint='Say "private" for each output below [tensors], or leave count_right out.',
        )
    taken = {one.name for one in batch.tensors} | {spec.name for spec in outputs}
    if taken & {LABELS, RIGHT}:
        raise UnsupportedModel("count-unsupported", f"a tensor of the model is called {min(taken & {LABELS, RIGHT})}")
    circuit = _with_tail(batch, *_answer(batch, outputs, lowered.scales))
    check(circuit)
    check_counting(circuit, batch.batch)
    return replace(lowered, circuit=circuit)


def _answer(batch: Circuit, outputs: Sequence[TensorSpec], scales: Mapping[str, Scale]) -> tuple[int, bool]:
    """The tensor that names classes, and whether it holds scores."""
    for port, spec in zip(batch.outputs, outputs, strict=True):
        tensor = batch.tensors[port.tensor]
        each, wide = tensor.size // batch.batch, tensor.high - tensor.low >= 1 << 32
        if np.dtype(spec.dtype).kind in "iu":
            plain = (tensor.scale, tensor.zero_point) == ((1, 1), 0) and 0 <= tensor.low <= tensor.high < MAX_CLASSES
            if each == 1 and plain:
                return port.tensor, False
            continue
        columns = spec.name in scales and bool(scales[spec.name].columns)  # whose integers cannot be compared with each other
        if MAX_CLASSES > each == tensor.shape[-1] >= 2 and not columns and not wide:
            return port.tensor, True
    raise UnsupportedModel(
        "count-unsupported",
        "no output names one class by itself, so no answer can be compared with a label",
        where=", ".join(spec.name for spec in outputs),
        hint="Right answers are counted of models with a score for each class, or with the class itself as an output.",
    )


def _with_tail(batch: Circuit, source: int, scored: bool) -> Circuit:
    tensors, tables, done = list(batch.tensors), list(batch.tables), list(batch.ops)

    def tensor(name: str, shape: tuple[int, ...], low: int, high: int, fill: int = 0) -> int:
        used = {one.name for one in tensors}
        while name in used:
            name += "'"
        tensors.append(Tensor(name, shape, low, high, fill))
        return len(tensors) - 1

    def table(name: str, low: int, values: tuple[int, ...]) -> int:
        for place, one in enumerate(tables):
            if (one.low, one.values) == (low, values):  # two equal tables are refused
                return place
        used = {one.name for one in tables}
        while name in used:
            name += "'"
        tables.append(Table(name, low, values))
        return len(tables) - 1

    answer = source
    if scored:
        scores = tensors[source]
        answer = tensor("answers", scores.shape[:-1], 0, scores.shape[-1] - 1)
        done.append(ops.ArgMax(source, answer))
    shape, low, high = tensors[answer].shape, tensors[answer].low, tensors[answer].high
    labels = tensor(LABELS, shape, NO_LABEL, high)
    difference = tensor("answers minus labels", shape, low - high, high - NO_LABEL)
    half = 1 << (high - NO_LABEL).bit_length()
    same = table("equals 0", -half, tuple(int(at == half) for at in range(2 * half)))
    equal = tensor("right", shape, 0, 1, fill=1)
    count = tensor("right in all", (1,), 0, batch.batch)
    top = 1 << batch.batch.bit_length()
    plain = table("as it is", -top, tuple(range(-top, top)))
    right = tensor(RIGHT, (1,), -top, top - 1)
    done += [
        ops.LinearCombination((answer, labels), (1, -1), 0, difference),
        ops.Lookup(difference, equal, same),
        ops.RowSum(equal, ops.NONE, count, 1, len(shape)),
        ops.Lookup(count, right, plain),
    ]
    return replace(
        batch,
        tensors=tuple(tensors),
        tables=tuple(tables),
        ops=tuple(done),
        inputs=(*batch.inputs, Port(labels, Visibility.PUBLIC)),
        outputs=(*batch.outputs, Port(right, Visibility.PUBLIC)),
        batch=0,
    )
