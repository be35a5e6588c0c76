"""HTML: one static page without scripts or outside resources, for people who keep or mail a verdict."""

from __future__ import annotations

from collections.abc import Iterable

from verifai.domain.findings import Finding, Outcome
from verifai.domain.shown import shown_lines
from verifai.reports.html_evaluation import evaluation_html
from verifai.reports.html_page import WORDS, Row, facts, header, html_page, listing, tiles
from verifai.reports.html_text import safe
from verifai.reports.interface import Entry, Report
from verifai.reports.text import visible

_MARKS = {
    Outcome.HOLDS: "✓",
    Outcome.REJECTED: "✗",
    Outcome.POLICY_NOT_MET: "!",
    Outcome.UNDECIDED: "?",
    Outcome.NOT_CHECKED: "–",
}
_TONES = {0: Outcome.HOLDS, 1: Outcome.REJECTED, 3: Outcome.POLICY_NOT_MET}


class HtmlFormat:
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "text/html"

    def render(self, report: Report) -> bytes:
        """Verdict, failures, waivers, every model and bundle with all its findings folded in, and what the proofs hide."""
        tone = _TONES.get(report.status, Outcome.UNDECIDED)
        word = report.verdict.replace("-", " ").capitalize()
        where = f"decided {_text(report.created)}, exit status {report.status}"
        body = [
            header(tone, f"verifai {report.command}", word, _text(report.summary), where),
            _tiles(report),
            _failures(report),
            _waived(report),
        ]
        for kind, name in (("model", "Models"), ("bundle", "Bundles")):
            entries = sorted((one for one in report.entries if one.kind == kind), key=lambda one: one.outcome is Outcome.HOLDS)
            if entries:
                columns = (kind, "verdict", "identifier", "findings")
                body.append(f"<section><h2>{name}</h2>{listing(kind, columns, [_row(one) for one in entries])}</section>")
        body += [
            f"<p>{_code(entry.name)}</p>{evaluation_html(entry.evaluation)}"
            for entry in report.entries
            if entry.evaluation is not None
        ]
        for words, names in report.words():
            which = names[0] if len(names) == 1 else f"{len(names)} bundles"
            lines = "".join(f"<li>{_text(line)}</li>" for line in words)
            body.append(f"<section><h2>What the proofs hide ({_text(which)})</h2><ul>{lines}</ul></section>")
        small = {**report.facts, "verifai": report.version}
        shown = facts([(visible(name), visible(value)) for name, value in small.items()])
        body.append(f"<section><h2>Identifiers</h2>{shown}</section>")
        title = f"verifai {report.command}: {report.verdict}"
        return html_page(visible(title), f"<article>{''.join(body)}</article>")


def _tiles(report: Report) -> str:
    if not report.entries:  # nothing was judged, and no figure may look as if it had been
        return ""
    boxes = []
    for kind, name, met in (("model", "Models", "met"), ("bundle", "Bundles", "accepted")):
        entries = [one for one in report.entries if one.kind == kind]
        good = sum(one.outcome is Outcome.HOLDS for one in entries)
        tone = Outcome.NOT_CHECKED if not entries else Outcome.HOLDS if good == len(entries) else _worst(entries)
        boxes.append((tone, name, f"{good:,} of {len(entries):,} {met}", "each judged in this run"))
    failed = len(report.failures())
    boxes.append(
        (
            Outcome.HOLDS if not failed else _worst(report.all_entries()),
            "Findings that stop",
            f"{failed:,}",
            "listed below" if failed else "none",
        )
    )
    waived = len(report.waived())
    boxes.append((Outcome.NOT_CHECKED, "Waived", f"{waived:,}", "accepted by somebody by name, until a date"))
    return tiles(boxes)


def _worst(entries: Iterable[Entry]) -> Outcome:
    found = {one.outcome for one in entries}
    order = (Outcome.REJECTED, Outcome.POLICY_NOT_MET, Outcome.UNDECIDED, Outcome.NOT_CHECKED)
    return next((one for one in order if one in found), Outcome.HOLDS)


def _text(text: str) -> str:
    return safe(visible(text))


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>" if text else ""


def _small(label: str, text: str) -> str:
    return f"<small><i>{label}</i> {_text(text)}</small>" if text else ""


def _failures(report: Report) -> str:
    items = "".join(
        f'<li class="{finding.outcome.value}"><b>{_text(finding.message)}</b>{_small("about", entry.name)}'
        f"{_small('at', finding.where if finding.where != entry.name else '')}{_small('what to do', finding.remedy)}"
        f'<small class="code">{_text(finding.code)}</small></li>'
        for entry, finding in report.failures()
    )
    return f'<section><h2>What failed</h2><ul class="problems">{items}</ul></section>' if items else ""


def _waived(report: Report) -> str:
    if not report.waived():
        return ""
    columns = ("about", "finding", "what", "waiver", "approver", "until", "reason")
    rows = [
        Row(
            Outcome.NOT_CHECKED,
            (_code(entry.name), _code(one.finding.code), _text(one.finding.message), _code(one.waiver.id),
             _text(one.waiver.approver), _code(one.waiver.expires), _text(one.waiver.reason)),
        )
        for entry, one in report.waived()
    ]  # fmt: skip
    return f"<section><h2>Waived, and so not failed</h2>{listing('waived', columns, rows)}</section>"


def _row(entry: Entry) -> Row:
    items = "".join(_item(finding) for finding in entry.findings)
    items += "".join(f"<li>proven: {_text(line)}</li>" for line in shown_lines(entry.values))
    items += "".join(f"<li>{_text(name)}: {_code(value)}</li>" for name, value in entry.facts.items())
    findings = f"<details><summary>{len(entry.findings)} findings</summary><ul>{items}</ul></details>"
    return Row(entry.outcome, (_code(entry.name), WORDS[entry.outcome], _code(entry.identifier[:16]), findings))


def _item(finding: Finding) -> str:
    word = f"{_MARKS[finding.outcome]} {WORDS[finding.outcome]}"
    return f'<li class="{finding.outcome.value}">{word}: {_text(finding.message)} {_code(finding.code)}</li>'
