"""What verifying will cost, before anything is evaluated: time and memory, from the circuit alone. Standard library only.

Circuits, locks and proofs come from people who may want to burn a verifier's memory or processor. So :func:`price_of` counts
what the script (:mod:`..protocol.script`) will do, without doing it (:mod:`.claim_count`). Claims that are alike are counted,
not listed, so counting is linear in the circuit's bytes, however often claims split. Where it simplifies, it counts too much.

Nanoseconds and bytes are those of CPython on a slow core; `tests/unit/engines/sumcheck/planning/test_price.py` holds them to
measurements, and the counts to the rehearsal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, CommitmentShape, WeightVisibility
from verifai.engines.sumcheck.circuit.weights import weights_bytes
from verifai.engines.sumcheck.planning.claim_count import count_lookups, count_operations, count_ranges
from verifai.engines.sumcheck.planning.claim_counter import CELL_NS, ENTRY_BYTES, ENTRY_NS, ClaimCounter
from verifai.engines.sumcheck.planning.size import opening_elements
from verifai.engines.sumcheck.protocol.axes import RECENT_ENTRIES
from verifai.engines.sumcheck.protocol.layout import Layout, public_tensors
from verifai.engines.sumcheck.protocol.merkle import path_length
from verifai.engines.sumcheck.protocol.proof import log_length, opening_bytes
from verifai.engines.sumcheck.protocol.relations import Kind, range_sums, relation_circuit
from verifai.errors import ResourceExhausted

BASE_BYTES = 48 << 20
"""The interpreter with the verifier's modules."""
BASE_NS = 60_000_000
"""Whatever the circuit; numbers of queries, which a process finds once."""
CIRCUIT_BYTES = 40
"""Per byte of a circuit, while it is decoded, checked and planned."""
CIRCUIT_NS = 1_500
"""Per byte, before the circuit is decoded, so that its parts are not known."""
PART_NS = 120_000
"""Per tensor, weight and operation, once they are known: decoded, checked, planned, counted and walked through."""
INDEX_NS = 2_000
"""Per index of views, and per source of a combination."""
VALUE_NS = 200
"""Per value of a table, decoded and checked."""
CLAIM_NS, CLAIM_BYTES = 60_000, 3_000
"""Per claim that is opened, beside its vectors."""
MESSAGE_NS, MESSAGE_BYTES = 25_000, 700
"""Per element that the prover sends, with its part of a round."""
HIDDEN_BASE_NS = 250_000_000
"""More, where commitments hide: their numbers of queries are looked for by trial."""
HIDDEN_NS, HIDDEN_BYTES = 60_000, 2_500
"""More, where messages are encrypted: forms, equations, and the rehearsal that counts them."""
STATED_BYTES = 64
"""Per cell of a public tensor: as a number, as bytes of the statement and of the transcript."""
STATED_NS = 600
POSITION_NS = 150
"""Per element of a combination at each opened position, and per cell of an opened column."""
COORDINATE_NS = 6_000
"""Per coordinate of a level's point and linear claim on its vector."""
LINEAR_BYTES = 400
"""Per linear claim."""
COLUMN_BYTES = 48
"""Per cell of an opened column."""
LISTED_TWICE_NS = 100
"""Per claim and commitment: each looks through all claims for its own."""
_SPARE_MESSAGES = 1 << 12

