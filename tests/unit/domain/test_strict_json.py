"""Strict JSON refuses whatever two readers could understand differently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifai.domain import strict_json
from verifai.errors import EvidenceRejected, UsageError

REFUSED = {
    "empty": b"",
    "two values": b"1 2",
    "duplicate key": b'{"a": 1, "a": 1}',
    "nested duplicate": b'{"x": [{"a": 1, "\\u0061": 2}]}',
    "NaN": b"[NaN]",
    "Infinity": b"[Infinity]",
    "minus Infinity": b"[-Infinity]",
    "overflowing float": b"[1e999]",
    "a float": b"[1.5]",
    "an exponent": b"[1e3]",
    "byte order mark": b"\xef\xbb\xbf{}",
    "invalid UTF-8": b'"\xff"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "lone surrogate": b'"\\ud800"',
    "lone surrogate in a key": b'{"\\ud800": 1}',
    "trailing comma": b"[1,]",
    "comment": b"// x\n1",
    "single quotes": b"{'a': 1}",
    "deep": b"[" * 65 + b"]" * 65,
    "very deep": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 70 + b"1" + b"}" * 70,
    "huge integer": b"1" * 5000,
    "control character": b'"\x01"',
    "trailing bytes": b"{}\x00",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_with_the_place(data: bytes) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        strict_json.loads(data, where="proof.json")
    assert caught.value.where == "proof.json"
    assert caught.value.code == "malformed"


def test_brackets_inside_strings_are_not_depth() -> None:
    text = '"' + "[" * 500 + '\\""'
    assert strict_json.loads(text.encode(), where="x") == "[" * 500 + '"'


def test_the_size_limit_is_exact() -> None:
    assert strict_json.loads(b"[1,2]", where="x", max_bytes=5) == [1, 2]
    with pytest.raises(EvidenceRejected, match="limit of 4"):
        strict_json.loads(b"[1,2]", where="x", max_bytes=4)


def test_configuration_errors_are_usage_errors() -> None:
    with pytest.raises(UsageError):
        strict_json.loads(b"{", where="x", error=UsageError, code="bad-spec")


def test_floats_are_allowed_where_asked_but_stay_finite() -> None:
    assert strict_json.loads(b"[1.5, 2]", where="x", floats=True) == [1.5, 2]
    with pytest.raises(EvidenceRejected):
        strict_json.loads(b"[1e999]", where="x", floats=True)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_escape_as_another_error(data: bytes) -> None:
    try:
        strict_json.loads(data, where="x")
    except EvidenceRejected:
        return


def _depth_by_letters(text: str) -> int:
    """The definition, a letter at a time."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            escaped, in_string = not escaped and char == "\\", escaped or char != '"'
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


@given(st.text(alphabet='"\\[]{}a\n', max_size=40))
def test_the_depth_is_measured_before_the_parser_sees_anything(text: str) -> None:
    assert strict_json._depth(text) == _depth_by_letters(text)


LONG = {"open": '"' + '\\"' * 400_000 + "\\", "empty": '"' * 800_000, "escaped": '"\\' * 400_000}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_measuring_takes_time_in_proportion(text: str) -> None:
    # A search that began again at each quote would take hours.
    assert strict_json._depth(text) == 0
