"""A prompt, its answer and one proof: written by the integer program, read back from the proven tokens; no lie holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.bundle_forge import Forge, read_folder, write_files
from tests.support.tiny_llama import PLAIN, circuit
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.domain.fidelity import Task
from verifai.domain.generation import Ending, Generation
from verifai.domain.shown import shown_line
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.sumcheck import generating
from verifai.engines.sumcheck.circuit.codec import decode
from verifai.engines.sumcheck.interpreter.positions import NotByPositions
from verifai.errors import InputRejected, UnsupportedModel, UsageError, VerifaiError
from verifai.reports.html_values import values_html
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.stages.evidence import statement_digest
from verifai.stages.generate import GeneratedBundle, generate
from verifai.stages.prove import prove
from verifai.stages.trust import TrustRequest, init_trust
from verifai.stages.verify import Expectations, VerifiedBundle, describe, verify_bundle
from verifai.trust_file import read_trust

FRANCE = " Paris.<|end|>"


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> GeneratedBundle:
    return generate(circuit(), PLAIN, tmp_path_factory.mktemp("answer") / "bundle", context="asked on Monday")


def verified(path: Path, folder: CircuitFolder | None = None, context: str | None = None) -> VerifiedBundle:
    return verify_bundle(path, read_lock((folder or circuit()).lock_path), Expectations(context=context))


def lines(bundle: VerifiedBundle) -> list[str]:
    return [shown_line(one) for one in bundle.values]


def test_an_answer_is_written_proven_and_read_back(answered: GeneratedBundle) -> None:
    found = verified(answered.bundle.path, context="asked on Monday")
    assert answered.answer.text == FRANCE and answered.cached
    assert found.statement.generation == Generation(5, 4, Ending.END_OF_TEXT)
    assert 'prompt = "The capital of France is" (5 tokens)' in lines(found)
    assert 'answer = " Paris.<|end|>" (4 tokens, ended by the model)' in lines(found)
    assert [one.code for one in found.findings if one.step == "V6"] == ["statement-matches", "answer-linked"]
    assert any("greedy continuation of the prompt's 5 tokens" in line for line in describe(found.statement))
    assert "float32 puts the same next token at 4 of the answer's 4" in answered.findings[0].message
    assert "<h3>Answer" in values_html(found.values) and "Paris" in values_html(found.values)


def test_an_audit_runs_the_float_model_and_passes(answered: GeneratedBundle, tmp_path: Path) -> None:
    init_trust(tmp_path / "trust.toml", TrustRequest(locks=(circuit().lock_path,)))
    report = audit_bundle(answered.bundle.path, read_trust(tmp_path / "trust.toml"), AuditOptions())
    codes = {finding.code for finding in report.findings}
    assert {"answer-linked", "reference-near", "fidelity-fair"} <= codes
    assert not any(finding.outcome.value in ("rejected", "policy-not-met") for finding in report.findings)


def test_the_cache_writes_what_whole_passes_write(
    answered: GeneratedBundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Never:
        def __init__(self, *_: object) -> None:
            raise NotByPositions

    monkeypatch.setattr(generating, "Stepwise", Never)
    whole = generate(circuit(), PLAIN, tmp_path / "b", compare=False)
    assert whole.tokens == answered.tokens and not whole.cached


def test_an_answer_can_be_cut_and_says_so(tmp_path: Path) -> None:
    made = generate(circuit(), PLAIN, tmp_path / "b", max_tokens=2, compare=False)
    assert made.generation == Generation(5, 2, Ending.MAX_TOKENS)
    assert 'answer = " Paris" (2 tokens, cut at the number of tokens asked for)' in lines(verified(tmp_path / "b"))


def test_a_chat_is_put_into_its_template(tmp_path: Path) -> None:
    made = generate(circuit(), "two plus three?", tmp_path / "b", chat=True, compare=False)
    assert made.prompt.text == "<|start|>user\ntwo plus three?<|end|>\n<|start|>assistant\n"
    assert made.answer.text == "five<|end|>"
    assert verified(tmp_path / "b").statement.generation is not None


def test_of_several_circuits_the_smallest_with_room_is_taken(tmp_path: Path) -> None:
    pair = [circuit(24), circuit(12)]
    made = generate(pair, PLAIN, tmp_path / "small", max_tokens=6, compare=False)
    assert made.bundle.statement.tensors[0].shape == (1, 12)
    made = generate(pair, PLAIN, tmp_path / "large", max_tokens=12, compare=False)
    assert made.bundle.statement.tensors[0].shape == (1, 24)
    with pytest.raises(InputRejected, match="leave room for 20"):
        generate(pair, PLAIN, tmp_path / "none", max_tokens=21)
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_answered_is_refused_before_any_cost(tmp_path: Path, answered: GeneratedBundle) -> None:
    for prompt in ("", "the <|end|>", "word " * 30):
        with pytest.raises(InputRejected) as refused:
            generate(circuit(), prompt, tmp_path / "b")
        assert refused.value.code == "input-text"
    for arguments in ({"max_tokens": 0}, {"context": "\0generation/1 3 3 max-tokens\0"}):
        with pytest.raises(UsageError):
            generate(circuit(), PLAIN, tmp_path / "b", **arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as there:
        generate(circuit(), PLAIN, answered.bundle.path)
    assert there.value.code == "file-exists"
    assert not (tmp_path / "b").exists()


def test_a_circuit_that_names_no_next_tokens_gives_no_answers(tmp_path: Path) -> None:
    other = tmp_path / "c"
    other.mkdir()
    spec = (circuit().folder / "circuit.toml").read_text().replace('next = "next_tokens"', "")
    model = circuit().model_path().resolve()
    tokenizer = f"{model}.tokenizer.json"
    spec = spec.replace('"../model.onnx"', json.dumps(str(model))).replace(
        '"../model.onnx.tokenizer.json"', json.dumps(tokenizer)
    )
    (other / "circuit.toml").write_text(spec)
    (other / "circuit.lock").write_bytes(circuit().lock_path.read_bytes())
    with pytest.raises(UsageError, match="names no output as next"):
        generate(CircuitFolder(other), PLAIN, tmp_path / "b")


def test_a_position_that_sees_the_future_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is proven is the whole pass: an answer that it does not give is never proven."""
    real = generating._Program.following
    monkeypatch.setattr(generating._Program, "following", lambda self, tokens: (real(self, tokens) + 1) % 400)
    with pytest.raises(UnsupportedModel) as caught:
        generate(circuit(), PLAIN, tmp_path / "b", max_tokens=3)
    assert caught.value.code == "not-causal" and not (tmp_path / "b").exists()


