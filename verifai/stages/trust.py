"""trust init: write a first trust file, for the person who will judge evidence."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.bundle.keys import load_public_key
from verifai.circuit_folder import MAX_TOML_BYTES, read_lock, read_toml
from verifai.domain.digest import sha256
from verifai.domain.trust import RE_DERIVE, SCHEMA, Trust, TrustRole, parse_trust
from verifai.domain.trust_keys import PublicKey
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_atomic, write_new

_HEADER = """\
# Whom and what you trust. Written by `verifai trust init`; verdicts rest on it. Review changes to it as you would review code.
#
# [keys]       a name of your choice = "ed25519:…" (verifai key show FILE)
# [roles.R]    who must sign: release (the bundle), prover (circuit and proof), voter, consensus, gate, notary (derivations).
#              threshold counts distinct keys. A role that is not here is not asked for.
# [circuits.N] lock: the circuit.lock that evidence must match, relative to this file; lock_sha256 pins it.
#              verification_key: "re-derive" (rebuild it from the model during audit), or the SHA-256 it must have.
# [srs]        sha256: the only set-up files that are accepted; allow_test_srs = true accepts ones whose maker can forge.
# [log]        origin and key of the audit log; [[log.witnesses]] name and key, witness_threshold; required.
# [sigstore]   identity and issuer that must vouch for the manifest (extra sigstore).
# [freshness]  maximum_age_days of a proof; expires: "2027-01-31T00:00:00Z", after which this file must not be used.

"""


@dataclass(frozen=True)
class TrustRequest:
    """What a new trust file is to say.

    Attributes:
        locks: ``circuit.lock`` files; each is pinned by its digest.
        keys: public key files whose owners sign releases, ``threshold`` of them each.
        log_origin, log_key: the audit log; both or neither.
    """

    locks: tuple[Path, ...] = ()
    keys: tuple[Path, ...] = ()
    threshold: int = 1
    log_origin: str = ""
    log_key: Path | None = None
    allow_test_srs: bool = False


def init_trust(output: Path, request: TrustRequest) -> Trust:
    """Write a commented trust file at ``output``.

    Raises:
        UsageError: ``file-exists``, ``bad-key``, ``bad-lock``, ``bad-option``, or ``bad-trust`` when it would trust nothing.
        Undecided: ``disk``.
    """
    import tomli_w

    if os.path.lexists(output):
        raise UsageError("file-exists", "a trust file is never overwritten", where=str(output), hint="Choose another name.")
    if bool(request.log_origin) != (request.log_key is not None):
        raise UsageError("bad-option", "--log-origin and --log-key go together")
    if request.keys and request.threshold > len(request.keys):
        raise UsageError("bad-option", f"{len(request.keys)} keys cannot reach a threshold of {request.threshold}")
    document = _document(output, request)
    trust = parse_trust(document, str(output))
    write_new(output, (_HEADER + tomli_w.dumps(document)).encode())
    return trust


@dataclass(frozen=True)
class AddedKey:
    """A key that was added to a trust file.

    Attributes:
        keys: names of all keys of the role now. threshold: how many of them must sign.
    """

    name: str
    role: TrustRole
    keys: tuple[str, ...]
    threshold: int


def add_key(path: Path, role: TrustRole, key: Path, *, name: str = "", threshold: int | None = None) -> AddedKey:
    """Let ``key`` fill a role in the trust file at ``path``. The comments at its head stay; it is replaced whole or not at all.

    Args:
        name: what the file calls the key; by default the name of the key's file, or the one that the key has there already.
        threshold: how many distinct keys must sign from now on; by default as before, or 1.

    Raises:
        UsageError: ``file-missing``, ``bad-trust``, ``bad-key``; ``bad-option``, when the key fills the role already, the
            name is another key's, or comments of the keeper's own would be lost. Undecided: ``disk``.
    """
    import tomli_w

    document = read_toml(path, code="bad-trust")
    trust = parse_trust(document, str(path))
    public = load_public_key(key)
    known = trust.names.get(public, "")
    if name and known and name != known:
        raise UsageError("bad-option", f"the trust file calls this key {known!r}", where="--name", hint="Leave --name out.")
    used = known or name or _free_name(key.name.removesuffix(".pub").removesuffix(".key"), dict(trust.keys))
    if not known and used in trust.keys:
        raise UsageError("bad-option", f"another key is called {used!r}", where="--name", hint="Choose another name.")
    rule = trust.roles.get(role)
    before = [] if rule is None else [trust.names[one] for one in rule.keys]
    if used in before and threshold in (None, 0 if rule is None else rule.threshold):
        raise UsageError("bad-option", f"{used!r} fills the role {role.value} already", where="--key")
    names = sorted({*before, used})
    asked = threshold or (1 if rule is None else rule.threshold)
    document.setdefault("keys", {})[used] = str(public)
    document.setdefault("roles", {})[role.value] = {"keys": names, "threshold": asked}
    parse_trust(document, str(path))
    head, loose = _comments(read_limited(path, limit=MAX_TOML_BYTES).decode())
    if loose:
        lines = f'[keys] {used} = "{public}"; [roles.{role.value}] keys = {names}, threshold = {asked}'
        message = f"line {loose} has a comment of yours, which rewriting would lose"
        raise UsageError("bad-option", message, where=str(path), hint=f"Add it by hand: {lines}")
    write_atomic(path, (head + tomli_w.dumps(document)).encode())
    return AddedKey(used, role, tuple(names), asked)


def _comments(text: str) -> tuple[str, int]:
    """The comments at the head, and the first line with a comment behind it; 0 when there is none."""
    lines = text.split("\n")
    count = next((index for index, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    loose = next((index + 1 for index, line in enumerate(lines) if index >= count and "#" in _outside_quotes(line)), 0)
    return "".join(f"{line}\n" for line in lines[:count]), loose


def _outside_quotes(line: str) -> str:
    return re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', "", line)


def _document(output: Path, request: TrustRequest) -> dict[str, Any]:
    document: dict[str, Any] = {"schema": SCHEMA}
    keys: dict[str, PublicKey] = {}
    for path in request.keys:
        keys[_free_name(path.name.removesuffix(".pub").removesuffix(".key"), keys)] = load_public_key(path)
    if keys:
        document["keys"] = {name: str(key) for name, key in keys.items()}
        document["roles"] = {"release": {"keys": list(keys), "threshold": request.threshold}}
    circuits = [_circuit(output, path) for path in request.locks]
    if circuits:
        document["circuits"] = dict(circuits)
        if len(document["circuits"]) != len(circuits):
            raise UsageError("bad-option", "two locks are for circuits of one name", where="--lock")
    if request.allow_test_srs:
        document["srs"] = {"allow_test_srs": True}
    if request.log_key is not None:
        document["log"] = {"origin": request.log_origin, "key": str(load_public_key(request.log_key))}
    return document


def _circuit(output: Path, path: Path) -> tuple[str, dict[str, str]]:
    path = path / "circuit.lock" if path.is_dir() else path
    name = read_lock(path).name
    relative = os.path.relpath(path.resolve(), output.parent.resolve())
    digest = sha256(read_limited(path, limit=MAX_TOML_BYTES))
    return name, {"lock": relative, "lock_sha256": digest, "verification_key": RE_DERIVE}


def _free_name(name: str, taken: dict[str, PublicKey]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    return candidate
