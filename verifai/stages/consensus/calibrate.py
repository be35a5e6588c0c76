"""calibrate: honest runs and attacks → a tolerance, or a refusal that says how far apart they are.

The reference is the model as the job pins it, on one thread. Honest environments are the same model with more threads and other
optimisation levels, and whatever was recorded on other machines: only those show what another instruction set does, so a
calibration without them says so. Every input has its own projection seed, as in a round.

Runs of a circuit, read from its proofs, widen the tolerance so that proven claims have a place in the ball. They are no machine
that others could stand for, so they are not left out in turn: a claim of the same circuit is all that they are to admit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from verifai.consensus.attacks import InputAttack, ModelAttack, edit_input, standard_model_attacks
from verifai.consensus.files import CIRCUIT_MACHINE
from verifai.consensus.runner import Tensors, VoteRunner
from verifai.consensus.statistics import bootstrap_by_input, clustered, lower_quantile, upper_quantile
from verifai.domain.consensus.calibration import RESOLUTION, SEPARATION, AttackRuns, Calibration, HonestRuns, tolerance
from verifai.domain.consensus.job import Optimisation, OutputKind, VoteSubject
from verifai.domain.consensus.round import sample_seed
from verifai.domain.consensus.vote import Environment
from verifai.domain.progress import SILENT, Progress, phase
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.fingerprints.output import Output
from verifai.fingerprints.registry import fingerprint_for

MIN_INPUTS = 20
FALSE_REJECT_LIMIT = 1e-3


@dataclass(frozen=True, slots=True)
class RecordedRuns:
    """Outputs of the same model on the same samples, from another environment: a machine, or a circuit."""

    environment: Environment
    outputs: tuple[Output, ...]

    @property
    def of_circuit(self) -> bool:
        """Whether the outputs were read from proofs."""
        return self.environment.machine == CIRCUIT_MACHINE

    @property
    def name(self) -> str:
        """For people."""
        where = self.environment
        if self.of_circuit:
            return f"{where.machine} {where.instruction_set}"
        return f"{where.machine} {where.instruction_set} threads={where.threads}"


@dataclass(frozen=True, slots=True)
class CalibrateRequest:
    """Inputs of calibrate.

    Attributes:
        subject: what votes will be about; its parameters are completed here.
        elsewhere: runs recorded on other machines.
        proven: runs of circuits, read from verified proofs (:mod:`verifai.stages.consensus.record_proofs`).
        not_covered: names of attacks of the standard suite to leave out; the artifact will not list them.
        seed: 64 hex digits.
        created, expires: UTC.
    """

    model: bytes
    subject: VoteSubject
    samples: Sequence[Tensors]
    here: Environment
    seed: str
    created: str
    expires: str
    elsewhere: Sequence[RecordedRuns] = ()
    proven: Sequence[RecordedRuns] = ()
    not_covered: frozenset[str] = frozenset()
    progress: Progress = SILENT


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Result of calibrate.

    Attributes:
        distances: honest environment or attack → one distance per input, for plots.
        notes: what the figures do not support, one sentence each.
    """

    calibration: Calibration
    honest: Mapping[str, NDArray[np.float64]]
    attacks: Mapping[str, NDArray[np.float64]]
    notes: tuple[str, ...]


def calibrate(request: CalibrateRequest) -> Calibrated:
    """Measure, then decide whether a tolerance exists.

    Raises:
        PolicyNotMet: ``calibration-too-small``, ``not-separable``, ``calibration-not-transferable``.
        UsageError: ``fingerprint-parameters``; ``bad-option`` for an attack name that the suite does not have.
        UnsupportedModel, InputRejected, EngineCrashed: from the runner.
    """
    subject = _complete(request)
    _require_enough(request)
    reference = _run(request.model, subject, request.samples)
    distance = _distance_of(subject, request.seed)
    honest, recorded = _honest(request, subject, reference, distance)
    attacks = _attacks(request, subject, reference, distance)
    low = min(lower_quantile(values, 0.001) for values in attacks.values())
    tau = _separate(honest, attacks)
    environments = _environments(request, honest, recorded, low)
    by_input = np.stack(list(honest.values()), axis=1)
    rejected = np.stack([values > without for values, (_, without) in zip(honest.values(), environments, strict=True)], axis=1)
    rate = clustered([int(np.count_nonzero(row)) for row in rejected])
    if rate.low > FALSE_REJECT_LIMIT:
        raise PolicyNotMet(
            "calibration-not-transferable",
            f"the tolerance from all other environments rejects {rate.events} of {rate.trials} honest inputs",
            hint="Record runs from more kinds of machine (--record, --runs), or vote within one kind.",
        )
    calibration = Calibration(
        subject=subject,
        runtime=request.here.runtime,
        tau=tau,
        honest=tuple(runs for runs, _ in environments),
        attacks=tuple(_attack_runs(name, values, tau) for name, values in attacks.items()),
        false_reject_high=rate.high,
        honest_interval=bootstrap_by_input(by_input, lambda rows: upper_quantile(rows, 0.999), resamples=500),
        created=request.created,
        expires=request.expires,
    )
    return Calibrated(calibration, honest, attacks, _notes(request, honest, recorded, rate.high))


