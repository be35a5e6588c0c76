"""Opening numbers of tensors from other provers: each is used once, and none before all of them are known to fit."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.engines.sumcheck.test_engine import ENGINE, compiled, small_cnn, spec_of
from verifai.domain.circuit_spec import AskedPrivacy
from verifai.domain.digest import Sha256
from verifai.domain.statement import Visibility
from verifai.engines.interface import ProveRequest, TensorSecret
from verifai.engines.sumcheck.build_folder import read_build
from verifai.engines.sumcheck.interpreter.weights import decode_arrays
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.engines.sumcheck.prover.prove import TensorOpening, prepare, tensor_root
from verifai.engines.sumcheck.secrets import store
from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE, OpeningLedger
from verifai.engines.sumcheck.secrets.store import reserve_tensor
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.errors import InputRejected, UsageError

SEED = bytes(range(32))


@pytest.fixture(autouse=True)
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKS_VARIABLE, str(tmp_path / "marks"))


def test_a_receiver_has_three_numbers_of_a_tensor_and_never_its_makers(tmp_path: Path) -> None:
    first, second = (TensorSecret(Sha256(digit * 64), SEED, 0) for digit in "ab")
    taken = [reserve_tensor(tmp_path / "s", one) for one in (first, first, second, first)]
    assert taken == [1, 2, 1, 3]  # the maker made 0
    with pytest.raises(UsageError) as caught:
        reserve_tensor(tmp_path / "s", first)
    assert caught.value.code == "opening-budget-spent"


def test_another_folder_does_not_begin_again(tmp_path: Path) -> None:
    """A ledger that is lost, or another circuit's folder that never had it, would give the same numbers out once more."""
    secret = TensorSecret(Sha256("a" * 64), SEED, 0)
    assert reserve_tensor(tmp_path / "s", secret) == 1
    with pytest.raises(UsageError) as caught:
        reserve_tensor(tmp_path / "other", secret)
    assert caught.value.code == "opening-ledger-rolled-back"
    assert reserve_tensor(tmp_path / "s", secret) == 2


def test_nobody_reads_a_ledger_that_is_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs that take one tensor: the second would find half a ledger, and call the root dead."""
    genuine, tried = store.create_ledger, []

    def create(path: Path, root: str, budget: int) -> OpeningLedger:
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
        tried.append(path)
        return genuine(path, root, budget)

    monkeypatch.setattr(store, "create_ledger", create)
    assert reserve_tensor(tmp_path / "s", TensorSecret(Sha256("a" * 64), SEED, 0)) == 1
    assert len(tried) == 1


def test_each_proof_that_takes_a_tensor_opens_another_number_and_a_wrong_seed_opens_none(tmp_path: Path) -> None:
    spec = replace(spec_of(small_cnn(), x=Visibility.HASHED), privacy=AskedPrivacy.ZERO_KNOWLEDGE)
    one = compiled(small_cnn(), spec, tmp_path)
    section, feed = parse_section(one.section), one.feeds[0]
    _, circuit, blob = read_build(one.build, section)
    key = prepare(circuit, decode_arrays(circuit, blob))
    (cells,) = circuit_inputs(circuit, ["x"], feed, section.scales)
    root = Sha256(tensor_root(key, circuit.inputs[0].tensor, cells, TensorOpening(SEED, 0)).hex())
    secrets = tmp_path / "secrets"

    def opened(secret: TensorSecret, inputs: Mapping[str, Any] = feed) -> list[tuple[str, int]]:
        request = ProveRequest(one.net, spec, one.section, one.build, inputs, secrets_dir=secrets, input_secrets={"x": secret})
        return [(opening.root, opening.number) for opening in ENGINE.prove(request).statement.openings]

    assert opened(TensorSecret(root, SEED, 0)) == [(root, 1)]
    for wrong in (TensorSecret(root, bytes(32), 0), TensorSecret(Sha256("c" * 64), SEED, 0)):
        with pytest.raises(InputRejected) as caught:
            opened(wrong)
        assert caught.value.code == "tensor-root-mismatch"
    assert [path.name for path in secrets.glob("*.openings")] == [f"tensor-{root[:16]}.openings"]
    assert opened(TensorSecret(root, SEED, 0)) == [(root, 2)]
    with pytest.raises(InputRejected):
        opened(TensorSecret(root, SEED, 0), {"x": np.roll(feed["x"], 1)})
    assert opened(TensorSecret(root, SEED, 0)) == [(root, 3)]
