"""Faults planted in either verifier are noticed when the other one judges the same cases."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from dataclasses import replace

import pytest

from tests.conformance.test_both_verifiers import cheats  # noqa: F401  (a fixture)
from tests.support import conformance_cases as made
from tests.support.paths import ROOT
from tests.support.second_verifier import Change, first, second
from tests.support.sumcheck_examples import cnn
from verifai.engines.sumcheck.circuit import check as circuit_check
from verifai.engines.sumcheck.circuit.program import log2_ceil
from verifai.engines.sumcheck.protocol import claim, field, hiding, proof, transcript
from verifai.engines.sumcheck.protocol.axes import eq_table
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.verifier import levels, opening, proof_channel, verify

pytestmark = pytest.mark.js

SOURCE = ROOT / "verifier-js"

FAULTS = {
    one["name"]: (one["file"], one["old"], one["new"])
    for one in tomllib.loads((ROOT / "tests" / "conformance" / "planted_faults.toml").read_text(encoding="utf-8"))["fault"]
}
"""What is wrong: file, the text that is replaced, and with what."""


@pytest.fixture(scope="session")
def corpus(cheats):  # noqa: F811
    """Cases with the Python verifier's answers: of each way to be refused a few, honest ones, and one for each rule of form."""
    chosen, seen = [], {}
    for case, answer in cheats:
        kind = (answer.code, answer.detail.partition("(at ")[2], "zk" in case.name)
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= (3 if answer.code else 1):
            chosen.append((case, answer))
    honest = list(made.golden())
    cases = [
        *honest,
        *(changed for case in honest for changed in made.mutations(case, 12, 7)),
        *_forms(honest),
        _other_code_word(),
    ]
    return [*chosen, *((case, first(case)) for case in cases)]


def _other_code_word():
    """A prover that sends another combination in the end, of the value that is asked of it: only its code word is another."""
    points, honest, drawn = [], ProverChannel.send_open, ProverChannel.challenge

    def challenge(self, label):
        found = drawn(self, label)
        if label.endswith(".point"):
            points.append(found)
        return found

    def send_open(self, label, values):
        if label == "openings.combination":  # the last coordinates are the point at which it is asked
            eq = eq_table(points[-log2_ceil(len(values)) :])
            values = [field.add(values[0], eq[1]), field.sub(values[1], eq[0]), *values[2:]]
        honest(self, label, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProverChannel, "challenge", challenge)
        patch.setattr(ProverChannel, "send_open", send_open)
        case = made.proven("another combination", cnn())
    assert "code word" in first(case).detail
    return case


STRONGER = (200_000).to_bytes(4, "little")


def _forms(honest):
    """Changes that one rule alone speaks against."""
    for case in honest:
        circuit, files = case.files["circuit.bin"], case.files
        proof_bytes, statement = files["proof.bin"], files["statement.bin"]
        yield case.changed(Change("proof.bin", len(proof_bytes), bytes(16)), name="one message more")
        yield case.changed(Change("statement.bin", len(statement), b"!"), name="another context")
        yield case.changed(Change("statement.bin", len(statement), b"\xff"), name="a context that is not UTF-8")
        yield case.changed(
            Change("circuit.bin", len(circuit) - 4, (200_000).to_bytes(4, "little")), name="a stronger hash"
        ).repinned()
        yield replace(case, circuit="0" * 64, name=f"{case.name}: another circuit")
        yield replace(case, identity="1" * 64, name=f"{case.name}: other weights")
        for word in range(len(proof_bytes) - 64, len(proof_bytes), 8):
            value = int.from_bytes(proof_bytes[word : word + 8], "little")
            if value + made.P < 1 << 64:
                yield case.changed(
                    Change("proof.bin", word, (value + made.P).to_bytes(8, "little")), name="the same element, plus p"
                )
        if case.weights == "root":
            at = len(b"verifai/sumcheck-zk-statement/1")
            yield case.changed(Change("statement.bin", at, (16).to_bytes(8, "little")), name="an opening beyond the budget")
        if "weights.bin" in files:
            for at in range(17, len(files["weights.bin"]), 7):
                yield case.changed(Change("weights.bin", at, b"\x80"), name=f"a weight of −128 at {at}").repinned()
                yield case.changed(Change("weights.bin", at, b"\x7f"), name=f"a weight of 127 at {at}").repinned()


