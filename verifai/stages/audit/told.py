"""What a report tells of a bundle beside its findings: who signed, the chain of attestations, facts and sources."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

from verifai.bundle.dsse import check_signatures
from verifai.circuit_folder import MAX_TOML_BYTES
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Envelope
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.audit import ChainNode
from verifai.domain.audit_words import SIGNED
from verifai.domain.digest import sha256, short
from verifai.domain.findings import Finding
from verifai.domain.trust import Trust
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited
from verifai.trust_file import TrustFile

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle


def context_signed(bundle: OpenBundle, findings: Sequence[Finding]) -> bool:
    """Whether enough trusted keys signed the manifest, or the proof's attestation: either holds the context."""
    holders = {MANIFEST_NAME, *(f"attestations/{one.id}.dsse.json" for one in bundle.of_type(ProofPredicate.TYPE))}
    return any(one.code == "signed" and one.where in holders for one in findings)


def manifest_signed(findings: Sequence[Finding]) -> bool:
    """Whether a trusted key signed the manifest, and with it every date below it."""
    return any(one.code == "signed" and one.where == MANIFEST_NAME for one in findings)


def chain_of(bundle: OpenBundle, trust: Trust) -> tuple[ChainNode, ...]:
    """The provenance chain: model and circuit first, the bundle's manifest last."""
    nodes: dict[str, ChainNode] = {}
    for one in bundle.of_type(CircuitPredicate.TYPE):
        assert isinstance(one.predicate, CircuitPredicate)
        model = one.predicate.model_sha256
        nodes[model] = ChainNode(model, "model", ())
    pending = [one for _, one in sorted(bundle.attestations.items())]
    while pending:  # parents first; identifiers are hashes, so there is no circle
        later = []
        for one in pending:
            parents: tuple[str, ...] = one.predicate.parents()
            if not all(parent in nodes for parent in parents):
                later.append(one)
                continue
            if isinstance(one.predicate, CircuitPredicate):
                parents = (one.predicate.model_sha256,)
            kind = one.predicate.TYPE.split(":")[2]
            nodes[one.id] = ChainNode(one.id, kind, parents, _signers(one.envelope, trust))
        if len(later) == len(pending):
            break
        pending = later
    leaves = tuple(key for key in nodes if not any(key in node.parents for node in nodes.values()))
    nodes[bundle.bundle_id] = ChainNode(bundle.bundle_id, "bundle", leaves, _signers(bundle.envelope, trust))
    return tuple(nodes.values())


def _signers(envelope: object, trust: Trust) -> tuple[str, ...]:
    assert isinstance(envelope, Envelope)
    try:
        check = check_signatures(envelope, trust.keys.values(), where="")
    except EvidenceRejected:
        return ()  # T2 and T3 have reported it; the drawing shows no signer
    return tuple(sorted(trust.names[key] for key in check.signers))


def facts_of(bundle: OpenBundle, circuit: CircuitPredicate | None, proof: ProofPredicate | None) -> dict[str, str]:
    """What bundle, circuit and proof say of themselves, by the words of a report."""
    facts = {"Written": bundle.manifest.created}
    if circuit is not None and proof is not None:
        facts |= {
            "Circuit": circuit.name,
            "Engine": f"{circuit.engine.value} {circuit.engine_version}",
            "Model (SHA-256)": circuit.model_sha256,
            "Circuit (SHA-256)": circuit.circuit_sha256,
            "Made": proof.created,
            "Context": proof.statement.context or "none",
            "Privacy": proof.statement.privacy.value,
        }
    if bundle.manifest.succeeds is not None:
        facts["Extends bundle"] = bundle.manifest.succeeds
    return facts


def sources_of(bundle: OpenBundle, trust_file: TrustFile, circuit: CircuitPredicate | None) -> dict[str, str]:
    """What the audit rests on: who signed, lock and trust file by their digests, and this release."""
    trust = trust_file.trust
    known = {name: key for key, name in trust.names.items()}
    signers = _signers(bundle.envelope, trust)
    sources = {SIGNED: ", ".join(f"{name} (key {short(known[name].keyid)}…)" for name in signers)} if signers else {}
    path = trust_file.path
    if path.is_file():
        sources["Trust file (SHA-256)"] = sha256(read_limited(path, limit=MAX_TOML_BYTES))
    trusted = None if circuit is None else trust.circuits.get(circuit.name)
    if circuit is not None and trusted is not None:
        try:
            lock = trust_file.lock_path(circuit.name, trusted)
            sources["Lock (SHA-256)"] = sha256(read_limited(lock, limit=MAX_TOML_BYTES))
        except UsageError:
            pass  # the check of the lock has told it
    return {**sources, "verifai": installed_version("verifai")}
