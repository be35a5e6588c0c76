"""Lies about a language model's answer, each with the code that refuses it: the table of docs/language-models.md, row by row.

A liar of the first kind has somebody's proof and rewrites all that stands around it. One of the second kind makes proofs of
his own, each valid, and calls what they show an answer that it is not.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.support.bundle_forge import Forge, read_folder, write_files
from tests.support.paths import ROOT
from tests.support.tiny_llama import PLAIN, circuit
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.domain.digest import sha256
from verifai.domain.generation import Ending, Generation
from verifai.domain.shown import shown_line
from verifai.domain.statement import Role, WeightVisibility
from verifai.engines.sumcheck.circuit.codec import decode
from verifai.engines.sumcheck.circuit.weights import decode_weights, encode_weights
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.errors import EvidenceRejected, UsageError
from verifai.stages.generate import GeneratedBundle, generate
from verifai.stages.prove import prove
from verifai.stages.ready import ready_circuit
from verifai.stages.verify import Expectations, VerifiedBundle, verify_bundle

POSITIONS = 12
CONTEXT = "asked on Monday"
PAGE = ROOT / "docs" / "language-models.md"


def honest_circuit() -> CircuitFolder:
    return circuit(POSITIONS, WeightVisibility.COMMITTED)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> GeneratedBundle:
    made = generate(honest_circuit(), PLAIN, tmp_path_factory.mktemp("answer") / "b", context=CONTEXT, compare=False)
    assert made.generation == Generation(5, 4, Ending.END_OF_TEXT)
    verified(made.bundle.path)
    return made


def verified(path: Path, folder: CircuitFolder | None = None, context: str | None = CONTEXT) -> VerifiedBundle:
    return verify_bundle(path, read_lock((folder or honest_circuit()).lock_path), Expectations(context=context))


# --- the first kind: somebody's proof, and everything around it rewritten ---


@dataclass
class Told:
    """What a statement says, to be changed before it is written everywhere."""

    tokens: list[int]
    following: list[int]
    generation: Generation
    context: str = CONTEXT
    """Of what it was proven for."""

    def cut(self, answer: int) -> None:
        """The answer ends earlier, and nothing of it is left behind the end."""
        self.generation = Generation(5, answer, Ending.MAX_TOKENS)
        self.tokens[5 + answer - 1 :] = [0] * (POSITIONS - 5 - answer + 1)

    def append(self, token: int) -> None:
        """A token more, in place of the end."""
        self.tokens[8], self.following[7], self.following[8] = 40, 40, token
        self.generation = Generation(5, 5, Ending.MAX_TOKENS)


def _set(told: Told, tokens: dict[int, int], following: dict[int, int] | None = None) -> None:
    for place, token in tokens.items():
        told.tokens[place] = token
    for place, token in (following or {}).items():
        told.following[place] = token


REWRITTEN: dict[str, Callable[[Told], None]] = {
    "one token of the answer changed": lambda told: _set(told, {5: 40}, {4: 40}),
    "the last token of the answer changed": lambda told: _set(told, {}, {7: 40}),
    "one token of the prompt changed": lambda told: _set(told, {2: 40}),
    "the end of the answer cut off": lambda told: told.cut(3),
    "a token appended": lambda told: told.append(41),
    "a part of the answer called prompt": lambda told: setattr(told, "generation", Generation(6, 3, Ending.END_OF_TEXT)),
    "said to be cut, and it ended": lambda told: setattr(told, "generation", Generation(5, 4, Ending.MAX_TOKENS)),
    "a proof for another context": lambda told: setattr(told, "context", "asked on Friday"),
}


def rewritten(made: GeneratedBundle, lie: Callable[[Told], None]) -> Forge:
    stated = made.bundle.statement
    cells = [list(stated.of(role)[0].quantised or ()) for role in (Role.INPUT, Role.OUTPUT)]
    told = Told(cells[0], cells[1], made.generation)
    lie(told)
    forge = Forge.of(read_folder(made.bundle.path))
    document = forge.statements["proof"]["predicate"]["statement"]
    for tensor, row in zip(document["tensors"], (told.tokens, told.following), strict=True):
        tensor["quantised"] = [str(token) for token in row]
    document["generation"], document["context"] = told.generation.to_json(), told.context
    magic = b"verifai/sumcheck-statement/1"
    assert forge.payload["statement.bin"].startswith(magic)
    row = b"".join(token.to_bytes(4, "little") for token in (*told.tokens, *told.following))
    forge.payload["statement.bin"] = magic + row + told.generation.bound(told.context).encode()
    return forge


def test_what_the_forger_writes_is_what_we_write(answered: GeneratedBundle, tmp_path: Path) -> None:
    """Else a lie would be refused for its form."""
    assert verified(write_files(tmp_path / "b", rewritten(answered, lambda told: None).sealed())).statement.generation


@pytest.mark.parametrize("lie", REWRITTEN)
def test_a_proof_fits_no_other_answer(lie: str, answered: GeneratedBundle, tmp_path: Path) -> None:
    path = write_files(tmp_path / "b", rewritten(answered, REWRITTEN[lie]).sealed())
    with pytest.raises(EvidenceRejected) as caught:
        verified(path, context=None)
    assert caught.value.code == "proof-invalid"


def test_an_answer_of_another_day_is_not_todays(answered: GeneratedBundle) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        verified(answered.bundle.path, context="asked on Friday")
    assert caught.value.code == "context-mismatch"


# --- the second kind: valid proofs, of something else than is claimed ---

PARIS = (328, 361, 16, 2)
"""The answer: " P", "aris", ".", and the end."""


def proven(tmp_path: Path, tokens: Sequence[int], claim: Generation) -> Path:
    """A valid proof of one pass over ``tokens``, said to show an answer of these lengths."""
    row = np.zeros((1, POSITIONS), np.int32)
    row[0, : len(tokens)] = tokens
    ready = ready_circuit(honest_circuit(), compare=False)
    return ready.prove_sample(0, {"tokens": row}, tmp_path / "b", context=CONTEXT, generation=claim).path


def prompt_of(made: GeneratedBundle) -> list[int]:
    return list(made.bundle.statement.of(Role.INPUT)[0].quantised or ())[:5]


OWN: dict[str, tuple[tuple[int, ...], Generation, str]] = {
    "a token that the model did not put there": ((328, 40, 16), Generation(5, 4, Ending.MAX_TOKENS), "answer-not-linked"),
    "a token of the prompt called answer": (PARIS[:3], Generation(3, 6, Ending.END_OF_TEXT), "answer-not-linked"),
    "an end cut off that still stands there": (PARIS[:3], Generation(5, 3, Ending.MAX_TOKENS), "answer-cut"),
    "words hidden behind the answer": ((*PARIS[:3], 0, 40), Generation(5, 4, Ending.END_OF_TEXT), "answer-cut"),
    "an answer that goes on behind its end": (PARIS, Generation(5, 5, Ending.MAX_TOKENS), "answer-past-end"),
    "an answer that was cut, called whole": (PARIS[:1], Generation(5, 2, Ending.END_OF_TEXT), "answer-ending"),
    "an answer that ended, called cut": (PARIS[:3], Generation(5, 4, Ending.MAX_TOKENS), "answer-ending"),
    "more tokens than there are positions": (PARIS[:3], Generation(5, 9, Ending.MAX_TOKENS), "answer-malformed"),
}


def test_the_liars_own_proofs_are_valid(answered: GeneratedBundle, tmp_path: Path) -> None:
    path = proven(tmp_path, [*prompt_of(answered), *PARIS[:3]], Generation(5, 4, Ending.END_OF_TEXT))
    assert verified(path).statement.generation is not None


@pytest.mark.parametrize("lie", OWN)
def test_a_valid_proof_of_no_answer_is_none(lie: str, answered: GeneratedBundle, tmp_path: Path) -> None:
    tokens, claim, code = OWN[lie]
    path = proven(tmp_path, [*prompt_of(answered), *tokens], claim)
    with pytest.raises(EvidenceRejected) as caught:
        verified(path)
    assert caught.value.code == code


# --- another model ---


def layers_swapped(folder: Path) -> None:
    """The up projections of two layers exchanged, halved so that they keep the circuit's bounds."""
    data, blob = decode((folder / "circuit.bin").read_bytes()), (folder / "weights.bin").read_bytes()
    cells, names = list(decode_weights(data, blob)), [one.name for one in data.weights]
    at, to = (next(place for place, name in enumerate(names) if name.startswith(f"layer_{layer}.up")) for layer in (0, 1))
    cells[at], cells[to] = ([int(cell / 2) for cell in cells[place]] for place in (to, at))  # type: ignore[call-overload]
    (folder / "weights.bin").write_bytes(encode_weights(data, cells))


