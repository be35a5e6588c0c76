"""Options that name what is to be written: marked where they are declared, judged before their verb begins.

``Annotated[Path, typer.Option("--output", "-o"), Kind.FILE]`` is such an option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from verifai.execution.outputs import Kind, check_output


def output_kind(hint: Any) -> Kind | None:
    """What a parameter's annotation says is written there; ``None`` for all that is only read."""
    if get_origin(hint) is not Annotated:
        return None
    return next((one for one in get_args(hint)[1:] if isinstance(one, Kind)), None)


def check_outputs(arguments: Mapping[str, Any], outputs: Mapping[str, Kind]) -> tuple[Path, ...]:
    """Judge every output of a command line.

    Returns:
        Every other path on it.

    Raises:
        UsageError: code ``bad-output``.
    """
    read = tuple(path for name, value in arguments.items() if name not in outputs for path in _paths(value))
    written: list[Path] = []
    for name, kind in outputs.items():
        path = arguments.get(name)
        if isinstance(path, Path):
            check_output(path, kind, inputs=(*read, *written))
            written.append(path)
    return read


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, str) and _is_file(value):  # inputs are texts where - stands for standard input
        yield Path(value)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _paths(one)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