@pytest.fixture(scope="session")
def answers(corpus, tmp_path_factory):
    """The second verifier's, as it is."""
    found = second([case for case, _ in corpus], tmp_path_factory.mktemp("cases"))
    assert [(case.name, mine, its) for (case, mine), its in zip(corpus, found, strict=True) if mine != its] == []
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_second_verifier_is_noticed(fault, corpus, answers, tmp_path):
    file, old, new = FAULTS[fault]
    shutil.copytree(SOURCE / "src", tmp_path / "src")
    path = tmp_path / "src" / "engine" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"{file} does not say {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")
    driver = tmp_path / "faulty.mjs"
    bundle = ["node", "-e", BUNDLE, str(tmp_path / "src" / "conformance" / "main.ts"), str(driver)]
    subprocess.run(bundle, cwd=SOURCE, check=True, capture_output=True)
    expected = [mine for _, mine in corpus]
    faulty = second([case for case, _ in corpus], tmp_path, driver, expected)
    assert faulty != expected[: len(faulty)], fault


BUNDLE = """
require("esbuild").buildSync({
  entryPoints: [process.argv[1]], outfile: process.argv[2], bundle: true, format: "esm", target: "es2022", platform: "node",
});
"""


def _forgiving(kind, *labels):
    """``assert_zero`` that lets equations of these labels pass."""
    honest = kind.assert_zero

    def assert_zero(self, where):
        if where not in labels:
            honest(self, where)

    return assert_zero


PYTHON_FAULTS = {
    "paths are not followed": lambda patch: patch.setattr(levels, "check_path", lambda *_: None),
    "any tree stands for a root": lambda patch: patch.setattr(opening, "commitment_root", _whatever_is_wanted),
    "code words are not compared": lambda patch: patch.setattr(levels, "evaluate_code", _code_word_shown),
    "convolutions are not checked": lambda patch: patch.setattr(claim.Claim, "assert_zero", _forgiving(claim.Claim, "conv")),
    "dense layers are not checked": lambda patch: patch.setattr(claim.Claim, "assert_zero", _forgiving(claim.Claim, "matmul")),
    "maxima are not checked": lambda patch: patch.setattr(claim.Claim, "assert_zero", _forgiving(claim.Claim, "max")),
    "held equations of products are forgotten": lambda patch: patch.setattr(
        hiding.HiddenClaim, "assert_zero", _forgiving(hiding.HiddenClaim, "product")
    ),
    "messages may follow the end": lambda patch: patch.setattr(proof_channel.ProofChannel, "finish", lambda self: None),
    "an element may be p or more": lambda patch: patch.setattr(proof, "P", 1 << 64),
    "statements are not checked": lambda patch: patch.setattr(verify, "check_statement", lambda *_: None),
    "a challenge has no name": lambda patch: patch.setattr(
        transcript.Transcript, "_stream", lambda self, kind, label: _unnamed(self, kind)
    ),
    "the rules of circuits are not checked": lambda patch: patch.setattr(verify, "check", lambda circuit: None),
}


class _Equal(bytes):
    def __ne__(self, other):
        return False

    __hash__ = bytes.__hash__


def _whatever_is_wanted(*_):
    return _Equal(32)


class _Anything(list):
    def __ne__(self, other):
        return False

    __hash__ = None


def _code_word_shown(*_):
    return _Anything()


def _unnamed(self, kind):
    self.absorb(kind, b"")
    return transcript.Stream(self._coins.seed())


@pytest.mark.parametrize("fault", PYTHON_FAULTS)
def test_a_fault_in_the_first_verifier_is_noticed(fault, corpus, answers, monkeypatch):
    assert circuit_check.check is verify.check  # what is patched is what runs
    PYTHON_FAULTS[fault](monkeypatch)
    from tests.support import second_verifier

    second_verifier._trusted.cache_clear()
    try:
        assert any(_differs(case, its) for (case, _), its in zip(corpus, answers, strict=True)), fault
    finally:
        second_verifier._trusted.cache_clear()


def _differs(case, its):
    try:
        return first(case) != its
    except Exception:  # a faulty verifier may also break down
        return True
