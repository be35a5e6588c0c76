"""Honest proofs are accepted: all operations, all kinds of statement, random shapes; and what cannot be proven is refused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from tests.support.sumcheck_scripted import prove_heard
from tests.support.zk_circuits import pieces
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.planning.plan import plan, planned
from verifai.engines.sumcheck.planning.plan_hiding import TENSOR_BUDGET
from verifai.engines.sumcheck.planning.rehearsal import rehearse
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover.prove import TensorOpening, prepare, prove, tensor_root
from verifai.engines.sumcheck.prover.witness import Witness
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected, UnsupportedModel, UsageError

WEIGHTS_SEED = bytes(range(32))

_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]  # a constant, not a state
slow = settings(max_examples=25, deadline=None, suppress_health_check=_CHECKS)


IN_PIECES = "in pieces"
"""The integrity-only suite, with pieces wherever they save a single cell."""


@pytest.fixture(autouse=True, params=[INTEGRITY, ZERO_KNOWLEDGE, IN_PIECES], ids=lambda suite: getattr(suite, "name", suite))
def suite(request, monkeypatch):
    """Every circuit is proven in every suite, and with all of its tensors in pieces."""
    with pieces() if request.param == IN_PIECES else nullcontext():
        chosen = INTEGRITY if request.param == IN_PIECES else request.param
        monkeypatch.setattr(Sketch, "suite", chosen)
        yield chosen


def accepted(circuit, weights, seed=0, threads=1):
    """Prove one random run, verify it, and compare the statement with the interpreter's values."""
    trace = run(circuit, weights, examples.random_input(circuit, seed))
    key = prepare(circuit, weights, threads, weights_seed=WEIGHTS_SEED)
    proven = prove(key, trace, b"context", opening_number=0, rng=bytes, threads=threads)
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    given_weights = trust_weights(trusted, key.identity, encode_weights(circuit, [w.reshape(-1).tolist() for w in weights]))
    verified = verify(trusted, given_weights, proven.statement, proven.proof)
    for port, stated in zip(circuit.inputs + circuit.outputs, verified.statement.tensors, strict=True):
        cells = trace.true(port.tensor)
        if isinstance(stated, PublicTensor):
            assert stated.cells == tuple(cells.reshape(-1).tolist())
        elif port.visibility is Visibility.PRIVATE:
            assert stated == PrivateTensor()
        else:
            assert stated == HashedTensor(tensor_root(key, port.tensor, cells, proven.secrets.get(port.tensor)))
    return proven


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("hashed_input", [False, True])
@pytest.mark.parametrize("hashed_output", [False, True])
def test_every_kind_of_statement(hashed_input, hashed_output, committed):
    accepted(*examples.mlp(hashed_input=hashed_input, hashed_output=hashed_output, committed=committed))


@pytest.mark.parametrize("suite", [ZERO_KNOWLEDGE], indirect=True)
@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("output", ["public", "hashed", "private"])
def test_every_kind_of_statement_about_a_private_input(output, committed):
    sketch = Sketch(60)
    x = sketch.input((1, 13), -100, 99, private=True)
    hidden = sketch.requant(sketch.matmul(x, 10), offset=2)
    out = sketch.requant(sketch.matmul(hidden, 5), relu=False, offset=3)
    kinds = {} if output == "public" else {output: (out,)}
    accepted(sketch.finish(out, committed=committed, **kinds), sketch.cells)


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("hashed", [False, True])
def test_a_tensor_and_weights_with_more_variables_than_the_witness(hashed, committed):
    """The final rounds are then as many as theirs, and so are the pads that encrypt them."""
    sketch = Sketch(64)
    x = sketch.input((1, 9000), -1, 1, hashed=hashed)
    out = sketch.requant(sketch.matmul(x, 2), relu=False)
    circuit = sketch.finish(out, committed=committed)
    layout = plan(circuit)
    others = [*layout.hashed.values(), *([layout.weights] if layout.weights else [])]
    assert len(others) == hashed + committed
    assert all(one.log_cells > layout.witness.log_cells for one in others)
    accepted(circuit, sketch.cells)