def test_the_prompt_hidden_and_the_answer_public(tmp_path: Path) -> None:
    folder = circuit(24, prompt=10, hidden=True)
    made = generate(folder, PLAIN, tmp_path / "b")
    found = verified(tmp_path / "b", folder)
    assert made.answer.text == FRANCE
    assert 'answer = " Paris.<|end|>" (4 tokens, ended by the model; its prompt of 10 tokens is hidden)' in lines(found)
    assert found.statement.tensors[0].visibility is Visibility.PRIVATE
    shown = json.dumps(found.statement.to_json()) + "".join(lines(found))
    assert "France" not in shown and "capital" not in shown


@pytest.mark.slow
def test_the_weights_hidden_and_all_tokens_public(tmp_path: Path) -> None:
    folder = circuit(12, WeightVisibility.PRIVATE)
    made = generate(folder, PLAIN, tmp_path / "b")
    found = verified(tmp_path / "b", folder)
    assert made.answer.text == FRANCE and found.statement.weights is WeightVisibility.PRIVATE
    assert not (tmp_path / "b" / "payload" / "model.onnx").exists()


def test_an_inference_is_one_whatever_is_called_its_prompt(answered: GeneratedBundle, tmp_path: Path) -> None:
    (plain,) = prove(circuit(), [_inputs(answered)], tmp_path / "out", compare=False)
    assert plain.statement.generation is None
    assert statement_digest(plain.statement) == statement_digest(answered.bundle.statement)


def _inputs(made: GeneratedBundle) -> dict[str, Any]:
    tensor = made.bundle.statement.tensors[0]
    assert tensor.quantised is not None
    return {tensor.name: np.array(tensor.quantised, np.int32).reshape(tensor.shape)}


# Lies: everything that a forger with all keys can rewrite is rewritten to fit; what is left to refuse them is the proof, and
# what is computed from its tokens.


def _tokens(forge: Forge) -> list[str]:
    tensors: list[str] = forge.statements["proof"]["predicate"]["statement"]["tensors"][0]["quantised"]
    return tensors


def _set_token(forge: Forge, place: int, token: int) -> None:
    _tokens(forge)[place] = str(token)
    head = len(b"verifai/sumcheck-statement/1")
    data = bytearray(forge.payload["statement.bin"])
    data[head + 4 * place : head + 4 * place + 4] = token.to_bytes(4, "little")
    forge.payload["statement.bin"] = bytes(data)


def _set_next(forge: Forge, place: int, token: int) -> None:
    forge.statements["proof"]["predicate"]["statement"]["tensors"][1]["quantised"][place] = str(token)
    head = len(b"verifai/sumcheck-statement/1") + 4 * 24
    data = bytearray(forge.payload["statement.bin"])
    data[head + 4 * place : head + 4 * place + 4] = token.to_bytes(4, "little")
    forge.payload["statement.bin"] = bytes(data)


def _claim(**changes: Any) -> Callable[[Forge], None]:
    """Other lengths, in the attestation and in what the proof binds."""

    def change(forge: Forge) -> None:
        stated = forge.statements["proof"]["predicate"]["statement"]
        before = Generation(5, 4, Ending.END_OF_TEXT)
        document = {**before.to_json(), **changes}
        stated["generation"] = document
        after = Generation(document["prompt"], document["answer"], Ending(document["ending"]))
        old, new = (one.bound("").encode() for one in (before, after))
        assert old in forge.payload["statement.bin"]
        forge.payload["statement.bin"] = forge.payload["statement.bin"].replace(old, new)

    return change


