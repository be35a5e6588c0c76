"""A tokenizer as a value: which text each token of a language model stands for. Standard library only.

A proof is about token numbers. Their text is derived from them, by the tokenizer whose digest the lock pins, in every report;
never the other way round. Turning text into tokens happens before a proof and needs a library (:mod:`verifai.tokenization`).

The file holds the tokenizer as Hugging Face's library ``tokenizers`` stores it (``tokenizer.json``), of which the parts that
are known and cost no more than the text is long are taken.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.domain.strict_json import loads
from verifai.errors import UsageError

SCHEMA = "verifai/tokenizer/v1"
CODE = "bad-tokenizer"
MAX_BYTES = 32 * 1024 * 1024
MAX_TOKENS = 1 << 20
MAX_TEMPLATE = 1 << 16
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
SUFFIX = ".tokenizer.json"
"""After a model's name: the tokenizer that export found with it."""
FILE = "tokenizer.json"
"""Beside a lock: the tokenizer that the lock pins."""

TOKENS = "tokens"
"""The input of exported language models: token numbers, int32 of shape (1, positions)."""
PROMPT = "prompt"
"""Of a decoder whose first positions are an input of their own: these, int32 of shape (1, positions of the prompt); the input
:data:`TOKENS` has the others then."""
NEXT_TOKENS = "next_tokens"
"""Output of an exported decoder: at each position the token that greedy decoding puts next, int64 of shape (1, positions);
where there is an input :data:`PROMPT`, of its last position and those behind it."""

