"""How many claims reach each tensor, and how long the vectors are that carry them: the script on numbers, not on values.

Part of :mod:`.price`. Standard library only. :mod:`.claim_counter` adds up what is asked for. Every operation has its rules
in :mod:`.claim_rows`, :mod:`.claim_checks` and :mod:`.claim_reductions`. They follow the tables of
:mod:`..protocol.operations`; a test holds the counts to the rehearsal.
"""

from __future__ import annotations

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.planning.claim_checks import count_check, count_product
from verifai.engines.sumcheck.planning.claim_counter import TABLE_BYTES, TABLE_NS, ClaimCounter
from verifai.engines.sumcheck.planning.claim_reductions import count_claims
from verifai.engines.sumcheck.planning.claim_rows import count_rows
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.protocol.buses import RANGE, SIGNED, Bus
from verifai.engines.sumcheck.protocol.layout import ranged_tensors
from verifai.engines.sumcheck.protocol.storage import NO_AXIS


def count_lookups(c: ClaimCounter) -> None:
    """Steps 5 to 7."""
    circuit = c.circuit
    bus = buses.build(circuit)
    c.send((1 << bus.log_sums) + sum(2 * layer + 4 for layer in range(bus.log_sums, bus.log_leaves)))
    for number, blocks in enumerate(bus.by_operation):
        groups = [block.group for block in blocks]
        places = [group.storage if group.storage.axis == NO_AXIS else group for group in groups]
        count_rows(c, number, places)
    for tensor in ranged_tensors(circuit):
        described = circuit.tensors[tensor]
        c.read(tensor, 0, 1)
        c.pin(described.shape, described.bits, 1)
    _tables(c, bus)


def count_ranges(c: ClaimCounter, bus: Bus) -> None:
    """A sum of fractions for weights' own cells."""
    c.send(1 + sum(2 * layer + 4 for layer in range(bus.log_leaves)))
    for owner in bus.by_tensor:
        weight = c.circuit.weights[owner]
        c.weight(owner, 0, 1)
        c.pin(weight.shape, weight.bits, 1)
    _tables(c, bus)


def _tables(c: ClaimCounter, bus: Bus) -> None:
    for table in bus.tables:
        c.send(1)
        c.open((table.log_size,), 0, 1)
        c.look(2 << (table.log_size + 1) // 2, 1)
        if table.kind not in (RANGE, SIGNED):
            c.nanoseconds += TABLE_NS << table.log_size
            c.most = max(c.most, TABLE_BYTES << table.log_size)


def count_operations(c: ClaimCounter) -> None:
    """Step 8."""
    for number in range(len(c.circuit.ops) - 1, -1, -1):
        op = c.circuit.ops[number]
        count_check(c, number)
        for which in c.deferred.get(number, ()):
            count_product(c, number, which)
        if not ops.holds_results(op):
            for mask, times in c.pending[op.out].items():
                count_claims(c, number, mask, times)
