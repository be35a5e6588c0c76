"""HTML: one static page without scripts or outside resources, for people who keep or mail a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape as html_escape

from verifai.domain.findings import Finding, Outcome
from verifai.domain.shown import shown_lines
from verifai.reports.html_evaluation import STYLE, evaluation_html
from verifai.reports.interface import Entry, Report, ReportFormat
from verifai.reports.text import visible

_STYLE = """
:root { color-scheme: light dark; --ok: #1a7f37; --bad: #cf222e; --warn: #9a6700; --dim: #6e7781; --line: #d0d7de55; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
border-bottom: 1px solid var(--line); overflow-wrap: anywhere; } th { color: var(--dim); font-weight: 600; }
code { font: 13px/1.4 ui-monospace, monospace; } .holds { color: var(--ok); } .rejected { color: var(--bad); }
.policy-not-met, .undecided { color: var(--warn); } .not-checked { color: var(--dim); }
summary { cursor: pointer; } details ul { margin: .2rem 0 .6rem; }
"""
_WORD = {
    Outcome.HOLDS: "✓ holds",
    Outcome.REJECTED: "✗ rejected",
    Outcome.POLICY_NOT_MET: "! policy not met",
    Outcome.UNDECIDED: "? undecided",
    Outcome.NOT_CHECKED: "– not checked",
}


class HtmlFormat(ReportFormat):
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "text/html"

    def pieces(self, report: Report) -> Iterator[bytes]:
        """Verdict, failures, waivers, every model and bundle with all its findings folded in, and what the proofs hide."""
        title = f"verifai {report.command}: {report.verdict}"
        style = _STYLE + (STYLE if any(one.evaluation for one in report.entries) else "")
        head = (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            # Even if an escape were missing somewhere, nothing could run or be loaded.
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        )
        for piece in (head, *_lead(report, title)):
            yield piece.encode("utf-8")
        yield from (piece.encode("utf-8") for piece in _body(report))
        yield b"</body>\n</html>\n"


def _lead(report: Report, title: str) -> Iterator[str]:
    state = "holds" if report.status == 0 else "rejected" if report.status == 1 else "undecided"
    facts = {**report.facts, "decided": report.created, "verifai": report.version, "exit status": str(report.status)}
    yield f'<h1 class="{state}">{_text(title)}</h1>\n<p>{_text(report.summary)}</p>\n'
    yield from _table(("", ""), ((_text(name), _code(value)) for name, value in facts.items()))


def _body(report: Report) -> Iterator[str]:
    failures, waived = report.failures(), report.waived()
    if failures:
        yield "<h2>What failed</h2>\n"
        yield from _table(("about", "finding", "what", "remedy"), (_failure(*one) for one in failures))
    if waived:
        rows = (
            (_code(entry.name), _code(one.finding.code), _text(one.finding.message), _code(one.waiver.id),
             _text(one.waiver.approver), _code(one.waiver.expires), _text(one.waiver.reason))
            for entry, one in waived
        )  # fmt: skip
        yield "<h2>Waived, and so not failed</h2>\n"
        yield from _table(("about", "finding", "what", "waiver", "approver", "until", "reason"), rows)
    for kind, name in (("model", "Models"), ("bundle", "Bundles")):
        entries = report.of_kind(kind)
        if entries:
            yield f"<h2>{name}</h2>\n"
            yield from _table((kind, "identifier", "outcome", "findings"), map(_entry, entries))
    for entry in report.entries:
        if entry.evaluation is not None:
            yield f"<p>{_code(entry.name)}</p>\n{evaluation_html(entry.evaluation)}\n"
    for words, names in report.words():
        which = names[0] if len(names) == 1 else f"{len(names)} bundles"
        lines = "".join(f"<li>{_text(line)}</li>" for line in words)
        yield f"<h2>What the proofs hide ({_text(which)})</h2>\n<ul>{lines}</ul>\n"


def _text(text: str) -> str:
    return html_escape(visible(text), quote=True)


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>" if text else ""


def _failure(entry: Entry, finding: Finding) -> tuple[str, ...]:
    where = f" <small>({_text(finding.where)})</small>" if finding.where and finding.where != entry.name else ""
    what = f'<span class="{finding.outcome.value}">{_text(finding.message)}</span>{where}'
    return _code(entry.name), _code(finding.code), what, _text(finding.remedy)


def _entry(entry: Entry) -> tuple[str, ...]:
    items = "".join(
        f'<li class="{finding.outcome.value}">{_WORD[finding.outcome]}: {_text(finding.message)} {_code(finding.code)}</li>'
        for finding in entry.findings
    )
    facts = "".join(f"<li>proven: {_text(line)}</li>" for line in shown_lines(entry.values))
    facts += "".join(f"<li>{_text(name)}: {_code(value)}</li>" for name, value in entry.facts.items())
    findings = f"<details><summary>{len(entry.findings)} findings</summary><ul>{items}{facts}</ul></details>"
    outcome = f'<span class="{entry.outcome.value}">{_WORD[entry.outcome]}</span>'
    return _code(entry.name), _code(entry.identifier[:16]), outcome, findings


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    head = "".join(f"<th>{_text(name)}</th>" for name in headings) if any(headings) else ""
    yield f"<table>\n{f'<tr>{head}</tr>' if head else ''}\n"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n"
    yield "</table>\n"
