"""Text that every machine reads alike: by the tables of Unicode 14.0, whatever the interpreter's own are.

Normal forms and case folding of *assigned* characters never change again (Unicode's stability policies), so for them any later
table gives what 14.0 gives. Characters that 14.0 does not assign are taken as they are, as 14.0 itself would.
See ``docs/decisions/0408-text-by-a-pinned-unicode.md``.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from verifai.domain.unicode_table import ASSIGNED, HIDDEN

WHITE_SPACE = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What ``str.split`` takes for white space in 14.0, as the inside of a character class."""
_BLANKS = re.compile(f"[{WHITE_SPACE}]+")


def _class(ranges: str) -> str:
    ends = [one.split("-") for one in ranges.split()]
    return "".join(f"\\U{int(one[0], 16):08x}-\\U{int(one[-1], 16):08x}" for one in ends)


@functools.cache
def _assigned() -> re.Pattern[str]:
    return re.compile(f"[{_class(ASSIGNED)}]+")


@functools.cache
def _unprintable() -> re.Pattern[str]:
    return re.compile(f"[{_class(HIDDEN)}]|[^{_class(ASSIGNED)}]")


def fold_compatible(text: str) -> str:
    """NFKC, then full case folding: what a reader would call the same text."""
    if text.isascii():
        return text.lower()
    return _assigned().sub(lambda run: unicodedata.normalize("NFKC", run[0]).casefold(), text)


def words(text: str) -> list[str]:
    """``text.split()``."""
    return [one for one in _BLANKS.split(text) if one]


def is_printable(text: str) -> bool:
    """``text.isprintable()``: no control, no format, no separator but the space, nothing that 14.0 does not know."""
    return text.isprintable() if text.isascii() else _unprintable().search(text) is None
