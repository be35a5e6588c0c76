"""The two verifiers of sumcheck proofs give the same verdict, the same code and the same kind of refusal on every case."""

from __future__ import annotations

import pytest

from tests.support import conformance_cases as made
from tests.support.second_verifier import differences, first, second

pytestmark = pytest.mark.js


def test_both_accept_the_frozen_proofs_and_refuse_them_alike_once_changed(tmp_path):
    honest = list(made.golden())
    assert [answer.code for answer in second(honest, tmp_path)] == [""] * 7
    cases = [*honest, *(changed for case in honest for changed in made.mutations(case, 150, 1))]
    assert differences(cases, tmp_path) == []
    assert sum(first(case).code == "" for case in honest) == 7


@pytest.mark.parametrize("suite", made.SUITES, ids=lambda suite: suite.name)
def test_both_agree_on_every_operation(suite, tmp_path, monkeypatch):
    honest = list(made.every_operation(suite, monkeypatch))
    assert [
        (case.name, answer.code) for case, answer in zip(honest, second(honest, tmp_path), strict=True) if answer.code
    ] == []
    assert differences([changed for case in honest for changed in made.mutations(case, 25, 2)], tmp_path) == []
