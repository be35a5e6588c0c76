"""The bytes of an opening ledger: no change of them gives a number back."""

from __future__ import annotations

import pytest

from tests.support.ledger_children import OTHER, ROOT, used_ledger
from verifai.engines.sumcheck.secrets.opening_ledger_format import BLANK, LINE_BYTES, new_ledger, parse_ledger
from verifai.errors import UsageError


@pytest.mark.parametrize("torn", [None, 1, 3])
def test_no_flipped_byte_gives_a_number_back(torn: int | None) -> None:
    data = used_ledger(4, 6, torn)
    counted = refusals = 0
    for place in range(len(data)):
        for flip in (1, 0x20, 0x80):
            changed = bytearray(data)
            changed[place] ^= flip
            try:
                state = parse_ledger(bytes(changed), "ledger")
            except UsageError as problem:
                assert problem.code == "opening-ledger-malformed"
                refusals += 1
            else:
                assert state.used >= 4
                assert (state.root, state.budget) == (ROOT, 6)
                counted += 1
    # Only what no later whole record is linked to can be taken for torn: the last whole record, torn ones after it, and the
    # first blank line.
    loose = 3 if torn == 3 else 2
    assert counted <= 3 * LINE_BYTES * loose
    assert refusals >= 3 * (len(data) - LINE_BYTES * loose)


def test_every_other_length_is_refused() -> None:
    data = used_ledger(2, 3)
    for length in range(len(data)):
        with pytest.raises(UsageError, match="not an opening ledger"):
            parse_ledger(data[:length], "")
    for more in (b"\n", BLANK, data):
        with pytest.raises(UsageError, match="not an opening ledger"):
            parse_ledger(data + more, "")


def test_lines_cannot_be_moved_erased_in_the_middle_or_taken_from_another_ledger() -> None:
    data = used_ledger(4, 6)
    lines = [data[place : place + LINE_BYTES] for place in range(0, len(data), LINE_BYTES)]
    foreign = used_ledger(4, 6).replace(b"proof", b"xroof")
    for changed in (
        [lines[0], lines[2], lines[1], *lines[3:]],
        [lines[0], lines[1], BLANK, *lines[3:]],
        [lines[0], BLANK, *lines[2:]],
        [new_ledger(OTHER, 6)[:LINE_BYTES], *lines[1:]],
        [new_ledger(ROOT, 7)[:LINE_BYTES], *lines[1:]],
        [lines[0], foreign[LINE_BYTES : 2 * LINE_BYTES], *lines[2:]],
        [lines[0], *lines[1:4], lines[1], *lines[5:]],
    ):
        with pytest.raises(UsageError, match="not an opening ledger"):
            parse_ledger(b"".join(changed), "")
