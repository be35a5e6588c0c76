"""Every fingerprint keeps the contract of ``verifai.fingerprints.interface``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import Relation
from verifai.errors import EvidenceRejected, UsageError
from verifai.fingerprints.interface import Fingerprint, Parameters
from verifai.fingerprints.output import decode_output, encode_output
from verifai.fingerprints.registry import fingerprint_for

SEED = bytes(range(32))
OTHER_SEED = bytes(range(1, 33))
TAU = 1e-4
Output = Mapping[str, np.ndarray[Any, Any]]


def _text(text: str) -> Output:
    return {"text": np.frombuffer(text.encode(), np.uint8)}


def _draws(shift: float, seed: int) -> Output:
    return {"x": np.random.default_rng(seed).normal(shift, 1.0, (64, 20)).astype(np.float32)}


_RNG = np.random.default_rng(7)
_ROW = _RNG.normal(size=40).astype(np.float32)
_PICTURE = _RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
_LONG = "The quick brown fox jumps over the lazy dog while the five boxing wizards watch quietly from the garden wall."

HONEST: dict[OutputKind, tuple[Output, Output]] = {
    # (an output, what an honest verifier elsewhere may give)
    OutputKind.EXACT: ({"y": np.arange(6)}, {"y": np.arange(6)}),
    OutputKind.LOGITS: ({"y": _ROW[None]}, {"y": _ROW[None] * np.float32(1 + 1e-6)}),
    OutputKind.EMBEDDINGS: ({"y": _ROW}, {"y": _ROW + np.float32(1e-6)}),
    OutputKind.TOKENS: ({"tokens": np.arange(50)}, {"tokens": np.arange(50)}),
    OutputKind.TEXT: (_text(_LONG), _text(_LONG.upper() + "  ")),
    OutputKind.IMAGE: ({"y": _PICTURE}, {"y": _PICTURE.copy()}),
    OutputKind.TABULAR: (
        {"label": np.array([3]), "score": _ROW},
        {"label": np.array([3]), "score": _ROW + np.float32(1e-6)},
    ),
    OutputKind.SAMPLES: (_draws(0.0, 1), _draws(0.0, 2)),
}
WRONG: dict[OutputKind, Output] = {
    OutputKind.EXACT: {"y": np.arange(1, 7)},
    OutputKind.LOGITS: {"y": _ROW[None] + np.float32(0.01) * _RNG.normal(size=(1, 40)).astype(np.float32)},
    OutputKind.EMBEDDINGS: {"y": _ROW + np.float32(0.01) * _RNG.normal(size=40).astype(np.float32)},
    OutputKind.TOKENS: {"tokens": np.arange(1000, 1050)},
    OutputKind.TEXT: _text("Another text altogether, about prime numbers and the distribution of their gaps."),
    OutputKind.IMAGE: {"y": np.clip(_PICTURE.astype(int) + _RNG.integers(-2, 3, _PICTURE.shape), 0, 255).astype(np.uint8)},
    OutputKind.TABULAR: {"label": np.array([3]), "score": _ROW + np.float32(0.01)},
    OutputKind.SAMPLES: _draws(0.7, 3),
}
KINDS = list(OutputKind)


def _of(kind: OutputKind) -> tuple[Fingerprint, Parameters]:
    fingerprint = fingerprint_for(kind)
    return fingerprint, fingerprint.parameters({})


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_output_is_not_within(kind: OutputKind) -> None:
    fingerprint, parameters = _of(kind)
    first = fingerprint.make(HONEST[kind][0], SEED, parameters)
    wrong = fingerprint.make(WRONG[kind], SEED, parameters)
    found = fingerprint.compare(first, wrong, TAU, parameters)
    assert found.relation is Relation.BEYOND
    assert found.ratio > 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_output_is_within(kind: OutputKind) -> None:
    fingerprint, parameters = _of(kind)
    first, second = (fingerprint.make(output, SEED, parameters) for output in HONEST[kind])
    found = fingerprint.compare(first, second, TAU, parameters)
    assert found.relation is Relation.WITHIN
    assert found.ratio <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_equal_output_gives_equal_bytes_and_ratio_zero(kind: OutputKind) -> None:
    fingerprint, parameters = _of(kind)
    output = HONEST[kind][0]
    first = fingerprint.make(output, SEED, parameters)
    assert first == fingerprint.make(decode_output(encode_output(output)), SEED, parameters)
    found = fingerprint.compare(first, first, TAU, parameters)
    assert (found.relation, found.ratio) == (Relation.WITHIN, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_gives_another_code(kind: OutputKind) -> None:
    fingerprint, parameters = _of(kind)
    output = HONEST[kind][0]
    assert fingerprint.make(output, SEED, parameters) != fingerprint.make(output, OTHER_SEED, parameters)


@pytest.mark.parametrize("kind", KINDS)
def test_comparison_is_symmetric(kind: OutputKind) -> None:
    fingerprint, parameters = _of(kind)
    codes = [fingerprint.make(output, SEED, parameters) for output in (*HONEST[kind], WRONG[kind])]
    for first in codes:
        for second in codes:
            there = fingerprint.compare(first, second, TAU, parameters)
            assert there == fingerprint.compare(second, first, TAU, parameters)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rubbish", [b"", b"\x00", b"\xff" * 31, b"\xff" * 33])
def test_a_code_of_another_form_is_refused(kind: OutputKind, rubbish: bytes) -> None:
    fingerprint, parameters = _of(kind)
    good = fingerprint.make(HONEST[kind][0], SEED, parameters)
    for pair in ((rubbish, good), (good, rubbish)):
        with pytest.raises(EvidenceRejected) as caught:
            fingerprint.compare(*pair, TAU, parameters)
        assert caught.value.code == "fingerprint-malformed"


@pytest.mark.parametrize("kind", [OutputKind.LOGITS, OutputKind.EMBEDDINGS, OutputKind.TABULAR, OutputKind.SAMPLES])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused(kind: OutputKind, bad: float) -> None:
    fingerprint, parameters = _of(kind)
    output = {name: values.copy() for name, values in HONEST[kind][0].items()}
    spoilt = next(values for values in output.values() if values.dtype.kind == "f")
    spoilt.reshape(-1)[3] = bad
    with pytest.raises(EvidenceRejected) as caught:
        fingerprint.make(output, SEED, parameters)
    assert caught.value.code == "output-not-finite"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (OutputKind.EXACT, OutputKind.EMBEDDINGS)])
def test_an_output_of_another_kind_is_refused(kind: OutputKind) -> None:
    fingerprint, parameters = _of(kind)
    strange = {"x": np.zeros((3, 5), dtype=np.complex64), "y": np.zeros((2, 2), dtype=np.float32)}
    with pytest.raises((EvidenceRejected, UsageError)) as caught:
        fingerprint.make(strange, SEED, parameters)
    assert caught.value.code == "output-unfit"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_parameter_is_refused_and_defaults_are_filled_in(kind: OutputKind) -> None:
    fingerprint, parameters = _of(kind)
    assert fingerprint.parameters(parameters) == parameters
    with pytest.raises(UsageError) as caught:
        fingerprint.parameters({"no_such": 1})
    assert caught.value.code == "fingerprint-parameters"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if fingerprint_for(kind).needs_calibration])
def test_a_tolerance_of_zero_leaves_only_equality(kind: OutputKind) -> None:
    fingerprint, parameters = _of(kind)
    first = fingerprint.make(HONEST[kind][0], SEED, parameters)
    wrong = fingerprint.make(WRONG[kind], SEED, parameters)
    assert fingerprint.compare(first, first, 0.0, parameters).relation is Relation.WITHIN
    assert fingerprint.compare(first, wrong, 0.0, parameters).relation is Relation.BEYOND
