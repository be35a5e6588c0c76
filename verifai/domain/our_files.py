"""Files that people and verdicts rest on, recognised by their content: no output takes the place of one, whoever names it.

A lock is named in a policy, not on the command line, and a key may be named nowhere; so it is not enough to compare an output
with what the same command reads.
"""

from __future__ import annotations

import re

from verifai.domain.foreign import recognise
from verifai.domain.record import Record

HEAD = 8192
"""Bytes that are looked at, at most."""

DOCUMENTS = {
    "verifai/circuit-lock": "a circuit.lock",
    "verifai/trust": "a trust file",
    "verifai/data-lock": "a data.lock",
    "verifai/policy": "a policy",
    "verifai/prove-index": "the index of a batch",
    "verifai/model-facts": "the facts of a model",
    "verifai/tensor-secrets": "a file of seeds",
    "verifai/vote-secret": "the secret of a vote",
}
"""Documents of ours that are kept, by the name of their schema, without its version."""

NO_TEXT = "data that is no text"
"""What is nothing known, but no text either."""

_BINARY: tuple[tuple[bytes, str], ...] = (
    (b"SQLite format 3\x00", "an audit log, or another SQLite database"),
    (b"PK\x03\x04", "a bundle, or another archive"),
    (b"verifai/", "a file of a circuit or of a vote"),
)
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*(?:KEY|CERTIFICATE)-----|ed25519:[A-Za-z0-9+/]{43}=\s*$")
_SCHEMA = re.compile(rb"(?:^|[{,])\s*[\"']?schema[\"']?\s*[=:]\s*[\"'](verifai/[a-z-]+)/v\d+[\"']", re.MULTILINE)
_DSSE = re.compile(rb"\s*\{\s*\"payload(?:Type)?\"\s*:")
_CIRCUIT = re.compile(rb"^\[(?:circuit|tensors)\]\s*(?:#.*)?$", re.MULTILINE)


def kept_file(head: bytes) -> str:
    """What ``head``, the first bytes of a file, belongs to, such as ``a circuit.lock``; empty when a new text may replace it.

    A report, a checkpoint, a plot and any other text is none: these are written again by the command that wrote them.
    """
    for magic, what in _BINARY:
        if head.startswith(magic):
            return what
    if _KEY.match(head):
        return "a key"
    found = _SCHEMA.search(head)
    if found and (name := found[1].decode("ascii")) in DOCUMENTS:
        return DOCUMENTS[name]
    if _DSSE.match(head):
        return "an attestation"
    if _CIRCUIT.search(head):
        return "a circuit.toml"
    if b"\x00" not in head:
        return ""
    known = recognise(head)
    return NO_TEXT if known is None else known.what


def require_schema(root: Record, schema: str) -> None:
    """Take the field ``schema`` of a document of ours; a document of another kind is named.

    Raises:
        VerifaiError: of the record's class and code.
    """
    found = root.take("schema", None)
    if found == schema:
        return
    name, _, version = schema.rpartition("/")
    wanted = DOCUMENTS[name]
    other = DOCUMENTS.get(found.rpartition("/")[0]) if isinstance(found, str) else None
    if other is None and found is None and root.has("circuit") and root.has("tensors"):
        other = "a circuit.toml"
    if other == wanted:
        raise root.refuse(
            f"{found!r} is of another release, which this one cannot read", "schema", "Use the release that wrote it."
        )
    if other is not None:
        raise root.refuse(f"this is {other}, not {wanted}", "", f"Name it where {other} is asked for.")
    raise root.refuse(f'the first field of {wanted} is: schema = "{name}/{version}"', "schema", "Name another file.")
