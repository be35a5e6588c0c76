"""Hidden weights that are too many for parts: how they are lowered, which sums look them up, and what that takes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.batch_circuits import small_circuit, write_rows
from tests.unit.engines.sumcheck.test_registrable import hidden
from verifai.cli.app import run
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.sumcheck import compiling
from verifai.engines.sumcheck.circuit.codec import decode
from verifai.engines.sumcheck.circuit.program import Circuit, Weight
from verifai.engines.sumcheck.compiling import require_registrable, require_registration_memory
from verifai.engines.sumcheck.planning import plan_relation as planner
from verifai.engines.sumcheck.planning.memory import LEAF_BYTES, RANGED_LEAF_BYTES, registration_memory_bytes
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.planning.plan_relation import parts_fit, plan_relation
from verifai.engines.sumcheck.protocol import weight_ranges
from verifai.engines.sumcheck.protocol.axes import eq_table
from verifai.engines.sumcheck.protocol.buses import SIGNED, Bus, TableBlock
from verifai.engines.sumcheck.protocol.field import ZERO, add, embed, product
from verifai.engines.sumcheck.protocol.lookups import table_row
from verifai.engines.sumcheck.protocol.relations import Kind, bounds_alone
from verifai.engines.sumcheck.protocol.soundness import FIELD_SIZE, millibits
from verifai.engines.sumcheck.protocol.storage import Storage
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.protocol.weight_ranges import weight_sums
from verifai.errors import ResourceExhausted

SMOL = [("embedding", (49152, 576), 13)] + [
    (f"{layer} {name}", shape, bits)
    for layer in range(30)
    for name, shape, bits in (
        ("q", (576, 576), 15),
        ("k", (192, 576), 15),
        ("v", (192, 576), 15),
        ("o", (576, 576), 15),
        ("gate", (1536, 576), 14),
        ("up", (1536, 576), 15),
        ("down", (576, 1536), 15),
    )
]
"""Of SmolLM2-135M: 188 million stored cells."""


def by_bounds(rows: int, columns: int) -> Circuit:
    """The circuit of that test, its norms declared as they follow from bounds."""
    made = hidden(rows, columns)
    one = made.weights[0]
    weights = (Weight(one.name, one.shape, one.bound, one.bound * columns),)
    return planned(replace(made, weights=weights, commitments=(), soundness=()), ZERO_KNOWLEDGE, 1)


def blocks_of(bus: Bus) -> list[tuple[int, int]]:
    found = [(table.offset, 1 << table.log_size) for table in bus.tables]
    for (lookup,) in bus.by_tensor.values():
        storage = lookup.group.storage
        found += [
            (address, 1 << piece.log + storage.log_rest)
            for piece, address in zip(storage.pieces, lookup.group.addresses, strict=True)
        ]
    return sorted(found)


def test_every_weight_is_whole_in_one_sum_and_every_sum_is_strong() -> None:
    weights = [Weight(name, shape, (1 << bits) - 1, 1 << 40) for name, shape, bits in SMOL]
    sums = weight_sums(weights, range(len(weights)))
    assert [owner for bus in sums for owner in bus.by_tensor] == list(range(len(weights)))
    assert [bus.log_leaves for bus in sums] == [26, 26, 26] and sum(bus.leaves for bus in sums) > 188_000_000
    for bus in sums:
        blocks = blocks_of(bus)
        assert blocks[0][0] == 0 and all(a + size == b for (a, size), (b, _) in pairwise(blocks))
        assert all(address % size == 0 for address, size in blocks) and sum(size for _, size in blocks) == bus.leaves <= 1 << 26
        assert millibits(3 * bus.leaves, FIELD_SIZE) >= 100_000
    alone = weight_sums([Weight("w", (1 << 13, 9000), 127, 1 << 40)], [0])
    assert len(alone) == 1 and alone[0].leaves > 1 << 26


def test_sums_are_cut_where_the_next_weight_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the rule as it is written down, and with work that grows as the weights do: whoever prices a circuit does it."""
    looked = 0
    honest = weight_ranges.stored

    def counted(shape: tuple[int, ...]) -> Storage:
        nonlocal looked
        looked += 1
        return honest(shape)

    random = np.random.default_rng(5)
    weights = [
        Weight(f"w{i}", (int(rows), int(columns)), (1 << int(bits)) - 1, 1 << 40)
        for i, (rows, columns, bits) in enumerate(zip(*random.integers(1, [[40], [40], [9]], (3, 600)), strict=True))
    ]
    monkeypatch.setattr(weight_ranges, "MOST_LOG_LEAVES", 11)
    monkeypatch.setattr(weight_ranges, "stored", counted)
    sums = weight_sums(weights, range(len(weights)))
    assert looked <= 3 * len(weights)
    assert [owner for bus in sums for owner in bus.by_tensor] == list(range(len(weights))) and len(sums) > 100

    def leaves(owners: list[int]) -> int:
        widths = {weights[owner].bound.bit_length() for owner in owners}
        return sum(honest(weights[owner].shape).cells for owner in owners) + sum(2 << bits for bits in widths)

    for bus, following in pairwise(sums):
        mine = list(bus.by_tensor)
        assert bus.leaves == leaves(mine) and (bus.leaves <= 1 << 11 or len(mine) == 1)
        assert leaves([*mine, next(iter(following.by_tensor))]) > 1 << 11


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_the_table_holds_exactly_the_range_and_zero_twice(bits: int) -> None:
    rows = [0, *(i - (1 << bits) for i in range(1, 2 << bits))]
    assert sorted(set(rows)) == list(range(1 - (1 << bits), 1 << bits)) and len(rows) == 2 << bits
    point = [(3 + i, 5 * i + 1) for i in range(bits + 1)]
    wanted = ZERO
    for row, weight in zip(rows, eq_table(point), strict=True):
        wanted = add(wanted, product(embed(row), weight))
    circuit = hidden(8, 8)
    (found,) = table_row(circuit, TableBlock(SIGNED, bits, bits + 1, 0), point)
    assert found.value == wanted


