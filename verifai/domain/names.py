"""What a circuit calls the places of its tensors' last axes: classes of an output, columns of an input.

Written by a person in ``circuit.toml``, pinned in ``circuit.lock``; a verdict never depends on a name, but a reader does, so no
name is ever taken from the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from verifai.domain.categories import Categories, categories_of, placed
from verifai.domain.record import Record
from verifai.domain.tensor import TensorSpec
from verifai.domain.tokenizer import Tokenizer, TokenPin, pin_of
from verifai.domain.unicode_14 import is_printable
from verifai.errors import UsageError, VerifaiError

MAX_NAMES = 100_000
MAX_NAME = 512
_TEXTS = "categories"
ONLY = ""
"""In a specification: the model's only input or output, which needs no name."""


@dataclass(frozen=True, slots=True)
class PlaceNames:
    """Names by tensor name.

    Attributes:
        labels: by output, its classes: of each place of the last axis; two where that axis has one place, whose cell is on one
            side or the other; of an output of integers, of each value from 0.
        columns: by input, of each place of the last axis.
        categories: by input, of its columns of texts, by the column's name, or by its place where the columns have no names.
        tokens: the tokenizer that the lock pins; ``None`` where the model knows no tokens.
        tokenizer: that tokenizer, read; ``None`` where its file is not at hand, and no token has a text then.
    """

    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    categories: Mapping[str, Mapping[str, Categories]] = field(default_factory=dict)
    tokens: TokenPin | None = None
    tokenizer: Tokenizer | None = field(default=None, compare=False, repr=False)

    def to_document(self) -> dict[str, Any]:
        """As TOML values, without what is empty; the inverse of :func:`names_from_lock`."""
        document: dict[str, Any] = {}
        for kind, named in (("labels", self.labels), ("columns", self.columns)):
            if named:
                document[kind] = {name: list(named[name]) for name in sorted(named)}
        if self.categories:
            document["categories"] = {
                name: {column: found[column].to_document() for column in sorted(found)}
                for name, found in sorted(self.categories.items())
            }
        if self.tokens is not None:
            document["tokenizer"] = self.tokens.to_document()
        return document

    def texts(self, name: str) -> Mapping[int, Categories]:
        """Of an input, the categories by place."""
        return placed(self.categories.get(name, {}), self.columns.get(name, ()))


def names_from_lock(circuit: Record) -> PlaceNames:
    """Read ``[circuit]`` of a lock. Raises the record's error, with the field named."""
    found = {}
    for kind in ("labels", "columns"):
        if not circuit.has(kind):
            continue
        table = circuit.table(kind)
        found[kind] = {name: _names(table, name) for name in table.names()}
        table.done()
        if not found[kind]:
            raise circuit.refuse("an empty table is left out", kind)  # one lock, one spelling
    tokens = pin_of(circuit.table("tokenizer")) if circuit.has("tokenizer") else None
    return PlaceNames(found.get("labels", {}), found.get("columns", {}), _texts_of_lock(circuit), tokens)


def _texts_of_lock(circuit: Record) -> dict[str, dict[str, Categories]]:
    if not circuit.has("categories"):
        return {}
    table = circuit.table("categories")
    found = {name: _texts(table.table(name)) for name in table.names()}
    table.done()
    if not found:
        raise circuit.refuse("an empty table is left out", "categories")
    return found


def _texts(table: Record) -> dict[str, Categories]:
    found = {column: categories_of(table.table(column)) for column in table.names()}
    table.done()
    if not found:
        raise table.refuse("the table is empty", "")
    return found


def names_from_spec(root: Record) -> PlaceNames:
    """Read ``[outputs]`` and ``[inputs]`` of a specification: ``labels`` or ``columns`` of the only one, or a table for each.

    Raises the record's error, with the field named.
    """
    texts: dict[str, dict[str, Categories]] = {}
    return PlaceNames(_side(root, "outputs", "labels", {}), _side(root, "inputs", "columns", texts), texts)


