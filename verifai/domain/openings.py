"""Openings of hidden commitments, over several proofs: a number used twice gives away what the commitment hides.

A repeat concerns privacy, not soundness: the proofs stay genuine. Only verified proofs are compared. Otherwise an attacker
could write another prover's root and number beside a false proof, and have the other's evidence refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from verifai.domain.attestation.manifest import Manifest
from verifai.domain.digest import Sha256, sha256
from verifai.domain.findings import Finding, Outcome
from verifai.domain.statement import CommitmentOpening, Statement

NAMED = 3
"""How many of the other bundles a finding names."""


@dataclass(frozen=True, slots=True)
class OpenedBy:
    """A verified proof, and the openings that it shows.

    Attributes:
        where: path of its bundle, as it was given.
        proof_sha256: of the engine's files, from :func:`proof_digest`: one proof in two bundles is one use of a number.
    """

    where: str
    proof_sha256: Sha256
    openings: tuple[CommitmentOpening, ...]


def proof_digest(manifest: Manifest, beside: Collection[str]) -> Sha256:
    """One digest of a bundle's proof: the names and digests of its payload files but those ``beside``, which are no engine's.

    Attestations and the log are left out: one proof, sealed again under another date, is still one use of its numbers.
    """
    names = {entry.path.removeprefix("payload/"): entry for entry in manifest.files if entry.path.startswith("payload/")}
    lines = [f"{entry.sha256} {name!r}" for name, entry in sorted(names.items()) if name not in beside]
    return sha256("\n".join(["verifai/proof-files/v1", *lines]).encode())


def opening_words(statement: Statement) -> list[str]:
    """Each opening in plain words; nothing for a statement without any."""
    return [f"Uses {opening.words()}; each number may be used once." for opening in statement.openings]


def repeated_openings(proofs: Sequence[OpenedBy | None]) -> list[tuple[Finding, ...]]:
    """For each proof, one finding (``opening-repeated``, step V10) per opening that a different proof shows as well.

    ``None`` stands for what was not verified: it opens nothing, and gets no finding.
    """
    users: defaultdict[tuple[Sha256, int], list[tuple[Sha256, OpenedBy]]] = defaultdict(list)
    for proof in filter(None, proofs):
        for opening in proof.openings:
            users[opening.root, opening.number].append((opening.proof_sha256 or proof.proof_sha256, proof))
    return [
        tuple(
            _repeated(proof, opening, others)
            for opening in proof.openings
            if (
                others := [
                    one
                    for made_by, one in users[opening.root, opening.number]
                    if made_by != (opening.proof_sha256 or proof.proof_sha256)
                ]
            )
        )
        if proof is not None
        else ()
        for proof in proofs
    ]


def _repeated(proof: OpenedBy, opening: CommitmentOpening, others: Sequence[OpenedBy]) -> Finding:
    paths = list(dict.fromkeys(one.where for one in others))
    named = ", ".join(repr(path[:200]) for path in paths[:NAMED])
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    digests = " ".join(dict.fromkeys([proof.proof_sha256, *(one.proof_sha256 for one in others[:NAMED])]))
    return Finding(
        "opening-repeated",
        Outcome.POLICY_NOT_MET,
        f"{proof.where[:200]!r} and {named}{more}, different proofs, both use {opening.words()}: "
        "they are genuine, but together they may give away what the commitment hides",
        where=paths[0],
        evidence=f"root {opening.root} number {opening.number}; proofs {digests}",
        remedy="Find the copied or restored opening ledger, stop using this root, and compile again.",
        step="V10",
    )
