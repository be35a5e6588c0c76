"""Parcels and spools: what went in comes out, and nothing else is read."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from verifai.errors import EvidenceRejected
from verifai.execution.parcel import TAG, pack, unpack
from verifai.execution.spool import Spool
from verifai.execution.streamed import Streamed
from verifai.execution.workforce.ray_reading import _bytes_only
from verifai.execution.workforce.ray_task import TAG as ANSWER
from verifai.execution.workforce.ray_task import open_envelope

PARCEL = pack({"a": 1}, {"x": b"123", "y": b""})


def read(data: bytes) -> object:
    return unpack(data, where="test", error=EvidenceRejected, code="worker-answer-wrong")


def test_a_parcel_holds_what_was_packed() -> None:
    found = unpack(PARCEL, where="test", error=EvidenceRejected, code="x")
    assert (found.document.integer("a", low=0, high=9), dict(found.pieces)) == (1, {"x": b"123", "y": b""})


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[1:],
        lambda data: TAG,
        lambda data: TAG + b"\xff" * 8 + data[len(TAG) + 8 :],
        lambda data: data.replace(b'["x", 3]', b'["y", 3]'),
        lambda data: data.replace(b'["x", 3]', b'["x",-3]'),
        lambda data: data.replace(b'["x", 3]', b'["x",99]'),
        lambda data: data.replace(b'["x", 3]', b"[true,3]"),
        lambda data: data.replace(b'"pieces"', b'"pieced"'),
        lambda data: pickle.dumps(data),
    ],
)
def test_what_is_no_parcel_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(EvidenceRejected):
        read(change(PARCEL))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ANSWER,
        ANSWER + b"\0" * 8,
        ANSWER + (2).to_bytes(8, "big") + b"{}",
        ANSWER + (60).to_bytes(8, "big") + b'{"node": "../../..", "release": "", "failed": ""}',
        pickle.dumps(b"answer"),
    ],
)
def test_what_is_no_answer_of_a_worker_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceRejected):
        open_envelope(data)


def test_a_clients_answer_is_read_as_bytes_or_not_at_all() -> None:
    assert _bytes_only(pickle.dumps(b"answer")) == b"answer"
    with pytest.raises(pickle.UnpicklingError):
        _bytes_only(pickle.dumps(pytest.raises))


def test_a_spool_gives_back_values_in_the_order_of_their_places() -> None:
    spool: Spool[tuple[int, str]] = Spool()
    for number in (2, 0, 1):
        spool.put(number, (number, "x" * number))
    assert list(spool) == [(0, ""), (1, "x"), (2, "xx")]
    assert (spool[-1], spool[0:2], len(spool)) == ((2, "xx"), [(0, ""), (1, "x")], 3)
    with pytest.raises(IndexError):
        spool[3]
    changed = spool.mapped(lambda number, value: (value[0] + 10 * number, value[1])).mapped(lambda _, value: (value[0], "z"))
    del spool
    assert list(changed) == [(0, "z"), (11, "z"), (22, "z")]


def test_a_streamed_list_is_made_each_time() -> None:
    import json

    streamed = Streamed(2, lambda: iter([1, 2]))
    assert "".join(json.JSONEncoder(indent=None).iterencode({"a": streamed, "b": Streamed(0, lambda: iter(()))})) == (
        '{"a": [1, 2], "b": []}'
    )
