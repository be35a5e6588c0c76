"""Codes of the ezkl room."""

from __future__ import annotations

from verifai.domain.codes import Code

CODES: dict[str, Code] = {}
