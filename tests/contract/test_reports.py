"""What every report format must keep: it says what the verdict says, readable by its own reader, whatever the names hold."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft7Validator
from junitparser import Error, Failure, JUnitXml
from markdown_it import MarkdownIt

from tests.support.paths import ROOT
from verifai.domain import strict_json
from verifai.domain.digest import sha256
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.places import Places
from verifai.domain.policy.waiver import Scope, ScopeKind, WaivedFinding, Waiver
from verifai.domain.shown import Decision, ShownTensor
from verifai.domain.statement import Role
from verifai.errors import UsageError
from verifai.reports.from_gate import report_of_error
from verifai.reports.github_format import MAX_PER_KIND
from verifai.reports.interface import Entry, Report
from verifai.reports.markdown_format import MAX_BYTES
from verifai.reports.registry import ReportName, format_for

SARIF_SCHEMA = ROOT / "tests" / "data" / "sarif-2.1.0-rtm.5.schema.json"
HOSTILE = (
    "plain",
    "a\n::error::forged",
    "::set-output name=x::y",
    "##[add-mask]secret",
    "a\r\n::stop-commands::token",
    "%0A::error::decoded",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "](https://evil.example) [click](javascript:alert(1))",
    "![tracker](https://evil.example/pixel.png)",
    "| cell | ``code`` ` ```",
    "@everyone #1 https://evil.example www.evil.example",
    "\x00\x07\x1b[31mred\x1b[0m",
    "‮gnp.exe\u2028next\u0085line",
    "surrogate \udcff here",
    "{0} {{1}} [x](0)",
    "]]> &amp; \"quoted\" 'single'",
    "\\`*_{}[]()#+-.!|<>~",
    "a" * 5000,
    "http:evil/../..?x#y",
)


def entry(name: str, outcome: Outcome, code: str, message: str = "what was seen") -> Entry:
    finding = Finding(code, outcome, message, where=name, remedy="do this")
    digest = sha256(name.encode("utf-8", "surrogateescape"))
    words = (f"Not hidden: {name}.",)
    values = (proven(name),)
    return Entry("bundle", name, digest, outcome, (finding,), facts={"engine": name}, words=words, values=values)


def proven(name: str) -> ShownTensor:
    decisions = (Decision(0, 1, name),)
    return ShownTensor(
        Role.OUTPUT,
        name,
        (1, 2),
        (0.25, 0.75),
        (0.01,),
        (name, "b"),
        True,
        False,
        decisions,
        1,
        ((1, 0.75), (0, 0.25)),
        0.25,
        0.75,
    )


def report(*entries: Entry, status: int = 1) -> Report:
    words = {0: "accepted", 1: "rejected", 3: "policy-not-met", 4: "undecided"}
    facts = {"policy": "release"}
    return Report("gate", words[status], status, "one sentence", "2026-06-15T12:00:00Z", "0.1.0", entries, facts)


def hostile_report() -> Report:
    entries = [entry(name, Outcome.REJECTED, "proof-invalid", name) for name in HOSTILE]
    scope = Scope(ScopeKind.BUNDLE, sha256(b"x"))
    for name in HOSTILE:
        waiver = Waiver("W-1", "stale", scope, name, name, "2026-07-01T00:00:00Z")
        stale = Finding("stale", Outcome.POLICY_NOT_MET, name, where=name)
        good = Finding("proof-valid", Outcome.HOLDS, name)
        entries.append(Entry("bundle", name, "", Outcome.HOLDS, (good,), (WaivedFinding(stale, waiver),)))
    return replace(report(*entries), summary=HOSTILE[1], facts={HOSTILE[6]: HOSTILE[7]})


ACCEPTED = report(entry("evidence/a", Outcome.HOLDS, "proof-valid"), status=0)
REJECTED = report(entry("evidence/a", Outcome.HOLDS, "proof-valid"), entry("evidence/b", Outcome.REJECTED, "proof-invalid"))
MIXED = report(
    entry("a", Outcome.REJECTED, "proof-invalid"),
    entry("b", Outcome.POLICY_NOT_MET, "stale"),
    entry("c", Outcome.UNDECIDED, "out-of-memory"),
)
BROKEN = report_of_error(
    UsageError("bad-policy", "no such field", where="verifai.toml:3"), created=ACCEPTED.created, version="0.1.0"
)
REPORTS = {"accepted": ACCEPTED, "rejected": REJECTED, "mixed": MIXED, "broken": BROKEN, "hostile": hostile_report()}
FORMATS = pytest.mark.parametrize("name", list(ReportName))


@FORMATS
@pytest.mark.parametrize("which", REPORTS)
def test_equal_reports_give_equal_bytes_in_utf8(name: ReportName, which: str) -> None:
    data = format_for(name).render(REPORTS[which])
    assert data == format_for(name).render(REPORTS[which])
    assert data.endswith(b"\n")
    # The HTML page's own style sheet and the table of Markdown have line breaks; nothing else that moves a cursor is allowed.
    assert not [char for char in data.decode("utf-8") if not char.isprintable() and char != "\n"]


@FORMATS
def test_a_failure_is_told_with_its_code_and_what_it_is_about(name: ReportName) -> None:
    text = format_for(name).render(REJECTED).decode()
    assert "proof-invalid" in text
    assert "evidence" in text
    assert "rejected" in text


@FORMATS
def test_a_run_that_judged_nothing_cannot_be_read_as_a_pass(name: ReportName) -> None:
    text = format_for(name).render(BROKEN).decode()
    assert "bad-policy" in text
    assert "accepted" not in text


@FORMATS
def test_accepted_and_rejected_differ(name: ReportName) -> None:
    assert format_for(name).render(ACCEPTED) != format_for(name).render(replace(ACCEPTED, verdict="rejected", status=1))


@FORMATS
def test_a_waived_finding_is_told_apart_with_its_waiver(name: ReportName) -> None:
    text = format_for(name).render(hostile_report()).decode()
    assert "W-1" in text
    assert "waived" in text.lower() or name is ReportName.SARIF


@pytest.mark.parametrize("name", [ReportName.JSON, ReportName.MARKDOWN, ReportName.HTML])
def test_what_was_proven_is_told_in_values(name: ReportName) -> None:
    text = format_for(name).render(ACCEPTED).decode()
    assert "0.75" in text and "evidence/a" in text
    if name is ReportName.JSON:
        (bundle,) = json.loads(text)["bundles"]
        assert bundle["values"][0]["values"] == ["0.25", "0.75"], "attested reports hold no floats"
        assert bundle["values"][0]["decisions"] == [{"row": 0, "index": 1, "label": "evidence/a"}]
    else:
        assert "class 1, evidence/a" in text


def test_every_format_says_its_media_type() -> None:
    assert len({format_for(name).media_type for name in ReportName}) == len(ReportName)


# JSON


@pytest.mark.parametrize("which", REPORTS)
def test_json_is_strict_and_holds_everything(which: str) -> None:
    data = format_for(ReportName.JSON).render(REPORTS[which])
    document = strict_json.loads(data, where="report")
    assert document["schema"] == "verifai/gate/v1"
    assert document["status"] == REPORTS[which].status
    assert len(document["bundles"]) == len(REPORTS[which].entries)


# SARIF


def _sarif(which: Report) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(format_for(ReportName.SARIF).render(which))
    return result


@pytest.mark.parametrize("which", REPORTS)
def test_sarif_is_valid_by_the_official_schema(which: str) -> None:
    schema = json.loads(SARIF_SCHEMA.read_text())
    Draft7Validator.check_schema(schema)
    problems = [problem.message for problem in Draft7Validator(schema).iter_errors(_sarif(REPORTS[which]))]
    assert not problems


def test_the_schema_refuses_what_is_not_sarif() -> None:
    document = _sarif(MIXED)
    document["runs"][0]["results"][0]["level"] = "catastrophe"
    assert not Draft7Validator(json.loads(SARIF_SCHEMA.read_text())).is_valid(document)


def test_sarif_results_are_the_failures_and_the_waived() -> None:
    run = _sarif(MIXED)["runs"][0]
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == [
        ("proof-invalid", "error"),
        ("stale", "error"),
        ("out-of-memory", "warning"),
    ]
    assert run["invocations"][0]["exitCode"] == 1
    for one in run["results"]:
        assert run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"]
    suppressed = [one for one in _sarif(hostile_report())["runs"][0]["results"] if one.get("suppressions")]
    assert len(suppressed) == len(HOSTILE)


def test_sarif_places_are_relative_references_without_scheme_or_host() -> None:
    for one in _sarif(hostile_report())["runs"][0]["results"]:
        uri = one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.startswith("./")
        assert not set(uri) & set('\\<>"{}|^`#?: \n')


def test_sarif_messages_hold_no_link_and_no_placeholder() -> None:
    for one in _sarif(hostile_report())["runs"][0]["results"]:
        text = one["message"]["text"].replace("\\\\", "").replace("\\[", "").replace("\\]", "")
        assert "[" not in text
        assert "]" not in text
        assert "{" not in text.replace("{{", "")


POLICY = """schema = "verifai/policy/v1"
name = "release"
trust = "trust.toml"