def test_weights_that_are_too_many_for_parts_are_registered_by_bounds() -> None:
    assert parts_fit(hidden(5120, 8192)) and not parts_fit(hidden(8192, 8192))
    circuit = by_bounds(8192, 8192)
    assert bounds_alone(circuit)
    require_registrable(circuit)
    found = plan_relation(Kind.REGISTRATION, circuit)
    assert [one.log_leaves for one in found.sums] == [27] and {key[0] for key in found.layout.witness.columns} == {
        "count",
        "pad",
    }
    assert not bounds_alone(hidden(8192, 8192))


def test_what_a_registration_takes_is_estimated_before_a_root_is_made() -> None:
    by_parts, circuit = registration_memory_bytes(hidden(4096, 8192)), by_bounds(4096, 8192)
    needed = registration_memory_bytes(circuit)
    assert RANGED_LEAF_BYTES << 25 < needed < by_parts and by_parts > LEAF_BYTES << 26
    require_registration_memory(circuit, needed)
    require_registration_memory(circuit, None)
    with pytest.raises(ResourceExhausted) as caught:
        require_registration_memory(circuit, needed - 1)
    assert caught.value.code == "estimate-over-budget" and "[budget]" in str(caught.value.hint)


def test_a_small_model_lowered_for_it_is_registered_and_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_parts = small_circuit(tmp_path, "parts", Visibility.PUBLIC, WeightVisibility.PRIVATE)
    registered: list[Circuit] = []
    honest = compiling.register_root
    monkeypatch.setattr(
        compiling,
        "register_root",
        lambda folder, key, progress: (registered.append(key.circuit), honest(folder, key, progress)),
    )
    monkeypatch.setattr(planner, "parts_fit", lambda circuit: False)
    small_circuit(tmp_path, "bounds", Visibility.PUBLIC, WeightVisibility.PRIVATE)
    (circuit,) = registered
    assert bounds_alone(circuit) and all(plan_relation(Kind.REGISTRATION, circuit).parts[i].ranged for i in range(1))
    for one in circuit.weights:
        assert one.row_l1 == one.bound * (one.size // one.shape[0]) and one.bound < 1 << 15
    before = decode(next(by_parts.folder.rglob("circuit.bin")).read_bytes())
    assert not bounds_alone(before)
    assert np.all([w.row_l1 & (w.row_l1 + 1) == 0 for w in before.weights])
    rows = write_rows(tmp_path / "rows.npz", 1)
    folder, evidence = str(tmp_path / "bounds"), tmp_path / "evidence"
    assert run(["prove", folder, str(rows), "-o", str(evidence)]) == 0
    bundle = evidence / "000000"
    assert next(bundle.rglob("registration.bin")).stat().st_size > 1000
    assert run(["verify", str(bundle), "--lock", folder]) == 0
