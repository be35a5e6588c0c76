"""verify: the payload's bytes against the pinned section.

Circuit, lock and proof may come from somebody who wants to burn memory or processor. So nothing is evaluated before its price
is known (:mod:`.planning.price`) and within the budget. What is cheap is verified here; what is not, in a child process with
limits of its own, so that a price that was too low costs no more than that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.domain.digest import Sha256, sha256
from verifai.domain.findings import Finding, holds
from verifai.domain.ordered_floats import LARGEST, LIMB_BITS, LIMBS
from verifai.domain.statement import Role, Visibility, WeightVisibility
from verifai.engines.interface import VerifiedProof, VerifyRequest
from verifai.engines.sumcheck.boundary import check_boundary
from verifai.engines.sumcheck.circuit.codec import MAX_BYTES as MAX_CIRCUIT
from verifai.engines.sumcheck.circuit.codec import circuit_digest, decode
from verifai.engines.sumcheck.circuit.counting import check_counting
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.circuit.program import WeightVisibility as CircuitWeights
from verifai.engines.sumcheck.lock_section import WHERE, LockSection, PinnedTensor, expect_suite, parse_section
from verifai.engines.sumcheck.payload.bindings import BINDINGS, weight_binding
from verifai.engines.sumcheck.payload.files import CIRCUIT_FILE, MAX_FILE, MAX_PROOF, PROOF_FILE, STATEMENT_FILE, WEIGHTS_FILE
from verifai.engines.sumcheck.payload.statement import decode_statement, domain_statement
from verifai.engines.sumcheck.payload.weight_roots import (
    LINK_FILE,
    MAX_RELATION,
    REGISTRATION_FILE,
    SpentOpening,
    WeightRoots,
    check_roots,
)
from verifai.engines.sumcheck.planning.price import (
    DEFAULT,
    VERIFY_MEMORY,
    VERIFY_SECONDS,
    Allowance,
    over_budget,
    price_of_relation,
)
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.protocol.suite import SECURITY_BITS
from verifai.engines.sumcheck.saturation import saturated_outputs
from verifai.engines.sumcheck.verifier.verify import (
    SurveyedCircuit,
    VerifiedStatement,
    survey,
    trust_surveyed,
    trust_weights,
    verify,
)
from verifai.errors import (
    DeadlineExceeded,
    EngineCrashed,
    EvidenceRejected,
    InternalError,
    PolicyNotMet,
    ResourceExhausted,
    Undecided,
    UnsupportedModel,
    UsageError,
    VerifaiError,
)
from verifai.execution import child
from verifai.execution.child import Limits
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory

WORKER = "verifai.engines.sumcheck.verify_worker"
HERE_SECONDS, HERE_BYTES, HERE_CIRCUIT_BYTES = 3.0, 384 << 20, 2 << 20
"""Up to this price, and this many bytes of circuit, a child process would cost more than it protects from."""
_MAX_TEXT = 1000


def payload_names(section: LockSection) -> frozenset[str]:
    """The files that a payload of this section holds; beside them only ``link.bin``, where weights are private."""
    more = {WeightVisibility.PUBLIC: {WEIGHTS_FILE}, WeightVisibility.PRIVATE: {REGISTRATION_FILE}}
    return frozenset({CIRCUIT_FILE, STATEMENT_FILE, PROOF_FILE} | more.get(section.weights, set()))


@dataclass(frozen=True, slots=True)
class CheckedPayload:
    """A verified payload; ``roots``: of private weights, else None."""

    verified: VerifiedStatement
    roots: WeightRoots | None


def check_payload(
    section: LockSection, files: Mapping[str, bytes], allowance: Allowance = DEFAULT, surveyed: SurveyedCircuit | None = None
) -> CheckedPayload:
    """The whole verification, on the bytes of a payload's files.

    Args:
        surveyed: the first part of step 1, where it was done before, for these bytes and this section.

    Raises:
        EvidenceRejected: with the code of the step that fails (:mod:`.verifier.verify`), or ``payload-mismatch``.
        ResourceExhausted: ``verification-over-budget``, before anything is evaluated.
    """
    _require_names(section, files)
    trusted = trust_surveyed(surveyed or survey(files[CIRCUIT_FILE], section.circuit_sha256, allowance))
    _check_section(section, trusted.circuit)
    roots = None
    if section.weights is WeightVisibility.PRIVATE:
        roots = check_roots(trusted, section.weights_sha256, files)
    identity = section.weights_sha256 if roots is None else roots.root
    weights = trust_weights(trusted, identity, files.get(WEIGHTS_FILE))
    statement = decode_statement(trusted.circuit, files[STATEMENT_FILE])
    if roots is not None and (identity, statement.opening_number) in {(one.root, one.number) for one in roots.spent}:
        raise EvidenceRejected("statement-invalid", "registration or link took the proof's own opening", where=STATEMENT_FILE)
    return CheckedPayload(verify(trusted, weights, statement, files[PROOF_FILE]), roots)


def _require_names(section: LockSection, files: Collection[str]) -> None:
    optional = {LINK_FILE} if section.weights is WeightVisibility.PRIVATE else set()
    if set(files) - optional != payload_names(section):
        odd = ", ".join(sorted((set(files) - optional) ^ payload_names(section)))
        raise EvidenceRejected("payload-mismatch", "the payload's files are not those of a sumcheck proof", where=odd)


def _check_section(section: LockSection, circuit: Circuit) -> None:
    """The section describes the circuit that it pins; a contradiction is a broken lock, not false evidence.

    A verdict shows sides, visibilities, kind of weights and bits of soundness as the section has them: all of it is compared.
    """
    sides = ((Role.INPUT, circuit.inputs), (Role.OUTPUT, circuit.outputs))
    found = [(role, circuit.tensors[port.tensor].shape, port.visibility) for role, ports in sides for port in ports]
    batch = (section.batch,) if section.batch else ()
    pinned = [
        (tensor.role, (*batch, *_ported_shape(section, tensor)), BINDINGS[tensor.visibility]) for tensor in section.tensors
    ]
    ports = (*circuit.inputs, *circuit.outputs)
    scaled = all(
        not tensor.stored or (circuit.tensors[port.tensor].scale, circuit.tensors[port.tensor].zero_point) != ((1, 1), 0)
        for tensor, port in zip(section.tensors, ports, strict=False)
    )
    ordered = all(
        (one.low, one.high, one.scale, one.zero_point) == (*_ordered_ends(pinned), (1, 1), 0)
        for pinned, one in zip(section.tensors, (circuit.tensors[port.tensor] for port in ports), strict=False)
        if _ordered(section, pinned)
    )
    columns = all(
        one.shape[-1] == len(section.scales[pinned.name].columns) and (one.scale, one.zero_point) == ((1, 1), 0)
        for pinned, one in zip(section.tensors, (circuit.tensors[port.tensor] for port in ports), strict=False)
        if pinned.name in section.scales and section.scales[pinned.name].columns
    )
    checks = (
        ("scales", "scales", ordered and columns),
        ("suite", "suite", circuit.suite == section.suite),
        ("batch", "batch", circuit.batch == section.batch),
        ("tensors", "tensors", found == pinned and scaled),
        ("weights", "visibility of the weights", weight_binding(section.weights) is circuit.weight_visibility),
        ("opening_budget", "opening budget", section.opening_budget == circuit.opening_budget),
        ("soundness_millibits", "soundness", section.soundness_millibits == weakest_step(circuit)),
    )
    for field, what, same in checks:
        if not same:
            message = f"the pinned circuit has other {what} than the section says"
            raise UsageError("bad-lock", message, where=f"{WHERE}.{field}")
    _check_count(section, circuit)
    check_boundary(section, circuit)


def _ordered(section: LockSection, pinned: PinnedTensor) -> bool:
    """Whether the section says that the tensor's integers are those of float32 numbers."""
    return pinned.name in section.scales and section.scales[pinned.name].ordered


