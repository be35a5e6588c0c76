"""Waivers: one unmet demand, on one digest, accepted by a named person until a date. They never touch false evidence.

A waiver is narrow by construction: it names one code out of :data:`WAIVABLE` and one digest in full. Anything else in a
policy's waiver list (a wildcard, an unreadable date, an expiry years away) is a defect of its own, and the gate says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from verifai.domain.digest import Sha256
from verifai.domain.findings import Finding, Outcome
from verifai.domain.record import Record
from verifai.domain.unicode_14 import is_printable
from verifai.domain.utc_time import UTC_PATTERN, format_utc, parse_utc
from verifai.errors import PolicyNotMet

DEFAULT_MAX_DAYS = 90
MAX_WAIVERS = 256


class Claim(StrEnum):
    """What a passed verdict may claim only where nothing about it was waived."""

    SIGNED = "signed"
    LOGGED = "logged"
    SET_UP = "set-up"
    PRIVACY = "privacy"


COSTS: Mapping[str, Claim | None] = {
    "stale": None,
    "unsigned": Claim.SIGNED,
    "below-threshold": Claim.SIGNED,
    "not-logged": Claim.LOGGED,
    "below-witnesses": Claim.LOGGED,
    "srs-test-only": Claim.SET_UP,
    "srs-not-trusted": Claim.SET_UP,
    "srs-below-policy": Claim.SET_UP,
    "insecure-mode": None,
    "privacy-below-policy": Claim.PRIVACY,
    "fidelity-below-floor": None,
    "engine-not-allowed": None,
    "too-few-inferences": None,
    "too-few-verifiers": None,
    "too-few-environments": None,
    "gate-policy-unknown": None,
    "gate-with-waivers": None,
    "opening-repeated": None,
}
"""What a waiver of a code costs: the claim that the verdict cannot make then."""

WAIVABLE = frozenset(COSTS)
"""Codes that a waiver may name: demands that genuine evidence misses. Missing evidence, an earlier gate's refusal, an expired
trust file, and everything rejected or undecided are absent on purpose."""


class ScopeKind(StrEnum):
    """What a waiver's digest names."""

    BUNDLE = "bundle"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Scope:
    """The one thing that a waiver is about.

    Attributes:
        sha256: bundle identifier, or digest of the model as the lock pins it.
    """

    kind: ScopeKind
    sha256: Sha256

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Waiver:
    """One well-formed waiver.

    Attributes:
        id: unique in the policy.
        code: the finding it covers.
        expires: UTC; it does not hold from this moment on.
    """

    id: str
    code: str
    scope: Scope
    reason: str
    approver: str
    expires: str

    def covers(self, finding: Finding, scopes: Iterable[Scope]) -> bool:
        """Whether it is about ``finding`` on one of ``scopes``. Only a demand not met can be covered."""
        return finding.outcome is Outcome.POLICY_NOT_MET and finding.code == self.code and self.scope in scopes

    def expired(self, now: datetime) -> bool:
        """Whether it has run out."""
        return parse_utc(self.expires) <= now

    def to_json(self) -> dict[str, str]:
        """As a JSON object."""
        return {
            "id": self.id,
            "code": self.code,
            "scope": str(self.scope),
            "reason": self.reason,
            "approver": self.approver,
            "expires": self.expires,
        }


@dataclass(frozen=True, slots=True)
class WaiverRules:
    """What waivers of a policy may be.

    Attributes:
        max_days: how far ahead an expiry may lie.
        approvers: who may approve; empty: any named person.
    """

    max_days: int = DEFAULT_MAX_DAYS
    approvers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WaiverBook:
    """All waivers of a policy.

    Attributes:
        good: well-formed ones; whether they still hold depends on the clock.
        bad: one finding (``waiver-malformed``) for each entry that is no waiver.
    """

    rules: WaiverRules = WaiverRules()
    good: tuple[Waiver, ...] = ()
    bad: tuple[Finding, ...] = ()

    def at(self, now: datetime) -> WaiversInForce:
        """The waivers that hold at ``now``, and findings about those that do not."""
        held: list[Waiver] = []
        findings = list(self.bad)
        for waiver in self.good:
            if waiver.expired(now):
                findings.append(
                    _finding("waiver-expired", waiver.id, f"expired at {waiver.expires}", "Delete it, or renew it.")
                )
            elif parse_utc(waiver.expires) > now + timedelta(days=self.rules.max_days):
                findings.append(
                    _finding(
                        "waiver-too-broad",
                        waiver.id,
                        f"expires at {waiver.expires}, more than {self.rules.max_days} days ahead",
                        "Set an earlier expiry, so that the waiver is reviewed.",
                    )
                )
            else:
                held.append(waiver)
        return WaiversInForce(tuple(held), tuple(findings))


@dataclass(frozen=True, slots=True)
class WaivedFinding:
    """A finding and the waiver that covers it."""

    finding: Finding
    waiver: Waiver


