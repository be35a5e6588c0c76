"""Strict JSON (RFC 8259) for hostile input: no duplicate keys, no NaN, bounded size and depth, nothing after the value.

A permissive parser lets two readers of one document see two different statements; each refusal here closes one such gap.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from verifai.domain.foreign import other_than
from verifai.errors import EvidenceRejected, VerifaiError

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64


class _Refused(ValueError):
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _Refused(f"the key {key[:80]!r} occurs twice")
        result[key] = value
    return result


def _no_constant(text: str) -> NoReturn:
    raise _Refused(f"{text} is not JSON")


def _no_float(text: str) -> NoReturn:
    raise _Refused(f"the number {text[:40]} is not an integer")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _Refused(f"the number {text[:40]} is out of range")
    return value


_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or what begins as one and has no end. It matches at every quote and never goes back, so its cost is linear."""


def _depth(text: str) -> int:
    # The C parser recurses per level; measuring first keeps the stack out of the sender's hands.
    depth = deepest = 0
    for char in _STRING.sub("", text):
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def loads(
    data: bytes,
    *,
    where: str,
    floats: bool = False,
    max_bytes: int = MAX_BYTES,
    error: type[VerifaiError] = EvidenceRejected,
    code: str = "malformed",
) -> Any:
    """Parse one JSON value from UTF-8 ``data``.

    Args:
        where: the file's name, for the message.
        floats: whether fractional numbers are allowed; signed documents hold none.
        max_bytes: size limit in bytes.
        error: the class to raise; ``UsageError`` for configuration.
        code: its stable code.

    Raises:
        VerifaiError: of class ``error``, on anything that is not exactly one JSON value within the limits.
    """
    try:
        if len(data) > max_bytes:
            raise _Refused(f"{len(data)} bytes, more than the limit of {max_bytes}")
        text = data.decode("utf-8", errors="strict")
        if text.startswith("\ufeff"):
            raise _Refused("it starts with a byte order mark")
        if (data.count(b"[") + data.count(b"{")) > MAX_DEPTH and _depth(text) > MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels")
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite if floats else _no_float,
        )
        _check_strings(value)
        return value
    except (ValueError, RecursionError) as problem:
        message, hint = other_than("strict JSON", data, str(problem))
        raise error(code, message, where=where, hint=hint) from None


def _check_strings(value: Any) -> None:
    """Lone surrogates cannot be encoded again, so they would crash a later writer."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            item.encode("utf-8")  # UnicodeEncodeError is a ValueError
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