def _ordered_ends(pinned: PinnedTensor) -> tuple[int, int]:
    """The range of the cells of such a tensor: the numbers' own, or where they are hidden, that of their limbs."""
    half = 1 << (LIMB_BITS - 1)
    return (-LARGEST, LARGEST) if pinned.visibility is Visibility.PUBLIC else (-half, half - 1)


def _ported_shape(section: LockSection, pinned: PinnedTensor) -> tuple[int, ...]:
    """The circuit's shape of a tensor of one inference: the model's, with an axis of limbs for hidden float32 numbers."""
    limbs = _ordered(section, pinned) and pinned.visibility is not Visibility.PUBLIC
    return (*(pinned.shape or (1,)), *((LIMBS,) if limbs else ()))


def _check_count(section: LockSection, circuit: Circuit) -> None:
    """A circuit whose count is to be believed counts right answers, whoever made it, and those of the output that is named."""
    pinned = section.count_right
    if pinned is None:
        return
    found = check_counting(circuit, pinned.items)
    outputs = [tensor.name for tensor in section.tensors if tensor.role is Role.OUTPUT]
    if (outputs[found.answer], found.classes) != (pinned.answer, pinned.classes):
        message = (
            f"the pinned circuit counts over {found.classes} classes of {outputs[found.answer]!r}, and it is said otherwise"
        )
        raise UsageError("bad-lock", message, where=f"{WHERE}.count_right")
    stated = section.scales.get(pinned.answer)
    if stated is not None and stated.columns:
        message = "the counted output has a scale per column, so that its largest integer need not be its largest score"
        raise UsageError("bad-lock", message, where=f"{WHERE}.count_right")


