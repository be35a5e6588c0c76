"""show: what a file of ours is, and the fingerprint by which two people compare it. Nothing is verified here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from verifai.bundle.case import OpenCase, is_case, open_case
from verifai.bundle.keys import read_key
from verifai.circuit_folder import MAX_TOML_BYTES, read_toml
from verifai.domain.attestation.envelope import MAX_ENVELOPE_BYTES, parse_envelope
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.digest import Sha256, sha256
from verifai.domain.hardware import TrustedHardware
from verifai.domain.known_files import known_file
from verifai.domain.model_signing import SignerKind, TrustedModelSigner
from verifai.domain.our_files import HEAD, kept_file
from verifai.domain.spoken import spoken
from verifai.domain.trust import RE_DERIVE, Trust, parse_trust
from verifai.execution.files import read_limited


@dataclass(frozen=True)
class ShownFile:
    """What a file is.

    Attributes:
        what: a noun with its article. digest: what its fingerprint is made from.
        lines: what it holds, for people; plain text. data: the same for ``--json``.
    """

    path: Path
    what: str
    digest: Sha256
    lines: tuple[str, ...]
    data: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Twelve groups of five digits."""
        return spoken(self.digest)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"path": str(self.path), "kind": self.what, "digest": self.digest, "fingerprint": self.fingerprint, **self.data}


def show_file(path: Path) -> ShownFile | None:
    """What ``path`` is; ``None`` for bundles, locks and circuits, which have summaries of their own, and for what is not ours.

    Raises:
        UsageError: it cannot be read, or is malformed. EvidenceRejected: a case or an attestation is malformed.
    """
    if not path.is_file() or path.is_symlink():
        return None
    if is_case(path):
        with open_case(path) as case:
            return _case(case)
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    what = kept_file(head)
    if what == "a trust file":
        return show_trust(path)
    if what == "a key":
        key = read_key(path)
        kind = "a private key" if key.private else "a public key"
        lines = (f"key {key.public_key}", f"keyid {key.public_key.keyid}")
        told = {"key": str(key.public_key), "keyid": key.public_key.keyid}
        return ShownFile(path, kind, Sha256(key.public_key.keyid), lines, told)
    if what == "an attestation":
        return _attestation(path)
    known = known_file(head)
    if known is None:
        return None
    with path.open("rb") as stream:
        digest = Sha256(hashlib.file_digest(stream, "sha256").hexdigest())
    return ShownFile(path, known.what, digest, (f"sha256 {digest}", known.advice), {"sha256": digest, "advice": known.advice})


def show_trust(path: Path) -> ShownFile:
    """What a trust file trusts. Its digest is of its meaning: comments, order, and where locks lie make no difference.

    Raises:
        UsageError: ``file-missing``, ``bad-trust``.
    """
    document = read_toml(path, code="bad-trust")
    trust = parse_trust(document, str(path))
    digest = trust_digest(document)
    lines = tuple(_trust_lines(trust))
    data = {
        "keys": {name: key.keyid for name, key in trust.keys.items()},
        "roles": {
            role.value: {"keys": sorted(trust.names[key] for key in rule.keys), "threshold": rule.threshold}
            for role, rule in trust.roles.items()
        },
        "circuits": {name: one.lock_sha256 for name, one in trust.circuits.items()},
        "model_signers": {one.name: _signer_line(one) for one in trust.model_signers},
        "hardware": {one.name: _hardware_lines(one) for one in trust.hardware},
        "allow_test_srs": trust.allow_test_srs,
        "expires": trust.expires,
    }
    return ShownFile(path, "a trust file", digest, lines, data)


def trust_digest(document: Mapping[str, Any]) -> Sha256:
    """SHA-256 of a trust file's canonical JSON (RFC 8785), without the places of locks that are known by their digests."""
    circuits = document.get("circuits", {})
    told = {
        name: {key: value for key, value in one.items() if key != "lock" or "lock_sha256" not in one}
        for name, one in circuits.items()
    }
    return sha256(rfc8785.dumps({**document, **({"circuits": told} if circuits else {})}))


