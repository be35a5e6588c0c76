"""``pkg.module:factory``: Python code that the user named, imported and called. Naming it is consenting to run it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from verifai.errors import UsageError, VerifaiError
from verifai.onnx_graph.refusal import printable

_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z", re.ASCII)


def is_factory(text: str) -> bool:
    """Whether ``text`` has the form ``pkg.module:factory``."""
    return _PATTERN.match(text) is not None


def call_factory(text: str) -> Any:
    """What the factory returns, called without arguments. The current folder can be imported from.

    Raises:
        UsageError: ``source-failed``, when it cannot be imported or raises.
    """
    module_name, _, attribute = text.partition(":")
    try:
        with _current_folder_importable():
            factory = getattr(importlib.import_module(module_name), attribute)
            return factory()
    except VerifaiError:
        raise
    except (Exception, SystemExit) as problem:  # whatever it is that foreign code ends with
        raise UsageError(
            "source-failed",
            reason(problem),
            where=text,
            hint="The factory must be importable from the current folder and callable without arguments.",
        ) from problem


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def reason(problem: BaseException) -> str:
    """The root cause in one printable line: frameworks wrap it in pages of advice and colours."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(problem))
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return printable(f"{type(problem).__name__}: {first}", 240)


def made_by(value: object, package: str, base: str) -> bool:
    """Whether ``value``'s class descends from ``package…:base``, judged without importing the package."""
    return any(kind.__name__ == base and kind.__module__.split(".")[0] == package for kind in type(value).__mro__)
