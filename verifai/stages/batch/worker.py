"""A worker's side of a batch: from the circuit and one item to a proof, or to why there is none.

A process of this machine answers with pickled values of ours, since it is ours. Another machine answers with a parcel: JSON and
bytes, of which nothing is believed (:mod:`.returned`).
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from verifai.errors import InternalError, ResourceExhausted, Undecided, VerifaiError
from verifai.execution.parcel import pack
from verifai.execution.scratch import private_directory
from verifai.stages.batch.shipping import Item, Workshop, open_workshop


@dataclass
class _Kept:
    """The circuit that this process has at hand: reading it again for each item would cost more than many a proof."""

    key: bytes = b""
    workshop: Workshop | None = None
    folders: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def of(self, key: bytes, fetch: Callable[[], bytes], *, away: bool) -> Workshop:
        if self.workshop is None or self.key != key:
            self.folders.close()
            scratch: Path | None = self.folders.enter_context(private_directory()) if away else None
            self.workshop, self.key = open_workshop(fetch(), scratch), key
        return self.workshop


_KEPT = _Kept()


def told(error: BaseException) -> VerifaiError:
    """Any failure as an error of ours."""
    if isinstance(error, VerifaiError):
        return error
    if isinstance(error, MemoryError):
        return ResourceExhausted("out-of-memory", "no memory left")
    if isinstance(error, OSError):
        return Undecided("disk", f"{error.strerror or error}", where=str(error.filename or ""))
    return InternalError("bug", f"{type(error).__name__}: {str(error)[:300]}")


def prove_here(shared: bytes, data: bytes) -> bytes:
    """An engine's proof or an error of ours, pickled."""
    try:
        workshop = _KEPT.of(shared, lambda: shared, away=False)
        return pickle.dumps(workshop.engine.prove(workshop.request(Item.from_bytes(data))))
    except Exception as problem:  # noqa: BLE001 - every failure is an answer
        return pickle.dumps(told(problem))


def prove_away(key: bytes, fetch: Callable[[], bytes], data: bytes) -> bytes:
    """A parcel: the files of a proof, or an error's texts.

    Args:
        key: digest of what all items share. fetch: gets it, where this process does not have it yet.
    """
    try:
        workshop = _KEPT.of(key, fetch, away=True)
        proof = workshop.engine.prove(workshop.request(Item.from_bytes(data)))
    except Exception as problem:  # noqa: BLE001 - every failure is an answer
        error = told(problem)
        return pack({"code": error.code, "message": error.message[:1000]})
    document = {"code": "", "seconds": proof.seconds, "peak_rss_bytes": proof.peak_rss_bytes}
    return pack(document, {name: file for name, file in proof.files.items() if name not in workshop.held})
