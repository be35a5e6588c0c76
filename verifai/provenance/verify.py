"""A release's signature, verified in a fenced child process; its answer is parsed strictly."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache

from verifai.domain.model_signing import SignedRelease, TrustedModelSigner, parse_manifest
from verifai.domain.record import Record
from verifai.domain.utc_time import format_utc
from verifai.errors import EngineCrashed, EvidenceRejected, PolicyNotMet, Undecided, UsageError, VerifaiError
from verifai.execution import child
from verifai.execution.child import Limits
from verifai.execution.packages import install_hint
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.refusal import printable
from verifai.provenance.signature_file import parse_signature_file

WORKER = "verifai.provenance.worker"
LIMITS = Limits(memory_bytes=1 << 30, wall_seconds=120.0)
"""A signature needs a second and 150 MiB, most of them for Sigstore's library."""
_KINDS: dict[int, type[VerifaiError]] = {1: EvidenceRejected, 2: UsageError, 3: PolicyNotMet, 4: Undecided}


def verify_release(
    data: bytes, entries: Sequence[TrustedModelSigner], at: datetime, *, where: str = "model.sig"
) -> SignedRelease:
    """The manifest in the signature file ``data``, once an entry of a trust file has signed it; nothing is fetched.

    Args:
        at: the moment that certificates are judged for.

    Raises:
        EvidenceRejected: ``model-signature-malformed``, ``model-signature-invalid``.
        PolicyNotMet: ``model-signer-not-trusted``, ``model-signature-not-current``.
        UsageError: ``bad-trust``, when an entry's key or root cannot be read.
        Undecided: ``model-signature-unavailable``, ``out-of-memory``, ``deadline``, ``engine-crashed``.
    """
    found = _verified(data, tuple(entries), at, where)
    if isinstance(found, VerifaiError):
        raise found
    return found


@lru_cache(maxsize=16)
def _verified(data: bytes, entries: tuple[TrustedModelSigner, ...], at: datetime, where: str) -> SignedRelease | VerifaiError:
    """The same file is verified once per process: a gate meets it in every bundle."""
    try:
        return _verify(data, entries, at, where)
    except (EvidenceRejected, PolicyNotMet) as problem:
        return problem


def _verify(data: bytes, entries: tuple[TrustedModelSigner, ...], at: datetime, where: str) -> SignedRelease:
    found = parse_signature_file(data, where)
    manifest = parse_manifest(found.payload, f"{where}: payload")
    arguments = {
        "data": base64.b64encode(data).decode(),
        "at": format_utc(at),
        "entries": [{**asdict(one), "kind": one.kind.value} for one in entries],
    }
    with private_directory() as folder:
        report = child.run(WORKER, {"steps": [{"op": "verify", "args": arguments}]}, folder=folder, limits=LIMITS)
    if report.death is not None:
        raise report.death
    if len(report.steps) != 1 or report.steps[0].failure:
        raise EngineCrashed("engine-crashed", "the signature made its reader fail", where=where)
    record = Record(report.steps[0].value, "child", error=EngineCrashed, code="engine-crashed")
    if record.has("refused"):
        raise _refused(record.table("refused"), where)
    signer = record.text("signer", max_length=4096)
    names, words = record.texts("names", max_length=64), record.texts("words", max_length=8)
    record.done()
    if not names or not set(names) <= {one.name for one in entries}:
        raise EngineCrashed("engine-crashed", "the child names signers that nobody asked about", where=where)
    return SignedRelease(manifest, printable(signer, 2048), names, tuple(printable(one, 400) for one in words))


def _refused(record: Record, where: str) -> VerifaiError:
    kind = _KINDS.get(record.integer("status", low=0, high=255))
    if kind is None:
        raise EngineCrashed("engine-crashed", "the child refused with an odd status")
    code = record.text("code", pattern=r"[a-z0-9]+(?:-[a-z0-9]+)*", max_length=64)
    message, place, hint = (
        printable(record.text(name, max_length=4096, empty=True), 1000) for name in ("message", "where", "hint")
    )
    if code == "model-signature-unavailable" and not hint:
        hint = install_hint("sigstore")
    return kind(code, message, where=place if kind is UsageError else f"{where}: {place}" if place else where, hint=hint)
