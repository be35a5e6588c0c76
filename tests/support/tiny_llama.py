"""The trained language model of the fixtures, exported and compiled, once per process and kind."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.execution.files import write_atomic
from verifai.onnx_graph.facts import write_tokenizer
from verifai.onnx_graph.load import load_path
from verifai.stages.compile import compile_circuit
from verifai.stages.export import export
from verifai.stages.init import init_circuit

SOURCE = ROOT / "fixtures" / "tiny-llama"
PLAIN = "The capital of France is"
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


@cache
def exported(positions: int = 24, prompt: int = 0) -> Path:
    """The canonical model, with its tokenizer beside it."""
    _FOLDERS.append(tempfile.TemporaryDirectory())
    path = Path(_FOLDERS[-1].name) / "model.onnx"
    result = export(SOURCE, positions=positions, prompt_positions=prompt or None)
    write_atomic(path, result.model.data)
    write_tokenizer(path, result.tokenizer)
    return path


def circuit(
    positions: int = 24, weights: WeightVisibility = WeightVisibility.PUBLIC, prompt: int = 0, hidden: bool = False
) -> CircuitFolder:
    """A compiled circuit; its folder lives as long as the process. ``prompt``: positions of an input of its own for it."""
    return _circuit(positions, weights, prompt, hidden)


@cache
def _circuit(positions: int, weights: WeightVisibility, prompt: int, hidden: bool) -> CircuitFolder:
    model = exported(positions, prompt)
    target = model.parent / f"{weights.value}-{hidden}"
    visibility: Mapping[str, Visibility] = {"prompt": Visibility.PRIVATE} if hidden else {}
    data = SOURCE / "calibration.txt"
    init_circuit(
        model, load_path(model), target, engine=EngineName.SUMCHECK, visibility=visibility, weights=weights, calibration=data
    )
    with (target / "circuit.toml").open("a") as spec:
        spec.write("\n[engine.sumcheck]\nactivation_bits = 12\n")
    compile_circuit(CircuitFolder(target))
    return CircuitFolder(target)