@pytest.mark.parametrize("suite", [ZERO_KNOWLEDGE], indirect=True)
def test_only_the_largest_logit_of_a_private_input_is_shown():
    sketch = Sketch(61)
    x = sketch.input((1, 7), private=True)
    index = sketch.add(ops.ArgMax, sketch.requant(sketch.matmul(x, 9), relu=False))
    accepted(sketch.finish(index, committed=True), sketch.cells)


@pytest.mark.parametrize("suite", [ZERO_KNOWLEDGE], indirect=True)
@pytest.mark.parametrize("budget", [1, 3])
def test_every_opening_of_one_root_up_to_its_budget(budget):
    """Weights, and a hashed input, opened under each of their numbers: the roots stay the same, the proofs differ."""
    circuit, weights = examples.mlp(hashed_input=True, committed=True)
    circuit = planned(replace(circuit, commitments=(), soundness=()), ZERO_KNOWLEDGE, budget)
    key = prepare(circuit, weights, weights_seed=WEIGHTS_SEED)
    trace, tensor = run(circuit, weights, examples.random_input(circuit)), circuit.inputs[0].tensor
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    found = set()
    for number in range(budget):
        secret = TensorOpening(bytes(32), TENSOR_BUDGET - 1 - number)
        proven = prove(key, trace, opening_number=number, secrets={tensor: secret})
        assert verify(trusted, trust_weights(trusted, key.identity, None), proven.statement, proven.proof)
        assert proven.statement.opening_number == number
        assert proven.statement.tensors[0] == HashedTensor(tensor_root(key, tensor, trace.true(tensor), secret), secret.number)
        found.add((proven.statement.tensors[0].root, key.identity))
    assert len(found) == 1


@slow
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 70), min_size=1, max_size=3).filter(lambda shape: 30 < prod(shape) < 6000),
    st.integers(1, 40),
    st.tuples(*[st.booleans()] * 4),
)
def test_tensors_and_weights_of_any_odd_shape(seed, shape, outs, kinds):
    """Dense, maxima along rows, saturating quotients, sums: tensors whose longest waste is along any axis."""
    hashed, private, saturate, committed = kinds
    sketch = Sketch(seed)
    private = private and Sketch.suite.zero_knowledge
    x = sketch.input((*shape[:-1], 1 + shape[-1] % 9), hashed=hashed and not private, private=private)
    hidden = sketch.requant(sketch.matmul(x, outs), relu=False, offset=seed % 5 - 2)
    sketch.tables.append(examples.Table("exp", 0, (*range(127 if saturate else 511, 0, -1), 0)))
    maxima = sketch.add(ops.RowMax, hidden, table=len(sketch.tables) - 1, saturate=saturate, outs=("out", "exp"))
    product = sketch.add(ops.Mul, maxima + 1, hidden, multiplier=3)
    narrow = sketch.table(-32, 31)
    limited = sketch.add(ops.Requant, product, table=narrow, shift=4, limbs=(1, 3), saturate=True)
    total = sketch.add(ops.RowSum, limited, ops.NONE, multiplier=1, axes=1)
    index = sketch.add(ops.ArgMax, hidden)
    out = sketch.requant(sketch.add(ops.LinearCombination, (total, maxima, index), (1, -2, 3), 4), relu=False)
    accepted(sketch.finish(out, limited, hashed=(limited,) if hashed else (), committed=committed), sketch.cells, seed)


@pytest.mark.parametrize("committed", [False, True])
def test_a_network_of_every_linear_operation(committed):
    accepted(*examples.cnn(committed=committed))


def test_equal_runs_have_equal_proofs_whatever_the_threads():
    circuit, weights = examples.cnn()
    assert accepted(circuit, weights) == accepted(circuit, weights, threads=2)


@slow
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(3, 9), st.integers(3, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.integers(1, 2)] * 4),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.booleans(),
)
def test_convolutions_of_any_stride_dilation_and_padding(seed, shape, weight, steps, pads, committed):
    sketch = Sketch(seed)
    x = sketch.input(shape)
    try:
        z = sketch.conv(x, weight[0], weight[1:], stride=steps[:2], dilation=steps[2:], pads=pads)
    except EvidenceRejected:
        assume(False)
    hidden = sketch.requant(z, relu=False, offset=seed % 3 - 1)
    out = sketch.requant(sketch.conv(hidden, 3, (1, 1)))
    accepted(sketch.finish(out, committed=committed), sketch.cells, seed)