def _separate(honest: Mapping[str, NDArray[np.float64]], attacks: Mapping[str, NDArray[np.float64]]) -> float:
    """τ, or which attacks stand in its way."""
    high = max(upper_quantile(values, 0.999) for values in honest.values())
    lows = {name: lower_quantile(values, 0.001) for name, values in attacks.items()}
    try:
        return tolerance(high, min(lows.values()))
    except PolicyNotMet as problem:
        near = sorted((name for name, low in lows.items() if low < SEPARATION * max(high, RESOLUTION)), key=lows.__getitem__)
        widest = max(honest, key=lambda name: upper_quantile(honest[name], 0.999))
        raise PolicyNotMet(
            problem.code,
            f"{problem.message}; the widest honest runs are those of {widest!r}; too near: {', '.join(near)}",
            hint=f"{problem.hint} Or leave attacks out openly: " + " ".join(f"--not-covered {name}" for name in near),
        ) from None


def _complete(request: CalibrateRequest) -> VoteSubject:
    fingerprint = fingerprint_for(request.subject.kind)
    if not fingerprint.needs_calibration:
        raise UsageError("bad-option", f"outputs of kind {request.subject.kind.value!r} need no calibration")
    known = {attack.name for attack in standard_model_attacks()} | {edit_input().name}
    for name in request.not_covered:
        if name not in known:
            raise UsageError("bad-option", f"no attack {name!r}", hint="Attacks: " + ", ".join(sorted(known)))
    return replace(request.subject, parameters=fingerprint.parameters(request.subject.parameters))


def _require_enough(request: CalibrateRequest) -> None:
    if len(request.samples) < MIN_INPUTS:
        raise PolicyNotMet(
            "calibration-too-small",
            f"{len(request.samples)} inputs, at least {MIN_INPUTS} are needed",
            hint="A false-reject rate below 1e-3 at 95 % confidence takes 2,995 independent inputs.",
        )
    for runs, proven in (*((one, False) for one in request.elsewhere), *((one, True) for one in request.proven)):
        if runs.of_circuit is not proven:
            # Else a file could call itself a circuit, and escape being left out.
            raise UsageError(
                "bad-runs",
                "these runs are of a circuit" if runs.of_circuit else "these runs are not of a circuit",
                where=runs.name,
                hint="Runs of a machine go with --runs, those that record-proofs wrote with --proven.",
            )
        if len(runs.outputs) != len(request.samples):
            raise UsageError(
                "job-input", f"{len(runs.outputs)} recorded outputs for {len(request.samples)} inputs", where=runs.name
            )


def _run(model: bytes, subject: VoteSubject, samples: Sequence[Tensors], threads: int = 1) -> list[Output]:
    runner = VoteRunner(model, subject.runtime, threads=threads)
    wanted = subject.tensors or runner.outputs
    return [{name: one[name] for name in wanted} for one in runner.run(samples)]


Distance = Callable[[Sequence[Output], Sequence[Output]], NDArray[np.float64]]


def _distance_of(subject: VoteSubject, seed: str) -> Distance:
    if subject.kind is OutputKind.TOKENS:
        return _token_distances
    fingerprint, parameters = fingerprint_for(subject.kind), subject.parameters

    def distances(first: Sequence[Output], second: Sequence[Output]) -> NDArray[np.float64]:
        found = []
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            own = sample_seed(seed, index)
            codes = (fingerprint.make(a, own, parameters), fingerprint.make(b, own, parameters))
            found.append(fingerprint.compare(*codes, 1.0, parameters).ratio)  # with τ = 1 the ratio is the distance
        return np.array(found)

    return distances


def _token_distances(first: Sequence[Output], second: Sequence[Output]) -> NDArray[np.float64]:
    """Teacher-forced: by how many logits does the other model's choice lose, at the worst position, under the first one."""
    found = []
    for one, two in zip(first, second, strict=True):
        (mine,), (theirs,) = one.values(), two.values()
        if mine.ndim != 3 or mine.shape != theirs.shape or mine.shape[0] != 1:
            raise EvidenceRejected("output-unfit", f"shape {mine.shape}: token models give logits (1, length, vocabulary)")
        rows, others = mine[0].astype(np.float64), theirs[0].astype(np.float64)
        places = np.arange(len(rows))
        lost = rows.max(axis=1) - rows[places, others.argmax(axis=1)]
        found.append(float(lost.max()))
    return np.array(found)


