"""The evidence page: one HTML file that holds bundles, pins and the second verifier, and checks when it is opened.

The page is built from ``verifier-js/`` and kept beside this module, so that making one needs neither Node.js nor a network.
What it is to hold goes in as base64, before its program: no byte of a bundle or of a name can end an element.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from verifai.domain.digest import Sha256, sha256
from verifai.errors import InternalError

_FILE = "evidence_page.html"
_PLACE = b"<!--verifai:data-->"
_PROGRAM = re.compile(rb'<script id="program">(.*?)</script>', re.DOTALL)


class HeldKind(StrEnum):
    """What a file is to the page."""

    BUNDLE = "bundle"
    LOCK = "lock"
    TRUST = "trust"
    TOKENIZER = "tokenizer"


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One file that a page holds; ``name`` is shown and is foreign text."""

    kind: HeldKind
    name: str
    data: bytes


@cache
def empty_page() -> bytes:
    """The page without any bundle: people drop theirs into it. The same bytes for every installation of a release."""
    page = resources.files("verifai.reports").joinpath(_FILE).read_bytes()
    if page.count(_PLACE) != 1 or _PROGRAM.search(page) is None:
        raise InternalError("bug", "the built evidence page is broken", where=_FILE)
    return page


def program_digest() -> Sha256:
    """SHA-256 of the program in every page of this release; a page shows the same of itself."""
    found = _PROGRAM.search(empty_page())
    assert found is not None
    return sha256(found[1])


def compose(files: Sequence[HeldFile]) -> bytes:
    """The page that holds these files, in this order."""
    blocks = b"\n".join(
        b'<script type="application/octet-stream" data-kind="%s" data-name="%s">%s</script>'
        % (one.kind.value.encode(), _base64(one.name.encode("utf-8", "replace")), _base64(one.data))
        for one in files
    )
    return empty_page().replace(_PLACE, blocks)


def _base64(data: bytes) -> bytes:
    return base64.b64encode(data)
