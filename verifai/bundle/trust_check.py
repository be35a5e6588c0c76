"""Steps T1 to T6 of ``docs/bundle-format.md``: signatures, dates, set-up and log against a trust file. One finding each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from verifai.bundle.dates import evidence_dates
from verifai.bundle.dsse import check_signatures
from verifai.bundle.keyless import MAX_SIDECAR_BYTES, KeylessVerifier, SigstoreVerifier, sidecar_path
from verifai.bundle.log_check import LogEvidence, check_log
from verifai.bundle.reader import OpenBundle
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Attestation, Envelope
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.digest import short
from verifai.domain.findings import Finding, Outcome, at_step, holds, not_checked
from verifai.domain.trust import ROLE_OF, KeylessTrust, RoleRule, Trust, TrustRole
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected, PolicyNotMet, VerifaiError
from verifai.execution.files import read_limited

P = TypeVar("P")

CLOCK_SKEW = timedelta(minutes=10)
"""How far a maker's clock may be ahead of ours."""


VOUCHED = "keyless-signed"


def check_trust(bundle: OpenBundle, trust: Trust, now: str, *, keyless: KeylessVerifier | None = None) -> tuple[Finding, ...]:
    """Check signatures, age, set-up material and log inclusion against a trust file.

    Args:
        now: UTC, such as ``2026-01-31T23:59:59Z``.
        keyless: who checks identities; by default Sigstore.

    Returns:
        One finding per check; false evidence becomes a finding, not an exception, so that a report shows all of it.
    """
    wanted, verifier = trust.keyless, keyless or SigstoreVerifier()
    vouched = [] if wanted is None else [_guard("T6", partial(_check_keyless, bundle, wanted, verifier))]
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("T1", partial(_check_expiry, trust, now)),
        ("T2", partial(_check_manifest, bundle, trust)),
        *(("T3", partial(_check_attestation, one, trust)) for _, one in sorted(bundle.attestations.items())),
        ("T4", partial(_check_age, bundle, trust, now, any(one.code == VOUCHED for one in vouched))),
        ("T5", partial(_check_srs, bundle, trust)),
        ("L", partial(_check_log, bundle, trust)),
    ]
    return (*(_guard(step, check) for step, check in checks), *vouched)