@pytest.mark.parametrize(("channels", "outs", "groups"), [(4, 4, 4), (6, 6, 3), (8, 4, 2), (4, 8, 2), (3, 6, 3), (5, 5, 5)])
def test_grouped_and_depthwise_convolutions(channels, outs, groups):
    sketch = Sketch(channels)
    x = sketch.input((2, channels, 5, 6))
    hidden = sketch.requant(sketch.conv(x, outs, (3, 2), groups=groups, pads=(1, 0, 1, 1)))
    out = sketch.requant(sketch.conv(hidden, 2, (1, 1)))
    accepted(sketch.finish(out), sketch.cells)


@slow
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(2, 9), st.integers(2, 9)),
    st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (1, 4), (4, 1)]),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)),
    st.tuples(*[st.integers(0, 1)] * 4),
)
def test_maxima_over_windows_of_any_shape(seed, shape, kernel, steps, pads):
    sketch = Sketch(seed)
    x = sketch.input(shape, low=-40 - seed % 50, high=-1 if seed % 2 else 90)
    try:
        pooled = sketch.pool(x, kernel, stride=steps[:2], dilation=steps[2:], pads=pads)
    except EvidenceRejected:
        assume(False)
    out = sketch.requant(sketch.conv(pooled, 2, (1, 1)), relu=False)
    accepted(sketch.finish(out, pooled), sketch.cells, seed)


@slow
@given(st.integers(0, 2**32), st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(1, 3), st.integers(1, 9))
def test_dense_layers_over_any_axes(seed, shape, contract, outs):
    assume(contract < len(shape))
    sketch = Sketch(seed)
    x = sketch.input(tuple(shape), hashed=bool(seed % 2))
    hidden = sketch.requant(sketch.matmul(x, outs, contract), offset=seed % 5 - 2)
    out = sketch.requant(sketch.matmul(hidden, 3), relu=False, offset=1)
    accepted(sketch.finish(out, hashed=(out,) if seed % 3 == 0 else (), committed=bool(seed % 5 == 0)), sketch.cells, seed)


@slow
@given(st.integers(0, 2**32), st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(2, 7), st.integers(2, 7)))
def test_sums_over_windows_rows_and_branches(seed, shape):
    sketch = Sketch(seed)
    x = sketch.input(shape)
    a = sketch.requant(sketch.conv(x, 3, (1, 1)), offset=1)
    b = sketch.requant(sketch.conv(x, 3, (1, 1)), relu=False, offset=-2)
    both = sketch.requant(sketch.add(ops.LinearCombination, (a, b), (5, -3), seed % 11 - 5), offset=3)
    mean = sketch.add(ops.WindowSum, both, multiplier=3, kernel=(2, 2), stride=(1, 2), pads=(1, 1, 0, 1))
    first = sketch.requant(mean, relu=False)
    rows = sketch.requant(sketch.add(ops.RowSum, both, ops.NONE, multiplier=-2, axes=1 + seed % 4), relu=False)
    accepted(sketch.finish(first, rows), sketch.cells, seed)


def test_views_of_virtual_and_held_tensors():
    sketch, none = Sketch(9), ops.NONE
    x = sketch.input((2, 3, 5))
    turned = ops.Piece(x, (1, 0, 2), ((0, 1, 2), (0, 1), (4, 3, 0, none)), (none, none, none))
    view = sketch.add(ops.View, (turned,), 7, shape=(3, 2, 4))
    a = sketch.requant(sketch.matmul(view, 4), offset=2)
    flat = sketch.add(ops.Relabel, a, shape=(3, 2, 1, 4))
    left = ops.Piece(flat, (0, 1, 2, 3), ((0, 1, 2), (0, 1), (0, none), (0, 1, 2, 3)), (none,) * 4)
    right = ops.Piece(flat, (0, 1, 2, 3), ((2, 1, 0), (0, 1), (none, 0), (3, 2, 1, 0)), (none,) * 4)
    joined = sketch.add(ops.View, (left, right), 0, shape=(3, 2, 2, 4))
    out = sketch.requant(sketch.matmul(joined, 5, 2))
    accepted(sketch.finish(out), sketch.cells)


