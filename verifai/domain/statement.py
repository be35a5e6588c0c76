"""The statement: what a piece of evidence claims, in terms that do not depend on who made it.

A statement is *decoded* from authenticated data (a proof's public instances, a transcript), never read from a description
that travels beside it (architecture, invariant 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from itertools import cycle
from math import prod
from typing import Any

from verifai.domain import ordered_floats
from verifai.domain.digest import Sha256, is_sha256, sha256, short
from verifai.domain.generation import MARK, Generation
from verifai.domain.record import Record
from verifai.errors import UsageError


class EngineName(StrEnum):
    """The proof engines; each has one implementation in ``verifai.engines.registry``."""

    EZKL = "ezkl"
    SUMCHECK = "sumcheck"


class Visibility(StrEnum):
    """Who learns a tensor.

    ``hashed`` means *bound to a digest*; what that hides depends on the engine and is always printed.
    """

    PUBLIC = "public"
    PRIVATE = "private"
    HASHED = "hashed"


class WeightVisibility(StrEnum):
    """How the model's weights are bound.

    ``public``: the verifier knows them or their digest; ``withheld``: fixed in the verification key, the ONNX not handed
    over; ``committed``: bound by a commitment root; ``private``: bound by a hiding commitment root; values hidden.
    """

    PUBLIC = "public"
    WITHHELD = "withheld"
    COMMITTED = "committed"
    PRIVATE = "private"


class Role(StrEnum):
    """Which side of the model a tensor is on."""

    INPUT = "input"
    OUTPUT = "output"


class Encoding(StrEnum):
    """What a tensor's integers stand for.

    ``linear``: (q − zero_point) · scale. ``float32``: the float32 number with this place in their order
    (:mod:`verifai.domain.ordered_floats`), exactly; scale is 1 and zero_point 0 then.
    """

    LINEAR = "linear"
    FLOAT32 = "float32"


class Privacy(StrEnum):
    """What the proof hides."""

    ZERO_KNOWLEDGE = "zero-knowledge"
    ZERO_KNOWLEDGE_UNAUDITED = "zero-knowledge, unaudited"
    INTEGRITY_ONLY = "integrity-only (not zero-knowledge)"


MAX_STATED = 1 << 16
"""Cells of a public tensor that a signed document lists, at most; of more it holds the digest, the proof's files the cells."""
MAX_COLUMNS = 4096
"""No tensor has scales for more columns."""
MAX_COLUMN_ZERO_POINT = 2**52


@dataclass(frozen=True, slots=True)
class Column:
    """How one column of a table's row is represented: real value = (quantised − zero_point) · scale."""

    scale: Fraction
    zero_point: int

    def to_json(self) -> list[str]:
        """Numerator, denominator and zero point, in decimal."""
        return [str(self.scale.numerator), str(self.scale.denominator), str(self.zero_point)]


