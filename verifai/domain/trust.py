"""``trust.toml``: what a verdict may rest on besides ``circuit.lock``. The reader keeps it, outside every bundle.

Roles: *release* signs manifests; *prover* signs circuit and proof attestations; *voter*, *consensus* and *gate* sign theirs; a
*notary* signs that it derived a circuit from a release again.
A role that the file does not mention is not asked for; a role that it mentions must be met.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from verifai.domain.attestation.predicate_types import (
    CIRCUIT_TYPE,
    CONSENSUS_TYPE,
    DERIVATION_TYPE,
    EVALUATION_TYPE,
    GATE_TYPE,
    PROOF_TYPE,
    ROUND_CUT_TYPE,
    ROUND_TYPE,
    VOTE_COMMITMENT_TYPE,
    VOTE_OPENING_TYPE,
    VOTE_REPLAY_TYPE,
    VOTE_TYPE,
)
from verifai.domain.digest import Sha256, is_sha256
from verifai.domain.hardware import MAX_ENTRIES, TrustedHardware
from verifai.domain.model_signing import MAX_SIGNERS, TrustedModelSigner
from verifai.domain.our_files import require_schema
from verifai.domain.record import Record
from verifai.domain.trust_keys import PublicKey
from verifai.domain.utc_time import parse_utc, utc_from_record
from verifai.errors import UsageError

SCHEMA = "verifai/trust/v1"
CODE = "bad-trust"
RE_DERIVE = "re-derive"
MAX_AGE_DAYS = 36_500


class TrustRole(StrEnum):
    """What a key may vouch for."""

    RELEASE = "release"
    PROVER = "prover"
    VOTER = "voter"
    CONSENSUS = "consensus"
    GATE = "gate"
    NOTARY = "notary"


ROLE_OF: Mapping[str, TrustRole] = {
    CIRCUIT_TYPE: TrustRole.PROVER,
    PROOF_TYPE: TrustRole.PROVER,
    EVALUATION_TYPE: TrustRole.PROVER,
    VOTE_COMMITMENT_TYPE: TrustRole.VOTER,
    VOTE_TYPE: TrustRole.VOTER,
    VOTE_REPLAY_TYPE: TrustRole.VOTER,
    VOTE_OPENING_TYPE: TrustRole.VOTER,
    ROUND_TYPE: TrustRole.CONSENSUS,
    ROUND_CUT_TYPE: TrustRole.CONSENSUS,
    CONSENSUS_TYPE: TrustRole.CONSENSUS,
    GATE_TYPE: TrustRole.GATE,
    DERIVATION_TYPE: TrustRole.NOTARY,
}
"""The role that must sign an attestation, by predicate type."""


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Who may fill a role, and how many distinct keys must."""

    keys: frozenset[PublicKey]
    threshold: int