def _honest(
    request: CalibrateRequest, subject: VoteSubject, reference: Sequence[Output], distance: Distance
) -> tuple[dict[str, NDArray[np.float64]], dict[str, RecordedRuns]]:
    """Distances by name, and which of the names were recorded."""
    variants: list[tuple[str, VoteSubject, int]] = [("threads=2", subject, 2)]
    for level in Optimisation:
        if level is not subject.runtime.optimisation:
            other = replace(subject, runtime=replace(subject.runtime, optimisation=level))
            variants.append((f"optimisation={level.value}", other, 1))
    found: dict[str, NDArray[np.float64]] = {}
    recorded: dict[str, RecordedRuns] = {}
    with phase(request.progress, "honest runs", len(variants) + len(request.elsewhere) + len(request.proven)):
        for name, other, threads in variants:
            found[name] = distance(reference, _run(request.model, other, request.samples, threads))
            request.progress.advance()
        for runs in (*request.elsewhere, *request.proven):
            name = _fresh(runs.name, found)
            found[name], recorded[name] = distance(reference, runs.outputs), runs
            request.progress.advance()
    return found, recorded


def _attacks(
    request: CalibrateRequest, subject: VoteSubject, reference: Sequence[Output], distance: Distance
) -> dict[str, NDArray[np.float64]]:
    models = [one for one in standard_model_attacks() if one.name not in request.not_covered]
    edits = [one for one in (edit_input(),) if one.name not in request.not_covered]
    if not models and not edits:
        raise PolicyNotMet("calibration-too-small", "no attack is covered, so no tolerance can be told from any attack")
    found = {}
    with phase(request.progress, "attacks", len(models) + len(edits)):
        for attack in models:
            found[attack.name] = distance(reference, _attacked(request, subject, attack))
            request.progress.advance()
        for edit in edits:
            found[edit.name] = distance(reference, _run(request.model, subject, _edited(request.samples, edit)))
            request.progress.advance()
    return found


def _attacked(request: CalibrateRequest, subject: VoteSubject, attack: ModelAttack) -> list[Output]:
    return _run(attack.apply(request.model), subject, request.samples)


def _edited(samples: Sequence[Tensors], edit: InputAttack) -> list[Tensors]:
    return [edit.apply(sample) for sample in samples]


def _environments(
    request: CalibrateRequest,
    honest: Mapping[str, NDArray[np.float64]],
    recorded: Mapping[str, RecordedRuns],
    attack_low: float,
) -> list[tuple[HonestRuns, float]]:
    """Each environment with the tolerance that all the others give: leave one out. A circuit is not left out."""
    found = []
    for name, values in honest.items():
        runs = recorded.get(name)
        circuit = runs is not None and runs.of_circuit
        others = max(upper_quantile(theirs, 0.999) for other, theirs in honest.items() if circuit or other != name)
        without = tolerance(others, attack_low)
        measured = HonestRuns(
            environment=name,
            environment_id=request.here.id if runs is None else runs.environment.id,
            inputs=len(values),
            high=upper_quantile(values, 0.999),
            largest=float(values.max()),
            false_rejects=int(np.count_nonzero(values > without)),
        )
        found.append((measured, without))
    return found


def _attack_runs(name: str, values: NDArray[np.float64], tau: float) -> AttackRuns:
    return AttackRuns(
        name=name,
        inputs=len(values),
        low=lower_quantile(values, 0.001),
        median=float(np.median(values)),
        high=upper_quantile(values, 0.999),
        accepted=int(np.count_nonzero(values <= tau)),
    )


def _notes(
    request: CalibrateRequest,
    honest: Mapping[str, NDArray[np.float64]],
    recorded: Mapping[str, RecordedRuns],
    bound: float,
) -> tuple[str, ...]:
    notes = []
    if bound > FALSE_REJECT_LIMIT:
        notes.append(
            f"{len(request.samples)} inputs support a false-reject rate of at most {bound:.2g} at 95 % confidence; "
            f"{FALSE_REJECT_LIMIT:g} takes 2,995"
        )
    if len({request.here.id, *(runs.environment.id for runs in request.elsewhere)}) < 2:
        notes.append("all runs are of this machine: nothing here shows what another instruction set does (--record, --runs)")
    circuits = [name for name in honest if name in recorded and recorded[name].of_circuit]
    if circuits:
        wide, narrow = (
            max(upper_quantile(values, 0.999) for name, values in honest.items() if (name in circuits) is proven)
            for proven in (True, False)
        )
        notes.append(
            f"proven runs reach {wide:.2g}, all others {narrow:.2g}: this tolerance is for rounds with a proven claim, and "
            "holds votes less tightly than one without --proven"
        )
    if request.not_covered:
        notes.append("not covered: " + ", ".join(sorted(request.not_covered)))
    return tuple(notes)


def _fresh(name: str, taken: Mapping[str, object]) -> str:
    number, fresh = 2, name
    while fresh in taken:
        fresh, number = f"{name} #{number}", number + 1
    return fresh
