"""Forging the zero-knowledge suite's opening in a toy code succeeds as often as the error bound says, and no more."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.planning.plan_hiding import MASK_ROWS, _commitment
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field, layout, soundness
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.hiding import LEFT, MESSAGES, PRODUCT, RIGHT, PadPlan
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.proof import log_length
from verifai.engines.sumcheck.protocol.storage import whole
from verifai.engines.sumcheck.protocol.suite import commitment_root
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover import functionals
from verifai.engines.sumcheck.prover.channel import HidingProverChannel
from verifai.engines.sumcheck.prover.coins import SecretCoins
from verifai.engines.sumcheck.prover.commitment import (
    SALT_WORDS,
    CommittedMatrix,
    commit_hiding,
    encode,
    merkle_layers,
    opened_cells,
)
from verifai.engines.sumcheck.prover.opening_hiding import prove_hidden_openings
from verifai.engines.sumcheck.prover.pads import draw_pads
from verifai.engines.sumcheck.verifier.opening import Opened
from verifai.engines.sumcheck.verifier.opening_hiding import check_hidden_openings
from verifai.engines.sumcheck.verifier.proof_channel import HidingChannel
from verifai.errors import EvidenceRejected

QUERIES, MESSAGE, LENGTH, LOG_CELLS = 4, 8, 128, 5
PADS = PadPlan(4, 2)
"""A value and its square, sent; one product; two elements of the products' check."""


def _plan():
    columns = {("tensor", 0, 0): whole((LOG_CELLS,))}
    columns |= {("pad", column, 0): whole((1 + PADS.log_size(column),)) for column in (MESSAGES, LEFT, RIGHT, PRODUCT)}
    mask = 2 * layout.reserve(columns, 2 * MESSAGE)
    shape = CommitmentShape("", 0, MESSAGE, MESSAGE + mask + QUERIES, LENGTH, QUERIES, 0, mask, QUERIES)
    return _commitment("x", columns, shape, 1, MASK_ROWS)


def _committed(plan, cells):
    coins = SecretCoins(bytes(32))
    pads = draw_pads(PADS, coins)
    return pads, commit_hiding(plan, {("tensor", 0, 0): cells, **pads.committed()}, coins, "witness")


def _partly(made, row, share, pick):
    """``made`` with another row at the first ``share`` positions: near no code word, and as near as can be to the other one's.

    Cells and stored rows are the other one's: what the forger proves.
    """
    plan, shape = made.plan, made.plan.shape
    rows = made.masked.copy()
    kind = slice(MESSAGE, MESSAGE + shape.mask) if row >= shape.rows - MASK_ROWS else slice(0, MESSAGE)
    rows[row, kind] = pick.integers(0, P, kind.stop - kind.start, dtype=np.uint64)
    padded = np.concatenate([np.zeros((SALT_WORDS, shape.degree), dtype=np.uint64), rows])
    other = encode(padded, log_length(shape), 1 << (shape.degree - 1).bit_length())
    codeword = made.codeword.copy()
    codeword[:share, 1 + SALT_WORDS :] = other[:share, 1 + SALT_WORDS :]
    cells, blind = opened_cells(plan, rows, 0)
    layers = merkle_layers(codeword)
    return CommittedMatrix(plan, cells, codeword, layers, commitment_root(shape, plan.log_cells, layers[-1]), rows, blind=blind)


def _square_holds(claim):
    """Both sides: the value squared is what was said to be its square."""
    value, square = claim
    (value.mul(value) - square).assert_zero("square")
    return value


def _accepted(trial, made, pads, cells, point, lie=field.ZERO):
    """Prove the cells' value at ``point``, and its square, and verify; ``lie`` is added to the value."""
    axes = ax.point_axes(point, (LOG_CELLS,))
    true = field.add(functionals.evaluate(axes, cells), lie)
    transcripts = [Transcript(), Transcript()]
    for transcript in transcripts:
        transcript.absorb("trial", trial.to_bytes(4, "little"))
        transcript.absorb("witness.root", made.root)
    prover = HidingProverChannel(transcripts[0], PADS, pads.values)
    value = _square_holds(prover.send("value", [true, field.product(true, true)]))
    claims = [OpeningClaim(("tensor", 0, 0), axes, value)]
    (opening,) = prove_hidden_openings(prover, [[made]], claims, pads.columns)
    channel = HidingChannel(transcripts[1], prover.messages, PADS)
    claims = [OpeningClaim(("tensor", 0, 0), axes, _square_holds(channel.receive("value", 2)))]
    try:
        check_hidden_openings(channel, [[Opened(made.plan, made.root, opening)]], claims, (), ())
        channel.finish()
    except EvidenceRejected:
        return False
    return True


def _point(pick):
    return tuple(zip(*pick.integers(1, P, (2, LOG_CELLS), dtype=np.uint64).tolist(), strict=True))


@pytest.fixture
def toy():
    pick = np.random.default_rng(8)
    plan, cells = _plan(), pick.integers(0, P, 1 << LOG_CELLS, dtype=np.uint64)
    pads, made = _committed(plan, cells)
    return pick, cells, pads, made


def test_the_toys_honest_prover_convinces_and_a_lie_never_does(toy):
    pick, cells, pads, made = toy
    for trial in range(30):
        assert _accepted(trial, made, pads, cells, _point(pick))
        assert not _accepted(trial, made, pads, cells, _point(pick), lie=field.ONE)


@pytest.mark.parametrize("kind", ["values", "blind", "mask"])
def test_forging_a_hidden_opening_succeeds_as_often_as_the_bound_and_no_more(toy, kind):
    """The best there is: a word that agrees with the forger's at exactly as many positions as the bound allows for."""
    pick, cells, pads, made = toy
    shape, trials = made.plan.shape, 500
    share = soundness.agreement(shape.degree, LENGTH)
    (address,) = made.plan.columns["tensor", 0, 0].addresses
    row = {"values": shape.reserved_rows + address // MESSAGE - made.plan.first_row, "blind": 1, "mask": shape.rows - 1}[kind]
    forged = _partly(made, row, share, pick)
    start = address - forged.first
    shown = forged.cells[start : start + len(cells)]
    assert np.array_equal(shown, cells) == (kind != "values")
    won = sum(_accepted(trial, forged, pads, shown, _point(pick)) for trial in range(trials))
    numerator, denominator = soundness.query_error(shape.degree, LENGTH, QUERIES)
    bound = trials * numerator / denominator
    print(f"{kind}: {won} of {trials} forgeries accepted, the bound says {bound:.1f}")
    assert won <= bound + 4 * math.sqrt(bound)
    assert won >= bound - 4 * math.sqrt(bound)  # the forger is the best, so the measurement means something


def test_with_more_queries_the_same_forger_never_succeeds(toy):
    """Against 30 positions: less than 2^-20 for each of 200 trials."""
    pick, cells, pads, made = toy
    shape = made.plan.shape
    share = soundness.agreement(shape.degree, LENGTH)
    numerator, denominator = soundness.query_error(shape.degree, LENGTH, 30)
    assert numerator << 20 < denominator
    plan = replace(made.plan, shape=replace(shape, queries=30))
    forged = _partly(replace(made, plan=plan), shape.rows - 1, share, pick)
    assert not any(_accepted(trial, forged, pads, cells, _point(pick)) for trial in range(200))
