"""Pads are neither too many nor too few, and no coin is drawn twice."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support import zk_circuits as circuits
from tests.support.sumcheck_examples import Sketch
from tests.support.sumcheck_scripted import prove_heard
from tests.tamper.test_zk_weights import model
from tests.zero_knowledge.test_zk_rank_views import CASES, SHORT, stage
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.proof import decode
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.protocol.suite import LEAF_TAG, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover import coins as coins_module
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.coins import SecretCoins, commitment_key, proof_key, tensor_seed
from verifai.engines.sumcheck.prover.commitment import SALT_WORDS, commit_hiding, commitment_coins
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.prover.relations import prove_link, prove_registration
from verifai.engines.sumcheck.prover.witness import Witness

EXAMPLES = {
    "mlp": examples.mlp,
    "mlp, private input": lambda: examples.mlp(private_input=True),
    "mlp, hashed": lambda: examples.mlp(hashed_input=True, hashed_output=True),
    "mlp, committed": lambda: examples.mlp(committed=True),
    "mlp, all hidden": lambda: examples.mlp(private_input=True, hashed_output=True, committed=True),
    "cnn": examples.cnn,
    "cnn, committed": lambda: examples.cnn(committed=True),
    "products": examples.products,
}


def heard(circuit, weights, inputs, rng=None):
    """The finished channel of one honest proof."""
    key = prepare(circuit, weights)
    trace = run(circuit, weights, inputs)
    more = {} if rng is None else {"rng": rng}
    witness = Witness(circuit, key.layout, trace.tensors, trace.columns)
    proven, channel = prove_heard(key, witness, opening_number=0, **more)
    return key, channel, proven


def exact(key, channel):
    plan = key.layout.pads
    assert channel.pads.messages == plan.messages
    assert channel.pads.products == plan.products


@pytest.mark.parametrize("name", EXAMPLES)
def test_proofs_use_exactly_the_planned_pads(name, monkeypatch):
    monkeypatch.setattr(Sketch, "suite", ZERO_KNOWLEDGE)
    circuit, weights = EXAMPLES[name]()
    key, channel, _ = heard(circuit, weights, examples.random_input(circuit))
    exact(key, channel)


@pytest.mark.parametrize("name", CASES)
def test_tiny_circuits_too(name):
    with circuits.security(SHORT):
        case = CASES[name]()
        key, channel, _ = heard(case.circuit, list(case.weights), list(case.inputs))
    exact(key, channel)


@pytest.mark.slow
def test_softmax_too():
    with circuits.security(SHORT):
        case = circuits.softmax()
        key, channel, _ = heard(case.circuit, list(case.weights), list(case.inputs))
    exact(key, channel)


@pytest.mark.parametrize("name", CASES)
def test_a_proof_draws_exactly_the_coins_of_its_masks(name):
    act, _ = stage(name, SHORT)
    plan, shape = act.key.layout.pads, act.key.layout.witness.shape
    assert act.view.sizes == {
        "pads.messages": 2 << plan.log_messages,
        "pads.left": 2 << plan.log_products,
        "pads.right": 2 << plan.log_products,
        "witness.blind": 2 * shape.message,
        "witness.tail": shape.rows * shape.tail,
        "witness.mask.blind": 2 * shape.mask,
        "witness.mask.pads": 2 * shape.mask,
    }
    rounds = sum(count for label, count in act.view.labels if label == "openings.round")
    assert shape.mask == rounds and shape.tail >= shape.queries


def test_no_purpose_is_drawn_twice_from_one_key():
    coins = SecretCoins(bytes(32))
    coins.field("a", 3)
    coins.salts("b", 3)
    for draw in (coins.field, coins.salts):
        for purpose in ("a", "b"):
            with pytest.raises(ValueError, match="drawn before"):
                draw(purpose, 1)


def test_purposes_and_keys_give_other_coins():
    draws = [SecretCoins(bytes(32)).field("a", 8), SecretCoins(bytes(32)).field("b", 8), SecretCoins(b"\1" * 32).field("a", 8)]
    assert len({tuple(one.tolist()) for one in draws}) == 3
    assert np.array_equal(draws[0], SecretCoins(bytes(32)).field("a", 8))
    zero, one = bytes(32), b"\1" * 32
    given = [(zero, zero, zero), (one, zero, zero), (zero, one, zero), (zero, zero, one)]
    keys = [key(*each) for key in (proof_key, commitment_key) for each in given]
    keys += [tensor_seed(*each, tensor) for each in given for tensor in (0, 1)]
    assert len(set(keys)) == len(keys)


def test_one_seed_under_two_tables_has_two_sets_of_coins():
    """Equal coins under two tensors would cancel; equal values in an equal shape must still have the same root."""
    with circuits.security(SHORT):
        case = circuits.mlp(hashed=True)
        key = prepare(case.circuit, list(case.weights))
    (tensor,) = list(key.layout.hashed)[:1]
    plan = key.layout.hashed[tensor]
    size = plan.columns["tensor", tensor, 0].storage.cells
    first = {("tensor", tensor, 0): np.arange(size, dtype=np.uint64)}
    second = {("tensor", tensor, 0): np.arange(1, size + 1, dtype=np.uint64)}
    drawn = [commitment_coins(plan, columns, bytes(32)).field("tensor.blind", 64) for columns in (first, second, first)]
    assert np.array_equal(drawn[0], drawn[2]) and not np.any(drawn[0] == drawn[1])


def test_one_seed_under_two_placements_of_the_same_cells_has_two_sets_of_coins():
    """Where a cell lies follows from its column's shape too, so equal cells and an equal matrix do not make an equal table."""
    sketch = circuits.Tiny(6)
    x = sketch.input((1, 4), -4, 3)
    case = sketch.case(sketch.small(sketch.dense(sketch.small(sketch.dense(x, 4), 0, 7), 4), 0, 1), committed=True)
    plan = prepare(case.circuit, list(case.weights)).layout.weights
    (one, first), (other, second) = [item for item in plan.columns.items() if item[1].storage.cells == 16]
    moved = replace(plan, columns={**plan.columns, one: second, other: first})
    random = np.random.default_rng(3)
    columns = {key: random.integers(0, 9, column.storage.cells, dtype=np.uint64) for key, column in plan.columns.items()}
    longer = replace(plan, shape=replace(plan.shape, budget=plan.shape.budget + 1))  # another root, with pairs of its own
    drawn = [commitment_coins(where, columns, bytes(32)).field("weights.blind", 64) for where in (plan, moved, longer, plan)]
    assert np.array_equal(drawn[0], drawn[3]) and not any(np.any(drawn[0] == one) for one in drawn[1:3])


