"""Encrypted messages: claims as affine forms in committed one-time pads.

The prover sends a message m as m + pad. The pad is two cells of the witness commitment, and is used for one message only. The
verifier knows the sum, not the pad. So everything that the script computes from messages is an affine form in pads, ``value + Σ
coefficients·pads``, with a known value. An equation between forms is not checked at once. It is collected, and the batched
sumcheck of the openings checks all collected equations against the committed pads.

Forms are kept on a *tape*: one entry per sum of forms. In the end one linear combination of all equations is needed. One pass
over the tape, from its end, finds the coefficients of all pads in it.

To multiply two forms, the prover sends both factors again under fresh pads a and b of one *triple*. A triple's third number is
committed too, and claimed to be a·b, so the product is an affine form as well. :mod:`.products` checks all triples at once.
No product uses triple 0: it is random, and hides the two values that this check shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import NON_RESIDUE, ONE, ZERO, Ext, P
from verifai.errors import InternalError

MESSAGES, LEFT, RIGHT, PRODUCT = range(4)
"""The columns of pads: of messages, and the three of the triples."""

X: Ext = (0, 1)
"""The extension's generator: a pad (lo, hi) is lo + hi·x."""
MINUS_ONE: Ext = field.embed(-1)


@dataclass(frozen=True, slots=True)
class PadPlan:
    """How many pads a proof uses, fixed by the circuit: ``messages`` elements, and ``products`` triples, triple 0 included."""

    messages: int
    products: int

    @property
    def log_messages(self) -> int:
        """log2 of the padded number of message pads; at least 1."""
        return max(1, (self.messages - 1).bit_length())

    @property
    def log_products(self) -> int:
        """log2 of the padded number of triples; at least 1."""
        return max(1, (self.products - 1).bit_length())

    def log_size(self, column: int) -> int:
        """log2 of the number of pads in one column."""
        return self.log_messages if column == MESSAGES else self.log_products


class Session(Protocol):
    """Interface of the prover or verifier that a hidden claim calls."""

    def multiply(self, left: HiddenClaim, right: HiddenClaim) -> Claim:
        """The product of two forms, as a form: takes the next triple."""

    def hold(self, claim: HiddenClaim) -> None:
        """Collect the equation ``claim`` = 0 for the openings to check."""

    def invert(self, claim: HiddenClaim, where: str) -> Claim:
        """The inverse of a form, as the prover sends it; the caller checks it."""


class Tape:
    """Forms as a list of sums. Form i ≥ 0 is entry i, Σ factor·form of pads and earlier entries; form i < 0 is pad −1 − i."""

    def __init__(self) -> None:
        self._entries: list[Sequence[tuple[int, Ext]]] = []

    @staticmethod
    def pad(number: int) -> int:
        """The form that is pad ``number``."""
        return ~number

    def add(self, terms: Sequence[tuple[int, Ext]]) -> int:
        """The form Σ factor·form over ``terms``."""
        self._entries.append(terms)
        return len(self._entries) - 1

    def coefficients(self, seeds: Sequence[tuple[int, Ext]], pads: int) -> list[Ext]:
        """The pads' coefficients in Σ factor·form over ``seeds``: one sweep, the last entry first."""
        weights: list[Ext] = [ZERO] * len(self._entries)
        result: list[Ext] = [ZERO] * pads
        _give(weights, result, ONE, seeds)
        for index in range(len(self._entries) - 1, -1, -1):
            weight = weights[index]
            if weight != ZERO:
                _give(weights, result, weight, self._entries[index])
        return result


def _give(weights: list[Ext], pads: list[Ext], weight: Ext, terms: Sequence[tuple[int, Ext]]) -> None:
    """Add weight·factor to each term's form; the field's operations written out, as the sweep does nothing else."""
    a, b = weight
    for form, (c, d) in terms:
        target, place = (weights, form) if form >= 0 else (pads, ~form)
        first, second = target[place]
        target[place] = ((first + a * c + NON_RESIDUE * b * d) % P, (second + a * d + b * c) % P)


