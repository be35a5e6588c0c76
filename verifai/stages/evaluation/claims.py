"""An evaluation bundle taken apart: one evaluation, one circuit, and its proofs, each as a bundle of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from verifai.bundle.reader import OpenBundle
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.attestation.evaluation import EvaluationPredicate
from verifai.domain.attestation.manifest import MODEL_FILE, SBOM_FILE, FileEntry
from verifai.domain.attestation.predicate_types import CIRCUIT_TYPE, EVALUATION_TYPE, PROOF_TYPE
from verifai.errors import EvidenceRejected, PolicyNotMet
from verifai.stages.evaluation.data_set import DATA_FILE

SHARED = "shared"
"""Stands for a proof's number in the name of a file that all proofs have alike."""
BESIDE = frozenset({MODEL_FILE, SBOM_FILE})
"""Payload files that belong to the whole. Documents that are about one proof, such as receipts, are refused."""
_NAME = re.compile(r"(?:[0-9]{6}|shared)-(.+)")
_PAYLOAD = "payload/"


@dataclass(frozen=True)
class EvaluationClaims:
    """What a bundle claims, well formed; nothing of it is checked yet.

    Attributes:
        parts: per proof, in the order of the samples, a bundle of that proof alone.
        data: the private copy of the samples.
    """

    attestation: Attestation
    predicate: EvaluationPredicate
    circuit: CircuitPredicate
    parts: tuple[OpenBundle, ...]
    data: Path


def holds_evaluation(bundle: OpenBundle) -> bool:
    """Whether the bundle claims an evaluation."""
    return bool(bundle.of_type(EVALUATION_TYPE))


def find_evaluation(bundle: OpenBundle) -> EvaluationClaims:
    """E1: exactly one evaluation, the circuit and the proofs that it names and no others, and no file that is none of theirs.

    Raises:
        PolicyNotMet: ``no-evaluation``.
        EvidenceRejected: ``ambiguous-proof``, ``broken-chain``, ``subject-mismatch``.
    """
    found = bundle.of_type(EVALUATION_TYPE)
    if not found:
        hint = "Ask for a bundle made by `verifai evaluate`."
        raise PolicyNotMet("no-evaluation", "the bundle holds no evaluation", where=str(bundle.path), hint=hint)
    if len(found) > 1:
        raise EvidenceRejected("ambiguous-proof", f"the bundle holds {len(found)} evaluations where exactly one is allowed")
    claim = found[0]
    predicate = claim.predicate
    assert isinstance(predicate, EvaluationPredicate)
    where = f"attestations/{claim.id}"
    proofs = {one.id: one for one in bundle.of_type(PROOF_TYPE)}
    if set(predicate.proofs) != set(proofs):
        one = sorted(set(predicate.proofs) ^ set(proofs))[0]
        raise EvidenceRejected("broken-chain", f"proof {one} is in the bundle or in its evaluation, not in both", where=where)
    circuits = bundle.of_type(CIRCUIT_TYPE)
    if [one.id for one in circuits] != [predicate.circuit]:
        raise EvidenceRejected("broken-chain", "the evaluation is not about the circuit in the bundle", where=where)
    circuit = circuits[0]
    assert isinstance(circuit.predicate, CircuitPredicate)
    if [one.name for one in claim.subjects] != [_PAYLOAD + DATA_FILE]:
        raise EvidenceRejected("subject-mismatch", "the evaluation is not about the samples in the bundle", where=where)
    claimed = {_PAYLOAD + DATA_FILE} | {subject.name for one in proofs.values() for subject in one.subjects}
    present = {_PAYLOAD + name for name in bundle.payload if name not in BESIDE}
    if claimed != present:
        odd = sorted(claimed ^ present)[0]
        raise EvidenceRejected("subject-mismatch", "no proof of the evaluation is about this file", where=odd)
    parts = tuple(_part(bundle, circuit, proofs[name]) for name in predicate.proofs)
    return EvaluationClaims(claim, predicate, circuit.predicate, parts, bundle.payload[DATA_FILE])


def _part(bundle: OpenBundle, circuit: Attestation, proof: Attestation) -> OpenBundle:
    """One proof with its files under the names that its engine gave them."""
    entries = {entry.path: entry for entry in bundle.manifest.files}
    payload: dict[str, Path] = {}
    files: list[FileEntry] = []
    subjects: list[Subject] = []
    for subject in proof.subjects:
        match = _NAME.fullmatch(subject.name.removeprefix(_PAYLOAD))
        name = match[1] if match else ""
        if not match or name in payload or name in BESIDE:
            raise EvidenceRejected(
                "subject-mismatch", "a proof of an evaluation is not about such a file", where=subject.name[:200]
            )
        payload[name] = bundle.payload[subject.name.removeprefix(_PAYLOAD)]
        files.append(replace(entries[subject.name], path=_PAYLOAD + name))
        subjects.append(replace(subject, name=_PAYLOAD + name))
    for name in BESIDE & set(bundle.payload):
        payload[name] = bundle.payload[name]
        files.append(entries[_PAYLOAD + name])
    alone = replace(proof, subjects=tuple(sorted(subjects, key=lambda one: one.name)))
    manifest = replace(bundle.manifest, files=tuple(sorted(files, key=lambda one: one.path)))
    return replace(bundle, manifest=manifest, payload=payload, attestations={circuit.id: circuit, alone.id: alone})


def file_names(proofs: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Per proof, by its engine's name of a file, the name in an evaluation's payload.

    Args:
        proofs: per proof, the digests of its files by name. What all proofs have alike, such as the circuit, is there once.
    """
    first = proofs[0]
    alike = {name for name in first if len(proofs) > 1 and all(one.get(name) == first[name] for one in proofs)}
    return [
        {name: f"{SHARED if name in alike else f'{number:06d}'}-{name}" for name in one} for number, one in enumerate(proofs)
    ]