_NORMALIZERS = frozenset(
    {"Sequence", "BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Prepend", "Replace"}
)
_PRE_TOKENIZERS = frozenset(
    {"Sequence", "ByteLevel", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Digits", "Metaspace", "Split"}
)
_POST_PROCESSORS = frozenset({"Sequence", "TemplateProcessing", "ByteLevel", "BertProcessing", "RobertaProcessing"})
_DECODERS = frozenset({"Sequence", "ByteLevel", "WordPiece", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"})
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = frozenset({_WORDS, f"{_CONTRACTIONS}\\p{{N}}{_REST}", f"{_CONTRACTIONS}\\p{{N}}{{1,3}}{_REST}"})
"""Splitting patterns that are taken: of GPT-2, Qwen2 and Llama 3. Any other could take exponential time."""


class Joining(StrEnum):
    """How the texts of tokens become one text."""

    BYTES = "byte-level"
    WORDS = "word-piece"
    SPACES = "metaspace"


@dataclass(frozen=True, slots=True)
class TokenText:
    """The text of a sequence of tokens.

    Attributes:
        text: of all but the padding at the end, special tokens included.
        padding: how many times the padding token follows.
        pad: its text.
        spelled: how often ordinary tokens spell a special one, by its text. The model took that for plain text: no turn ended
            there, and nobody else began to speak.
    """

    text: str
    padding: int
    pad: str
    spelled: Mapping[str, int] = field(default_factory=dict)

    def words(self) -> str:
        """For one line: quoted, with control characters and quotes escaped."""
        return f"{json.dumps(self.text, ensure_ascii=False)}{self._after()}"

    def lines(self) -> tuple[str, ...]:
        """The same, each line of the text quoted on one of its own: what a line holds cannot pass for one of ours."""
        lines = _LINE.findall(self.text) or [""]
        quoted = [json.dumps(line, ensure_ascii=False) for line in lines]
        return (*quoted[:-1], f"{quoted[-1]}{self._after()}")

    def _after(self) -> str:
        padded = f", then {self.padding} × {json.dumps(self.pad, ensure_ascii=False)}" if self.padding else ""
        return f"{padded}{self.spelled_words()}"

    def spelled_words(self) -> str:
        """What only looks like a special token, to stand behind the text; empty where nothing does."""
        counts = ", ".join(f"{count:,} × {json.dumps(text, ensure_ascii=False)}" for text, count in self.spelled.items())
        return f"; {counts} in it spelled by ordinary tokens, no special token" if counts else ""


@dataclass(frozen=True)
class Tokenizer:
    """A parsed tokenizer.

    Attributes:
        sha256: digest of the file.
        document: the tokenizer as the library ``tokenizers`` reads it.
        joining: how texts of tokens are joined.
        pieces: of each token, its text or its bytes.
        special: numbers of tokens that are no text, such as ends.
        pad: the token that fills positions after the end.
        ends: tokens that end an answer.
        chat_template: in the language Jinja2; empty when there is none.
    """

    sha256: Sha256
    document: Mapping[str, Any]
    joining: Joining
    pieces: tuple[bytes, ...]
    special: frozenset[int]
    pad: int
    ends: frozenset[int]
    chat_template: str

    def piece(self, token: int) -> str:
        """One token's text; a number that is no token says so."""
        return self._bytes(token).decode("utf-8", errors="backslashreplace")

    def text(self, tokens: Sequence[int], *, filled: bool = True) -> TokenText:
        """The text that the tokens stand for. Bytes that are no UTF-8 are escaped, not left out.

        Args:
            filled: whether padding at the end is told apart from the text.
        """
        count = len(tokens)
        while filled and count and tokens[count - 1] == self.pad:
            count -= 1
        joined = b"".join(self._joined(token, first=at == 0) for at, token in enumerate(tokens[:count]))
        text = joined.decode("utf-8", errors="backslashreplace")
        return TokenText(text, len(tokens) - count, self.piece(self.pad), self._spelled(joined, tokens[:count]))

    def _spelled(self, joined: bytes, tokens: Sequence[int]) -> dict[str, int]:
        """By the text of a special token, how often it stands in ``joined`` without that token."""
        there = Counter(token for token in tokens if token in self._marks)
        found = {}
        for mark, piece in self._marks.items():
            if not (count := joined.count(piece)):  # of nearly all of them: a tokenizer may have many
                continue
            own = sum(times * self._marks[token].count(piece) for token, times in there.items())
            if count > own:
                found[self.piece(mark)] = count - own
        return found

    @cached_property
    def _marks(self) -> dict[int, bytes]:
        """The tokens that people take for marks in a text when they read them: special ones, and those that end texts."""
        marks = {token: self.pieces[token] for token in sorted(self.special | self.ends)}
        return {token: piece for token, piece in marks.items() if len(piece.strip()) > 1}

    def _bytes(self, token: int) -> bytes:
        return self.pieces[token] if 0 <= token < len(self.pieces) else f"<no token {token}>".encode()

    def _joined(self, token: int, *, first: bool) -> bytes:
        data = self._bytes(token)
        if self.joining is not Joining.WORDS:
            return data
        if data.startswith(b"##") and token not in self.special:
            return data[2:]
        return data if first else b" " + data


@dataclass(frozen=True, slots=True)
class TokenPin:
    """What a lock says of a circuit's tokenizer.

    Attributes:
        sha256: digest of its file.
        tensors: the inputs and outputs whose integers are its tokens.
        next: of a decoder, the output that holds what greedy decoding puts next, for the last positions of all inputs one
            after another; empty where the model is none.
        pad, ends: of a decoder, the token that fills positions behind the end, and those that end a text, in order.
    """

    sha256: Sha256
    tensors: tuple[str, ...]
    next: str = ""
    pad: int = 0
    ends: tuple[int, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """As TOML values; the inverse of :func:`pin_of`."""
        document: dict[str, Any] = {"sha256": self.sha256, "tensors": list(self.tensors)}
        return {**document, "next": self.next, "pad": self.pad, "ends": list(self.ends)} if self.next else document


def pin_of(table: Record) -> TokenPin:
    """Read ``[circuit.tokenizer]`` of a lock. Raises the record's error, with the field named."""
    pin = TokenPin(table.sha256("sha256"), names_of(table))
    if table.has("next"):
        pin = TokenPin(
            pin.sha256,
            pin.tensors,
            next=table.text("next", max_length=512),
            pad=table.integer("pad", low=0, high=MAX_TOKENS),
            ends=table.array("ends", number_of(table), max_length=64),
        )
        if pin.next not in pin.tensors or list(pin.ends) != sorted(set(pin.ends)):
            raise table.refuse("expected one of the tensors, and ends in order, each once", "next")
    table.done()
    return pin


def names_of(table: Record) -> tuple[str, ...]:
    """The field ``tensors``: names, each once, at least one. Raises the record's error."""

    def one(value: Any, place: str) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= 512:
            raise table.refuse("expected the name of a tensor", place.removeprefix(f"{table.where}."))
        return value

    names = table.array("tensors", one, max_length=64)
    if not names or len(set(names)) < len(names):
        raise table.refuse("expected names of tensors, each once", "tensors")
    return names


def tokenizer_bytes(document: Mapping[str, Any], *, pad: int, ends: Sequence[int], chat_template: str, size: int) -> bytes:
    """The file of a tokenizer: one spelling for equal contents.

    Args:
        size: rows of the model's embedding; a tokenizer with more tokens does not fit.

    Raises:
        UsageError: ``bad-tokenizer``, when it has a part that is not taken.
    """
    # Lengths are the caller's business: nothing is cut off or filled in silence.
    whole = {**document, "truncation": None, "padding": None}
    file = {
        "schema": SCHEMA,
        "tokenizer": whole,
        "pad": pad,
        "ends": sorted(set(ends)),
        "chat_template": chat_template,
    }
    data = json.dumps(file, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass")
    found = parse_tokenizer(data, "the tokenizer")
    if len(found.pieces) > size:
        raise UsageError(CODE, f"it has {len(found.pieces):,} tokens, and the model knows {size:,}", where="the tokenizer")
    return data


def parse_tokenizer(data: bytes, where: str) -> Tokenizer:
    """Read a tokenizer's file.

    Raises:
        UsageError: ``bad-tokenizer``, with the part named.
    """
    record = Record(
        loads(data, where=where, floats=True, max_bytes=MAX_BYTES, error=UsageError, code=CODE),
        where,
        error=UsageError,
        code=CODE,
    )
    record.text("schema", pattern=SCHEMA.replace(".", r"\."))
    document = record.take("tokenizer")
    pad = record.integer("pad", low=0, high=MAX_TOKENS)
    ends = record.array("ends", number_of(record), max_length=64)
    template = record.text("chat_template", empty=True, max_length=MAX_TEMPLATE)
    record.done()
    if not isinstance(document, Mapping):
        raise record.refuse("expected an object", "tokenizer")
    joining = _joining(document, where)
    pieces, special = _pieces(document, joining, where)
    for token in (pad, *ends):
        if token >= len(pieces):
            raise record.refuse(f"there is no token {token}", "pad or ends")
    return Tokenizer(sha256(data), document, joining, pieces, special, pad, frozenset(ends), template)


def number_of(record: Record) -> Any:
    """For :meth:`~verifai.domain.record.Record.array`: reads a token's number."""

    def one(value: Any, place: str) -> int:
        if type(value) is not int or not 0 <= value <= MAX_TOKENS:
            raise record.refuse("expected the number of a token", place.removeprefix(f"{record.where}."))
        return value

    return one


def _refused(message: str, where: str) -> UsageError:
    return UsageError(CODE, message, where=where, hint="Give texts as token numbers instead, or use another model.")


def _joining(document: Mapping[str, Any], where: str) -> Joining:
    """How the texts of its tokens are joined; every part must be known."""
    parts = (("normalizer", _NORMALIZERS), ("pre_tokenizer", _PRE_TOKENIZERS), ("post_processor", _POST_PROCESSORS))
    for name, known in (*parts, ("decoder", _DECODERS)):
        _check_part(document.get(name), known, f"{where}: {name}", 0)
    found = document.get("model")
    model: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    kind = model.get("type")
    if kind not in ("BPE", "WordPiece"):
        raise _refused(f"a model of the type {str(kind)[:40]!r} is not taken (BPE and WordPiece are)", where)
    if kind == "WordPiece":
        if model.get("continuing_subword_prefix", "##") != "##":
            raise _refused("words that go on are not marked by ##", where)
        return Joining.WORDS
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _refused("marks of words inside tokens are not taken", where)
    return Joining.BYTES if _has_part(document.get("decoder"), "ByteLevel") else Joining.SPACES


def _check_part(part: Any, known: frozenset[str], where: str, depth: int) -> None:
    if part is None:
        return
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in known or depth > 2:
        raise _refused(f"a part of the type {str(kind)[:40]!r} is not taken", where)
    for inner in ("normalizers", "pretokenizers", "processors", "decoders"):
        listed = part.get(inner, []) if kind == "Sequence" else []
        if not isinstance(listed, list) or len(listed) > 16:
            raise _refused("a sequence of too many parts", where)
        for one in listed:
            _check_part(one, known, where, depth + 1)
    pattern = part.get("pattern")
    if pattern is not None:
        fixed = isinstance(pattern, Mapping) and len(pattern) == 1
        text = next(iter(pattern.values())) if fixed else None
        plain = fixed and "String" in pattern and isinstance(text, str) and 0 < len(text) <= 16
        if not plain and not (fixed and "Regex" in pattern and isinstance(text, str) and text in PATTERNS):
            raise _refused("a splitting pattern that is not known, so what it costs is not known either", where)


def _has_part(part: Any, kind: str) -> bool:
    if not isinstance(part, Mapping):
        return False
    inner = part.get("decoders", ()) if part.get("type") == "Sequence" else ()  # which is a list: it was checked before
    return part.get("type") == kind or any(_has_part(one, kind) for one in inner)


def _pieces(document: Mapping[str, Any], joining: Joining, where: str) -> tuple[tuple[bytes, ...], frozenset[int]]:
    """Of each token its bytes; and which are special. Numbers run from 0 without gaps, each once."""
    vocabulary = document["model"].get("vocab")
    added = document.get("added_tokens") or []
    if not isinstance(vocabulary, Mapping) or not isinstance(added, list) or len(vocabulary) + len(added) > MAX_TOKENS:
        raise _refused("it has no vocabulary, or one that is too large", where)
    contents = (token.get("content") for token in added if isinstance(token, Mapping))
    listed = {text for text in contents if isinstance(text, str)}
    found: dict[int, bytes] = {}
    for text, number in vocabulary.items():
        if type(number) is not int or not 0 <= number < MAX_TOKENS or number in found:
            raise _refused(f"the token {str(text)[:40]!r} has no number of its own", where)
        found[number] = text.encode() if text in listed else _plain(text, joining, where)
    special = set()
    for token in added:
        number, text = (token.get("id"), token.get("content")) if isinstance(token, Mapping) else (None, None)
        if type(number) is not int or not isinstance(text, str) or not text or not 0 <= number < MAX_TOKENS:
            raise _refused("an added token without number or text", where)
        # One that stands in the vocabulary too has its number there; the library would give others a number of its own.
        if vocabulary.get(text, number) != number or (number in found and vocabulary.get(text) != number):
            raise _refused(f"the added token {text[:40]!r} has the number of another", where)
        found[number] = text.encode()
        if token.get("special") is True:
            special.add(number)
    if sorted(found) != list(range(len(found))):
        raise _refused("the numbers of its tokens have gaps", where)
    return tuple(found[number] for number in range(len(found))), frozenset(special)


def byte_letters() -> dict[str, int]:
    """The printable letter that GPT-2's byte-level tokenizers write for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(rest)}


# Letters that stand for no byte go where Latin-1 does not reach.
_LETTERS = str.maketrans({chr(code): "\uffff" for code in range(256)} | {x: chr(byte) for x, byte in byte_letters().items()})
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _plain(text: str, joining: Joining, where: str) -> bytes:
    if joining is Joining.BYTES:
        try:
            return text.translate(_LETTERS).encode("latin-1")
        except UnicodeEncodeError:
            raise _refused(f"the token {text[:40]!r} is not written in letters for bytes", where) from None
    if joining is Joining.SPACES:
        byte = _BYTE.fullmatch(text)  # int() would take signs, spaces and digits of other scripts for a byte as well
        return bytes.fromhex(byte[1]) if byte else text.replace("▁", " ").encode()
    return text.encode()
