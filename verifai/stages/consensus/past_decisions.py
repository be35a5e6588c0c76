"""Past decisions for reputation: signed by a key that is trusted to call rounds, and on the trusted audit log.

The log holds the digest; the decision itself, with its votes, is in its bundle. The log shows that a decision was made then and
was not changed since. It does not show that all decisions were given: the giver may leave some out.
"""

from __future__ import annotations

from pathlib import Path

from verifai.bundle.log_check import check_log
from verifai.bundle.reader import open_bundle
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.trust import Trust, TrustRole
from verifai.errors import PolicyNotMet, UsageError
from verifai.stages.consensus.find_round import find_round, require_trusted


def require_log(trust: Trust, where: str, now: str) -> Trust:
    """``trust`` once it names who may call rounds and which log is trusted. Raises UsageError, PolicyNotMet."""
    if trust.is_expired(now):
        raise PolicyNotMet("trust-expired", f"the trust file expired at {trust.expires}", where=where, hint="Review it.")
    if trust.log is None or TrustRole.CONSENSUS not in trust.roles:
        raise UsageError(
            "bad-trust",
            "past decisions are checked by a trust file with a log and with keys of role 'consensus'",
            where=where,
            hint="Add [log] and [roles.consensus].",
        )
    return trust


def logged_decision(path: Path, trust: Trust) -> ConsensusDecision:
    """The decision of the bundle at ``path``, once signatures and log hold. ``trust``: from :func:`require_log`.

    Raises:
        EvidenceRejected: ``ambiguous-proof``, ``broken-chain``, a false signature or log proof.
        PolicyNotMet: ``below-threshold``; ``not-logged``, ``below-witnesses``.
    """
    assert trust.log is not None
    with open_bundle(path) as bundle:
        attestation, decision, _ = find_round(bundle)
        for identifier in (attestation.id, decision.round):
            require_trusted(bundle, identifier, trust)
        check_log(bundle.log, [attestation.id], trust.log)
        return decision
