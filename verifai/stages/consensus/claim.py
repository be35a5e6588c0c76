"""A claim beside a round: an output, proven or only given, that is to be placed in the round's ball of agreeing votes.

A proven output is read from the *verified statement*, never from a file beside it, and the proof must be about the round's own
model and the round's own inputs. The evidence travels with the decision, so that every later tally reads it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from verifai.bundle.reader import open_bundle
from verifai.consensus.runner import Tensors
from verifai.domain.answer import sequences_of
from verifai.domain.attestation.predicate_types import PROOF_TYPE
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.consensus.job import MAX_SAMPLES, Job, OutputKind, VoteSubject
from verifai.domain.consensus.vote_tree import leaf_hash, root
from verifai.domain.digest import Sha256, sha256, short
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import Role, Statement, TensorStatement, Visibility
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.execution.files import read_limited
from verifai.fingerprints.output import Output, decode_output, encode_output
from verifai.stages.consensus.decide import Claim
from verifai.stages.verify import Expectations, VerifiedBundle, find_claims, verify_open

if TYPE_CHECKING:
    from collections.abc import Callable

    from verifai.bundle.reader import OpenBundle

OUTPUTS_FILE = "claim-outputs.bin"
INPUTS_FILE = "claim-inputs.bin"
MAX_PROOFS = 256
"""Proofs beside one decision: a bundle holds 1,024 files."""

_MAX_BYTES = 1 << 29


@dataclass(frozen=True, slots=True)
class ClaimEvidence:
    """A claim, and the files from which a later tally reads it again.

    Attributes:
        payload: names below ``payload/`` → content; a path is a proof bundle in one file.
    """

    claim: Claim
    payload: Mapping[str, bytes | Path]


def proof_file(index: int) -> str:
    """Name below ``payload/`` of the proof bundle about one sample."""
    return f"claim-{index:06d}.bundle"


def claim_of_outputs(outputs: Sequence[Output]) -> ClaimEvidence:
    """A claim of outputs without a proof, such as a service's answers: nothing shows how they were computed."""
    encoded = [encode_output(one) for one in outputs]
    return ClaimEvidence(Claim(sha256(b"".join(encoded)), tuple(dict(one) for one in outputs)), {OUTPUTS_FILE: _join(encoded)})


