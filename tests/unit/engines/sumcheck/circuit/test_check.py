"""A circuit that breaks a rule is refused, with its place; the no-wrap rule at its exact boundary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.support.cpu_time import takes_at_most
from tests.support.sumcheck_circuits import clamp_table, single, start, tiny_mlp, with_op, with_output
from tests.support.sumcheck_examples import Sketch, language_model
from tests.support.sumcheck_hostile import Draft
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import recip, same_cells
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Tensor, Visibility, Weight
from verifai.errors import EvidenceRejected


def refused(circuit: Circuit) -> EvidenceRejected:
    with pytest.raises(EvidenceRejected) as problem:
        check(circuit)
    assert problem.value.code == "circuit-invalid" and problem.value.where
    return problem.value


def test_the_tiny_circuit_is_valid() -> None:
    check(tiny_mlp()[0])


def changed(index: int, **fields: object) -> Callable[[Circuit], Circuit]:
    def change(circuit: Circuit) -> Circuit:
        tensors = list(circuit.tensors)
        tensors[index] = replace(tensors[index], **fields)  # type: ignore[arg-type]
        return replace(circuit, tensors=tuple(tensors))

    return change


def op_changed(index: int, **fields: object) -> Callable[[Circuit], Circuit]:
    def change(circuit: Circuit) -> Circuit:
        every = list(circuit.ops)
        every[index] = replace(every[index], **fields)  # type: ignore[arg-type, type-var]
        return replace(circuit, ops=tuple(every))

    return change


BROKEN: dict[str, Callable[[Circuit], Circuit]] = {
    "lower bound one too high": changed(1, low=-7 * 255 - 9),
    "upper bound one too high": changed(1, high=7 * 255 + 11),
    "upper bound one too low": changed(1, high=7 * 255 + 9),
    "fill of a virtual tensor": changed(1, fill=1),
    "fill of a held tensor": changed(2, fill=1),
    "fill of an input": changed(0, fill=1),
    "input range": changed(0, high=1 << 16),
    "input high below low": changed(0, low=256),
    "output bound": changed(2, high=254),
    "output shape": changed(2, shape=(2, 1)),
    "empty axis": changed(0, shape=(1, 0)),
    "too many axes": changed(0, shape=(1,) * 7),
    "too many cells": changed(0, shape=(1 << 20, 1 << 20)),
    "scale not in lowest terms": changed(0, scale=(2, 4)),
    "scale of zero": changed(0, scale=(0, 1)),
    "zero point": changed(0, zero_point=1 << 40),
    "name twice": changed(0, name="t2"),
    "limbs short of the shift": op_changed(1, limbs=(2,)),
    "limbs beyond the shift": op_changed(1, limbs=(4,)),
    "limb of no bits": op_changed(1, limbs=(0, 3)),
    "saturation that bounds exclude": op_changed(1, saturate=True),
    "table missing": op_changed(1, table=1),
    "weight missing": op_changed(0, weight=2),
    "bias missing": op_changed(0, bias=2),
    "weight as its own bias": op_changed(0, bias=0),
    "bias dropped": op_changed(0, bias=ops.NONE),
    "operand missing": op_changed(0, x=9),
    "operand from the future": op_changed(0, x=2),
    "result twice": op_changed(1, out=1),
    "result missing": op_changed(1, out=9),
    "no axis contracted": op_changed(0, contract=0),
    "too many axes contracted": op_changed(0, contract=3),
    "no input": lambda c: replace(c, inputs=()),
    "no output": lambda c: replace(c, outputs=()),
    "no operation": lambda c: replace(c, ops=()),
    "input twice": lambda c: replace(c, inputs=c.inputs * 2),
    "input that an operation defines": lambda c: replace(c, inputs=(*c.inputs, Port(1, Visibility.PUBLIC))),
    "output twice": lambda c: replace(c, outputs=c.outputs * 2),
    "virtual output": lambda c: with_output(c, 1),
    "input as output": lambda c: with_output(c, 0),
    "tensor that nothing defines": lambda c: replace(c, tensors=(*c.tensors, Tensor("stray", (1,), 0, 0))),
    "tensor that nothing reads": lambda c: with_op(c, ops.Lookup(2, 3, 0)),
    "table that nothing uses": lambda c: replace(c, tables=(*c.tables, clamp_table(4, 0, 1, "other"))),
    "equal tables": lambda c: replace(c, tables=(*c.tables, replace(c.tables[0], name="other"))),
    "weight that nothing uses": lambda c: replace(c, weights=(*c.weights, Weight("other", (1,), 1, 1))),
    "table of three": lambda c: replace(c, tables=(Table("t", -2, (0, 1, 2)),)),
    "table of one": lambda c: replace(c, tables=(Table("t", 0, (0,)),)),
    "table that starts elsewhere": lambda c: replace(c, tables=(replace(c.tables[0], low=-511),)),
    "table value beyond 32 bits": lambda c: replace(c, tables=(Table("t", -2, (0, 0, 0, 1 << 31)),)),
    "weight bound above its norm": lambda c: replace(c, weights=(replace(c.weights[0], bound=8), c.weights[1])),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_refused(name: str) -> None:
    refused(BROKEN[name](tiny_mlp()[0]))


def matmul_with_norm(norm: int, bias: int) -> Circuit:
    circuit = start([((1, 1), 0, 3)], [np.array([[1]]), np.array([1])], [clamp_table(2, 0, 1)])
    circuit = replace(circuit, weights=(Weight("w0", (1, 1), norm, norm), Weight("w1", (1,), bias, bias)))
    return with_op(circuit, ops.MatMul(0, 0, 1, 1, 1))


def test_no_wrap_holds_at_its_exact_boundary_for_linear_operations() -> None:
    # 3·norm + bias < 2^62, strictly.
    norm = (1 << 62) // 3
    fits = matmul_with_norm(norm, (1 << 62) - 1 - 3 * norm)
    assert fits.tensors[1].high == (1 << 62) - 1
    with pytest.raises(EvidenceRejected, match="no-wrap"):
        matmul_with_norm(norm, (1 << 62) - 3 * norm)


@pytest.mark.parametrize("make", ["mul", "batched", "sum", "rows", "window"])
def test_no_wrap_holds_at_its_exact_boundary_for_the_others(make: str) -> None:
    def build(high: int) -> None:
        shape = (1, 1, 1, 2)
        if make == "mul":
            single(lambda out: ops.Mul(0, 1, out, 1), [(shape, 0, high), (shape, 0, 1 << 31)])
        elif make == "batched":
            single(lambda out: ops.BatchedMatMul(0, 1, out, 1), [((1, 2), 0, high), ((2, 1), 0, 1 << 30)])
        elif make == "sum":
            single(lambda out: ops.LinearCombination((0,), (1 << 30,), 1 << 30, out), [(shape, 0, 2 * high - 1)])
        elif make == "rows":
            single(lambda out: ops.RowSum(0, 1, out, 1, 1), [(shape, 0, high), (shape, 0, 1 << 30)])
        else:
            single(lambda out: ops.WindowSum(0, out, 1 << 30, (1, 2), (1, 1), (0, 0, 0, 0)), [(shape, 0, high)])

    build((1 << 31) - 1)
    with pytest.raises(EvidenceRejected, match="no-wrap"):
        build(1 << 31)


def test_shift_and_table_together_stay_within_62_bits() -> None:
    def build(shift: int) -> Circuit:
        limbs = (16, 16, 16, shift - 48)
        return single(lambda out: ops.Requant(0, out, 0, shift, limbs, False), [((1,), -1, 1)], tables=[clamp_table(4, -8, 7)])

    build(58)
    with pytest.raises(EvidenceRejected, match="62"):
        build(59)


def test_a_split_with_too_many_upper_values_is_refused() -> None:
    def build(high: int) -> None:
        single(lambda out: ops.Requant(0, out, 0, 0, (), True), [((1,), 0, high)], tables=[clamp_table(4, -8, 7)])

    build((1 << 19) - 1)
    with pytest.raises(EvidenceRejected, match="upper half"):
        build(1 << 19)


def test_a_value_that_can_leave_a_lookup_is_refused() -> None:
    single(lambda out: ops.Lookup(0, out, 0), [((1,), -8, 7)], tables=[clamp_table(4, -8, 7)])
    for low, high in ((-9, 0), (0, 8)):
        with pytest.raises(EvidenceRejected, match="outside the table"):
            single(lambda out: ops.Lookup(0, out, 0), [((1,), low, high)], tables=[clamp_table(4, -8, 7)])


@pytest.mark.parametrize(("low", "high"), [(0, 5), (1, 1 << 30)])
def test_a_reciprocal_outside_its_domain_is_refused(low: int, high: int) -> None:
    single(lambda out: ops.Recip(0, out), [((1,), 1, (1 << 30) - 1)])
    with pytest.raises(EvidenceRejected, match="2\\^30"):
        single(lambda out: ops.Recip(0, out), [((1,), low, high)])


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (0, 1 << 60)])
def test_a_root_outside_its_domain_is_refused(low: int, high: int) -> None:
    single(lambda out: ops.Isqrt(0, out), [((1,), 0, (1 << 60) - 1)])
    with pytest.raises(EvidenceRejected, match="2\\^60"):
        single(lambda out: ops.Isqrt(0, out), [((1,), low, high)])


def window_max(kernel: tuple[int, int], pads: tuple[int, int, int, int], dilation: int = 1) -> Circuit:
    return single(lambda out: ops.WindowMax(0, out, kernel, (1, 1), (dilation, dilation), pads), [((1, 1, 3, 3), -5, 5)])


def test_a_maximum_over_five_taps_is_refused() -> None:
    window_max((2, 2), (1, 1, 1, 1))
    assert window_max((2, 2), (2, 0, 0, 0)).tensors[-1].low == -5
    with pytest.raises(EvidenceRejected, match="four taps"):
        window_max((1, 5), (0, 4, 0, 4))


def test_groups_that_are_no_powers_of_two_are_refused() -> None:
    def build(channels: int, groups: int, outputs: int) -> None:
        weight = np.ones((outputs, channels // groups, 1, 1), np.int64)
        single(
            lambda out: ops.Conv(0, 0, ops.NONE, out, (1, 1), (1, 1), (0, 0, 0, 0), groups),
            [((1, channels, 2, 2), 0, 1)],
            [weight],
        )

    build(6, 3, 3)
    build(3, 1, 5)
    for arguments in ((6, 2, 2), (4, 2, 6), (4, 3, 3)):
        with pytest.raises(EvidenceRejected, match="channels"):
            build(*arguments)


def test_a_squared_tensor_is_not_negative_but_a_product_may_be() -> None:
    inputs = [((2,), -3, 2), ((2,), -3, 2)]
    assert single(lambda out: ops.Mul(0, 0, out, 1), inputs[:1]).tensors[-1].low == 0
    assert single(lambda out: ops.Mul(0, 1, out, 1), inputs).tensors[-1].low == -6
    assert single(lambda out: ops.RowSum(0, 0, out, 1, 1), inputs[:1]).tensors[-1].low == 0


def test_the_sum_of_exponentials_is_at_least_that_of_the_maximum() -> None:
    circuit = single(
        lambda out: ops.RowMax(0, out, out + 1, 0, True), [((2, 5), 0, 9)], tables=[Table("e", 0, (100, 50, 20, 0))]
    )
    summed = with_op(circuit, ops.RowSum(2, ops.NONE, 3, 1, 1)).tensors[-1]
    assert (summed.low, summed.high) == (100, 500)


def test_views_with_overlaps_gaps_in_rank_or_stray_constants_are_refused() -> None:
    none = ops.NONE
    whole = ops.Piece(0, (0,), ((0, 1),), (none,))

    def build(*pieces: ops.Piece, constant: int = 0) -> Circuit:
        return single(lambda out: ops.View(pieces, constant, out), [((2,), 3, 5)], shape=(2,))

    assert build(whole).tensors[-1].low == 3
    left = ops.Piece(0, (0,), ((0, none),), (none,))
    assert (build(left).tensors[-1].low, build(left, constant=9).tensors[-1].high) == (0, 9)
    bad = {
        "overlap": (whole, left),
        "nothing": (),
        "covers nothing": (ops.Piece(0, (0,), ((none, none),), (none,)),),
        "index out of range": (ops.Piece(0, (0,), ((0, 2),), (none,)),),
        "too few indices": (ops.Piece(0, (0,), ((0,),), (none,)),),
        "driven and fixed": (ops.Piece(0, (0,), ((0, 1),), (0,)),),
        "neither": (ops.Piece(0, (none,), ((0, 0),), (none,)),),
        "fixed out of range": (ops.Piece(0, (none,), ((0, 0),), (2,)),),
        "axis out of range": (ops.Piece(0, (1,), ((0, 1),), (none,)),),
    }
    for pieces in bad.values():
        with pytest.raises(EvidenceRejected):
            build(*pieces)
    with pytest.raises(EvidenceRejected, match="constant"):
        build(whole, constant=1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((3, 4), (12,), True),
        ((4, 3), (12,), False),
        ((1, 3, 8, 8), (3, 64), True),
        ((1, 12, 32), (1, 384), True),
        ((2, 1, 5), (2, 5), True),
        ((1, 1), (1,), True),
        ((3, 2), (2, 3), False),
        ((5, 4, 2), (5, 8), True),
    ],
)
def test_relabelling_needs_the_same_padded_cells(one: tuple[int, ...], other: tuple[int, ...], same: bool) -> None:
    def cells(shape: tuple[int, ...]) -> list[int]:
        padded = tuple(1 << (size - 1).bit_length() for size in shape)
        mask = np.zeros(padded, bool)
        mask[tuple(slice(0, size) for size in shape)] = True
        return np.flatnonzero(mask.reshape(-1)).tolist()

    assert same_cells(one, other) is same is (cells(one) == cells(other))


def test_relabelling_is_decided_as_by_listing_all_cells() -> None:
    rng = np.random.default_rng(3)
    agreed = 0
    for _ in range(3000):
        one = tuple(int(v) for v in rng.integers(1, 6, rng.integers(1, 4)))
        other = tuple(int(v) for v in rng.integers(1, 17, rng.integers(1, 4)))
        masks = []
        for shape in (one, other):
            mask = np.zeros(tuple(1 << (size - 1).bit_length() for size in shape), bool)
            mask[tuple(slice(0, size) for size in shape)] = True
            masks.append(np.flatnonzero(mask.reshape(-1)).tolist())
        assert same_cells(one, other) is (masks[0] == masks[1]), (one, other)
        agreed += masks[0] == masks[1]
    assert agreed > 30


# --- operations of language models ---


@pytest.mark.parametrize(
    ("shift", "limbs", "digits", "message"),
    [
        (5, (5,), (16, 16, 8), None),
        (5, (4,), (16,), "do not add up"),
        (0, (), (16,), "width of the limbs"),
        (17, (17,), (16,), "width of the limbs"),
        (5, (5, 0), (16,), "width of the limbs"),
        (5, (5,), (), "width of the digits"),
        (5, (5,), (17,), "width of the digits"),
        (5, (5,), (16, 16, 9), "more than 40 bits"),
        (32, (16, 16), (16, 15), "more than 62"),
    ],
)
def test_widths_of_a_rescale(shift: int, limbs: tuple[int, ...], digits: tuple[int, ...], message: str | None) -> None:
    def build() -> Circuit:
        return single(lambda out: ops.Rescale(0, out, shift, limbs, digits), [((2,), -(1 << 30), 1 << 40)])

    if message is None:
        assert (build().tensors[-1].low, build().tensors[-1].high) == (-(1 << 25), 1 << 35)
        return
    with pytest.raises(EvidenceRejected, match=message):
        build()


def test_a_rescale_reaches_no_farther_than_its_digits() -> None:
    inputs = [((2,), -(1 << 20), 1 << 8)]
    circuit = single(lambda out: ops.Rescale(0, out, 4, (4,), (8, 4)), inputs)
    assert (circuit.tensors[-1].low, circuit.tensors[-1].high, circuit.tensors[-1].fill) == (-(1 << 11), 16, 0)
    with pytest.raises(EvidenceRejected, match="in reach"):
        single(lambda out: ops.Rescale(0, out, 4, (4,), (8,)), [((2,), 1 << 20, 1 << 21)])


def scaled_by(divisor: ops.Op, *more: ops.Op, x: int = 0, last: int = 0) -> int:
    """The bound of a RowScale of tensor ``x`` by the reciprocal of what the operations on x (3, 5) in [−1000, 1000] end in."""
    circuit = start([((3, 5), -1000, 1000), ((3, 5), -1000, 1000)])
    for op in (divisor, *more):
        circuit = with_op(circuit, op)
    made = len(circuit.tensors)
    circuit = with_op(circuit, ops.Isqrt(made - 1, made))
    circuit = with_op(circuit, ops.Recip(made, made + 1))
    return with_op(circuit, ops.RowScale(x, made + 1, made + 2, 1)).tensors[-1].high


def test_a_row_divided_by_its_own_norm_is_bounded_as_a_quotient() -> None:
    squares = ops.RowSum(0, 0, 2, 3, 1)
    assert scaled_by(squares, ops.LinearCombination((2,), (2,), 7, 3)) == 1 << 46  # √(3·2) is 2 and more


@pytest.mark.parametrize(
    ("squares", "sum_", "x"),
    [
        (ops.RowSum(1, 1, 2, 3, 1), ops.LinearCombination((2,), (2,), 7, 3), 0),  # of another tensor
        (ops.RowSum(0, 0, 2, 3, 1), ops.LinearCombination((2,), (2,), 7, 3), 1),
    ],
)
def test_a_row_divided_by_another_norm_is_not(squares: ops.Op, sum_: ops.Op, x: int) -> None:
    assert scaled_by(squares, sum_, x=x) > 1 << 48


def mean(*, summed: int = 3, mixed: int = 3, products: bool = False, multiple: int = 2) -> int:
    """The bound of −3·Σ e·b by the reciprocal of multiple·Σ e; e (2, 3, 4) exponentials of up to 500, b in [−7, 6]."""
    exp = Table("e", 0, (*range(500, 380, -1), *(0,) * 8))
    circuit = start([((2, 3, 4), -50, 50), ((2, 4, 2), -7, 6)], tables=[exp])
    circuit = with_op(circuit, ops.RowMax(0, 2, 3, 0, False))
    circuit = with_op(circuit, ops.RowMax(0, 4, 5, 0, False))
    circuit = with_op(circuit, ops.RowSum(summed, summed if products else ops.NONE, 6, multiple, 1))
    one = ops.LinearCombination((6,), (1,), 1, 7)
    circuit = with_op(circuit, one) if products else circuit
    divisor = len(circuit.tensors) - 1
    circuit = with_op(circuit, ops.Recip(divisor, divisor + 1))
    circuit = with_op(circuit, ops.BatchedMatMul(mixed, 1, divisor + 2, -3))
    return with_op(circuit, ops.RowScale(divisor + 2, divisor + 1, divisor + 3, 1)).tensors[-1].low


def test_a_mean_by_weights_is_bounded_by_what_is_averaged() -> None:
    plain = (1 << 46) // 1000 * 3 * 6 * 500 * 4
    assert mean() == -min((1 << 46) * 3 * 7 // 2, plain) > -plain
    for other in (mean(mixed=5), mean(summed=5), mean(products=True)):  # another row's weights, or no sum of them
        assert other < mean()


@pytest.mark.parametrize("multiple", [1, 2, 3, 7, 1000, 12345])
def test_no_mean_by_weights_lies_beyond_its_bound(multiple: int) -> None:
    """The bound is divided by the multiple of the divisor, which need not divide it."""
    bound = -mean(multiple=multiple)
    reached = 0
    for total in range(500, 2001):  # of the four exponentials, of which one is 500
        dividend = 3 * 7 * total  # every averaged cell is the largest
        reached = max(reached, dividend * recip(multiple * total))
    assert reached <= bound
    assert reached > bound - bound // 1000  # and it is no looser than it has to be


def test_a_weight_that_nothing_uses_is_refused_but_one_that_two_use_is_not() -> None:
    weight = np.arange(12).reshape(4, 3)
    circuit = start([((2,), 0, 3)], [weight], [clamp_table(9, -255, 255)])
    circuit = with_op(circuit, ops.WeightRows(0, 0, 1))
    circuit = with_op(circuit, ops.MatMul(1, 0, ops.NONE, 2, 1))
    circuit = with_op(circuit, ops.Requant(2, 3, 0, 1, (1,), circuit.tensors[2].high > 510))
    check(with_output(circuit, 3))
    spare = replace(circuit, weights=(*circuit.weights, replace(circuit.weights[0], name="spare")))
    with pytest.raises(EvidenceRejected, match="used by no operation"):
        check(with_output(spare, 3))


@pytest.mark.parametrize(("low", "high"), [(-1, 3), (0, 4)])
def test_an_index_that_is_no_row_is_refused(low: int, high: int) -> None:
    weight = np.arange(12).reshape(4, 3)
    single(lambda out: ops.WeightRows(0, 0, out), [((2,), 0, 3)], [weight])
    with pytest.raises(EvidenceRejected, match="not a row"):
        single(lambda out: ops.WeightRows(0, 0, out), [((2,), low, high)], [weight])


def test_what_defines_a_tensor_once_more_is_refused_before_its_fields_are_used() -> None:
    """Bounds of quotients and of sums of exponentials look up what made a tensor: what comes later was not checked yet."""
    circuit, _ = language_model()
    mixed = next(op for op in circuit.ops if isinstance(op, ops.BatchedMatMul))
    maximum = next(op for op in circuit.ops if isinstance(op, ops.RowMax))
    summed = next(op for op in circuit.ops if isinstance(op, ops.RowSum) and op.x == maximum.exp)
    far = 10**6
    refused(replace(circuit, ops=(*circuit.ops, ops.BatchedMatMul(mixed.a, far, mixed.out, 1))))
    refused(replace(circuit, ops=(*circuit.ops, replace(maximum, out=summed.out, table=far))))
    sketch = Sketch()
    x = sketch.input((3, 4), 1, 9)
    sketch.add(ops.RowSum, x, ops.NONE, multiplier=1, axes=1)
    sums = replace(sketch._circuit(), inputs=tuple(sketch.inputs), outputs=(Port(1, Visibility.PUBLIC),))
    refused(replace(sums, ops=(*sums.ops, ops.RowMax(0, 1, 0, far, False))))


def test_many_tables_whose_values_have_one_hash_cost_no_more_than_others() -> None:
    """hash(-1) is hash(-2): tuples of them collide, and each table would be compared with all others to its end."""
    count, size, bits = 1 << 11, 1 << 10, 11
    draft = Draft()
    x = draft.hidden((2,))
    for number in range(count):
        last = tuple(-1 - (number >> bit & 1) for bit in range(bits))
        draft.tables.append(Table(f"table{number}", -size >> 1, (-1,) * (size - bits) + last))
        x = draft.add(ops.Lookup, x, table=number)
    circuit = draft.close(x)
    assert len({hash(table.values) for table in circuit.tables}) == 1
    assert takes_at_most(2.0, lambda: check(circuit))
    tables = (*circuit.tables[:-1], replace(circuit.tables[5], name="double"))
    assert "two tables are equal" in refused(replace(circuit, tables=tables)).message
