"""Play the script without a prover: which messages will be sent, and whether every claim can be carried to its operands.

The planner rehearses each circuit, so that one that cannot be proven is refused when it is compiled, not when it is proven. In
the zero-knowledge suite, the rehearsal also counts the pads that a proof will use, which the layout has to hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count as counting

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Weight, WeightVisibility
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Functional
from verifai.engines.sumcheck.protocol.buses import Bus, TableBlock
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.hiding import PadPlan
from verifai.engines.sumcheck.protocol.layout import MAX_CLAIMS, Key, Layout, public_tensors
from verifai.engines.sumcheck.protocol.lookups import Leaves, check_layers
from verifai.engines.sumcheck.protocol.party import DeferredClaim, OpeningClaim, PendingClaim
from verifai.engines.sumcheck.protocol.proof import MAX_MESSAGES
from verifai.engines.sumcheck.protocol.relations import Kind, WeightParts, check_relation
from verifai.engines.sumcheck.protocol.script import check_lookups, check_operations
from verifai.errors import UnsupportedModel

_FIRST_COORDINATE = 2
"""A rehearsal uses (2, 1), (3, 1) … as challenges. They lie outside F_p, and no two are equal, as real challenges are not. With
equal ones, a product of a tensor with itself would be planned with one message less than a proof sends."""


class _AnyClaim(Claim):
    """A claim without a value: only whether it comes from a message (hidden) or is public is known. Every equation passes."""

    __slots__ = ("hidden", "party")

    party: RehearsalParty
    hidden: bool

    def __init__(self, party: RehearsalParty, hidden: bool) -> None:
        super().__init__(field.ZERO)
        object.__setattr__(self, "party", party)
        object.__setattr__(self, "hidden", hidden)

    def _joined(self, other: Claim) -> Claim:
        return other if isinstance(other, _AnyClaim) and other.hidden else self

    def __add__(self, other: Claim) -> Claim:
        return self._joined(other)

    def __radd__(self, other: Claim) -> Claim:
        return self

    def __sub__(self, other: Claim) -> Claim:
        return self._joined(other)

    def __rsub__(self, other: Claim) -> Claim:
        return self

    def plus(self, public: Ext) -> Claim:
        return self

    def scale(self, public: Ext) -> Claim:
        return self

    def mul(self, other: Claim) -> Claim:
        if self.hidden and isinstance(other, _AnyClaim) and other.hidden:
            self.party.multiply()
        return self._joined(other)

    def assert_zero(self, where: str) -> None:
        self.party.equations += self.hidden

    def assert_nonzero(self, where: str) -> None:
        self.party.invert(self, where)


class RehearsalParty:
    """Notes what would be sent: (label, number of elements); counts claims, equations and products of messages."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.messages: list[tuple[str, int]] = []
        self._coordinates = counting(_FIRST_COORDINATE)
        self.openings: list[OpeningClaim] = []
        self.claims = self.equations = self.products = self.encrypted = 0
        self.pending: dict[int, list[PendingClaim]] = {
            out: [] for op in circuit.ops if not ops.holds_results(op) for out in ops.results(op)
        }
        self._deferred: dict[int, list[DeferredClaim]] = {}
        self._shown = frozenset(public_tensors(circuit))
        self._committed = circuit.weight_visibility is WeightVisibility.COMMITTED
        self._message, self._known = _AnyClaim(self, True), _AnyClaim(self, False)

    def _send(self, label: str, count: int = 1) -> Claim:
        if len(self.messages) == MAX_MESSAGES:  # claims that split again and again would also keep the rehearsal busy for ever
            raise UnsupportedModel("sumcheck-too-large", f"a proof would need more than {MAX_MESSAGES} messages", where=label)
        self.messages.append((label, count))
        self.encrypted += count
        return self._message

    def multiply(self) -> None:
        """A product of two messages: in the zero-knowledge suite, both are sent again under a triple's pads."""
        if self.circuit.zero_knowledge:
            self.messages.append(("product", 2))
            self.products += 1
            self.equations += 2

    def invert(self, claim: Claim, where: str) -> None:
        """A message that must not be 0: in the zero-knowledge suite, its inverse is sent too."""
        if self.circuit.zero_knowledge:
            claim.mul(self._send(f"{where}.inverse")).assert_zero(where)

    def receive(self, label: str, count: int) -> list[Claim]:
        """A message of the lookups."""
        return [self._send(label, count)] * count

    def challenge(self, label: str) -> Ext:
        """A coordinate of its own."""
        return (next(self._coordinates), 1)

    def challenges(self, label: str, count: int) -> list[Ext]:
        """Coordinates of their own."""
        return [self.challenge(label) for _ in range(count)]

    def fractions(self, bus: Bus, alpha: Ext, beta: Ext) -> Leaves:
        """All layers."""
        return check_layers(self, bus.log_leaves, bus.log_sums)

    def table_row(self, block: TableBlock, point: tuple[Ext, ...]) -> tuple[Claim, ...]:
        """Public values."""
        return (self._known, self._known)

    def advance(self) -> None:
        """Nothing to show."""

    def read(self, tensor: int, axes: Functional, label: str) -> Claim:
        """A message unless the tensor is public."""
        if tensor in self._shown:
            return self._known
        if tensor in self.pending:
            self.pending[tensor].append(PendingClaim(axes, self._message))
        else:
            self.claims += 1
        return self._send(label)

    def column(self, operation: int, number: int, axes: Functional, label: str) -> Claim:
        """A message."""
        self.claims += 1
        return self._send(label)

    def committed(self, key: Key, axes: Functional, label: str) -> Claim:
        """A message."""
        self.claims += 1
        return self._send(label)

    def message(self, operation: int, which: int, axes: Functional, label: str) -> Claim:
        """A message."""
        return self._send(label)

    def pin_padding(self, key: Key, axes: Functional, shape: Sequence[int], claim: Claim) -> None:
        """No message."""
        self.claims += 1

    def shown(self, tensor: int) -> Sequence[int]:
        """Zeros: no message's place depends on them."""
        return (0,) * self.circuit.tensors[tensor].size

    def weight(self, weight: int, axes: Functional, label: str) -> Claim:
        """A message when weights are committed."""
        self.claims += self._committed
        return self._send(label) if self._committed else self._known

    def intermediate(self, product: Claim, label: str) -> Claim:
        """A message, held to the product."""
        self.equations += 1
        return self._send(label)

    def _rounds(self, label: str, rounds: int, count: int) -> tuple[Claim, list[Ext]]:
        for _ in range(rounds):
            self._send(f"{label}.round", count)
        return self._message, self.challenges(label, rounds)

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

    def gated_product(self, operation: int, axes: Functional, claim: Claim, rounds: int, label: str) -> tuple[Claim, list[Ext]]:
        """Three elements a round."""
        return self._rounds(label, rounds, 3)

    def defer(self, operation: int, which: int, axes: Functional, claim: Claim) -> None:
        """Note a claim on the operation's product."""
        self._deferred.setdefault(operation, []).append(DeferredClaim(which, axes, claim))

    def deferred(self, operation: int) -> list[DeferredClaim]:
        """The claims noted for the operation."""
        return self._deferred.get(operation, [])


