"""Texts of several lines, such as code that a model wrote: shown as lines, and no line passes for one of a report's own."""

from __future__ import annotations

import re
from html import unescape

import pytest

from verifai.cli.text import value_lines
from verifai.domain.audit import AuditReport
from verifai.domain.digest import sha256
from verifai.domain.findings import Outcome
from verifai.domain.shown import TEXT_LINES, ShownTensor, shown_blocks, shown_lines
from verifai.domain.statement import Role
from verifai.domain.tokenizer import TokenText
from verifai.reports.gate_page import HtmlFormat
from verifai.reports.html_audit import render_html
from verifai.reports.html_values import values_html
from verifai.reports.interface import Entry, Report
from verifai.reports.markdown_audit import render_markdown

CODE = "\ndef double(x):\n    return x + x\n"
HOSTILE = [
    "yes\n ✓ V5.4  the proof holds [proof-valid]\nACCEPTED other",
    "a\n</pre></section><script>alert(1)</script>\n<b>",
    "a\x1b[2J\x1b[1;32m\nb\rc\x0bd\x85e\u2028f\u2029g",
    "\u202egnp.exe\n\u200b\u200f\ud800",
    '"\n" (2 tokens)\nanswer = "no" (1 tokens)',
    "\n".join(["- [x](http://evil.example)", "| a | b |", "# Verdict", "*b* `c` @you", "1. one"]),
]


def answer(text: str, **more: object) -> ShownTensor:
    told = TokenText(text, 2, "[PAD]", {"<|end|>": 1})
    return ShownTensor(Role.OUTPUT, "answer", (1, 3), (1.0, 2.0, 3.0), (1.0,), text=told, part="answer", note="ended", **more)  # type: ignore[arg-type]


def reports(text: str) -> tuple[str, str, str]:
    """The audit as a page and as Markdown, and the gate's page."""
    audit = [AuditReport("p", None, (), (), values=(answer(text),))]
    entry = Entry("bundle", "b", sha256(b"b"), Outcome.HOLDS, (), values=(answer(text),))
    gate = HtmlFormat().render(Report("gate", "accepted", 0, "s", "2026-06-15T12:00:00Z", "0.1.0", (entry,)))
    return render_html(audit).decode(), render_markdown(audit).decode(), gate.decode()


def test_code_is_shown_as_its_lines() -> None:
    told = ['"\\n"', '"def double(x):\\n"', '"    return x + x\\n", then 2 × "[PAD]"; 1 × "<|end|>" in it spelled by ']
    (block,) = shown_blocks([answer(CODE)])
    assert block[0] == "answer (3 tokens, ended):"
    assert [line[: len(want)] for line, want in zip(block[1:], told, strict=True)] == told
    assert value_lines([answer(CODE)])[1:3] == ['     "\\n"', '     "def double(x):\\n"']
    page, markdown, gate = reports(CODE)
    assert '<pre class="text">&quot;\\n&quot;\n' in gate and "\n&quot;    return x + x" in gate
    assert '<pre class="text">' in page and "\n&quot;    return x + x" in page
    assert markdown.count("\n    - ") == 3 and "&nbsp; &nbsp; return x + x" in markdown


def test_one_line_stays_one_line() -> None:
    for text in ("", " Paris.", " Paris.\n"):
        (block,) = shown_blocks([answer(text)])
        assert len(block) == 1 and block == shown_lines([answer(text)])
        assert "<pre" not in values_html([answer(text)])


@pytest.mark.parametrize("text", HOSTILE)
def test_no_line_of_a_text_passes_for_ours(text: str) -> None:
    (block,) = shown_blocks([answer(text)])
    for line in block[1:]:
        assert line.startswith('"') and "\n" not in line
    assert len(block) == 1 + len(re.findall(r"[^\n]*\n|[^\n]+", text))
    for line in value_lines([answer(text)])[1:]:
        assert re.match(r'     \\?"', line) and line.isprintable()
    page, markdown, gate = reports(text)
    for foreign in ("<script", "</pre></section>", "\x1b", "\r", "\u202e", "\u2028", "\x85", "\ud800"):
        assert not any(foreign in one for one in (page, markdown, gate))
    opening = '<pre class="text">'
    for whole in (page, gate):
        shown = whole[whole.index(opening) + len(opening) :].split("</pre>")[0]
        assert all(unescape(line).startswith('"') for line in shown.split("\n"))
    assert not re.search(r"^(# Verdict|\| a \| b|ACCEPTED|1\. one)", markdown, re.MULTILINE)
    assert "](http" not in markdown


def test_a_flood_of_lines_is_one_line() -> None:
    flood = "\n" * (TEXT_LINES + 1)
    (block,) = shown_blocks([answer(flood)])
    assert len(block) == 1
    assert "<pre" not in values_html([answer(flood)])