def test_attention_over_heads_by_reshape_and_transposition():
    """(T, H·d) → (T, H, d) → (H, T, d), scores (H, T, T), and back: views of relabellings of held tensors."""
    sketch, none = Sketch(24), ops.NONE
    tokens, heads, depth = 3, 2, 4
    x = sketch.input((tokens, 5))

    def split(name):
        held = sketch.requant(sketch.matmul(x, heads * depth), relu=False, offset=name)
        shaped = sketch.add(ops.Relabel, held, shape=(tokens, heads, depth))
        whole = (tuple(range(heads)), tuple(range(tokens)), tuple(range(depth)))
        return sketch.add(ops.View, (ops.Piece(shaped, (1, 0, 2), whole, (none,) * 3),), 0, shape=(heads, tokens, depth))

    query, key, value = split(0), split(1), split(-2)
    turned = ops.Piece(key, (0, 2, 1), (tuple(range(heads)), tuple(range(depth)), tuple(range(tokens))), (none,) * 3)
    keys = sketch.add(ops.View, (turned,), 0, shape=(heads, depth, tokens))
    scores = sketch.requant(sketch.add(ops.BatchedMatMul, query, keys, multiplier=1), relu=False, offset=1)
    mixed = sketch.requant(sketch.add(ops.BatchedMatMul, scores, value, multiplier=1), relu=False, offset=2)
    back = ops.Piece(mixed, (1, 0, 2), (tuple(range(tokens)), tuple(range(heads)), tuple(range(depth))), (none,) * 3)
    joined = sketch.add(ops.View, (back,), 0, shape=(tokens, heads, depth))
    flat = sketch.add(ops.Relabel, joined, shape=(tokens, heads * depth))
    accepted(sketch.finish(sketch.requant(sketch.matmul(flat, 4))), sketch.cells)


def test_views_of_linear_results_carry_any_functional_into_them():
    """Slices, reversals and repetitions of what MatMul, Conv, Mul, sums and products yield, before it is rounded."""
    sketch, none = Sketch(26), ops.NONE
    x = sketch.input((2, 3, 5, 4))
    conv = sketch.conv(x, 4, (3, 2), stride=(2, 1), pads=(1, 0, 0, 1), groups=1)
    shape = sketch.tensors[conv].shape
    whole = [tuple(range(size)) for size in shape]
    backwards = ops.Piece(conv, (0, 1, 2, 3), (whole[0][::-1], whole[1][::-1], whole[2], (1, none, 0)), (none,) * 4)
    first = sketch.requant(sketch.add(ops.View, (backwards,), 9, shape=(*shape[:3], 3)), relu=False, offset=1)
    dense = sketch.matmul(x, 3, 2)
    twice = ops.Piece(dense, (0, none, 2), ((1, 0), (0, 0, none), (2, none, 0)), (none, 1, none))
    second = sketch.requant(sketch.add(ops.View, (twice,), -4, shape=(2, 3, 3)), relu=False, offset=2)
    pair = sketch.add(ops.BatchedMatMul, second, second, multiplier=3)
    turned = sketch.add(ops.View, (ops.Piece(pair, (0, 2, 1), ((1, 0), (2, 1, 0), (0, 2)), (none,) * 3),), 0, shape=(2, 3, 2))
    squares = sketch.add(ops.Mul, second, second, multiplier=2)
    corner = sketch.add(ops.View, (ops.Piece(squares, (1, 2), ((2, 1), (0, 2)), (1, none, none)),), 0, shape=(2, 2))
    outs = [
        sketch.requant(z, relu=False) for z in (turned, corner, sketch.add(ops.RowSum, squares, none, multiplier=1, axes=1))
    ]
    accepted(sketch.finish(first, *outs), sketch.cells)
    accepted(sketch.finish(first, *outs, committed=True), sketch.cells)


def test_tables_looked_up_without_rounding():
    sketch = Sketch(10)
    hidden = sketch.requant(sketch.matmul(sketch.input((3, 6)), 5), offset=4)
    sketch.tables.append(examples.Table("squares", -256, tuple(min(i * i, 9000) + 1 for i in range(-256, 256))))
    squared = sketch.add(ops.Lookup, hidden, table=len(sketch.tables) - 1)
    out = sketch.requant(sketch.matmul(squared, 2), relu=False)
    accepted(sketch.finish(out, squared), sketch.cells)


