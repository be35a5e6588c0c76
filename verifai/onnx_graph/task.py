"""What a model's outputs mean, guessed from names, shapes, types and the last nodes of its graph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from onnx import NodeProto

from verifai.domain.fidelity import Task
from verifai.domain.tensor import TensorSpec
from verifai.domain.tokenizer import NEXT_TOKENS
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.refusal import printable

_CLASS_WORDS = frozenset(
    {"class", "classes", "label", "labels", "logit", "logits", "prob", "probs", "proba", "probability", "probabilities",
     "score", "scores", "softmax"}
)  # fmt: skip
_QUANTITY_WORDS = frozenset(
    {"embedding", "embeddings", "features", "hidden", "mean", "price", "prices", "quantity", "reconstruction", "regression",
     "variable", "value", "values"}
)  # fmt: skip
_SAME_VALUES = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class TaskGuess:
    """What the outputs probably mean.

    Attributes:
        reason: half a sentence for a person, after "because".
        sure: whether the graph or a name says so; otherwise it is what most models of this shape are.
    """

    task: Task
    reason: str
    sure: bool


def guess_task(model: OnnxModel) -> TaskGuess:
    """Judge each output in turn; the first that says what it means decides, else the first output."""
    makers = {name: node for node in model.proto.graph.node for name in node.output if name}
    given = {spec.shape: spec.name for spec in reversed(model.inputs) if spec.dtype.startswith("float")}
    guesses = [_of_output(spec, makers, given.get(spec.shape)) for spec in model.outputs]
    return next((guess for guess in guesses if guess.sure), guesses[0])


def _of_output(spec: TensorSpec, makers: dict[str, NodeProto], alike: str | None) -> TaskGuess:
    """``alike``: the name of a float input of the same shape."""
    name, cells = printable(spec.name, 40), _cells(spec)
    last = _last_node(spec.name, makers)
    words = set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", spec.name).lower()))
    if name == NEXT_TOKENS and last == "ArgMax":
        return TaskGuess(Task.GENERATION, f"the output {name!r} is made by ArgMax", sure=True)
    if last in ("Softmax", "LogSoftmax", "ArgMax", "ArgMin", "TopK", "Hardmax"):
        return TaskGuess(Task.CLASSIFICATION, f"the output {name!r} is made by {last}", sure=True)
    if last == "Sigmoid":
        if cells == 1:
            return TaskGuess(Task.CLASSIFICATION, f"the output {name!r} is one probability (Sigmoid)", sure=True)
        return TaskGuess(Task.MULTI_LABEL, f"the output {name!r} is {cells} separate probabilities (Sigmoid)", sure=True)
    if not spec.dtype.startswith("float"):
        return TaskGuess(Task.CLASSIFICATION, f"the output {name!r} is of type {spec.dtype}", sure=True)
    if words & _CLASS_WORDS:
        return TaskGuess(Task.CLASSIFICATION, f"the output is called {name!r}", sure=True)
    if words & _QUANTITY_WORDS:
        return TaskGuess(Task.REGRESSION, f"the output is called {name!r}", sure=True)
    if cells == 1:
        return TaskGuess(Task.REGRESSION, f"the output {name!r} is one number", sure=False)
    if len(spec.shape) > 2:
        return TaskGuess(Task.REGRESSION, f"the output {name!r} has {len(spec.shape)} axes", sure=False)
    if alike is not None:  # an autoencoder, a filter, a forecast
        like = printable(alike, 40)
        return TaskGuess(Task.REGRESSION, f"the output {name!r} is {cells} numbers, as the input {like!r} is", sure=False)
    return TaskGuess(Task.CLASSIFICATION, f"the output {name!r} is {cells} numbers", sure=False)


def _cells(spec: TensorSpec) -> int:
    """Of one sample."""
    return prod(spec.shape[1:]) if len(spec.shape) > 1 else spec.size


def _last_node(name: str, makers: dict[str, NodeProto]) -> str:
    """The operator that made the values, past those that only give them another form."""
    for _ in range(_MAX_STEPS):
        node = makers.get(name)
        if node is None:
            return ""
        if node.op_type not in _SAME_VALUES:
            return str(node.op_type)
        name = node.input[0]
    return ""
