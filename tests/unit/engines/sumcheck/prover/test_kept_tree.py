"""The tree over weights that compile keeps: a proof takes it, and whatever is wrong with it, makes it again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.sumcheck_models import samples, small_cnn
from tests.unit.engines.sumcheck.test_engine import ENGINE, Compiled, spec_of
from verifai.domain.statement import WeightVisibility
from verifai.engines.interface import CompileRequest, ProveRequest
from verifai.engines.sumcheck.payload.files import WEIGHTS_FILE
from verifai.engines.sumcheck.prover import commitment, key_cache
from verifai.engines.sumcheck.prover.kept_tree import TREE_FILE, KeptTree
from verifai.engines.sumcheck.prover.key_cache import KeyCache
from verifai.errors import UsageError

_SUM = 32


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Every code word is too long to be kept; the rows of each that is made."""
    made: list[int] = []
    plain = commitment.encode

    def counted(rows, *args, **named):
        made.append(len(rows))
        return plain(rows, *args, **named)

    monkeypatch.setattr(commitment, "CODEWORD_BYTES", 0)
    monkeypatch.setattr(commitment, "encode", counted)
    yield made


def _compiled(weights: WeightVisibility, folder: Path) -> Compiled:
    net = small_cnn()
    spec, feeds = spec_of(net, weights), samples(net, 12)
    calibration = {one.name: np.stack([feed[one.name] for feed in feeds]) for one in net.inputs}
    request = CompileRequest(net, spec, calibration, folder, folder, secrets_dir=folder / "secrets")
    return Compiled(net, spec, ENGINE.compile(request).section, folder, feeds)


def _prove(circuit: Compiled, monkeypatch: pytest.MonkeyPatch, encoded: list[int]) -> int:
    """How many rows are encoded for a proof by a process that has no key yet."""
    monkeypatch.setattr(key_cache, "KEYS", KeyCache())
    encoded.clear()
    request = ProveRequest(circuit.net, circuit.spec, circuit.section, circuit.build, circuit.feeds[0])
    ENGINE.prove(replace(request, secrets_dir=circuit.build / "secrets"))  # verified by the engine before it leaves
    return sum(encoded)


@pytest.mark.parametrize("weights", [WeightVisibility.COMMITTED, WeightVisibility.PRIVATE])
def test_a_proof_encodes_no_weights_again(weights, encoded, monkeypatch, tmp_path):
    circuit = _compiled(weights, tmp_path)
    kept = tmp_path / TREE_FILE
    assert kept.stat().st_mode & 0o777 == 0o600
    rows = _prove(circuit, monkeypatch, encoded)
    kept.unlink()
    assert _prove(circuit, monkeypatch, encoded) > rows  # which also puts it there again
    assert _prove(circuit, monkeypatch, encoded) == rows


def _resealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


DAMAGES = {
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "one bit": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "another tree": lambda data: _resealed(data[:-_SUM][:100] + bytes([data[100] ^ 1]) + data[101:-_SUM]),
    "of another circuit": lambda data: _resealed(data[:20] + bytes([data[20] ^ 1]) + data[21:-_SUM]),
    "longer": lambda data: data + bytes(_SUM),
    "shorter, sealed": lambda data: _resealed(data[: -2 * _SUM]),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiled]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commitment, "CODEWORD_BYTES", 0)
        yield _compiled(WeightVisibility.COMMITTED, tmp_path_factory.mktemp("build"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_tree_is_made_again(damage, shared, encoded, monkeypatch):
    kept = shared.build / TREE_FILE
    whole, rows = kept.read_bytes(), _prove(shared, monkeypatch, encoded)
    kept.write_bytes(DAMAGES[damage](whole))
    assert _prove(shared, monkeypatch, encoded) > rows
    assert kept.read_bytes() == whole


def test_other_weights_are_not_proven_under_a_kept_tree(shared, encoded, monkeypatch, tmp_path):
    """The tree has the pinned root, whatever the weight file holds: it is taken for that file alone."""
    for one in shared.build.iterdir():
        if one.is_file():
            (tmp_path / one.name).write_bytes(one.read_bytes())
    data = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(bytes(data))
    with pytest.raises(UsageError) as caught:
        _prove(replace(shared, build=tmp_path), monkeypatch, encoded)
    assert caught.value.code == "stale-build"


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path):
    tree = KeptTree(tmp_path / "none" / TREE_FILE, "0" * 64, "1" * 64, "2" * 64)
    tree.write((bytes(64), bytes(32)))
    assert tree.read(2) is None