def _side(root: Record, side: str, kind: str, texts: dict[str, dict[str, Categories]]) -> dict[str, tuple[str, ...]]:
    """Names by tensor; categories, which inputs have, go into ``texts``."""
    if not root.has(side):
        return {}
    table = root.table(side)
    found = {}
    only = any(not isinstance(table.take(name), Mapping) for name in table.names())
    for name in table.names():
        if name == _TEXTS and side == "inputs" and only:
            texts[ONLY] = _texts(table.table(name))
        elif isinstance(table.take(name), Mapping):
            one = table.table(name)
            if one.has(_TEXTS) and side == "inputs":
                texts[name] = _texts(one.table(_TEXTS))
            if one.has(kind) or name not in texts:
                found[name] = _names(one, kind)
            one.done()
        elif name == kind:
            found[ONLY] = _names(table, kind)
        else:
            hint = f'Write {kind} = ["…", "…"] below [{side}.NAME], or below [{side}] where there is only one.'
            raise table.refuse(f"expected {kind}, or the table of one tensor", name, hint=hint)
    if not found and not texts:
        raise root.refuse("the table is empty", side)
    if ONLY in found and len(found) > 1:
        raise table.refuse(f"{kind} of the only one stands beside tables of several", kind)
    return found


def _names(record: Record, field_: str) -> tuple[str, ...]:
    def one(value: Any, place: str) -> str:
        # They are shown in terminals and reports.
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not is_printable(value):
            where = place.removeprefix(f"{record.where}.")
            raise record.refuse(f"expected 1 to {MAX_NAME} printable characters in quotes", where)
        return value

    names = record.array(field_, one, max_length=MAX_NAMES)
    if not names:
        raise record.refuse("the list is empty", field_)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise record.refuse(f"two names are alike: {name[:80]!r}", field_)
        seen.add(name)
    return names


def resolve_names(given: PlaceNames, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], where: str) -> PlaceNames:
    """The names of a specification by tensor, checked against the model's shapes.

    Raises:
        UsageError: ``bad-spec``: no such tensor, or another number of names than places.
    """
    labels = _resolve(given.labels, outputs, "outputs", where)
    columns = _resolve(given.columns, inputs, "inputs", where)
    for spec in outputs:
        if spec.name in labels:
            _check_labels(spec, labels[spec.name], f"{where}: [outputs.{spec.name}] labels")
    for spec in inputs:
        if spec.name in columns and (not spec.shape or spec.shape[-1] != len(columns[spec.name])):
            place = f"{where}: [inputs.{spec.name}] columns"
            raise _count(spec, len(columns[spec.name]), "columns", spec.shape[-1] if spec.shape else 0, place)
    texts = _resolve(given.categories, inputs, "inputs", where)
    for spec in inputs:
        if spec.name in texts:
            _check_texts(spec, texts[spec.name], columns.get(spec.name, ()), f"{where}: [inputs.{spec.name}] categories")
    return PlaceNames(labels, columns, texts)


def _check_texts(spec: TensorSpec, texts: Mapping[str, Categories], columns: Sequence[str], where: str) -> None:
    """Each is about a column that there is."""
    width = spec.shape[-1] if spec.shape else 0
    fits = placed(texts, columns)
    for name in texts:
        if (name not in columns) if columns else (not name.isdecimal() or not int(name) < width):
            hint = (
                "Use a column's name as columns has it."
                if columns
                else f"Use a place from 0 to {width - 1}, or name the columns."
            )
            raise UsageError("bad-spec", f"there is no column {name[:80]!r}", where=where, hint=hint)
    if len(fits) < len(texts):
        raise UsageError("bad-spec", "two categories are about one column", where=where, hint="Keep one of them.")


T = TypeVar("T")


def _resolve(given: Mapping[str, T], specs: Sequence[TensorSpec], side: str, where: str) -> dict[str, T]:
    known = [spec.name for spec in specs]
    if ONLY in given:
        if len(known) != 1:
            message = f"the model has {len(known)} {side}, so it is not said whose these are"
            hint = f"Write them below [{side}.NAME]. The names: {', '.join(known)}."
            raise UsageError("bad-spec", message, where=f"{where}: [{side}]", hint=hint)
        return {known[0]: given[ONLY]}
    for name in given:
        if name not in known:
            message = f"{name[:80]!r} is none of the model's {side}"
            raise UsageError("bad-spec", message, where=f"{where}: [{side}]", hint="It has: " + ", ".join(known))
    return dict(given)


def _check_labels(spec: TensorSpec, labels: tuple[str, ...], where: str) -> None:
    if not spec.dtype.startswith("float"):
        return  # which classes an integer may name is not in its type
    width = spec.shape[-1] if spec.shape else 1
    places = 2 if width == 1 else width
    if len(labels) != places:
        raise _count(spec, len(labels), "labels", places, where)


def _count(spec: TensorSpec, found: int, kind: str, places: int, where: str) -> VerifaiError:
    shape = "×".join(str(size) for size in spec.shape) or "one number"
    message = f"{found} {kind} for {spec.name!r} ({shape}), which has {places}"
    return UsageError("bad-spec", message, where=where, hint=f"Give exactly {places}, in the order of the last axis.")
