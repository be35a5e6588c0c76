"""Foreign text on a page of ours."""

from __future__ import annotations

from html import escape


def safe(text: str) -> str:
    """``text`` made harmless: markup escaped, control and direction-changing characters made visible."""
    shown = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    return escape(shown, quote=True)
