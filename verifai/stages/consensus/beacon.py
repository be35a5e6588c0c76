"""The randomness of a round, derived again from what proves it: a drand signature, or the shares of the voters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from verifai.bundle.dsse import check_signatures
from verifai.consensus.drand import MAX_BYTES, parse_drand, require_signed
from verifai.consensus.files import read_beacon
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.consensus.beacons import DRAND_MARGIN, VOTERS, PublishedBeacon, beacon_of_voters, chain_of
from verifai.domain.consensus.exchange import VoteOpening
from verifai.domain.consensus.round import Beacon, Round, RoundTerms
from verifai.domain.consensus.vote import commitment_value
from verifai.domain.digest import Sha256
from verifai.domain.trust_keys import PublicKey
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.execution.files import read_limited


def require_beacon(
    round_: Round,
    beacon: Beacon,
    openings: Sequence[Attestation],
    published: PublishedBeacon | None,
    keys: Mapping[str, PublicKey],
) -> frozenset[str] | None:
    """``beacon`` is what its source says it is, as far as that can be known.

    Args:
        round_: with all commitments, before the seed is drawn.

    Returns:
        Who showed a share, when the voters make the randomness; else ``None``.

    Raises:
        EvidenceRejected: ``beacon-mismatch``, ``beacon-false``; ``beacon-unproven``, when what would prove a drand value is not
            there; ``beacon-early``, when it was public before the last commitment was due.
        Undecided: ``package-missing``.
    """
    rule = round_.terms.beacon
    if rule.source == VOTERS:
        shares = shares_of(round_, openings, keys)
        made = beacon_of_voters(round_.round_id, round_.set_digest(), shares)
        if made != beacon:
            raise EvidenceRejected("beacon-mismatch", "the voters' shares give another value of the randomness")
        return frozenset(shares)
    require_late_enough(round_.terms)
    if not is_drand(round_.terms):
        return None
    if published is None:
        hint = "Give the chain's JSON, as its service returns it: --beacon FILE"
        raise EvidenceRejected("beacon-unproven", f"nothing proves the value of {rule.source}", hint=hint)
    if (
        published.round != round_.round_id
        or published.beacon != beacon
        or (rule.source, rule.number)
        != (
            published.source,
            published.number,
        )
    ):
        raise EvidenceRejected("beacon-mismatch", "the value is not the one that was published for this round")
    require_signed(published)
    return None


def read_randomness(path: Path, terms: RoundTerms, round_id: Sha256) -> tuple[Beacon, PublishedBeacon | None]:
    """What a file says that the round's beacon published: drand's own JSON for a drand chain, else our own.

    Raises:
        UsageError: ``file-missing``, ``bad-beacon``. EvidenceRejected: ``beacon-false``. Undecided: ``package-missing``.
    """
    if not is_drand(terms):
        return read_beacon(path), None
    published = parse_drand(read_limited(path, limit=MAX_BYTES), terms.beacon, round_id, str(path))
    return published.beacon, published


def is_drand(terms: RoundTerms) -> bool:
    """Whether the round's randomness is that of a drand chain. Raises EvidenceRejected (``beacon-false``): an unknown one."""
    try:
        return chain_of(terms.beacon) is not None
    except UsageError as problem:
        raise EvidenceRejected("beacon-false", problem.message, hint=problem.hint) from None


def require_late_enough(terms: RoundTerms) -> None:
    """A drand number that the terms name comes out after the last commitment is due. Raises EvidenceRejected."""
    if not is_drand(terms):
        return
    chain = chain_of(terms.beacon)
    assert chain is not None
    out = chain.time_of(terms.beacon.number)
    if out < parse_utc(terms.commit_by) + DRAND_MARGIN:
        raise EvidenceRejected(
            "beacon-early",
            f"{terms.beacon.source} number {terms.beacon.number} came out at {out:%Y-%m-%dT%H:%M:%SZ}, and commitments were "
            f"taken until {terms.commit_by}",
            hint="Who knows the seed before it commits can choose an answer that hides: do not rely on this round.",
        )


def require_before_beacon(terms: RoundTerms, now: datetime, what: str) -> None:
    """The drand number that the terms name is not out yet. Raises PolicyNotMet (``round-late``).

    Args:
        what: what must come before it, in words: who knows the seed chooses an answer, or a list, that suits it. The terms
            alone do not show that: a deadline that lies in the past comes before a number that everybody knows.
    """
    chain = chain_of(terms.beacon) if is_drand(terms) else None
    if chain is None or now < (out := chain.time_of(terms.beacon.number)):
        return
    message = f"the randomness came out at {out:%Y-%m-%dT%H:%M:%SZ}, before {what}"
    hint = "Open a new round, and let `verifai round close` run when its first deadline comes."
    raise PolicyNotMet("round-late", message, hint=hint)


def shares_of(round_: Round, openings: Sequence[Attestation], keys: Mapping[str, PublicKey]) -> Mapping[str, str]:
    """The salt that each voter showed: it must open the voter's one commitment, and the voter must have signed it.

    Whoever committed twice has no share: which of its two salts counts would be a choice.
    """
    committed = round_.commitments()
    shares: dict[str, str] = {}
    for one in openings:
        message = one.predicate
        if not isinstance(message, VoteOpening) or message.round != round_.round_id or message.voter in round_.liars:
            continue
        key, known = keys.get(message.voter), committed.get(message.voter)
        if key is None or known is None or known[0] != message.commitment or not _signed(one, key):
            continue
        if commitment_value(message.outputs_root, message.salt, message.voter) == known[1].commitment:
            shares[message.voter] = message.salt
    return shares


def _signed(one: Attestation, key: PublicKey) -> bool:
    try:
        return key in check_signatures(one.envelope, [key], where=one.id).signers
    except EvidenceRejected:
        return False