@dataclass(frozen=True, slots=True)
class TensorStatement:
    """What is claimed about one input or output.

    Attributes:
        shape: true sizes, row-major.
        scale: real value = (quantised − zero_point) · scale.
        quantised: all cells, row-major, signed integers; only when public.
        quantised_sha256: their :func:`cells_digest`, in their place, in an attested statement of a tensor with more than
            ``MAX_STATED`` cells; see :meth:`attested`.
        digest: hex of the binding digest; only when hashed.
        digest_scheme: how ``digest`` was made, such as ``ezkl-poseidon``.
        columns: one per place of the last axis, when each has a scale of its own; ``scale`` is 1 and ``zero_point`` 0 then.
        stored: the model's tensor is itself of integers, which stand for reals under ``scale`` and ``zero_point``: its values
            are the integers. Never set where both are the same.
        batch: how many items the circuit takes, where one proof is of several inferences; 0 where it is of one. The first axis
            of ``shape`` counts those that were claimed then, ``batch`` at most, and the others are the model's. What fills a
            batch beyond them repeats the last one; a digest is of all ``batch`` items.
        encoding: what the integers stand for.
    """

    role: Role
    name: str
    shape: tuple[int, ...]
    visibility: Visibility
    scale: Fraction
    zero_point: int = 0
    quantised: tuple[int, ...] | None = None
    digest: str | None = None
    digest_scheme: str | None = None
    columns: tuple[Column, ...] = ()
    stored: bool = False
    batch: int = 0
    quantised_sha256: Sha256 | None = None
    encoding: Encoding = Encoding.LINEAR

    def __post_init__(self) -> None:
        if self.columns and (not self.shape or len(self.columns) != self.shape[-1]):
            raise ValueError(f"{self.name}: {len(self.columns)} columns for shape {self.shape}")
        if self.columns and (self.scale != 1 or self.zero_point != 0):
            raise ValueError(f"{self.name}: scales of columns stand beside a scale of the whole")
        if self.stored and (self.columns or (self.scale == 1 and self.zero_point == 0)):
            raise ValueError(f"{self.name}: stored integers stand for nothing but themselves")
        if self.encoding is Encoding.FLOAT32:
            if self.columns or self.stored or self.scale != 1 or self.zero_point != 0:
                raise ValueError(f"{self.name}: the integers of float32 numbers have no scale")
            if any(abs(q) > ordered_floats.LARGEST for q in self.quantised or ()):
                raise ValueError(f"{self.name}: an integer stands for no finite float32")
        carried = (self.quantised is not None) + (self.quantised_sha256 is not None)
        if carried != (self.visibility is Visibility.PUBLIC):
            raise ValueError(f"{self.name}: exactly the public tensors carry values")
        if self.quantised_sha256 is not None and prod(self.shape) <= MAX_STATED:
            raise ValueError(f"{self.name}: the digest of {prod(self.shape)} values stands for values that have to be listed")
        if (self.digest is not None) != (self.visibility is Visibility.HASHED):
            raise ValueError(f"{self.name}: exactly the hashed tensors carry a digest")
        if self.quantised is not None and len(self.quantised) != prod(self.shape):
            raise ValueError(f"{self.name}: {len(self.quantised)} values for shape {self.shape}")
        if self.batch and not (self.batch > 1 and self.shape and 1 <= self.shape[0] <= self.batch):
            raise ValueError(f"{self.name}: shape {self.shape} does not count items of a batch of {self.batch}")

    def values(self) -> tuple[float, ...]:
        """The public values as floats, row-major, as in the model's own tensor. Raises ValueError when it is not public."""
        if self.quantised is None:
            what = self.visibility.value if self.quantised_sha256 is None else "stated by its digest"
            raise ValueError(f"{self.name} is {what}, its values are not in the statement")
        if self.stored:
            return tuple(map(float, self.quantised))
        if self.encoding is Encoding.FLOAT32:
            return tuple(map(ordered_floats.real, self.quantised))
        if self.columns:
            pairs = zip(self.quantised, cycle(self.columns))
            return tuple(float((q - column.zero_point) * column.scale) for q, column in pairs)
        return tuple(float((q - self.zero_point) * self.scale) for q in self.quantised)

    def item(self, at: int) -> TensorStatement:
        """Of a batch, the tensor of one of its items. Raises ValueError where its values are stated by their digest."""
        if self.quantised_sha256 is not None:
            raise ValueError(f"{self.name} is stated by its digest, its items are not in the statement")
        size = prod(self.shape[1:])
        cells = None if self.quantised is None else self.quantised[at * size : (at + 1) * size]
        return replace(self, shape=self.shape[1:], quantised=cells, batch=0)

    def attested(self) -> TensorStatement:
        """The same as a signed document holds it: more than ``MAX_STATED`` values by their digest."""
        if self.quantised is None or len(self.quantised) <= MAX_STATED:
            return self
        return replace(self, quantised=None, quantised_sha256=cells_digest(self.quantised))

    def holds(self, cells: Sequence[int]) -> bool:
        """Whether the public values are these."""
        if self.quantised_sha256 is not None:
            return len(cells) == prod(self.shape) and cells_digest(cells) == self.quantised_sha256
        return self.quantised is not None and tuple(cells) == self.quantised

    def to_json(self) -> dict[str, Any]:
        """Integers and strings only, so that it can be signed; of the form that :meth:`attested` has."""
        if self.attested() is not self:
            return self.attested().to_json()
        result: dict[str, Any] = {
            "role": self.role.value,
            "name": self.name,
            "shape": list(self.shape),
            "visibility": self.visibility.value,
            "scale": [str(self.scale.numerator), str(self.scale.denominator)],
            "zero_point": self.zero_point,
        }
        if self.columns:  # else left out: statements that need none keep the bytes that they were signed with
            result["columns"] = [column.to_json() for column in self.columns]
        if self.stored:
            result["stored"] = True
        if self.batch:
            result["batch"] = self.batch
        if self.encoding is not Encoding.LINEAR:
            result["encoding"] = self.encoding.value
        if self.quantised is not None:
            result["quantised"] = [str(q) for q in self.quantised]
        if self.quantised_sha256 is not None:
            result["quantised_sha256"] = self.quantised_sha256
        if self.digest is not None:
            result["digest"] = self.digest
            result["digest_scheme"] = self.digest_scheme
        return result

    @classmethod
    def from_record(cls, record: Record) -> TensorStatement:
        """The inverse of :meth:`to_json`, strict: yields the form that :meth:`attested` has."""
        scale = record.texts("scale", max_length=2)
        quantised = record.texts("quantised", None, max_length=MAX_STATED) if record.has("quantised") else None
        try:
            if len(scale) != 2:
                raise ValueError("scale is not a pair")
            tensor = cls(
                role=record.choice("role", Role),
                name=record.text("name"),
                shape=record.integers("shape", low=1, high=2**31, max_length=9),
                visibility=record.choice("visibility", Visibility),
                scale=Fraction(int(scale[0]), int(scale[1])),
                zero_point=record.integer("zero_point", low=-(2**31), high=2**31),
                quantised=None if quantised is None else tuple(_canonical_int(text) for text in quantised),
                digest=record.text("digest", None),
                digest_scheme=record.text("digest_scheme", None),
                columns=_columns(record),
                stored=_stored(record),
                batch=record.integer("batch", 0, low=2, high=2**31),
                quantised_sha256=record.sha256("quantised_sha256", None),
                encoding=_encoding(record),
            )
        except (ValueError, ZeroDivisionError) as problem:
            raise record.refuse(str(problem)) from None
        record.done()
        return tensor


