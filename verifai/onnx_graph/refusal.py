"""One way to refuse a model."""

from __future__ import annotations

from verifai.errors import UnsupportedModel


def refuse(code: str, message: str, where: str = "", hint: str = "") -> UnsupportedModel:
    """The error for the caller to raise; ``where`` names the node, tensor or field."""
    return UnsupportedModel(code, message, where=printable(where), hint=hint)


def printable(text: str, limit: int = 120) -> str:
    """``text`` for a message: control characters escaped, length bounded, since names are the sender's choice."""
    if len(text) <= limit and text.isprintable():
        return text
    safe = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: limit + 1])
    return safe if len(text) <= limit else safe[:limit] + "…"


def words(text: str) -> list[str]:
    """The words of ``text``: long lists of operators read better as prose."""
    return text.split()