def test_one_tensor_may_feed_many_operations_and_be_an_output_too():
    sketch = Sketch(11)
    x = sketch.input((1, 2, 6, 6))
    a = sketch.requant(sketch.conv(x, 2, (3, 3), pads=(1, 1, 1, 1)), offset=1)
    z = sketch.conv(a, 2, (1, 1))
    first, second = sketch.requant(z), sketch.requant(z, relu=False, offset=5)
    total = sketch.requant(sketch.add(ops.LinearCombination, (a, first, second), (1, 2, 3), 0))
    accepted(sketch.finish(total, a, sketch.pool(a)), sketch.cells)


def test_products_of_activations():
    sketch = Sketch(16)
    x, y = sketch.input((2, 3, 5)), sketch.input((2, 5, 3), hashed=True)
    a = sketch.requant(sketch.matmul(x, 4), offset=2)
    b = sketch.requant(sketch.add(ops.BatchedMatMul, x, y, multiplier=3), relu=False, offset=1)
    c = sketch.requant(sketch.add(ops.Mul, a, a, multiplier=-5), relu=False)
    d = sketch.requant(sketch.add(ops.RowSum, a, c, multiplier=2, axes=1), relu=False)
    e = sketch.requant(sketch.add(ops.BatchedMatMul, b, a, multiplier=1), relu=False, offset=-3)
    accepted(sketch.finish(b, d, e), sketch.cells)


@slow
@given(st.integers(0, 2**32), st.lists(st.integers(1, 4), min_size=3, max_size=4), st.integers(1, 5))
def test_batched_products_of_any_shape(seed, shape, columns):
    sketch = Sketch(seed)
    a, b = sketch.input(tuple(shape)), sketch.input((*shape[:-2], shape[-1], columns))
    first = sketch.requant(sketch.add(ops.BatchedMatMul, a, b, multiplier=1 + seed % 7), relu=False, offset=seed % 3)
    out = sketch.requant(sketch.add(ops.Mul, first, first, multiplier=3), relu=False)
    accepted(sketch.finish(out), sketch.cells, seed)


def saturating(seed=17, width=5):
    """A dense layer whose quotient reaches far beyond its table's domain on either side."""
    sketch = Sketch(seed)
    z = sketch.matmul(sketch.input((3, 6)), 5)
    half = 1 << (width - 1)
    sketch.tables.append(examples.Table("narrow", -half, tuple(max(i, -3) + 2 for i in range(-half, half))))
    out = sketch.add(ops.Requant, z, table=0, shift=9, limbs=(4, 5), saturate=True)
    final = sketch.requant(sketch.matmul(out, 3), relu=False)
    return sketch.finish(final, out), sketch.cells


@pytest.mark.parametrize("width", [2, 3, 5])
def test_quotients_beyond_the_table_saturate(width):
    circuit, weights = saturating(width=width)
    accepted(circuit, weights)
    trace = run(circuit, weights, examples.random_input(circuit))
    u = trace.columns[1, "u"]
    assert u.min() == -(1 << (width - 1)) and u.max() == (1 << (width - 1)) - 1


def _exp_table(sketch, width, scale=6.0):
    values = [round(1000 * np.exp(-i / scale)) for i in range(1 << width)]
    sketch.tables.append(examples.Table(f"exp{width}", 0, (*values[:-1], 0)))
    return len(sketch.tables) - 1


def softmax(shape, width, *, seed=20, hashed=False):
    """max, exp by table, row sum, reciprocal, product: everything that a softmax is made of."""
    sketch, none = Sketch(seed), ops.NONE
    x = sketch.input(shape, -20, 20, hashed=hashed)
    table = _exp_table(sketch, width)
    saturate = (1 << width) - 1 < 40
    maxima = sketch.add(ops.RowMax, x, table=table, saturate=saturate, outs=("out", "exp"))
    total = sketch.add(ops.RowSum, maxima + 1, none, multiplier=1, axes=1)
    reciprocal = sketch.add(ops.Recip, total)
    if len(shape) == 1:
        return sketch.finish(maxima, maxima + 1, reciprocal), sketch.cells
    axes = tuple(range(len(shape) - 1))
    indices = (*(tuple(range(size)) for size in shape[:-1]), (0,) * shape[-1])
    spread = ops.Piece(reciprocal, (*axes, none), indices, (none,) * len(axes))
    wide = sketch.add(ops.View, (spread,), 0, shape=shape)
    out = sketch.requant(sketch.add(ops.Mul, maxima + 1, wide, multiplier=1), relu=False)
    return sketch.finish(out), sketch.cells


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 4), (4, 1), (1, 8)])
def test_softmax_of_any_shape_and_table(shape, width):
    accepted(*softmax(shape, width, hashed=len(shape) == 3))


