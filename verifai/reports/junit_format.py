"""JUnit XML, as continuous-integration servers read it: one test case per model and bundle."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping

from verifai.domain.findings import Finding, Outcome
from verifai.reports.interface import Entry, Report, ReportFormat
from verifai.reports.text import visible


class JUnitFormat(ReportFormat):
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "application/xml"

    def pieces(self, report: Report) -> Iterator[bytes]:
        """One suite. Rejected and not met are failures, undecided is an error; a waived finding is told in ``system-out``."""
        tests = failures = errors = 0
        seconds = 0.0  # of all cases together: several bundles are judged at once, so it may be more than the clock showed
        for entry in report.all_entries():
            kind = _graver(entry)[0]
            tests, failures, errors = tests + 1, failures + (kind == "failure"), errors + (kind == "error")
            seconds += entry.seconds or 0.0
        counts = {"tests": str(tests), "failures": str(failures), "errors": str(errors), "skipped": "0"}
        time = _seconds(seconds)
        suite = {"name": f"verifai {report.command}", "timestamp": report.created.removesuffix("Z"), "time": time, **counts}
        yield b"<?xml version='1.0' encoding='utf-8'?>\n"
        yield f"<testsuites{_attributes({**counts, 'time': time})}>\n  <testsuite{_attributes(suite)}>\n".encode()
        properties = ET.Element("properties")
        run = {"verdict": report.verdict, "status": str(report.status), "summary": report.summary, **report.facts}
        for name, value in run.items():
            ET.SubElement(properties, "property", name=visible(name), value=visible(value))
        yield _indented(properties)
        for entry in report.all_entries():
            yield _indented(_case(report.command, entry))
        yield b"  </testsuite>\n</testsuites>\n"


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _attributes(given: Mapping[str, str]) -> str:
    """As the library writes them, which escapes; taken from an element of its making."""
    return ET.tostring(ET.Element("e", dict(given)), encoding="unicode").removeprefix("<e").removesuffix(" />")


def _indented(element: ET.Element) -> bytes:
    """An element of the suite, on lines of its own."""
    ET.indent(element, level=2)
    element.tail = None
    text: str = ET.tostring(element, encoding="unicode")
    return f"    {text}\n".encode()


def _graver(entry: Entry) -> tuple[str, Finding | None]:
    """A case has one verdict: the graver kind of finding names it. Empty where nothing failed."""
    failed = entry.failures()
    graver = [one for one in failed if one.outcome is not Outcome.UNDECIDED]
    if graver:
        return "failure", graver[0]
    return ("error", failed[0]) if failed else ("", None)


def _case(command: str, entry: Entry) -> ET.Element:
    time = _seconds(entry.seconds or 0.0)
    case = ET.Element("testcase", classname=f"verifai.{command}.{entry.kind}", name=visible(entry.name), time=time)
    kind, first = _graver(entry)
    if first is not None:  # its text holds every finding
        _problem(case, kind, first, entry)
    _output(case, entry)
    return case


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