def cells_digest(cells: Sequence[int]) -> Sha256:
    """SHA-256 of the cells in decimal, row-major, separated by commas, in ASCII."""
    return sha256(",".join(map(str, cells)).encode("ascii"))


def _stored(record: Record) -> bool:
    """Left out, or true. Raises ValueError."""
    if not record.has("stored"):
        return False
    if not record.flag("stored"):
        raise ValueError("`stored` is left out where it is false")
    return True


def _encoding(record: Record) -> Encoding:
    """Left out where it is linear. Raises ValueError."""
    found = record.choice("encoding", Encoding, Encoding.LINEAR.value)
    if record.has("encoding") and found is Encoding.LINEAR:
        raise ValueError("`encoding` is left out where it is linear")
    return found


def _columns(record: Record) -> tuple[Column, ...]:
    """Scales of columns, or none. Raises ValueError, ZeroDivisionError."""
    if not record.has("columns"):
        return ()
    found = record.array("columns", lambda value, _: _column(value), max_length=MAX_COLUMNS)
    if not found:
        raise ValueError("an empty list of columns is left out")
    return found


def _column(entry: object) -> Column:
    if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(text, str) and len(text) <= 400 for text in entry):
        raise ValueError("a column is not three decimal numbers")
    numerator, denominator, zero_point = (_canonical_int(text) for text in entry)
    scale = Fraction(numerator, denominator)
    if scale <= 0 or scale.as_integer_ratio() != (numerator, denominator) or abs(zero_point) > MAX_COLUMN_ZERO_POINT:
        raise ValueError("a column's scale is not a positive fraction in lowest terms, or its zero point is too large")
    return Column(scale, zero_point)


