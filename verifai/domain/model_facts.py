"""What a model's numbers mean to people: task, labels, columns. A file beside the model; no verdict rests on it.

The canonical ONNX form holds no metadata, because the model's digest is its identity. So these facts travel apart, bound to the
model by its digest, until a circuit's specification pins what it wants of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from verifai.domain.categories import Categories, categories_of
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.unicode_14 import is_printable
from verifai.errors import UsageError

SCHEMA = "verifai/model-facts/v1"
CODE = "bad-facts"
SUFFIX = ".facts.json"
MAX_BYTES = 16 * 1024 * 1024
MAX_NAMES = 100_000
MAX_NAME = 512


class Task(StrEnum):
    """What a model is for."""

    CLASSIFICATION = "classification"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"
    CLUSTERING = "clustering"
    TRANSFORM = "transform"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about one canonical model.

    Attributes:
        model_sha256: the model they belong to.
        task: what it is for.
        input: the input tensor that ``columns`` names.
        columns: names of the columns of that input's last axis, in order; empty when the source had none.
        output: the output tensor that ``labels`` names.
        labels: of the columns of that output's last axis, in order: classes or clusters, the largest number decides (each for
            itself in a multi-label model); empty when there are none.
        categories: of the columns of texts, by name, or by place where the columns have no names.
    """

    model_sha256: Sha256
    task: Task
    input: str
    columns: tuple[str, ...]
    output: str
    labels: tuple[str, ...]
    categories: Mapping[str, Categories] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Any, where: str) -> ModelFacts:
        """Read a parsed JSON document.

        Raises:
            UsageError: ``bad-facts``.
        """
        record = Record(document, where, error=UsageError, code=CODE)
        record.text("schema", pattern=SCHEMA)
        facts = cls(
            record.sha256("model_sha256"),
            record.choice("task", Task),
            record.text("input", max_length=MAX_NAME),
            _names(record, "columns"),
            record.text("output", max_length=MAX_NAME),
            _names(record, "labels"),
            _categories(record),
        )
        record.done()
        return facts

    def to_document(self) -> dict[str, Any]:
        """The JSON document; :meth:`from_document` reads it back equal."""
        texts = {name: self.categories[name].to_document() for name in sorted(self.categories)}
        return {
            "schema": SCHEMA,
            "model_sha256": self.model_sha256,
            "task": self.task.value,
            "input": self.input,
            "columns": list(self.columns),
            "output": self.output,
            "labels": list(self.labels),
            **({"categories": texts} if texts else {}),
        }


def _categories(record: Record) -> dict[str, Categories]:
    if not record.has("categories"):
        return {}
    table = record.table("categories")
    found = {name: categories_of(table.table(name)) for name in table.names()}
    table.done()
    return found


def _names(record: Record, field: str) -> tuple[str, ...]:
    def one(value: Any, place: str) -> str:
        # They are shown in terminals and reports, and compared with the headers of files.
        if not isinstance(value, str) or len(value) > MAX_NAME or not is_printable(value):
            raise UsageError(CODE, f"expected at most {MAX_NAME} printable characters", where=place)
        return value

    names = record.array(field, one, max_length=MAX_NAMES)
    if len(set(names)) < len(names):
        raise record.refuse("two names are alike", field)
    return names
