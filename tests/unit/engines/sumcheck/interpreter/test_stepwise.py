"""Row by row, with what is kept, gives what a whole run gives, bit for bit; and each row is computed once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.language_models import SIZES, random_weights, write_folder
from tests.support.llama_model import llama
from tests.support.sumcheck_models import scales_for
from tests.support.tiny_llama import exported
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter import stepwise
from verifai.engines.sumcheck.interpreter.positions import NotByPositions, rows_of
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.interpreter.stepwise import Stepwise
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.errors import InputRejected
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.load import load_path
from verifai.onnx_graph.model import OnnxModel
from verifai.stages.export import export

OPTIONS = QuantiserOptions(activation_bits=12, output_bits=12)


def lowered(source: OnnxModel, largest: int, unrounded: bool = True) -> Lowered:
    random = np.random.default_rng(1)
    feeds = tuple(
        {spec.name: random.integers(0, largest, spec.shape).astype(spec.dtype) for spec in source.inputs} for _ in range(4)
    )
    seen = {spec.name: Visibility.PUBLIC for spec in (*source.inputs, *source.outputs)}
    return lower(
        source, scales_for(source, feeds, replace(OPTIONS, unrounded=unrounded)), tensors=seen, split=True, unrounded=unrounded
    )


def starts_of(source: OnnxModel) -> list[int]:
    sizes = [spec.size for spec in source.inputs]
    return [sum(sizes[:place]) for place in range(len(sizes))]


def check(source: OnnxModel, largest: int, unrounded: bool = True) -> None:
    made = lowered(source, largest, unrounded)
    random = np.random.default_rng(2)
    tokens = [random.integers(0, largest, spec.shape) for spec in source.inputs]
    whole = run(made.circuit, made.weights, tokens).outputs()[0]
    count = sum(spec.size for spec in source.inputs)
    program = Stepwise(made.circuit, made.weights, starts_of(source))
    first, ends = count - whole.size, [count // 3, count // 3 + 1, *range(count // 3 + 2, count + 1)]
    for end in ends:
        later = [cells.copy() for cells in tokens]
        for cells, start in zip(later, starts_of(source), strict=True):
            cells[:, max(end - start, 0) :] = 0  # what is not there yet must not matter
        found = program.run(later, end)[0].reshape(-1)
        assert np.array_equal(found[: max(end - first, 0)], whole.reshape(-1)[: max(end - first, 0)])


@pytest.mark.parametrize(("massive", "unrounded"), [(300.0, True), (1.0, False)])
def test_a_llama_node_by_node(massive: float, unrounded: bool) -> None:
    check(llama(massive=massive), 300, unrounded)


def test_a_trained_llama_as_exported() -> None:
    check(load_path(exported()), 400)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_other_families_as_exported(kind: str, tmp_path: Path) -> None:
    """Learned positions and layer normalisation are constants of pixels and channels in the circuit."""
    folder = write_folder(tmp_path / "m", kind, random_weights(SIZES[kind]))
    check(export(folder, positions=8).model, 96)


def test_a_prompt_of_its_own() -> None:
    check(load_path(exported(24, 10)), 400)


def test_each_row_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every tensor, whole runs write all cells; here all runs together do."""
    source = load_path(exported())
    made = lowered(source, 400)
    written = 0
    real = stepwise._Slice.write

    def counted(self: Any, tensor: int, value: Any) -> None:
        nonlocal written
        written += value.size
        real(self, tensor, value)

    monkeypatch.setattr(stepwise._Slice, "write", counted)
    program = Stepwise(made.circuit, made.weights, [0])
    for end in range(1, 25):
        program.run([np.zeros((1, 24), np.int64)], end)
    inputs = {port.tensor for port in made.circuit.inputs}
    assert written == sum(spec.size for number, spec in enumerate(made.circuit.tensors) if number not in inputs)


def test_a_token_that_is_none_is_refused() -> None:
    made = lowered(load_path(exported()), 400)
    with pytest.raises(InputRejected):
        Stepwise(made.circuit, made.weights, [0]).run([np.full((1, 24), 400)], 1)


def test_what_does_not_follow_positions_says_so() -> None:
    """A sum over positions, such as a mean: there are no rows to compute one by one."""
    table = np.random.default_rng(0).uniform(-1, 1, (300, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("Transpose", ["rows"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["turned", "mix"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1]),
        helper.make_node("ArgMax", ["back"], ["next"], axis=-1, keepdims=0),
    ]
    constants = {"table": table, "mix": np.random.default_rng(1).uniform(-1, 1, (6, 6)).astype(np.float32)}
    sides = [[helper.make_tensor_value_info(name, TensorProto.INT64, (1, 6))] for name in ("ids", "next")]
    graph = helper.make_graph(
        nodes, "mixed", *sides, [numpy_helper.from_array(array, name) for name, array in constants.items()]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    made = lowered(canonicalise(proto.SerializeToString(), where="test").model, 300)
    with pytest.raises(NotByPositions):
        rows_of(made.circuit, [0])
