"""The first line of an audit says what was shown, and no more; Markdown shows foreign text as text."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.unit.domain.evaluation.test_metrics import lock
from verifai.domain.audit import AuditReport
from verifai.domain.audit_words import SIGNED, audit_sentence, count_checks
from verifai.domain.digest import Sha256
from verifai.domain.evaluation.metrics import Metrics, RightCount
from verifai.domain.evaluation.shown import ShownEvaluation
from verifai.domain.findings import Finding, Outcome
from verifai.domain.shown import Decision, ShownTensor
from verifai.domain.statement import Role
from verifai.errors import Undecided
from verifai.reports.html_audit import html_pieces, question_of, render_html
from verifai.reports.markdown_audit import escaped, render_markdown
from verifai.reports.pdf import render_pdf

OUTPUT = ShownTensor(
    Role.OUTPUT, "scores", (1, 3), (0.1, 0.7, 0.2), (0.01,), decides=True, decisions=(Decision(0, 1, "virginica"),), decided=1
)
FACTS = {
    "Circuit": "iris",
    "Engine": "sumcheck 1",
    "Model (SHA-256)": "ab" * 32,
    "Made": "2026-01-02T03:04:05Z",
    SIGNED: "alice (key 0123…)",
}


def report(*outcomes: Outcome, words: tuple[str, ...] = ("said",), **more: object) -> AuditReport:
    findings = tuple(Finding(f"code-{index}", one, f"check {index}") for index, one in enumerate(outcomes))
    fields = {"facts": FACTS, "values": (OUTPUT,), "audited": "2026-02-03T00:00:00Z"} | more
    return AuditReport("evidence/0", Sha256("cd" * 32), words, findings, **fields)  # type: ignore[arg-type]


def test_an_accepted_proof_is_shown_with_output_signer_time_and_counts() -> None:
    told = audit_sentence(report(Outcome.HOLDS, Outcome.HOLDS, Outcome.NOT_CHECKED))
    assert told.startswith("It is shown that the circuit 'iris' (sumcheck 1)")
    for part in ("class 1, virginica", "alice (key 0123…)", "2026-01-02T03:04:05Z", "2 checks hold, 1 was not", "0 failed"):
        assert part in told


def test_of_an_evaluation_the_figure_is_told_and_no_output() -> None:
    shown = ShownEvaluation(lock(), Metrics(RightCount(100, 97)), "scores")
    told = audit_sentence(report(Outcome.HOLDS, values=(), evaluation=shown))
    assert told.startswith("It is shown: Data set 'set'")
    assert "97 of 100 answers are proven to be right" in told
    assert "alice (key 0123…)" in told
    unmet = audit_sentence(report(Outcome.POLICY_NOT_MET, values=(), evaluation=shown))
    assert unmet.startswith("The proof holds, but not all that was asked for: Data set 'set'")


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.POLICY_NOT_MET, Outcome.UNDECIDED])
def test_what_does_not_hold_is_never_said_to_be_shown(outcome: Outcome) -> None:
    for words in ((), ("said",)):
        told = audit_sentence(report(Outcome.HOLDS, outcome, words=words))
        assert "is shown that" not in told and "1 failed" in told
    assert count_checks(report(Outcome.HOLDS, outcome)) == (1, 0, 1)


def test_nobody_is_named_as_signer_who_is_not_trusted_and_an_insecure_set_up_comes_first() -> None:
    facts = {key: value for key, value in FACTS.items() if key != SIGNED}
    assert "signed by nobody whom the trust file names" in audit_sentence(report(Outcome.HOLDS, facts=facts))
    assert audit_sentence(report(Outcome.HOLDS, insecure=("test-srs",))).startswith("INSECURE (test-srs)")
    assert "does not show" in audit_sentence(report(Outcome.HOLDS, values=()))
    unread = AuditReport("x", None, (), (Finding("malformed", Outcome.REJECTED, "no"),))
    assert audit_sentence(unread).startswith("The evidence could not be read")


def test_several_begin_with_an_overview_and_one_does_not() -> None:
    good, bad = report(Outcome.HOLDS), report(Outcome.REJECTED, words=())
    page = render_html([good, bad]).decode()
    assert page.index("2 bundles, audited by verifai") < page.index('id="bundle-1"')
    four = render_html([good, good, good, bad]).decode()
    assert "not accepted 1" in four and "accepted 3" in four and "not accepted 1" not in page, "a short list needs no filter"
    assert 'href="#bundle-2"' in page and 'id="bundle-2"' in page and "<script" not in page
    assert 'class="overview' not in render_html([good]).decode()
    assert render_markdown([good, bad]).decode().startswith("# Audit of 2 bundles\n\n| bundle |")


HOSTILE = "a|b\n# head *bold* [x](http://evil.example) <img src=x> `c` @everyone www.evil.example\x1b[31m"


def test_what_is_wrong_says_what_to_do_and_whom_it_concerns() -> None:
    wrong = Finding("anchors-came-along", Outcome.POLICY_NOT_MET, "both came with it", step="T0")
    one = AuditReport("case", Sha256("1" * 64), ("said",), (wrong,))
    assert question_of(wrong) == "Trusted"
    for text in (render_html([one]).decode(), render_markdown([one]).decode()):
        assert "told by somebody you trust" in text, "the remedy that the code is listed with"


def test_foreign_text_in_markdown_is_text() -> None:
    told = escaped(HOSTILE)
    assert not set("|*[]<>`@#\n\x1b") & set(told.replace("&#", ""))
    assert "://" not in told and "www." not in told
    page = render_markdown([report(Outcome.HOLDS, facts=FACTS | {"Context": HOSTILE})]).decode()
    assert "<img" not in page and "http://" not in page and "\x1b" not in page


def test_a_pdf_is_made_or_says_what_is_missing() -> None:
    page = html_pieces([report(Outcome.HOLDS)])
    if importlib.util.find_spec("weasyprint") is None:
        with pytest.raises(Undecided) as problem:
            render_pdf(page)
        assert problem.value.code == "package-missing" and "[pdf]" in problem.value.hint
    else:
        assert render_pdf(page).startswith(b"%PDF-")


def test_a_pdf_that_would_take_gigabytes_is_refused_before_its_page_is_in_memory() -> None:
    made = []

    def pieces() -> Iterator[bytes]:
        for number in range(1_000):
            made.append(number)
            yield bytes(2**20)

    with pytest.raises(Undecided) as problem:
        render_pdf(pieces())
    assert problem.value.code == "report-too-large" and "--report html=" in problem.value.hint
    assert len(made) == 5, "what comes after the limit is not even made"
