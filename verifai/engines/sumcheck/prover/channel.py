"""The prover's side of the interaction: one call enters a message into the transcript and into the proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.hiding import LEFT, MESSAGES, RIGHT, HiddenClaim, PadPlan, Pads, Tape
from verifai.engines.sumcheck.protocol.transcript import Transcript


class OwnClaim(Claim):
    """A value that the prover itself sent. Its assertions do nothing: only the verifier checks equations."""

    __slots__ = ()

    def __add__(self, other: Claim) -> Claim:
        return OwnClaim(field.add(self.value, other.value))

    def __radd__(self, other: Claim) -> Claim:
        return OwnClaim(field.add(self.value, other.value))

    def __sub__(self, other: Claim) -> Claim:
        return OwnClaim(field.sub(self.value, other.value))

    def __rsub__(self, other: Claim) -> Claim:
        return OwnClaim(field.sub(other.value, self.value))

    def plus(self, public: Ext) -> Claim:
        """self + a public number."""
        return OwnClaim(field.add(self.value, public))

    def scale(self, public: Ext) -> Claim:
        """self times a public number."""
        return OwnClaim(field.product(self.value, public))

    def assert_zero(self, where: str) -> None:
        """Nothing."""

    def assert_nonzero(self, where: str) -> None:
        """Nothing."""


class ProverChannel:
    """Records messages. ``labels`` lists (label, count) per message, for tests and documentation."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.messages: list[Ext] = []
        self.labels: list[tuple[str, int]] = []

    def send(self, label: str, values: Sequence[Ext]) -> list[Claim]:
        """Send one message; the values come back as claims for the script."""
        self.send_open(label, values)
        return [OwnClaim(value) for value in values]

    def send_open(self, label: str, values: Sequence[Ext]) -> None:
        """Send one message that no suite encrypts."""
        self.transcript.send(label, values)
        self.messages.extend(values)
        self.labels.append((label, len(values)))

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""
        return self.transcript.challenge(label)

    def truth(self, claim: Claim) -> Ext:
        """The element that a claim stands for."""
        return claim.value


class _KnownTape(Tape):
    """A tape that can also tell a form's value. Few are asked for, so they are computed then."""

    def __init__(self, pads: Sequence[Ext]) -> None:
        super().__init__()
        self._pads = pads
        self._values: dict[int, Ext] = {}

    def value(self, form: int) -> Ext:
        """The form's value, and with it those of all that it is made of."""
        values, waiting = self._values, [form]
        while waiting:
            index = waiting[-1]
            if index < 0:
                values[index] = self._pads[~index]
            else:
                entry = self._entries[index]
                missing = [part for part, _ in entry if part not in values]
                if missing:
                    waiting += missing
                    continue
                values[index] = field.total(field.product(values[part], factor) for part, factor in entry)
            waiting.pop()
        return values[form]


class HidingProverChannel(ProverChannel):
    """Encrypts: each element is sent plus its pad, and comes back as a form in pads."""

    def __init__(self, transcript: Transcript, plan: PadPlan, pads: Sequence[Ext]) -> None:
        super().__init__(transcript)
        self._values = pads
        self._tape = _KnownTape(pads)
        self.pads = Pads(plan, self._tape)

    def send(self, label: str, values: Sequence[Ext]) -> list[Claim]:
        """Encrypt and send."""
        numbers = self.pads.next_messages(len(values))
        sent = [field.add(value, self._pad(MESSAGES, number)) for value, number in zip(values, numbers, strict=True)]
        self.send_open(label, sent)
        return self.pads.encrypted_messages(self, sent, numbers)

    def _pad(self, column: int, number: int) -> Ext:
        return self._values[self.pads.index(column, number)]

    def truth(self, claim: Claim) -> Ext:
        """The element that a claim stands for, its pads taken off."""
        if not isinstance(claim, HiddenClaim):
            return claim.value
        return field.add(claim.value, field.product(claim.factor, self._tape.value(claim.form)))

    def multiply(self, left: HiddenClaim, right: HiddenClaim) -> Claim:
        """Send both factors under a triple's pads."""
        number = self.pads.next_product()
        pairs = ((LEFT, left), (RIGHT, right))
        sent = [field.add(self.truth(claim), self._pad(column, number)) for column, claim in pairs]
        self.send_open("product", sent)
        return self.pads.product(self, (left, right), sent, number)

    def hold(self, claim: HiddenClaim) -> None:
        """Collect the equation."""
        self.pads.equations.append(claim)

    def invert(self, claim: HiddenClaim, where: str) -> Claim:
        """Send the inverse. 0, which challenges reach with negligible probability, is sent itself: the verifier refuses it."""
        truth = self.truth(claim)
        return self.send(f"{where}.inverse", [truth if truth == field.ZERO else field.inverse(truth)])[0]


class Sender(Protocol):
    """The part of a channel that :class:`Rounds` uses."""

    def send(self, label: str, values: Sequence[Ext]) -> list[Claim]:
        """Send one message."""

    def challenge(self, label: str) -> Ext:
        """A challenge."""


class Rounds:
    """Lets the prover run the verifier's rounds: a message is computed when the script takes it, and a challenge is bound."""

    def __init__(self, channel: Sender, compute: Callable[[], Sequence[Ext]], bind: Callable[[Ext], None]) -> None:
        self._channel, self._compute, self._bind = channel, compute, bind

    def receive(self, label: str, count: int) -> list[Claim]:
        """Compute and send."""
        return self._channel.send(label, self._compute())

    def challenge(self, label: str) -> Ext:
        """Draw and bind."""
        r = self._channel.challenge(label)
        self._bind(r)
        return r
