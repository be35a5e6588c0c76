"""What an exporter does: one source framework → an ONNX file, and a way to run the source for the parity check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by tensor name."""


@dataclass(frozen=True)
class Source:
    """What the user named.

    Attributes:
        text: a path, or ``pkg.module:factory``.
        shapes: static shape per input name, for frameworks that need example inputs; empty when not given.
        trust_pickle: whether pickled files may be loaded; loading one runs whatever code it contains.
    """

    text: str
    shapes: Mapping[str, tuple[int, ...]]
    trust_pickle: bool = False

    @property
    def path(self) -> Path:
        """The text as a path."""
        return Path(self.text)


@dataclass(frozen=True)
class Exported:
    """A source brought to ONNX, not yet canonical.

    Attributes:
        data: the ONNX file's bytes.
        where: the source's name for messages.
        folder: where external data may lie; ``None`` when everything is inside.
        run: the source itself on one sample: input arrays by name, of the ONNX file's input types, batch included → outputs
            by the ONNX file's output names.
        samples: example inputs that the source brought along; they take part in the parity check.
        notices: what a person should know.
    """

    data: bytes
    where: str
    run: Callable[[Arrays], Arrays]
    folder: Path | None = None
    samples: tuple[Arrays, ...] = ()
    notices: tuple[str, ...] = ()


class Exporter(Protocol):
    """One source framework. Only the exporter imports it, and only when used."""

    @property
    def name(self) -> str:
        """For messages: ``PyTorch``."""

    def accepts(self, source: Source) -> bool:
        """Whether this source is of its kind, judged without loading it."""

    def export(self, source: Source) -> Exported:
        """Convert it.

        Raises:
            UsageError: ``file-missing``, ``extra-missing``, ``pickle-refused``, ``source-failed``.
            UnsupportedModel: an operator or estimator that cannot be converted exactly, by name.
        """
