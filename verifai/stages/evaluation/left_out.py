"""Samples that a circuit cannot take: they are left out of its proofs, and anybody can find again that they had to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from verifai.domain.statement import Role, Statement, TensorStatement, Visibility
from verifai.engines.interface import ProofEngine
from verifai.errors import EvidenceRejected, InputRejected
from verifai.onnx_graph.tensors import Array


def require_outside(
    engine: ProofEngine,
    statement: Statement,
    ranges: Mapping[str, tuple[int, int]],
    inputs: Sequence[Mapping[str, Array]],
    places: Sequence[int],
) -> None:
    """That each of the samples at ``places`` lies outside what the circuit takes: leaving out any other would be a choice.

    Args:
        ranges: by input, the least and the largest integer that the pinned circuit takes; empty where the engine has none.
        inputs: of all samples, as the circuit takes them.

    Raises:
        EvidenceRejected: ``sample-not-outside``.
    """
    tensors = [_of_one(one) for one in statement.of(Role.INPUT)]
    for place in places:
        if not any(_outside(engine, one, ranges, inputs[place]) for one in tensors):
            raise EvidenceRejected(
                "sample-not-outside",
                f"sample {place} is left out, and the circuit takes it",
                where=f"sample {place}",
                hint="Reject it: what is left out may be what was answered wrongly.",
            )


def _of_one(tensor: TensorStatement) -> TensorStatement:
    """The tensor of any one sample: it is only asked how values are quantised."""
    plain = replace(
        tensor, visibility=Visibility.PRIVATE, quantised=None, quantised_sha256=None, digest=None, digest_scheme=None, batch=0
    )
    return replace(plain, shape=tensor.shape[1:]) if tensor.batch else plain


def _outside(
    engine: ProofEngine, tensor: TensorStatement, ranges: Mapping[str, tuple[int, int]], sample: Mapping[str, Array]
) -> bool:
    if tensor.name not in ranges:
        return False
    low, high = ranges[tensor.name]
    try:
        cells = engine.quantise(tensor, sample[tensor.name])
    except InputRejected:  # no integer stands for it
        return True
    return not all(low <= one <= high for one in cells)
