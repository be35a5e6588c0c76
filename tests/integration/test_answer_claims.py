"""A proven answer is a claim of a round on token sequences: to the round's own prompt, and only as an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_llama import PLAIN, circuit
from verifai.bundle.reader import open_bundle
from verifai.circuit_folder import read_lock
from verifai.domain.circuit_spec import Budget
from verifai.domain.consensus.job import OutputKind, PrecisionClass, VoteSubject
from verifai.domain.digest import Sha256, sha256
from verifai.errors import EvidenceRejected, PolicyNotMet
from verifai.fingerprints.registry import fingerprint_for
from verifai.fingerprints.tokens import read_tokens
from verifai.stages.consensus.claim import proven_output, stated_inputs
from verifai.stages.generate import generate
from verifai.stages.prove import prove
from verifai.stages.texts import text_samples


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(circuit(), PLAIN, tmp_path_factory.mktemp("claim") / "b", compare=False).bundle.path


def claimed(path: Path, prompt: np.ndarray, model: Sha256 | None = None):  # type: ignore[no-untyped-def]
    lock = read_lock(circuit().lock_path)
    parameters = fingerprint_for(OutputKind.TOKENS).parameters({})
    subject = VoteSubject(
        model or lock.model_sha256, sha256(b""), OutputKind.TOKENS, PrecisionClass.FP32, parameters=parameters, tensors=()
    )
    with open_bundle(path) as bundle:
        return proven_output(bundle, lock, subject, {"tokens": prompt}, False, Budget())


def prompt_of(path: Path) -> np.ndarray:
    (stated,) = stated_inputs(path)
    return np.array(stated.quantised, np.int32).reshape(stated.shape)


def test_the_answer_is_the_claim(made: Path) -> None:
    prompt = prompt_of(made)
    assert prompt.shape == (1, 5)
    _, output = claimed(made, prompt)
    tokenizer = circuit().tokenizer
    assert tokenizer is not None
    assert tokenizer.text(read_tokens(output).tolist(), filled=False).text == " Paris.<|end|>"


def test_an_answer_to_another_prompt_is_none(made: Path) -> None:
    prompt = prompt_of(made)
    for other in (prompt[:, :-1], prompt + 1, np.concatenate([prompt, prompt[:, :1]], axis=1)):
        with pytest.raises(EvidenceRejected) as caught:
            claimed(made, other)
        assert caught.value.code == "input-mismatch"
    with pytest.raises(EvidenceRejected) as caught:
        claimed(made, prompt, Sha256("0" * 64))
    assert caught.value.code == "claim-model"


def test_an_inference_alone_is_no_answer(made: Path, tmp_path: Path) -> None:
    (plain,) = prove(circuit(), text_samples(circuit(), [PLAIN]), tmp_path / "out", compare=False)
    with pytest.raises(PolicyNotMet) as caught:
        claimed(plain.path, prompt_of(made))
    assert caught.value.code == "answer-not-shown"