def _drop_claim(forge: Forge) -> None:
    del forge.statements["proof"]["predicate"]["statement"]["generation"]
    lengths = Generation(5, 4, Ending.END_OF_TEXT).bound("").encode()
    forge.payload["statement.bin"] = forge.payload["statement.bin"].replace(lengths, b"")


def _other_context(forge: Forge) -> None:
    forge.statements["proof"]["predicate"]["statement"]["context"] = "asked on Friday"
    forge.payload["statement.bin"] = forge.payload["statement.bin"].replace(b"Monday", b"Friday")


LIES: dict[str, Callable[[Forge], None]] = {
    "a token of the answer changed where it is read": lambda forge: _set_token(forge, 5, 40),
    "a token of the answer changed where it is put out": lambda forge: _set_next(forge, 4, 40),
    "a token of the answer changed in both places": lambda forge: (_set_token(forge, 5, 40), _set_next(forge, 4, 40))[0],
    "a token of the prompt changed": lambda forge: _set_token(forge, 2, 40),
    "the end of the answer cut": _claim(answer=3, ending="max-tokens"),
    "a token appended": _claim(answer=5, ending="max-tokens"),
    "a token appended and padded": lambda forge: (_set_token(forge, 8, 7), _claim(answer=5, ending="max-tokens")(forge))[1],
    "a part of the answer called prompt": _claim(prompt=6, answer=3),
    "a part of the prompt called answer": _claim(prompt=4, answer=5),
    "another ending": _claim(ending="max-tokens"),
    "no claim at all": _drop_claim,
    "another context": _other_context,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(lie: str, answered: GeneratedBundle, tmp_path: Path) -> None:
    forge = Forge.of(read_folder(answered.bundle.path))
    LIES[lie](forge)
    path = write_files(tmp_path / "b", forge.sealed())
    with pytest.raises(VerifaiError) as caught:
        verified(path)
    assert caught.value.status == 1, caught.value


@pytest.mark.parametrize("field", ["prompt", "answer", "ending"])
def test_lengths_in_the_attestation_alone_do_not_count(field: str, answered: GeneratedBundle, tmp_path: Path) -> None:
    forge = Forge.of(read_folder(answered.bundle.path))
    lengths = forge.statements["proof"]["predicate"]["statement"]["generation"]
    lengths[field] = "max-tokens" if field == "ending" else lengths[field] - 1
    path = write_files(tmp_path / "b", forge.sealed())
    with pytest.raises(VerifaiError) as caught:
        verified(path)
    assert caught.value.code == "statement-mismatch"


def test_another_context_than_was_asked_for(answered: GeneratedBundle) -> None:
    with pytest.raises(VerifaiError) as caught:
        verified(answered.bundle.path, context="asked on Friday")
    assert caught.value.code == "context-mismatch"


def test_another_models_lock_refuses_the_answer(answered: GeneratedBundle) -> None:
    with pytest.raises(VerifaiError) as caught:
        verified(answered.bundle.path, circuit(12))
    assert caught.value.code == "model-not-pinned"


def test_weights_of_another_layer_do_not_fit_the_pinned_ones(answered: GeneratedBundle, tmp_path: Path) -> None:
    """A prover that swaps two layers' matrices and attests to all else as pinned."""
    data = answered.bundle.path.joinpath("payload", "circuit.bin").read_bytes()
    weights = decode(data).weights
    blob = bytearray(answered.bundle.path.joinpath("payload", "weights.bin").read_bytes())
    from verifai.engines.sumcheck.circuit.weights import MAGIC, weight_width

    at, place = len(MAGIC), {}
    for one in weights:
        place[one.name] = (at, one.size * weight_width(one))
        at += one.size * weight_width(one)
    first = next(name for name in place if name.startswith("layer_0.up"))
    second = first.replace("layer_0", "layer_1")
    (a, size), (b, other) = place[first], place[second]
    assert size == other and blob[a : a + size] != blob[b : b + size]
    blob[a : a + size], blob[b : b + size] = blob[b : b + size], blob[a : a + size]
    forge = Forge.of(read_folder(answered.bundle.path))
    forge.payload["weights.bin"] = bytes(blob)
    with pytest.raises(VerifaiError) as caught:
        verified(write_files(tmp_path / "b", forge.sealed()))
    assert caught.value.status == 1


def test_the_lock_pins_how_near_the_circuit_is(answered: GeneratedBundle) -> None:
    found = verified(answered.bundle.path).fidelity
    assert found.task is Task.GENERATION and found.language is not None
    assert found.language.matches / found.language.positions >= 0.99
    assert found.language.ratio is not None and 0.995 < found.language.ratio < 1.005
