"""HTML: one static page without scripts or outside resources, for people who keep or mail a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from verifai.domain.findings import Finding, Outcome
from verifai.domain.on_demand import Revisited
from verifai.domain.policy.waiver import WaivedFinding
from verifai.domain.shown import shown_blocks
from verifai.reports.html_evaluation import evaluation_html
from verifai.reports.html_page import WORDS, Row, facts, header, html_page, listing, tiles
from verifai.reports.html_text import safe
from verifai.reports.interface import Entry, Report, ReportFormat
from verifai.reports.text import visible

_NEWLINE = "\n"
_MARKS = {
    Outcome.HOLDS: "✓",
    Outcome.REJECTED: "✗",
    Outcome.POLICY_NOT_MET: "!",
    Outcome.UNDECIDED: "?",
    Outcome.NOT_CHECKED: "–",
}
_TONES = {0: Outcome.HOLDS, 1: Outcome.REJECTED, 3: Outcome.POLICY_NOT_MET}


class HtmlFormat(ReportFormat):
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "text/html"

    def pieces(self, report: Report) -> Iterator[bytes]:
        """Verdict, failures, waivers, every model and bundle with all its findings folded in, and what the proofs hide."""
        return html_page(visible(f"verifai {report.command}: {report.verdict}"), _body(report))


def _body(report: Report) -> Iterator[str]:
    tone = _TONES.get(report.status, Outcome.UNDECIDED)
    word = report.verdict.replace("-", " ").capitalize()
    where = f"decided {_text(report.created)}, exit status {report.status}"
    yield f"<article>{header(tone, f'verifai {report.command}', word, _text(report.summary), where)}{_tiles(report)}"
    yield from _failures(report)
    yield from _waived(report)
    for kind, name in (("model", "Models"), ("bundle", "Bundles")):
        entries = report.of_kind(kind)
        if entries:
            yield f"<section><h2>{name}</h2>"
            yield from listing(kind, (kind, "verdict", "identifier", "findings"), _rows(entries))
            yield "</section>"
    for entry in report.entries:
        if entry.evaluation is not None:
            yield f"<p>{_code(entry.name)}</p>{evaluation_html(entry.evaluation)}"
    for words, names in report.words():
        which = names[0] if len(names) == 1 else f"{len(names)} bundles"
        lines = "".join(f"<li>{_text(line)}</li>" for line in words)
        yield f"<section><h2>What the proofs hide ({_text(which)})</h2><ul>{lines}</ul></section>"
    small = {**report.facts, "verifai": report.version}
    shown = facts([(visible(name), visible(value)) for name, value in small.items()])
    yield f"<section><h2>Identifiers</h2>{shown}</section></article>"


def _tiles(report: Report) -> str:
    if not report.entries:  # nothing was judged, and no figure may look as if it had been
        return ""
    boxes = []
    for kind, name, met in (("model", "Models", "met"), ("bundle", "Bundles", "accepted")):
        found = Counter(one.outcome for one in report.of_kind(kind))
        figure = f"{found[Outcome.HOLDS]:,} of {found.total():,} {met}"
        boxes.append((_worst(found), name, figure, "each judged in this run"))
    failed = Counter(finding.outcome for _, finding in report.failures())
    boxes.append(
        (
            _worst(failed or {Outcome.HOLDS: 1}),
            "Findings that stop",
            f"{failed.total():,}",
            "listed below" if failed else "none",
        )
    )
    waived = sum(1 for _ in report.waived())
    boxes.append((Outcome.NOT_CHECKED, "Waived", f"{waived:,}", "accepted by somebody by name, until a date"))
    return tiles(boxes)


def _worst(found: Mapping[Outcome, int]) -> Outcome:
    order = (Outcome.REJECTED, Outcome.POLICY_NOT_MET, Outcome.UNDECIDED, Outcome.HOLDS)
    return next((one for one in order if found.get(one)), Outcome.NOT_CHECKED)


def _text(text: str) -> str:
    return safe(visible(text))


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>" if text else ""


def _small(label: str, text: str) -> str:
    return f"<small><i>{label}</i> {_text(text)}</small>" if text else ""


def _failures(report: Report) -> Iterator[str]:
    found = report.failures()
    if not found:
        return
    yield '<section><h2>What failed</h2><ul class="problems">'
    for entry, finding in found:
        at = finding.where if finding.where != entry.name else ""
        yield (
            f'<li class="{finding.outcome.value}"><b>{_text(finding.message)}</b>{_small("about", entry.name)}'
            f"{_small('at', at)}{_small('what to do', finding.remedy)}"
            f'<small class="code">{_text(finding.code)}</small></li>\n'
        )
    yield "</ul></section>"


def _waived(report: Report) -> Iterator[str]:
    found = report.waived()
    if not found:
        return
    columns = ("about", "finding", "what", "waiver", "approver", "until", "reason")
    yield "<section><h2>Waived, and so not failed</h2>"
    yield from listing("waived", columns, Revisited(lambda: (_waived_row(*one) for one in found)))
    yield "</section>"


def _waived_row(entry: Entry, one: WaivedFinding) -> Row:
    waiver = one.waiver
    what = (_code(entry.name), _code(one.finding.code), _text(one.finding.message))
    who = (_code(waiver.id), _text(waiver.approver), _code(waiver.expires), _text(waiver.reason))
    return Row(Outcome.NOT_CHECKED, (*what, *who))


def _rows(entries: Revisited[Entry]) -> Revisited[Row]:
    return Revisited(lambda: map(_row, entries))


def _row(entry: Entry) -> Row:
    items = "".join(_item(finding) for finding in entry.findings)
    items += "".join(f"<li>proven: {_text(head)}{_lines(text)}</li>" for head, *text in shown_blocks(entry.values))
    items += "".join(f"<li>{_text(name)}: {_code(value)}</li>" for name, value in entry.facts.items())
    count = f"{len(entry.findings)} finding{'' if len(entry.findings) == 1 else 's'}"
    findings = f"<details><summary>{count}</summary><ul>{items}</ul></details>"
    return Row(entry.outcome, (_code(entry.name), WORDS[entry.outcome], _code(entry.identifier[:16]), findings))


def _lines(text: Sequence[str]) -> str:
    """The lines of a text that was proven; each of them is quoted."""
    return f'<pre class="text">{_NEWLINE.join(_text(line) for line in text)}</pre>' if text else ""


def _item(finding: Finding) -> str:
    word = f"{_MARKS[finding.outcome]} {WORDS[finding.outcome]}"
    return f'<li class="{finding.outcome.value}">{word}: {_text(finding.message)} {_code(finding.code)}</li>'