def weakest_step(circuit: Circuit) -> int:
    """Strength of the weakest step of the protocol, in thousandths of a bit."""
    return min(step.millibits for step in circuit.soundness)


def soundness_words(millibits: int) -> str:
    """How strong a proof is, for people: rounded down, and no more than what is written down and was checked.

    That the steps compose is argued, not proven, and nobody outside the project has looked at it
    (docs/engine/protocol.md, "What is proven, and what is not").
    """
    return f"≥ {millibits // 100 / 10:.1f} bits per step, per hash evaluation, unaudited"


_WEIGHTS = {
    WeightVisibility.PUBLIC: "the weights are the pinned ones, and keep the circuit's bounds",
    WeightVisibility.COMMITTED: (
        "the weights are those under the pinned root; that they are the model's, within the circuit's bounds, is not checked "
        "here: rely on the lock's author, or derive the root from the model"
    ),
    WeightVisibility.PRIVATE: (
        "the weights are those under the pinned hiding root; that they are the model's is not checked here: rely on the lock's "
        "author, since only the holder of the seed can derive the root"
    ),
}


def verify_request(request: VerifyRequest) -> VerifiedProof:
    """Verify a bundle's payload.

    Raises:
        EvidenceRejected: the evidence is false. UsageError: ``bad-lock``, ``engine-version``.
        ResourceExhausted: ``verification-over-budget``, before anything is evaluated, or ``out-of-memory``.
        DeadlineExceeded: ``deadline``.
    """
    section = parse_section(request.section)
    expect_suite(section)
    allowance = Allowance(request.budget.memory_bytes or VERIFY_MEMORY, VERIFY_SECONDS)
    request.progress.phase("verify")
    _require_names(section, request.files)
    surveyed = _survey(section, request.files, allowance)
    if surveyed is not None and _cheap(surveyed, request.files):
        checked = check_payload(section, read_payload(request.files, allowance), allowance, surveyed)
        verified, roots = checked.verified, checked.roots
    else:
        verified, roots = _verified_apart(section, request, allowance, surveyed)
    statement = domain_statement(verified.circuit, section, verified.statement, Sha256(request.model_sha256), roots)
    findings = (
        holds(
            "sumcheck-circuit-pinned",
            "the circuit is the pinned one, and keeps every rule",
            "1",
            evidence=verified.circuit_digest,
        ),
        holds("sumcheck-weights-pinned", _WEIGHTS[section.weights], "2", evidence=section.weights_sha256),
        *_about_count(section),
        *_about_roots(roots),
        holds("sumcheck-statement-bound", "statement and context fit the circuit and are bound by the proof", "3"),
        holds("proof-valid", f"the proof holds ({soundness_words(weakest_step(verified.circuit))})", "4"),
        *saturated_outputs(section, verified.circuit, verified.statement),
    )
    return VerifiedProof(statement, findings)


