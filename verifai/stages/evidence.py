"""Attestations from compiled circuits and proofs; prove, verify, audit and gate share them, so that all say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import rfc8785

from verifai.bundle import canonical
from verifai.bundle.dsse import attest
from verifai.domain.attestation.circuit import CircuitPredicate, FidelityFigures
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.digest import Sha256, sha256
from verifai.domain.fidelity import Fidelity
from verifai.domain.statement import EngineName, Role, Statement, Visibility, WeightVisibility
from verifai.domain.trust_keys import Signer
from verifai.engines.interface import EngineProof, SectionSummary


def section_digest(section: Mapping[str, Any]) -> Sha256:
    """SHA-256 of an engine's lock section in RFC 8785 form; fractional numbers as their ``repr``, so that nothing rounds."""
    return sha256(rfc8785.dumps(_without_floats(section)))


def _without_floats(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): _without_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_floats(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return str(value)  # beyond RFC 8785's integers
    return value


def circuit_predicate(
    lock: CircuitLock, engine: EngineName, section: Mapping[str, Any], summary: SectionSummary, weights: WeightVisibility
) -> CircuitPredicate:
    """What a pinned circuit says about itself."""
    return CircuitPredicate(
        name=lock.name,
        engine=engine,
        engine_version=summary.engine_version,
        model_sha256=lock.model_sha256,
        circuit_sha256=Sha256(summary.circuit_sha256),
        section_sha256=section_digest(section),
        weights=weights,
        pins={name: Sha256(digest) for name, digest in sorted(summary.pins.items())},
        fidelity=fidelity_figures(summary.fidelity),
        insecure=summary.insecure,
    )


def circuit_attestation(predicate: CircuitPredicate, signers: Sequence[Signer]) -> Attestation:
    """The circuit attestation; its subject is the canonical model."""
    return attest(predicate, (Subject(MODEL_FILE, predicate.model_sha256),), signers)


def proof_attestation(
    circuit: Attestation, proof: EngineProof, summary: SectionSummary, created: str, signers: Sequence[Signer]
) -> Attestation:
    """The proof attestation; its subjects are the engine's payload files."""
    predicate = ProofPredicate(
        circuit=circuit.id,
        statement=proof.statement.attested(),
        engine_version=summary.engine_version,
        created=created,
        insecure=summary.insecure,
        clamped_cells=proof.clamped_cells,
    )
    return attest(predicate, [Subject(f"payload/{name}", sha256(data)) for name, data in proof.files.items()], signers)


def fidelity_figures(fidelity: Fidelity) -> FidelityFigures:
    """The same figures as exact ratios: a double is one."""
    language = fidelity.language
    spread = None if language is None else (language.perplexity, language.circuit_perplexity)
    float32, circuit = (None if one is None else Fraction(one) for one in spread or (None, None))
    return FidelityFigures(
        samples=fidelity.samples,
        top1_matches=fidelity.top1_matches,
        max_abs_error=Fraction(fidelity.max_abs_error),
        mean_abs_error=Fraction(fidelity.mean_abs_error),
        worst_sample=fidelity.worst_sample,
        spread_error=None if fidelity.spread_error is None else Fraction(fidelity.spread_error),
        column_error=None if fidelity.column_error is None else Fraction(fidelity.column_error),
        r2=None if fidelity.r2 is None else Fraction(fidelity.r2),
        close_decisions=fidelity.close_decisions,
        positions=None if language is None else language.positions,
        position_matches=None if language is None else language.matches,
        perplexity=float32,
        circuit_perplexity=circuit,
    )


def statement_digest(statement: Statement) -> Sha256:
    """The identity of one proven inference: the statement's digest without what differs between two proofs of that inference.

    Left out are the context, or one inference under many contexts would count as many; the openings, whose numbers are new in
    every proof; and the hiding roots that they open, since a proof may bind a tensor to a fresh root.
    """
    document = dict(statement.to_json())
    document.pop("context")
    document.pop("context_bound")
    document.pop("openings", None)
    document.pop("generation", None)  # one inference is no two because its prompt is said to end elsewhere
    opened = {one.root for one in statement.openings}
    document["tensors"] = [
        {field: value for field, value in one.items() if field != "digest" or value not in opened}
        for one in document["tensors"]
    ]
    return sha256(canonical.encode(document))


def inference_digests(statement: Statement) -> tuple[Sha256, ...]:
    """The identities of the inferences that a statement claims: one, or one per item of a batch. What is equal counts once.

    An item's identity says nothing of the batch: neither its place nor its neighbours, or one inference among others would be
    another one. So it leaves out every digest too, since a batch's digest changes with each item.
    """
    if not statement.batch:
        return (statement_digest(statement),)
    return tuple(statement_digest(_without_digests(item)) for item in statement.items())


def _without_digests(item: Statement) -> Statement:
    bound = (replace(one, digest="", digest_scheme="of a batch") if one.digest is not None else one for one in item.tensors)
    return replace(item, tensors=tuple(bound))


def shows_inputs(statement: Statement) -> bool:
    """Whether a statement tells its inputs from others: by their values, or by digests that are functions of them.

    A hiding root is none: each proof draws another for the same tensor. Nor is a batch's: it does not tell items apart.
    """
    if statement.batch:
        return all(tensor.visibility is Visibility.PUBLIC for tensor in statement.of(Role.INPUT))
    opened = {one.root for one in statement.openings}
    return all(
        tensor.visibility is Visibility.PUBLIC or (tensor.visibility is Visibility.HASHED and tensor.digest not in opened)
        for tensor in statement.of(Role.INPUT)
    )
