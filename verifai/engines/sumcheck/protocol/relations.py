"""Proofs about committed weights alone, in the zero-knowledge suite. Each is made once, and is part of every bundle after that.

*Registration*: the weights under a root keep the bounds that the circuit declares for them, which the no-wrap rule rests on,
and their padding is 0. Each weight is p − n, parts of non-negative limbs that are looked up: p and n are at most the bound, and
per row Σ (p + n) plus a slack of such limbs is the declared row L1, so Σ |w| is at most that. Where the declared row L1 follows
from the bound (:func:`bounds_alone`), nothing is shown of it, and cells are looked up themselves (:mod:`.weight_ranges`).

*Link*: two roots commit to equal weights. So a fresh root can replace one that has few openings left.

The witness commitment holds parts and pads; each commitment to weights is opened alone. Points are drawn after all roots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from verifai.engines.sumcheck.circuit.program import Circuit, Port, Tensor, Visibility, Weight, WeightVisibility
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Dense, Functional, point_axes
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.claim import Claim, public
from verifai.engines.sumcheck.protocol.field import ONE
from verifai.engines.sumcheck.protocol.layout import Commitment, Layout
from verifai.engines.sumcheck.protocol.party import Party
from verifai.engines.sumcheck.protocol.script import check_lookups
from verifai.engines.sumcheck.protocol.suite import SUITES
from verifai.engines.sumcheck.protocol.transcript import Coins, Transcript
from verifai.engines.sumcheck.protocol.weight_ranges import check_ranges, is_ranged, weight_sums
from verifai.errors import EvidenceRejected

LIMB_BITS = 14
"""Of the largest limb: a range table of this size, however many weights."""


class Kind(StrEnum):
    """What is proven about roots of weights."""

    REGISTRATION = "registration"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class WeightParts:
    """The tensors that one weight is made of, lowest limb first.

    Attributes:
        ranged: it has no parts: its cells are looked up themselves. normed: whether its rows' norms are shown.
    """

    positive: tuple[int, ...] = ()
    negative: tuple[int, ...] = ()
    slack: tuple[int, ...] = ()
    ranged: bool = False
    normed: bool = True


@dataclass(frozen=True, slots=True)
class OpenedRoot:
    """A root of weights, and which of its openings the proof makes."""

    root: bytes
    number: int


def limb_widths(bound: int) -> list[int]:
    """Widths of limbs that reach exactly [0, bound], bound being 2^k − 1: none for 0.

    Raises:
        EvidenceRejected: ``circuit-invalid``.
    """
    if bound & (bound + 1):
        message = f"the bound {bound} is not 2^k − 1, so no limbs reach exactly it"
        raise EvidenceRejected("circuit-invalid", message, where="weights")
    bits = bound.bit_length()
    return [LIMB_BITS] * (bits // LIMB_BITS) + ([bits % LIMB_BITS] if bits % LIMB_BITS else [])


def bounds_alone(circuit: Circuit) -> bool:
    """Whether a registration shows bounds and no norms: some declared row L1 is not 2^k − 1, so no slack could reach it."""
    return any(weight.row_l1 & (weight.row_l1 + 1) for weight in circuit.weights)


def parts_circuit(circuit: Circuit) -> tuple[Circuit, list[WeightParts]]:
    """The circuit of a registration: its inputs are the parts, all private; it computes nothing.

    Raises:
        EvidenceRejected: ``circuit-invalid``, when the declared bounds cannot be registered.
    """
    tensors: list[Tensor] = []

    def add(name: str, shape: tuple[int, ...], bound: int) -> tuple[int, ...]:
        first = len(tensors)
        for limb, bits in enumerate(limb_widths(bound)):
            tensors.append(Tensor(f"{name}{limb}", shape, 0, (1 << bits) - 1))
        return tuple(range(first, len(tensors)))

    parts, alone = [], bounds_alone(circuit)
    for index, weight in enumerate(circuit.weights):
        most = weight.bound * (weight.size // weight.shape[0])
        if alone and weight.row_l1 < most:
            message = "its declared row L1 is neither 2^k − 1 nor what follows from its bound, so no registration shows it"
            raise EvidenceRejected("circuit-invalid", message, where=weight.name)
        if not alone and 2 * most + weight.row_l1 >= field.P:
            message = "a row's sum could reach the field's prime, so congruence would not be equality"
            raise EvidenceRejected("circuit-invalid", message, where=weight.name)
        if alone and is_ranged(weight):
            limb_widths(weight.bound)
            parts.append(WeightParts(ranged=True, normed=False))
            continue
        sides = [add(f"{side}{index}.", weight.shape, weight.bound) for side in ("p", "n")]
        slack = () if alone else add(f"s{index}.", weight.shape[:1], weight.row_l1)
        parts.append(WeightParts(sides[0], sides[1], slack, normed=not alone))
    ports = tuple(Port(number, Visibility.PRIVATE) for number in range(len(tensors)))
    return _bare(circuit, tuple(tensors), ports), parts


def range_sums(weights: Sequence[Weight], parts: Sequence[WeightParts]) -> tuple[Bus, ...]:
    """The sums of fractions for the weights whose cells are looked up themselves."""
    return weight_sums(weights, [index for index, mine in enumerate(parts) if mine.ranged])


def _bare(circuit: Circuit, tensors: tuple[Tensor, ...], ports: tuple[Port, ...]) -> Circuit:
    return Circuit(circuit.suite, tensors, circuit.weights, (), (), ports, (), WeightVisibility.COMMITTED)


def relation_circuit(kind: Kind, circuit: Circuit) -> tuple[Circuit, list[WeightParts]]:
    """What the witness of a relation holds. Raises EvidenceRejected (``circuit-invalid``)."""
    return parts_circuit(circuit) if kind is Kind.REGISTRATION else (_bare(circuit, (), ()), [])


def second(commitment: Commitment) -> Commitment:
    """The same shape, for another root: its columns are ("epoch", index, 0)."""
    return replace(commitment, columns={("epoch", key[1], 0): column for key, column in commitment.columns.items()})


def check_relation(
    kind: Kind, party: Party, weights: Sequence[Weight], parts: Sequence[WeightParts], bus: Bus, sums: Sequence[Bus]
) -> None:
    """The script. Both sides run it. ``bus``: lookups of parts; ``sums``: of weights' own cells."""
    if kind is Kind.REGISTRATION:
        if bus.tables or not sums:
            check_lookups(party, bus)
        check_ranges(party, weights, sums, len(bus.tables))
    for index, weight in enumerate(weights):
        if kind is Kind.LINK:
            axes = point_axes(party.challenges("relation.point", weight.log_cells), weight.bits)
            value = party.weight(index, axes, "relation.w")
            (value - party.committed(("epoch", index, 0), axes, "relation.epoch")).assert_zero("relation")
        elif not parts[index].ranged:
            _check_parts(party, index, weight, parts[index])


