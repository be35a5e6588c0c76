"""Write verifai/domain/unicode_table.py from this interpreter's Unicode tables, which must be those of the version it pins.

python3.11 -m tools.unicode_table
"""

from __future__ import annotations

import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "verifai" / "domain" / "unicode_table.py"
VERSION = "14.0.0"
"""That of Python 3.11, the oldest that verifai supports."""

_HEAD = '''"""Which characters Unicode {version} has. Written by tools/unicode_table.py; see docs/decisions/0408.

Interpreters differ in their Unicode tables, and what two machines must agree on may not depend on either's.
Ranges in hexadecimal, both ends included.
"""

VERSION = "{version}"

ASSIGNED = """
{assigned}
"""
"""All but surrogates: characters that {version} assigns, private use included."""

HIDDEN = """
{hidden}
"""
"""Of these, the ones that show nothing: controls, formats, private use, and every separator but the space."""
'''


def ranges(wanted: Callable[[str], bool]) -> Iterator[str]:
    """The ranges of code points that are wanted, without surrogates."""
    start = None
    for point in range(sys.maxunicode + 2):
        inside = point <= sys.maxunicode and not 0xD800 <= point <= 0xDFFF and wanted(chr(point))
        if inside and start is None:
            start = point
        if not inside and start is not None:
            yield f"{start:x}" if start == point - 1 else f"{start:x}-{point - 1:x}"
            start = None


def page() -> str:
    """The module's text. Raises SystemExit on another Unicode version."""
    if unicodedata.unidata_version != VERSION:
        raise SystemExit(f"this Python has Unicode {unicodedata.unidata_version}, not {VERSION}: use Python 3.11")

    def assigned(char: str) -> bool:
        return unicodedata.category(char) != "Cn"

    def lines(wanted: Callable[[str], bool]) -> str:
        return textwrap.fill(" ".join(ranges(wanted)), 124)

    return _HEAD.format(
        version=VERSION, assigned=lines(assigned), hidden=lines(lambda char: assigned(char) and not char.isprintable())
    )


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