def _play(circuit: Circuit, bus: Bus) -> RehearsalParty:
    party = RehearsalParty(circuit)
    check_lookups(party, bus)
    check_operations(party)
    claims = party.claims + len(party.openings) + (party.equations + 3 if circuit.zero_knowledge else 0)
    if claims > MAX_CLAIMS:
        raise UnsupportedModel(
            "sumcheck-too-large", f"{claims} claims would be opened, more than {MAX_CLAIMS}", where="openings"
        )
    return party


def foretell_relation(
    kind: Kind, circuit: Circuit, bus: Bus, weights: Sequence[Weight], parts: Sequence[WeightParts], sums: Sequence[Bus] = ()
) -> PadPlan:
    """The pads of a proof about committed weights. Raises as :func:`rehearse`."""
    party = RehearsalParty(circuit)
    check_relation(kind, party, weights, parts, bus, sums)
    return _pads(party)


def rehearse(circuit: Circuit, layout: Layout) -> tuple[tuple[str, int], ...]:
    """The messages of all operations, lookups' values first, in the order of the proof; without the lookups' own.

    Raises:
        UnsupportedModel: code ``sumcheck-unsupported``, when a claim cannot be carried to an operand; ``sumcheck-too-large``,
            when claims multiply beyond what a proof may hold.
    """
    party = _play(circuit, layout.bus)
    return tuple(message for message in party.messages if not message[0].startswith("lookups."))


def foretell(circuit: Circuit, bus: Bus) -> PadPlan:
    """The pads of a zero-knowledge proof: one per element that is encrypted, the products' check included. Raises as above."""
    return _pads(_play(circuit, bus))


def script_elements(circuit: Circuit, bus: Bus) -> int:
    """Elements of F in the messages of all lookups and operations, products' factors included. Raises as :func:`rehearse`."""
    return sum(count for _, count in _play(circuit, bus).messages)


def _pads(party: RehearsalParty) -> PadPlan:
    products = PadPlan(0, party.products + 1)
    return PadPlan(party.encrypted + 2 * products.log_products, products.products)