def one_weight_changed(folder: Path) -> None:
    """The least lie about a model: one weight, one step nearer to 0."""
    data, blob = decode((folder / "circuit.bin").read_bytes()), (folder / "weights.bin").read_bytes()
    cells = decode_weights(data, blob)
    at = next(place for place, cell in enumerate(cells[0]) if cell > 0)
    cells[0][at] -= 1
    (folder / "weights.bin").write_bytes(encode_weights(data, cells))


@pytest.fixture(scope="module", params=[layers_swapped, one_weight_changed], ids=lambda change: change.__name__)
def liars(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle by the liar's weights, which his own lock accepts."""
    folder, tmp_path = honest_circuit().folder, tmp_path_factory.mktemp("liar")
    liar = folder.parent / f"liar-{request.param.__name__}"
    shutil.copytree(folder, liar)
    build = liar / "build" / "sumcheck"
    request.param(build)
    made = decode((build / "circuit.bin").read_bytes())
    cells = [np.array(one, np.int64) for one in decode_weights(made, (build / "weights.bin").read_bytes())]
    root = prepare(made, [row.reshape(one.shape) for row, one in zip(cells, made.weights, strict=True)]).identity
    pinned = re.search(r'weights_sha256 = "([0-9a-f]{64})"', (liar / "circuit.lock").read_text())
    assert pinned is not None and pinned[1] != root
    (liar / "circuit.lock").write_text((liar / "circuit.lock").read_text().replace(pinned[1], root))
    own = CircuitFolder(liar)
    path = generate(own, PLAIN, tmp_path / "made", context=CONTEXT, max_tokens=3, compare=False).bundle.path
    assert verified(path, own).statement.generation is not None
    return path


def test_another_models_root_is_not_the_pinned_one(liars: Path) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        verified(liars)
    assert caught.value.code == "circuit-not-pinned"


def test_another_models_proof_does_not_hold_for_the_pinned_root(liars: Path, answered: GeneratedBundle, tmp_path: Path) -> None:
    """All that is said of the circuit is what the lock pins; proof and statement are the liar's."""
    forge, own = Forge.of(read_folder(answered.bundle.path)), Forge.of(read_folder(liars))
    forge.payload["proof.bin"], forge.payload["statement.bin"] = own.payload["proof.bin"], own.payload["statement.bin"]
    forge.statements["proof"] = own.statements["proof"]
    with pytest.raises(EvidenceRejected) as caught:
        verified(write_files(tmp_path / "b", forge.sealed()))
    assert caught.value.code == "proof-invalid"


# --- texts ---


def _beside(tmp_path: Path, tokenizer: bytes) -> Path:
    (tmp_path / "circuit.lock").write_bytes(honest_circuit().lock_path.read_bytes())
    (tmp_path / "tokenizer.json").write_bytes(tokenizer)
    return tmp_path / "circuit.lock"


def test_another_tokenizer_beside_the_lock_tells_no_texts(tmp_path: Path) -> None:
    own = (honest_circuit().folder / "tokenizer.json").read_bytes()
    for changed in (own.replace(b'"aris"', b'"rome"'), own.replace(b'"pad":0', b'"pad":1'), own + b" ", b"", b"{}"):
        assert changed != own
        with pytest.raises(UsageError) as caught:
            read_lock(_beside(tmp_path, changed))
        assert caught.value.code == "bad-tokenizer"


def test_a_tokenizer_swapped_together_with_its_pin_changes_the_lock(answered: GeneratedBundle, tmp_path: Path) -> None:
    """Whoever writes the lock writes what texts mean: so it is the lock that is trusted, by its digest, not the bundle."""
    own = (honest_circuit().folder / "tokenizer.json").read_bytes()
    changed = own.replace(b'"aris"', b'"rome"')
    lock = _beside(tmp_path, changed)
    lock.write_text(lock.read_text().replace(sha256(own), sha256(changed)))
    assert sha256(lock.read_bytes()) != sha256(honest_circuit().lock_path.read_bytes())
    told = [shown_line(one) for one in verify_bundle(answered.bundle.path, read_lock(lock)).values]
    assert 'answer = " Prome.<|end|>" (4 tokens, ended by the model)' in told


@pytest.mark.parametrize("where", ["statement", "tensor", "predicate"])
def test_a_bundle_has_no_text_to_edit(where: str, answered: GeneratedBundle, tmp_path: Path) -> None:
    """No text stands in evidence, so there is none that could differ from the tokens; and none can be put in."""
    assert not any(b"Paris" in data for data in read_folder(answered.bundle.path).values())
    forge = Forge.of(read_folder(answered.bundle.path))
    predicate = forge.statements["proof"]["predicate"]
    places = {"predicate": predicate, "statement": predicate["statement"], "tensor": predicate["statement"]["tensors"][0]}
    places[where]["text"] = "The capital of France is Rome."
    with pytest.raises(EvidenceRejected) as caught:
        verified(write_files(tmp_path / "b", forge.sealed()))
    assert caught.value.code == "malformed"


def test_what_is_proven_is_one_pass_and_says_nothing_of_an_answer(answered: GeneratedBundle, tmp_path: Path) -> None:
    row = np.array(answered.bundle.statement.of(Role.INPUT)[0].quantised, np.int32)[None]
    (made,) = prove(honest_circuit(), [{"tokens": row}], tmp_path / "out", context=CONTEXT, compare=False)
    found = verified(made.path)
    assert not any(one.code == "answer-linked" for one in found.findings)
    assert not any(one.part for one in found.values)


def test_every_lie_stands_in_the_table() -> None:
    """Row for row, with the code that refuses it."""
    rows = dict(re.findall(r"^\| ([^|]+?) +\| .*?`([a-z-]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    for lie in REWRITTEN:
        assert rows.get(lie) == "proof-invalid", lie
    for lie, (_, _, code) in OWN.items():
        assert rows.get(lie) == code, lie
