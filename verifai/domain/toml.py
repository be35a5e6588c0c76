"""TOML files of ours and of the user's, from their bytes."""

from __future__ import annotations

import tomllib
from typing import Any


def parse_toml(data: bytes) -> dict[str, Any]:
    """The document in UTF-8 ``data``. A byte order mark, which some editors put in front, is no part of it.

    Raises:
        ValueError: not UTF-8, not TOML (with a key that occurs twice it is none), nested too deep, or with an integer of
            thousands of digits.
    """
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deep") from None
