"""Proving keys are kept for the circuits proved last, by the bytes they are made of, and never more than a few."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import sumcheck_examples as examples
from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import EngineName
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.prover import key_cache
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.key_cache import KeyCache, key_bytes
from verifai.engines.sumcheck.prover.prove import ProvingKey, prepare, prove
from verifai.errors import UsageError
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.chain.split import split_model
from verifai.stages.compile import compile_circuit
from verifai.stages.prove import prove as prove_stage

FIXTURE = ROOT / "fixtures" / "digits-cnn"


@pytest.fixture(scope="module")
def example():
    return examples.mlp(committed=True)


@pytest.fixture(scope="module")
def key(example) -> ProvingKey:
    return prepare(*example)


class Maker:
    """Counts how often a key is made."""

    def __init__(self, key: ProvingKey) -> None:
        self.key, self.made = key, 0

    def __call__(self) -> ProvingKey:
        self.made += 1
        return self.key


def test_a_failure_is_not_kept(key: ProvingKey) -> None:
    def broken() -> ProvingKey:
        raise UsageError("stale-build", "no")

    cache, make = KeyCache(), Maker(key)
    with pytest.raises(UsageError):
        cache.get("c", "w", broken)
    assert cache.get("c", "w", make) is key and make.made == 1


def test_other_weights_or_another_circuit_need_their_own_key(key: ProvingKey) -> None:
    cache, make = KeyCache(max_keys=4), Maker(key)
    for name in (("c", "w"), ("c", "v"), ("d", "w"), ("c", "w"), ("d", "w"), ("cw", "")):
        cache.get(*name, make)
    assert make.made == 4


def test_the_key_used_longest_ago_goes_first(key: ProvingKey) -> None:
    cache, make = KeyCache(max_keys=2), Maker(key)
    for name in ("a", "b", "a", "c", "a"):
        cache.get(name, "w", make)
    assert make.made == 3
    cache.get("b", "w", make)
    assert make.made == 4


def test_bytes_bound_what_is_kept_but_the_newest_stays(key: ProvingKey) -> None:
    assert key_bytes(key) > key.committed.codeword.nbytes > 0
    cache, make = KeyCache(max_keys=8, max_bytes=key_bytes(key) + 1), Maker(key)
    for name in ("a", "b", "b", "a"):
        cache.get(name, "w", make)
    assert make.made == 3
    cache, make = KeyCache(max_bytes=1), Maker(key)
    for _ in range(3):
        cache.get("a", "w", make)
    assert make.made == 1


def test_threads_that_need_one_key_wait_for_one_commitment(key: ProvingKey) -> None:
    cache, make, start = KeyCache(), Maker(key), threading.Barrier(8)

    def ask(_: int) -> ProvingKey:
        start.wait()
        return cache.get("c", "w", make)

    with ThreadPoolExecutor(8) as pool:
        assert all(found is key for found in pool.map(ask, range(8)))
    assert make.made == 1


def test_proving_leaves_a_shared_key_as_it_was(example, key: ProvingKey) -> None:
    circuit, weights = example
    before = [array.tobytes() for array in (*key.weights, key.committed.cells, key.committed.codeword)]
    trace = run(circuit, weights, examples.random_input(circuit))
    with ThreadPoolExecutor(2) as pool:
        proofs = [proven.proof for proven in pool.map(lambda _: prove(key, trace), range(4))]
    assert proofs == [prove(prepare(circuit, weights), trace).proof] * 4
    assert before == [array.tobytes() for array in (*key.weights, key.committed.cells, key.committed.codeword)]


def test_the_engine_commits_once_and_never_serves_a_key_of_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(*arguments: object, **more: object) -> ProvingKey:
        made.append(1)
        return prepare(*arguments, **more)  # type: ignore[arg-type]

    first, _ = split_model(FIXTURE / "model.onnx", ["max_pool2d"], tmp_path / "s", calibration=FIXTURE / "calibration.npz")
    folder = CircuitFolder(first.folder)
    compile_circuit(folder)
    samples = read_samples(FIXTURE / "heldout.npz", folder.model).samples[:2]
    monkeypatch.setattr(proving, "prepare", counted)
    monkeypatch.setattr(key_cache, "KEYS", KeyCache())
    bundles = list(prove_stage(folder, samples, tmp_path / "one"))
    bundles += prove_stage(folder, samples, tmp_path / "two", jobs=2)
    assert len(bundles) == 4 and len(made) == 1
    weights = folder.build_dir(EngineName.SUMCHECK) / "weights.bin"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        list(prove_stage(folder, samples, tmp_path / "three"))
    assert caught.value.code == "stale-build"
