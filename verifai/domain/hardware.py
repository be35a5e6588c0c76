"""Hardware attestation as values: what a report of a trusted machine establishes, and which machines a reader trusts.

A report says that a processor of a known maker measured some code and that this code asked for a signature over 64 bytes. It is
*not* a proof: whoever can open the machine can forge it (TEE.Fail, October 2025), and every verdict says so (:data:`NO_PROOF`).
Which measurements count is the reader's to say, in ``[[hardware]]`` of the trust file.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from verifai.domain.digest import Sha256, sha256, short
from verifai.domain.findings import Finding, Outcome, holds, missed, not_checked
from verifai.domain.record import Record
from verifai.domain.utc_time import format_utc

NO_PROOF = "hardware evidence is no proof: whoever can open the machine can forge it, and its maker's keys are trusted"
MAX_ENTRIES = 64
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
_HEX = r"(?:[0-9a-f]{2}){16,64}"


class HardwareKind(StrEnum):
    """Whose attestation it is."""

    SEV_SNP = "sev-snp"
    TDX = "tdx"
    NITRO = "nitro"


REGISTERS: Mapping[HardwareKind, frozenset[str]] = {
    HardwareKind.SEV_SNP: frozenset(
        {"measurement", "host_data", "id_key_digest", "author_key_digest", "family_id", "image_id"}
    ),
    HardwareKind.TDX: frozenset(
        {"mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig", "mrseam", "mrsignerseam"}
    ),
    HardwareKind.NITRO: frozenset(f"pcr{index}" for index in range(32)),
}
"""The registers of each kind that a trust file can name."""
IDENTIFYING: Mapping[HardwareKind, frozenset[str]] = {
    HardwareKind.SEV_SNP: frozenset({"measurement"}),
    HardwareKind.TDX: frozenset({"mrtd"}),
    HardwareKind.NITRO: frozenset({"pcr0"}),
}
"""The register that says which code was loaded; an entry that does not name it would trust any code."""
SVN_NAMES: Mapping[HardwareKind, frozenset[str]] = {
    HardwareKind.SEV_SNP: frozenset({"bootloader", "tee", "snp", "microcode", "fmc"}),
    HardwareKind.TDX: frozenset(),
    HardwareKind.NITRO: frozenset(),
}
"""Version numbers of the machine's firmware that a trust file can set a floor under."""


