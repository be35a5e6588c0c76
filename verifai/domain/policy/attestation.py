"""The gate attestation: a release decision that the next gate can ask for. Shaped like a SLSA verification summary (VSA v1).

Field names and meanings follow https://slsa.dev/spec/v1.0/verification_summary where it has them; ``inputAttestations`` names
bundles by identifier, and ``policy.digest`` covers the policy file and every anchor that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from verifai.domain.attestation.predicate_types import GATE_TYPE
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.unicode_14 import is_printable
from verifai.domain.utc_time import utc_from_record

VERIFIER_ID = "urn:verifai:gate"
MAX_INPUTS = 50_000
"""So that the payload stays within the size of an attestation."""


class VerificationResult(StrEnum):
    """A VSA's result."""

    PASSED = "PASSED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class GateInput:
    """One bundle that was judged.

    Attributes:
        sha256: the bundle's identifier.
        outcome: the word of its outcome.
    """

    sha256: Sha256
    outcome: str

    def to_json(self) -> dict[str, Any]:
        """As a ResourceDescriptor, with its outcome."""
        return {"digest": {"sha256": self.sha256}, "outcome": self.outcome}

    @classmethod
    def from_record(cls, record: Record) -> GateInput:
        """The inverse of :meth:`to_json`, strict."""
        digest = record.table("digest")
        found = cls(digest.sha256("sha256"), record.text("outcome", pattern=r"holds|rejected|policy-not-met|undecided"))
        digest.done()
        record.done()
        return found


@dataclass(frozen=True, slots=True)
class GatePredicate:
    """``urn:verifai:gate:v1``. The subjects are the models decided about, each by the digest that its lock pins.

    Attributes:
        version: of verifai.
        time_verified: UTC; the gate's clock.
        policy_name, policy: the policy's name, and its digest with all anchors.
        inputs: the bundles judged, in ascending order of identifier, each once.
        unreadable: how many more were given that have no identifier.
        result: whether the release may go ahead.
        levels: what was shown, in ascending order; empty when it failed.
        waivers: identifiers of the waivers that the result rests on, in ascending order.
    """

    TYPE: ClassVar[str] = GATE_TYPE

    version: str
    time_verified: str
    policy_name: str
    policy: Sha256
    inputs: tuple[GateInput, ...]
    unreadable: int
    result: VerificationResult
    levels: tuple[str, ...]
    waivers: tuple[str, ...]

    def parents(self) -> tuple[Sha256, ...]:
        """None: what it was decided on lies in other bundles, named in ``inputs``."""
        return ()

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "verifier": {"id": VERIFIER_ID, "version": self.version},
            "timeVerified": self.time_verified,
            "policy": {"name": self.policy_name, "digest": {"sha256": self.policy}},
            "inputAttestations": [one.to_json() for one in self.inputs],
            "unreadableInputs": self.unreadable,
            "verificationResult": self.result.value,
            "verifiedLevels": list(self.levels),
            "waivers": list(self.waivers),
        }

    @classmethod
    def from_record(cls, record: Record) -> GatePredicate:
        """The inverse of :meth:`to_json`, strict."""
        verifier, policy = record.table("verifier"), record.table("policy")
        digest = policy.table("digest")
        verifier.text("id", pattern=VERIFIER_ID)
        predicate = cls(
            version=verifier.text("version", max_length=64),
            time_verified=utc_from_record(record, "timeVerified"),
            policy_name=policy.text("name", max_length=100),
            policy=digest.sha256("sha256"),
            inputs=tuple(GateInput.from_record(item) for item in record.tables("inputAttestations", max_length=MAX_INPUTS)),
            unreadable=record.integer("unreadableInputs", low=0, high=MAX_INPUTS),
            result=record.choice("verificationResult", VerificationResult),
            levels=_ascending(record, "verifiedLevels"),
            waivers=_ascending(record, "waivers"),
        )
        for part in (digest, verifier, policy, record):
            part.done()
        predicate._check(record)
        return predicate

    def _check(self, record: Record) -> None:
        names = [one.sha256 for one in self.inputs]
        if names != sorted(set(names)):
            raise record.refuse("the inputs are not in ascending order, each once", "inputAttestations")
        if self.result is VerificationResult.PASSED:
            if self.unreadable or not self.inputs or any(one.outcome != "holds" for one in self.inputs):
                raise record.refuse("it cannot have passed with these inputs", "verificationResult")
            if not self.levels:
                raise record.refuse("it passed, and nothing was shown", "verifiedLevels")
        elif self.levels:
            raise record.refuse("it failed, so no level was reached", "verifiedLevels")


def _ascending(record: Record, field: str) -> tuple[str, ...]:
    words = record.texts(field, max_length=1024)
    if list(words) != sorted(set(words)) or any(len(word) > 128 or not is_printable(word) for word in words):
        raise record.refuse("expected short words in ascending order, each once", field)
    return words
