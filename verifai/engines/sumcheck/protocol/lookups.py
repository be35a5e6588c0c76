"""LogUp with GKR: each sum of fractions on the bus is 0, down to one claim on numerators and denominators at one point.

Sources: Haböck, "Multivariate lookups based on logarithmic derivatives" (2022); Papini and Haböck, "Improving logarithmic
derivative lookups using GKR" (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Functional, eq_index, eq_table, integer_extension, located, point_axes
from verifai.engines.sumcheck.protocol.buses import RANGE, SIGNED, Bus, Group, LookupBlock, TableBlock, table_values
from verifai.engines.sumcheck.protocol.channel import Channel
from verifai.engines.sumcheck.protocol.claim import ZERO, Claim, public
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.storage import NO_AXIS, Storage
from verifai.engines.sumcheck.protocol.sumcheck import eq_rounds


@dataclass(frozen=True, slots=True)
class Leaves:
    """What the layers leave to be checked: both extensions at one point."""

    point: tuple[Ext, ...]
    numerator: Claim
    denominator: Claim


def check_layers(channel: Channel, log_leaves: int, log_sums: int = 0) -> Leaves:
    """Walk from the sums, each with numerator 0 and denominator not 0, down to the leaves.

    Layer k has 2^k fractions; node x is the sum of the nodes (0, x) and (1, x) of layer k + 1. The nodes of layer
    ``log_sums`` are the sums.
    """
    roots = channel.receive("lookups.root", 1 << log_sums)
    for root in roots:
        root.assert_nonzero("lookups.root")
    point = [channel.challenge("lookups.sum") for _ in range(log_sums)]
    numerator, denominator = ZERO, roots[0]
    if log_sums:
        first, *others = eq_table(point)
        denominator = denominator.mixed(first, list(zip(roots[1:], others, strict=True)))
    for layer in range(log_sums, log_leaves):
        where = f"lookups.layer{layer}"
        mix = channel.challenge("lookups.mix")
        claim, rest = eq_rounds(channel, "lookups", numerator + denominator.scale(mix), point, 2)
        p0, p1, q0, q1 = channel.receive("lookups.ends", 4)
        (p0.mul(q1) + q0.mul(p1 + q1.scale(mix)) - claim).assert_zero(where)
        first = channel.challenge("lookups.child")
        numerator = p0 + (p1 - p0).scale(first)
        denominator = q0 + (q1 - q0).scale(first)
        point = [first, *rest]
    return Leaves(tuple(point), numerator, denominator)


class LeafSum:
    """Adds up what numerators and denominators must be at the leaves' point, block by block."""

    def __init__(self, bus: Bus, leaves: Leaves, alpha: Ext, beta: Ext) -> None:
        self._leaves = leaves
        inner = len(leaves.point) - bus.log_sums
        self._point, self._shares = leaves.point[:inner], eq_table(leaves.point[inner:])
        self._numerator, self._denominator = ZERO, ZERO
        self._selected = field.ZERO
        self._alpha, self._beta = alpha, beta
        self._identity = field.ONE
        for _ in range(bus.width):
            self._identity = field.product(self._identity, beta)
        self._functionals: dict[Storage | Group, tuple[Functional, Ext]] = {}

    def functional(self, block: LookupBlock) -> Functional:
        """The weights of the lookup's cells at the point, by the axes of its storage, but for one factor.

        Lookups whose weights are the same get the same object: what they read under it has one value.
        """
        return self._weights(block.group)[0]

    def _weights(self, group: Group) -> tuple[Functional, Ext]:
        """The functional, and its total."""
        storage = group.storage
        key = storage if storage.axis == NO_AXIS else group
        if key not in self._functionals:
            point = self._point
            below = len(point) - storage.log_rest
            rest = point[below:]
            if storage.axis == NO_AXIS:
                self._functionals[key] = point_axes(rest, storage.bits), field.ONE
            else:  # the members' variables lie between those of the long axis and the others
                outer = (*point[: below - group.log_members], *rest)
                places = located(storage, [address >> group.log_members for address in group.addresses], outer)
                axes = list(point_axes(rest, [bits for axis, bits in enumerate(storage.bits) if axis != storage.axis]))
                axes.insert(storage.axis, places)
                self._functionals[key] = tuple(axes), places.total()
        return self._functionals[key]

    def _factor(self, block: LookupBlock) -> Ext:
        """What a leaf's weight has beside the functional's."""
        group, point = block.group, self._point
        below = len(point) - group.storage.log_rest
        if group.storage.axis == NO_AXIS:
            found = eq_index(group.addresses[0] >> group.storage.log_rest, point[:below])
        else:
            found = eq_index(block.member, point[below - group.log_members : below])
        return field.product(found, self._shares[group.sum])

    def local_point(self, log_size: int) -> tuple[Ext, ...]:
        """The point within a block of 2^log_size leaves."""
        return self._point[len(self._point) - log_size :]

    def lookup(self, block: LookupBlock, row: Sequence[Claim]) -> None:
        """A lookup whose columns have the values ``row`` under its functional."""
        self._add(self._factor(block), self._weights(block.group)[1], block.table, row, public(field.ONE))

    def table(self, number: int, block: TableBlock, row: Sequence[Claim], count: Claim) -> None:
        """A table's block with its multiplicity column's value."""
        high = self._point[: len(self._point) - block.log_size]
        selector = field.product(eq_index(block.offset >> block.log_size, high), self._shares[block.sum])
        self._add(selector, field.ONE, number, row, count.scale(field.embed(-1)))

    def _add(self, factor: Ext, total: Ext, table: int, row: Sequence[Claim], numerator: Claim) -> None:
        """Leaves whose weights are ``factor`` times a functional of that ``total``, under which their columns are ``row``."""
        constant = field.add(self._alpha, field.scale(self._identity, table + 1))
        denominator = public(field.product(constant, total))
        power = field.ONE
        for value in row:
            denominator = denominator - value.scale(power)
            power = field.product(power, self._beta)
        selected = field.product(factor, total)
        self._numerator = self._numerator + numerator.scale(selected)
        self._denominator = self._denominator + denominator.scale(factor)
        self._selected = field.add(self._selected, selected)

    def finish(self) -> None:
        """Raise EvidenceRejected (``proof-invalid``) unless both sums are what the layers left; filler leaves are 0 / 1."""
        filler = field.sub(field.ONE, self._selected)
        (self._numerator - self._leaves.numerator).assert_zero("lookups.numerators")
        (self._denominator.plus(filler) - self._leaves.denominator).assert_zero("lookups.denominators")


def table_row(circuit: Circuit, block: TableBlock, point: Sequence[Ext]) -> tuple[Claim, ...]:
    """The extensions of a table's columns at ``point``, from the circuit's own values."""
    argument = integer_extension(point)
    if block.kind == RANGE:
        return (public(argument),)
    if block.kind == SIGNED:  # i − 2^k, but for row 0
        half = 1 << (block.log_size - 1)
        first = field.scale(eq_index(0, point), half)
        return (public(field.add(field.add(argument, field.embed(-half)), first)),)
    low, values = table_values(circuit, block)
    split = len(point) // 2
    outer, inner = eq_table(point[:split]), eq_table(point[split:])
    packed = field.pack(inner)
    width = len(inner)
    value = field.ZERO
    for i, weight in enumerate(outer):
        row = field.packed_dot(values[i * width : (i + 1) * width], packed)
        value = field.add(value, field.product(row, weight))
    return public(field.add(argument, field.embed(low))), public(value)
