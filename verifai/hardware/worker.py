"""The child process that reads hardware evidence. Run by :mod:`verifai.hardware.verify` only; never imported by it.

Certificates, CBOR and quotes are foreign bytes, read by compiled code. What refuses them is an answer, not a failure.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from verifai.domain.hardware import MAX_ENTRIES, HardwareFacts, HardwareKind
from verifai.domain.utc_time import format_utc, parse_utc
from verifai.errors import VerifaiError
from verifai.hardware.evidence import Collateral, HardwareEvidence


def _verify(args: Mapping[str, Any]) -> dict[str, Any]:
    from verifai.hardware.certificates import load_pem_chain
    from verifai.hardware.dispatch import verify_evidence

    try:
        collateral = args["collateral"]
        evidence = HardwareEvidence(
            kind=HardwareKind(args["kind"]),
            report=_bytes(args["report"]),
            certificate=_bytes(args["certificate"]),
            crl=_bytes(args["crl"]),
            collateral=None if collateral is None else Collateral(**{name: _bytes(text) for name, text in collateral.items()}),
        )
        roots = load_pem_chain(_bytes(args["test_roots"]), "test_roots", most=2 * MAX_ENTRIES) if args["test_roots"] else ()
        return {"facts": _facts(verify_evidence(evidence, parse_utc(args["at"]), roots))}
    except VerifaiError as problem:
        refused = {"status": problem.status, "code": problem.code, "message": problem.message}
        return {"refused": {**refused, "where": problem.where, "hint": problem.hint}}


def _facts(facts: HardwareFacts) -> dict[str, Any]:
    document: dict[str, Any] = {one.name: getattr(facts, one.name) for one in fields(facts)}
    document["report_data"] = facts.report_data.hex()
    for name in ("valid_from", "valid_until", "made"):
        document[name] = None if document[name] is None else format_utc(document[name])
    document["registers"], document["svns"] = dict(facts.registers), dict(facts.svns)
    document["advisories"], document["words"] = list(facts.advisories), list(facts.words)
    return document


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


if __name__ == "__main__":
    from verifai.execution.child_entry import serve

    sys.exit(serve({"verify": _verify}))
