"""Canonical bytes: one byte string per circuit, one circuit per byte string; everything else is refused."""

from __future__ import annotations

import random
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tests.support.sumcheck_circuits import clamp_table, start, tiny_mlp, with_op, with_output
from verifai.engines.sumcheck.circuit import codec, ops
from verifai.engines.sumcheck.circuit.codec import MAGIC, MAX_TABLE_VALUES, MAX_TABLES, circuit_digest, decode, encode
from verifai.engines.sumcheck.circuit.program import Circuit, CommitmentShape, SoundnessStep, Table, Weight
from verifai.engines.sumcheck.circuit.weights import decode_weights, encode_weights, weights_digest
from verifai.engines.sumcheck.interpreter.weights import decode_arrays, encode_arrays
from verifai.errors import EvidenceRejected, UnsupportedModel


def every_operation() -> Circuit:
    """Not a valid program: one of each operation, each field set, so that the codec meets all of them."""
    circuit, _ = tiny_mlp()
    none = ops.NONE
    piece = ops.Piece(0, (1, none), ((0, none, 2), (0,)), (0, none))
    return replace(
        circuit,
        ops=(
            *circuit.ops,
            ops.Conv(0, 1, none, 2, (1, 2), (3, 4), (0, 1, 2, 3), 2),
            ops.BatchedMatMul(0, 1, 2, -5),
            ops.Mul(0, 0, 1, 2**30),
            ops.LinearCombination((0, 1), (-1, 2), -7, 2),
            ops.WindowSum(0, 1, 3, (2, 2), (1, 1), (0, 0, 1, 1)),
            ops.RowSum(0, none, 1, 9, 2),
            ops.Lookup(0, 1, 0),
            ops.WindowMax(0, 1, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0)),
            ops.RowMax(0, 1, none, 0, True),
            ops.Recip(0, 1),
            ops.Isqrt(0, 1),
            ops.ArgMax(0, 1),
            ops.Relabel(0, 1),
            ops.View((piece, piece), -3, 1),
            ops.Gather(0, 1, (0, none, 2), 5),
            ops.Rescale(0, 1, 9, (4, 5), (16, 14)),
            ops.GatedMatMul(0, 1, 0, none, 2, 1),
            ops.RowScale(0, 1, 2, -3),
            ops.WeightRows(0, 1, 2),
            ops.TopIndex(0, 1, (16, 16)),
        ),
        tables=(*circuit.tables, Table("wide", 0, (0, 40000, -70000, 1))),
        commitments=(CommitmentShape("x", 5, 32, 32, 256, 100, 2),),
        soundness=(SoundnessStep("queries", 100_500),),
    )


def test_every_operation_survives_the_round_trip() -> None:
    circuit = every_operation()
    used = {type(op) for op in circuit.ops}
    assert used == set(ops.Op.__args__)  # type: ignore[attr-defined]
    assert decode(encode(circuit)) == circuit


def test_the_digest_is_over_the_magic_and_the_bytes() -> None:
    data = encode(tiny_mlp()[0])
    import hashlib

    assert circuit_digest(data) == hashlib.sha256(b"verifai/circuit/1" + data).hexdigest()


def test_truncation_at_every_byte_is_refused() -> None:
    data = encode(every_operation())
    for length in range(len(data)):
        with pytest.raises(EvidenceRejected) as refused:
            decode(data[:length])
        assert refused.value.code == "circuit-malformed"


def test_compile_refuses_a_circuit_that_no_reader_takes() -> None:
    """Found with 266 tables: it compiled, and every proof of it then ended in a stale build."""
    from verifai.engines.sumcheck.compiling import require_readable

    circuit, _ = tiny_mlp()
    require_readable(circuit)
    tables = tuple(clamp_table(4, 0, 5, f"t{number}") for number in range(MAX_TABLES + 1))
    require_readable(replace(circuit, tables=tables[:-1]))
    with pytest.raises(UnsupportedModel, match="4097 items") as caught:
        require_readable(replace(circuit, tables=tables))
    assert caught.value.code == "sumcheck-too-large"


def test_the_values_of_all_tables_are_counted_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_TABLE_VALUES == 1 << 24
    monkeypatch.setattr(codec, "MAX_TABLE_VALUES", 1 << 17)
    circuit, _ = tiny_mlp()
    values = tuple([-100] * (1 << 16))
    many = (Table("a", 0, values), Table("b", -(1 << 15), values))
    assert decode(encode(replace(circuit, tables=many))).tables == many
    with pytest.raises(EvidenceRejected, match="values together"):
        decode(encode(replace(circuit, tables=(*many, Table("one", 0, (0, 0))))))
    long = encode(replace(circuit, tables=(*many, *(Table(f"t{number}", 0, values) for number in range(20)))))
    tracemalloc.start()
    try:
        with pytest.raises(EvidenceRejected, match="values together"):
            decode(long)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * (1 << 17) + len(long)


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(EvidenceRejected):
        decode(encode(tiny_mlp()[0]) + b"\0")


