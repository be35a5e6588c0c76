"""Foreign text made safe to show, whatever shows it."""

from __future__ import annotations

MAX_TEXT = 2000


def visible(text: str, limit: int = MAX_TEXT) -> str:
    """``text`` on one line, with everything that is not plainly printable spelled out, cut to ``limit`` characters.

    Control characters, line and paragraph separators, bidirectional overrides, lone surrogates and private characters are what
    forged log lines and spoofed names are made of; after this none is left, so the result encodes as UTF-8 and as XML 1.0.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else _spelled(char) for char in cut)


def _spelled(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
