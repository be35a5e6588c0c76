"""Hardware evidence, verified in a fenced child process; its answer is parsed strictly."""

from __future__ import annotations

import base64
from dataclasses import fields
from datetime import datetime

from verifai.domain.hardware import HardwareFacts, HardwareKind, TcbStatus
from verifai.domain.record import Record
from verifai.domain.utc_time import format_utc, parse_utc, utc_from_record
from verifai.errors import EngineCrashed, EvidenceRejected, Undecided, UsageError
from verifai.execution import child
from verifai.execution.child import Limits
from verifai.execution.scratch import private_directory
from verifai.hardware.evidence import Collateral, HardwareEvidence
from verifai.onnx_graph.refusal import printable

WORKER = "verifai.hardware.worker"
LIMITS = Limits(memory_bytes=1 << 30, wall_seconds=120.0)
"""A report of some kilobytes needs a second and 100 MiB, most of them for the interpreter."""


def verify_hardware(evidence: HardwareEvidence, at: datetime, test_roots: bytes = b"") -> HardwareFacts:
    """What ``evidence`` establishes, judged for the moment ``at``; nothing is fetched.

    Args:
        test_roots: PEM certificates of the caller's own that may stand in for the maker's root; b"" for none. For SEV-SNP the
            ASK, then the ARK; further pairs may follow.

    Raises:
        EvidenceRejected: ``tee-malformed``, ``tee-invalid``, ``tee-revoked``, ``tee-root-not-trusted``.
        UsageError: ``bad-trust``, when ``test_roots`` cannot be read.
        Undecided: ``tee-unavailable``, ``out-of-memory``, ``deadline``, ``engine-crashed``.
    """
    collateral = evidence.collateral
    arguments = {
        "kind": evidence.kind.value,
        "report": _text(evidence.report),
        "certificate": _text(evidence.certificate),
        "crl": _text(evidence.crl),
        "collateral": None
        if collateral is None
        else {one.name: _text(getattr(collateral, one.name)) for one in fields(Collateral)},
        "test_roots": _text(test_roots),
        "at": format_utc(at),
    }
    with private_directory() as folder:
        task = {"steps": [{"op": "verify", "args": arguments}]}
        report = child.run(WORKER, task, folder=folder, limits=LIMITS)
    if report.death is not None:
        raise report.death
    if len(report.steps) != 1 or report.steps[0].failure:
        raise EngineCrashed("engine-crashed", "the hardware evidence made its reader fail")
    record = Record(report.steps[0].value, "child", error=EngineCrashed, code="engine-crashed")
    if record.has("refused"):
        raise _refused(record.table("refused"))
    return _facts(record.table("facts"))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _refused(record: Record) -> EvidenceRejected | Undecided | UsageError:
    status = record.integer("status", low=0, high=255)
    if status not in (EvidenceRejected.status, Undecided.status):
        raise EngineCrashed("engine-crashed", "the child refused with an odd status")
    kind = EvidenceRejected if status == EvidenceRejected.status else Undecided
    code = record.text("code", pattern=r"[a-z0-9]+(?:-[a-z0-9]+)*", max_length=64)
    message, where, hint = (
        printable(record.text(name, max_length=4096, empty=True), 1000) for name in ("message", "where", "hint")
    )
    if where == "test_roots":  # the caller's own, not evidence
        return UsageError("bad-trust", message, where=where, hint="Give each certificate in PEM form, and nothing beside.")
    return kind(code, message, where=where, hint=hint)


def _facts(record: Record) -> HardwareFacts:
    registers, svns = record.table("registers"), record.table("svns")
    made = record.take("made")
    facts = HardwareFacts(
        kind=record.choice("kind", HardwareKind),
        product=record.text("product", max_length=64),
        report_data=bytes.fromhex(record.text("report_data", pattern=r"(?:[0-9a-f]{2})*", max_length=2048, empty=True)),
        registers={name: registers.text(name, pattern=r"[0-9a-f]+", max_length=256) for name in registers.names()},
        debug=record.flag("debug"),
        svns={name: svns.integer(name, low=0, high=255) for name in svns.names()},
        tcb=record.choice("tcb", TcbStatus),
        revocation_checked=record.flag("revocation_checked"),
        valid_from=_moment(record, "valid_from"),
        valid_until=_moment(record, "valid_until"),
        platform=printable(record.text("platform", max_length=256, empty=True), 256),
        root_sha256=record.sha256("root_sha256"),
        advisories=tuple(printable(one, 64) for one in record.texts("advisories", max_length=64)),
        made=None if made is None else _moment(record, "made"),
        test_root=record.flag("test_root"),
        words=tuple(printable(one, 200) for one in record.texts("words", max_length=16)),
    )
    record.done()
    return facts


def _moment(record: Record, name: str) -> datetime:
    return parse_utc(utc_from_record(record, name))