def _trust_lines(trust: Trust) -> list[str]:
    lines = []
    for role, rule in trust.roles.items():
        names = ", ".join(sorted(trust.names[key] for key in rule.keys))
        lines.append(f"role {role.value}: {rule.threshold} of {names}")
    asked = {key for rule in trust.roles.values() for key in rule.keys}
    lines += [f"key {name} has no role" for name, key in trust.keys.items() if key not in asked]
    for name, one in trust.circuits.items():
        pinned = "not pinned: its keeper is trusted" if one.lock_sha256 is None else f"lock {one.lock_sha256}"
        made = "" if one.verification_key == RE_DERIVE else f"; its key must be {one.verification_key}"
        lines.append(f"circuit {name}: {pinned}{made}")
    if trust.srs_sha256 is not None:
        lines.append(f"set-up files: only {', '.join(sorted(trust.srs_sha256))}")
    if trust.log is not None:
        found = trust.log
        witnesses = f"{found.witness_threshold} of {len(found.witnesses)} witnesses"
        lines.append(
            f"audit log {found.origin} by key {found.key.keyid}, {witnesses}{'' if found.required else ', not required'}"
        )
        lines += [f"witness {one.name} by key {one.key.keyid}" for one in found.witnesses]
    if trust.keyless is not None:
        lines.append(f"identity {trust.keyless.identity} by {trust.keyless.issuer}")
    lines += [_signer_line(one) for one in trust.model_signers]
    lines += [line for one in trust.hardware for line in _hardware_lines(one)]
    if trust.maximum_age_days is not None:
        lines.append(f"evidence of at most {trust.maximum_age_days} days")
    if trust.expires is not None:
        lines.append(f"not to be used after {trust.expires}")
    if trust.allow_test_srs:
        lines.append("INSECURE: accepts a set-up whose maker can forge proofs")
    return lines


def _signer_line(one: TrustedModelSigner) -> str:
    """Who may sign releases of models; a root or a key is told by its digest."""
    if one.kind is SignerKind.KEY:
        known = f"by the key with SHA-256 {_text_digest(one.public_key)} of its PEM text"
    elif one.kind is SignerKind.CERTIFICATE:
        known = f"{one.identity or one.subject} by roots with SHA-256 {_text_digest(one.roots)} of their PEM text"
    else:
        known = f"{one.identity} by {one.issuer}"
    more = f"; by another Sigstore, root {_text_digest(one.trusted_root)}" if one.trusted_root else ""
    return f"signer of models {one.name}: {known}{more}{'; also when expired' if one.allow_expired else ''}"


def _hardware_lines(one: TrustedHardware) -> list[str]:
    registers = "".join(f", {name} {value}" for name, value in sorted(one.registers.items()))
    lines = [f"hardware {one.name}: {one.kind.value}{registers}"]
    if one.test_roots:
        lines.append(f"INSECURE: hardware {one.name} is vouched for by a root of somebody's own, {one.test_root_sha256}")
    if one.debug:
        lines.append(f"INSECURE: hardware {one.name} counts also when its owner can read its memory")
    if not one.revocation:
        lines.append(f"hardware {one.name} counts also when nobody asked whether it was revoked")
    return lines


def _text_digest(text: str) -> Sha256:
    return sha256(text.encode())


def _case(case: OpenCase) -> ShownFile:
    locks = {name: sha256(read_limited(path, limit=MAX_TOML_BYTES)) for name, path in case.locks.items()}
    lines = [f"bundle {path.stem}" for path in case.bundles]
    for name, digest in locks.items():
        lines.append(f"lock of {name}, fingerprint {spoken(digest)}; came with the evidence")
    trust: Sha256 | None = None
    if case.trust is not None:
        trust = trust_digest(read_toml(case.trust, code="bad-trust"))
        lines.append(f"trust file, fingerprint {spoken(trust)}; came with the evidence")
    lines += [f"{name}, a page by its maker" for name in case.pages]
    data = {"bundles": [path.stem for path in case.bundles], "locks": locks, "trust": trust, "pages": sorted(case.pages)}
    return ShownFile(case.path, "a case", case.anchors, tuple(lines), data)


def _attestation(path: Path) -> ShownFile:
    where = str(path)
    found = parse_attestation(parse_envelope(read_limited(path, limit=MAX_ENVELOPE_BYTES), where), where)
    signers = [signature.keyid for signature in found.envelope.signatures]
    lines = [
        f"attestation {found.id}",
        f"type {found.predicate.TYPE}",
        *(f"about {subject.name} {subject.sha256}" for subject in found.subjects),
        *(f"signed in the name of key {keyid} (not verified)" for keyid in signers),
        *([] if signers else ["not signed"]),
    ]
    data = {"attestation": found.id, "type": found.predicate.TYPE, "signers": signers}
    return ShownFile(path, "an attestation", found.id, tuple(lines), data)
