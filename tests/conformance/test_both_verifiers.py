"""The two verifiers of sumcheck proofs give the same verdict, the same code and the same kind of refusal on every case."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.support import conformance_cases as made
from tests.support.paths import ROOT
from tests.support.random_circuits import random_circuit
from tests.support.ranged_circuits import STEPS, ranged_case
from tests.support.second_verifier import differences, first, second
from tests.support.sumcheck_examples import Sketch, many_lookups
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import MAX_TABLES, circuit_digest, decode, encode
from verifai.engines.sumcheck.circuit.program import Table

pytestmark = pytest.mark.js

CHEATS = ("tests/tamper/test_sumcheck_cheating.py", "tests/tamper/test_sumcheck_consistent_cheats.py")
"""Provers that cheat before they commit and stay consistent: each proof breaks one equation, so each check has its proofs."""
MORE_CHEATS = (
    *CHEATS,
    "tests/tamper/test_sumcheck_row_cheating.py",
    "tests/tamper/test_sumcheck_view_cheating.py",
    "tests/tamper/test_sumcheck_language_cheating.py",
    "tests/tamper/test_sumcheck_zk_cheating.py",
    "tests/tamper/test_sumcheck_mutation.py",
    "tests/tamper/test_sumcheck_batch.py",
)


def recorded(folder, files, marker="not slow"):
    """What the verifier was given by these tests, with its answers."""
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.support.recorded_verdicts",
        "-m",
        marker,
        "--timeout",
        "3000",
        *files,
    ]
    surroundings = {**os.environ, "VERIFAI_RECORD": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return [pickle.loads(path.read_bytes()) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="session")
def cheats(tmp_path_factory):
    """Cheating provers' proofs, with the Python verifier's answers."""
    return recorded(tmp_path_factory.mktemp("conformance") / "recorded", CHEATS)


def unlike(verdicts, folder):
    """The recorded verdicts that the second verifier does not share."""
    answers = second([case for case, _ in verdicts], folder)
    return [(case.name, mine, its) for (case, mine), its in zip(verdicts, answers, strict=True) if mine != its]


def test_both_accept_the_frozen_proofs_and_refuse_them_alike_once_changed(tmp_path):
    honest = list(made.golden())
    assert [answer.code for answer in second(honest, tmp_path)] == [""] * 7
    cases = [*honest, *(changed for case in honest for changed in made.mutations(case, 150, 1))]
    assert differences(cases, tmp_path) == []
    assert sum(first(case).code == "" for case in honest) == 7


@pytest.mark.parametrize("suite", made.SUITES, ids=lambda suite: suite.name)
def test_both_agree_on_every_operation(suite, tmp_path, monkeypatch):
    honest = list(made.every_operation(suite, monkeypatch))
    answers = second(honest, tmp_path)
    assert [(case.name, answer) for case, answer in zip(honest, answers, strict=True) if answer.code] == []
    assert differences([changed for case in honest for changed in made.mutations(case, 25, 2)], tmp_path) == []


def test_both_agree_on_private_weights_with_their_registration_and_link(tmp_path):
    honest = list(made.private_weights())  # registered by parts, and by ranges
    assert [answer.code for answer in second(honest, tmp_path)] == [""] * 4
    assert differences([changed for case in honest for changed in made.mutations(case, 40, 3)], tmp_path) == []


def test_both_choose_the_same_form_of_registration_at_the_edges_of_bounds(tmp_path):
    cases = list(made.edges())
    answers = second(cases, tmp_path)
    assert [answer.code for answer in answers] == ["", "", "", "", "circuit-invalid"]
    assert differences([*cases, *(changed for case in cases for changed in made.mutations(case, 5, 3))], tmp_path) == []


@pytest.mark.parametrize("suite", made.SUITES, ids=lambda suite: suite.name)
def test_both_count_leaves_alike_where_their_power_of_two_is_too_weak(suite, tmp_path):
    honest = [made.unproven(many_lookups(count, suite), f"{count}") for count in (7, 8, 16, 21)]
    assert [answer.code for answer in second(honest, tmp_path)] == ["proof-invalid"] * 4  # they have come to the script
    more, less = (list(made.other_errors(many_lookups(8, suite), by)) for by in (1, -1))
    assert {answer.code for answer in second([*more, *less], tmp_path)} == {"circuit-invalid"}
    assert differences([*honest, *more, *less], tmp_path) == []


def test_both_refuse_the_provers_that_cheat_before_they_commit(cheats, tmp_path):
    assert len(cheats) > 500
    assert unlike(cheats, tmp_path) == []


def _agree_on_random_circuits(seeds, tmp_path, monkeypatch):
    honest = []
    for suite in made.SUITES:
        monkeypatch.setattr(Sketch, "suite", suite)
        honest += [made.proven(f"{suite.name} random {seed}", random_circuit(seed)) for seed in seeds]
    assert [(case.name, its) for case, its in zip(honest, second(honest, tmp_path), strict=True) if its.code] == []
    assert differences([changed for case in honest for changed in made.mutations(case, 10, 5)], tmp_path) == []


@pytest.mark.parametrize("suite", made.SUITES, ids=lambda suite: suite.name)
def test_both_take_as_many_tables_as_the_text_allows(suite, tmp_path, monkeypatch):
    monkeypatch.setattr(Sketch, "suite", suite)
    sketch = Sketch()
    x = sketch.input((2,), -4, 3)
    for number in range(300):
        sketch.tables.append(Table(f"table{number}", -4, tuple((number >> 3 * place) % 8 - 4 for place in range(8))))
        x = sketch.add(ops.Lookup, x, table=number)
    honest = made.proven("300 tables", (sketch.finish(x), []))
    cases = [honest]
    for many in (MAX_TABLES, MAX_TABLES + 1):
        tables = tuple(replace(sketch.tables[0], name=f"table{number}") for number in range(many))
        data = encode(replace(decode(honest.files["circuit.bin"]), tables=tables))
        cases.append(replace(honest, name=f"{many}", files={**honest.files, "circuit.bin": data}, circuit=circuit_digest(data)))
    assert [answer.code for answer in second(cases, tmp_path)] == ["", "circuit-invalid", "circuit-malformed"]
    assert differences([*cases, *made.mutations(honest, 40, 3)], tmp_path) == []


def test_both_agree_on_random_circuits(tmp_path, monkeypatch):
    _agree_on_random_circuits(range(12), tmp_path, monkeypatch)


@pytest.mark.parametrize("suite", made.SUITES, ids=lambda suite: suite.name)
def test_both_accept_every_honest_run_wherever_the_bounds_lie(suite, tmp_path, monkeypatch):
    monkeypatch.setattr(Sketch, "suite", suite)
    places = [(seed, 0) for seed in range(24)] + [(seed, step) for step in range(1, len(STEPS)) for seed in range(3)]
    honest = [ranged_case(*place) for place in places]
    assert [(case.name, its) for case, its in zip(honest, second(honest, tmp_path), strict=True) if its.code] == []
    assert differences([changed for case in honest for changed in made.mutations(case, 5, 6)], tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("first_seed", range(12, 252, 30))
def test_both_agree_on_many_random_circuits(first_seed, tmp_path, monkeypatch):
    _agree_on_random_circuits(range(first_seed, first_seed + 30), tmp_path, monkeypatch)


@pytest.mark.slow
def test_both_agree_on_whatever_the_tamper_suite_makes(tmp_path):
    verdicts = recorded(tmp_path / "recorded", MORE_CHEATS)
    assert len(verdicts) > 3000
    assert unlike(verdicts, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_both_agree_on_changes_that_nobody_chose(seed, tmp_path, monkeypatch):
    honest = [*made.golden(), *made.private_weights()]
    for suite in made.SUITES:
        honest += made.every_operation(suite, monkeypatch)
    assert differences([changed for case in honest for changed in made.mutations(case, 100, 100 + seed)], tmp_path) == []
