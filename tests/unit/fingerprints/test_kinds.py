"""What is particular to one output kind."""

from __future__ import annotations

import numpy as np
import pytest

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import Relation
from verifai.errors import EvidenceRejected, UsageError
from verifai.fingerprints import minhash
from verifai.fingerprints.output import decode_output, encode_output
from verifai.fingerprints.registry import fingerprint_for
from verifai.fingerprints.sign_index import BANDS, BandIndex, band_recall, hamming, near_pairs, sign_code
from verifai.fingerprints.text import normalise
from verifai.fingerprints.tokens import Replay, decide_by_replay, replay_margins

SEED = bytes(range(32))
LOGITS = fingerprint_for(OutputKind.LOGITS)


def _logits(*values: float) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {"y": np.array([values], dtype=np.float32)}


def test_a_margin_below_twice_the_tolerance_is_indeterminate_not_agreement() -> None:
    parameters = LOGITS.parameters({})
    first = LOGITS.make(_logits(1.0, 0.99999, 0.1), SEED, parameters)
    second = LOGITS.make(_logits(0.99999, 1.0, 0.1), SEED, parameters)
    assert LOGITS.compare(first, second, 1e-3, parameters).relation is Relation.INDETERMINATE
    near = LOGITS.make(_logits(1.0, 0.999991, 0.1), SEED, parameters)
    assert LOGITS.compare(first, near, 1e-3, parameters).relation is Relation.INDETERMINATE


def test_another_class_at_a_safe_margin_is_a_forgery_whatever_the_distance() -> None:
    parameters = LOGITS.parameters({})
    code = bytearray(LOGITS.make(_logits(3.0, 1.0, 0.0), SEED, parameters))
    forged = bytearray(code)
    forged[32:36] = (2).to_bytes(4, "little")
    assert LOGITS.compare(bytes(code), bytes(forged), 1e-3, parameters).relation is Relation.BEYOND