@dataclass(frozen=True, slots=True)
class WaiversInForce:
    """The waivers that hold at one moment.

    Attributes:
        findings: one per waiver that does not hold. Each makes the gate fail, because its author relies on it.
    """

    waivers: tuple[Waiver, ...]
    findings: tuple[Finding, ...] = ()

    def apply(
        self, findings: Iterable[Finding], scopes: Iterable[Scope]
    ) -> tuple[tuple[Finding, ...], tuple[WaivedFinding, ...]]:
        """Split ``findings`` about the things in ``scopes`` into those that stand and those that are waived."""
        known = frozenset(scopes)
        stand: list[Finding] = []
        waived: list[WaivedFinding] = []
        for finding in findings:
            waiver = next((one for one in self.waivers if one.covers(finding, known)), None)
            if waiver is None:
                stand.append(finding)
            else:
                waived.append(WaivedFinding(finding, waiver))
        return tuple(stand), tuple(waived)


def parse_waivers(root: Record) -> WaiverBook:
    """Read ``[waivers]`` and ``[[waiver]]`` of a policy.

    A bad entry does not make the policy unreadable: it becomes a finding, and no waiver.

    Raises:
        UsageError: code ``bad-policy``, when the two are not tables at all, or there are too many.
    """
    rules_record = root.table("waivers", {})
    rules = WaiverRules(
        rules_record.integer("max_days", DEFAULT_MAX_DAYS, low=1, high=366),
        rules_record.texts("approvers", (), max_length=64),
    )
    rules_record.done()
    raw = root.take("waiver", [])
    if not isinstance(raw, list):
        raise root.refuse("expected [[waiver]] tables", "waiver")
    if len(raw) > MAX_WAIVERS:
        raise root.refuse(f"more than {MAX_WAIVERS} waivers", "waiver", hint="A policy that is mostly waivers is no policy.")
    good: dict[str, Waiver] = {}
    bad: list[Finding] = []
    for index, item in enumerate(raw):
        try:
            waiver = _waiver(item, f"waiver[{index}]", rules)
            if waiver.id in good:
                raise PolicyNotMet("waiver-malformed", f"the id {waiver.id!r} is used twice", where=f"waiver[{index}].id")
            good[waiver.id] = waiver
        except PolicyNotMet as problem:
            bad.append(Finding.from_error(problem))
    return WaiverBook(rules, tuple(good.values()), tuple(bad))


def _waiver(item: Any, where: str, rules: WaiverRules) -> Waiver:
    if not isinstance(item, Mapping):
        raise PolicyNotMet("waiver-malformed", "expected a table", where=where)
    fields = dict(item)
    expires = fields.get("expires")
    if isinstance(expires, datetime):  # TOML's own date-time, unquoted
        offset = expires.utcoffset()
        if offset is None or offset or expires.microsecond:
            raise PolicyNotMet("waiver-malformed", "the expiry is not in UTC, whole seconds", where=f"{where}.expires")
        fields["expires"] = format_utc(expires)
    record = Record(fields, where, error=PolicyNotMet, code="waiver-malformed")
    code = record.text("code", max_length=64)
    if code not in WAIVABLE:
        raise record.refuse(
            f"{code[:64]!r} cannot be waived", "code", hint="False, missing or unchecked evidence never is. Waivable: "
            + ", ".join(sorted(WAIVABLE)) + ".",
        )  # fmt: skip
    waiver = Waiver(
        id=record.text("id", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
        code=code,
        scope=_scope(record),
        reason=record.text("reason", max_length=1000),
        approver=record.text("approver", max_length=200),
        expires=record.text("expires", pattern=UTC_PATTERN),
    )
    record.done()
    _check_words(record, waiver, rules)
    return waiver


def _scope(record: Record) -> Scope:
    text = record.text("scope", pattern=r"(bundle|model):[0-9a-f]{64}")
    kind, _, digest = text.partition(":")
    return Scope(ScopeKind(kind), Sha256(digest))


def _check_words(record: Record, waiver: Waiver, rules: WaiverRules) -> None:
    try:
        parse_utc(waiver.expires)
    except ValueError as problem:
        raise record.refuse(str(problem), "expires") from None
    if len(waiver.reason.strip()) < 10:
        raise record.refuse("say why, in a sentence", "reason")
    if not waiver.approver.strip() or not is_printable(waiver.approver):
        raise record.refuse("name a person", "approver")
    if rules.approvers and waiver.approver not in rules.approvers:
        raise record.refuse(f"{waiver.approver[:80]!r} is not among the approvers of this policy", "approver")


def _finding(code: str, identifier: str, message: str, remedy: str) -> Finding:
    return Finding(code, Outcome.POLICY_NOT_MET, f"waiver {identifier}: {message}", where=f"waiver {identifier}", remedy=remedy)