MAX_OPENINGS = 4096
"""No commitment allows more openings."""


@dataclass(frozen=True, slots=True)
class CommitmentOpening:
    """One use of a hiding commitment that allows a limited number of uses. Two proofs with one root and number leak.

    Attributes:
        what: what the commitment binds, such as ``weights`` or a tensor's name, at most 512 characters, as in a lock.
        root: 64 hex digits.
        number: which opening this is, counted from 0.
        budget: how many the commitment allows.
        proof_sha256: of the proof that made the opening, where that is not the bundle's own but one that many bundles carry,
            such as a registration of weights; else None.
    """

    what: str
    root: Sha256
    number: int
    budget: int
    proof_sha256: Sha256 | None = None

    def __post_init__(self) -> None:
        if not self.what or not is_sha256(self.root) or not (self.proof_sha256 is None or is_sha256(self.proof_sha256)):
            raise ValueError("an opening names what it opens, and a root of 64 hex digits")
        if not 0 <= self.number < self.budget <= MAX_OPENINGS:
            raise ValueError(f"opening {self.number} of {self.budget} is not one")

    def words(self) -> str:
        """For people."""
        return f"opening {self.number} of {self.budget} of the commitment to {self.what!r} (root {short(self.root)}…)"

    def to_json(self) -> dict[str, Any]:
        """Integers and strings only, so that it can be signed."""
        document = {"what": self.what, "root": self.root, "number": self.number, "budget": self.budget}
        return document if self.proof_sha256 is None else {**document, "proof_sha256": self.proof_sha256}

    @classmethod
    def from_record(cls, record: Record) -> CommitmentOpening:
        """The inverse of :meth:`to_json`, strict."""
        try:
            opening = cls(
                what=record.text("what", max_length=512),
                root=record.sha256("root"),
                number=record.integer("number", low=0, high=MAX_OPENINGS - 1),
                budget=record.integer("budget", low=1, high=MAX_OPENINGS),
                proof_sha256=record.sha256("proof_sha256", None),
            )
        except ValueError as problem:
            raise record.refuse(str(problem)) from None
        record.done()
        return opening


def _canonical_int(text: str) -> int:
    value = int(text)
    if str(value) != text:
        raise ValueError(f"{text[:40]!r} is not a canonical integer")
    return value


MAX_CONTEXT = 4096
"""Characters of a context at most, in UTF-8 as in every document."""


def check_context(context: str) -> str:
    """A context that a statement can carry. Raises UsageError (``bad-context``)."""
    if len(context) > MAX_CONTEXT:
        message = f"a context has at most {MAX_CONTEXT:,} characters, this one has {len(context):,}"
        raise UsageError("bad-context", message, where="context", hint="Bind the SHA-256 of a long text in its place.")
    if context.startswith(MARK.rstrip("1 ")):
        message = "a context that begins like the lengths of an answer could be taken for them"
        raise UsageError("bad-context", message, where="context", hint="Begin it with another character.")
    try:
        context.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError("bad-context", "the context is not UTF-8 text", where="context", hint="Give it in UTF-8.") from None
    return context


