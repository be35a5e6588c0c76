"""Openings in blocks: as single numbers, but several at once; none is handed out twice, and the last one may be kept."""

from __future__ import annotations

import os
import random
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.ledger_children import ROOT, refused
from tests.support.ledger_children import fork as forked
from tests.support.waiting import FOR_EVER, until
from verifai.engines.sumcheck.secrets import opening_ledger
from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE, create_ledger, open_ledger
from verifai.engines.sumcheck.secrets.opening_ledger_format import BLANK, LINE_BYTES, LINES_PER_PAGE, parse_ledger


@pytest.fixture(autouse=True)
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKS_VARIABLE, str(tmp_path / "marks"))


def test_a_block_is_the_next_numbers_and_leaves_the_file_that_single_ones_leave(tmp_path: Path) -> None:
    blocks, single = create_ledger(tmp_path / "blocks", ROOT, 64), tmp_path / "single"
    other = create_ledger(single, ROOT, 64)
    taken = [*blocks.reserve_block(1, "p"), *blocks.reserve_block(40, "p"), *blocks.reserve_block(3, "p")]
    (tmp_path / "marks" / f"{ROOT}.mark").unlink()  # it counts both ledgers
    assert taken == [other.reserve("p") for _ in range(44)] == list(range(44))
    assert (tmp_path / "blocks").read_bytes() == single.read_bytes()


def test_fewer_are_given_where_fewer_are_left_and_what_is_kept_stays(tmp_path: Path) -> None:
    ledger = create_ledger(tmp_path / "ledger", ROOT, 5)
    assert ledger.reserve_block(3, "p", keep=1) == (0, 1, 2)
    assert ledger.reserve_block(9, "p", keep=1) == (3,)
    refused("opening-budget-spent", lambda: ledger.reserve_block(1, "p", keep=1))
    assert ledger.reserve("link") == 4
    refused("opening-budget-spent", lambda: ledger.reserve_block(1, "p"))
    with pytest.raises(ValueError, match="at least one"):
        ledger.reserve_block(0, "p")


def test_pages_are_written_and_synced_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a later page may be missing, and never an earlier one: that would be a ledger that nobody can use."""
    path = tmp_path / "ledger"
    ledger = create_ledger(path, ROOT, 64)
    genuine, states = opening_ledger._sync, []

    def sync(handle: int) -> None:
        states.append(path.read_bytes())
        genuine(handle)

    monkeypatch.setattr(opening_ledger, "_sync", sync)
    assert len(ledger.reserve_block(50, "p")) == 50
    pages = [state for state in states if len(state) > LINE_BYTES * 50][:4]
    assert [parse_ledger(state, "").used for state in pages] == [15, 31, 47, 50]
    for before, after in pairwise(pages):
        changed = [
            place for place in range(0, len(after), LINE_BYTES) if before[place:][:LINE_BYTES] != after[place:][:LINE_BYTES]
        ]
        assert len({place // (LINE_BYTES * LINES_PER_PAGE) for place in changed}) == 1


@pytest.mark.parametrize("cut", [1, 7, LINE_BYTES, 5 * LINE_BYTES + 3])
def test_a_block_that_a_crash_cut_off_is_spent_as_far_as_it_came(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "ledger"
    ledger = create_ledger(path, ROOT, 32)
    ledger.reserve_block(4, "p")
    before = path.read_bytes()
    ledger.reserve_block(8, "p")
    whole = path.read_bytes()
    (tmp_path / "marks" / f"{ROOT}.mark").unlink()
    place = LINE_BYTES * 5
    path.write_bytes(before[:place] + whole[place : place + cut] + before[place + cut :])
    spent = 4 + -(-cut // LINE_BYTES)
    assert ledger.used == spent
    assert open_ledger(path, ROOT).reserve_block(2, "p") == (spent, spent + 1)
    assert BLANK in path.read_bytes()


def test_processes_that_take_blocks_and_are_killed_never_share_a_number(tmp_path: Path) -> None:
    create_ledger(tmp_path / "ledger", ROOT, 4096)
    generator = random.Random(5)

    def work(notes: Path) -> None:
        handle = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for _ in range(20):
            block = open_ledger(tmp_path / "ledger", ROOT).reserve_block(generator.randint(1, 40), "p")
            os.write(handle, "".join(f"{number}\n" for number in block).encode())
        time.sleep(FOR_EVER)

    def noted() -> list[int]:
        return [int(line) for path in tmp_path.glob("notes-*") for line in path.read_text().split()]

    for round_number in range(8):
        wanted = len(noted()) + generator.choice((1, 30, 60))
        children = [forked(lambda notes=tmp_path / f"notes-{round_number}-{one}": work(notes)) for one in range(2)]
        until(lambda wanted=wanted: len(noted()) >= wanted)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    numbers = noted()
    assert len(numbers) == len(set(numbers)) and len(numbers) > 100
    assert max(numbers) < parse_ledger((tmp_path / "ledger").read_bytes(), "").used