def _about_count(section: LockSection) -> list[Finding]:
    if section.count_right is None:
        return []
    message = (
        f"the circuit counts right answers over {section.count_right.items:,} samples: each answer is the same function of its "
        "own sample's inputs, and no label is read before answers are compared with it"
    )
    return [holds("sumcheck-counts", message, "1")]


def _about_roots(roots: WeightRoots | None) -> list[Finding]:
    if roots is None:
        return []
    # Proofs of their own, with tables of errors of their own; their planner makes no step weaker than this.
    least = soundness_words(1000 * SECURITY_BITS)
    message = f"the weights under the pinned root are proven to keep the circuit's bounds, with padding 0 ({least})"
    found = [holds("sumcheck-weights-registered", message, "2")]
    if roots.linked:
        message = f"the proof opened an epoch root, proven to commit to the same weights as the pinned one ({least})"
        found.append(holds("sumcheck-weights-linked", message, "2", evidence=roots.root))
    return found


def read_payload(paths: Mapping[str, Path], allowance: Allowance) -> dict[str, bytes]:
    """The payload's files, each within its own limit, all together within what is allowed.

    Raises:
        EvidenceRejected: ``payload-mismatch``. ResourceExhausted: ``verification-over-budget``.
    """
    total = sum(_size(path) for path in paths.values())
    if total > allowance.memory_bytes:
        raise over_budget(f"{total / 2**20:,.0f} MiB for the files alone", allowance, "payload")
    return {name: _read(name, path) for name, path in paths.items()}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it tells what is wrong


def _read(name: str, path: Path) -> bytes:
    relations = {REGISTRATION_FILE: MAX_RELATION, LINK_FILE: MAX_RELATION}
    limits = {CIRCUIT_FILE: MAX_CIRCUIT, PROOF_FILE: MAX_PROOF, **relations}
    try:
        return read_limited(path, limit=limits.get(name, MAX_FILE))
    except UsageError as problem:
        raise EvidenceRejected("payload-mismatch", problem.message, where=name) from None


# --- apart: in a child process ---


def _survey(section: LockSection, paths: Mapping[str, Path], allowance: Allowance) -> SurveyedCircuit | None:
    """The circuit and its price; None where its bytes alone are too many to look at in this process."""
    if _size(paths[CIRCUIT_FILE]) > HERE_CIRCUIT_BYTES:
        return None
    return survey(_read(CIRCUIT_FILE, paths[CIRCUIT_FILE]), section.circuit_sha256, allowance)


def _cheap(surveyed: SurveyedCircuit, paths: Mapping[str, Path]) -> bool:
    """Whether all of it, registration and link too, costs less than a child process would protect from."""
    circuit, price = surveyed.circuit, surveyed.price
    if circuit.weight_visibility is CircuitWeights.COMMITTED and circuit.zero_knowledge:
        for kind in Kind:
            related = price_of_relation(kind, circuit)
            price = price.plus(related.memory_bytes, related.nanoseconds)
    return price.memory_bytes + sum(map(_size, paths.values())) <= HERE_BYTES and price.seconds <= HERE_SECONDS


