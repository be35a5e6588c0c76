"""The evidence page as a file: what goes into it, and that nothing that goes in can become markup."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.cli import app
from verifai.domain.digest import sha256
from verifai.reports.evidence_page import HeldFile, HeldKind, compose, empty_page, program_digest
from verifai.stages import page as stage

OURS = ROOT / "fixtures" / "bundles" / "sumcheck-2"
EVIL = [
    '"><script>alert(1)</script>',
    "</script><!--",
    "\u202eexe.lmth",
    "a\x00b",
    "\udcff",
    "{{SCRIPT}}",
    "<!--verifai:data-->",
]


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    status = app.run(["page", *words, "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", EVIL)
def test_no_name_and_no_content_becomes_markup(name: str) -> None:
    plain = Elements(empty_page().decode()).found
    page = compose([HeldFile(HeldKind.BUNDLE, name, name.encode("utf-8", "replace") * 3)]).decode()
    found = Elements(page).found
    assert len(found) == len(plain) + 1
    (added,) = [attributes for tag, attributes in found if attributes.get("data-kind")]
    assert re.fullmatch("[A-Za-z0-9+/]+=*", str(added["data-name"]))
    assert base64.b64decode(str(added["data-name"])) == name.encode("utf-8", "replace")


def test_the_page_without_a_bundle_is_small_and_allows_itself_nothing() -> None:
    page = empty_page().decode()
    assert len(empty_page()) <= 300_000
    (policy,) = [one["content"] for tag, one in Elements(page).found if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy and "unsafe" not in policy and "connect-src" not in policy
    assert "Not checked yet" in page and "Trust this page only from where you trust" in page
    assert not re.search(r'\b(?:src|href)="(?!data:|#)', page), "nothing is loaded"


def test_a_page_holds_its_files_byte_for_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "evidence.html"
    words = [str(OURS / "public.vbundle"), "--lock", str(OURS / "public.lock"), "--trust", str(OURS / "trust.toml")]
    status, document = run(capsys, *words, "-o", str(target))
    assert (status, document["verdict"]) == (0, "done")
    assert document["sha256"] == sha256(target.read_bytes())
    assert document["program_sha256"] == program_digest()
    held = re.findall(r'data-kind="(\w+)" data-name="([^"]*)">([^<]*)<', target.read_text())
    assert [(kind, base64.b64decode(name).decode(), base64.b64decode(data)) for kind, name, data in held] == [
        ("lock", "public.lock", (OURS / "public.lock").read_bytes()),
        ("trust", "trust.toml", (OURS / "trust.toml").read_bytes()),
        ("bundle", "public.vbundle", (OURS / "public.vbundle").read_bytes()),
    ]
    run(capsys, *words, "-o", str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_bytes() == target.read_bytes()


def test_the_empty_page_and_its_digest_are_the_release_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = run(capsys, "--empty", "-o", str(tmp_path / "empty.html"))
    assert status == 0 and (tmp_path / "empty.html").read_bytes() == empty_page()
    assert document["bundle_ids"] == []
    assert run(capsys, "--digest") == (0, {**run(capsys, "--digest")[1], "program_sha256": program_digest()})


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ([], 2, "bad-option"),
        (["BUNDLE"], 2, "bad-option"),
        (["BUNDLE", "-o", "OUT"], 2, "bad-option"),
        (["--lock", "LOCK", "-o", "OUT"], 2, "bad-option"),
        (["--empty", "--lock", "LOCK", "-o", "OUT"], 2, "bad-option"),
        (["--digest", "--empty"], 2, "bad-option"),
        (["ABSENT", "--lock", "LOCK", "-o", "OUT"], 2, "file-missing"),
        (["BUNDLE", "--lock", "ABSENT", "-o", "OUT"], 2, "file-missing"),
        (["BUNDLE", "--lock", "TRUST", "-o", "OUT"], 2, "bad-lock"),
        (["BUNDLE", "--lock", "LOCK", "--trust", "LOCK", "-o", "OUT"], 2, "bad-trust"),
        (["BROKEN", "--lock", "LOCK", "-o", "OUT"], 1, "bad-archive"),
        (["BUNDLE", "--lock", "LOCK", "-o", "LOCK"], 2, "bad-output"),
        (["BUNDLE", "--lock", "LOCK", "-o", "ABSENT/page.html"], 2, "bad-output"),
    ],
)
def test_what_cannot_become_a_page_is_told_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, code: str
) -> None:
    (tmp_path / "lock").write_bytes((OURS / "public.lock").read_bytes())
    (tmp_path / "broken").write_bytes((OURS / "public.vbundle").read_bytes()[:-1])
    places = {
        "BUNDLE": OURS / "public.vbundle",
        "TRUST": OURS / "trust.toml",
        "LOCK": tmp_path / "lock",
        "BROKEN": tmp_path / "broken",
        "ABSENT": tmp_path / "absent",
        "OUT": tmp_path / "out.html",
    }
    given = [re.sub("^[A-Z]+", lambda found: str(places[found[0]]), word) for word in words]
    found, document = run(capsys, *given)
    assert (found, document["error"]["code"]) == (status, code)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "lock"]


def test_more_than_a_browser_can_hold_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "MAX_HELD", 1000)
    words = [str(OURS / "public.vbundle"), "--lock", str(OURS / "public.lock"), "-o", str(tmp_path / "out.html")]
    status, document = run(capsys, *words)
    assert (status, document["error"]["code"]) == (2, "page-too-large")
    assert not list(tmp_path.iterdir())


def test_a_page_holds_the_tokenizer_that_its_lock_pins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = OURS.with_name("sumcheck-2-answer")
    target = tmp_path / "evidence.html"
    status, _ = run(capsys, str(answer / "answer.vbundle"), "--lock", str(answer / "circuit.lock"), "-o", str(target))
    held = dict(re.findall(r'data-kind="(\w+)" data-name="[^"]*">([^<]*)<', target.read_text()))
    assert status == 0
    assert base64.b64decode(held["tokenizer"]) == (answer / "tokenizer.json").read_bytes()
    shutil.copy(answer / "circuit.lock", tmp_path)
    words = ["page", str(answer / "answer.vbundle"), "--lock", str(tmp_path / "circuit.lock"), "-o"]
    assert app.run([*words, str(tmp_path / "numbers.html")]) == 0
    assert "the page shows tokens as numbers" in " ".join(capsys.readouterr().out.split())
    assert 'data-kind="tokenizer"' not in (tmp_path / "numbers.html").read_text()
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    assert app.run([*words, str(tmp_path / "other.html")]) == 2
    assert not (tmp_path / "other.html").exists()
