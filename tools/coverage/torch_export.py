"""PyTorch modules to ONNX, by its two exporters."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tools.coverage.case import Case, Data, Made, drawn

OLD_OPSETS = (11, 12, 13, 14, 15, 16, 17, 18, 20)
NEW_OPSETS = (18, 20, 21, 23)


class Calls(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        """What the function gives."""
        return self.function(*arguments)


def export(
    module: torch.nn.Module, arguments: tuple[Any, ...], names: Sequence[str], path: Path, *, opset: int, new: bool
) -> None:
    """Write the module as a file, by the new exporter or by the old one. Raises whatever PyTorch raises."""
    module.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, arguments, str(path), input_names=list(names), opset_version=opset, dynamo=new, verbose=False,
            external_data=False,
        )  # fmt: skip


def torch_case(slug: str, route: str, build: Callable[[], torch.nn.Module], data: dict[str, Data], number: int) -> Case:
    """A case whose exporter and opset follow from its number: every other by the old one, opsets in turn."""
    new = number % 2 == 0
    opset = NEW_OPSETS[number // 2 % len(NEW_OPSETS)] if new else OLD_OPSETS[number // 2 % len(OLD_OPSETS)]
    return Case(slug, route, lambda work: _made(slug, build, data, work, opset, new))


def _made(slug: str, build: Callable[[], torch.nn.Module], data: dict[str, Data], work: Path, opset: int, new: bool) -> Made:
    torch.manual_seed(len(slug))
    torch.set_num_threads(1)
    module = build()
    inputs = drawn(slug, data)
    arguments = tuple(torch.from_numpy(array[0].copy()) for array in inputs.values())
    path = work / "model.onnx"
    try:
        export(module, arguments, list(inputs), path, opset=opset, new=new)
    except Exception:
        export(module, arguments, list(inputs), path, opset=18 if new else 20, new=not new)
    return Made(path, inputs)


def warm_up() -> None:
    """Load both exporters, which takes seconds, before the children are forked."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        for new in (True, False):
            export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),), ["x"], Path(work) / "model.onnx", opset=18, new=new)
