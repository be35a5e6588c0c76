"""Projections: reproducible to the bit, unbiased, and forged only by those who know the seed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifai.domain.consensus.round import sample_seed
from verifai.errors import EvidenceRejected
from verifai.fingerprints.projection import CHUNK, pack, project, relative_distance, unpack

SEED = bytes(range(32))


def test_known_answer() -> None:
    """Pins matrix, order of summation and rounding; a change here changes every vote ever made."""
    values = np.arange(1000, dtype=np.float32) / 7
    code = pack(project(values, SEED, 8, "y"))
    assert hashlib.sha256(code).hexdigest() == "49a2a9927f41bd85fa6e292c4eee4a2676a68400bf46bdb07a6c85b9878032a4"
    wide = np.linspace(-1, 1, CHUNK + 17, dtype=np.float64)
    assert (
        hashlib.sha256(pack(project(wide, SEED, 8, "y"))).hexdigest()
        == "4cb0d2659f0b4c1739fc96bb5476f7cdd82db3fd4a2c56662a70d94ec048b257"
    )


def test_the_sum_is_the_one_that_a_slow_reference_gives() -> None:
    values = np.random.default_rng(3).normal(size=37)
    stream = hashlib.shake_256(
        b"verifai/projection/v1\x00" + SEED + (1).to_bytes(2, "big") + b"y" + (0).to_bytes(8, "big")
    ).digest((8 * 37 + 7) // 8)
    bits = [(stream[i // 8] >> (i % 8)) & 1 for i in range(8 * 37)]
    for row in range(8):
        terms = [float(v) if bits[row * 37 + i] else -float(v) for i, v in enumerate(values)] + [0.0] * 27
        while len(terms) > 1:
            half = len(terms) // 2
            terms = [a + b for a, b in zip(terms[:half], terms[half:], strict=True)]
        assert project(values, SEED, 8, "y")[row] == terms[0]


def test_memory_layout_and_strides_do_not_matter() -> None:
    values = np.random.default_rng(4).normal(size=(30, 20)).astype(np.float32)
    assert np.array_equal(project(values, SEED, 8, "y"), project(np.asfortranarray(values), SEED, 8, "y"))
    assert np.array_equal(project(values[::-1], SEED, 8, "y"), project(values[::-1].copy(), SEED, 8, "y"))


def test_squared_projections_estimate_the_squared_distance() -> None:
    change = np.random.default_rng(5).normal(size=500)
    found = [np.mean(project(change, sample_seed("ab" * 32, i), 8, "y") ** 2) for i in range(400)]
    assert np.mean(found) == pytest.approx(np.sum(change**2), rel=0.06)


def test_a_known_seed_is_forged_and_a_fresh_one_is_not() -> None:
    """Why outputs are committed to before the seed exists."""
    row = np.random.default_rng(6).normal(size=200)
    basis = np.array([project(unit, SEED, 8, "y") for unit in np.eye(200)]).T
    wrong = row + np.random.default_rng(7).normal(size=200)
    forged = wrong - basis.T @ np.linalg.solve(basis @ basis.T, basis @ (wrong - row))
    known = relative_distance(project(row, SEED, 8, "y"), project(forged, SEED, 8, "y"))
    assert known < 1e-12
    fresh = [
        relative_distance(project(row, seed, 8, "y"), project(forged, seed, 8, "y"))
        for seed in (sample_seed("cd" * 32, i) for i in range(200))
    ]
    assert min(fresh) > 0.05


def test_different_labels_have_different_matrices() -> None:
    values = np.ones(64)
    assert not np.array_equal(project(values, SEED, 8, "a"), project(values, SEED, 8, "b"))


@pytest.mark.parametrize("huge", [np.array([1e39]), np.full(10, 3e38)])
def test_what_does_not_fit_fp32_is_refused(huge: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(EvidenceRejected):
        for i in range(20):
            pack(project(huge, sample_seed("ef" * 32, i), 8, "y"))


@pytest.mark.parametrize("code", [b"", b"123", np.array([np.nan], "<f4").tobytes(), np.array([np.inf], "<f4").tobytes()])
def test_codes_that_are_no_projections_are_refused(code: bytes) -> None:
    with pytest.raises(EvidenceRejected):
        unpack(code)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8),
)
def test_relative_distance_is_symmetric_and_bounded(first: list[float], second: list[float]) -> None:
    a, b = np.array(first), np.array(second)
    assert relative_distance(a, b) == relative_distance(b, a)
    assert 0.0 <= relative_distance(a, b) <= 2.0 + 1e-9