VERIFY_MEMORY = 4 << 30
VERIFY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What verifying may take at most."""

    memory_bytes: int = VERIFY_MEMORY
    seconds: float = VERIFY_SECONDS


DEFAULT = Allowance()


@dataclass(frozen=True, slots=True)
class Price:
    """What verifying takes, rather too much than too little.

    Attributes:
        memory_bytes: peak, the interpreter included.
        nanoseconds: processor time.
        messages: elements that the proof's messages have, the openings' left out. claims: to be opened.
    """

    memory_bytes: int
    nanoseconds: int
    messages: int
    claims: int

    @property
    def seconds(self) -> float:
        """Processor time in seconds."""
        return self.nanoseconds / 1e9

    def plus(self, memory_bytes: int, nanoseconds: int) -> Price:
        """With more of both."""
        return replace(self, memory_bytes=self.memory_bytes + memory_bytes, nanoseconds=self.nanoseconds + nanoseconds)

    def require(self, allowance: Allowance, where: str) -> None:
        """Raise ResourceExhausted (``verification-over-budget``) when this is more than ``allowance``."""
        if self.memory_bytes <= allowance.memory_bytes and self.seconds <= allowance.seconds:
            return
        raise over_budget(f"about {self.memory_bytes / 2**20:,.0f} MiB and {self.seconds:,.1f} s", allowance, where)


def over_budget(needed: str, allowance: Allowance, where: str) -> ResourceExhausted:
    """The refusal to begin: nothing was checked, so nothing is called false."""
    allowed = f"{allowance.memory_bytes / 2**20:,.0f} MiB and {allowance.seconds:,.0f} s are allowed"
    return ResourceExhausted(
        "verification-over-budget",
        f"verifying would take {needed}; {allowed}",
        where=where,
        hint="If you trust whoever gave you the circuit, raise --max-memory; one that takes too long has to be split.",
    )


def price_of_bytes(size: int) -> Price:
    """Of decoding, checking and planning a circuit of ``size`` bytes."""
    return Price(BASE_BYTES + CIRCUIT_BYTES * size, BASE_NS + CIRCUIT_NS * size, 0, 0)


def price_of(circuit: Circuit, size: int = 0) -> Price:
    """Of all but the openings, for a circuit that obeys its rules; ``size``: of its bytes.

    Raises:
        UnsupportedModel: ``sumcheck-unsupported``, ``sumcheck-too-large``, as the planner: no proof of it exists.
    """
    found = ClaimCounter(circuit)
    count_lookups(found)
    count_operations(found)
    stated = sum(circuit.tensors[tensor].size for tensor in public_tensors(circuit))
    price = Price(BASE_BYTES + CIRCUIT_BYTES * size, BASE_NS + _structure(circuit), 0, 0).plus(
        STATED_BYTES * stated, STATED_NS * stated
    )
    if circuit.weight_visibility is WeightVisibility.PUBLIC:
        cells = sum(weight.size for weight in circuit.weights)
        price = price.plus(2 * weights_bytes(circuit), CELL_NS * cells)
    return _scripted(price, found, circuit.zero_knowledge)


def price_with_openings(price: Price, layout: Layout) -> Price:
    """``price`` with what the openings of ``layout`` take."""
    price = price.plus(0, LISTED_TWICE_NS * len(layout.rooted()) * price.claims)
    for shape in layout.commitments():
        price = price.plus(*_opening(shape))
    groups = layout.groups()
    for shape in [layout.levels[-1].shape] if layout.levels else [group[0].shape for group in groups]:
        price = price.plus(*_combination(shape))
    asked = sum(1 + group[0].shape.queries + group[0].shape.mask for group in groups)
    for level in layout.levels:
        rounds = 2 * level.log_cells
        price = price.plus(
            MESSAGE_BYTES * rounds + LINEAR_BYTES * asked, MESSAGE_NS * rounds + COORDINATE_NS * level.log_cells * asked
        )
        asked = 1 + level.shape.queries
    return price


def most_messages(price: Price, layout: Layout) -> int:
    """No proof has more elements than this, with room to spare: replaying them tells whether they are as many as needed."""
    return 3 * price.messages + opening_elements(layout) + _SPARE_MESSAGES


def price_of_relation(kind: Kind, circuit: Circuit) -> Price:
    """Of a proof about the circuit's committed weights, the openings left out. Raises as :func:`price_of`."""
    bare, parts = relation_circuit(kind, circuit)
    sums = range_sums(circuit.weights, parts)
    found = ClaimCounter(bare)
    if kind is Kind.REGISTRATION and (bare.inputs or not sums):
        count_lookups(found)
    for one in sums:
        count_ranges(found, one)
    for index, weight in enumerate(circuit.weights):
        if parts and parts[index].ranged:
            continue
        found.weight(index, 0, 1)
        if kind is Kind.LINK:
            found.weight(index, 0, 1)
            continue
        rest = (1 << len(weight.shape)) - 2  # along a row: vectors of ones
        mine = parts[index]
        if mine.normed:
            found.make(sum(weight.padded[1:]), 1)
        for limb in (*mine.positive, *mine.negative):
            found.read(limb, 0, 1)
            if mine.normed:
                found.read(limb, rest, 1)
        for limb in mine.slack:
            found.read(limb, 0, 1)
    return _scripted(Price(BASE_BYTES, _structure(bare), 0, 0), found, True)


def _scripted(price: Price, found: ClaimCounter, hiding: bool) -> Price:
    """``price`` with what playing the script takes."""
    message_ns, message_bytes = MESSAGE_NS, MESSAGE_BYTES
    if hiding:
        message_ns, message_bytes = message_ns + HIDDEN_NS, message_bytes + HIDDEN_BYTES
        price = price.plus(0, HIDDEN_BASE_NS + found.nanoseconds)  # the planner rehearses, to count the pads
    # Kept tables of eq vectors: no more than were made, and no more than are ever kept.
    tables = ENTRY_BYTES * min(RECENT_ENTRIES, found.nanoseconds // ENTRY_NS)
    price = price.plus(found.kept + found.most + tables, found.nanoseconds)
    price = price.plus(message_bytes * found.messages, message_ns * found.messages)
    price = price.plus(CLAIM_BYTES * found.claims, CLAIM_NS * found.claims)
    return replace(price, messages=found.messages, claims=found.claims)


def _structure(circuit: Circuit) -> int:
    """Nanoseconds of walking through a circuit."""
    parts = len(circuit.tensors) + len(circuit.weights) + len(circuit.ops) + len(circuit.inputs) + len(circuit.outputs)
    indices = 0
    for op in circuit.ops:
        if isinstance(op, ops.View):
            parts += len(op.pieces)
            indices += sum(len(one) for piece in op.pieces for one in piece.indices)
        elif isinstance(op, ops.LinearCombination):
            indices += len(op.sources)
    values = sum(len(table.values) for table in circuit.tables)
    return PART_NS * parts + INDEX_NS * indices + VALUE_NS * values


def _opening(shape: CommitmentShape) -> tuple[int, int]:
    """(bytes, nanoseconds) of one commitment's opening, of a proof that is long enough to hold it."""
    cells = shape.queries * shape.rows
    steps = POSITION_NS * cells + 4 * ENTRY_NS * shape.rows
    hashes = 3_000 * shape.queries * (path_length(log_length(shape)) + 2) + 1_000_000
    return COLUMN_BYTES * cells + opening_bytes(shape) + 4 * ENTRY_BYTES * shape.rows, steps + hashes


def _combination(shape: CommitmentShape) -> tuple[int, int]:
    """(bytes, nanoseconds) of one combination that is sent: its value, and its code word."""
    return 4 * ENTRY_BYTES * shape.degree, POSITION_NS * shape.queries * shape.degree + 2 * ENTRY_NS * shape.degree
