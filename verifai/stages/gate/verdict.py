"""A signed verdict, read and judged: which bundles a gate let through, by which policy, and who says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from verifai.bundle.dsse import check_signatures
from verifai.bundle.log_check import check_log
from verifai.bundle.reader import OpenBundle, open_bundle
from verifai.bundle.trust_check import require_signers
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.digest import Sha256, short
from verifai.domain.findings import Finding, at_step, holds
from verifai.domain.policy.attestation import GatePredicate, VerificationResult
from verifai.domain.trust import LogTrust, RoleRule, Trust, TrustRole
from verifai.domain.utc_time import format_utc, parse_utc
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.stages.gate.load import load_policy
from verifai.trust_file import TrustFile


@dataclass(frozen=True)
class ReadVerdict:
    """What a verdict says; nothing of it is verified.

    Attributes:
        signers: identifiers of the keys in whose names it is signed.
    """

    path: Path
    bundle_id: Sha256
    attestation_id: Sha256
    verdict: GatePredicate
    signers: tuple[str, ...]


@dataclass(frozen=True)
class JudgedVerdict:
    """A verdict, judged. ``findings``: one per check."""

    read: ReadVerdict
    findings: tuple[Finding, ...]


def read_verdict(path: Path) -> ReadVerdict:
    """Read the verdict that `gate --attest` wrote.

    Raises:
        UsageError: ``file-missing``, ``not-a-bundle``. EvidenceRejected: ``ambiguous-proof``, when not exactly one
            verdict is in it; it is malformed.
    """
    with open_bundle(path) as bundle:
        return _read(bundle)[0]


def judge_verdict(
    path: Path, trust: TrustFile, now: datetime, *, policy: Path | None = None, bundles: Sequence[Path] = ()
) -> JudgedVerdict:
    """Who signed the verdict, whether it let the release through, and whether it is about this policy and these bundles.

    What the gate decided is not decided again: that takes its bundles and its policy, and `verifai gate`.

    Args:
        trust: its role ``gate`` must have signed the verdict; its log must hold it, where there is one.
        policy: the policy, with all that it names, that must have been used.
        bundles: bundles that must be among those let through.

    Raises:
        UsageError: ``bad-trust``, when the file names no role ``gate``; those of reading the policy.
        EvidenceRejected: it is malformed.
    """
    rule = trust.trust.roles.get(TrustRole.GATE)
    if rule is None:
        hint = "Add its key: `verifai trust add FILE --role gate --key KEY.pub`"
        raise UsageError("bad-trust", "the trust file names nobody whose verdicts count", where=str(trust.path), hint=hint)
    found: list[Finding] = []
    with open_bundle(path) as bundle:
        read, attestation = _read(bundle)
        _each(found, lambda: _signed(bundle, attestation, rule, trust.trust))
        _each(found, lambda: _passed(read.verdict))
        _each(found, lambda: _fresh(read.verdict, trust, now))
        if trust.trust.log is not None:
            log = trust.trust.log
            _each(found, lambda: _logged(bundle, attestation, log))
    if policy is not None:
        digest = load_policy(policy).digest
        _each(found, lambda: _same_policy(read.verdict, digest, str(policy)))
    for one in bundles:
        _each(found, partial(_let_through, read.verdict, one))
    return JudgedVerdict(read, tuple(found))


def _read(bundle: OpenBundle) -> tuple[ReadVerdict, Attestation]:
    verdicts = bundle.of_type(GatePredicate.TYPE)
    if len(verdicts) != 1:
        hint = "Name what `gate --attest` wrote."
        message = f"{len(verdicts)} verdicts of a gate in one bundle"
        raise EvidenceRejected("ambiguous-proof", message, where=str(bundle.path), hint=hint)
    (one,) = verdicts
    assert isinstance(one.predicate, GatePredicate)
    signers = tuple(signature.keyid for signature in one.envelope.signatures)
    return ReadVerdict(bundle.path, bundle.bundle_id, one.id, one.predicate, signers), one


def _signed(bundle: OpenBundle, attestation: Attestation, rule: RoleRule, trust: Trust) -> Finding:
    """G1. A false signature under a trusted name is false evidence, in an audit and here, also where none is asked for."""
    envelopes = [(MANIFEST_NAME, bundle.envelope)]
    envelopes += [(f"attestations/{one.id}.dsse.json", one.envelope) for one in bundle.attestations.values()]
    for where, envelope in envelopes:
        check_signatures(envelope, trust.keys.values(), where=where)
    where = f"attestations/{attestation.id}.dsse.json"
    return at_step(require_signers(attestation.envelope, rule, TrustRole.GATE, trust, where), "G1")


def _passed(verdict: GatePredicate) -> Finding:
    if verdict.result is not VerificationResult.PASSED:
        raise PolicyNotMet("verdict-failed", f"the gate did not let the release through (policy {verdict.policy_name!r})")
    return holds("verdict-passed", f"the gate let {len(verdict.inputs)} bundle(s) through by {verdict.policy_name!r}", "G2")


def _fresh(verdict: GatePredicate, trust: TrustFile, now: datetime) -> Finding:
    if trust.trust.is_expired(format_utc(now)):
        raise PolicyNotMet("trust-expired", f"the trust file expired at {trust.trust.expires}", where=str(trust.path))
    days, made = trust.trust.maximum_age_days, parse_utc(verdict.time_verified)
    if made > now + timedelta(minutes=10):
        raise EvidenceRejected("from-the-future", f"the verdict says that it was made at {verdict.time_verified}")
    if days is not None and now - made > timedelta(days=days):
        raise PolicyNotMet("stale", f"the verdict is of {verdict.time_verified}, the limit is {days} days")
    return holds("fresh", f"decided at {verdict.time_verified}, by the gate's clock", "G3")


def _same_policy(verdict: GatePredicate, digest: Sha256, where: str) -> Finding:
    if verdict.policy != digest:
        message = f"the verdict is by policy {short(verdict.policy)}, this one, with all that it names, is {short(digest)}"
        raise PolicyNotMet("verdict-other-policy", message, where=where)
    return holds("verdict-policy", f"by exactly this policy, {short(digest)}", "G5")


def _let_through(verdict: GatePredicate, path: Path) -> Finding:
    with open_bundle(path) as bundle:
        identifier = bundle.bundle_id
    if not any(one.sha256 == identifier and one.outcome == "holds" for one in verdict.inputs):
        raise PolicyNotMet(
            "verdict-other-bundle", f"bundle {short(identifier)} is not among those let through", where=str(path)
        )
    return holds("verdict-bundle", f"bundle {short(identifier)} was let through", "G6", where=str(path))


def _logged(bundle: OpenBundle, attestation: Attestation, log: LogTrust) -> Finding:
    evidence = check_log(bundle.log, [attestation.id], log)
    return holds("logged", f"the verdict is in log {log.origin!r} ({evidence.checkpoint.size} entries)", "G4")


def _each(found: list[Finding], check: Callable[[], Finding]) -> None:
    try:
        found.append(check())
    except VerifaiError as problem:
        if problem.status not in (1, 3, 4):
            raise
        found.append(Finding.from_error(problem, step="G"))
