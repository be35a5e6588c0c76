"""Proofs about committed weights alone, in the zero-knowledge suite. Each is made once, and is part of every bundle after that.

*Registration*: the weights under a root keep the bounds that the circuit declares for them, which the no-wrap rule rests on,
and their padding is 0. Each weight is p − n, parts of non-negative limbs that are looked up: p and n are at most the bound, and
per row Σ (p + n) plus a slack of such limbs is the declared row L1, so Σ |w| is at most that.

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
from verifai.engines.sumcheck.protocol.claim import Claim, public
from verifai.engines.sumcheck.protocol.field import ONE
from verifai.engines.sumcheck.protocol.layout import Commitment, Layout
from verifai.engines.sumcheck.protocol.party import Party
from verifai.engines.sumcheck.protocol.suite import SUITES
from verifai.engines.sumcheck.protocol.transcript import Coins, Transcript
from verifai.errors import EvidenceRejected

LIMB_BITS = 14
"""Of the largest limb: a range table of this size, however many weights."""


class Kind(StrEnum):
    """What is proven about roots of weights."""

    REGISTRATION = "registration"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class WeightParts:
    """The tensors that one weight is made of, lowest limb first."""

    positive: tuple[int, ...]
    negative: tuple[int, ...]
    slack: tuple[int, ...]


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


def parts_circuit(circuit: Circuit) -> tuple[Circuit, list[WeightParts]]:
    """The circuit of a registration: its inputs are the parts, all private; it computes nothing."""
    tensors: list[Tensor] = []

    def add(name: str, shape: tuple[int, ...], bound: int) -> tuple[int, ...]:
        first = len(tensors)
        for limb, bits in enumerate(limb_widths(bound)):
            tensors.append(Tensor(f"{name}{limb}", shape, 0, (1 << bits) - 1))
        return tuple(range(first, len(tensors)))

    parts = []
    for index, weight in enumerate(circuit.weights):
        if 2 * weight.bound * (weight.size // weight.shape[0]) + weight.row_l1 >= field.P:
            message = "a row's sum could reach the field's prime, so congruence would not be equality"
            raise EvidenceRejected("circuit-invalid", message, where=weight.name)
        sides = [add(f"{side}{index}.", weight.shape, weight.bound) for side in ("p", "n")]
        parts.append(WeightParts(sides[0], sides[1], add(f"s{index}.", weight.shape[:1], weight.row_l1)))
    ports = tuple(Port(number, Visibility.PRIVATE) for number in range(len(tensors)))
    return _bare(circuit, tuple(tensors), ports), parts


def _bare(circuit: Circuit, tensors: tuple[Tensor, ...], ports: tuple[Port, ...]) -> Circuit:
    return Circuit(circuit.suite, tensors, circuit.weights, (), (), ports, (), WeightVisibility.COMMITTED)


def relation_circuit(kind: Kind, circuit: Circuit) -> tuple[Circuit, list[WeightParts]]:
    """What the witness of a relation holds. Raises EvidenceRejected (``circuit-invalid``)."""
    return parts_circuit(circuit) if kind is Kind.REGISTRATION else (_bare(circuit, (), ()), [])


def second(commitment: Commitment) -> Commitment:
    """The same shape, for another root: its columns are ("epoch", index, 0)."""
    return replace(commitment, columns={("epoch", key[1], 0): column for key, column in commitment.columns.items()})


def check_relation(kind: Kind, party: Party, weights: Sequence[Weight], parts: Sequence[WeightParts]) -> None:
    """The script after the lookups. Both sides run it."""
    for index, weight in enumerate(weights):
        axes = point_axes(party.challenges("relation.point", weight.log_cells), weight.bits)
        value = party.weight(index, axes, "relation.w")
        if kind is Kind.LINK:
            (value - party.committed(("epoch", index, 0), axes, "relation.epoch")).assert_zero("relation")
            continue
        mine = parts[index]
        (_joined(party, mine.positive, axes) - _joined(party, mine.negative, axes) - value).assert_zero("relation")
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
        circuit: of the witness. layout: of the witness commitment, with lookups, pads and errors.
        weights: the commitments to weights, each opened alone.
    """

    circuit: Circuit
    parts: list[WeightParts]
    layout: Layout
    weights: tuple[Commitment, ...]
