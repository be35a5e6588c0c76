"""Texts of tokens in the second verifier: the first one's, letter for letter, and of hostile tokenizers the same refusals."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.language_models import byte_tokenizer, word_tokenizer
from tests.support.paths import ROOT
from tests.support.second_reader import SecondVerifier, first_verifier
from verifai.domain.tokenizer import SCHEMA, parse_tokenizer
from verifai.errors import UsageError

pytestmark = pytest.mark.js
ANSWER = ROOT / "fixtures" / "bundles" / "sumcheck-2-answer"
ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, 2**70, "", "x", "##", "\u202e", "<0x41>", [], ["x"], {}, {"type": "ByteLevel"})


@pytest.fixture(scope="module")
def second() -> Iterator[SecondVerifier]:
    verifier = SecondVerifier()
    yield verifier
    verifier.close()


def file_of(document: dict[str, Any], **fields: Any) -> bytes:
    whole = {"schema": SCHEMA, "tokenizer": document, "pad": 0, "ends": [], "chat_template": "", **fields}
    return json.dumps(whole, ensure_ascii=False).encode()


def space_tokenizer() -> dict[str, Any]:
    """Tokens with a mark for spaces and bytes by number, some of which only look like that, as Llama has them."""
    pieces = [
        "<s>",
        "▁the",
        "▁",
        "a▁b",
        "<0x41>",
        "<0xC3>",
        "<0xa9>",
        "<0x+1>",
        "<0x 1>",
        "<0x٣٣>",
        "<0x1_>",
        "<0x41>x",
        "é",
        "😀",
    ]
    document = byte_tokenizer()
    end = {**document["added_tokens"][0], "id": 0, "content": "<s>"}
    model = {"type": "BPE", "vocab": {piece: number for number, piece in enumerate(pieces)}, "merges": []}
    return {**document, "added_tokens": [end], "pre_tokenizer": None, "decoder": {"type": "Fuse"}, "model": model}


KINDS = {"words": word_tokenizer, "bytes": byte_tokenizer, "spaces": space_tokenizer}


def rows_of(random: Random) -> list[list[int]]:
    """Tokens to tell: all of them, padding at the end and before it, some that are none, and some at random."""
    rows = [
        list(range(260)),
        list(range(260))[::-1],
        [],
        [0, 0],
        [5, 0, 6, 0, 0],
        [-1, 10**6, 2**40, 2**62],
        [0, 1, 2, 3, 256, 0xC3],
    ]
    return rows + [[random.randrange(-2, 262) for _ in range(40)] for _ in range(20)]


def both(second: SecondVerifier, folder: Path, data: bytes, rows: list[list[int]], why: object = "") -> dict[str, Any]:
    (folder / "tokenizer.json").write_bytes(data)
    try:
        found = parse_tokenizer(data, "tokenizer.json")
        first: dict[str, Any] = {"texts": [found.text(row, filled=filled).words() for row in rows for filled in (True, False)]}
    except UsageError as problem:
        first = {"refused": problem.code}
    assert second.ask_plain({"tokenizer": str(folder / "tokenizer.json"), "tokens": rows}) == first, why
    return first


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_token_has_the_same_text_in_both(second: SecondVerifier, tmp_path: Path, kind: str) -> None:
    told = both(second, tmp_path, file_of(KINDS[kind]()), rows_of(Random(1)))["texts"]
    assert len(set(told)) > 20
    assert any("\\\\x" in one for one in told) == (kind != "words"), "bytes that are no UTF-8 are escaped"


def test_a_mark_that_ordinary_tokens_spell_is_told_apart_in_both(second: SecondVerifier, tmp_path: Path) -> None:
    data = file_of(byte_tokenizer())
    number = {piece: at for at, piece in enumerate(parse_tokenizer(data, "t").pieces)}
    row = [number[bytes([byte])] for byte in b"<|end|>x<|end|>"]
    told = both(second, tmp_path, data, [row, [*row, 256], [256]])["texts"]
    assert ["no special token" in one for one in told] == [True, True, True, True, False, False]


def places_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every field; of a vocabulary a few."""
    if path:
        yield path
    if isinstance(value, dict):
        names = list(value) if "vocab" not in path else list(value)[:3]
        for name in names:
            yield from places_of(value[name], (*path, name))
    elif isinstance(value, list):
        for at, one in enumerate(value[:2]):
            yield from places_of(one, (*path, at))


