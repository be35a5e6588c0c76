"""verify-chain: bundles of consecutive segments become one statement about the whole computation.

Every bundle is verified against its own lock. The locks must pin one boundary on both sides (order, shape, scale, range, zero
point, scheme), and each segment's input root must equal the output root before it. Equal roots bind equal integers, so the
segments' programs, one after the other, were run on one input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import short
from verifai.domain.findings import Finding, Outcome
from verifai.domain.openings import repeated_openings
from verifai.domain.privacy_words import chain_words
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import Role, TensorStatement, Visibility
from verifai.engines.capabilities import SplitsModels
from verifai.engines.interface import PinnedSegment, SegmentTensor
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.onnx_graph.cut import cut_at
from verifai.stages.chain.engines import splitting_engines
from verifai.stages.verify import Expectations, VerifiedBundle, verify_bundle

if TYPE_CHECKING:
    from verifai.onnx_graph.model import OnnxModel

MAX_SEGMENTS = 4096


@dataclass(frozen=True)
class VerifiedChain:
    """A chain whose every proof and every link holds; made only by :func:`verify_chain`.

    Attributes:
        bundles: in the order of the segments.
        findings: about the chain; each bundle has its own.
    """

    bundles: tuple[VerifiedBundle, ...]
    findings: tuple[Finding, ...]

    @property
    def inputs(self) -> tuple[TensorStatement, ...]:
        """What went into the first segment."""
        return self.bundles[0].statement.of(Role.INPUT)

    @property
    def outputs(self) -> tuple[TensorStatement, ...]:
        """What came out of the last one."""
        return self.bundles[-1].statement.of(Role.OUTPUT)


def verify_chain(
    paths: Sequence[Path],
    locks: Sequence[CircuitLock],
    expect: Expectations | None = None,
    *,
    model: OnnxModel | None = None,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> VerifiedChain:
    """Verify the bundles at ``paths``, one per segment, in order, each against the lock at the same place.

    Args:
        expect: the inputs are those of the first segment, the outputs those of the last; the context is every bundle's.
        model: the whole model: it is split again, and the segments must be those that the locks pin.

    Raises:
        UsageError: ``bad-option``, ``bad-lock``, ``chain-locks``: what was given cannot be a chain, whatever the bundles hold.
        EvidenceRejected: a bundle is false, or ``chain-broken``, ``chain-model-differs``.
        PolicyNotMet: ``chain-incomplete``, ``opening-repeated``. Undecided: a bundle could not be checked.
    """
    given = expect or Expectations()
    _check_counts(paths, locks)
    engine = _engine(locks)
    segments = _segments(engine, locks)
    findings = [_check_locks(segments)]
    findings.append(_check_model(model, locks, segments))
    bundles: list[VerifiedBundle] = []
    for number, (path, lock) in enumerate(zip(paths, locks, strict=True), 1):
        own = replace(
            given,
            inputs=given.inputs if number == 1 else None,
            outputs=given.outputs if number == len(paths) else None,
        )
        progress.phase(f"segment {number} of {len(paths)}")
        bundle = verify_bundle(path, lock, own, budget=budget, progress=progress)
        if bundle.statement.engine is not engine.name:  # a lock may pin another engine beside
            message = f"its proof is of the {bundle.statement.engine.value} engine, whose tensors do not chain"
            raise EvidenceRejected("chain-broken", message, where=str(path))
        bundles.append(bundle)
    _check_openings(bundles)
    findings += [_link(number, *pair) for number, pair in enumerate(pairwise(bundles), 1)]
    return VerifiedChain(tuple(bundles), tuple(findings))


def _check_counts(paths: Sequence[Path], locks: Sequence[CircuitLock]) -> None:
    if len(paths) != len(locks):
        message = f"{len(paths)} bundles and {len(locks)} locks were given"
        raise UsageError("bad-option", message, where="--lock", hint="Give each bundle its lock, in the order of the segments.")
    if not 2 <= len(paths) <= MAX_SEGMENTS:
        raise UsageError(
            "bad-option",
            f"a chain has 2 to {MAX_SEGMENTS} segments",
            hint="For one bundle: `verifai verify BUNDLE --lock FILE`",
        )


def _engine(locks: Sequence[CircuitLock]) -> SplitsModels:
    """The first engine that splits models and that every lock pins; else the first, whose section is then missed."""
    able = splitting_engines()
    return next((engine for engine in able if all(engine.name in lock.engines for lock in locks)), able[0])


def _segments(engine: SplitsModels, locks: Sequence[CircuitLock]) -> list[PinnedSegment]:
    """What each lock pins, read before any of it is compared."""
    sections = [lock.section(engine.name) for lock in locks]
    for section in sections:
        engine.expect_version(section)
    segments = []
    for number, section in enumerate(sections, 1):
        segment = engine.summarise(section).segment
        if segment is None:
            raise UsageError("chain-locks", "the lock is not that of a segment", where=f"lock {number}", hint=_HINT)
        segments.append(segment)
    return segments


def _check_locks(segments: Sequence[PinnedSegment]) -> Finding:
    """The locks alone: consecutive segments of one split, with one boundary on both sides, and both ends open."""
    first = segments[0]
    for number, own in enumerate(segments, 1):
        if own.model_sha256 != first.model_sha256 or own.of != first.of:
            raise UsageError("chain-locks", "the locks are from different splits", where=f"lock {number}", hint=_HINT)
        if own.number != first.number + number - 1:
            message = f"segment {own.number} stands where segment {first.number + number - 1} belongs"
            raise UsageError("chain-locks", message, where=f"lock {number}", hint=_HINT)
    for number, (left, right) in enumerate(pairwise(segments), 1):
        before, after = left.side(Role.OUTPUT), right.side(Role.INPUT)
        if len(before) != len(after):
            raise _locks(number, f"{len(before)} tensors come out, {len(after)} go in")
        for one, other in zip(before, after, strict=True):
            _check_boundary(number, one, other)
    if first.of != len(segments):
        raise PolicyNotMet(
            "chain-incomplete",
            f"segments {first.number} to {first.number + len(segments) - 1} of {first.of} were given",
            hint="Give the bundles and locks of all segments.",
        )
    message = f"the {len(segments)} locks pin equal shapes, scales, zero points and ranges at every boundary, all hashed"
    return Finding("chain-locks-fit", Outcome.HOLDS, message, step="C1")


def _check_boundary(number: int, one: SegmentTensor, other: SegmentTensor) -> None:
    pair = f"output {one.name!r} and input {other.name!r}"
    if one.visibility is not Visibility.HASHED or other.visibility is not Visibility.HASHED:
        words = f"{one.visibility.value} and {other.visibility.value}"
        raise _locks(number, f"{pair} are {words}; a boundary is hashed on both sides, so that roots can be compared")
    if one.shape != other.shape:
        raise _locks(number, f"{pair} have different shapes")
    if one.pin is None or other.pin is None:
        raise _locks(number, f"{pair} have no pinned boundary")
    if one.pin != other.pin:
        raise _locks(number, f"{pair} have different scales, ranges or zero points")


_HINT = "Give the locks in the order of the segments, all compiled from one split."


def _locks(number: int, message: str) -> UsageError:
    return UsageError("chain-locks", message, where=f"between segments {number} and {number + 1}", hint=_HINT)


def _check_model(model: OnnxModel | None, locks: Sequence[CircuitLock], pinned: Sequence[PinnedSegment]) -> Finding:
    """The pinned segments are the parts of ``model``: it is cut again where the locks have their boundaries."""
    whole = pinned[0].model_sha256
    if model is None:
        message = f"that the segments are the parts of model {short(whole)} is the word of whoever made the locks"
        remedy = "Give the whole model with --model."
        return Finding("chain-model-not-compared", Outcome.NOT_CHECKED, message, remedy=remedy, step="C2")
    if model.sha256 != whole:
        message = f"the locks are of a split of model {short(whole)}, this is {short(model.sha256)}"
        raise EvidenceRejected("chain-model-differs", message, where="--model")
    cuts = [tuple(tensor.name for tensor in segment.side(Role.OUTPUT)) for segment in pinned[:-1]]
    try:
        segments = cut_at(model, cuts)
    except UsageError as problem:
        message = f"the model cannot be cut where the locks have their boundaries: {problem.message}"
        raise EvidenceRejected("chain-model-differs", message, where=problem.where) from None
    for number, (lock, made) in enumerate(zip(locks, segments, strict=True), 1):
        if lock.model_sha256 != made.sha256:
            message = f"segment {number} of the model is {short(made.sha256)}, the lock pins {short(lock.model_sha256)}"
            raise EvidenceRejected("chain-model-differs", message, where=f"lock {number}")
    message = f"model {short(model.sha256)}, cut again at the pinned boundaries, gives exactly the pinned segments"
    return Finding("chain-model-matches", Outcome.HOLDS, message, evidence=model.sha256, step="C2")


def _link(number: int, before: VerifiedBundle, after: VerifiedBundle) -> Finding:
    """What came out of segment ``number`` went into the next: all that the statements say about the tensors is equal."""
    left, right = before.statement.of(Role.OUTPUT), after.statement.of(Role.INPUT)
    where = f"between segments {number} and {number + 1}"
    if len(left) != len(right):
        raise EvidenceRejected("chain-broken", f"{len(left)} tensors come out, {len(right)} go in", where=where)
    for one, other in zip(left, right, strict=True):
        if _bound(one) != _bound(other) or one.digest is None:
            raise EvidenceRejected(
                "chain-broken",
                f"what segment {number} put out as {one.name!r} is not what segment {number + 1} took as {other.name!r}",
                where=where,
                hint="These bundles are not of one inference.",
            )
    message = f"segment {number + 1} took exactly the integers that segment {number} put out: " + ", ".join(
        f"root {str(one.digest)[:12]}" for one in left
    )
    return Finding("chain-linked", Outcome.HOLDS, message, evidence=" ".join(str(one.digest) for one in left), step="C3")


def _check_openings(bundles: Sequence[VerifiedBundle]) -> None:
    """Two segments that open one hidden boundary do so under two numbers."""
    for found in repeated_openings([bundle.opened for bundle in bundles]):
        for one in found:
            raise PolicyNotMet(one.code, one.message, where=one.where, hint=one.remedy)


def _bound(tensor: TensorStatement) -> tuple[object, ...]:
    binding = (tensor.digest, tensor.digest_scheme)
    return (tensor.shape, tensor.batch, tensor.visibility, tensor.scale, tensor.zero_point, *binding)


def describe_chain(chain: VerifiedChain) -> list[str]:
    """What the chain proves, in plain words, and what it does not."""
    count = len(chain.bundles)
    ends = [", ".join(f"{one.name!r} ({one.visibility.value})" for one in side) for side in (chain.inputs, chain.outputs)]
    compared = any(finding.code == "chain-model-matches" for finding in chain.findings)
    which = "are the parts of the model given" if compared else "are the pinned ones; whose parts they are was not checked"
    return [
        f"The {count} segments' integer programs, run one after the other, lead from input {ends[0]} to output {ends[1]}: "
        "each segment was proven on its own, and took exactly the integers that the one before put out.",
        f"The segments' models {which}. That each circuit follows from its segment's model is for `verifai audit` to derive.",
        chain_words([one.statement for one in chain.bundles]),
        "Not claimed: who proved which segment, when, or on how many machines; that the input is authentic; that the float "
        "model gives exactly these numbers (the fidelity that a lock pins is that of its segment, not of the whole).",
    ]
