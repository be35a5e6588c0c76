"""Play the script without a prover: which messages will be sent, and whether every claim can be carried to its operands.

The planner rehearses each circuit, so that one that cannot be proven is refused when it is compiled, not when it is proven.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck import circuit_ops as ops
from verifai.engines.sumcheck.circuit import Circuit, WeightVisibility
from verifai.engines.sumcheck.verifier import field
from verifai.engines.sumcheck.verifier.axes import Functional
from verifai.engines.sumcheck.verifier.claim import Claim
from verifai.engines.sumcheck.verifier.field import Ext
from verifai.engines.sumcheck.verifier.layout import MAX_CLAIMS, Key, Layout, public_tensors
from verifai.engines.sumcheck.verifier.operations import check_operation, lookup_rows, reduce_claim
from verifai.engines.sumcheck.verifier.party import DeferredClaim, PendingClaim
from verifai.engines.sumcheck.verifier.proof import MAX_MESSAGES
from verifai.errors import UnsupportedModel

_COORDINATE: Ext = (2, 1)
"""Any element outside F_p: what a rehearsal takes for every challenge."""


class _AnyClaim(Claim):
    """A claim of which nothing is known; every equation about it holds."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(field.ZERO)

    def __add__(self, other: Claim) -> Claim:
        return self

    def __sub__(self, other: Claim) -> Claim:
        return self

    def plus(self, public: Ext) -> Claim:
        return self

    def scale(self, public: Ext) -> Claim:
        return self

    def mul(self, other: Claim) -> Claim:
        return self

    def assert_zero(self, where: str) -> None:
        return

    def assert_nonzero(self, where: str) -> None:
        return


_ANY = _AnyClaim()


class RehearsalParty:
    """Notes what would be sent: (label, number of elements)."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.messages: list[tuple[str, int]] = []
        self.claims = 0
        self.pending: dict[int, list[PendingClaim]] = {
            out: [] for op in circuit.ops if not isinstance(op, ops.HELD_OUTPUT) for out in ops.results(op)
        }
        self._deferred: dict[int, list[DeferredClaim]] = {}
        self._shown = frozenset(public_tensors(circuit))
        self._committed = circuit.weight_visibility is WeightVisibility.COMMITTED

    def _send(self, label: str, count: int = 1) -> Claim:
        if len(self.messages) == MAX_MESSAGES:  # claims that split again and again would also keep the rehearsal busy for ever
            raise UnsupportedModel("sumcheck-too-large", f"a proof would need more than {MAX_MESSAGES} messages", where=label)
        self.messages.append((label, count))
        return _ANY

    def challenges(self, label: str, count: int) -> list[Ext]:
        """Fixed coordinates."""
        return [_COORDINATE] * count

    def read(self, tensor: int, axes: Functional, label: str) -> Claim:
        """A message unless the tensor is public."""
        if tensor in self._shown:
            return _ANY
        if tensor in self.pending:
            self.pending[tensor].append(PendingClaim(axes, _ANY))
        else:
            self.claims += 1
        return self._send(label)

    def column(self, operation: int, number: int, axes: Functional, label: str) -> Claim:
        """A message."""
        self.claims += 1
        return self._send(label)

    def message(self, operation: int, which: int, axes: Functional, label: str) -> Claim:
        """A message."""
        return self._send(label)

    def pin_padding(self, key: Key, axes: Functional, shape: Sequence[int], claim: Claim) -> None:
        """No message."""
        self.claims += 1

    def weight(self, weight: int, axes: Functional, label: str) -> Claim:
        """A message when weights are committed."""
        self.claims += self._committed
        return self._send(label) if self._committed else _ANY

    def intermediate(self, product: Claim, label: str) -> Claim:
        """A message."""
        return self._send(label)

    def _rounds(self, label: str, rounds: int, count: int) -> tuple[Claim, list[Ext]]:
        for _ in range(rounds):
            self._send(f"{label}.round", count)
        return _ANY, [_COORDINATE] * rounds

    def inner_product(self, operation: int, axes: Functional, claim: Claim, rounds: int, label: str) -> tuple[Claim, list[Ext]]:
        """Two elements a round."""
        return self._rounds(label, rounds, 2)

    def zero_check(self, operation: int, anchor: Sequence[Ext], degree: int, label: str) -> tuple[Claim, list[Ext]]:
        """``degree`` elements a round."""
        return self._rounds(label, len(anchor), degree)

    def weighted_product(
        self, operation: int, which: int, weights: Functional, axes: Functional, claim: Claim, rounds: int, label: str
    ) -> tuple[Claim, list[Ext]]:
        """Three elements a round."""
        return self._rounds(label, rounds, 3)

    def defer(self, operation: int, which: int, axes: Functional, claim: Claim) -> None:
        """Note a claim on the operation's product."""
        self._deferred.setdefault(operation, []).append(DeferredClaim(which, axes, claim))

    def deferred(self, operation: int) -> list[DeferredClaim]:
        """The claims noted for the operation."""
        return self._deferred.get(operation, [])


def rehearse(circuit: Circuit, layout: Layout) -> tuple[tuple[str, int], ...]:
    """The messages of all operations, lookups' values first, in the order of the proof.

    Raises:
        UnsupportedModel: code ``sumcheck-unsupported``, when a claim cannot be carried to an operand; ``sumcheck-too-large``,
            when claims multiply beyond what a proof may hold.
    """
    party = RehearsalParty(circuit)
    for number in range(len(circuit.ops)):
        lookup_rows(party, number, lambda log_size: (_COORDINATE,) * log_size)
    for number in range(len(circuit.ops) - 1, -1, -1):
        check_operation(party, number)
        op = circuit.ops[number]
        if not isinstance(op, ops.HELD_OUTPUT):
            for claim in party.pending[op.out]:
                reduce_claim(party, number, claim.axes, claim.value)
    claims = party.claims + 2 * len(layout.hashed) + len(layout.bus.tables)
    if claims > MAX_CLAIMS:
        raise UnsupportedModel(
            "sumcheck-too-large", f"{claims} claims would be opened, more than {MAX_CLAIMS}", where="openings"
        )
    return tuple(party.messages)
