"""Codes of the sumcheck room."""

from __future__ import annotations

from verifai.domain.codes import Code

CODES: dict[str, Code] = {
    "circuit-malformed": Code(
        (1,), "Bytes are not the canonical bytes of an integer circuit.", "Compile again, or get the circuit from its maker."
    ),
    "circuit-invalid": Code(
        (1,), "An integer circuit breaks one of its rules, such as the no-wrap rule.", "Compile again with this release."
    ),
    "weights-malformed": Code(
        (1,), "A weight blob does not have the circuit's lengths, bounds or norms.", "Compile again, or get the weights again."
    ),
}
