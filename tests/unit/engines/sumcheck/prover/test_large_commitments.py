"""What is not kept in memory is made again, and a proof is the same: code words, padded weights, cells before the first row."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.conformance_cases import Registrable
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.planning import memory
from verifai.engines.sumcheck.planning.memory import is_long
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, LEAF_TAG, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover import commitment, padded_weights, paired_rounds, parallel
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.arrays import scalars
from verifai.engines.sumcheck.prover.hash_kernels import RowHashes
from verifai.engines.sumcheck.prover.key_cache import key_bytes
from verifai.engines.sumcheck.prover.opened_columns import columns_at
from verifai.engines.sumcheck.prover.padded_weights import PaddedWeights, padded_weight
from verifai.engines.sumcheck.prover.prove import TensorOpening, prepare, prove
from verifai.engines.sumcheck.prover.relations import prove_link, prove_registration
from verifai.engines.sumcheck.verifier.relations import verify_relation
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify


def _coins():
    """The same random bytes in every run."""
    number = itertools.count()
    return lambda size: hashlib.shake_256(b"coins %d" % next(number)).digest(size)


def _proven(make, suite, monkeypatch):
    monkeypatch.setattr(examples.Sketch, "suite", suite)
    circuit, cells = make()
    key = prepare(circuit, cells, 2, weights_seed=bytes(32))
    secrets = {tensor: TensorOpening(bytes(32), 0) for tensor in key.layout.hashed} if circuit.zero_knowledge else None
    number = 0 if circuit.opening_budget else None
    made = prove(
        key,
        run(circuit, cells, examples.random_input(circuit)),
        opening_number=number,
        rng=_coins(),
        secrets=secrets,
        threads=2,
    )
    trusted = trust_circuit(encode(circuit), circuit_digest(encode(circuit)))
    verify(trusted, trust_weights(trusted, key.identity, None), made.statement, made.proof)
    return key, made


MODELS = {
    "language model": lambda: examples.language_model(committed=True),
    "hashed input": lambda: examples.odd_rows(committed=True, hashed=True),
    "convolutions": lambda: examples.cnn(committed=True),
}


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
@pytest.mark.parametrize("name", MODELS)
def test_a_proof_does_not_depend_on_what_is_kept(name, suite, monkeypatch):
    kept, wanted = _proven(MODELS[name], suite, monkeypatch)
    assert kept.committed.codeword is not None and kept.weights.nbytes == sum(
        8 << one.log_cells for one in kept.circuit.weights
    )
    monkeypatch.setattr(commitment, "CODEWORD_BYTES", 0)
    monkeypatch.setattr(commitment, "PART_BYTES", 0)
    monkeypatch.setattr(padded_weights, "PADDED_BYTES", 0)
    monkeypatch.setattr(memory, "LONG_CELLS", 1)
    monkeypatch.setattr(paired_rounds, "PART_CELLS", 64)
    assert is_long(kept.layout.witness) and is_long(kept.layout.weights)
    made, found = _proven(MODELS[name], suite, monkeypatch)
    assert made.committed.codeword is None and key_bytes(made) < key_bytes(kept)
    assert found.statement == wanted.statement and found.proof == wanted.proof
    assert made.identity == kept.identity and made.committed.layers == kept.committed.layers


def test_every_opening_of_a_hidden_root_shows_the_code_word_that_was_hashed(monkeypatch):
    """Blind rows are chosen per opening, in a copy of the cells alone: whatever number is opened, and by whatever proof, the
    code word that is made again has all pairs of them, with the masks and tails that the root was made of."""
    sketch = Registrable(4)
    out = sketch.requant(sketch.matmul(sketch.input((1, 20)), 9), relu=False)
    circuit, cells = sketch.finish(out, committed=True), sketch.cells
    trusted = trust_circuit(encode(circuit), circuit_digest(encode(circuit)))
    trace = run(circuit, cells, examples.random_input(circuit))
    numbers = (3, 0, 1)

    def everything():
        keys = [prepare(circuit, cells, 2, weights_seed=bytes([seed]) * 32) for seed in (1, 2)]
        masked = keys[0].committed.masked.copy()
        made = [prove(keys[0], trace, opening_number=number, rng=_coins()) for number in numbers]
        more = [prove_registration(keys[0], 2, rng=_coins(), threads=2), prove_link(keys[0], 4, keys[1], 0, rng=_coins())]
        assert np.array_equal(keys[0].committed.masked, masked)
        return keys, made, more

    kept, wanted, relations = everything()
    monkeypatch.setattr(commitment, "CODEWORD_BYTES", 0)
    monkeypatch.setattr(commitment, "PART_BYTES", 0)
    monkeypatch.setattr(memory, "LONG_CELLS", 1)
    keys, made, more = everything()
    assert keys[0].committed.codeword is None and kept[0].committed.codeword is not None
    assert (made, more) == (wanted, relations) and len({one.proof for one in made}) == len(numbers)
    for one in made:
        verify(trusted, trust_weights(trusted, keys[0].identity, None), one.statement, one.proof)
    roots = [OpenedRoot(keys[0].committed.root, 2)]
    verify_relation(Kind.REGISTRATION, circuit, keys[0].digest, roots, more[0])
    roots = [OpenedRoot(keys[0].committed.root, 4), OpenedRoot(keys[1].committed.root, 0)]
    verify_relation(Kind.LINK, circuit, keys[0].digest, roots, more[1])


@pytest.mark.parametrize("part", [4, 16, 32, 256])
@pytest.mark.parametrize("remade", [False, True])
def test_cells_by_address_are_those_of_the_opening(remade, part, monkeypatch):
    """Blind rows too, where a part ends before the first row that holds values: without them nothing would hide the sum."""
    if remade:
        monkeypatch.setattr(commitment, "CODEWORD_BYTES", 0)
    apart = 0
    for size in (0, 3, 9, 40):
        sketch = Registrable(4)
        x = sketch.input((1, max(1, size)))
        out = sketch.requant(sketch.matmul(x, 9) if size else x, relu=False)
        key = prepare(sketch.finish(out, committed=True), sketch.cells, weights_seed=bytes(32))
        for number in (0, 3):
            held = key.committed.for_opening(number)
            pair = commitment._blind_pair(held.plan, held.masked, number)
            wanted = np.zeros(1 << held.plan.log_cells, np.uint64)
            wanted[held.first :] = held.values()
            wanted[: len(pair)] = pair
            found = np.zeros_like(wanted)
            told = [held.fill(start, found[start : start + part]) for start in range(0, len(found), part)]
            assert np.array_equal(found, wanted) and (held.cells is None) is remade
            assert all(told[start // part] for start in range(0, len(found), part) if wanted[start : start + part].any())
            apart += remade and held.blind is None and held.plan.first_row << held.plan.log_message >= part
    assert apart or not remade or part > 32


def test_cells_before_the_first_row_are_not_there(monkeypatch):
    monkeypatch.setattr(examples.Sketch, "suite", INTEGRITY)
    sketch = examples.Sketch(3)
    out = sketch.requant(sketch.matmul(sketch.input((1, 300)), 200))  # 320 · 256 cells of 2^17, in several rows
    circuit = sketch.finish(out, committed=True)
    key, trace = prepare(circuit, sketch.cells), run(circuit, sketch.cells, examples.random_input(circuit))
    committed, plan = key.committed, key.committed.plan
    assert committed.first == min(plan.first_row * plan.shape.message, 1 << plan.log_cells - 1) > 0
    whole = replace(committed, cells=np.concatenate([np.zeros(committed.first, np.uint64), committed.cells]))
    assert whole.first == 0 and np.array_equal(whole.rows(), committed.rows())
    made = prove(key, trace)
    assert prove(replace(key, committed=whole), trace) == made
    trusted = trust_circuit(encode(circuit), circuit_digest(encode(circuit)))
    verify(trusted, trust_weights(trusted, key.identity, None), made.statement, made.proof)


@pytest.mark.parametrize("missing", [0, 1, 5, 1000, 2047, 2048])
def test_rounds_and_folds_without_the_zeros_in_front(missing, monkeypatch):
    random = np.random.default_rng(missing)
    values, weights = random.integers(0, P, 4096, dtype=np.uint64), random.integers(0, P, (2, 4096), dtype=np.uint64)
    values[:missing], weights[:, :missing] = 0, 0
    short, few = values[missing:].copy(), np.ascontiguousarray(weights[:, missing:])
    r = scalars((P - 5, 1 << 60))
    wanted = parallel.product_round_base(values, weights), parallel.fold_base(values, *r), parallel.fold(weights, *r)
    monkeypatch.setattr(parallel, "LARGE", 2)
    for threads in (1, 2, 3):
        with parallel.workers(threads):
            assert parallel.threads() == threads
            assert parallel.product_round_base(short, few, missing) == wanted[0]
            assert np.array_equal(parallel.fold_base(short, *r, missing), wanted[1])
            assert np.array_equal(parallel.fold(few, *r, missing), wanted[2])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("words", [0, 1, 6, 7, 8, 9, 14, 15, 16, 31])
def test_rows_that_come_in_parts_have_the_hash_of_the_whole(words, threads):
    parts = [np.random.default_rng(words).integers(0, 2**64, (37, size), dtype=np.uint64) for size in (8, 16, words)]
    hashes = RowHashes(37, threads)
    for one in parts[:-1]:
        hashes.add(one)
    rows = np.concatenate(parts, axis=1)
    assert [one.tobytes() for one in hashes.finish(parts[-1])] == [hashlib.sha256(row.tobytes()).digest() for row in rows]


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 7, 8, 20, 64])
@pytest.mark.parametrize("salted", [False, True])
def test_a_tree_in_parts_is_the_tree(rows, salted, monkeypatch):
    random = np.random.default_rng(rows)
    cells = random.integers(0, P, (rows, 8), dtype=np.uint64)
    salts = random.integers(0, P, (32, commitment.SALT_WORDS), dtype=np.uint64) if salted else None
    shape = replace(prepare(*examples.mlp(committed=True)).committed.plan.shape, rows=rows, message=8, degree=8, length=32)
    kept, wanted = commitment._encoded(shape, cells, salts, 1)
    assert bytes(kept[:, 0].tobytes()) == LEAF_TAG * 32
    monkeypatch.setattr(commitment, "CODEWORD_BYTES", 0)
    for part in (0, 64 * 32 * 2):
        monkeypatch.setattr(commitment, "PART_BYTES", part)
        assert commitment._encoded(shape, cells, salts, 2) == (None, wanted)
        again = columns_at(cells, 5, [3, 0, 31])
        assert np.array_equal(again, kept[[3, 0, 31], 1 + (commitment.SALT_WORDS if salted else 0) :])


@pytest.mark.parametrize(("length", "log_n"), [(5, 6), (1 << 15, 16), (20_000, 17)])
def test_single_columns_are_the_code_words(length, log_n):
    """Cells of every size, over several stretches of 2^14 coefficients, and a last one that is shorter."""
    random = np.random.default_rng(length)
    cells = random.integers(0, P, (8, length), dtype=np.uint64)
    cells[0] %= np.uint64(1 << 16)
    cells[1] = np.uint64(P) - random.integers(1, 1 << 30, length, dtype=np.uint64)
    cells[2:6] = np.array([[P // 2], [P // 2 + 1], [0], [P - 1]], dtype=np.uint64)  # sums as large as they can be
    cells[6] = (1 << 16) - 1
    positions = [0, 1, (1 << log_n) - 1, *random.integers(0, 1 << log_n, 9).tolist()]
    whole = commitment.encode(cells, log_n, 1 << (length - 1).bit_length(), first=0)
    assert np.array_equal(columns_at(cells, log_n, positions), whole[positions])
    small = np.ascontiguousarray(cells[[0, 4, 5, 6]])  # one part each
    assert np.array_equal(columns_at(small, log_n, positions), whole[positions][:, [0, 4, 5, 6]])


def test_weights_are_the_same_whenever_they_are_made(monkeypatch):
    circuit, cells = examples.language_model(committed=True)
    kept = PaddedWeights(circuit.weights, cells)
    monkeypatch.setattr(padded_weights, "PADDED_BYTES", 0)
    made = PaddedWeights(circuit.weights, cells)
    wanted = [padded_weight(weight, one) for weight, one in zip(circuit.weights, cells, strict=True)]
    for weights in (kept, made):
        assert len(weights) == len(wanted) and all(map(np.array_equal, weights, wanted))
        assert all(map(np.array_equal, weights[1:], wanted[1:])) and np.array_equal(weights[-1], wanted[-1])
        columns = weights.columns()
        assert list(columns) == [("weight", index, 0) for index in range(len(wanted))] and len(columns) == len(wanted)
        assert all(np.array_equal(columns["weight", i, 0], one.reshape(-1)) for i, one in enumerate(wanted))
        for key in (("weight", len(wanted), 0), ("weight", -1, 0), ("weight", 0, 1), ("tensor", 0, 0)):
            with pytest.raises(KeyError):
                columns[key]
    before = made[0].copy()
    cells[0][:] = 0
    assert np.array_equal(made[0], before)  # its own copy, so that nobody changes a key
    assert made.nbytes < kept.nbytes
    assert proving.PaddedWeights is PaddedWeights


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
def test_weights_that_are_committed_where_a_circuit_has_none(suite, monkeypatch):
    """A commitment without a row: its columns are empty, and its root is that of leaves which hold their tag alone."""
    monkeypatch.setattr(examples.Sketch, "suite", suite)

    def make():
        sketch = examples.Sketch(3)
        out = sketch.requant(sketch.input((1, 4)))
        return sketch.finish(out, committed=True), sketch.cells

    key, made = _proven(make, suite, monkeypatch)  # and verified
    plan = key.committed.plan
    assert not plan.columns and len(key.committed.rows()) == plan.shape.rows == plan.shape.reserved_rows
    if suite is INTEGRITY:
        assert key.identity == "39c746164d827b2fe6a609c74a23864014848744b9f2ba63df131aa2caec044d"  # of before, too
        leaf = hashlib.sha256(LEAF_TAG).digest()
        assert {key.committed.layers[0][at : at + 32] for at in range(0, len(key.committed.layers[0]), 32)} == {leaf}
        assert made.proof.startswith(b"verifai/sumcheck-proof/2")