class TcbStatus(StrEnum):
    """What the maker says of the firmware's version, in Intel's words; ``unknown`` when nobody was asked."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING = "SWHardeningNeeded"
    CONFIGURATION = "ConfigurationNeeded"
    CONFIGURATION_AND_HARDENING = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class HardwareFacts:
    """What a report establishes: its signatures lead to a root of its maker, and nothing in it is undecided but what is said.

    Attributes:
        product: the maker's product line, such as ``Milan``; ``tdx``; ``nitro``.
        report_data: what the measured code asked to have signed, 64 bytes; Nitro: ``user_data``, up to 512.
        registers: measurements by name, lower-case hex.
        debug: whether the machine's owner can read the measured code's memory: by debugging, or by a migration.
        svns: version numbers of firmware by name.
        tcb: what the maker says of that firmware.
        advisories: the maker's security advisories that apply.
        revocation_checked: whether revocation lists of the time were at hand.
        valid_from, valid_until: UTC; inside, every certificate and list that was used is valid.
        made: UTC, when the report itself says when it was made; a word of the machine.
        platform: identifies the machine, as its maker's certificates name it: SEV-SNP: the chip; TDX: the platform (PPID);
            Nitro: the instance that the enclave belongs to.
        root_sha256: SHA-256 of the root certificate that was used.
        test_root: whether that root is one of the caller's own instead of the maker's.
        words: further facts worth telling, in plain words.
    """

    kind: HardwareKind
    product: str
    report_data: bytes
    registers: Mapping[str, str]
    debug: bool
    svns: Mapping[str, int]
    tcb: TcbStatus
    revocation_checked: bool
    valid_from: datetime
    valid_until: datetime
    platform: str
    root_sha256: str
    advisories: tuple[str, ...] = ()
    made: datetime | None = None
    test_root: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustedHardware:
    """One entry of ``[[hardware]]`` in a trust file: machines and code whose reports count.

    Attributes:
        name: for people.
        products: product lines that count; empty for all of the kind.
        registers: each must have exactly this value.
        minimum_svns: floors under version numbers.
        tcb: what the maker may say of the firmware. ``unknown`` has to be named to count.
        revocation: whether revocation must have been checked.
        debug: whether a machine counts whose owner can read its memory; never for a release.
        judged_when_made: whether certificates must have been valid when the evidence was made, by a date that a trusted key
            signed, instead of now. Nitro's live for three hours.
        test_roots: one root of the reader's own in place of the maker's, for tests, as canonical PEM; for SEV-SNP the ASK, then
            the ARK. Marked in every verdict.
    """

    name: str
    kind: HardwareKind
    registers: Mapping[str, str]
    products: tuple[str, ...] = ()
    minimum_svns: Mapping[str, int] = field(default_factory=dict)
    tcb: frozenset[TcbStatus] = frozenset({TcbStatus.UP_TO_DATE})
    revocation: bool = True
    debug: bool = False
    judged_when_made: bool = False
    test_roots: str = ""

    @property
    def test_root_sha256(self) -> Sha256 | None:
        """SHA-256 of the last certificate of :attr:`test_roots`, the root; ``None`` without any."""
        found = _PEM.findall(self.test_roots)
        return sha256(base64.b64decode("".join(found[-1].split()))) if found else None

    @classmethod
    def from_record(cls, record: Record) -> TrustedHardware:
        """Read one entry strictly; what would trust any code, or could never be met, is refused."""
        kind = record.choice("kind", HardwareKind)
        registers = record.table("registers")
        svns = record.table("minimum_svns", {})
        known = {name: registers.text(name, pattern=_HEX) for name in registers.names()}
        for name in known:
            if name not in REGISTERS[kind]:
                raise registers.refuse("no such register", name, hint="Registers: " + ", ".join(sorted(REGISTERS[kind])))
        if not IDENTIFYING[kind] <= set(known):
            missing = ", ".join(sorted(IDENTIFYING[kind] - set(known)))
            raise registers.refuse(f"{missing} is not named, so any code on such a machine would count")
        for name in svns.names():
            if name not in SVN_NAMES[kind]:
                raise svns.refuse(
                    "no such version number", name, hint="Known: " + (", ".join(sorted(SVN_NAMES[kind])) or "none")
                )
        entry = cls(
            name=record.text("name", max_length=100),
            kind=kind,
            registers=known,
            products=record.texts("products", (), max_length=16),
            minimum_svns={name: svns.integer(name, low=0, high=255) for name in svns.names()},
            tcb=_statuses(record, kind),
            revocation=record.flag("revocation", True),
            debug=record.flag("debug", False),
            judged_when_made=record.text("judged", "now", pattern="now|made") == "made",
            test_roots=record.text("test_roots", "", max_length=65536, empty=True),
        )
        for part in (registers, svns, record):
            part.done()
        return replace(entry, test_roots=_canonical_roots(record, entry)) if entry.test_roots else entry


def _canonical_roots(record: Record, entry: TrustedHardware) -> str:
    """The certificates alone, in one spelling, so that those of several entries can stand in one text."""
    wanted = 2 if entry.kind is HardwareKind.SEV_SNP else 1
    try:
        found = [base64.b64decode("".join(one.split()), validate=True) for one in _PEM.findall(entry.test_roots)]
    except (ValueError, binascii.Error):
        found = []
    if len(found) != wanted:
        what = (
            "two certificates in PEM form, the ASK and then the ARK" if wanted == 2 else "one certificate in PEM form, the root"
        )
        raise record.refuse(f"expected {what}", "test_roots")
    lines = []
    for one in found:
        text = base64.b64encode(one).decode("ascii")
        body = (text[start : start + 64] for start in range(0, len(text), 64))
        lines += ["-----BEGIN CERTIFICATE-----", *body, "-----END CERTIFICATE-----"]
    return "\n".join([*lines, ""])


def distinct_machines(shown: Iterable[tuple[str, str]]) -> int:
    """How many of several parties ran on a machine of their own: the largest matching of parties to machines.

    Args:
        shown: party and machine, one pair for each report that counts.
    """
    machines: dict[str, list[str]] = {}
    for party, machine in dict.fromkeys(shown):
        machines.setdefault(party, []).append(machine)
    taken: dict[str, str] = {}

    def place(party: str, tried: set[str]) -> bool:
        for machine in machines[party]:
            if machine not in tried:
                tried.add(machine)
                if machine not in taken or place(taken[machine], tried):
                    taken[machine] = party
                    return True
        return False

    return sum(place(party, set()) for party in machines)


def _statuses(record: Record, kind: HardwareKind) -> frozenset[TcbStatus]:
    # AMD and AWS publish no verdict on versions: floors are the reader's there.
    default = (TcbStatus.UP_TO_DATE.value,) if kind is HardwareKind.TDX else (TcbStatus.UNKNOWN.value,)
    words = record.texts("tcb", default, max_length=len(TcbStatus))
    try:
        found = frozenset(TcbStatus(word) for word in words)
    except ValueError:
        raise record.refuse("no such status", "tcb", hint="Known: " + ", ".join(TcbStatus)) from None
    if not found or found & {TcbStatus.REVOKED, TcbStatus.UNSUPPORTED}:
        raise record.refuse("revoked or unsupported firmware cannot be trusted, and one status must count", "tcb")
    return found


def judge_hardware(facts: HardwareFacts, entries: Sequence[TrustedHardware], *, at: datetime) -> tuple[Finding, ...]:
    """The facts of a genuine report against the machines that a reader trusts.

    Args:
        at: the moment that it is judged for.

    Returns:
        Findings; the report counts when none of them is worse than *not checked*. The entry that misses least speaks.
    """
    same = [entry for entry in entries if entry.kind is facts.kind]
    if not same:
        known = ", ".join(sorted({entry.kind.value for entry in entries})) or "none"
        message = f"the trust file names no {facts.kind.value} hardware (it names: {known})"
        remedy = "Add [[hardware]] with its measurements, once you have reviewed the code behind them."
        return (_missed("tee-measurement-not-trusted", message, remedy),)
    judged = [_judge_entry(facts, entry, at) for entry in same]
    return min(judged, key=_misses)


def _misses(findings: tuple[Finding, ...]) -> tuple[int, int]:
    """How far a report is from an entry: other code counts more than another machine or old firmware."""
    bad = [finding for finding in findings if finding.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)]
    return sum(finding.code == "tee-measurement-not-trusted" for finding in bad), len(bad)


def _judge_entry(facts: HardwareFacts, entry: TrustedHardware, at: datetime) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    for name, wanted in sorted(entry.registers.items()):
        found = facts.registers.get(name, "")
        if found != wanted:
            message = f"{name} is {short(found) or 'not reported'}, {entry.name!r} names {short(wanted)}"
            findings.append(
                _missed("tee-measurement-not-trusted", message, "Review the code that was measured, then add it.", where=name)
            )
    if entry.products and facts.product not in entry.products:
        message = f"the processor is of line {facts.product!r}, {entry.name!r} names {', '.join(entry.products)}"
        findings.append(_missed("tee-product-not-trusted", message, "Run it on a machine that is named, or name this line."))
    if facts.debug and not entry.debug:
        message = "the machine's owner could read what ran there, by debugging or by migrating it"
        findings.append(_missed("tee-debug", message, "Run it with debugging and migration switched off."))
    elif facts.debug:
        message = f"INSECURE: {entry.name!r} accepts a machine whose owner can read what runs there"
        findings.append(Finding("tee-debug", Outcome.NOT_CHECKED, message, remedy="Never for a release."))
    findings += _judge_firmware(facts, entry)
    if not facts.valid_from <= at <= facts.valid_until:
        window = f"{format_utc(facts.valid_from)} to {format_utc(facts.valid_until)}"
        message = f"its certificates and lists are valid from {window}; it is judged for {format_utc(at)}"
        findings.append(_missed("tee-not-current", message, "Ask for fresh evidence, or judge it for the time it was made."))
    if facts.test_root and entry.test_root_sha256 != facts.root_sha256:
        message = f"it leads to root {short(facts.root_sha256)}, which is neither its maker's nor named by {entry.name!r}"
        findings.append(_missed("tee-root-not-trusted", message, "Use evidence of a real machine."))
    elif facts.test_root:
        message = f"INSECURE: {entry.name!r} accepts a test root; whoever holds its key can make any report"
        findings.append(Finding("tee-test-root", Outcome.NOT_CHECKED, message, remedy="Never for a release."))
    findings.append(not_checked("tee-not-a-proof", NO_PROOF))
    if not any(one.outcome is Outcome.POLICY_NOT_MET for one in findings):
        findings.insert(0, holds("tee-trusted", f"the code that was measured is the one that {entry.name!r} names"))
    return tuple(findings)


def _judge_firmware(facts: HardwareFacts, entry: TrustedHardware) -> list[Finding]:
    findings = []
    if facts.tcb not in entry.tcb:
        code = "tee-tcb-unknown" if facts.tcb is TcbStatus.UNKNOWN else "tee-tcb-out-of-date"
        advisories = f" ({', '.join(facts.advisories[:8])})" if facts.advisories else ""
        message = f"the maker says {facts.tcb.value!r} of the firmware{advisories}; accepted: {', '.join(sorted(entry.tcb))}"
        remedy = "Give the maker's collateral of the time with the evidence; or update the machine's firmware."
        findings.append(_missed(code, message, remedy))
    for name, least in sorted(entry.minimum_svns.items()):
        found = facts.svns.get(name)
        if found is None or found < least:
            message = f"version of {name} is {'not reported' if found is None else found}, at least {least} is demanded"
            findings.append(_missed("tee-tcb-out-of-date", message, "Update the machine's firmware.", where=name))
    if entry.revocation and not facts.revocation_checked:
        message = "no revocation list of the time came with it, so a key known to be stolen would pass"
        remedy = "Give the maker's revocation lists with the evidence; or set `revocation = false` in [[hardware]]."
        findings.append(_missed("tee-revocation-unknown", message, remedy))
    return findings


def _missed(code: str, message: str, remedy: str, *, where: str = "hardware") -> Finding:
    return missed(code, message, remedy, where=where)