def test_every_leaf_has_a_salt_of_its_own_in_every_commitment():
    """Digests of leaves are no part of the views that ranks are taken of. A leaf without 32 secret bytes would confirm a
    guess of its column, which a reader who guesses the values can compute from the columns and combinations that are shown."""
    with circuits.security(SHORT):
        case = circuits.mlp(hashed=True)
        key = prepare(case.circuit, list(case.weights))
    (tensor,) = list(key.layout.hashed)[:1]
    plan = key.layout.hashed[tensor]
    cells = {("tensor", tensor, 0): np.arange(plan.columns["tensor", tensor, 0].storage.cells, dtype=np.uint64)}
    made = [commit_hiding(plan, cells, SecretCoins(bytes([seed]) * 32), "tensor") for seed in range(2)]
    salts = np.concatenate([one.codeword[:, 1 : 1 + SALT_WORDS] for one in made])
    assert SALT_WORDS == 4 and len(salts) == 2 * plan.shape.length
    assert all(len(np.unique(words)) == len(salts) for words in salts.T)
    for one in made:
        opening = one.open(range(4))
        for place, (column, salt) in enumerate(zip(opening.columns, opening.salts, strict=True)):
            leaf = sha256(LEAF_TAG + salt + np.array(column, dtype="<u8").tobytes()).digest()
            assert leaf == one.layers[0][32 * place : 32 * place + 32]
            assert salt == salts[place + plan.shape.length * (one is made[1])].astype("<u8").tobytes()


def test_a_stream_does_not_begin_again_with_its_next_block(monkeypatch):
    """A long purpose, such as the tails of a large witness, is drawn in blocks."""
    monkeypatch.setattr(coins_module, "_BLOCK_WORDS", 8)
    coins = SecretCoins(bytes(32))
    assert len(np.unique(coins.field("a", 64))) == 64
    assert len(np.unique(coins.salts("b", 16))) == 64