def _check_parts(party: Party, index: int, weight: Weight, mine: WeightParts) -> None:
    """p − n = W at a random point; Σ (p + n) and slack are the row L1 at a random row, where that is shown."""
    axes = point_axes(party.challenges("relation.point", weight.log_cells), weight.bits)
    value = party.weight(index, axes, "relation.w")
    (_joined(party, mine.positive, axes) - _joined(party, mine.negative, axes) - value).assert_zero("relation")
    if not mine.normed:
        return
    row = point_axes(party.challenges("relation.row", weight.bits[0]), weight.bits[:1])
    rest = tuple(Dense((ONE,) * size) for size in weight.padded[1:])
    total = _joined(party, mine.positive, (*row, *rest)) + _joined(party, mine.negative, (*row, *rest))
    total = total + _joined(party, mine.slack, row)
    whole = field.scale(ax.true_total(row, weight.shape[:1]), -weight.row_l1)
    total.plus(whole).assert_zero("relation")


def _joined(party: Party, limbs: Sequence[int], axes: Functional) -> Claim:
    """Σ 2^offset·limb under ``axes``; padding of every limb is held to 0 with its range."""
    total, offset = public(field.ZERO), 0
    for tensor in limbs:
        value = party.read(tensor, axes, "relation.limb")
        total = total + value.scale(field.embed(1 << offset))
        offset += party.circuit.tensors[tensor].high.bit_length()
    return total


def begin(
    kind: Kind, circuit: Circuit, digest: str, roots: Sequence[OpenedRoot], context: bytes, coins: Coins | None = None
) -> Transcript:
    """Everything that is fixed before the witness."""
    transcript = Transcript(coins)
    transcript.absorb("suite", SUITES[circuit.suite].parameters)
    transcript.absorb("relation", kind.value.encode("ascii"))
    transcript.absorb("circuit", bytes.fromhex(digest))
    for one in roots:
        transcript.absorb("weights.root", one.root)
        transcript.absorb("weights.number", one.number.to_bytes(8, "little"))
    transcript.absorb("context", context)
    return transcript


@dataclass(frozen=True, slots=True)
class RelationPlan:
    """What both sides derive from the inference circuit.

    Attributes:
        circuit: of the witness. layout: of the witness commitment, with the parts' lookups, pads and errors.
        weights: the commitments to weights, each opened alone. sums: of lookups of weights' own cells.
    """

    circuit: Circuit
    parts: list[WeightParts]
    layout: Layout
    weights: tuple[Commitment, ...]
    sums: tuple[Bus, ...] = ()
