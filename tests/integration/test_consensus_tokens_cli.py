"""Token outputs on the command line: what differs is replayed by both sides, and a near tie is told from another model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.token_round import HONEST, STEPS, TIE, TIED, VOCABULARY, VOTERS, generated, make_token_round
from verifai.bundle.keys import new_key
from verifai.cli.app import run


def _round(tmp_path: Path, answers: Sequence[Sequence[Sequence[int]]] | None = None, openings: int = 2) -> Path:
    for name in VOTERS:
        new_key(tmp_path / f"{name}.key")
    make_token_round(tmp_path / "tokens", tmp_path, answers, openings)
    return tmp_path / "tokens"


def _replay(folder: Path, name: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    votes = [str(folder / f"{one}.vote.json") for one in VOTERS]
    files = [str(folder / one) for one in ("round.json", "model.onnx", "prompts.json")]
    key = ["--key", str(folder.parent / f"{name}.key"), "-o", str(folder / f"{name}.replay.json")]
    status = run(["vote-replay", *files, *votes, *key, "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def _decide(folder: Path, replays: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    messages = ["round.json", "tolerance.json", *(f"{one}.{kind}.json" for one in VOTERS for kind in ("commitment", "vote"))]
    messages += [f"{one}.replay.json" for one in replays]
    keys = [part for one in VOTERS for part in ("--voter", str(folder.parent / f"{one}.key.pub"))]
    beacon = ["--beacon", str(folder / "beacon.json")]
    status = run(["consensus", *(str(folder / one) for one in messages), *beacon, *keys, "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def _relations(said: dict[str, Any]) -> list[str]:
    return sorted(one["relation"] for one in said["nodes"])


def test_another_models_tokens_lose_by_more_than_the_tolerance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = [(token * 7 + 3) % VOCABULARY for token in HONEST]
    folder = _round(tmp_path, ([HONEST, HONEST], [HONEST, HONEST], [HONEST, other]))
    for name in VOTERS:
        status, said = _replay(folder, name, capsys)
        assert (status, said["claims"]) == (0, 1)
    status, said = _decide(folder, "abc", capsys)
    assert (status, _relations(said)) == (0, ["beyond", "within", "within"])


def test_a_near_tie_is_within_the_tolerance_once_both_sides_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _round(tmp_path)
    assert _relations(_decide(folder, "", capsys)[1]) == ["indeterminate", "within", "within"]
    status, said = _replay(folder, "a", capsys)
    assert (status, said["claims"]) == (0, 2)
    assert said["worst_margin"] == pytest.approx(TIE, rel=0.05)
    # One side's word is not enough.
    assert _relations(_decide(folder, "a", capsys)[1]) == ["indeterminate", "within", "within"]
    for name in "bc":
        assert _replay(folder, name, capsys)[0] == 0
    status, said = _decide(folder, "abc", capsys, "-o", str(folder / "decision"))
    assert (status, _relations(said)) == (0, ["within"] * 3)
    assert len(list((folder / "decision" / "attestations").iterdir())) == 12


@pytest.mark.parametrize("wild", [VOCABULARY, 2**30])
def test_tokens_that_the_model_does_not_know_do_not_hide_the_other_sequences(
    wild: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _round(tmp_path, ([HONEST, HONEST], [TIED, TIED], [HONEST, [wild] * STEPS]))
    status, said = _replay(folder, "a", capsys)
    assert (status, said["claims"], said["failed"]) == (0, 2, 1)
    assert said["worst_margin"] == pytest.approx(TIE, rel=0.05)


def test_sequences_that_the_votes_do_not_open_can_be_shown_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _round(tmp_path, openings=1)
    status, said = _replay(folder, "a", capsys)
    assert (status, said["claims"], said["unseen"]) == (0, 1, 1)
    (folder / "a.replay.json").unlink()
    (folder / "shown.json").write_text(json.dumps([generated(5), TIED]))
    status, said = _replay(folder, "a", capsys, "--shown", str(folder / "shown.json"))
    assert (status, said["claims"], said["unseen"]) == (0, 2, 0)


def test_nothing_is_written_when_all_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _round(tmp_path, ([HONEST, HONEST],) * 3)
    status, said = _replay(folder, "a", capsys)
    assert (status, said["claims"]) == (0, 0)
    assert not (folder / "a.replay.json").exists()


def test_what_cannot_be_replayed_as_asked_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _round(tmp_path)
    assert _replay(folder, "a", capsys, "--token-input", "no_such")[1]["error"]["code"] == "replay-input"
    new_key(tmp_path / "d.key")
    assert _replay(folder, "d", capsys)[0] == 2
    (folder / "prompts.json").write_text(json.dumps([{"input_ids": [[3, 1]]}, {"input_ids": [[5, 0]]}]))
    assert _replay(folder, "a", capsys)[1]["error"]["code"] == "job-input"
    (folder / "model.onnx").write_bytes(b"another model")
    assert _replay(folder, "a", capsys)[1]["error"]["code"] == "job-model"
