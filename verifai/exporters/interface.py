"""What an exporter does: one source framework → an ONNX file, and a way to run the source for the parity check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verifai.domain.categories import Categories
from verifai.domain.model_facts import Task

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by tensor name."""


@dataclass(frozen=True)
class Source:
    """What the user named.

    Attributes:
        text: a path, or ``pkg.module:factory``.
        shapes: static shape per input name, for frameworks that need example inputs; empty when not given.
        trust_pickle: whether pickled files may be loaded; loading one runs whatever code it contains.
        trusted_types: types by full name that a skops file may construct, besides those that are known to be safe.
        select: names of the outputs to keep; empty for the exporter's own choice.
        positions: how many tokens a language model takes; ``None`` for the exporter's own choice.
        prompt: how many of them, from the first, are an input of their own, which may be hidden; ``None`` for none.
    """

    text: str
    shapes: Mapping[str, tuple[int, ...]]
    trust_pickle: bool = False
    trusted_types: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    positions: int | None = None
    prompt: int | None = None

    @property
    def path(self) -> Path:
        """The text as a path."""
        return Path(self.text)


@dataclass(frozen=True)
class Meaning:
    """What the source says about its numbers; see :class:`verifai.domain.model_facts.ModelFacts`.

    Attributes:
        categories: by the place of a column of texts, which whole number stands for which.
        certain: whether the largest output surely is the class that the source names; else the labels are kept only when
            both agree on all inputs of the parity check.
    """

    task: Task
    input: str
    columns: tuple[str, ...]
    output: str
    labels: tuple[str, ...]
    certain: bool = True
    categories: Mapping[int, Categories] = field(default_factory=dict)


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
        made: inputs that fit the source, made up from a seeded generator, so many of them; ``None`` when it knows nothing about
            its inputs.
        notices: what a person should know.
        meaning: task, labels and columns; ``None`` when the source does not say.
        decide: the place among the labels that the source itself names for one sample; ``None`` when it names none.
        scores: by an output that is the place of the largest of some scores, the name under which ``run`` gives these; the
            scores are compared then, since a place has no distance.
        said: what a person should know of how the source was run, asked for after it was.
        tokenizer: the file of a language model's tokenizer; ``None`` when it brings none that is taken.
    """

    data: bytes
    where: str
    run: Callable[[Arrays], Arrays]
    folder: Path | None = None
    samples: tuple[Arrays, ...] = ()
    made: Callable[[np.random.Generator, int], Sequence[Arrays]] | None = None
    notices: tuple[str, ...] = ()
    meaning: Meaning | None = None
    decide: Callable[[Arrays], int | None] | None = None
    scores: Mapping[str, str] = field(default_factory=dict)
    tokenizer: bytes | None = None
    said: Callable[[], tuple[str, ...]] = tuple


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
