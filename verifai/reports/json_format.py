"""JSON: the object that ``--json`` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from verifai.domain.evaluation.words import document as evaluation_words
from verifai.domain.findings import Finding
from verifai.domain.on_demand import Revisited
from verifai.domain.policy.waiver import WaivedFinding
from verifai.execution.streamed import Streamed
from verifai.reports.interface import Entry, Report, ReportFormat

T = TypeVar("T")


def document(report: Report) -> dict[str, Any]:
    """The report as a JSON object, ``verifai/<command>/v1``."""
    findings = Revisited(lambda: (finding for entry in report.all_entries() for finding in entry.findings))
    result: dict[str, Any] = {
        "schema": f"verifai/{report.command}/v1",
        "verdict": report.verdict,
        "status": report.status,
        "findings": _streamed(findings, Finding.to_json),
        **details(report),
    }
    if report.error is not None:
        result["error"] = encodable(_error(report.error))
    return result


def details(report: Report) -> dict[str, Any]:
    """What the object holds beside schema, verdict, status and findings."""
    return {
        "summary": encodable(report.summary),
        "created": report.created,
        "version": report.version,
        "facts": encodable(dict(report.facts)),
        "models": _streamed(report.of_kind("model"), _entry),
        "bundles": _streamed(report.of_kind("bundle"), _entry),
        "waived": _streamed(report.waived(), lambda found: {"about": found[0].name, **_waived(found[1])}),
    }


def _streamed(items: Revisited[T], document_of: Callable[[T], Any]) -> Streamed[Any]:
    """A list that is made while it is encoded."""
    return Streamed(len(items), lambda: (encodable(document_of(one)) for one in items))


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


class JsonFormat(ReportFormat):
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "application/json"

    def pieces(self, report: Report) -> Iterator[bytes]:
        """ASCII, so that no reader's idea of encoding matters."""
        encoder = json.JSONEncoder(indent=2, ensure_ascii=True, allow_nan=False)
        yield from (piece.encode("ascii") for piece in encoder.iterencode(document(report)))
        yield b"\n"
