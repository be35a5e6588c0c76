"""The prover's end of the conversation: every message enters the transcript and the proof, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.verifier.claim import Claim
from verifai.engines.sumcheck.verifier.field import Ext
from verifai.engines.sumcheck.verifier.transcript import Domain, Transcript


class ProverChannel:
    """Records messages. ``labels`` lists (label, count) per message, for tests and documentation."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.messages: list[Ext] = []
        self.labels: list[tuple[str, int]] = []

    def send(self, label: str, values: Sequence[Ext]) -> list[Claim]:
        """Send one message; the values come back as claims for the script."""
        self.transcript.send(label, values)
        self.messages.extend(values)
        self.labels.append((label, len(values)))
        return [Claim(value) for value in values]

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""
        return self.transcript.challenge(label, Domain.OUTSIDE_BASE)
