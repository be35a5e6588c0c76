"""The index of a batch of proofs: which sample became which bundle, and which did not. ``docs/cli.md`` describes the file.

One JSON object per line: a header, then one row per sample. A row is there when its line ends: a line that a crash cut short is
none. Of two rows about one sample the later counts. The index is its prover's own notebook; no verdict rests on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from verifai.domain.digest import Sha256, is_sha256
from verifai.domain.record import Record
from verifai.domain.statement import EngineName
from verifai.domain.strict_json import loads
from verifai.errors import UsageError

INDEX_FILE = "index.jsonl"
"""Its name, in the folder of the bundles."""
SCHEMA = "verifai/prove-index/v1"
START = f'{{"schema": "{SCHEMA}"'.encode()
"""How every index begins: what else has the name is none."""
MAX_INDEX_BYTES = 256 * 2**20
MAX_SAMPLES = 10_000_000
_CODE = "index-malformed"
_HINT = "Prove into another folder; the bundles here stay as they are."


class SampleStatus(StrEnum):
    """What became of a sample.

    ``refused``: the circuit cannot represent it, so nothing was proven; ``failed``: the proof was not made.
    """

    PROVEN = "proven"
    REFUSED = "refused"
    FAILED = "failed"


def sample_id(row: int) -> str:
    """A sample's name: that of its bundle's folder, and the number in a context of its own."""
    return f"{row:06d}"


def row_words(row: int) -> str:
    """A sample for people: its row, counted from 1 as readers of tables count, and the name of its bundle."""
    return f"row {row + 1} ({sample_id(row)})"


@dataclass(frozen=True, slots=True)
class IndexHeader:
    """What all samples of a batch have in common. A run is continued only with all of it the same.

    Attributes:
        run: 32 hex digits, new for every batch.
        section_sha256: of the engine's lock section, hence of the circuit.
        samples: how many were given.
        inputs_sha256: over the digests of all inputs; ``None`` when one of the circuit's inputs is not public.
        context: the text given; with ``context_per_sample`` the part before the number.
        signers: identifiers of the keys that sign, in ascending order.
    """

    run: str
    circuit: str
    engine: EngineName
    model_sha256: Sha256
    section_sha256: Sha256
    samples: int
    inputs_sha256: Sha256 | None
    context: str = ""
    context_per_sample: bool = False
    signers: tuple[str, ...] = ()

    def context_of(self, row: int) -> str:
        """The context of one sample's statement."""
        return sample_context(self.context, row) if self.context_per_sample else self.context

    def to_json(self) -> dict[str, Any]:
        """The header's line."""
        return {
            "schema": SCHEMA,
            "run": self.run,
            "circuit": self.circuit,
            "engine": self.engine.value,
            "model_sha256": self.model_sha256,
            "section_sha256": self.section_sha256,
            "samples": self.samples,
            "inputs_sha256": self.inputs_sha256,
            "context": self.context,
            "context_per_sample": self.context_per_sample,
            "signers": list(self.signers),
        }

    @classmethod
    def from_record(cls, record: Record) -> IndexHeader:
        """The inverse of :meth:`to_json`, strict."""
        record.text("schema", pattern=SCHEMA)
        header = cls(
            run=record.text("run", pattern=r"[0-9a-f]{32}"),
            circuit=record.text("circuit"),
            engine=record.choice("engine", EngineName),
            model_sha256=record.sha256("model_sha256"),
            section_sha256=record.sha256("section_sha256"),
            samples=record.integer("samples", low=1, high=MAX_SAMPLES),
            inputs_sha256=_digest(record, "inputs_sha256"),
            context=record.text("context", empty=True),
            context_per_sample=record.flag("context_per_sample"),
            signers=record.texts("signers", max_length=64),
        )
        record.done()
        return header


