"""Where a round's randomness comes from, when its value proves itself: a drand chain, or the voters.

Any other source is a name, and its value is the word of whoever read it out. What a value of these two rests on is in the
round's messages, so that every tally derives it again (docs/consensus.md, "The beacon").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from verifai.domain.attestation.predicate_types import BEACON_TYPE
from verifai.domain.consensus.round import MAX_SOURCE, Beacon, BeaconRule
from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.errors import UsageError

VOTERS = "voters"
"""The source of a round whose voters make the randomness themselves, from the salts of their commitments."""
DRAND = "drand:"
"""What the sources that are drand chains begin with."""
DRAND_MARGIN = timedelta(seconds=30)
"""How long after the last commitment a drand number must come out at the earliest."""


@dataclass(frozen=True, slots=True)
class DrandChain:
    """A drand network, pinned.

    Attributes:
        name: the network's own name. hash: of the chain; it binds all the others but the scheme.
        public_key: compressed point of BLS12-381, hex: of G1 for chained beacons, of G2 for unchained ones.
        chained: whether a signature is over the previous signature too.
        period: seconds between two numbers. genesis: Unix time of number 1.
        group_hash: of the group that made the key, hex.
    """

    name: str
    hash: str
    public_key: str
    chained: bool
    period: int
    genesis: int
    group_hash: str

    @property
    def source(self) -> str:
        """As the terms of a round name it."""
        return DRAND + self.name

    def time_of(self, number: int) -> datetime:
        """When ``number`` comes out, UTC."""
        return datetime.fromtimestamp(self.genesis, UTC) + timedelta(seconds=self.period * (number - 1))

    def first_after(self, moment: datetime) -> int:
        """The first number that comes out at ``moment`` or later."""
        elapsed = moment - datetime.fromtimestamp(self.genesis, UTC)
        return max(1, 1 - (-elapsed // timedelta(seconds=self.period)))

    def url(self, number: int) -> str:
        """Where the network's public service returns ``number``, as JSON."""
        return f"https://api.drand.sh/{self.hash}/public/{number}"

    def message(self, number: int, previous_signature: bytes) -> bytes:
        """What the network signs for ``number``: 32 bytes."""
        head = previous_signature if self.chained else b""
        return hashlib.sha256(head + number.to_bytes(8, "big")).digest()


CHAINS: Mapping[str, DrandChain] = {
    chain.source: chain
    for chain in (
        DrandChain(
            "default",
            "8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce",
            "868f005eb8e6e4ca0a47c8a77ceaa5309a47978a7c71bc5cce96366b5d7a569937c529eeda66c7293784a9402801af31",
            chained=True,
            period=30,
            genesis=1595431050,
            group_hash="176f93498eac9ca337150b46d21dd58673ea4e3581185f869672e59fa4cb390a",
        ),
        DrandChain(
            "quicknet",
            "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
            "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
            "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
            chained=False,
            period=3,
            genesis=1692803367,
            group_hash="f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e",
        ),
    )
}
"""The chains of the League of Entropy that rounds may name, by source."""


def chain_of(rule: BeaconRule) -> DrandChain | None:
    """The drand chain that ``rule`` names; ``None`` for another source. Raises UsageError (``bad-beacon``): no such chain."""
    if not rule.source.startswith(DRAND):
        plain = rule.source.strip().casefold()
        if rule.source != VOTERS and (plain == VOTERS or plain.startswith(DRAND)):
            # It would be read as the source that it looks like, whose value proves itself; this one's is somebody's word.
            hint = f"Known sources whose values prove themselves: {VOTERS}, {', '.join(CHAINS)}"
            raise UsageError("bad-beacon", f"{rule.source[:80]!r} only looks like the source of that name", hint=hint)
        return None
    found = CHAINS.get(rule.source)
    if found is None:
        hint = "Known chains: " + ", ".join(CHAINS)
        raise UsageError("bad-beacon", f"{rule.source[:80]!r} is no drand chain whose key is pinned", hint=hint)
    return found


@dataclass(frozen=True, slots=True)
class PublishedBeacon:
    """``urn:verifai:beacon:v1``: what a drand chain published. Its BLS signature proves it, whoever passed it on.

    Attributes:
        round: identifier of the voting round's terms.
        source: ``drand:`` and the chain's name. number: the chain's own round number.
        signature, previous_signature: hex; the latter is empty for an unchained chain.
    """

    TYPE: ClassVar[str] = BEACON_TYPE

    round: Sha256
    source: str
    number: int
    signature: str
    previous_signature: str

    @property
    def beacon(self) -> Beacon:
        """The randomness: SHA-256 of the signature, as drand defines it."""
        return Beacon(self.source, self.number, sha256(bytes.fromhex(self.signature)))

    def parents(self) -> tuple[Sha256, ...]:
        """The round's terms."""
        return (self.round,)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "round": self.round,
            "source": self.source,
            "number": self.number,
            "signature": self.signature,
            "previous_signature": self.previous_signature,
        }

    @classmethod
    def from_record(cls, record: Record) -> PublishedBeacon:
        """The inverse of :meth:`to_json`, strict."""
        predicate = cls(
            record.sha256("round"),
            record.text("source", max_length=MAX_SOURCE),
            record.integer("number", low=1, high=2**53 - 1),
            record.text("signature", pattern=r"([0-9a-f]{96}){1,2}"),
            record.text("previous_signature", pattern=r"([0-9a-f]{192})?", empty=True),
        )
        record.done()
        return predicate


def beacon_of_voters(round_id: str, commitments: str, shares: Mapping[str, str]) -> Beacon:
    """The randomness that voters make: over the round, the digest of its commitments, and every salt that was shown.

    Args:
        shares: salt (64 hex digits) by voter.
    """
    body = b"".join(bytes.fromhex(voter) + bytes.fromhex(shares[voter]) for voter in sorted(shares))
    value = sha256(b"verifai/beacon-of-voters/v1\x00" + bytes.fromhex(round_id) + bytes.fromhex(commitments) + body)
    return Beacon(VOTERS, 0, value)
