"""The prover's :class:`..protocol.party.Party`: it computes values, sends them, and runs sumchecks on arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, WeightVisibility
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Functional
from verifai.engines.sumcheck.protocol.buses import RANGE, Bus, TableBlock, taps
from verifai.engines.sumcheck.protocol.claim import Claim, public
from verifai.engines.sumcheck.protocol.field import Ext, P
from verifai.engines.sumcheck.protocol.layout import Key, public_tensors
from verifai.engines.sumcheck.protocol.lookups import Leaves
from verifai.engines.sumcheck.protocol.party import DeferredClaim, OpeningClaim, PendingClaim, truncated
from verifai.engines.sumcheck.protocol.sumcheck import eq_rounds, product_rounds, weighted_rounds
from verifai.engines.sumcheck.prover import functionals
from verifai.engines.sumcheck.prover.arrays import element, embed, eq_vector, scalars, to_field
from verifai.engines.sumcheck.prover.channel import ProverChannel, Rounds
from verifai.engines.sumcheck.prover.kernels import (
    U64,
    factors_round,
    halve_sum,
    outer,
    weighted_round,
)
from verifai.engines.sumcheck.prover.lookups import Block, build_leaves, prove_layers
from verifai.engines.sumcheck.prover.parallel import fold, product_round
from verifai.engines.sumcheck.prover.product_arrays import gated_product_arrays, inner_product_arrays, weighted_product_arrays
from verifai.engines.sumcheck.prover.witness import Witness


class ProverParty:
    """Answers from the witness. ``openings`` and ``pending`` fill up exactly as on the verifier's side."""

    def __init__(
        self,
        channel: ProverChannel,
        witness: Witness,
        weights: Sequence[U64],
        make_blocks: Callable[[dict[int, U64]], Sequence[Block]],
        progress: Progress = SILENT,
        columns: Mapping[Key, U64] | None = None,
    ) -> None:
        """``columns``: of the witness over F_p, where they are known already."""
        self.circuit: Circuit = witness.circuit
        self.channel = channel
        self.openings: list[OpeningClaim] = []
        self.pending: dict[int, list[PendingClaim]] = {
            out: [] for op in self.circuit.ops if not ops.holds_results(op) for out in ops.results(op)
        }
        self._deferred: dict[int, list[DeferredClaim]] = {}
        self._witness, self._weights = witness, weights
        self._weights_public = self.circuit.weight_visibility is WeightVisibility.PUBLIC
        self._shown = frozenset(public_tensors(self.circuit))
        self._counts = {index: to_field(values) for index, values in witness.multiplicities().items()}
        self._make_blocks, self._progress = make_blocks, progress
        self._columns = columns or {}

    def challenges(self, label: str, count: int) -> list[Ext]:
        """A random point."""
        return [self.channel.challenge(label) for _ in range(count)]

    def fractions(self, bus: Bus, alpha: Ext, beta: Ext) -> Leaves:
        """Leaves and layers."""
        return prove_layers(self.channel, build_leaves(bus, self._make_blocks(self._counts), alpha, beta), bus.log_sums)

    def table_row(self, block: TableBlock, point: tuple[Ext, ...]) -> tuple[Claim, ...]:
        """Zeros: no message depends on the tables' values at the leaves. Only the verifier computes them."""
        return (public(field.ZERO),) * (1 if block.kind == RANGE else 2)

    def advance(self) -> None:
        """Show progress."""
        self._progress.advance()

    def read(self, tensor: int, axes: Functional, label: str) -> Claim:
        """Compute; send unless the tensor is public."""
        value = functionals.evaluate(axes, self._witness.cells(tensor, masked=False))
        if tensor in self._shown:
            return public(value)
        (claim,) = self.channel.send(label, [value])
        if tensor in self.pending:
            self.pending[tensor].append(PendingClaim(axes, claim))
            return claim
        described = self.circuit.tensors[tensor]
        stored = claim
        if tensor in self._witness.hashed and described.fill:
            stored = claim.plus(field.scale(ax.padding_total(axes, described.shape), -described.fill))
        self.openings.append(OpeningClaim(("tensor", tensor, 0), axes, stored))
        return claim

    def column(self, operation: int, number: int, axes: Functional, label: str) -> Claim:
        """Compute and send."""
        return self.committed(("column", operation, number), axes, label)

    def _cells(self, key: Key) -> U64:
        if key in self._columns:
            return self._columns[key]
        kind, index, number = key
        if kind == "count":
            return self._counts[index]
        if kind in ("weight", "epoch"):  # two roots of the same weights
            return self._weights[index].reshape(-1)
        return to_field(self._witness.extra[index, number])

    def committed(self, key: Key, axes: Functional, label: str) -> Claim:
        """Compute a committed column's value and send it."""
        (claim,) = self.channel.send(label, [functionals.evaluate(axes, self._cells(key))])
        self.openings.append(OpeningClaim(key, axes, claim))
        return claim

    def message(self, operation: int, which: int, axes: Functional, label: str) -> Claim:
        """Compute and send."""
        return self.channel.send(label, [functionals.evaluate(axes, self._witness.message(operation))])[0]

    def pin_padding(self, key: Key, axes: Functional, shape: Sequence[int], claim: Claim) -> None:
        """Note a second claim on the same value."""
        if key[0] != "tensor" or (key[1] not in self._shown and key[1] not in self._witness.hashed):
            self.openings.append(OpeningClaim(key, truncated(axes, shape), claim))

    def shown(self, tensor: int) -> Sequence[int]:
        """As the statement will show them."""
        padded = self.circuit.tensors[tensor].padded
        cells: list[int] = self._witness.tensors[tensor].reshape(padded)[self._witness.box(tensor)].reshape(-1).tolist()
        return cells

    def weight(self, weight: int, axes: Functional, label: str) -> Claim:
        """Compute; send unless weights are public."""
        if self._weights_public:
            return public(functionals.evaluate(axes, self._weights[weight].reshape(-1)))
        return self.committed(("weight", weight, 0), axes, label)

    def intermediate(self, product: Claim, label: str) -> Claim:
        """Send the product's value, and assert that the message equals the product."""
        (claim,) = self.channel.send(label, [self.channel.truth(product)])
        (claim - product).assert_zero(label)
        return claim

    def inner_product(self, operation: int, axes: Functional, claim: Claim, rounds: int, label: str) -> tuple[Claim, list[Ext]]:
        """Degree-2 sumcheck of two arrays of 2^rounds."""
        op = self.circuit.ops[operation]
        arrays = [*inner_product_arrays(self._witness, self._weights, op, axes)]

        def compute() -> list[Ext]:
            a0, a1, c0, c1 = product_round(*arrays)
            return [element(a0, a1), element(c0, c1)]

        return product_rounds(self._rounds(arrays, compute), label, claim, rounds)

    def _rounds(self, arrays: list[U64], compute: Callable[[], list[Ext]]) -> Rounds:
        """Rounds whose challenges fold all ``arrays``."""

        def bind(r: Ext) -> None:
            arrays[:] = [fold(one, *scalars(r)) for one in arrays]

        return Rounds(self.channel, compute, bind)

    def zero_check(self, operation: int, anchor: Sequence[Ext], degree: int, label: str) -> tuple[Claim, list[Ext]]:
        """Σ eq(anchor, ·)·Π (y − tap_j): coefficients by interpolation at 0 … degree."""
        op = self.circuit.ops[operation]
        assert isinstance(op, ops.WindowMax)  # the script asks for no other zero-check
        largest = self._witness.tensors[op.out]
        base = [to_field(largest - self._witness.tap(op, u, v)) for u, v in taps(op)]
        factors = [embed(one) for one in base]
        eq = [eq_vector(anchor)]

        def compute() -> list[Ext]:
            eq[0] = halve_sum(eq[0])
            stacked = np.stack(factors)
            coefficients = interpolate([element(*factors_round(eq[0], stacked, x)) for x in range(degree + 1)])
            return [coefficients[0], *coefficients[2:]]

        return eq_rounds(self._rounds(factors, compute), label, public(field.ZERO), anchor, degree)

    def weighted_product(
        self, operation: int, which: int, weights: Functional, axes: Functional, claim: Claim, rounds: int, label: str
    ) -> tuple[Claim, list[Ext]]:
        """Degree-3 sumcheck of weights and two arrays of 2^rounds."""
        arrays = [outer(*functionals.split(weights)), *weighted_product_arrays(self._witness, operation, which, axes)]
        return weighted_rounds(self._weighted_rounds(arrays), label, claim, rounds)

    def gated_product(self, operation: int, axes: Functional, claim: Claim, rounds: int, label: str) -> tuple[Claim, list[Ext]]:
        """Degree-3 sumcheck of three arrays of 2^rounds."""
        op = self.circuit.ops[operation]
        assert isinstance(op, ops.GatedMatMul)  # the script asks for no other such product
        arrays = [*gated_product_arrays(self._witness, self._weights, op, axes)]
        return weighted_rounds(self._weighted_rounds(arrays), label, claim, rounds)

    def _weighted_rounds(self, arrays: list[U64]) -> Rounds:
        """Rounds of Σ w·a·b for ``arrays`` = [w, a, b]."""

        def compute() -> list[Ext]:
            a0, a1, c0, c1, d0, d1 = weighted_round(*arrays)
            return [element(a0, a1), element(c0, c1), element(d0, d1)]

        return self._rounds(arrays, compute)

    def defer(self, operation: int, which: int, axes: Functional, claim: Claim) -> None:
        """Note a claim on the operation's product."""
        self._deferred.setdefault(operation, []).append(DeferredClaim(which, axes, claim))

    def deferred(self, operation: int) -> list[DeferredClaim]:
        """The claims noted for the operation."""
        return self._deferred.get(operation, [])


def interpolate(samples: Sequence[Ext]) -> list[Ext]:
    """Coefficients of the polynomial with these values at 0, 1, …"""
    count = len(samples)
    result = [field.ZERO] * count
    for i, sample in enumerate(samples):
        basis, denominator = [1], 1
        for j in range(count):
            if j != i:
                basis = [(a - j * b) % P for a, b in zip([0, *basis], [*basis, 0], strict=True)]
                denominator = denominator * (i - j) % P
        inverse = pow(denominator, -1, P)
        for k, coefficient in enumerate(basis):
            result[k] = field.add(result[k], field.scale(sample, coefficient * inverse % P))
    return result
