"""HTML: one static page without scripts or outside resources, for people who keep or mail a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape as html_escape

from verifai.domain.findings import Finding, Outcome
from verifai.domain.shown import shown_blocks
from verifai.reports.html_evaluation import STYLE, evaluation_html
from verifai.reports.interface import Entry, Report
from verifai.reports.text import visible

_STYLE = """
:root { color-scheme: light dark; --ok: #1a7f37; --bad: #cf222e; --warn: #9a6700; --dim: #6e7781; --line: #d0d7de55; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
border-bottom: 1px solid var(--line); overflow-wrap: anywhere; } th { color: var(--dim); font-weight: 600; }
code { font: 13px/1.4 ui-monospace, monospace; } .holds { color: var(--ok); } .rejected { color: var(--bad); }
.policy-not-met, .undecided { color: var(--warn); } .not-checked { color: var(--dim); }
pre { margin: .2rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; } details ul { margin: .2rem 0 .6rem; }
"""
_NEWLINE = "\n"
_WORD = {
    Outcome.HOLDS: "✓ holds",
    Outcome.REJECTED: "✗ rejected",
    Outcome.POLICY_NOT_MET: "! policy not met",
    Outcome.UNDECIDED: "? undecided",
    Outcome.NOT_CHECKED: "– not checked",
}


class HtmlFormat:
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "text/html"

    def render(self, report: Report) -> bytes:
        """Verdict, failures, waivers, every model and bundle with all its findings folded in, and what the proofs hide."""
        state = "holds" if report.status == 0 else "rejected" if report.status == 1 else "undecided"
        title = f"verifai {report.command}: {report.verdict}"
        facts = {**report.facts, "decided": report.created, "verifai": report.version, "exit status": str(report.status)}
        body = [
            f'<h1 class="{state}">{_text(title)}</h1>',
            f"<p>{_text(report.summary)}</p>",
            _table(("", ""), ((_text(name), _code(value)) for name, value in facts.items())),
        ]
        if report.failures():
            body += [
                "<h2>What failed</h2>",
                _table(("about", "finding", "what", "remedy"), (_failure(*one) for one in report.failures())),
            ]
        if report.waived():
            rows = (
                (_code(entry.name), _code(one.finding.code), _text(one.finding.message), _code(one.waiver.id),
                 _text(one.waiver.approver), _code(one.waiver.expires), _text(one.waiver.reason))
                for entry, one in report.waived()
            )  # fmt: skip
            headings = ("about", "finding", "what", "waiver", "approver", "until", "reason")
            body += ["<h2>Waived, and so not failed</h2>", _table(headings, rows)]
        for kind, name in (("model", "Models"), ("bundle", "Bundles")):
            entries = [entry for entry in report.entries if entry.kind == kind]
            if entries:
                body += [f"<h2>{name}</h2>", _table((kind, "identifier", "outcome", "findings"), map(_entry, entries))]
        for entry in report.entries:
            if entry.evaluation is not None:
                body += [f"<p>{_code(entry.name)}</p>", evaluation_html(entry.evaluation)]
        for words, names in report.words():
            which = names[0] if len(names) == 1 else f"{len(names)} bundles"
            lines = "".join(f"<li>{_text(line)}</li>" for line in words)
            body += [f"<h2>What the proofs hide ({_text(which)})</h2>", f"<ul>{lines}</ul>"]
        style = _STYLE + (STYLE if any(one.evaluation for one in report.entries) else "")
        page = (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            # Even if an escape were missing somewhere, nothing could run or be loaded.
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
            + "\n".join(body)
            + "\n</body>\n</html>\n"
        )
        return page.encode("utf-8")


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
    facts = "".join(f"<li>proven: {_text(head)}{_lines(text)}</li>" for head, *text in shown_blocks(entry.values))
    facts += "".join(f"<li>{_text(name)}: {_code(value)}</li>" for name, value in entry.facts.items())
    findings = f"<details><summary>{len(entry.findings)} findings</summary><ul>{items}{facts}</ul></details>"
    outcome = f'<span class="{entry.outcome.value}">{_WORD[entry.outcome]}</span>'
    return _code(entry.name), _code(entry.identifier[:16]), outcome, findings


def _lines(text: Sequence[str]) -> str:
    return f"<pre>{_NEWLINE.join(_text(line) for line in text)}</pre>" if text else ""


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in headings) if any(headings) else ""
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n{f'<tr>{head}</tr>' if head else ''}\n{body}\n</table>"
