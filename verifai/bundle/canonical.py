"""The one spelling of every JSON document that we write: RFC 8785, and the check that a document read is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifai.errors import EvidenceRejected, InternalError


def encode(document: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes of ``document``, which holds integers, strings, booleans, lists and objects only.

    Raises:
        InternalError: code ``bug``, when a value has no exact JSON form.
    """
    import rfc8785

    try:
        return rfc8785.dumps(dict(document))
    except rfc8785.CanonicalizationError as problem:
        raise InternalError("bug", f"cannot write as canonical JSON: {problem}") from problem


def require(data: bytes, document: Mapping[str, Any], where: str) -> None:
    """Refuse bytes that are not the RFC 8785 form of ``document``, which was parsed from them.

    Security rests on the signed bytes; this keeps one document from having many digests.

    Raises:
        EvidenceRejected: code ``not-canonical``.
    """
    try:
        expected = encode(document)
    except InternalError:  # a number that RFC 8785 has no form for: the writer's doing, not ours
        expected = b""
    if data != expected:
        raise EvidenceRejected(
            "not-canonical", "the document is not in canonical form (RFC 8785), so it was edited or re-written", where=where
        )