@pytest.mark.parametrize("kind", list(KINDS))
def test_hostile_tokenizers_are_refused_or_told_alike(second: SecondVerifier, tmp_path: Path, kind: str) -> None:
    whole = json.loads(file_of(KINDS[kind]()))
    rows = rows_of(Random(2))[:8]
    refused = taken = 0
    for path in places_of(whole):
        for odd in (*ODD, "delete", "double"):
            changed = copy.deepcopy(whole)
            holder = changed
            for step in path[:-1]:
                holder = holder[step]
            if odd == "delete":
                del holder[path[-1]]
            elif odd == "double" and isinstance(holder, list):
                holder.append(holder[path[-1]])
            else:
                holder[path[-1]] = odd
            told = both(second, tmp_path, json.dumps(changed).encode(), rows, (path, odd))
            refused, taken = refused + ("refused" in told), taken + ("texts" in told)
    assert refused > 100 and taken > 50


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"\xff", b"\xef\xbb\xbf{}",
        file_of(word_tokenizer())[:-1], file_of(word_tokenizer()) + b" x",
        file_of(word_tokenizer()).replace(b'"pad": 0', b'"pad": 0, "pad": 1'),
        file_of(word_tokenizer()).replace(b'"pad": 0', b'"pad": 0.0'),
        file_of(word_tokenizer()).replace(b'"pad": 0', b'"pad": 1e999'),
        file_of(word_tokenizer()).replace(b'"the"', b'"\\ud800"'),
        file_of(word_tokenizer(), chat_template="x" * 65_537),
        file_of({**word_tokenizer(), "deep": json.loads("[" * 70 + "]" * 70)}),
        file_of({**byte_tokenizer(), "decoder": {"type": "Fuse", "decoders": [{"type": "ByteLevel"}]}}),
        file_of({**byte_tokenizer(), "decoder": {"type": "Fuse", "decoders": 5}}),
    ],
)  # fmt: skip
def test_broken_files_are_refused_alike(second: SecondVerifier, tmp_path: Path, data: bytes) -> None:
    both(second, tmp_path, data, [[1, 2]])


# --- a proven answer --------------------------------------------------------------------------------------------------------


def test_a_proven_answer_is_accepted_and_told_alike(second: SecondVerifier) -> None:
    first = first_verifier(ANSWER / "answer.vbundle", ANSWER / "circuit.lock")
    other = second.ask(ANSWER / "answer.vbundle", ANSWER / "circuit.lock")
    assert (other.status, first.status, other.statement) == (0, 0, first.statement)
    assert ("answer-linked", "holds") in other.codes
    assert first.statement["tensors"][0]["text"] == "The capital of France is Paris."


@pytest.mark.parametrize("how", ["absent", "another", "too-large"])
def test_without_the_pinned_tokenizer_tokens_stay_numbers_and_the_verdict_stands(
    second: SecondVerifier, tmp_path: Path, how: str
) -> None:
    shutil.copy(ANSWER / "circuit.lock", tmp_path)
    if how != "absent":
        data = (ANSWER / "tokenizer.json").read_bytes()
        (tmp_path / "tokenizer.json").write_bytes(data + b" " * (1 if how == "another" else 2**25))
    other = second.ask(ANSWER / "answer.vbundle", tmp_path / "circuit.lock")
    assert other.status == 0
    assert all("text" not in one and one["values"] for one in other.statement["tensors"])


def test_figures_of_language_models_in_a_lock_are_read_alike(second: SecondVerifier, tmp_path: Path) -> None:
    lines = (ANSWER / "circuit.lock").read_text().splitlines()
    start = lines.index("[engine.sumcheck.fidelity]")
    stop = next(at for at in range(start, len(lines)) if lines[at] == "[[engine.sumcheck.scales]]")
    unclamped = lines.index("unclamped = true")
    statuses = set()
    for at in (unclamped, *range(start, stop)):
        name = lines[at].partition(" = ")[0]
        if " = " not in lines[at]:
            continue
        for new in (
            [],
            [f"{name} = 1"],
            [f"{name} = -1"],
            [f"{name} = false"],
            [f'{name} = "classification"'],
            [lines[at], "more = 1"],
        ):
            (tmp_path / "circuit.lock").write_text("\n".join([*lines[:at], *new, *lines[at + 1 :]]) + "\n")
            first = first_verifier(ANSWER / "answer.vbundle", tmp_path / "circuit.lock")
            other = second.ask(ANSWER / "answer.vbundle", tmp_path / "circuit.lock")
            assert (other.status, other.failed) == (first.status, first.failed), (name, new)
            statuses.add(first.status)
    assert statuses == {1, 2}
