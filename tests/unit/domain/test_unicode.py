"""Text is read alike by every supported Python, and by those to come."""

from __future__ import annotations

import hashlib
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest

from tools.unicode_table import page
from verifai.domain import unicode_14
from verifai.domain.unicode_14 import fold_compatible, is_printable, words
from verifai.domain.unicode_table import ASSIGNED, HIDDEN, VERSION

FOLDED = "5237568fd852377b4eae13d34a9a823eb199da02235d88b665fb2c5651e0902c"
SHOWN = "d35af14b1f8ed4ab975f5086bf4fbbee8f32e282bdb2c0009fce68dc03253494"
POINTS = [point for point in range(sys.maxunicode + 1) if not 0xD800 <= point <= 0xDFFF]
HERE = unicodedata.unidata_version == VERSION


def test_the_table_is_what_the_tool_writes() -> None:
    if not HERE:
        pytest.skip(f"this Python has Unicode {unicodedata.unidata_version}")
    from verifai.domain import unicode_table

    assert Path(str(unicode_table.__file__)).read_text(encoding="utf-8") == page()


def test_every_character_is_folded_as_unicode_14_folds_it() -> None:
    """On any Python: the digest was taken with the tables of 14.0."""
    digest = hashlib.sha256()
    for point in POINTS:
        digest.update(fold_compatible(chr(point)).encode() + b"\x00")
    assert digest.hexdigest() == FOLDED


def test_every_character_is_printable_where_unicode_14_says_so() -> None:
    assert hashlib.sha256(bytes(is_printable(chr(point)) for point in POINTS)).hexdigest() == SHOWN


@pytest.mark.skipif(not HERE, reason="compares with this Python's own tables, which must be those of 14.0")
def test_on_the_oldest_python_nothing_changed() -> None:
    for point in POINTS:
        char = chr(point)
        assert fold_compatible(char) == unicodedata.normalize("NFKC", char).casefold()
        assert is_printable(char) == char.isprintable()
        assert words(f"a{char}b") == f"a{char}b".split()


class Later:
    """Unicode tables of the future: what 14.0 does not assign decomposes, composes, folds to something."""

    @staticmethod
    def normalize(form: str, text: str) -> str:
        changed = "".join("x" if unicodedata.category(char) == "Cn" or char == "\U0001e030" else char for char in text)
        return unicodedata.normalize(form, changed)


@pytest.mark.parametrize(
    "text",
    ["Letter \U0001e030 in a sentence", "\u0378\U000e0fff\ufdd0", "A\u030a\U0001e030\u0301E\u0301", "Ｆｕｌｌ \u0378 \u1e9e"],
)
def test_a_later_table_changes_nothing(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fold_compatible(text)
    monkeypatch.setattr(unicode_14, "unicodedata", Later)
    assert fold_compatible(text) == before


def test_a_character_of_tomorrow_is_kept_and_counts_as_not_printable() -> None:
    assert fold_compatible("\U0001e030") == "\U0001e030"
    assert not is_printable("a\U0001e030")
    assert is_printable("a é 漢 🙂")
    for hidden in ("\u202e", "\u200b", "\xa0", "\ue000", "\x7f", "\ud800"):
        assert not is_printable(f"a{hidden}"), ascii(hidden)


def test_the_ranges_are_in_order_and_apart() -> None:
    for listed in (ASSIGNED, HIDDEN):
        ends = [[int(end, 16) for end in one.split("-")] for one in listed.split()]
        assert all(one[-1] + 1 < other[0] for one, other in pairwise(ends))
