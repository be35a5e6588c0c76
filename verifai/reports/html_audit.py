"""The audit page: one self-contained HTML file that a person who is no cryptographer can read. No network, no script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from verifai.domain.audit import AuditReport
from verifai.domain.audit_words import audit_sentence, count_checks, outputs_words
from verifai.domain.codes import remedy
from verifai.domain.comparison import OutputComparison
from verifai.domain.evaluation.words import lines as evaluation_lines
from verifai.domain.findings import Finding, Outcome, folded, worst
from verifai.domain.on_demand import Revisited
from verifai.reports.html_chain import chain_svg
from verifai.reports.html_evaluation import evaluation_html
from verifai.reports.html_fidelity import fidelity_svg
from verifai.reports.html_page import WORDS, Row, header, html_page, listing, tiles
from verifai.reports.html_text import safe
from verifai.reports.html_values import values_html

_VERDICTS = {
    Outcome.HOLDS: ("Accepted", "Everything that was checked holds."),
    Outcome.REJECTED: ("Rejected", "Some of the evidence is false. Do not rely on it."),
    Outcome.POLICY_NOT_MET: (
        "Not accepted",
        "The evidence is genuine as far as checked, but does not meet what was asked for.",
    ),
    Outcome.UNDECIDED: ("Undecided", "Something could not be checked, so there is no verdict."),
    Outcome.NOT_CHECKED: ("Undecided", "Nothing was checked."),
}
QUESTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Genuine", "Is the evidence complete, unaltered and true?", ("V1", "V2", "V3", "V4", "V5", "V6", "A", "E")),
    ("As asked", "Is it about what was asked?", ("V7", "V8", "V9")),
    ("Trusted", "Do the right people vouch for it?", ("T0", "T1", "T2", "T3", "T5", "T6", "L")),
    ("Fresh", "Is it recent enough?", ("T4",)),
)
"""The four verdicts that are kept apart, with the step numbers that answer each."""


def render_html(reports: Sequence[AuditReport]) -> bytes:
    """One page about ``reports``, in order. Equal reports give equal bytes."""
    return b"".join(html_pieces(reports))


def html_pieces(reports: Sequence[AuditReport]) -> Iterator[bytes]:
    """The page in pieces, one bundle after the other: thousands need not be in memory."""
    title = f"Audit of {reports[0].path}" if len(reports) == 1 else f"Audit of {len(reports)} bundles"
    return html_page(title, _page(reports))


def _page(reports: Sequence[AuditReport]) -> Iterator[str]:
    yield from _overview(reports)
    for number, report in enumerate(reports, 1):
        yield _section(report, number) + "\n"
    yield _glossary()


def question_of(finding: Finding) -> str:
    """Which of the four questions a finding answers; what has no step is about genuineness."""
    for name, _, steps in QUESTIONS[1:]:
        if any(finding.step == step or finding.step.startswith(f"{step}.") for step in steps):
            return name
    return QUESTIONS[0][0]


def _overview(reports: Sequence[AuditReport]) -> Iterator[str]:
    """All of them at a glance; failures can be picked out."""
    if len(reports) == 1:
        return
    found = Counter(report.outcome for report in reports)
    order = (Outcome.REJECTED, Outcome.POLICY_NOT_MET, Outcome.UNDECIDED, Outcome.HOLDS)
    whole = next((one for one in order if found[one]), Outcome.NOT_CHECKED)
    word, sentence = _VERDICTS[whole]
    told = f"{found[Outcome.HOLDS]:,} of {len(reports):,} bundles accepted. {sentence}"
    top = header(whole, f"{len(reports):,} bundles, audited by verifai", word, told, f"audited {safe(reports[0].audited)}")
    yield f"<section>{top}<h2>The bundles</h2>"
    columns = ("bundle", "verdict", "output", "hold", "not made", "failed")
    rows = Revisited(lambda: (_row(number, report) for number, report in enumerate(reports, 1)))
    yield from listing("bundles", columns, rows, kind="overview counted")
    yield "</section>"


def _row(number: int, report: AuditReport) -> Row:
    hold, unmade, failed = count_checks(report)
    outputs = outputs_words(report.values) if report.values else ""
    link = f'<a href="#bundle-{number}">{safe(report.path)}</a>'
    return Row(report.outcome, (link, WORDS[report.outcome], safe(outputs), str(hold), str(unmade), str(failed)))


def _section(report: AuditReport, number: int = 1) -> str:
    word, sentence = _VERDICTS[report.outcome]
    parts = [
        header(
            report.outcome,
            "verifai audit",
            word,
            safe(audit_sentence(report)),
            safe(sentence),
            f"<code>{safe(report.path)}</code><br>audited {safe(report.audited)}",
        ),
        _insecure(report),
        _tiles(report),
        _problems(report),
        values_html(report.values, note=_VALUES),
        "" if report.evaluation is None else evaluation_html(report.evaluation),
        _statement(report),
        _chain(report),
        _fidelity(report),
        _checks(report),
        _not_checked(report),
        _facts(report),
    ]
    return f'<article id="bundle-{number}">{"".join(part for part in parts if part)}</article>'


_VALUES = (
    "What the proof shows to everyone. A circuit computes with whole numbers; each value is one of them times its step. Names "
    "of classes and columns are those of the circuit’s lock."
)
_INSECURE = {"test-srs": "the set-up of this circuit was made for tests only. Its maker can forge proofs of anything."}


def _insecure(report: AuditReport) -> str:
    return "".join(
        f'<p class="insecure"><b>Insecure ({safe(mode)})</b>: {_INSECURE.get(mode, "an insecure mode is in force.")}</p>'
        for mode in report.insecure
    )


def _tiles(report: AuditReport) -> str:
    boxes = []
    for name, question, _ in QUESTIONS:
        found = [one for one in report.findings if question_of(one) == name]
        checked = [one for one in found if one.outcome is not Outcome.NOT_CHECKED]
        outcome = worst(checked) if checked else Outcome.NOT_CHECKED
        count = f"{len(checked)} of {len(found)} checks done" if found else "no check"
        boxes.append((outcome, name, WORDS[outcome], f"{question}<br>{count}"))
    return tiles(boxes)


def _problems(report: AuditReport) -> str:
    bad = [one for one in report.findings if one.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)]
    if not bad:
        return ""
    items = "".join(
        f'<li class="{one.outcome.value}"><b>{safe(one.message)}</b>{_small("at", one.where)}{_small("found", one.evidence)}'
        f'{_small("what to do", one.remedy or remedy(one.code))}<small class="code">{safe(one.code)}</small></li>'
        for one in bad
    )
    return f'<section><h2>What is wrong</h2><ul class="problems">{items}</ul></section>'


def _statement(report: AuditReport) -> str:
    if not report.words:
        body = "<p>The proof was not accepted, so nothing follows from it.</p>"
    else:
        one = report.evaluation  # its rates stand in a table of their own
        told = set() if one is None else set(evaluation_lines(one.data, one.metrics, one.confidence)[1:])
        body = "<ul>" + "".join(f"<li>{safe(line)}</li>" for line in report.words if line not in told) + "</ul>"
    return f"<section><h2>What the evidence says</h2>{body}</section>"


def _chain(report: AuditReport) -> str:
    if not report.chain:
        return ""
    note = (
        "<p>Each box is named by the SHA-256 of its content and names the boxes that it builds on, so none can be exchanged "
        "without changing all that follow. A tick shows whose trusted signature was found.</p>"
    )
    return f"<section><h2>Where it comes from</h2>{note}<figure>{chain_svg(report.chain)}</figure></section>"


def _fidelity(report: AuditReport) -> str:
    if not report.comparisons:
        return ""
    note = (
        "<p>A proof computes with whole numbers; the original model with floating-point numbers. The audit ran the original "
        "model on the input that was given, or else on the proven one, which is rounded to the circuit’s steps; step A6 below "
        "says which. Above: dots are the proven values, rings the original model’s. Below: their difference, with the largest "
        "one of compile time as a dashed line.</p>"
    )
    bound = None if report.fidelity is None else float(report.fidelity.max_abs_error)
    plots = "".join(
        f"<figure>{fidelity_svg(one, bound)}<figcaption>{safe(_caption(report, one))}</figcaption></figure>"
        for one in report.comparisons
    )
    return f"<section><h2>How close the proof is to the original model</h2>{note}{plots}</section>"


_SAME = {True: " Its decision is the original model’s.", False: " Its decision is not the original model’s.", None: ""}


def _caption(report: AuditReport, one: OutputComparison) -> str:
    spreads = "" if one.spread_error is None else f", that is {one.spread_error:.2g} standard deviations of it"
    caption = f"Output “{one.name}”: largest difference {one.max_abs_error:.4g}{spreads}, mean {one.mean_abs_error:.4g}."
    caption += _SAME[one.same_class]
    if report.fidelity is not None:
        pinned = float(report.fidelity.max_abs_error)
        caption += f" At compile time the largest difference over {report.fidelity.samples} samples was {pinned:.4g}."
    return caption


def _checks(report: AuditReport) -> str:
    tables = []
    for name, question, _ in QUESTIONS:
        rows = "".join(
            f'<tr class="{one.outcome.value}"><td class="step">{safe(one.step)}</td>'
            f'<td class="outcome">{WORDS[one.outcome]}</td>'
            f"<td>{safe(one.message)}{_small('at', one.where)}{_small('evidence', one.evidence)}"
            f'{_small("what to do", one.remedy)}</td><td class="code">{safe(one.code)}</td></tr>'
            for one in folded(report.findings)
            if question_of(one) == name
        )
        if rows:
            head = "<tr><th>step</th><th>verdict</th><th>check</th><th>code</th></tr>"
            table = f'<table class="checks"><thead>{head}</thead><tbody>{rows}</tbody></table>'
            tables.append(f"<h3>{name} <small>{question}</small></h3>{table}")
    return f"<section><h2>Every check</h2>{''.join(tables)}</section>"


def _not_checked(report: AuditReport) -> str:
    items = "".join(f"<li>{safe(one.message)}{_small('what to do', one.remedy)}</li>" for one in folded(report.not_checked))
    if report.bundle_id is None:
        body = "<p>The bundle could not be read, so nothing that it may hold was checked.</p>"
    else:
        body = f"<ul>{items}</ul>" if items else "<p>Nothing that a check of this release covers was left out.</p>"
        if not report.words:
            body += "<p>The proof did not hold; what builds on it was not checked.</p>"
    always = (
        "<p>No audit of this kind says that the model is good or fair, that it was trained as claimed, that the input is "
        "authentic, or that no other proofs were made and kept back.</p>"
    )
    return f"<section><h2>What was not checked</h2>{body}{always}</section>"


def _facts(report: AuditReport) -> str:
    facts = {"Bundle": report.bundle_id or "unreadable", **report.facts}
    rows = "".join(f"<tr><th>{safe(name)}</th><td><code>{safe(value)}</code></td></tr>" for name, value in facts.items())
    return f'<section><h2>Identifiers</h2><table class="facts">{rows}</table></section>'


_GLOSSARY = {
    "Proof": "a short file by which a computer can check that a computation was carried out correctly, without repeating it.",
    "Circuit": "the computation, fixed once; its key is what a proof is checked against.",
    "SHA-256": "a fingerprint of a file: no two different files with the same one can be made.",
    "Signature": "shows that the holder of a secret key vouched for exactly this content.",
    "Audit log": "a public list to which entries can be added, but in which none can be changed or removed without trace.",
    "Public, private, hashed": "whether all can read a tensor, no one can, or only its holders can match it.",
    "Zero-knowledge": (
        "the proof shows that a statement is true and nothing else about what is private. “Unaudited”: no one outside this "
        "project has checked that claim. “Integrity-only”: the proof shows that the computation is right, and hides nothing."
    ),
}


def _glossary() -> str:
    items = "".join(f"<dt>{name}</dt><dd>{meaning}</dd>" for name, meaning in _GLOSSARY.items())
    return f'<section class="glossary"><h2>Words</h2><dl>{items}</dl></section>'


def _small(label: str, text: str) -> str:
    return f"<small><i>{label}</i> {safe(text)}</small>" if text else ""
