"""Batches that a person can leave alone: refused beforehand, gone on with, interrupted, continued; no sample proven twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.batch_circuits import small_circuit, write_rows
from tests.support.paths import ROOT
from tests.support.waiting import until
from verifai.bundle.keys import load_signer, new_key
from verifai.bundle.reader import open_bundle
from verifai.circuit_folder import CircuitFolder
from verifai.cli import app as cli
from verifai.domain.proof_index import INDEX_FILE, ProofIndex, SampleStatus, parse_index
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.interface import EngineProof, ProveRequest
from verifai.engines.sumcheck.engine import SumcheckEngine
from verifai.errors import EngineCrashed, InternalError, Interrupted, Undecided, UsageError, VerifaiError
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.batch.inputs import inputs_path
from verifai.stages.batch.report import BatchOptions, BatchReport
from verifai.stages.batch.run import prove_batch
from verifai.stages.outside import SamplesOutside
from verifai.stages.verify import find_claims
from verifai.stages.weights import show_roots

SEVERAL = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batches")


@pytest.fixture(scope="module")
def public(root: Path) -> CircuitFolder:
    return small_circuit(root, "public", Visibility.PUBLIC)


@pytest.fixture(scope="module")
def private(root: Path) -> CircuitFolder:
    return small_circuit(root, "private", Visibility.PRIVATE)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return status, document


def proven(folder: CircuitFolder, data: Path, output: Path, **options: Any) -> BatchReport:
    return prove_batch(folder, list(read_samples(data, folder.model)), output, BatchOptions(**options))


def index_of(output: Path) -> ProofIndex:
    return parse_index((output / INDEX_FILE).read_bytes(), "index")


def bundles(output: Path) -> dict[str, str]:
    found = {}
    for path in sorted(output.iterdir()):
        if path.name != INDEX_FILE and not path.name.startswith("."):  # what a killed run was writing
            with open_bundle(path) as bundle:
                found[path.name] = bundle.bundle_id
    return found


def fails_at(monkeypatch: pytest.MonkeyPatch, problems: dict[int, BaseException]) -> Counter[int]:
    """Let the engine fail at some samples, in the order in which they are proven; counts the attempts of each."""
    genuine, attempts = SumcheckEngine.prove, Counter[int]()

    def prove(self: SumcheckEngine, request: ProveRequest) -> EngineProof:
        number = sum(attempts.values())
        attempts[number] += 1
        if number in problems:
            raise problems[number]
        return genuine(self, request)

    monkeypatch.setattr(SumcheckEngine, "prove", prove)
    return attempts


# --- refused before anything is spent


def test_samples_outside_the_range_refuse_all_and_each_is_named(
    public: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "in.npz", SEVERAL, r3_2=1e6, r7_0=-50, r7_3=99)
    status, document = run(capsys, "prove", public.folder, data, "-o", tmp_path / "e")
    assert (status, document["error"]["code"], document["verdict"]) == (2, "input-out-of-range", "usage")
    assert "2 of 12 samples" in document["error"]["message"] and "--keep-going proves the other 10" in document["error"]["hint"]
    told = [(one["row"], one["tensor"], one["place"], one["value"], one["cells"]) for one in document["out_of_range"]]
    assert told == [(3, "x", [0, 2], "1e+06", 1), (7, "x", [0, 0], "-50", 2)]
    assert document["out_of_range"][0]["low"] < -0.9 < 0.9 < document["out_of_range"][0]["high"]
    assert not (tmp_path / "e").exists()
    assert cli.run(["prove", str(public.folder), str(data), "-o", str(tmp_path / "e")]) == 2
    text = capsys.readouterr().err
    assert "row 4 (000003): input 'x', cell [0, 2] is 1e+06" in text and "row 8 (000007): input 'x', cell [0, 0] is -50" in text


def test_a_row_with_a_gap_is_one_of_those_and_no_reason_to_refuse_the_file(
    public: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "in.npz", 4, r1_3=float("nan"), r2_0=float("-inf"))
    status, document = run(capsys, "prove", public.folder, data, "-o", tmp_path / "e", "--keep-going")
    assert (status, document["totals"]["proven"], document["totals"]["skipped"]) == (2, 2, 2)
    assert [(one["row"], one["place"], one["value"]) for one in document["out_of_range"]] == [
        (1, [0, 3], "nan"),
        (2, [0, 0], "-inf"),
    ]


def test_columns_are_named_where_the_lock_names_them(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small_circuit(tmp_path, "named", Visibility.PUBLIC, columns=("age", "height", "weight", "pulse"))
    data = write_rows(tmp_path / "in.npz", 3, r1_0=1e6, r2_2=1e6)
    status, document = run(capsys, "prove", folder.folder, data, "-o", tmp_path / "e")
    assert (status, [one["column"] for one in document["out_of_range"]]) == (2, ["age", "weight"])
    assert "column 'age' is 1e+06" in document["error"]["where"]


def test_of_a_hidden_row_the_column_is_named_and_no_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small_circuit(tmp_path, "hidden", Visibility.PRIVATE, columns=("age", "height", "weight", "pulse"))
    data = write_rows(tmp_path / "in.npz", 3, r1_0=1e6, r2_2=1e6)
    assert cli.run(["prove", str(folder.folder), str(data), "-o", str(tmp_path / "e")]) == 2
    told = capsys.readouterr().err
    assert "row 2 (000001): input 'x', column 'age' is outside" in told and "row 3 (000002): input 'x', column 'weight'" in told
    assert "1e+06" not in told and "1000000" not in told
    status, document = run(capsys, "prove", folder.folder, write_rows(tmp_path / "one.npz", 1, r0_3=1e6), "-o", tmp_path / "e")
    assert status == 2 and "column 'pulse' is outside what the circuit takes; it is hidden" in document["error"]["message"]
    assert all(one["value"] is None and one["low"] is None for one in document["out_of_range"])


def test_the_first_samples_can_be_left_out(public: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "in.npz", 3, r0_0=1e6)
    status, document = run(capsys, "prove", public.folder, data, "-o", tmp_path / "e", "--skip", "1", "--limit", "1")
    assert (status, document["totals"]["samples"], document["totals"]["proven"]) == (0, 1, 1)
    status, document = run(capsys, "prove", public.folder, data, "-o", tmp_path / "f", "--skip", "3")
    assert (status, document["error"]["code"], document["error"]["where"]) == (2, "bad-option", "--skip")


def test_of_hidden_inputs_rows_are_told_and_no_values(
    private: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "in.npz", SEVERAL, r3_2=1e6)
    for more in ([], ["--json"], ["--keep-going", "--limit", "4"], ["--keep-going", "--limit", "4", "--resume", "--json"]):
        assert cli.run(["prove", str(private.folder), str(data), "-o", str(tmp_path / "e"), *more]) == 2
        shown = "".join(capsys.readouterr())
        assert "1e+06" not in shown and "1000000" not in shown
        assert "row 4 (000003)" in shown or '"row": 3' in shown
    assert "1e+06" not in (tmp_path / "e" / INDEX_FILE).read_text()


def test_an_opening_is_not_spent_when_samples_or_contexts_are_refused(root: Path, tmp_path: Path) -> None:
    folder = small_circuit(tmp_path, "refused", Visibility.PRIVATE, WeightVisibility.PRIVATE)
    before = show_roots(folder)
    data = write_rows(tmp_path / "in.npz", 2, r1_0=1e6)
    good = write_rows(tmp_path / "good.npz", 2)
    with pytest.raises(SamplesOutside):
        proven(folder, data, tmp_path / "e")
    for options in ({"context": "x" * 5000}, {"context": "\udcff"}, {"context": "x" * 4090, "context_per_sample": True}):
        with pytest.raises(UsageError) as caught:
            proven(folder, good, tmp_path / "e", **options)
        assert (caught.value.code, caught.value.where) == ("bad-context", "context")
    assert show_roots(folder) == before
    assert not (tmp_path / "e").exists()


def test_a_folder_that_was_proven_into_is_not_proven_into_again(public: CircuitFolder, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "in.npz", 2)
    proven(public, data, tmp_path / "e")
    before = bundles(tmp_path / "e")
    with pytest.raises(UsageError) as caught:
        proven(public, data, tmp_path / "e")
    assert caught.value.code == "file-exists" and "--resume" in caught.value.hint
    (tmp_path / "e" / INDEX_FILE).unlink()
    for resume in (False, True):
        with pytest.raises(UsageError) as caught:
            proven(public, data, tmp_path / "e", resume=resume)
        assert caught.value.code == "file-exists", "bundles without an index are of no batch that is known"
    assert bundles(tmp_path / "e") == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"seed": 3}}, "input of row"),
        ({"data": {"count": 4}}, "it had 3 samples, now 4 are given"),
        ({"context": "other"}, "the context changed"),
        ({"context_per_sample": True}, "--context-per-sample changed"),
        ({"signed": True}, "the signing keys changed"),
        ({"circuit": True}, "changed"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_another_batch_is_not_continued(
    request: pytest.FixtureRequest, tmp_path: Path, change: dict[str, Any], said: str, hidden: bool
) -> None:
    folder: CircuitFolder = request.getfixturevalue("private" if hidden else "public")
    proven(folder, write_rows(tmp_path / "in.npz", 3), tmp_path / "e")
    data = write_rows(tmp_path / "again.npz", **{"count": 3, **change.get("data", {})})
    options = {name: change[name] for name in ("context", "context_per_sample") if name in change}
    if change.get("signed"):
        from verifai.bundle.keys import load_signer

        new_key(tmp_path / "k")
        options["signers"] = [load_signer(tmp_path / "k")]
    if change.get("circuit"):
        folder = request.getfixturevalue("public" if hidden else "private")
    before = bundles(tmp_path / "e")
    with pytest.raises(UsageError) as caught:
        proven(folder, data, tmp_path / "e", resume=True, **options)
    assert caught.value.code == "index-differs"
    assert said in caught.value.message
    assert bundles(tmp_path / "e") == before


def test_rows_that_were_not_reached_are_compared_too(public: CircuitFolder, private: CircuitFolder, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "in.npz", 3)
    for folder in (public, private):
        output = tmp_path / folder.spec.name
        proven(folder, data, output)
        with pytest.MonkeyPatch.context() as patch:
            fails_at(patch, {1: KeyboardInterrupt()})
            with pytest.raises(Interrupted):
                proven(folder, data, output / "second")
        rows = np.load(data)["x"].copy()
        rows[2, 0] += 0.125
        np.savez(tmp_path / "other.npz", x=rows)
        with pytest.raises(UsageError) as caught:
            proven(folder, tmp_path / "other.npz", output / "second", resume=True)
        assert caught.value.code == "index-differs"
        assert proven(folder, data, output / "second", resume=True).earlier == 1


def test_hidden_inputs_that_cannot_be_compared_any_more_end_the_batch(private: CircuitFolder, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "in.npz", 2)
    report = proven(private, data, tmp_path / "e")
    kept = inputs_path(private.secrets_dir(report.index.header.engine), report.index.header.run)
    kept.unlink()
    with pytest.raises(UsageError) as caught:
        proven(private, data, tmp_path / "e", resume=True)
    assert caught.value.code == "index-inputs-unknown"


@pytest.mark.parametrize("harm", ["gone", "changed", "exchanged"])
def test_a_listed_bundle_that_is_not_there_is_not_proven_again(public: CircuitFolder, tmp_path: Path, harm: str) -> None:
    data = write_rows(tmp_path / "in.npz", 3)
    output = tmp_path / "e"
    proven(public, data, output)
    if harm == "gone":
        (output / "000001").rename(tmp_path / "moved")
    elif harm == "exchanged":
        (output / "000001").rename(tmp_path / "x")
        (output / "000000").rename(output / "000001")
        (tmp_path / "x").rename(output / "000000")
    else:
        proof = output / "000001" / "payload" / "proof.bin"
        data_of = proof.read_bytes()
        proof.write_bytes(data_of[:-1] + bytes([data_of[-1] ^ 1]))
    with pytest.raises(UsageError) as caught:
        proven(public, data, output, resume=True)
    assert caught.value.code == "index-bundle-differs"


def test_what_this_batch_did_not_write_is_not_taken_for_a_sample(public: CircuitFolder, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "in.npz", 3)
    proven(public, data, tmp_path / "other")
    with pytest.MonkeyPatch.context() as patch:
        fails_at(patch, {1: KeyboardInterrupt()})
        with pytest.raises(Interrupted):
            proven(public, data, tmp_path / "e")
    for place in ("a folder", "another row's bundle"):
        target = tmp_path / "e" / "000001"
        target.mkdir() if place == "a folder" else (tmp_path / "other" / "000002").rename(target)
        with pytest.raises(UsageError) as caught:
            proven(public, data, tmp_path / "e", resume=True)
        assert caught.value.code == "file-exists"
        if place == "a folder":
            target.rmdir()


@pytest.mark.parametrize("planted", ["a proof that does not hold", "a bundle without the signature"])
def test_what_lies_in_a_samples_place_is_verified_before_it_is_taken_for_proven(
    private: CircuitFolder, tmp_path: Path, planted: str
) -> None:
    """After a crash a bundle may be there that no index tells of; so may one that somebody put there."""
    new_key(tmp_path / "a.key")
    signers = [load_signer(tmp_path / "a.key")]
    data = write_rows(tmp_path / "in.npz", 2)
    with pytest.MonkeyPatch.context() as patch:
        fails_at(patch, {1: KeyboardInterrupt()})
        with pytest.raises(Interrupted):
            proven(private, data, tmp_path / "e", signers=signers)
    proven(private, data, tmp_path / "other", signers=[] if "signature" in planted else signers)
    target = tmp_path / "e" / "000001"
    if "signature" in planted:
        (tmp_path / "other" / "000001").rename(target)
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SumcheckEngine, "prove", _with_a_flipped_bit(SumcheckEngine.prove))
            proven(private, data, tmp_path / "false", signers=signers)
        (tmp_path / "false" / "000001").rename(target)
    with pytest.raises(UsageError) as caught:
        proven(private, data, tmp_path / "e", signers=signers, resume=True)
    assert caught.value.code == "file-exists"
    shutil.rmtree(target)
    (tmp_path / "other" / "000001").rename(target) if "signature" not in planted else None
    assert proven(private, data, tmp_path / "e", signers=signers, resume=True).status == 0


def _with_a_flipped_bit(prove: Callable[[SumcheckEngine, ProveRequest], EngineProof]) -> Callable[..., EngineProof]:
    def wrong(self: SumcheckEngine, request: ProveRequest) -> EngineProof:
        made = prove(self, request)
        proof = made.files["proof.bin"]
        return replace(made, files={**made.files, "proof.bin": proof[:-1] + bytes([proof[-1] ^ 1])})

    return wrong


# --- going on


def test_the_others_are_proven_and_the_index_tells_of_all(
    public: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "in.npz", SEVERAL, r3_2=1e6, r7_0=-50)
    status, document = run(capsys, "prove", public.folder, data, "-o", tmp_path / "e", "--keep-going")
    assert (status, document["verdict"]) == (2, "usage")
    totals = document["totals"]
    assert (totals["samples"], totals["proven"], totals["skipped"], totals["failed"]) == (SEVERAL, SEVERAL - 2, 2, 0)
    assert totals["bytes"] > 1000 and totals["seconds"] > 0
    index = index_of(tmp_path / "e")
    assert [row.row for row in index.of(SampleStatus.REFUSED)] == [3, 7]
    assert {row.id: row.bundle_id for row in index.of(SampleStatus.PROVEN)} == bundles(tmp_path / "e")
    rows = np.load(data)["x"]
    with open_bundle(tmp_path / "e" / "000004") as bundle:
        statement = find_claims(bundle)[1].statement
    assert index.rows[4].outputs == {"y": statement.tensors[1].values()}
    assert np.allclose(statement.tensors[0].values(), rows[4], atol=0.01)


def test_a_sample_that_fails_is_recorded_and_tried_again_on_resume(
    public: CircuitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_rows(tmp_path / "in.npz", SEVERAL)
    problems: dict[int, BaseException] = {
        2: EngineCrashed("engine-crashed", "gone"),
        5: ValueError("boom"),
        6: MemoryError(),
    }
    with monkeypatch.context() as patch:
        fails_at(patch, problems)
        report = proven(public, data, tmp_path / "e", keep_going=True)
    assert report.status == 70, "a bug comes before everything else"
    failed = index_of(tmp_path / "e").of(SampleStatus.FAILED)
    assert sorted(row.code for row in failed) == ["bug", "engine-crashed", "out-of-memory"]
    assert [row.row for row in failed] == [2, 5, 6]
    attempts = fails_at(monkeypatch, {})
    again = proven(public, data, tmp_path / "e", resume=True)
    assert (sum(attempts.values()), len(again.made), again.earlier, again.status) == (3, 3, SEVERAL - 3, 0)
    assert len(bundles(tmp_path / "e")) == SEVERAL


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (EngineCrashed("engine-crashed", "gone"), 4),
        (InternalError("bug", "ours"), 70),
        (UsageError("opening-budget-spent", "spent"), 2),
        (Undecided("disk", "full"), 4),
    ],
)
def test_without_keep_going_the_first_failure_ends_the_run_and_what_is_done_stays(
    public: CircuitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: VerifaiError, status: int
) -> None:
    data = write_rows(tmp_path / "in.npz", 5)
    with monkeypatch.context() as patch:
        fails_at(patch, {2: problem})
        with pytest.raises(VerifaiError) as caught:
            proven(public, data, tmp_path / "e")
    assert (caught.value.code, caught.value.status) == (problem.code, status)
    assert sorted(bundles(tmp_path / "e")) == ["000000", "000001"]
    assert proven(public, data, tmp_path / "e", resume=True).totals()["proven"] == 3


@pytest.mark.parametrize("problem", [UsageError("opening-budget-spent", "spent"), Undecided("disk", "full")])
def test_what_every_other_sample_would_meet_too_ends_the_run_also_with_keep_going(
    public: CircuitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: VerifaiError
) -> None:
    attempts = fails_at(monkeypatch, dict.fromkeys(range(2, 9), problem))
    with pytest.raises(VerifaiError) as caught:
        proven(public, write_rows(tmp_path / "in.npz", 9), tmp_path / "e", keep_going=True)
    assert caught.value.code == problem.code
    assert sum(attempts.values()) == 3
    assert not index_of(tmp_path / "e").of(SampleStatus.FAILED), "the sample is not to blame"


# --- continuing


def test_a_finished_batch_is_continued_without_a_proof(
    private: CircuitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_rows(tmp_path / "in.npz", 4)
    proven(private, data, tmp_path / "e", context="r", context_per_sample=True)
    before = (tmp_path / "e" / INDEX_FILE).read_bytes()
    attempts = fails_at(monkeypatch, {})
    report = proven(private, data, tmp_path / "e", context="r", context_per_sample=True, resume=True)
    assert (sum(attempts.values()), report.earlier, report.made, report.status) == (0, 4, (), 0)
    assert (tmp_path / "e" / INDEX_FILE).read_bytes() == before


@pytest.mark.parametrize("hidden", [False, True])
def test_a_bundle_that_a_crash_left_out_of_the_index_is_taken_up(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    folder: CircuitFolder = request.getfixturevalue("private" if hidden else "public")
    data = write_rows(tmp_path / "in.npz", 4)
    proven(folder, data, tmp_path / "e")
    path = tmp_path / "e" / INDEX_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # row 2 cut short, row 3 not there
    attempts = fails_at(monkeypatch, {})
    before = bundles(tmp_path / "e")
    report = proven(folder, data, tmp_path / "e", resume=True)
    assert (sum(attempts.values()), report.earlier) == (0, 4)
    assert bundles(tmp_path / "e") == before
    assert {row.id: row.bundle_id for row in index_of(tmp_path / "e").of(SampleStatus.PROVEN)} == before


def test_private_weights_spend_one_opening_per_sample_however_often_the_run_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_circuit(tmp_path, "weights", Visibility.PRIVATE, WeightVisibility.PRIVATE)
    data = write_rows(tmp_path / "in.npz", 5)
    (before,) = [one.used for one in show_roots(folder)]
    for stop in (2, 1):
        with monkeypatch.context() as patch:
            fails_at(patch, {stop: KeyboardInterrupt()})
            with pytest.raises(Interrupted) as caught:
                proven(folder, data, tmp_path / "e", resume=True)
            assert "--resume" in caught.value.hint
    proven(folder, data, tmp_path / "e", resume=True)
    proven(folder, data, tmp_path / "e", resume=True)
    assert [one.used for one in show_roots(folder)] == [before + 5]
    assert len(bundles(tmp_path / "e")) == 5


def test_two_runs_do_not_prove_into_one_folder_at_once(public: CircuitFolder, tmp_path: Path) -> None:
    from verifai.stages.batch.index_file import held_folder

    data = write_rows(tmp_path / "in.npz", 2)
    with held_folder(tmp_path / "e"), pytest.raises(Undecided) as caught:
        proven(public, data, tmp_path / "e", resume=True)
    assert caught.value.code == "batch-busy"


HELD_UP = """
import signal, sys, time
from verifai.cli.main import main
from verifai.stages.batch.index_file import IndexFile

