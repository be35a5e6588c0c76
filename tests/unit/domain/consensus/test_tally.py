"""The tally: who agrees, what it comes to."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifai.domain.consensus.tally import SAME, Comparison, Relation, TallyOutcome, tally


def line(points: list[float], tau: float = 1.0) -> list[list[Comparison]]:
    """Verifiers on a line: distance is the difference."""
    return [
        [
            SAME if i == j else Comparison(abs(a - b) / tau, Relation.WITHIN if abs(a - b) <= tau else Relation.BEYOND)
            for j, b in enumerate(points)
        ]
        for i, a in enumerate(points)
    ]


def names(count: int) -> list[str]:
    return [f"v{i:02}" for i in range(count)]


def test_no_vote_is_no_quorum() -> None:
    assert tally([], [], tolerated_faults=1).outcome is TallyOutcome.NO_QUORUM


@pytest.mark.parametrize(("count", "faults"), [(2, 1), (4, 2), (1, 1)])
def test_fewer_than_2f_plus_1_answers_are_no_quorum_even_when_equal(count: int, faults: int) -> None:
    found = tally(names(count), line([0.0] * count), tolerated_faults=faults)
    assert found.outcome is TallyOutcome.NO_QUORUM


def test_a_chain_of_small_steps_is_not_agreement() -> None:
    """Connected components would accept all five; a ball of radius τ does not."""
    found = tally(names(5), line([0.0, 0.9, 1.8, 2.7, 3.6]), tolerated_faults=1)
    assert found.outcome is TallyOutcome.REJECT
    assert len(found.agreeing) == 3


def test_the_centre_is_the_vote_with_most_others_within_reach() -> None:
    found = tally(names(4), line([0.0, 0.9, 1.8, 50.0]), tolerated_faults=1)
    assert found.centre == "v01"
    assert found.outcome is TallyOutcome.ACCEPT
    assert found.dissenting == ("v03",)


def test_more_dissent_than_f_is_a_rejection_although_f_plus_1_agree() -> None:
    found = tally(names(5), line([0.0, 0.1, 0.2, 50.0, 90.0]), tolerated_faults=1)
    assert found.outcome is TallyOutcome.REJECT


def test_two_camps_are_a_rejection() -> None:
    found = tally(names(6), line([0.0, 0.1, 0.2, 50.0, 50.1, 50.2]), tolerated_faults=2)
    assert found.outcome is TallyOutcome.REJECT


def test_a_proven_liar_counts_as_an_answer_and_against_f() -> None:
    assert tally(names(2), line([0.0, 0.1]), tolerated_faults=1, liars=1).outcome is TallyOutcome.ACCEPT
    assert tally(names(4), line([0.0, 0.1, 0.2, 50.0]), tolerated_faults=1, liars=1).outcome is TallyOutcome.REJECT


def test_indeterminate_pairs_make_the_result_indeterminate_only_when_they_could_tip_it() -> None:
    unclear = Comparison(0.5, Relation.INDETERMINATE)
    matrix = line([0.0, 0.0, 0.0])
    matrix[0][1] = matrix[1][0] = matrix[0][2] = matrix[2][0] = matrix[1][2] = matrix[2][1] = unclear
    assert tally(names(3), matrix, tolerated_faults=1).outcome is TallyOutcome.INDETERMINATE
    matrix[1][2] = matrix[2][1] = Comparison(0.5, Relation.WITHIN)
    assert tally(names(3), matrix, tolerated_faults=1).outcome is TallyOutcome.ACCEPT
    far = Comparison(9.0, Relation.BEYOND)
    matrix = [[SAME, unclear, far], [unclear, SAME, far], [far, far, SAME]]
    assert tally(names(3), matrix, tolerated_faults=1).outcome is TallyOutcome.INDETERMINATE
    matrix = [[SAME if i == j else far for j in range(3)] for i in range(3)]
    assert tally(names(3), matrix, tolerated_faults=1).outcome is TallyOutcome.REJECT


@pytest.mark.parametrize(
    ("voters", "faults", "liars"),
    [(["b", "a", "c"], 1, 0), (["a", "a", "b"], 1, 0), (["a", "b", "c"], 0, 0), (["a", "b", "c"], 1, -1)],
)
def test_senseless_questions_are_refused(voters: list[str], faults: int, liars: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        tally(voters, line([0.0] * 3), tolerated_faults=faults, liars=liars)


def test_weights_are_shown_beside_and_never_decide() -> None:
    found = tally(names(3), line([0.0, 0.1, 50.0]), tolerated_faults=1, weights={"v00": 0.0, "v01": 0.0, "v02": 2.0})
    assert found.outcome is TallyOutcome.ACCEPT
    assert found.weighted is not None
    assert not found.weighted.agrees


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=7), st.integers(1, 3), st.integers(0, 2))
def test_the_decision_does_not_hang_on_the_order_of_the_verifiers(points: list[float], faults: int, liars: int) -> None:
    outcomes = set()
    for order in itertools.islice(itertools.permutations(points), 24):
        found = tally(names(len(order)), line(list(order)), tolerated_faults=faults, liars=liars)
        outcomes.add((found.outcome, len(found.agreeing)))
    assert len(outcomes) == 1


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=9), st.integers(1, 4), st.integers(0, 2))
def test_acceptance_means_a_quorum_and_at_most_f_outside(points: list[float], faults: int, liars: int) -> None:
    found = tally(names(len(points)), line(points), tolerated_faults=faults, liars=liars)
    if found.outcome is TallyOutcome.ACCEPT:
        assert len(points) + liars >= 2 * faults + 1
        assert len(found.agreeing) >= faults + 1
        assert len(points) - len(found.agreeing) + liars <= faults
