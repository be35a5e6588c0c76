"""The verifier's :class:`..protocol.party.Party`: it takes messages from the proof, and computes public values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Functional
from verifai.engines.sumcheck.protocol.buses import Bus, TableBlock
from verifai.engines.sumcheck.protocol.channel import Channel
from verifai.engines.sumcheck.protocol.claim import Claim, public
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.layout import Key
from verifai.engines.sumcheck.protocol.lookups import Leaves, check_layers, table_row
from verifai.engines.sumcheck.protocol.party import DeferredClaim, OpeningClaim, PendingClaim, truncated
from verifai.engines.sumcheck.protocol.sumcheck import eq_rounds, product_rounds, weighted_rounds


class VerifierParty:
    """Answers from the proof, the statement and, where they are public, the weights."""

    def __init__(
        self,
        circuit: Circuit,
        channel: Channel,
        shown: Mapping[int, Sequence[int]],
        hashed: Sequence[int],
        weights: Sequence[Sequence[int]] | None,
    ) -> None:
        self.circuit = circuit
        self.channel = channel
        self.openings: list[OpeningClaim] = []
        self.pending: dict[int, list[PendingClaim]] = {
            out: [] for op in circuit.ops if not ops.holds_results(op) for out in ops.results(op)
        }
        self.claimed: set[int] = set()
        self._deferred: dict[int, list[DeferredClaim]] = {}
        self._shown, self._hashed, self._weights = shown, frozenset(hashed), weights

    def challenges(self, label: str, count: int) -> list[Ext]:
        """A random point, each coordinate its own challenge."""
        return [self.channel.challenge(label) for _ in range(count)]

    def fractions(self, bus: Bus, alpha: Ext, beta: Ext) -> Leaves:
        """Layer by layer."""
        return check_layers(self.channel, bus.log_leaves, bus.log_sums)

    def table_row(self, block: TableBlock, point: tuple[Ext, ...]) -> tuple[Claim, ...]:
        """From the circuit's own values."""
        return table_row(self.circuit, block, point)

    def advance(self) -> None:
        """Nothing to show."""

    def read(self, tensor: int, axes: Functional, label: str) -> Claim:
        """Compute a public tensor's value. Take any other from the proof, and note the claim: the opening checks it, or, for a
        virtual tensor, the operation that makes it."""
        described = self.circuit.tensors[tensor]
        self.claimed.add(tensor)
        if tensor in self._shown:
            value = ax.evaluate(axes, described.shape, self._shown[tensor])
            padding = field.scale(ax.padding_total(axes, described.shape), described.fill) if described.fill else field.ZERO
            return public(field.add(value, padding))
        (claim,) = self.channel.receive(label, 1)
        if tensor in self.pending:
            self.pending[tensor].append(PendingClaim(axes, claim))
        elif tensor in self._hashed:  # stored with padding 0
            stored = claim
            if described.fill:
                stored = claim.plus(field.scale(ax.padding_total(axes, described.shape), -described.fill))
            self.openings.append(OpeningClaim(("tensor", tensor, 0), axes, stored))
        else:
            self.openings.append(OpeningClaim(("tensor", tensor, 0), axes, claim))
        return claim

    def column(self, operation: int, number: int, axes: Functional, label: str) -> Claim:
        """Take the value from the proof, and note the claim for the opening."""
        return self.committed(("column", operation, number), axes, label)

    def committed(self, key: Key, axes: Functional, label: str) -> Claim:
        """Take a committed column's value from the proof, and note the claim for the opening."""
        (claim,) = self.channel.receive(label, 1)
        self.openings.append(OpeningClaim(key, axes, claim))
        return claim

    def message(self, operation: int, which: int, axes: Functional, label: str) -> Claim:
        """Take the value from the proof. The column is not committed: the script adds the check that determines it."""
        return self.channel.receive(label, 1)[0]

    def pin_padding(self, key: Key, axes: Functional, shape: Sequence[int], claim: Claim) -> None:
        """Note a second claim on the same value. Not for stated tensors: a public one has no padding, a hashed one's is checked
        with its range."""
        if key[0] != "tensor" or (key[1] not in self._shown and key[1] not in self._hashed):
            self.openings.append(OpeningClaim(key, truncated(axes, shape), claim))

    def shown(self, tensor: int) -> Sequence[int]:
        """From the statement; whoever asks makes every cell of it count."""
        self.claimed.add(tensor)
        return self._shown[tensor]

    def weight(self, weight: int, axes: Functional, label: str) -> Claim:
        """Compute public weights' value. Take that of committed ones from the proof, and note the claim for the opening."""
        if self._weights is None:
            return self.committed(("weight", weight, 0), axes, label)
        return public(ax.evaluate(axes, self.circuit.weights[weight].shape, self._weights[weight]))

    def intermediate(self, product: Claim, label: str) -> Claim:
        """Take the value from the proof, and check it against the product."""
        (claim,) = self.channel.receive(label, 1)
        (claim - product).assert_zero(label)
        return claim

    def inner_product(self, operation: int, axes: Functional, claim: Claim, rounds: int, label: str) -> tuple[Claim, list[Ext]]:
        """Degree-2 sumcheck."""
        return product_rounds(self.channel, label, claim, rounds)

    def zero_check(self, operation: int, anchor: Sequence[Ext], degree: int, label: str) -> tuple[Claim, list[Ext]]:
        """Sumcheck of a sum that must be 0."""
        return eq_rounds(self.channel, label, public(field.ZERO), anchor, degree)

    def weighted_product(
        self, operation: int, which: int, weights: Functional, axes: Functional, claim: Claim, rounds: int, label: str
    ) -> tuple[Claim, list[Ext]]:
        """Degree-3 sumcheck."""
        return weighted_rounds(self.channel, label, claim, rounds)

    def gated_product(self, operation: int, axes: Functional, claim: Claim, rounds: int, label: str) -> tuple[Claim, list[Ext]]:
        """Degree-3 sumcheck."""
        return weighted_rounds(self.channel, label, claim, rounds)

    def defer(self, operation: int, which: int, axes: Functional, claim: Claim) -> None:
        """Note a claim on the operation's product."""
        self._deferred.setdefault(operation, []).append(DeferredClaim(which, axes, claim))

    def deferred(self, operation: int) -> list[DeferredClaim]:
        """The claims noted for the operation."""
        return self._deferred.get(operation, [])
