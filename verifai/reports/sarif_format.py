"""SARIF 2.1.0 (OASIS), as code scanning reads it. Only what failed or was waived is a result: readers show passes as alerts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any
from urllib.parse import quote

from verifai.domain.codes import all_codes
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.waiver import Waiver
from verifai.domain.shell import shell
from verifai.reports.interface import Entry, Report, ReportFormat
from verifai.reports.text import visible

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVEL = {Outcome.REJECTED: "error", Outcome.POLICY_NOT_MET: "error", Outcome.UNDECIDED: "warning"}
_MESSAGE = str.maketrans({"{": "{{", "}": "}}", "\\": "\\\\", "[": "\\[", "]": "\\]"})
"""Neither a placeholder (section 3.11.5) nor an embedded link (section 3.11.6) can come of foreign text."""

MAX_RESULTS = 5000
"""What code scanning keeps of one run; the last result says how many more there are."""


class SarifFormat(ReportFormat):
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "application/sarif+json"

    def pieces(self, report: Report) -> Iterator[bytes]:
        """One run with one result per failed or waived finding."""
        found = chain(
            ((entry, finding, None) for entry, finding in report.failures()),
            ((entry, one.finding, one.waiver) for entry, one in report.waived()),
        )
        results = [_result(report, *one) for one in islice(found, MAX_RESULTS)]
        if left := sum(1 for _ in found):
            more = left + 1
            notice = Finding("nothing-to-check", Outcome.UNDECIDED, f"{more} further results are in the JSON report")
            own = Entry("run", report.command, "", Outcome.UNDECIDED, ())
            results = [*results[: MAX_RESULTS - 1], _result(report, own, notice, None)]
        rules = sorted({result["ruleId"] for result in results})
        for result in results:
            result["ruleIndex"] = rules.index(result["ruleId"])
        document = {
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {
                        "driver": {
                            "name": "verifai",
                            "semanticVersion": report.version,
                            "rules": [_rule(code, report.codes_page) for code in rules],
                        }
                    },
                    "automationDetails": {"id": f"verifai/{report.command}/"},
                    "invocations": [
                        {
                            # Whether the tool worked, not whether it liked what it saw.
                            "executionSuccessful": report.error is None,
                            "exitCode": report.status,
                            "exitCodeDescription": report.verdict,
                            "endTimeUtc": report.created,
                        }
                    ],
                    "columnKind": "unicodeCodePoints",
                    "results": results,
                    "properties": {"verdict": report.verdict, "summary": visible(report.summary)},
                }
            ],
        }
        yield (json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")


def _rule(code: str, page: str) -> dict[str, Any]:
    """What readers show beside a finding: what the code means and what to do, as text and as Markdown; our own words only."""
    known = all_codes().get(code)
    meaning = known.meaning if known else "See the message."
    remedy = (known.remedy if known else "") or "Read the message of each result."
    if not known:  # one that another release wrote: foreign text
        return {"id": visible(code), "name": _camel(code), "shortDescription": {"text": meaning}, "help": {"text": remedy}}
    statuses = ", ".join(str(one) for one in sorted(known.statuses))
    markdown = f"**{meaning}**\n\nWhat to do: {remedy}\n\nExit status {statuses}. More: `verifai explain {shell(code)}`"
    rule: dict[str, Any] = {
        "id": code,
        "name": _camel(code),
        "shortDescription": {"text": meaning},
        "fullDescription": {"text": f"{meaning} {remedy}"},
        "help": {"text": f"{meaning} What to do: {remedy} More: `verifai explain {shell(code)}`", "markdown": markdown},
    }
    return rule | ({"helpUri": f"{page}#{code}"} if page else {})


def _camel(code: str) -> str:
    return "".join(part.capitalize() for part in code.split("-"))


def _result(report: Report, entry: Entry, finding: Finding, waiver: Waiver | None) -> dict[str, Any]:
    about = visible(entry.name)
    text = f"{about}: {visible(finding.message)}"
    if finding.where and finding.where != entry.name:
        text += f" (at {visible(finding.where)})"
    if finding.remedy:
        text += f" {visible(finding.remedy)}"
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "kind": "fail",
        "level": _LEVEL[finding.outcome],
        "message": {"text": text.translate(_MESSAGE)},
        **_places(report, entry, finding),
        "partialFingerprints": {"verifaiFinding/v1": _fingerprint(entry, finding)},
        "properties": {"outcome": finding.outcome.value, "kind": entry.kind, "id": entry.identifier},
    }
    if waiver is not None:
        words = f"{visible(waiver.id)}, {visible(waiver.approver)}, until {waiver.expires}: {visible(waiver.reason)}"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": words}]
    return result


def _places(report: Report, entry: Entry, finding: Finding) -> dict[str, Any]:
    """The line that asked or pinned first, for that is where a reader can act; the bundle, which no review shows, beside it."""
    own = {"artifactLocation": {"uri": _uri(entry.name)}}
    if report.places is None:
        return {"locations": [{"physicalLocation": own}]}
    place = report.places.of(finding, entry.models)
    asked = {"artifactLocation": {"uri": _uri(place.path)}, "region": {"startLine": place.line}}
    told: dict[str, Any] = {"locations": [{"physicalLocation": asked}]}
    if entry.kind == "bundle":
        told["relatedLocations"] = [{"id": 1, "physicalLocation": own, "message": {"text": "the evidence"}}]
    return told


def _uri(name: str) -> str:
    """A relative reference (RFC 3986): every byte of the name that is not plain is encoded, so no scheme or host can appear."""
    path = quote(name.encode("utf-8", "surrogateescape"), safe="/")
    return "./" + path if not path.startswith("/") else "file://" + ("/" + path.lstrip("/"))


def _fingerprint(entry: Entry, finding: Finding) -> str:
    key = "\x00".join((entry.kind, entry.identifier or entry.name, finding.code, finding.where))
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
