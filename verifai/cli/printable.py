"""Foreign text on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with control characters made visible: names in foreign files must not drive the terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
