"""JUnit XML, as continuous-integration servers read it: one test case per model and bundle."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from verifai.domain.findings import Finding, Outcome
from verifai.reports.interface import Entry, Report
from verifai.reports.text import visible


class JUnitFormat:
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "application/xml"

    def render(self, report: Report) -> bytes:
        """One suite. Rejected and not met are failures, undecided is an error; a waived finding is told in ``system-out``."""
        entries = report.all_entries()
        suite = ET.Element("testsuite", name=f"verifai {report.command}", timestamp=report.created.removesuffix("Z"))
        properties = ET.SubElement(suite, "properties")
        run = {"verdict": report.verdict, "status": str(report.status), "summary": report.summary, **report.facts}
        for name, value in run.items():
            ET.SubElement(properties, "property", name=visible(name), value=visible(value))
        failures = errors = 0
        for entry in entries:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=f"verifai.{report.command}.{entry.kind}",
                name=visible(entry.name),
                time=_seconds(entry.seconds or 0.0),
            )
            failed = [one for one in entry.failures() if one.outcome is not Outcome.UNDECIDED]
            undecided = [one for one in entry.failures() if one.outcome is Outcome.UNDECIDED]
            # A case has one verdict: the graver kind names it, and its text holds every finding.
            if failed:
                failures += 1
                _problem(case, "failure", failed[0], entry)
            elif undecided:
                errors += 1
                _problem(case, "error", undecided[0], entry)
            _output(case, entry)
        for name, count in (("tests", len(entries)), ("failures", failures), ("errors", errors), ("skipped", 0)):
            suite.set(name, str(count))
        # Of all cases together: several bundles are judged at once, so it may be more than the clock showed.
        suite.set("time", _seconds(sum(entry.seconds or 0.0 for entry in entries)))
        root = ET.Element("testsuites", {key: suite.attrib[key] for key in ("tests", "failures", "errors", "skipped", "time")})
        root.append(suite)
        ET.indent(root)
        body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        return body + b"\n"


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _problem(case: ET.Element, tag: str, first: Finding, entry: Entry) -> None:
    element = ET.SubElement(case, tag, type=first.code, message=visible(first.message))
    element.text = "\n".join(_line(finding) for finding in entry.failures())


def _line(finding: Finding) -> str:
    where = f" (at {visible(finding.where)})" if finding.where else ""
    remedy = f" {visible(finding.remedy)}" if finding.remedy else ""
    return f"{finding.outcome.value} [{finding.code}] {visible(finding.message)}{where}{remedy}"


def _output(case: ET.Element, entry: Entry) -> None:
    lines = [f"id {entry.identifier}"] if entry.identifier else []
    lines += [f"{visible(name)}: {visible(value)}" for name, value in entry.facts.items()]
    for one in entry.waived:
        waiver = one.waiver
        lines.append(
            f"WAIVED by {visible(waiver.id)} ({visible(waiver.approver)}, until {waiver.expires}): {_line(one.finding)}; "
            f"reason: {visible(waiver.reason)}"
        )
    if lines:
        ET.SubElement(case, "system-out").text = "\n".join(lines)
