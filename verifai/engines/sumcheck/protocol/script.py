"""The script: the protocol's steps as prover, verifier and rehearsal all run them."""

from __future__ import annotations

from typing import assert_never

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.protocol import layout as layouts
from verifai.engines.sumcheck.protocol.axes import point_axes
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.lookups import LeafSum
from verifai.engines.sumcheck.protocol.operations import check_operation, lookup_rows, reduce_claim, tensor_rows
from verifai.engines.sumcheck.protocol.party import OpeningClaim, Party, truncated
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor, Statement, absorb_statement
from verifai.engines.sumcheck.protocol.suite import SUITES
from verifai.engines.sumcheck.protocol.transcript import Coins, Transcript


def start_transcript(
    digest: str, circuit: Circuit, weights: str, statement: Statement, coins: Coins | None = None
) -> Transcript:
    """Step 5's first half: everything that is fixed before the witness."""
    transcript = Transcript(coins)
    transcript.absorb("suite", SUITES[circuit.suite].parameters)
    absorb_statement(transcript, circuit, statement, bytes.fromhex(digest), bytes.fromhex(weights))
    return transcript


def stated_tensors(circuit: Circuit, statement: Statement) -> tuple[dict[int, tuple[int, ...]], dict[int, HashedTensor]]:
    """Cells of the public tensors, and the hashed ones, by tensor."""
    shown: dict[int, tuple[int, ...]] = {}
    hashed: dict[int, HashedTensor] = {}
    for port, stated in zip(circuit.inputs + circuit.outputs, statement.tensors, strict=True):
        if isinstance(stated, PublicTensor):
            shown[port.tensor] = stated.cells
        elif isinstance(stated, HashedTensor):
            hashed[port.tensor] = stated
        elif not isinstance(stated, PrivateTensor):
            assert_never(stated)
    return shown, hashed


def check_lookups(party: Party, bus: Bus) -> None:
    """Steps 5 to 7. Both sides run it."""
    circuit = party.circuit
    alpha, beta = party.challenges("lookups.alpha", 1)[0], party.challenges("lookups.beta", 1)[0]
    leaves = party.fractions(bus, alpha, beta)
    leaf_sum = LeafSum(bus, leaves, alpha, beta)
    for number, blocks in enumerate(bus.by_operation):
        if blocks:
            rows = lookup_rows(party, number, [leaf_sum.functional(block) for block in blocks])
            for block, row in zip(blocks, rows, strict=True):
                leaf_sum.lookup(block, row)
    for tensor in layouts.ranged_tensors(circuit):
        blocks = bus.by_tensor[tensor]
        axes = leaf_sum.functional(blocks[0])
        rows, stored = tensor_rows(party, tensor, axes, len(blocks))
        for block, row in zip(blocks, rows, strict=True):
            leaf_sum.lookup(block, row)
        party.openings.append(OpeningClaim(("tensor", tensor, 0), truncated(axes, circuit.tensors[tensor].shape), stored))
    for index, table in enumerate(bus.tables):
        point = leaf_sum.local_point(table.log_size)
        count = party.committed(("count", index, 0), point_axes(point, (table.log_size,)), "lookups.count")
        leaf_sum.table(index, table, party.table_row(table, point), count)
    leaf_sum.finish()


def check_operations(party: Party) -> None:
    """Step 8: the last operation first, so that all claims on a virtual tensor are known before they are carried on."""
    for number in range(len(party.circuit.ops) - 1, -1, -1):
        op = party.circuit.ops[number]
        check_operation(party, number)
        if not ops.holds_results(op):
            for claim in party.pending[op.out]:
                reduce_claim(party, number, claim.axes, claim.value)
        party.advance()
