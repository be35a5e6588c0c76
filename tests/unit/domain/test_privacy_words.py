"""The sentences about what is hidden: never more than the kind of proof hides, and the same for every reader."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest

from verifai.domain.digest import Sha256
from verifai.domain.privacy_words import (
    EXTRACTION,
    chain_words,
    hidden,
    hides,
    privacy_document,
    privacy_words,
    shown,
    weights_words,
)
from verifai.domain.statement import EngineName, Privacy, Role, Statement, TensorStatement, Visibility, WeightVisibility

EZKL, SUMCHECK = EngineName.EZKL, EngineName.SUMCHECK
ZK, UNAUDITED, INTEGRITY = Privacy.ZERO_KNOWLEDGE, Privacy.ZERO_KNOWLEDGE_UNAUDITED, Privacy.INTEGRITY_ONLY
MADE = {(EZKL, ZK), (SUMCHECK, UNAUDITED), (SUMCHECK, INTEGRITY)}
"""Engine and level of the proofs that exist."""


def tensor(role: Role, name: str, visibility: Visibility) -> TensorStatement:
    values = (1, 2) if visibility is Visibility.PUBLIC else None
    digest = "ab" * 32 if visibility is Visibility.HASHED else None
    return TensorStatement(role, name, (1, 2), visibility, Fraction(1, 128), 0, values, digest, digest and "scheme")


def statement(
    engine: EngineName = SUMCHECK,
    privacy: Privacy = UNAUDITED,
    weights: WeightVisibility = WeightVisibility.PUBLIC,
    given: Visibility = Visibility.PUBLIC,
    result: Visibility = Visibility.PUBLIC,
) -> Statement:
    tensors = (tensor(Role.INPUT, "image", given), tensor(Role.OUTPUT, "logits", result))
    return Statement(engine, Sha256("0" * 64), Sha256("1" * 64), tensors, "", True, privacy, weights)


def everything() -> list[Statement]:
    return [statement(*kind) for kind in product(EngineName, Privacy, WeightVisibility, Visibility, Visibility)]


def test_nothing_is_called_hidden_that_no_proof_of_that_kind_hides() -> None:
    """Any statement can be written into a bundle, and `inspect` prints it by its own word."""
    odd = [one for one in everything() if (one.engine, one.privacy) not in MADE]
    assert len(odd) == 3 * 4 * 9
    for one in odd:
        assert hidden(one) == ()
        assert "Hidden: nothing." in privacy_words(one)
        assert all("nothing is known to be hidden" in hides(one.engine, one.privacy, seen) for seen in Visibility)


def test_an_integrity_only_proof_hides_nothing_whatever_it_binds() -> None:
    for weights, given in product(WeightVisibility, Visibility):
        one = statement(SUMCHECK, INTEGRITY, weights, given)
        assert hidden(one) == ()
        words = privacy_words(one)
        assert words[:2] == ("Privacy: integrity-only (not zero-knowledge).", "Hidden: nothing.")
        opened = "parts of what is committed to, in the columns that each proof opens" in shown(one)
        assert opened == (given is Visibility.HASHED or weights is not WeightVisibility.PUBLIC)
    assert "said to be private" in weights_words(statement(SUMCHECK, INTEGRITY, WeightVisibility.PRIVATE))


def test_only_hiding_commitments_hide_weights() -> None:
    for one in everything():
        said = "the values of the weights" in hidden(one)
        assert said == (one.engine is SUMCHECK and one.privacy is UNAUDITED and one.weights is WeightVisibility.PRIVATE)
        trusting = "bound by the root of a hiding commitment" in weights_words(one)
        assert trusting == said


def test_withheld_weights_are_not_sold_as_hidden() -> None:
    found = shown(statement(EZKL, ZK, WeightVisibility.WITHHELD, Visibility.PRIVATE))
    assert any("a guess can be confirmed" in line and "evaluations" in line for line in found)
    committed = shown(statement(SUMCHECK, UNAUDITED, WeightVisibility.COMMITTED, Visibility.PRIVATE))
    assert any("not made to hide" in line for line in committed)


def test_the_label_of_the_design_is_printed_in_full() -> None:
    one = statement(SUMCHECK, UNAUDITED, WeightVisibility.PRIVATE, Visibility.PRIVATE, Visibility.HASHED)
    label, what, rest = privacy_words(one)
    assert label == "Privacy: zero-knowledge, unaudited."
    assert "private input 'image'" in what and "the values of the weights" in what
    assert "hashed output 'logits', from those who lack the seed" in what
    for part in ("architecture, shapes, scales, zero points, bounds and lookup counts", "how often a commitment was used"):
        assert part in rest
    assert rest.endswith(f"; {EXTRACTION}.")


def test_the_public_tensors_are_named_with_what_follows_from_them() -> None:
    one = statement(given=Visibility.PRIVATE)
    assert "public output 'logits', and what follows from that" in shown(one)
    assert "how often a commitment was used" not in shown(one)
    assert not any(EXTRACTION in line for line in privacy_words(one)), "public weights need no extraction"


def test_a_hash_without_salt_is_open_to_guesses_and_one_with_salt_is_not() -> None:
    guess = "hashed input 'image' to a reader who can guess the values"
    assert guess in shown(statement(EZKL, ZK, given=Visibility.HASHED))
    assert guess in shown(statement(SUMCHECK, INTEGRITY, given=Visibility.HASHED))
    assert guess not in shown(statement(SUMCHECK, UNAUDITED, given=Visibility.HASHED))
    assert "unsalted" in hides(EZKL, ZK, Visibility.HASHED)
    assert "unsalted" in hides(SUMCHECK, INTEGRITY, Visibility.HASHED)
    salted = hides(SUMCHECK, UNAUDITED, Visibility.HASHED)
    assert "salted" in salted and "unsalted" not in salted and "equal roots" in salted


def test_no_engine_is_called_audited_that_is_not() -> None:
    for visibility in (Visibility.PRIVATE, Visibility.HASHED):
        assert "unaudited" in hides(SUMCHECK, UNAUDITED, visibility)


def test_a_proof_with_everything_public_hides_nothing() -> None:
    for engine, privacy in ((EZKL, ZK), (SUMCHECK, UNAUDITED)):
        one = statement(engine, privacy)
        assert hidden(one) == ()
        assert "Hidden: nothing, for every tensor and the weights are public." in privacy_words(one)


def test_a_chain_is_as_private_as_its_weakest_segment() -> None:
    strong, weak = statement(SUMCHECK, UNAUDITED), statement(SUMCHECK, INTEGRITY)
    assert "salted root" in chain_words([strong, strong])
    for mixed in ([strong, weak], [weak, strong]):
        assert chain_words(mixed).startswith(f"Privacy: {INTEGRITY.value}.")
        assert "not hidden" in chain_words(mixed)


def test_many_and_long_names_do_not_flood_a_sentence() -> None:
    tensors = tuple(tensor(Role.INPUT, "n" * 4000 + str(number), Visibility.PRIVATE) for number in range(40))
    many = Statement(SUMCHECK, Sha256("0" * 64), Sha256("1" * 64), tensors, "", True, UNAUDITED, WeightVisibility.PUBLIC)
    assert all(len(line) < 1000 for line in privacy_words(many))
    assert any("32 more" in line for line in privacy_words(many))


@pytest.mark.parametrize("one", everything(), ids=lambda one: f"{one.engine}-{one.privacy}-{one.weights}")
def test_people_and_programs_are_told_the_same_in_whole_sentences(one: Statement) -> None:
    found = privacy_document(one)
    lines = privacy_words(one)
    assert found["level"] == one.privacy.value and found["weights"] == one.weights.value
    assert all(part in lines[1] for part in found["hidden"])
    assert found["not_hidden"] and all(part in lines[2] for part in found["not_hidden"])
    for line in (*lines, weights_words(one), *(hides(one.engine, one.privacy, seen) for seen in Visibility)):
        assert line.endswith(".") and "\n" not in line
