"""The inputs and outputs of a pinned circuit as tensors of the model's types, also where it counts right answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from verifai.domain.counting import LABELS, RIGHT
from verifai.domain.tensor import TensorSpec
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.onnx_graph.model import OnnxModel


@dataclass(frozen=True, slots=True)
class Ports:
    """In the circuit's order; of a batch without its axis, which only proofs have."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def ports_of(model: OnnxModel, circuit: Circuit, *, counts: bool) -> Ports:
    """The model's own tensors; where the circuit counts right answers, of all its samples, with labels and count after them."""
    if not counts:
        return Ports(tuple(model.inputs), tuple(model.outputs))
    labels = circuit.tensors[circuit.inputs[-1].tensor]
    items = labels.shape[0]
    return Ports(
        (*(_of_all(one, items) for one in model.inputs), TensorSpec(LABELS, "int64", labels.shape)),
        (*(_of_all(one, items) for one in model.outputs), TensorSpec(RIGHT, "int64", (1,))),
    )


def _of_all(one: TensorSpec, items: int) -> TensorSpec:
    return replace(one, shape=(items, *one.shape))