def claim_of_proofs(
    bundles: Sequence[Path],
    lock: CircuitLock,
    job: Job,
    samples: Sequence[Tensors],
    *,
    allow_test_srs: bool = False,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> Claim:
    """What ``bundles`` prove, one per sample of ``job``, in its order.

    Args:
        lock: trusted; it must pin the job's model.
        samples: known to be the job's (:func:`verifai.stages.consensus.vote.require_inputs`).

    Raises:
        EvidenceRejected: ``claim-model``, ``claim-input``, ``input-mismatch``; whatever ``verify`` raises.
        PolicyNotMet: ``claim-hidden``; ``srs-test-only`` and the like.
        UsageError: ``claim-count``.
    """
    if len(bundles) != job.samples or len(bundles) > MAX_PROOFS:
        raise UsageError(
            "claim-count",
            f"{len(bundles)} proofs for {job.samples} samples, at most {MAX_PROOFS}",
            hint="Give one proof bundle per sample of the round, in its order.",
        )
    found = []
    for path, sample in zip(bundles, samples, strict=True):
        with open_bundle(path) as bundle:
            found.append(proven_output(bundle, lock, job.subject, sample, allow_test_srs, budget or Budget(), progress))
    return Claim(claim_identifier([one for one, _ in found]), tuple(output for _, output in found), proven=True)


def claim_identifier(proofs: Sequence[Sha256]) -> Sha256:
    """One proof is named by its attestation; several by the digest of all, in the order of the samples."""
    if len(proofs) == 1:
        return proofs[0]
    return sha256(b"verifai/claims/v1\x00" + b"".join(bytes.fromhex(one) for one in proofs))


def proven_output(
    bundle: OpenBundle,
    lock: CircuitLock,
    subject: VoteSubject,
    sample: Tensors,
    allow_test_srs: bool,
    budget: Budget,
    progress: Progress = SILENT,
) -> tuple[Sha256, Output]:
    """The proof attestation and what it proves for ``sample``. Raises what :func:`claim_of_proofs` raises."""
    circuit, _ = find_claims(bundle)
    wanted = subject.model_sha256
    for found in (circuit.model_sha256, lock.model_sha256):
        if found != wanted:
            raise EvidenceRejected(
                "claim-model",
                f"the vote is about model {short(wanted)}, the proof or its lock about {short(found)}",
                where=str(bundle.path),
                hint="A proof of another model says nothing about this one.",
            )
    # Names first: `verify` would call a tensor that the statement does not have a usage error.
    _require_inputs_named(bundle, sample)
    (claim,) = bundle.of_type(PROOF_TYPE)
    if subject.kind is OutputKind.TOKENS:
        expect = Expectations(allow_test_srs=allow_test_srs)  # of an answer, the votes are about the prompt alone
        verified = verify_open(bundle, lock, expect, budget=budget, progress=progress)
        return claim.id, _answer(verified, sample, str(bundle.path))
    expect = Expectations(inputs=dict(sample), allow_test_srs=allow_test_srs)
    verified = verify_open(bundle, lock, expect, budget=budget, progress=progress)
    return claim.id, _public_outputs(verified.statement, subject, str(bundle.path))


def _answer(verified: VerifiedBundle, sample: Tensors, where: str) -> Output:
    """The tokens of a proven answer to the prompt that ``sample`` is: one row of tokens."""
    statement, pin = verified.statement, verified.names.tokens
    if statement.generation is None or pin is None:
        raise PolicyNotMet(
            "answer-not-shown",
            "the votes are about answers, and the proof is of an inference alone",
            where=where,
            hint="Make the proof with `verifai generate`.",
        )
    found = sequences_of(statement, pin)
    (prompt,) = sample.values()
    if found.prompt_of(statement.generation) != tuple(np.asarray(prompt).reshape(-1).tolist()):
        raise EvidenceRejected("input-mismatch", "the proven answer is to another prompt", where=where)
    return {"tokens": np.array(found.answer_of(statement.generation), np.int64)}


def _require_inputs_named(bundle: OpenBundle, sample: Tensors) -> None:
    statement = find_claims(bundle)[1].statement  # as attested; step V6 of `verify` holds it against the proof
    if statement.batch:  # genuine evidence, but of other questions than the votes answer one by one
        raise PolicyNotMet(
            "claim-batch",
            f"the proof is of {statement.inferences:,} inferences at once, and votes are about one",
            where=str(bundle.path),
            hint="Prove with a circuit that was compiled without a batch.",
        )
    if {one.name for one in statement.of(Role.INPUT)} != set(sample):
        raise EvidenceRejected("claim-input", "the proof is not about the inputs that are voted on", where=str(bundle.path))


def _public_outputs(statement: Statement, subject: VoteSubject, where: str) -> Output:
    outputs = {one.name: one for one in statement.of(Role.OUTPUT)}
    names = subject.tensors or tuple(sorted(outputs))
    made = {}
    for name in names:
        tensor = outputs.get(name)
        if tensor is None:
            raise EvidenceRejected("claim-model", f"the proof has no output {name!r}, which is voted on", where=where)
        if tensor.visibility is not Visibility.PUBLIC:
            raise PolicyNotMet(
                "claim-hidden",
                f"output {name!r} is {tensor.visibility.value} in the proof, so it cannot be compared with the votes",
                where=where,
                hint="Compile the circuit with public outputs.",
            )
        # Models serve float32; `verify --output` compares in the same precision.
        made[name] = np.array(tensor.values(), dtype=np.float64).astype(np.float32).reshape(tensor.shape)
    return made


def stated_inputs(path: Path) -> tuple[TensorStatement, ...]:
    """The inputs that a proof bundle says it is about: enough to read a file of samples, nothing to believe.

    Of an answer, the prompt: the first tokens of its only input.
    """
    with open_bundle(path) as bundle:
        statement = find_claims(bundle)[1].statement
    inputs, claim = statement.of(Role.INPUT), statement.generation
    if claim is None or len(inputs) != 1 or inputs[0].quantised is None:
        return inputs
    prompt = inputs[0].quantised[: claim.prompt]
    return (replace(inputs[0], shape=(1, len(prompt)), quantised=prompt),)


def evidence_of_proofs(claim: Claim, packed: Sequence[Path], samples: Sequence[Tensors]) -> ClaimEvidence:
    """What goes into the decision's bundle. ``packed``: the proof bundles, each as one file."""
    payload: dict[str, bytes | Path] = {proof_file(index): path for index, path in enumerate(packed)}
    payload[INPUTS_FILE] = _join([encode_output(dict(one)) for one in samples])
    return ClaimEvidence(claim, payload)


def read_claim(
    payload: Mapping[str, Path],
    job: Job,
    lock: CircuitLock,
    *,
    allow_test_srs: bool,
    budget: Budget,
    inspect: Callable[[OpenBundle], None] = lambda bundle: None,
) -> Claim:
    """The claim of a decision's bundle, read from its evidence again.

    Args:
        payload: private copies of the bundle's payload.
        lock: of the round's model, trusted.
        inspect: is shown every proof bundle, before it is verified.

    Raises:
        EvidenceRejected: ``consensus-incomplete``, ``malformed``, ``claim-input``, and as :func:`claim_of_proofs`.
    """
    if OUTPUTS_FILE in payload and proof_file(0) not in payload:
        encoded = _split(payload[OUTPUTS_FILE], job.samples)
        outputs = tuple(decode_output(one, f"{OUTPUTS_FILE}[{index}]") for index, one in enumerate(encoded))
        return Claim(sha256(b"".join(encoded)), outputs)
    if INPUTS_FILE not in payload or job.samples > MAX_PROOFS:
        raise _incomplete(INPUTS_FILE)
    inputs = _split(payload[INPUTS_FILE], job.samples)
    if root([leaf_hash(one) for one in inputs]) != job.inputs_root:
        raise EvidenceRejected("claim-input", "these are not the inputs that the round's job names", where=INPUTS_FILE)
    found = []
    for index, data in enumerate(inputs):
        path = payload.get(proof_file(index))
        if path is None:
            raise _incomplete(proof_file(index))
        sample = dict(decode_output(data, f"{INPUTS_FILE}[{index}]"))
        with open_bundle(path) as proof:
            inspect(proof)
            found.append(proven_output(proof, lock, job.subject, sample, allow_test_srs, budget))
    return Claim(claim_identifier([one for one, _ in found]), tuple(output for _, output in found), proven=True)


def _incomplete(name: str) -> EvidenceRejected:
    return EvidenceRejected(
        "consensus-incomplete",
        "the decision is about a claim, but what was claimed is not in the bundle",
        where=f"payload/{name}",
        hint="Make the bundle with `verifai consensus`, options --claim and -o.",
    )


def _join(parts: Sequence[bytes]) -> bytes:
    return b"".join(len(one).to_bytes(8, "big") + one for one in parts)


def _split(path: Path, count: int) -> list[bytes]:
    """The parts, each after its length in 8 bytes, big-endian; nothing before, between or after."""
    data, where = read_limited(path, limit=_MAX_BYTES), path.name
    parts: list[bytes] = []
    offset = 0
    while offset < len(data) and len(parts) < min(count, MAX_SAMPLES):
        size = int.from_bytes(data[offset : offset + 8], "big")
        if offset + 8 + size > len(data):
            raise EvidenceRejected("malformed", "a part is cut off", where=where)
        parts.append(data[offset + 8 : offset + 8 + size])
        offset += 8 + size
    if len(parts) != count or offset != len(data):
        raise EvidenceRejected("malformed", f"expected exactly {count} parts", where=where)
    return parts
