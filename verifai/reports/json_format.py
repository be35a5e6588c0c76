"""JSON: the object that ``--json`` prints."""

from __future__ import annotations

import json
from typing import Any

from verifai.domain.evaluation.words import document as evaluation_words
from verifai.domain.findings import Finding
from verifai.domain.policy.waiver import WaivedFinding
from verifai.reports.interface import Entry, Report


def document(report: Report) -> dict[str, Any]:
    """The report as a JSON object, ``verifai/<command>/v1``."""
    findings = [report.error] if report.error is not None else []
    findings += [finding for entry in report.entries for finding in entry.findings]
    result: dict[str, Any] = {
        "schema": f"verifai/{report.command}/v1",
        "verdict": report.verdict,
        "status": report.status,
        "findings": encodable([finding.to_json() for finding in findings]),
        **details(report),
    }
    if report.error is not None:
        result["error"] = encodable(_error(report.error))
    return result


def details(report: Report) -> dict[str, Any]:
    """What the object holds beside schema, verdict, status and findings."""
    fields: dict[str, Any] = {
        "summary": report.summary,
        "created": report.created,
        "version": report.version,
        "facts": dict(report.facts),
        "models": [_entry(entry) for entry in report.entries if entry.kind == "model"],
        "bundles": [_entry(entry) for entry in report.entries if entry.kind == "bundle"],
        "waived": [{"about": entry.name, **_waived(one)} for entry, one in report.waived()],
    }
    result: dict[str, Any] = encodable(fields)
    return result


def encodable(value: Any) -> Any:
    """``value`` with lone surrogates, as file names that are not UTF-8 give them, spelled out: strict readers refuse them."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return [encodable(item) for item in value] if isinstance(value, list) else value


def _error(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "message": finding.message, "where": finding.where, "hint": finding.remedy}


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "id": entry.identifier,
        "outcome": entry.outcome.value,
        "findings": [finding.to_json() for finding in entry.findings],
        "waived": [_waived(one) for one in entry.waived],
        "facts": dict(entry.facts),
        **({"privacy": list(entry.words)} if entry.words else {}),
        **(
            {}
            if (one := entry.evaluation) is None
            else {"evaluation": _without_floats(evaluation_words(one.data, one.metrics, one.confidence))}
        ),
        **({"values": [_without_floats(one.to_json()) for one in entry.values]} if entry.values else {}),
    }


def _without_floats(value: Any) -> Any:
    """Numbers with a fraction as decimal text: a verdict's report is attested, and what is signed holds no floats."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {name: _without_floats(item) for name, item in value.items()}
    return [_without_floats(item) for item in value] if isinstance(value, list) else value


def _waived(one: WaivedFinding) -> dict[str, Any]:
    return {"finding": one.finding.to_json(), "waiver": one.waiver.to_json()}


class JsonFormat:
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "application/json"

    def render(self, report: Report) -> bytes:
        """ASCII, so that no reader's idea of encoding matters."""
        return (json.dumps(document(report), indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")