def _guard(step: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except VerifaiError as problem:
        return Finding.from_error(problem, step=step)


def _check_expiry(trust: Trust, now: str) -> Finding:
    """T1: the trust file has not expired."""
    if trust.is_expired(now):
        raise PolicyNotMet(
            "trust-expired", f"the trust file expired at {trust.expires}", hint="Review it, then give it a new date."
        )
    until = f"until {trust.expires}" if trust.expires else "without an end date"
    return holds("trust-current", f"the trust file may be used {until}", "T1")


def require_signers(envelope: Envelope, rule: RoleRule, role: TrustRole, names: Trust, where: str) -> Finding:
    """Enough distinct keys of a role signed ``envelope``.

    Raises:
        EvidenceRejected: ``signature-invalid``.
        PolicyNotMet: ``unsigned``, or ``below-threshold`` when too few *keys*, not signatures, are known and good.
    """
    check = check_signatures(envelope, rule.keys, where=where)
    if check.unsigned:
        raise PolicyNotMet(
            "unsigned",
            f"it has no signature; {rule.threshold} of role {role.value!r} must sign",
            where=where,
            hint="Sign it: `verifai seal BUNDLE --key KEY`",
        )
    if len(check.signers) < rule.threshold:
        others = f"; unknown keys: {', '.join(short(one) for one in check.unknown)}" if check.unknown else ""
        raise PolicyNotMet(
            "below-threshold",
            f"{len(check.signers)} of the {rule.threshold} required keys of role {role.value!r} signed{others}",
            where=where,
            hint="Ask the missing signers, or check the trust file's keys.",
        )
    signers = ", ".join(sorted(names.names.get(key, key.keyid) for key in check.signers))
    return holds("signed", f"signed by {signers} ({role.value}: {len(check.signers)} of {rule.threshold})", "", where=where)


def _check_manifest(bundle: OpenBundle, trust: Trust) -> Finding:
    """T2: the release role signed the manifest."""
    rule = trust.roles.get(TrustRole.RELEASE)
    if rule is None:
        # An invalid signature of any key we know is false evidence, whatever role the key has.
        check_signatures(bundle.envelope, trust.keys.values(), where=MANIFEST_NAME)
        return not_checked(
            "signature-not-required", "the trust file demands no signature on releases", "T2", where=MANIFEST_NAME
        )
    return at_step(require_signers(bundle.envelope, rule, TrustRole.RELEASE, trust, MANIFEST_NAME), "T2")


def _check_attestation(attestation: Attestation, trust: Trust) -> Finding:
    """T3: the role that an attestation's type asks for signed it."""
    where = f"attestations/{attestation.id}.dsse.json"
    role = ROLE_OF.get(attestation.predicate.TYPE)
    rule = trust.roles.get(role) if role is not None else None
    if role is None or rule is None:
        check_signatures(attestation.envelope, trust.keys.values(), where=where)
        kind = attestation.predicate.TYPE
        return not_checked("signature-not-required", f"the trust file demands no signature on {kind}", "T3", where=where)
    return at_step(require_signers(attestation.envelope, rule, role, trust, where), "T3")


def _check_age(bundle: OpenBundle, trust: Trust, now: str, vouched: bool) -> Finding:
    """T4: neither from the future nor too old, by dates that somebody trusted signed. Only the log's order is evidence of time.

    Args:
        vouched: whether an identity vouched for the manifest, and so for all dates below it.
    """
    moment, written = parse_utc(now), parse_utc(bundle.manifest.created)
    dates = list(evidence_dates(bundle, trust))
    for claimed in (*(one.made for one in dates), written):
        if claimed > moment + CLOCK_SKEW:
            raise EvidenceRejected("from-the-future", f"it says it was made at {claimed:%Y-%m-%dT%H:%M:%SZ}, it is {now} now")
    for one in dates:
        if one.made > written + CLOCK_SKEW:
            message = f"a {one.kind} says it was made after the bundle that holds it"
            raise EvidenceRejected("from-the-future", message, where=MANIFEST_NAME)
    days = (moment - min([*(one.made for one in dates), written])) / timedelta(days=1)
    limit = trust.maximum_age_days
    if limit is None:
        return not_checked("age-not-limited", f"made {days:.1f} days ago by its maker's clock; no maximum age is set", "T4")
    if days > limit:
        raise PolicyNotMet("stale", f"made {days:.1f} days ago, the limit is {limit} days", hint="Ask for a fresh proof.")
    unsigned = [one.kind for one in dates if not one.signers]
    if unsigned and not vouched:
        raise PolicyNotMet(
            "date-not-signed",
            f"at most {limit} days are allowed, but no trusted key signed the {unsigned[0]}'s date: it could be written anew",
            where=MANIFEST_NAME,
            hint="Ask for a signature, and name its key in the trust file: [roles.release]",
        )
    return holds("fresh", f"made {days:.1f} days ago by its maker's clock, the limit is {limit} days", "T4")


def _check_srs(bundle: OpenBundle, trust: Trust) -> Finding:
    """T5: the set-up material is one that the reader accepts."""
    circuits = list(_predicates(bundle, CircuitPredicate))
    if any("test-srs" in circuit.insecure for circuit in circuits) and not trust.allow_test_srs:
        raise PolicyNotMet(
            "srs-test-only",
            "the circuit rests on a test SRS, whose maker can forge proofs",
            hint="Compile with an SRS of the public ceremony; for tests only, set srs.allow_test_srs in the trust file.",
        )
    if trust.srs_sha256 is None:
        return not_checked("srs-not-limited", "the trust file lists no SRS; the lock's is accepted", "T5")
    pins = {circuit.pins["srs_sha256"] for circuit in circuits if "srs_sha256" in circuit.pins}
    if not pins:
        return not_checked("srs-not-limited", "the evidence rests on no SRS", "T5")
    for digest in sorted(pins - trust.srs_sha256):
        raise PolicyNotMet("srs-not-trusted", f"SRS {digest} is not among those of the trust file", hint="Review, then add it.")
    return holds("srs-trusted", "the SRS is one of the trust file's", "T5", evidence=", ".join(sorted(pins)))


def _check_keyless(bundle: OpenBundle, wanted: KeylessTrust, verifier: KeylessVerifier) -> Finding:
    """T6: the identity vouched for the manifest, in the file beside the bundle."""
    path = sidecar_path(bundle.path)
    if not path.is_file():
        raise PolicyNotMet(
            "keyless-missing",
            f"{wanted.identity} must vouch for the manifest",
            where=str(path),
            hint="Vouch for it: `verifai seal BUNDLE --sigstore`",
        )
    verifier.verify(bundle.envelope.payload, read_limited(path, limit=MAX_SIDECAR_BYTES), wanted)
    return holds(VOUCHED, f"{wanted.identity} vouched for the manifest, certified by {wanted.issuer}", "T6")


def _check_log(bundle: OpenBundle, trust: Trust) -> Finding:
    """L1 to L4."""
    if trust.log is None:
        return not_checked("log-not-required", "the trust file names no audit log", "L")
    try:
        evidence: LogEvidence = check_log(bundle.log, sorted(bundle.attestations), trust.log)
    except PolicyNotMet as problem:
        if trust.log.required:
            raise
        return Finding(problem.code, Outcome.NOT_CHECKED, problem.message, where=problem.where, step="L")
    count, size = len(evidence.positions), evidence.checkpoint.size
    return holds(
        "logged",
        f"all {count} attestations are in log {trust.log.origin!r} ({size} entries, {evidence.witnesses} witnesses)",
        "L",
        evidence="positions " + ", ".join(str(one) for one in sorted(evidence.positions.values())),
    )


def _predicates(bundle: OpenBundle, kind: type[P]) -> Iterable[P]:
    return (one.predicate for one in bundle.attestations.values() if isinstance(one.predicate, kind))