@pytest.mark.parametrize("shape", [(2, 5), (1,), ()])
def test_logits_are_one_row_of_classes(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        LOGITS.make({"y": np.zeros(shape, dtype=np.float32)}, SEED, LOGITS.parameters({}))
    assert caught.value.code == "output-unfit"


def test_eight_projections_are_32_bytes() -> None:
    fingerprint = fingerprint_for(OutputKind.EMBEDDINGS)
    assert len(fingerprint.make(_logits(*range(384)), SEED, fingerprint.parameters({}))) == 32


def test_the_minhash_scheme_is_pinned_and_another_is_refused() -> None:
    fingerprint = fingerprint_for(OutputKind.TEXT)
    assert fingerprint.parameters({})["scheme"] == "affine32"
    with pytest.raises(UsageError):
        fingerprint.parameters({"scheme": "legacy"})


def test_minhash_values_are_those_of_another_release_and_machine() -> None:
    """Pins scheme, hash and permutations, which datasketch's releases have changed before."""
    code = minhash.to_bytes(minhash.sketch([b"one", b"two", b"three"], SEED, 32))
    assert code.hex()[:64] == "54c1b7212b9ae71127cc390c51bc874ff9b2250dba75eb74fcbda13718e6360f"


def test_text_is_compared_as_a_reader_would() -> None:
    assert normalise("  Ｆｕｌｌ　Width \n TEXT ") == "full width text"


def test_replay_measures_by_how_much_a_claimed_token_lost() -> None:
    logits = np.array([[0.0, 1.0, 5.0], [2.0, 1.5, 0.0]])
    found = replay_margins(logits, np.array([2, 1]))
    assert found == Replay(positions=2, agreeing=1, worst_margin=0.5)
    assert decide_by_replay((found,), 1.0).relation is Relation.WITHIN
    assert decide_by_replay((found, Replay(2, 0, 14.0)), 1.0).relation is Relation.BEYOND
    assert decide_by_replay((), 1.0).relation is Relation.INDETERMINATE


@pytest.mark.parametrize("tokens", [[3, 0], [-1, 0]])
def test_claimed_tokens_outside_the_vocabulary_are_refused(tokens: list[int]) -> None:
    with pytest.raises(EvidenceRejected):
        replay_margins(np.zeros((2, 3)), np.array(tokens))


def test_tokens_that_differ_a_little_ask_for_a_replay() -> None:
    fingerprint = fingerprint_for(OutputKind.TOKENS)
    parameters = fingerprint.parameters({})
    one = np.arange(100)
    two = one.copy()
    two[60] += 1000
    codes = [fingerprint.make({"tokens": row}, SEED, parameters) for row in (one, two)]
    assert fingerprint.compare(*codes, 0.1, parameters).relation is Relation.INDETERMINATE


@pytest.mark.parametrize("decide", ["pdq", "phash"])
def test_perceptual_hashes_forgive_what_pixels_do_not(decide: str) -> None:
    pytest.importorskip("pdqhash" if decide == "pdq" else "imagehash", reason="the extra [images] is not installed")
    fingerprint = fingerprint_for(OutputKind.IMAGE)
    parameters = fingerprint.parameters({"decide": decide})
    columns, rows = np.meshgrid(np.linspace(0, 3, 128), np.linspace(0, 5, 128))
    picture = (127 + 120 * np.sin(columns * rows)).astype(np.uint8)
    code = fingerprint.make({"y": picture}, SEED, parameters)
    brighter = fingerprint.make({"y": picture // 2 + 60}, SEED, parameters)
    other = fingerprint.make({"y": np.ascontiguousarray(picture.T[::-1])}, SEED, parameters)
    assert fingerprint.compare(code, brighter, 0.15, parameters).relation is Relation.WITHIN
    assert fingerprint.compare(code, other, 0.15, parameters).relation is Relation.BEYOND


def test_a_tabular_column_is_measured_in_its_own_sigma() -> None:
    fingerprint = fingerprint_for(OutputKind.TABULAR)
    parameters = fingerprint.parameters({"sigma": f"{(1e6).hex()},{(0.01).hex()}"})
    base = fingerprint.make({"row": np.array([5e6, 0.5])}, SEED, parameters)
    euros = fingerprint.make({"row": np.array([5e6 + 100, 0.5])}, SEED, parameters)
    percent = fingerprint.make({"row": np.array([5e6, 0.6])}, SEED, parameters)
    assert fingerprint.compare(base, euros, 0.01, parameters).relation is Relation.WITHIN
    assert fingerprint.compare(base, percent, 0.01, parameters).relation is Relation.BEYOND


def test_a_category_is_exact() -> None:
    fingerprint = fingerprint_for(OutputKind.TABULAR)
    parameters = fingerprint.parameters({})
    codes = [fingerprint.make({"c": np.array([c]), "x": np.array([0.5])}, SEED, parameters) for c in (1, 2)]
    assert fingerprint.compare(*codes, 1e6, parameters).relation is Relation.BEYOND


@pytest.mark.parametrize("sigma", ["", "0x0p+0", "-0x1p+0", "inf", "0x1p+0,", "nan"])
def test_a_senseless_sigma_is_refused(sigma: str) -> None:
    with pytest.raises(UsageError):
        fingerprint_for(OutputKind.TABULAR).parameters({"sigma": sigma})


def test_stochastic_samples_keep_their_false_alarm_rate() -> None:
    fingerprint = fingerprint_for(OutputKind.SAMPLES)
    parameters = fingerprint.parameters({"draws": 24, "permutations": 199, "alarms_per_million": 50_000})
    generator = np.random.default_rng(8)
    alarms = 0
    for _ in range(200):
        codes = [fingerprint.make({"x": generator.normal(size=(24, 6))}, SEED, parameters) for _ in range(2)]
        alarms += fingerprint.compare(*codes, 0.0, parameters).relation is Relation.BEYOND
    assert alarms <= 20  # 10 expected; P(more than 20) is below 0.2 %


def test_a_shift_in_distribution_is_found() -> None:
    fingerprint = fingerprint_for(OutputKind.SAMPLES)
    parameters = fingerprint.parameters({"draws": 64, "permutations": 1999})
    generator = np.random.default_rng(9)
    first = fingerprint.make({"x": generator.normal(size=(64, 6))}, SEED, parameters)
    for shifted in (generator.normal(1.0, size=(64, 6)), 3 * generator.normal(size=(64, 6))):
        second = fingerprint.make({"x": shifted}, SEED, parameters)
        assert fingerprint.compare(first, second, 0.0, parameters).relation is Relation.BEYOND


def test_permutations_that_could_never_refuse_are_refused_themselves() -> None:
    with pytest.raises(UsageError):
        fingerprint_for(OutputKind.SAMPLES).parameters({"permutations": 99, "alarms_per_million": 1000})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"\x00",
        lambda data: b"X" + data[1:],
        lambda data: data[:18] + b"\xff\xff\xff\xff" + data[22:],
        lambda data: data.replace(b'"float32"', b'"float33"'),
        lambda data: data.replace(b'"shape":[2]', b'"shape":[9]'),
    ],
)
def test_an_encoded_output_has_one_spelling(spoil) -> None:  # type: ignore[no-untyped-def]
    data = encode_output({"b": np.array([1.0, 2.0], dtype=np.float32), "a": np.array([[1]], dtype=np.int64)})
    assert encode_output(decode_output(data)) == data
    with pytest.raises(EvidenceRejected):
        decode_output(spoil(data))


def test_the_band_index_finds_near_codes_and_brute_force_finds_all() -> None:
    generator = np.random.default_rng(10)
    codes = generator.integers(0, 2**64, (300, 4), dtype=np.uint64)
    near = codes.copy()
    near[:, 0] ^= np.uint64(0b1011)
    index = BandIndex()
    index.insert([str(i) for i in range(300)], codes)
    assert all(str(i) in index.candidates(code) for i, code in enumerate(near))
    assert [(a, b) for a, b, _ in near_pairs(near, codes, 10)] == [(i, i) for i in range(300)]
    assert hamming(near[:1], codes[:1])[0, 0] == 3
    assert band_recall(0) == 1.0
    assert band_recall(128) < 0.001
    assert BANDS == 16


def test_sign_codes_of_close_outputs_are_close() -> None:
    row = np.random.default_rng(11).normal(size=500)
    far = np.random.default_rng(12).normal(size=500)
    code = sign_code(row, SEED)[None]
    assert hamming(code, sign_code(row + 1e-3 * far, SEED)[None])[0, 0] <= 4
    assert hamming(code, sign_code(far, SEED)[None])[0, 0] > 90