@dataclass(frozen=True, slots=True)
class TrustedCircuit:
    """One circuit whose evidence may be accepted.

    Attributes:
        lock: path of its ``circuit.lock``, relative to the trust file's folder; empty: it lies beside the trust file, as
            ``circuit.lock``, ``NAME.lock`` or ``NAME/circuit.lock``, and is known by its digest alone.
        lock_sha256: digest of that file; ``None``: the file is not pinned, and its keeper is trusted.
        verification_key: ``re-derive``: an audit must rebuild it from the model; or the SHA-256 that it must have.
    """

    lock: str
    lock_sha256: Sha256 | None
    verification_key: str


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness of the audit log: it cosigns checkpoints."""

    name: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class LogTrust:
    """The audit log that evidence must be in.

    Attributes:
        origin, key: its name and its key.
        witness_threshold: how many distinct witness keys must have cosigned the checkpoint.
        required: whether evidence outside the log is refused; else it is only reported.
    """

    origin: str
    key: PublicKey
    witnesses: tuple[Witness, ...]
    witness_threshold: int
    required: bool


@dataclass(frozen=True, slots=True)
class KeylessTrust:
    """Who must vouch for a manifest by Sigstore: an identity, as a named issuer certified it."""

    identity: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Trust:
    """A parsed trust file.

    Attributes:
        keys: by the name that people know them by.
        srs_sha256: SRS digests that are accepted; ``None`` accepts what the lock pins.
        allow_test_srs: accept set-up material whose maker can forge.
        maximum_age_days: of a proof; ``None`` for no limit.
        keyless: identity that must vouch for the manifest; ``None`` asks for none.
        expires: the moment, UTC, after which this file must not be used; ``None`` for never.
        hardware: machines and code whose attestations count.
        model_signers: whose signatures on releases of models count.
    """

    keys: Mapping[str, PublicKey]
    roles: Mapping[TrustRole, RoleRule]
    circuits: Mapping[str, TrustedCircuit]
    srs_sha256: frozenset[Sha256] | None = None
    allow_test_srs: bool = False
    log: LogTrust | None = None
    maximum_age_days: int | None = None
    expires: str | None = None
    keyless: KeylessTrust | None = None
    hardware: tuple[TrustedHardware, ...] = ()
    model_signers: tuple[TrustedModelSigner, ...] = ()
    names: Mapping[PublicKey, str] = field(default_factory=dict, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", {key: name for name, key in self.keys.items()})

    def is_expired(self, now: str) -> bool:
        """Whether the file must not be used at ``now`` (UTC, ``2026-01-31T23:59:59Z``)."""
        return self.expires is not None and parse_utc(now) >= parse_utc(self.expires)


def parse_trust(document: Mapping[str, Any], where: str) -> Trust:
    """Read a parsed ``trust.toml``.

    Raises:
        UsageError: code ``bad-trust``, with the field named: a reader's own configuration.
    """
    root = Record(document, where, error=UsageError, code=CODE)
    require_schema(root, SCHEMA)
    keys = _keys(root.table("keys", {}))
    roles = _roles(root.table("roles", {}), keys)
    circuits = root.table("circuits", {})
    srs, fresh = root.table("srs", {}), root.table("freshness", {})
    trust = Trust(
        keys=keys,
        roles=roles,
        circuits={name: _circuit(circuits.table(name)) for name in circuits.names()},
        srs_sha256=_digests(srs) if srs.has("sha256") else None,
        allow_test_srs=srs.flag("allow_test_srs", False),
        log=_log(root.table("log")) if root.has("log") else None,
        maximum_age_days=fresh.integer("maximum_age_days", None, low=1, high=MAX_AGE_DAYS),
        expires=utc_from_record(fresh, "expires") if fresh.has("expires") else None,
        keyless=_keyless(root.table("sigstore")) if root.has("sigstore") else None,
        hardware=tuple(TrustedHardware.from_record(item) for item in root.tables("hardware", [], max_length=MAX_ENTRIES)),
        model_signers=tuple(
            TrustedModelSigner.from_record(item) for item in root.tables("model_signers", [], max_length=MAX_SIGNERS)
        ),
    )
    for record in (circuits, srs, fresh, root):
        record.done()
    for field_, entries in (("hardware", trust.hardware), ("model_signers", trust.model_signers)):
        if len({one.name for one in entries}) != len(entries):
            raise root.refuse("two entries have one name", field_)
    if not (trust.roles or trust.circuits or trust.log or trust.keyless or trust.hardware or trust.model_signers):
        raise root.refuse(
            "it names no role, circuit, log, identity, hardware or signer of models to trust",
            hint="Make one with: `verifai trust init -o FILE`",
        )
    return trust


def _keys(record: Record) -> dict[str, PublicKey]:
    keys: dict[str, PublicKey] = {}
    for name in record.names():
        key = _key(record, name)
        for other, known in keys.items():
            if known == key:
                # One key under two names would fill a threshold of two on paper.
                raise record.refuse(f"this is the key of {other!r}", name)
        keys[name] = key
    return keys


def _key(record: Record, name: str) -> PublicKey:
    try:
        return PublicKey.from_text(record.text(name, max_length=100))
    except ValueError as problem:
        raise record.refuse(str(problem), name, hint="Write: ed25519:BASE64, as `verifai key show FILE` prints it.") from None


def _roles(record: Record, keys: Mapping[str, PublicKey]) -> dict[TrustRole, RoleRule]:
    roles: dict[TrustRole, RoleRule] = {}
    for name in record.names():
        try:
            role = TrustRole(name)
        except ValueError:
            raise record.refuse("no such role", name, hint="Roles: " + ", ".join(TrustRole)) from None
        rule = record.table(name)
        names = rule.texts("keys", max_length=256)
        for one in names:
            if one not in keys:
                raise rule.refuse(f"no key is named {one!r}", "keys", hint="Name it in [keys].")
        if not names or len(set(names)) != len(names):
            raise rule.refuse("expected at least one key, each once", "keys")
        roles[role] = RoleRule(frozenset(keys[one] for one in names), rule.integer("threshold", 1, low=1, high=len(names)))
        rule.done()
    record.done()
    return roles


def _circuit(record: Record) -> TrustedCircuit:
    circuit = TrustedCircuit(
        lock=record.text("lock", ""),
        lock_sha256=record.sha256("lock_sha256", None),
        verification_key=record.text("verification_key", RE_DERIVE),
    )
    if not circuit.lock and circuit.lock_sha256 is None:
        raise record.refuse("neither lock nor lock_sha256 says which lock is trusted", "lock")
    record.done()
    if circuit.verification_key != RE_DERIVE and not is_sha256(circuit.verification_key):
        raise record.refuse(f"expected {RE_DERIVE!r} or a SHA-256", "verification_key")
    return circuit


def _digests(record: Record) -> frozenset[Sha256]:
    digests = record.texts("sha256", max_length=256)
    if not digests or not all(is_sha256(one) for one in digests):
        raise record.refuse("expected a list of at least one SHA-256", "sha256")
    return frozenset(Sha256(one) for one in digests)


def _keyless(record: Record) -> KeylessTrust:
    keyless = KeylessTrust(record.text("identity", max_length=512), record.text("issuer", max_length=512))
    record.done()
    return keyless


def _log(record: Record) -> LogTrust:
    witnesses = []
    for item in record.tables("witnesses", [], max_length=64):
        witnesses.append(Witness(item.text("name", max_length=255), _key(item, "key")))
        item.done()
    if len({one.key for one in witnesses}) != len(witnesses):
        raise record.refuse("one key is two witnesses", "witnesses")
    log = LogTrust(
        origin=record.text("origin", max_length=255),
        key=_key(record, "key"),
        witnesses=tuple(witnesses),
        witness_threshold=record.integer("witness_threshold", 0, low=0, high=len(witnesses)),
        required=record.flag("required", True),
    )
    record.done()
    return log