signal.signal(signal.SIGINT, signal.default_int_handler)
genuine, lines = IndexFile.add, int(sys.argv.pop(1))

def add(self, row):
    genuine(self, row)
    if self.path.read_bytes().count(b"\\n") >= lines:
        time.sleep(2)

IndexFile.add = add
main()
"""
"""From that many lines on, each row takes two seconds longer: so no run is done before the signal reaches it."""


def _interrupted(arguments: list[str], output: Path, lines: int, sign: int) -> int:
    """Start ``verifai prove``, wait until its index has ``lines`` lines, send ``sign``, and return the status."""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD_UP, str(lines), "prove", *arguments, "-q", "--resume"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    index = output / INDEX_FILE
    until(lambda: process.poll() is not None or (index.exists() and index.read_bytes().count(b"\n") >= lines))
    process.send_signal(sign)
    return process.wait()


@pytest.mark.parametrize(
    ("rows", "jobs", "last"),
    [(50, 1, signal.SIGINT), (40, 3, signal.SIGKILL), pytest.param(200, 1, signal.SIGINT, marks=pytest.mark.slow)],
)
def test_rows_interrupted_twice_give_exactly_as_many_bundles(
    private: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: int, jobs: int, last: int
) -> None:
    data, output = write_rows(tmp_path / "in.npz", rows), tmp_path / "e"
    arguments = [str(private.folder), str(data), "-o", str(output), "--context-per-sample=release-7", "-j", str(jobs)]
    assert _interrupted(arguments, output, rows // 5, signal.SIGINT) == 130
    first = bundles(output)
    assert rows // 5 - 1 <= len(first) < rows
    told = {row.id for row in index_of(output).of(SampleStatus.PROVEN)}
    assert told <= set(first) and len(set(first) - told) <= jobs, "one bundle per job may be whole that no line tells of yet"
    assert _interrupted(arguments, output, rows // 2, last) in (130, -signal.SIGKILL)
    status, document = run(capsys, "prove", *arguments, "--resume")
    assert status == 0
    assert document["totals"]["proven"] + document["totals"]["proven_earlier"] == rows
    found = bundles(output)
    assert sorted(found) == [f"{number:06d}" for number in range(rows)]
    assert {name: found[name] for name in first} == first, "what was done is not proven again"
    assert not [path.name for path in output.iterdir() if path.name.startswith(".")], "nothing half-written stays"
    assert {row.id: row.bundle_id for row in index_of(output).of(SampleStatus.PROVEN)} == found
    status, document = run(capsys, "verify", output, "--lock", private.folder)
    assert (status, document["totals"]["outcomes"]["accepted"]) == (0, rows)
    contexts = [one["statement"]["context"] for one in document["bundles"]]
    assert contexts == [f"release-7#{number:06d}" for number in range(rows)]


# --- the command line


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--context-per-sample"], ["000000", "000001"]),
        (["--context-per-sample", "r7"], ["r7#000000", "r7#000001"]),
        (["--context-per-sample=r7"], ["r7#000000", "r7#000001"]),
        (["--context", "r7", "--context-per-sample"], ["r7#000000", "r7#000001"]),
        (["--context", "r7"], ["r7", "r7"]),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_the_text_of_the_context_per_sample_may_be_left_out(
    public: CircuitFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    expected: list[str],
    first: bool,
) -> None:
    data = write_rows(tmp_path / "in.npz", 2)
    named = [str(public.folder), str(data), "-o", str(tmp_path / "e")]
    status, document = run(capsys, "prove", *(given + named if first else named + given))
    assert status == 0
    assert [one["statement"]["context"] for one in document["bundles"]] == expected
    assert all(one["statement"]["context_bound"] for one in document["bundles"])


@pytest.mark.parametrize(
    "options",
    [
        ["--context", "a", "--context-per-sample", "b"],
        ["--output-tensors", "t.npz", "--keep-going"],
        ["--output-tensors", "t.npz", "--resume"],
    ],
)
def test_options_that_contradict_each_other_are_refused(
    public: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    data = write_rows(tmp_path / "in.npz", 2)
    status, document = run(capsys, "prove", public.folder, data, "-o", tmp_path / "e", *options)
    assert (status, document["error"]["code"]) == (2, "bad-option")
    assert not (tmp_path / "e").exists()


def test_colliding_private_statements_are_told_before_and_after(
    private: CircuitFolder, public: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "in.npz", SEVERAL)
    assert cli.run(["prove", str(private.folder), str(data), "-o", str(tmp_path / "a")]) == 0
    out, err = capsys.readouterr()
    assert "The input 'x' is private, so its statement is only its output" in err
    assert "The 12 statements are 3 distinct ones" in err.replace("\n", "")
    assert out.splitlines()[-1].startswith("12 samples: 12 proven; ")
    for folder, options in ((private, ["--context-per-sample"]), (public, [])):
        assert cli.run(["prove", str(folder.folder), str(data), "-o", str(tmp_path / f"b{len(options)}"), *options]) == 0
        assert "distinct" not in capsys.readouterr().err
    assert cli.run(["prove", str(public.folder), str(data), "-o", str(tmp_path / "c"), "-q"]) == 0
    assert capsys.readouterr().out.startswith("12 samples: 12 proven; ")


def test_a_gate_counts_what_the_policy_expects_and_gate_init_says_what_collides(
    private: CircuitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_rows(tmp_path / "in.npz", SEVERAL)
    assert run(capsys, "prove", private.folder, data, "-o", "e", "--context-per-sample", "r7")[0] == 0
    status, document = run(capsys, "gate-init", "e", "--lock", private.folder, "-o", "drafted.toml")
    assert status == 0
    assert any("12 bundles show 3 distinct statements" in warning for warning in document["warnings"])
    drafted = Path("drafted.toml").read_text().partition("[model.fidelity]")[0]  # this circuit is far from its model
    Path("drafted.toml").write_text(drafted)
    assert "inferences = 3\n" in drafted and '# contexts = "r7#"' in drafted
    assert run(capsys, "gate", "e", "--policy", "drafted.toml")[0] == 0
    Path("more.toml").write_text(drafted.replace("inferences = 3", "inferences = 12"))
    status, document = run(capsys, "gate", "e", "--policy", "more.toml")
    assert (status, {one["code"] for one in document["findings"]}) >= (3, {"too-few-inferences"})
    counted = drafted.replace("inferences = 3", "inferences = 12").replace("# contexts", "contexts").replace("# dist", "dist")
    Path("counted.toml").write_text(counted)
    status, document = run(capsys, "gate", "e", "--policy", "counted.toml")
    assert status == 0
    assert "counted by context" in document["summary"]
    assert run(capsys, "gate", "e/000000", "--policy", "counted.toml")[0] == 3