@dataclass(slots=True)
class HiddenClaim(Claim):
    """``value`` + ``factor``·``form``."""

    session: Session
    tape: Tape
    form: int
    factor: Ext

    def _with(self, value: Ext, factor: Ext) -> HiddenClaim:
        return HiddenClaim(value, self.session, self.tape, self.form, factor)

    def _sum(self, value: Ext, other: HiddenClaim, sign: Ext) -> HiddenClaim:
        right = other.factor if sign == ONE else field.product(other.factor, sign)
        return HiddenClaim(value, self.session, self.tape, self.tape.add(((self.form, self.factor), (other.form, right))), ONE)

    def __add__(self, other: Claim) -> Claim:
        value = field.add(self.value, other.value)
        return self._sum(value, other, ONE) if isinstance(other, HiddenClaim) else self._with(value, self.factor)

    def __radd__(self, other: Claim) -> Claim:
        return self + other

    def __sub__(self, other: Claim) -> Claim:
        value = field.sub(self.value, other.value)
        return self._sum(value, other, MINUS_ONE) if isinstance(other, HiddenClaim) else self._with(value, self.factor)

    def __rsub__(self, other: Claim) -> Claim:
        return self._with(field.sub(other.value, self.value), field.product(self.factor, MINUS_ONE))

    def plus(self, public: Ext) -> Claim:
        """self + a public number."""
        return self._with(field.add(self.value, public), self.factor)

    def scale(self, public: Ext) -> Claim:
        """self times a public number."""
        return self._with(field.product(self.value, public), field.product(self.factor, public))

    def mixed(self, factor: Ext, others: Sequence[tuple[Claim, Ext]]) -> Claim:
        """One entry of the tape, whatever the number of claims."""
        values, factors = [self.value], [factor]
        terms = [(self.form, field.product(self.factor, factor))]
        for claim, scale in others:
            values.append(claim.value)
            factors.append(scale)
            if isinstance(claim, HiddenClaim):
                terms.append((claim.form, field.product(claim.factor, scale)))
        return HiddenClaim(field.dot(values, factors), self.session, self.tape, self.tape.add(terms), ONE)

    def mul(self, other: Claim) -> Claim:
        """The product: by a triple when both factors are hidden."""
        if isinstance(other, HiddenClaim):
            return self.session.multiply(self, other)
        return self.scale(other.value)

    def assert_zero(self, where: str) -> None:
        """Collect the equation; the openings check it."""
        self.session.hold(self)

    def assert_nonzero(self, where: str) -> None:
        """Take the inverse from the prover, and collect the equation claim·inverse = 1."""
        self.mul(self.session.invert(self, where)).plus(MINUS_ONE).assert_zero(where)


class Pads:
    """The pads of one proof, handed out in order, and the equations collected. Both sides keep one."""

    def __init__(self, plan: PadPlan, tape: Tape | None = None) -> None:
        self.plan, self.tape = plan, tape if tape is not None else Tape()
        self.equations: list[HiddenClaim] = []
        self.messages = 0
        self.products = 1  # triple 0 stays unused
        first, size = 1 << plan.log_messages, 1 << plan.log_products
        self._starts = (0, first, first + size, first + 2 * size)
        self.count = first + 3 * size
        """All pads."""

    def index(self, column: int, number: int) -> int:
        """The tape's number of a pad: columns one after the other."""
        return self._starts[column] + number

    def encrypted(self, session: Session, value: Ext, column: int, number: int) -> HiddenClaim:
        """The claim that ``value`` is a message plus this pad."""
        return HiddenClaim(value, session, self.tape, self.tape.pad(self.index(column, number)), MINUS_ONE)

    def encrypted_messages(self, session: Session, values: Sequence[Ext], numbers: range) -> list[Claim]:
        """The claims that ``values`` are messages plus these pads."""
        tape, first = self.tape, self.index(MESSAGES, numbers.start)
        return [HiddenClaim(value, session, tape, tape.pad(first + i), MINUS_ONE) for i, value in enumerate(values)]

    def next_messages(self, count: int) -> range:
        """Numbers of the next message pads. Raises InternalError (``bug``) beyond the plan: a rehearsal counted wrongly."""
        start = self.messages
        self.messages += count
        if self.messages > self.plan.messages:
            raise InternalError("bug", "a proof of this circuit takes more messages than it plans", where="pads")
        return range(start, self.messages)

    def next_product(self) -> int:
        """The next triple. Raises InternalError (``bug``) beyond the plan."""
        number = self.products
        self.products += 1
        if self.products > self.plan.products:
            raise InternalError("bug", "a proof of this circuit takes more products than it plans", where="pads")
        return number

    def product(self, session: Session, operands: tuple[HiddenClaim, HiddenClaim], sent: Sequence[Ext], number: int) -> Claim:
        """The product as a form, âb̂ − â·b − b̂·a + ab. Collects two equations: ``sent`` is (â, b̂), the operands plus pads."""
        tape = self.tape
        for column, operand, value in zip((LEFT, RIGHT), operands, sent, strict=True):
            (self.encrypted(session, value, column, number) - operand).assert_zero("product")
        left, right, both = (tape.pad(self.index(column, number)) for column in (LEFT, RIGHT, PRODUCT))
        terms = ((right, field.product(sent[0], MINUS_ONE)), (left, field.product(sent[1], MINUS_ONE)), (both, ONE))
        return HiddenClaim(field.product(sent[0], sent[1]), session, tape, tape.add(terms), ONE)