def test_maxima_along_rows_without_exponentials():
    for saturate, width in ((False, 9), (True, 3)):
        sketch = Sketch(21)
        hidden = sketch.requant(sketch.matmul(sketch.input((3, 4)), 5), relu=False, offset=2)
        sketch.tables.append(examples.Table("none", 0, (0,) * (1 << width)))
        maxima = sketch.add(ops.RowMax, hidden, exp=ops.NONE, table=len(sketch.tables) - 1, saturate=saturate)
        out = sketch.requant(sketch.add(ops.RowSum, maxima, ops.NONE, multiplier=1, axes=1), relu=False)
        accepted(sketch.finish(out), sketch.cells)


@slow
@given(st.integers(0, 2**32), st.lists(st.integers(1, 6), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_the_lowest_maximal_index(seed, shape, ties, hashed):
    sketch = Sketch(seed)
    x = sketch.input(tuple(shape), -1 if ties else -100, 1 if ties else 100)
    index = sketch.add(ops.ArgMax, x)
    accepted(sketch.finish(index, hashed=(index,) if hashed else ()), sketch.cells, seed)


def test_an_arg_max_of_hidden_logits_that_feeds_another_layer():
    sketch = Sketch(22)
    logits = sketch.requant(sketch.matmul(sketch.input((3, 6)), 7), relu=False, offset=4)
    index = sketch.add(ops.ArgMax, logits)
    out = sketch.requant(sketch.matmul(index, 2), relu=False)
    accepted(sketch.finish(out), sketch.cells)


@slow
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from([(0, 3), (0, 2**14), (2**13, 2**15)]),
)
def test_reciprocals_and_roots_over_their_whole_domain(seed, shape, reach):
    sketch = Sketch(seed)
    x = sketch.input(tuple(shape), *reach)
    q = sketch.add(ops.LinearCombination, (x,), ((2**30 - 2) // reach[1] if seed % 2 else 1,), 1)
    reciprocal = sketch.add(ops.Recip, q)
    square = sketch.add(ops.Mul, q, q, multiplier=1)
    root = sketch.add(ops.Isqrt, sketch.add(ops.LinearCombination, (square, x), (1, seed % 3 or 1), 0))
    accepted(sketch.finish(reciprocal, root), sketch.cells, seed)


def test_operations_beyond_the_suite_are_refused_when_the_circuit_is_planned():
    sketch = Sketch(12)
    x = sketch.input((2, 3))
    held = sketch.requant(sketch.add(ops.Gather, x, indices=(0, 4, 2), constant=0, shape=(3,)))
    with pytest.raises(UnsupportedModel) as caught:
        sketch.finish(held)
    assert caught.value.code == "sumcheck-unsupported"
    wide = Sketch(13)
    wide.tables.append(examples.Table("wide", -2, (-70000, 0, 1, 70000)))
    held = wide.add(ops.Lookup, wide.input((1, 1, 2, 2), low=-2, high=1), table=0)
    with pytest.raises(UnsupportedModel):
        wide.finish(wide.pool(held))


def test_a_split_whose_padded_table_could_wrap_around_the_field_is_refused():
    sketch = Sketch(27)
    x = sketch.input((2, 2), low=0, high=2**15)
    wide = sketch.add(ops.LinearCombination, (x,), (2**30,), 0)
    z = sketch.add(ops.LinearCombination, (wide,), (2**16,), 0)
    half = 2**15
    sketch.tables.append(examples.Table("half", -half, tuple(range(-half, half))))
    out = sketch.add(ops.Requant, z, table=0, shift=32, limbs=(16, 16), saturate=True)
    with pytest.raises(UnsupportedModel):
        sketch.finish(out)


@pytest.mark.parametrize("committed", [False, True])
def test_a_reshape_that_cuts_a_vector_which_is_no_product_takes_a_sumcheck(committed):
    """A slice of a tensor whose axis a reshape has merged."""
    sketch = Sketch(25)
    held = sketch.requant(sketch.matmul(sketch.input((1, 4)), 16))
    image = sketch.add(ops.Relabel, held, shape=(1, 1, 4, 4))
    folded = sketch.add(ops.Relabel, image, shape=(1, 1, 16, 1))
    narrow = sketch.add(
        ops.View, (ops.Piece(folded, (0, 1, 2, 3), ((0,), (0,), (0, 1, 2), (0,)), (ops.NONE,) * 4),), 0, shape=(1, 1, 3, 1)
    )
    circuit = sketch.finish(sketch.requant(narrow), committed=committed)
    assert ("relabel.round", 2) in rehearse(circuit, plan(circuit))
    accepted(circuit, sketch.cells)


@pytest.mark.parametrize(
    "make", [examples.cnn, lambda: examples.cnn(committed=True), examples.products, lambda: softmax((3, 5), 4)]
)
def test_a_rehearsal_foretells_every_message_between_lookups_and_openings(make, suite):
    circuit, weights = make()
    trace, key = run(circuit, weights, examples.random_input(circuit)), prepare(circuit, weights)
    witness = Witness(circuit, key.layout, trace.tensors, trace.columns)
    _, channel = prove_heard(key, witness, opening_number=0)
    said = [one for one in channel.labels if one[0].partition(".")[0] not in ("lookups", "products", "openings")]
    assert tuple(said) == rehearse(circuit, key.layout)
    if suite.zero_knowledge:  # and not a pad is planned that is not used
        pads = channel.pads
        assert (pads.messages, pads.products) == (key.layout.pads.messages, key.layout.pads.products)


def test_a_draft_is_never_proven():
    circuit, weights = examples.mlp()
    with pytest.raises(UsageError) as caught:
        prepare(replace(circuit, commitments=()), weights)
    assert caught.value.code == "circuit-not-planned"


def test_weights_outside_their_declared_bounds_are_never_committed():
    circuit, weights = examples.mlp(committed=True)
    weights[0][0, 0] = 128
    with pytest.raises(EvidenceRejected) as caught:
        prepare(circuit, weights)
    assert caught.value.code == "weights-malformed"


def test_the_root_of_a_hashed_tensor_depends_on_its_cells_and_padded_size_alone(suite):
    """And, where the root hides them, on the secret that it was made from; without one, nothing is committed."""
    keys = [prepare(*examples.mlp(hashed_input=True, seed=seed)) for seed in (1, 2)]
    cells = np.arange(13)
    secret = TensorOpening(bytes(32), 0) if suite.zero_knowledge else None
    tensor = keys[0].circuit.inputs[0].tensor
    first, second = (tensor_root(key, key.circuit.inputs[0].tensor, cells, secret) for key in keys)
    assert first == second != tensor_root(keys[0], tensor, cells + 1, secret)
    if secret is not None:
        assert first == tensor_root(keys[0], tensor, cells, replace(secret, number=3))
        assert first != tensor_root(keys[0], tensor, cells, TensorOpening(bytes(31) + b"1", 0))
        with pytest.raises(ValueError, match="hides"):
            tensor_root(keys[0], tensor, cells)


def test_the_output_root_of_one_proof_is_the_input_root_of_the_next():
    """Chaining: the same cells, padded alike, have the same root on both sides."""
    first = Sketch(14)
    out = first.requant(first.matmul(first.input((1, 6)), 13), relu=False, offset=3)
    circuit = first.finish(out, hashed=(out,))
    trace = run(circuit, first.cells, examples.random_input(circuit))
    one = prove(prepare(circuit, first.cells), trace)
    second = Sketch(15)
    low, high = circuit.tensors[out].low, circuit.tensors[out].high
    x = second.input((1, 13), low, high, hashed=True)
    following = second.finish(second.requant(second.matmul(x, 2)))
    handed = {x: replace(one.secrets[out], number=1)} if one.secrets else {}  # with a root that hides comes its secret
    two = prove(prepare(following, second.cells), run(following, second.cells, [trace.true(out)]), secrets=handed)
    assert one.statement.tensors[1].root == two.statement.tensors[0].root
    assert [two.statement.tensors[0].number] == [secret.number for secret in handed.values()] or not handed
    accepted(circuit, first.cells)
    accepted(following, second.cells)