def test_words_that_are_no_elements_are_left_out_of_a_stream(monkeypatch):
    """Reduced instead, they would make the least 2^32 elements twice as likely: too little for samples to show."""
    words = iter([[P, 5, 2**64 - 1], [P - 1, P + 7], [6]])
    monkeypatch.setattr(SecretCoins, "_words", lambda *_: np.array(next(words), dtype=np.uint64))
    assert SecretCoins(bytes(32)).field("a", 3).tolist() == [5, P - 1, 6]


def test_two_proofs_of_one_witness_under_one_statement_share_no_message():
    """What is drawn from the system is used: not one element of F of the two proofs' encrypted messages is the same."""
    with circuits.security(SHORT):
        case = circuits.mlp(private=True)
        channels = [heard(case.circuit, list(case.weights), list(case.inputs))[1] for _ in range(2)]
    first, second = (channel.messages for channel in channels)
    assert len(first) > 100 and not any(one == other for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("numbers", [1, 3])
def test_hashed_tensors_of_one_proof_and_of_two_have_seeds_of_their_own(numbers):
    with circuits.security(SHORT):
        case = circuits.mlp(hashed=True, hashed_output=True)
        key = prepare(case.circuit, list(case.weights))
        trace = run(case.circuit, list(case.weights), list(case.inputs))
        seeds = [one.seed for _ in range(numbers) for one in proving.prove(key, trace).secrets.values()]
    assert len(set(seeds)) == len(seeds) == 2 * numbers


def test_weights_without_a_given_seed_are_committed_under_a_fresh_one():
    with circuits.security(SHORT):
        case = circuits.mlp(committed=True)
        roots = {prepare(case.circuit, list(case.weights)).identity for _ in range(2)}
    assert len(roots) == 2


def test_a_machine_without_entropy_still_gives_every_witness_its_own_coins(monkeypatch):
    """The key also takes up witness and statement, so a broken source repeats a proof but never coins under two secrets."""
    keys = []

    class Recorded(SecretCoins):
        def __init__(self, key):
            keys.append(key)
            super().__init__(key)

    monkeypatch.setattr(proving, "SecretCoins", Recorded)
    with circuits.security(SHORT):
        case = circuits.mlp(private=True)
        proofs = []
        for weights, inputs in case.witnesses(np.random.default_rng(61), 3):
            for _ in range(2):
                proofs.append(heard(case.circuit, weights, inputs, rng=bytes)[2].proof)
    assert len(keys) == 6 and len(set(keys)) == 3
    assert len(set(proofs)) == 3


@pytest.mark.parametrize("private", [True, False])
def test_without_entropy_one_witness_under_another_statement_has_other_coins(private):
    """The same pads under other challenges, as another context or opening number brings, would show each message twice."""
    with circuits.security(SHORT):
        case = circuits.mlp(private=private, committed=not private)
        key = prepare(case.circuit, list(case.weights), weights_seed=bytes(32))
        trace = run(case.circuit, list(case.weights), list(case.inputs))
        given = [(b"one", 0), (b"two", 0), *([] if private else [(b"one", 1)])]
        proofs = [proving.prove(key, trace, text, opening_number=number, rng=bytes).proof for text, number in given]
    roots = {decode(one, key.layout.commitments()).root for one in proofs}
    assert len(roots) == len(given)


def test_registrations_and_links_have_coins_of_their_own():
    """With entropy, and without it for every number, root and context."""
    circuit, weights = model()
    with circuits.security(SHORT):
        circuit = planned(replace(circuit, suite="draft"), ZERO_KNOWLEDGE)
        keys = [prepare(circuit, weights, weights_seed=bytes([seed]) * 32) for seed in range(2)]
        made = [prove_registration(keys[0], 0), prove_registration(keys[0], 0)]
        made += [prove_registration(keys[0], number, text, rng=bytes) for number in (0, 1) for text in (b"", b"x")]
        made += [prove_registration(keys[1], 0, rng=bytes), prove_link(keys[0], 0, keys[1], 0, rng=bytes)]
        plans = [plan_relation(kind, circuit).layout.commitments() for kind in Kind]
    decoded = [decode(one, plans[list(Kind).index(Kind.LINK if one is made[-1] else Kind.REGISTRATION)]) for one in made]
    assert len({one.root for one in decoded}) == len(made)
