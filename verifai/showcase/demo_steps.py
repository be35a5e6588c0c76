"""Steps that several parts of the demo take: prove and check one picture, forge, and insist that a forgery is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Subject
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.digest import sha256
from verifai.domain.progress import Progress
from verifai.domain.statement import Role, Statement
from verifai.errors import InternalError, VerifaiError
from verifai.stages.ready import ProvedBundle
from verifai.stages.verify import Expectations, VerifiedBundle, verify_bundle

CONTEXT = "verifai demo"


@dataclass(frozen=True)
class Proved:
    """One picture was proven and its bundle verified.

    Attributes:
        picture: grey values in [0, 1], one row per tuple. label: what a person wrote. digit: what the proof says.
    """

    bundle: ProvedBundle
    verified: VerifiedBundle
    picture: tuple[tuple[float, ...], ...]
    label: int
    digit: int
    verify_seconds: float


@dataclass(frozen=True)
class Refused:
    """One forgery and what refused it."""

    forgery: str
    error: VerifaiError
    seconds: float


def check(folder: CircuitFolder, bundle: ProvedBundle, sample: Mapping[str, Any], label: int, progress: Progress) -> Proved:
    """Verify ``bundle`` as a verifier who has the picture."""
    begun = time.monotonic()
    context = CONTEXT if bundle.statement.context_bound else None  # an unsigned context that no proof binds shows nothing
    expect = Expectations(inputs=sample, context=context, allow_test_srs=True)
    verified = verify_bundle(bundle.path, folder.lock(), expect, progress=progress)
    seconds = time.monotonic() - begun
    logits = verified.statement.of(Role.OUTPUT)[0].values()
    grey = next(iter(sample.values())).reshape(8, 8)
    picture = tuple(tuple(float(value) for value in row) for row in grey)
    return Proved(bundle, verified, picture, label, max(range(len(logits)), key=logits.__getitem__), seconds)


def refusals(attempts: Mapping[str, Callable[[], VerifiedBundle]]) -> Iterator[Refused]:
    """Make every attempt. Raises InternalError (``demo-accepted-forgery``) when one is not refused."""
    for forgery, attempt in attempts.items():
        begun = time.monotonic()
        try:
            attempt()
        except VerifaiError as refusal:
            yield Refused(forgery, refusal, time.monotonic() - begun)
        else:
            raise InternalError("demo-accepted-forgery", f"a forgery was accepted: {forgery}", hint="Do not use this release.")


def reseal(
    source: Path,
    target: Path,
    *,
    payload: Mapping[str, Callable[[bytes], bytes]],
    statement: Callable[[Statement], Statement] | None = None,
) -> Path:
    """Forge: change payload files and the statement of the bundle at ``source``, then make every digest fit again."""
    from verifai.bundle.dsse import attest
    from verifai.bundle.reader import open_bundle
    from verifai.bundle.writer import write_bundle

    with open_bundle(source) as bundle:
        files = {name: path.read_bytes() for name, path in bundle.payload.items()}
        circuit = next(one for one in bundle.attestations.values() if isinstance(one.predicate, CircuitPredicate))
        proof = next(one for one in bundle.attestations.values() if isinstance(one.predicate, ProofPredicate))
        created = bundle.manifest.created
    assert isinstance(proof.predicate, ProofPredicate)
    for name, change in payload.items():
        files[name] = change(files[name])
    claim = proof.predicate if statement is None else replace(proof.predicate, statement=statement(proof.predicate.statement))
    subjects = [Subject(one.name, sha256(files[one.name.removeprefix("payload/")])) for one in proof.subjects]
    write_bundle(target, payload=files, attestations=[circuit, attest(claim, subjects)], created=created)
    return target
