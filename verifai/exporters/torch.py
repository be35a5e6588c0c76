"""PyTorch: saved programs (``torch.export.save``), ``nn.Module`` factories, and, on request, pickled modules."""

from __future__ import annotations

import inspect
import io
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any

from verifai.errors import UnsupportedModel, UsageError
from verifai.execution.packages import install_hint
from verifai.exporters.factory import made_by, reason
from verifai.exporters.interface import Arrays, Exported, Source
from verifai.exporters.pt2 import check_pt2, weights_only

_OPSET = 18
_SEED = 20240229


class TorchExporter:
    """Converts with ``torch.onnx.export``, opset 18."""

    @property
    def name(self) -> str:
        """For messages."""
        return "PyTorch"

    def accepts(self, source: Source) -> bool:
        """By suffix; factories come through :meth:`export_value`."""
        return source.path.suffix.lower() in (".pt2", ".pt", ".pth")

    def recognises(self, value: object) -> bool:
        """Whether a factory's result is for this exporter: a module, a program, or one with its example inputs."""
        if isinstance(value, tuple) and value:
            value = value[0]
        return made_by(value, "torch", "Module") or made_by(value, "torch", "ExportedProgram")

    def export(self, source: Source) -> Exported:
        """Load the file and convert it."""
        torch = _torch(source)
        if not source.path.is_file():
            raise UsageError("file-missing", "cannot read: no such file", where=source.text)
        if source.path.suffix.lower() != ".pt2":
            return self.export_value(_unpickle(torch, source), source)
        if not source.trust_pickle:
            check_pt2(source.path)
        with _failing(source), nullcontext() if source.trust_pickle else weights_only():
            program = torch.export.load(str(source.path))
        return self.export_value(program, source)

    def export_value(self, value: Any, source: Source) -> Exported:
        """Convert a module, a program, or a pair ``(module, example_inputs)``."""
        torch = _torch(source)
        examples: Sequence[Any] | None = None
        if isinstance(value, tuple):
            value, examples = value[0], _as_tuple(value[1]) if len(value) == 2 else ()
        program = made_by(value, "torch", "ExportedProgram")
        if program:
            examples = examples or _as_tuple((value.example_inputs or ((),))[0])
            runner = value.module()
        else:
            runner = value.eval()
            examples = examples or _zeros(torch, runner, source)
        if not examples or not all(isinstance(example, torch.Tensor) for example in examples):
            raise UsageError(
                "source-failed",
                "example inputs are needed, and they must be tensors",
                where=source.text,
                hint="Return (module, (tensor, …)) from the factory, or give --shape NAME=1,3,32,32.",
            )
        data = _convert(torch, value if program else runner, tuple(examples), source)
        return _exported(torch, data, runner, tuple(examples), source)


def _exported(torch: Any, data: bytes, runner: Any, examples: tuple[Any, ...], source: Source) -> Exported:
    import onnx

    graph = onnx.ModelProto.FromString(data).graph
    inputs = [value.name for value in graph.input]
    outputs = [value.name for value in graph.output]
    if len(inputs) != len(examples):
        raise UnsupportedModel(
            "model-unused-input",
            f"the module takes {len(examples)} tensors, but its result depends on {len(inputs)} of them",
            where=source.text,
            hint="Remove the unused arguments.",
        )

    def run(arrays: Arrays) -> Arrays:
        with torch.no_grad(), _failing(source):
            given = [torch.from_numpy(arrays[name]).to(example.dtype) for name, example in zip(inputs, examples, strict=True)]
            result = runner(*given)
            flat = torch.utils._pytree.tree_leaves(result)
            return {name: value.detach().numpy() for name, value in zip(outputs, flat, strict=True)}

    sample = {name: example.detach().numpy() for name, example in zip(inputs, examples, strict=True)}
    return Exported(data=data, where=source.text, run=run, samples=(sample,))


def _convert(torch: Any, value: Any, examples: tuple[Any, ...], source: Source) -> bytes:
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise _extra(source) from None
    with _failing(source), torch.no_grad():
        program = torch.onnx.export(
            value, examples, dynamo=True, opset_version=_OPSET, external_data=False, verbose=False, optimize=True
        )
        return bytes(program.model_proto.SerializeToString())


def _zeros(torch: Any, module: Any, source: Source) -> tuple[Any, ...]:
    """Example inputs of the given shapes, in the order of ``forward``; seeded, since all-zero inputs hide differences."""
    names = list(inspect.signature(module.forward).parameters)
    unknown = [name for name in source.shapes if name not in names]
    if unknown:
        raise UsageError("bad-option", f"forward has no argument {unknown[0]!r} (it has {', '.join(names)})", where="--shape")
    generator = torch.Generator().manual_seed(_SEED)
    shapes = [source.shapes[name] for name in names if name in source.shapes]
    if any(math.prod(shape) > 1 << 27 for shape in shapes):
        raise UsageError("bad-option", "the shape is too large", where="--shape")
    return tuple(torch.rand(shape, generator=generator) for shape in shapes)


def _unpickle(torch: Any, source: Source) -> Any:
    if not source.trust_pickle:
        raise UsageError(
            "pickle-refused",
            "a pickled module can run any code when it is loaded",
            where=source.text,
            hint="Save the program with torch.export.save (.pt2), name a factory, or pass --trust-pickle if you trust it.",
        )
    with _failing(source):
        value = torch.load(str(source.path), weights_only=False, map_location="cpu")
    if not made_by(value, "torch", "Module"):
        raise UsageError(
            "source-failed",
            f"the file holds a {type(value).__name__}, not a module",
            where=source.text,
            hint="Weights alone are no model: name a factory that builds the module and loads them.",
        )
    return value


def _torch(source: Source) -> Any:
    try:
        import torch
        import torch.onnx
    except ImportError:
        raise _extra(source) from None
    return torch


def _extra(source: Source) -> UsageError:
    return UsageError(
        "extra-missing",
        "exporting from PyTorch needs torch and onnxscript",
        where=source.text,
        hint=install_hint("torch"),
    )


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


@contextmanager
def _failing(source: Source) -> Iterator[None]:
    """PyTorch's failures as ours, and its chatter (stdout, stderr, warnings, log) nowhere."""
    logger = logging.getLogger("torch")
    level = logger.level
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            logger.setLevel(logging.CRITICAL)
            yield
    except (UsageError, UnsupportedModel):
        raise
    except Exception as problem:
        raise UsageError("source-failed", reason(problem), where=source.text) from problem
    finally:
        logger.setLevel(level)
