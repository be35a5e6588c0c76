"""What a model's outputs mean is guessed from names, shapes, types and the last nodes."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from tests.support.onnx_builders import canonical, model, node, weights
from verifai.domain.fidelity import Task
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.task import guess_task


def dense(cells: int, *after: onnx.NodeProto, output: str = "y") -> OnnxModel:
    """A matrix product, then the nodes given; the first of these reads ``z``."""
    first = node("MatMul", ["x", "w"], ["z" if after else output])
    return canonical(model([first, *after], {"w": weights(4, cells)}, outputs=(output,))).model


CASES: dict[str, tuple[Any, Task, bool]] = {
    "a softmax": (lambda: dense(3, node("Softmax", ["z"], axis=-1)), Task.CLASSIFICATION, True),
    "a softmax that is reshaped": (
        lambda: dense(3, node("Softmax", ["z"], ["s"], axis=-1), node("Transpose", ["s"], perm=[1, 0])),
        Task.CLASSIFICATION,
        True,
    ),
    "an arg-max": (lambda: dense(3, node("ArgMax", ["z"], axis=-1)), Task.CLASSIFICATION, True),
    "one sigmoid": (lambda: dense(1, node("Sigmoid", ["z"])), Task.CLASSIFICATION, True),
    "several sigmoids": (lambda: dense(4, node("Sigmoid", ["z"])), Task.MULTI_LABEL, True),
    "an output called probabilities": (lambda: dense(3, output="probabilities"), Task.CLASSIFICATION, True),
    "an output called classLogits": (lambda: dense(3, output="classLogits"), Task.CLASSIFICATION, True),
    "one number called score": (lambda: dense(1, output="score"), Task.CLASSIFICATION, True),
    "an output called embedding": (lambda: dense(8, output="sentence_embedding"), Task.REGRESSION, True),
    "one number": (lambda: dense(1), Task.REGRESSION, False),
    "several numbers": (lambda: dense(3), Task.CLASSIFICATION, False),
    "as many numbers as the input has": (lambda: dense(4), Task.REGRESSION, False),
    "as many classes as the input has columns": (lambda: dense(4, node("Softmax", ["z"], axis=-1)), Task.CLASSIFICATION, True),
    "as many logits as the input has columns": (lambda: dense(4, output="logits"), Task.CLASSIFICATION, True),
}


@pytest.mark.parametrize("case", CASES)
def test_is_told_from_the_graph(case: str) -> None:
    build, task, sure = CASES[case]
    guess = guess_task(build())
    assert (guess.task, guess.sure) == (task, sure)
    assert guess.reason.startswith("the output ")


def test_a_word_inside_another_is_none() -> None:
    assert not guess_task(dense(3, output="underscored")).sure


def test_the_output_that_says_what_it_means_decides() -> None:
    nodes = [node("MatMul", ["x", "w"], ["hidden_state_x"]), node("Softmax", ["hidden_state_x"], ["p"], axis=-1)]
    guess = guess_task(canonical(model(nodes, {"w": weights(4, 3)}, outputs=("hidden_state_x", "p"))).model)
    assert guess.sure
