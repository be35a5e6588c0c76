"""The demo of a language model: what it shows holds, and what it cannot show it says before it costs anything."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.support.language_models import BERT, random_weights, word_tokenizer, write_folder
from tests.support.paths import ROOT
from verifai.circuit_folder import read_lock
from verifai.cli.app import run
from verifai.domain.statement import EngineName, WeightVisibility
from verifai.errors import ResourceExhausted, UsageError
from verifai.showcase import demo_language
from verifai.showcase.demo_language import Answered, CompiledLanguage, LanguageModel, run_language_demo
from verifai.showcase.demo_steps import Refused
from verifai.stages import check
from verifai.stages.export import export
from verifai.stages.verify import verify_bundle


def test_a_question_is_answered_proven_and_lied_about(tmp_path: Path) -> None:
    events = list(run_language_demo(tmp_path))
    assert [type(event) for event in events] == [LanguageModel, CompiledLanguage, Answered, Refused, Refused, Refused]
    answered = events[2]
    assert isinstance(answered, Answered)
    assert (answered.made.prompt.text, answered.made.answer.text) == ("The capital of France is", " Paris.<|end|>")
    lies = [event for event in events if isinstance(event, Refused)]
    assert [(one.error.code, one.error.status) for one in lies] == [("proof-invalid", 1)] * 3
    assert [one.forgery for one in lies] == [
        "it answered “Egypt”, not “Paris”",
        "its answer ended one token earlier",
        "it was asked about “three”, not “capital”",
    ]
    lock = read_lock(tmp_path / "circuit" / "circuit.lock")
    told = {one.part: one.text.text for one in verify_bundle(tmp_path / "answer", lock).values if one.part and one.text}
    assert told["answer"] == " Paris.<|end|>"
    lied = {path.name: verify_bundle_text(path) for path in (tmp_path / "lies").iterdir()}
    assert set(lied) == {"word", "cut", "prompt"} and all("Paris" not in text for text in lied.values())


def verify_bundle_text(path: Path) -> str:
    """What lies in a bundle, as text; tokens have none."""
    return "".join(one.read_bytes().decode("latin-1") for one in path.rglob("*") if one.is_file())


def test_a_machine_that_is_too_small_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "memory_bytes", lambda: 100 * 2**20)
    events = run_language_demo(tmp_path)
    model = next(events)
    assert isinstance(model, LanguageModel) and model.estimate is not None
    with pytest.raises(ResourceExhausted) as caught:
        next(events)
    assert (caught.value.code, caught.value.status) == ("estimate-over-budget", 4)
    needed = f"about {model.estimate.memory_bytes / 2**30:,.1f} GiB of memory needed, 0.1 GiB in this machine"
    assert caught.value.message == needed
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_answers_nothing_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", "bert", random_weights(BERT), sentence=True)
    (folder / "tokenizer.json").write_text(json.dumps(word_tokenizer()))
    (tmp_path / "work").mkdir()
    with pytest.raises(UsageError, match="needs a decoder") as caught:
        list(run_language_demo(tmp_path / "work", folder))
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.gguf"], "demo --language-model m.gguf"),
        (["--language-model", "absent.gguf"], "no such file or folder"),
        (["--language-model", "-o", "there"], "exists already"),
    ],
)
def test_what_cannot_be_shown_is_a_usage_error(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert run(["demo", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_small_model_is_part_of_the_package() -> None:
    """An installed wheel has no ``fixtures/``."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["verifai"]
    assert "showcase/tiny-llama/*" in patterns
    packaged = {path.name: path.read_bytes() for path in demo_language.SMALL.iterdir()}
    assert packaged == {path.name: path.read_bytes() for path in (ROOT / "fixtures" / "tiny-llama").iterdir()}


def test_an_installation_without_the_small_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_language, "SMALL", tmp_path / "tiny-llama")
    with pytest.raises(UsageError) as caught:
        list(run_language_demo(tmp_path / "work"))
    assert caught.value.code == "file-missing"
    shutil.copytree(ROOT / "fixtures" / "tiny-llama", tmp_path / "tiny-llama")
    assert demo_language._small() == (tmp_path / "tiny-llama").resolve()


def test_a_large_model_is_not_searched_for_the_cheapest_bits(tmp_path: Path) -> None:
    exported = export(demo_language.SMALL.resolve(), positions=8)
    for name, numbers, bits, floor in (("small", 10**5, None, 0.99), ("large", 10**8, 12, 0.9)):
        (tmp_path / name).mkdir()
        spec = demo_language._circuit(tmp_path / name, exported, None, numbers).spec
        assert spec.floor.top1_agreement == floor and (spec.floor.perplexity_ratio or 0) <= 1.1
        assert spec.options.get(EngineName.SUMCHECK, {}).get("activation_bits") == bits
        assert spec.weights is WeightVisibility.COMMITTED and spec.calibration is not None
        assert (tmp_path / name / "texts.txt").read_text("utf-8").splitlines() == list(demo_language.TEXTS)