def sample_context(text: str, row: int) -> str:
    """The context of sample ``row`` in a batch with a context per sample: ``TEXT#000017``, or ``000017`` without a text."""
    return f"{text}#{sample_id(row)}" if text else sample_id(row)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One sample.

    Attributes:
        row: its place among the samples given, from 0.
        input_sha256: digest of its input; ``None`` when one of the circuit's inputs is not public.
        bundle_id: of its bundle, whose folder has the sample's name; ``None`` unless it was proven.
        statement_sha256: the inference's identity, as a gate counts it; ``None`` unless it was proven.
        outputs: the proven public outputs by name, row-major; those that are small enough to be shown.
        seconds: of the proof.
        size: of its bundle, in bytes.
        code: why there is none; empty when it was proven.
        inferences: how many its statement claims; more than one where the circuit takes a batch, whose rows are bundles.
    """

    row: int
    status: SampleStatus
    input_sha256: Sha256 | None = None
    bundle_id: Sha256 | None = None
    statement_sha256: Sha256 | None = None
    outputs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    size: int = 0
    code: str = ""
    inferences: int = 1

    def __post_init__(self) -> None:
        proven = self.status is SampleStatus.PROVEN
        if (self.bundle_id is not None) != proven or (self.statement_sha256 is not None) != proven or bool(self.code) == proven:
            raise ValueError(f"row {self.row}: exactly what was proven has a bundle, and exactly the rest a code")

    @property
    def id(self) -> str:
        """The sample's name."""
        return sample_id(self.row)

    def to_json(self) -> dict[str, Any]:
        """The row's line."""
        proven = self.status is SampleStatus.PROVEN
        return {
            "row": self.row,
            "id": self.id,
            "status": self.status.value,
            "bundle": self.id if proven else None,
            "bundle_id": self.bundle_id,
            "input_sha256": self.input_sha256,
            "statement_sha256": self.statement_sha256,
            "outputs": {name: list(values) for name, values in self.outputs.items()},
            "seconds": round(self.seconds, 3),
            "bytes": self.size,
            "code": self.code or None,
            **({"inferences": self.inferences} if self.inferences > 1 else {}),
        }

    @classmethod
    def from_record(cls, record: Record) -> IndexRow:
        """The inverse of :meth:`to_json`, strict."""
        row = record.integer("row", low=0, high=MAX_SAMPLES - 1)
        outputs = record.table("outputs")
        numbers = {name: _numbers(outputs, name) for name in outputs.names()}
        outputs.done()
        code = record.take("code")
        try:
            found = cls(
                row=row,
                status=record.choice("status", SampleStatus),
                input_sha256=_digest(record, "input_sha256"),
                bundle_id=_digest(record, "bundle_id"),
                statement_sha256=_digest(record, "statement_sha256"),
                outputs=numbers,
                seconds=record.number("seconds", low=0.0, high=1e9),
                size=record.integer("bytes", low=0, high=2**53),
                code="" if code is None else str(code)[:64],
                inferences=record.integer("inferences", 1, low=2, high=MAX_SAMPLES),
            )
        except ValueError as problem:
            raise record.refuse(str(problem)) from None
        expected = found.id if found.status is SampleStatus.PROVEN else None
        if record.take("id") != found.id or record.take("bundle") != expected:
            raise record.refuse("its name and its bundle are not those of this row", "bundle")
        record.done()
        return found


@dataclass(frozen=True)
class ProofIndex:
    """A whole index.

    Attributes:
        rows: by row; what was not yet tried has none.
        cut: whether the last line was cut short by a crash, and so left out.
    """

    header: IndexHeader
    rows: Mapping[int, IndexRow] = field(default_factory=dict)
    cut: bool = False

    def of(self, status: SampleStatus) -> tuple[IndexRow, ...]:
        """The rows of one status, in order."""
        return tuple(row for _, row in sorted(self.rows.items()) if row.status is status)

    def with_rows(self, rows: Iterable[IndexRow]) -> ProofIndex:
        """With more rows; each takes the place of an earlier one about its sample."""
        return replace(self, rows={**self.rows, **{row.row: row for row in rows}}, cut=False)

    def to_bytes(self) -> bytes:
        """The file: one line per sample, in order."""
        return header_line(self.header) + b"".join(row_line(row) for _, row in sorted(self.rows.items()))


def header_line(header: IndexHeader) -> bytes:
    """The first line."""
    return _line(header.to_json())


def row_line(row: IndexRow) -> bytes:
    """One sample's line."""
    return _line(row.to_json())


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def parse_index(data: bytes, where: str) -> ProofIndex:
    """Read an index.

    Raises:
        UsageError: ``index-malformed``, with the line.
    """
    *lines, rest = data.split(b"\n")
    if not lines:
        raise UsageError(_CODE, "it has no header", where=where, hint=_HINT)
    header = IndexHeader.from_record(_record(lines[0], f"{where}:1"))
    rows: dict[int, IndexRow] = {}
    for number, line in enumerate(lines[1:], start=2):
        record = _record(line, f"{where}:{number}")
        row = IndexRow.from_record(record)
        if row.row >= header.samples:
            raise record.refuse(f"there are {header.samples} samples", "row", hint=_HINT)
        rows[row.row] = row
    return ProofIndex(header, rows, bool(rest))


def _record(line: bytes, where: str) -> Record:
    return Record(loads(line, where=where, floats=True, error=UsageError, code=_CODE), where, error=UsageError, code=_CODE)


def _digest(record: Record, name: str) -> Sha256 | None:
    value = record.take(name)
    if value is not None and not is_sha256(value):
        raise record.refuse("expected 64 lower-case hex digits (SHA-256), or null", name)
    return None if value is None else Sha256(value)


def _numbers(record: Record, name: str) -> tuple[float, ...]:
    def one(value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(_CODE, "expected a number", where=place)
        return value

    return record.array(name, one)


def first_difference(ours: IndexHeader, theirs: IndexHeader) -> str:
    """In words, the first thing in which a run that is to be continued differs; empty when there is none."""
    fields: Sequence[tuple[str, str]] = (
        ("engine", "the engine"),
        ("model_sha256", "the model"),
        ("circuit", "the circuit's name"),
        ("section_sha256", "the compiled circuit"),
        ("samples", "the number of samples"),
        ("inputs_sha256", "the inputs"),
        ("context_per_sample", "--context-per-sample"),
        ("context", "the context"),
        ("signers", "the signing keys"),
    )
    for name, words in fields:
        if getattr(ours, name) != getattr(theirs, name):
            return words
    return ""