@dataclass(frozen=True, slots=True)
class Statement:
    """One inference, as claimed; or the inferences of a batch, which one proof is of.

    Attributes:
        engine: the proof engine.
        model_sha256: digest of the canonical ONNX model; with committed weights, of the model's architecture document.
        circuit_sha256: digest that identifies the circuit to its engine (ezkl: the verification key; sumcheck: the circuit
            bytes).
        context: the caller's text, such as a nonce; empty when none. ``context_bound`` says whether the proof itself binds
            it, or only the bundle's signature.
        privacy: what the proof hides.
        weights: how the weights are bound.
        openings: every use of a hiding commitment with a limited number of uses that the proof makes.
        generation: that the tokens are prompt and answer, as the proof binds it; whether they are, is for
            :func:`verifai.domain.answer.check_generation` to compute.
    """

    engine: EngineName
    model_sha256: Sha256
    circuit_sha256: Sha256
    tensors: tuple[TensorStatement, ...]
    context: str
    context_bound: bool
    privacy: Privacy
    weights: WeightVisibility
    openings: tuple[CommitmentOpening, ...] = ()
    generation: Generation | None = None

    def __post_init__(self) -> None:
        if len({(one.root, one.number) for one in self.openings}) != len(self.openings):
            raise ValueError("one opening of a commitment is listed twice")
        if len({(one.root, one.budget) for one in self.openings}) != len({one.root for one in self.openings}):
            raise ValueError("one commitment is listed with two budgets")
        if len({(one.batch, one.shape[0] if one.batch else 0) for one in self.tensors}) > 1:
            raise ValueError("the tensors do not agree on the batch")

    def attested(self) -> Statement:
        """The same as a signed document holds it; see :meth:`TensorStatement.attested`. Documents are read as this form."""
        return replace(self, tensors=tuple(tensor.attested() for tensor in self.tensors))

    def of(self, role: Role) -> tuple[TensorStatement, ...]:
        """The inputs or the outputs, in the model's order."""
        return tuple(tensor for tensor in self.tensors if tensor.role == role)

    @property
    def batch(self) -> int:
        """How many inferences the circuit takes at once; 0 where a proof is of one."""
        return self.tensors[0].batch if self.tensors else 0

    @property
    def inferences(self) -> int:
        """How many inferences are claimed."""
        return self.tensors[0].shape[0] if self.batch else 1

    def items(self) -> tuple[Statement, ...]:
        """A statement for each inference, in order: itself, where it is of one.

        What an item's statement says of hidden tensors it says of the whole batch: it was cut out, not proven by itself.
        Raises ValueError where values are stated by their digest.
        """
        if not self.batch:
            return (self,)
        return tuple(replace(self, tensors=tuple(one.item(at) for one in self.tensors)) for at in range(self.inferences))

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only, so that it can be signed; of the form that :meth:`attested` has."""
        document: dict[str, Any] = {
            "engine": self.engine.value,
            "model_sha256": self.model_sha256,
            "circuit_sha256": self.circuit_sha256,
            "tensors": [tensor.to_json() for tensor in self.tensors],
            "context": self.context,
            "context_bound": self.context_bound,
            "privacy": self.privacy.value,
            "weights": self.weights.value,
        }
        if self.openings:  # else left out: statements that need none keep the bytes that they were signed with
            document["openings"] = [opening.to_json() for opening in self.openings]
        if self.generation is not None:
            document["generation"] = self.generation.to_json()
        return document

    @classmethod
    def from_record(cls, record: Record) -> Statement:
        """The inverse of :meth:`to_json`, strict."""
        try:
            statement = cls(
                engine=record.choice("engine", EngineName),
                model_sha256=record.sha256("model_sha256"),
                circuit_sha256=record.sha256("circuit_sha256"),
                tensors=tuple(TensorStatement.from_record(item) for item in record.tables("tensors", max_length=256)),
                context=record.text("context", empty=True, max_length=MAX_CONTEXT),
                context_bound=record.flag("context_bound"),
                privacy=record.choice("privacy", Privacy),
                weights=record.choice("weights", WeightVisibility),
                openings=tuple(CommitmentOpening.from_record(item) for item in record.tables("openings", (), max_length=512)),
                generation=Generation.from_record(record.table("generation")) if record.has("generation") else None,
            )
        except ValueError as problem:
            raise record.refuse(str(problem), "openings") from None
        if record.has("openings") and not statement.openings:
            raise record.refuse("an empty list is left out", "openings")  # one statement, one spelling
        record.done()
        return statement