def test_a_changed_byte_is_refused_or_is_another_circuit() -> None:
    circuit = every_operation()
    data, rng, refused = encode(circuit), random.Random(7), 0
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << rng.randrange(8)
        try:
            other = decode(bytes(changed))
        except EvidenceRejected as problem:
            assert problem.code == "circuit-malformed"
            refused += 1
        else:
            assert other != circuit and encode(other) == bytes(changed)
    assert 0 < refused < len(data)


@pytest.mark.parametrize("at", [len(MAGIC), len(MAGIC) + 4 + 10 + 1])
def test_a_huge_count_is_refused_before_anything_is_allocated(at: int) -> None:
    data = bytearray(encode(tiny_mlp()[0]))
    data[at : at + 4] = struct.pack("<I", 0xFFFF_FFFF)
    tracemalloc.start()
    try:
        with pytest.raises(EvidenceRejected):
            decode(bytes(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_table_wider_than_it_needs_to_be_is_refused() -> None:
    circuit, _ = tiny_mlp()
    narrow = replace(circuit, tables=(Table("t", -1, (0, 1)),))
    data = encode(narrow)
    body = b"\x02\0\0\0" + b"\x01" + b"\0\x01"
    assert body in data
    with pytest.raises(EvidenceRejected) as refused:
        decode(data.replace(body, b"\x02\0\0\0" + b"\x02" + b"\0\0\x01\0"))
    assert "canonical" in refused.value.message


def test_a_weight_blob_keeps_lengths_bounds_and_norms() -> None:
    circuit, weights = tiny_mlp()
    blob = encode_weights(circuit, [w.reshape(-1).tolist() for w in weights])
    assert encode_arrays(circuit, weights) == blob
    assert [list(cells) for cells in decode_weights(circuit, blob)] == [w.reshape(-1).tolist() for w in weights]
    assert all((a == b).all() for a, b in zip(decode_arrays(circuit, blob), weights, strict=True))
    for bad in (blob[:-1], blob + b"\0", b"X" + blob[1:]):
        for decoder in (decode_weights, decode_arrays):
            with pytest.raises(EvidenceRejected) as refused:
                decoder(circuit, bad)
            assert refused.value.code == "weights-malformed"
    assert weights_digest(blob) != weights_digest(blob[:-1] + b"\x01")


@pytest.mark.parametrize(("cells", "what"), [([[3, -2, 1], [1, 1, 6]], "bound"), ([[3, -2, 3], [1, 1, 5]], "norm")])
def test_a_weight_beyond_its_declared_bound_is_refused(cells: list[list[int]], what: str) -> None:
    circuit, weights = tiny_mlp()
    tampered = (np.array(cells), weights[1])
    for attempt in (
        lambda: encode_weights(circuit, [w.reshape(-1).tolist() for w in tampered]),
        lambda: encode_arrays(circuit, tampered),
    ):
        with pytest.raises(EvidenceRejected, match=what):
            attempt()
    loose = replace(circuit, weights=(Weight("w0", (2, 3), 100, 100), circuit.weights[1]))
    blob = encode_arrays(loose, tampered)
    for decoder in (decode_weights, decode_arrays):
        with pytest.raises(EvidenceRejected, match=what):
            decoder(circuit, blob)


@pytest.mark.parametrize("bits", [7, 15, 31, 61])
def test_weights_of_every_width_survive(bits: int) -> None:
    top = (1 << bits) - 1
    weights = (np.array([[top, -top], [0, 1]]),)
    circuit = start([((1, 2), 0, 0)], weights, [clamp_table(4, 0, 3)])
    assert all((a == b).all() for a, b in zip(decode_arrays(circuit, encode_arrays(circuit, weights)), weights, strict=True))


def test_padded_shapes_and_visibility_are_part_of_the_digest() -> None:
    circuit, _ = tiny_mlp()
    hidden = replace(circuit, inputs=(replace(circuit.inputs[0], visibility=1),))  # type: ignore[arg-type]
    assert circuit_digest(encode(circuit)) != circuit_digest(encode(hidden))
    longer = with_output(with_op(circuit, ops.Relabel(2, 3), (2,)), 2)
    assert circuit_digest(encode(circuit)) != circuit_digest(encode(longer))
