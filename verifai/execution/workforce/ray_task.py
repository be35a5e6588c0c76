"""The one function that a Ray cluster runs for us, and the envelope that its answer comes in.

It is sent by value, so that a node without verifai, or with another release of it, can say so instead of failing to load it.
What comes back is one string of bytes: a head in JSON, which names node and release, and the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from verifai.domain.record import Record
from verifai.domain.strict_json import loads
from verifai.errors import EvidenceRejected

TAG = b"verifai/ray-answer/v1\n"
MAX_HEAD = 64 * 1024
_CODE = "worker-answer-wrong"


def make_task() -> Callable[..., bytes]:
    """The function, made inside another one so that it is pickled by value."""

    def verifai_work(entry: str, release: str, key: bytes, shared: Any, data: bytes) -> bytes:
        import importlib
        import importlib.metadata
        import json

        import ray

        head = {"node": ray.get_runtime_context().get_node_id(), "release": "", "failed": ""}
        answer = b""
        try:
            head["release"] = importlib.metadata.version("verifai")
            if head["release"] == release:
                module, name = entry.split(":")
                work = getattr(importlib.import_module(module), name)
                answer = work(key, lambda: ray.get(shared[0]), data)
        except BaseException as problem:
            if isinstance(problem, KeyboardInterrupt | SystemExit):
                raise
            head["failed"] = f"{type(problem).__name__}: {problem}"[:1000]
        text = json.dumps(head).encode()
        return b"verifai/ray-answer/v1\n" + len(text).to_bytes(8, "big") + text + answer

    return verifai_work


@dataclass(frozen=True, slots=True)
class Enveloped:
    """An answer, and what its sender says of itself: node identifier, release, why it failed."""

    node: str
    release: str
    failed: str
    data: bytes


def open_envelope(data: bytes) -> Enveloped:
    """Read an answer, strictly. Raises EvidenceRejected (``worker-answer-wrong``)."""
    start = len(TAG) + 8
    length = int.from_bytes(data[len(TAG) : start], "big")
    if not data.startswith(TAG) or len(data) < start or length > min(MAX_HEAD, len(data) - start):
        raise EvidenceRejected(_CODE, "what came back is no answer of a worker", where="answer")
    value = loads(data[start : start + length], where="answer", error=EvidenceRejected, code=_CODE)
    record = Record(value, "answer", error=EvidenceRejected, code=_CODE)
    found = Enveloped(
        record.text("node", pattern=r"[0-9a-f]{8,64}"),
        record.text("release", empty=True, max_length=100),
        record.text("failed", empty=True),
        data[start + length :],
    )
    record.done()
    return found