def _verified_apart(
    section: LockSection, request: VerifyRequest, allowance: Allowance, surveyed: SurveyedCircuit | None
) -> tuple[VerifiedStatement, WeightRoots | None]:
    """The same in a child process, fenced by the limits; what it found to hold is then decoded here.

    ``surveyed``: the circuit of the pinned digest, where it was decoded here before.
    """
    task = {
        "section": dict(request.section),
        "files": {name: str(path.absolute()) for name, path in request.files.items()},
        "memory_bytes": allowance.memory_bytes,
        "seconds": allowance.seconds,
    }
    limits = Limits(allowance.memory_bytes, 2 * allowance.seconds, allowance.seconds)
    with private_directory() as folder:
        steps = {"steps": [{"op": "verify", "args": task}]}
        report = child.run(WORKER, steps, folder=folder, limits=limits, progress=request.progress)
    if report.death is not None:
        raise report.death
    if len(report.steps) != 1:
        raise EngineCrashed("engine-crashed", "the child answered too few steps")
    step = report.steps[0]
    if step.failure == "memory":
        raise ResourceExhausted("out-of-memory", "no memory left for verifying", hint="Raise --max-memory.")
    if step.failure:
        raise InternalError("bug", f"verifying failed: {step.message[:300]}")
    if "refused" in step.value:
        raise _refusal(step.value["refused"])
    roots = _roots_of(step.value["roots"])
    circuit = decode(_pinned(section, request.files)) if surveyed is None else surveyed.circuit
    identity = section.weights_sha256 if roots is None else roots.root
    data = _read(STATEMENT_FILE, request.files[STATEMENT_FILE])
    if sha256(data) != step.value["statement_sha256"]:  # read a second time: it may be another file by now
        raise EvidenceRejected("payload-mismatch", "it changed while the proof was verified", where=STATEMENT_FILE)
    return VerifiedStatement(circuit, section.circuit_sha256, identity, decode_statement(circuit, data)), roots


def _pinned(section: LockSection, paths: Mapping[str, Path]) -> bytes:
    data = _read(CIRCUIT_FILE, paths[CIRCUIT_FILE])
    if circuit_digest(data) != section.circuit_sha256:
        raise EvidenceRejected("circuit-mismatch", "the circuit is not the expected one", where="circuit")
    return data


_REFUSALS: dict[str, type[VerifaiError]] = {
    kind.__name__: kind
    for kind in (
        EvidenceRejected,
        UsageError,
        UnsupportedModel,
        PolicyNotMet,
        Undecided,
        ResourceExhausted,
        DeadlineExceeded,
        EngineCrashed,
        InternalError,
    )
}


def refused(problem: VerifaiError) -> dict[str, Any]:
    """An error as the child's answer."""
    texts = {name: getattr(problem, name)[:_MAX_TEXT] for name in ("code", "message", "where", "hint")}
    return {"refused": {"kind": type(problem).__name__, **texts}}


def _refusal(answer: Mapping[str, str]) -> VerifaiError:
    kind = _REFUSALS.get(answer["kind"], InternalError)
    return kind(answer["code"], answer["message"], where=answer["where"], hint=answer["hint"])


def roots_json(roots: WeightRoots | None) -> dict[str, Any] | None:
    """What a payload shows about its weights' root, as the child's answer."""
    if roots is None:
        return None
    spent = [[one.kind.value, one.root, one.number, one.proof_sha256] for one in roots.spent]
    return {"root": roots.root, "linked": roots.linked, "spent": spent}


def _roots_of(answer: Mapping[str, Any] | None) -> WeightRoots | None:
    if answer is None:
        return None
    spent = tuple(
        SpentOpening(Kind(kind), Sha256(root), number, Sha256(digest)) for kind, root, number, digest in answer["spent"]
    )
    return WeightRoots(Sha256(answer["root"]), answer["linked"], spent)
