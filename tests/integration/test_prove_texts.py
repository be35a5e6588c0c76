"""A sentence has this embedding under this model: text in, and text in every report, derived from the proven tokens."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.language_models import BERT, random_weights, word_tokenizer, write_folder
from tests.support.tiny_llama import PLAIN
from tests.support.tiny_llama import circuit as tiny_circuit
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.domain.shown import shown_line
from verifai.errors import InputRejected, UsageError
from verifai.execution.files import write_atomic
from verifai.onnx_graph.facts import write_facts, write_tokenizer
from verifai.onnx_graph.load import load_path
from verifai.reports.html_values import values_html
from verifai.stages.compile import compile_circuit
from verifai.stages.export import export
from verifai.stages.init import init_circuit
from verifai.stages.prove import prove
from verifai.stages.texts import text_samples
from verifai.stages.verify import verify_bundle

SENTENCES = [
    " ".join(["the", "capital", "of", "france", "is", "paris"][: 1 + number % 6]) + f" w{number % 60}" for number in range(40)
]


@pytest.fixture(scope="module")
def circuit(tmp_path_factory: pytest.TempPathFactory) -> CircuitFolder:
    """A small sentence encoder, exported and compiled on a file of sentences."""
    base = tmp_path_factory.mktemp("texts")
    sizes = replace(BERT, layers=1, epsilon=1e-5)
    folder = write_folder(base / "m", "bert", random_weights(sizes), sentence=True, num_hidden_layers=1, layer_norm_eps=1e-5)
    (folder / "tokenizer.json").write_text(json.dumps(word_tokenizer()))
    result = export(folder, positions=10)
    write_atomic(base / "m.onnx", result.model.data)
    write_facts(base / "m.onnx", result.facts)
    write_tokenizer(base / "m.onnx", result.tokenizer)
    (base / "sentences.txt").write_text("\n".join(SENTENCES) + "\n")
    made = init_circuit(base / "m.onnx", load_path(base / "m.onnx"), base / "c", calibration=base / "sentences.txt")
    text = (base / "c" / "circuit.toml").read_text()
    (base / "c" / "circuit.toml").write_text(text.replace("spread_error = 0.01", "spread_error = 0.2"))
    compile_circuit(CircuitFolder(base / "c"))
    return CircuitFolder(made.path)


def test_a_text_is_proven_and_read_back_from_the_proof(circuit: CircuitFolder, tmp_path: Path) -> None:
    (made,) = prove(circuit, text_samples(circuit, ["The capital of France"]), tmp_path / "out", compare=False)
    verified = verify_bundle(made.path, read_lock(circuit.lock_path))
    lines = [shown_line(one) for one in verified.values]
    assert 'input tokens = "[CLS] the capital of france [SEP]", then 4 × "[PAD]" (10 tokens)' in lines
    assert "the capital of france" in values_html(verified.values)
    with_file, copied = circuit.folder / "tokenizer.json", tmp_path / "alone"
    copied.mkdir()
    (copied / "circuit.lock").write_bytes(circuit.lock_path.read_bytes())
    untold = verify_bundle(made.path, read_lock(copied / "circuit.lock"))
    assert any("needs tokenizer.json beside the lock" in shown_line(one) for one in untold.values)
    (copied / "tokenizer.json").write_bytes(with_file.read_bytes().replace(b'"the"', b'"teh"'))
    with pytest.raises(UsageError) as caught:
        read_lock(copied / "circuit.lock")
    assert caught.value.code == "bad-tokenizer"


def test_the_lock_pins_the_tokenizer_and_its_tensors(circuit: CircuitFolder) -> None:
    pin = circuit.lock().names.tokens
    assert pin is not None
    assert circuit.tokenizer is not None
    assert (pin.sha256, pin.tensors) == (circuit.tokenizer.sha256, ("tokens",))


def test_a_text_that_does_not_fit_is_refused(circuit: CircuitFolder) -> None:
    with pytest.raises(InputRejected, match="the circuit takes 10"):
        text_samples(circuit, ["the " * 9])
    with pytest.raises(InputRejected, match="special token"):
        text_samples(circuit, ["the [PAD]"])
    with pytest.raises(UsageError, match="no chat template"):
        text_samples(circuit, ["the"], chat=True)
    with pytest.raises(UsageError, match="no text"):
        text_samples(circuit, [], chat=True)


def test_another_tokenizer_than_the_pinned_one_makes_no_samples(circuit: CircuitFolder, tmp_path: Path) -> None:
    other = tmp_path / "c"
    other.mkdir()
    model, spec = circuit.model_path().resolve(), (circuit.folder / "circuit.toml").read_text()
    changed = (model.parent / "m.onnx.tokenizer.json").read_bytes().replace(b'"walk"', b'"wolk"')
    (tmp_path / "t.json").write_bytes(changed)
    (other / "circuit.toml").write_text(
        spec.replace("../m.onnx.tokenizer.json", "../t.json").replace('"../m.onnx"', json.dumps(str(model)))
    )
    (other / "circuit.lock").write_bytes(circuit.lock_path.read_bytes())
    with pytest.raises(UsageError) as caught:
        text_samples(CircuitFolder(other), ["the"])
    assert caught.value.code == "stale-lock"


def test_a_prompt_of_its_own_and_what_follows_it() -> None:
    """Both as one text's tokens: the prompt filled in front as ``generate`` does it, what follows padded at its end."""
    folder = tiny_circuit(24, prompt=10, hidden=True)
    tokenizer = folder.tokenizer
    assert tokenizer is not None
    (sample,) = text_samples(folder, [PLAIN], then=[" Paris.\n\n"])
    assert {name: row.shape for name, row in sample.items()} == {"prompt": (1, 10), "tokens": (1, 14)}
    assert tokenizer.text(sample["prompt"][0].tolist()).text == "<|end|>" * 5 + PLAIN
    assert tokenizer.text(sample["tokens"][0].tolist()).text == " Paris.\n\n"


@pytest.mark.parametrize(
    ("texts", "then", "chat", "words"),
    [
        ([PLAIN], [], False, "1 of the one came with 0"),
        ([PLAIN], [" a", " b"], False, "1 of the one came with 2"),
        ([PLAIN], ["aris"], False, ""),
        (["word " * 11], [" a"], False, "the prompt has"),
        ([PLAIN], [" word" * 20], False, "what follows the prompt has"),
        ([PLAIN], [" <|end|>"], False, "spells the special token"),
        ([PLAIN], [""], False, "0 characters"),
        (["The ca"], ["pital of France"], False, "a token reaches from"),
        (["two plus three?"], ["five"], True, "the prompt has"),
        ([], [" a"], False, "no text that it belongs to"),
    ],
)
def test_a_prompt_and_what_follows_it_are_told_apart_or_refused(
    texts: list[str], then: list[str], chat: bool, words: str
) -> None:
    folder = tiny_circuit(24, prompt=10, hidden=True)
    if not words:
        assert len(text_samples(folder, texts, then=then, chat=chat)) == 1
        return
    with pytest.raises((InputRejected, UsageError), match=re.escape(words)) as caught:
        text_samples(folder, texts, then=then, chat=chat)
    assert caught.value.status == 2


def test_one_row_of_tokens_has_nothing_that_follows_it(circuit: CircuitFolder) -> None:
    with pytest.raises(UsageError, match="its prompt is no input of its own"):
        text_samples(circuit, ["the"], then=[" capital"])