[[model]]
name = "one"
lock = "one.lock"
evidence = ["proof"]
max_age = "30d"

[model.proof]
inferences = 10

[[model]]
name = "two"
lock = "two.lock"

[model.proof]
engines = ["ezkl"]
inferences = 2
recall_of.fraud = 0.9
"""
LOCKS = {
    name: (f"{name}.lock", f'name = "{name}"\nvk_sha256 = "{digit * 64}"\n') for name, digit in (("one", "1"), ("two", "2"))
}
PLACES = Places("verifai.toml", POLICY, ("one", "two"), LOCKS)


@pytest.mark.parametrize(
    ("finding", "models", "expected"),
    [
        (Finding("stale", Outcome.POLICY_NOT_MET, "old", where="max_age"), ("one",), ("verifai.toml", 9)),
        (Finding("engine-not-allowed", Outcome.POLICY_NOT_MET, "x", where="engines"), ("two",), ("verifai.toml", 19)),
        (Finding("too-few-inferences", Outcome.POLICY_NOT_MET, "x", where="two: inferences"), ("two",), ("verifai.toml", 20)),
        (Finding("too-few-inferences", Outcome.POLICY_NOT_MET, "x", where="one: inferences"), ("one",), ("verifai.toml", 12)),
        (Finding("recall", Outcome.POLICY_NOT_MET, "x", where="recall_of.fraud"), ("two",), ("verifai.toml", 21)),
        (Finding("evidence-missing", Outcome.POLICY_NOT_MET, "x", where="one: proof"), ("one",), ("verifai.toml", 11)),
        (Finding("key-mismatch", Outcome.REJECTED, "x", evidence="a != " + "2" * 64), ("two",), ("two.lock", 2)),
        (Finding("key-mismatch", Outcome.POLICY_NOT_MET, "x", evidence="2" * 64), ("two",), ("verifai.toml", 14)),
        (Finding("below-threshold", Outcome.POLICY_NOT_MET, "x", step="T5"), ("one",), ("verifai.toml", 3)),
        (Finding("proof-invalid", Outcome.REJECTED, "x", where="evidence/a/proof.json"), ("two",), ("verifai.toml", 14)),
        (Finding("model-not-in-policy", Outcome.REJECTED, "x"), (), ("verifai.toml", 5)),
        (Finding("bad-policy", Outcome.UNDECIDED, "x", where="verifai.toml:7: model[0].lock"), (), ("verifai.toml", 7)),
        (Finding("bad", Outcome.REJECTED, "x", where="verifai.toml:99999999999999999999"), ("one",), ("verifai.toml", 5)),
        (Finding("bad", Outcome.REJECTED, "x", where="(" * 5000), ("no such model", "two"), ("verifai.toml", 5)),
    ],
)
def test_sarif_points_at_the_line_that_asked_or_pinned(
    finding: Finding, models: tuple[str, ...], expected: tuple[str, int]
) -> None:
    one = Entry("bundle", "evidence/a", "", finding.outcome, (finding,), models=models)
    (result,) = _sarif(replace(report(one), places=PLACES))["runs"][0]["results"]
    (place,) = result["locations"]
    found = place["physicalLocation"]
    assert (found["artifactLocation"]["uri"], found["region"]["startLine"]) == (f"./{expected[0]}", expected[1])
    assert result["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "./evidence/a"


@pytest.mark.parametrize("which", REPORTS)
def test_sarif_with_places_is_valid_too_and_every_rule_helps(which: str) -> None:
    document = _sarif(replace(REPORTS[which], places=PLACES, codes_page="https://docs.example.org/codes.html"))
    assert Draft7Validator(json.loads(SARIF_SCHEMA.read_text())).is_valid(document)
    for rule in document["runs"][0]["tool"]["driver"]["rules"]:
        assert rule["help"]["text"] and rule["help"]["markdown"]
        assert rule["helpUri"] == f"https://docs.example.org/codes.html#{rule['id']}"
        assert f'<a id="{rule["id"]}"></a>' in (ROOT / "docs" / "codes.md").read_text(encoding="utf-8")


# JUnit


def test_junit_says_how_long_each_case_took() -> None:
    timed = [replace(one, seconds=seconds) for one, seconds in zip(MIXED.entries, (0.25, 1.5, None), strict=True)]
    suite = next(iter(JUnitXml.fromstring(format_for(ReportName.JUNIT).render(replace(MIXED, entries=tuple(timed))))))
    assert [case.time for case in suite] == [0.25, 1.5, 0.0]
    assert suite.time == 1.75


def test_junit_is_read_back_by_a_real_reader() -> None:
    suite = next(iter(JUnitXml.fromstring(format_for(ReportName.JUNIT).render(MIXED))))
    assert (suite.tests, suite.failures, suite.errors) == (3, 2, 1)
    results = [case.result[0] for case in suite]
    assert [type(result) for result in results] == [Failure, Failure, Error]
    assert [result.type for result in results] == ["proof-invalid", "stale", "out-of-memory"]


@pytest.mark.parametrize("which", REPORTS)
def test_junit_counts_are_those_of_its_cases(which: str) -> None:
    suite = next(iter(JUnitXml.fromstring(format_for(ReportName.JUNIT).render(REPORTS[which]))))
    bad = [case for case in suite if case.result]
    assert suite.failures + suite.errors == len(bad)
    assert bool(bad) == bool(REPORTS[which].status)


# GitHub


def _commands(which: Report) -> list[str]:
    return format_for(ReportName.GITHUB).render(which).decode().splitlines()


@pytest.mark.parametrize("which", REPORTS)
def test_every_line_is_one_annotation_of_ours(which: str) -> None:
    for line in _commands(REPORTS[which]):
        assert line.startswith(("::error title=", "::warning title=", "::notice title="))
        properties, _, _ = line[2:].partition("::")
        assert properties.count(",") == 0, "a hostile title must not add a property"
        assert "##[" not in line
        assert "\r" not in line
        for escape in line.split("%")[1:]:
            assert escape[:2] in ("25", "3A", "2C"), "nothing decodes to a line break"


def test_at_most_ten_of_a_kind_then_a_summary() -> None:
    many = report(*(entry(f"b{number}", Outcome.REJECTED, "proof-invalid") for number in range(25)))
    errors = [line for line in _commands(many) if line.startswith("::error")]
    assert len(errors) == MAX_PER_KIND
    assert "16 further findings" in errors[-1]
    exactly = report(*(entry(f"b{number}", Outcome.REJECTED, "proof-invalid") for number in range(MAX_PER_KIND)))
    assert "further" not in "".join(_commands(exactly))


def test_the_verdict_itself_is_never_cut() -> None:
    assert any("verifai gate%3A rejected" in line for line in _commands(hostile_report()))


# Markdown


def _tokens(data: bytes) -> list[Any]:
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(data.decode())
    return [child for token in tokens for child in (token, *(token.children or ()))]


def test_hostile_names_make_no_markup() -> None:
    kinds = {token.type for token in _tokens(format_for(ReportName.MARKDOWN).render(hostile_report()))}
    assert not kinds & {"link_open", "image", "html_inline", "html_block", "fence", "hr", "s_open", "em_open", "strong_open"}
    assert {"table_open", "code_inline"} <= kinds


def test_foreign_text_is_code_so_that_no_mention_reference_or_address_comes_of_it() -> None:
    # Looked for where GitHub and GitLab look for them: in the rendered text outside code.
    tokens = _tokens(format_for(ReportName.MARKDOWN).render(hostile_report()))
    text = " ".join(token.content for token in tokens if token.type == "text")
    assert text
    assert not set(text) & set("@#")
    assert "evil" not in text


def test_rows_keep_their_number_of_cells() -> None:
    rows = [
        line for line in format_for(ReportName.MARKDOWN).render(hostile_report()).decode().splitlines() if line.startswith("|")
    ]
    failures = [row for row in rows if "proof-invalid" in row]
    assert len(failures) == len(HOSTILE)
    assert {row.count("|") for row in failures} == {5}


def test_a_summary_stays_below_one_mebibyte_and_says_that_it_was_cut() -> None:
    many = report(*(entry(f"bundle-{number}" * 20, Outcome.REJECTED, "proof-invalid") for number in range(20000)))
    data = format_for(ReportName.MARKDOWN).render(many)
    assert MAX_BYTES * 0.9 < len(data) <= MAX_BYTES < 2**20
    assert b"**Cut:**" in data[-300:]
    assert b"**Cut:**" not in format_for(ReportName.MARKDOWN).render(MIXED)


def test_failures_come_before_what_holds() -> None:
    good = [entry(f"good-{number}", Outcome.HOLDS, "proof-valid") for number in range(50)]
    text = format_for(ReportName.MARKDOWN).render(report(*good, entry("bad", Outcome.REJECTED, "proof-invalid"))).decode()
    assert text.index("`bad`") < text.index("`good-0`")


# HTML


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def test_the_page_runs_and_loads_nothing() -> None:
    tags = _Tags()
    tags.feed(format_for(ReportName.HTML).render(hostile_report()).decode())
    assert not tags.tags & {"script", "img", "a", "iframe", "link", "form", "object", "base"}
    assert tags.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "type", "id", "checked", "for"}
