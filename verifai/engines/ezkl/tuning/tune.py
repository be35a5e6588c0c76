"""The tuner: find the cheapest circuit that is faithful enough.

1. ezkl states the size of each form of the graph once; :mod:`.candidates` derives all candidates and their cost from it.
2. The cheapest are run forward by ezkl on every calibration sample: exact size, real fidelity, real ranges.
3. The best few are set up, when there is an SRS: the key's size shows how many columns the circuit really has.

The order and the choice rest on sizes and predictions, never on a clock: the same model, specification and data give the same
circuit on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from math import floor as floor_of
from typing import Any

import onnx

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.fidelity import Fidelity, FidelityFloor
from verifai.domain.record import Record
from verifai.engines.ezkl.build import Sample, Trial, build, trial
from verifai.engines.ezkl.calls import CallFailed, Fence, call, first_line, run
from verifai.engines.ezkl.cost.flow import Scales, count, flow
from verifai.engines.ezkl.cost.model import MAX_INNER_COLUMNS, CircuitSize
from verifai.engines.ezkl.parameters import FOLDED, CircuitParameters, CircuitVisibility, Tuned
from verifai.engines.ezkl.rewrites import registry as rewrites
from verifai.engines.ezkl.srs.file import Srs
from verifai.engines.ezkl.tensors import fed
from verifai.engines.ezkl.tuning.calibration import Calibration, arrays_of
from verifai.engines.ezkl.tuning.candidates import (
    FORECAST_SHARES,
    MULTIPLIERS,
    NO_LOOKUP,
    Candidate,
    Variant,
    candidates,
    frames_of,
    variants,
)
from verifai.errors import PolicyNotMet, ResourceExhausted, UnsupportedModel, UsageError
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.model import OnnxModel

DEFAULT_MARGIN = 2.0
DEFAULT_FORWARD_RUNS = 10
DEFAULT_SETUPS = 3
_FITS = "confirmed"
_PROBE_LEGS = 3


@dataclass(frozen=True, slots=True)
class TuningOptions:
    """``[engine.ezkl]`` of ``circuit.toml``, as far as the tuner reads it.

    Attributes:
        margin: least factor by which inner values may exceed what the calibration data reached.
        rewrites: names of the graph rewrites to consider; ``None`` for all.
        forward_runs, setups: how many candidates are run forward, and set up.
        parameters: a tuning that is taken as it is, without a search; for circuits whose lock is not shared.
    """

    margin: float = DEFAULT_MARGIN
    rewrites: tuple[str, ...] | None = None
    forward_runs: int = DEFAULT_FORWARD_RUNS
    setups: int = DEFAULT_SETUPS
    parameters: CircuitParameters | None = None


def read_options(options: Mapping[str, Any]) -> TuningOptions:
    """Raises UsageError (``bad-spec``), with the field named."""
    record = Record(dict(options), "circuit.toml: [engine.ezkl]", error=UsageError, code="bad-spec")
    names = record.texts("rewrites", max_length=16) if record.has("rewrites") else None
    for name in names or ():
        if name not in rewrites.REWRITES:
            raise record.refuse(f"no such graph rewrite: {name[:60]!r}", "rewrites", "Known: " + ", ".join(rewrites.REWRITES))
    read = TuningOptions(
        margin=record.number("range_margin", DEFAULT_MARGIN, low=1.0, high=1e6),
        rewrites=names,
        forward_runs=record.integer("forward_runs", DEFAULT_FORWARD_RUNS, low=1, high=256),
        setups=record.integer("setups", DEFAULT_SETUPS, low=1, high=64),
        parameters=CircuitParameters.from_record(record.table("parameters")) if record.has("parameters") else None,
    )
    record.done()
    return read


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate after it was tried. ``key_bytes``: measured, 0 when it was not set up."""

    candidate: Candidate
    outcome: str
    fidelity: Fidelity | None = None
    key_bytes: int = 0

    @property
    def rank(self) -> tuple[float, ...]:
        """The candidate's, corrected by the measured key: time goes with the number of columns."""
        share = self.key_bytes / self.candidate.cost.key_bytes if self.key_bytes else 1.0
        return (round(self.candidate.rank[0] * share, 3), *self.candidate.rank)

    def row(self, chosen: bool) -> dict[str, Any]:
        """For the table of what was tried: plain values, the same keys in every row. Not measured: 0 for the key, −1 else."""
        parameters, cost, fidelity = self.candidate.parameters, self.candidate.cost, self.fidelity
        return {
            "input": parameters.input_scale,
            "param": parameters.param_scale,
            "rebase": parameters.scale_rebase_multiplier,
            "base": parameters.decomp_base,
            "legs": parameters.decomp_legs,
            "cols": parameters.num_inner_cols,
            "k": parameters.logrows,
            "rewrites": " + ".join(parameters.rewrites) or "none",
            "cells": self.candidate.size.cells,
            "est_prove_s": round(cost.prove_seconds, 2),
            "est_key_mb": round(cost.key_bytes / 1e6, 1),
            "key_mb": round(self.key_bytes / 1e6, 1),
            "top1": -1.0 if fidelity is None or fidelity.top1_agreement is None else round(fidelity.top1_agreement, 4),
            "max_error": -1.0 if fidelity is None else round(fidelity.max_abs_error, 6),
            "outcome": "chosen" if chosen else self.outcome,
        }


def tune(
    model: OnnxModel,
    spec: CircuitSpec,
    visibility: CircuitVisibility,
    samples: Sequence[Sample],
    *,
    srs: Srs | None,
    max_logrows: int,
    options: Mapping[str, Any],
    fence: Fence,
    quick: bool = False,
) -> Tuned:
    """The cheapest circuit that meets the specification's fidelity floor on ``samples`` and fits its budget.

    Args:
        samples: one per calibration sample: one flat list per model input.
        srs: to set up candidates with; ``None``: the last step is left out, and sizes are predicted only.
        options: ``[engine.ezkl]`` without ``srs``.
        quick: whether the first circuit that meets the floor will do, rather than the cheapest of several.

    Raises:
        UsageError: code ``bad-spec``.
        PolicyNotMet: code ``fidelity-below-floor``: no circuit within the budget is faithful enough.
        UnsupportedModel, Undecided: as ezkl's calls.
    """
    wanted = read_options(options)
    if wanted.parameters is not None:
        return Tuned(wanted.parameters, rewrites.circuit_onnx(model.data, wanted.parameters), ())
    folds = wanted.rewrites is None or FOLDED in wanted.rewrites
    frames = frames_of(model, arrays_of(model, samples)) if folds else {}
    calibration = Calibration.of(model, spec, samples, frames)
    limit = max_logrows if srs is None else min(max_logrows, srs.logrows)
    forms = probe(variants(model, wanted.rewrites, frames), visibility, fence)
    search = _Search(calibration, spec, forms, limit, wanted, visibility, samples, fence)
    attempts = search.run(quick)
    confirmed = sorted((one for one in attempts if one.outcome == _FITS), key=lambda one: one.rank)
    if not confirmed:
        raise search.refusal()
    if srs is not None:
        confirmed = _set_up(confirmed, attempts, wanted, visibility, srs, fence)
    best = confirmed[0]
    fence.progress.note(
        f"tuned: 2^{best.candidate.parameters.logrows} rows, {best.candidate.size.cells} cells, "
        f"{len(attempts)} of {search.proposed} candidates run"
    )
    tried = tuple(one.row(one.candidate is best.candidate) for one in attempts)
    return Tuned(best.candidate.parameters, best.candidate.variant.onnx, tried, best.fidelity)


def probe(forms: Sequence[Variant], visibility: CircuitVisibility, fence: Fence) -> tuple[Variant, ...]:
    """The forms that ezkl takes, with the difference between its cell counts and ours.

    Raises:
        UnsupportedModel: code ``ezkl-refused``, when it takes none.
    """
    fence.progress.phase("tune: count cells", len(forms))
    scales = Scales(7, 7, max(MULTIPLIERS))
    found: list[Variant] = []
    refusal = ""
    for form in forms:
        try:
            stated = _stated_sizes(form, scales, visibility, fence)
        except CallFailed as problem:
            refusal = first_line(str(problem))
            continue
        finally:
            fence.progress.advance()
        proto = onnx.ModelProto.FromString(form.onnx)
        counted = {inner: count(proto, flow(proto, scales), _PROBE_LEGS, inner) for inner in stated}
        found.append(
            replace(
                form,
                corrections={
                    inner: (size.cells - counted[inner].main, size.einsum_cells - counted[inner].einsum)
                    for inner, size in stated.items()
                },
            )
        )
    if not found:
        raise UnsupportedModel(
            "ezkl-refused",
            f"ezkl cannot make a circuit of this model: {refusal}",
            hint="Run `verifai check MODEL`; it names operators and attributes that ezkl does not take.",
        )
    return tuple(found)


def _stated_sizes(form: Variant, scales: Scales, visibility: CircuitVisibility, fence: Fence) -> dict[int, CircuitSize]:
    """Sizes by inner columns, all in one child."""
    names = {inner: f"settings-{inner}.json" for inner in range(1, MAX_INNER_COLUMNS + 1)}
    steps = []
    for inner, name in names.items():
        parameters = CircuitParameters(
            scales.inputs, scales.parameters, scales.multiplier, 512, _PROBE_LEGS, inner, -NO_LOOKUP, NO_LOOKUP, 1.0, 20
        )
        run_args = parameters.run_args(visibility.inputs, visibility.outputs)
        steps.append(call("gen_settings", model="model.onnx", output=name, run_args=run_args))
    with private_directory(fence.scratch) as folder:
        run(steps, fence, inputs={"model.onnx": form.onnx}, outputs={name: folder / name for name in names.values()})
        return {inner: exact_size(CircuitSize(0, 0), (folder / name).read_bytes()) for inner, name in names.items()}


class _Search:
    """Candidates run forward, until some meet the floor: those that a coarse forecast lets through first."""

    def __init__(
        self,
        calibration: Calibration,
        spec: CircuitSpec,
        forms: Sequence[Variant],
        limit: int,
        wanted: TuningOptions,
        visibility: CircuitVisibility,
        samples: Sequence[Sample],
        fence: Fence,
    ) -> None:
        self._calibration, self._spec, self._forms, self._limit = calibration, spec, forms, limit
        self._wanted, self._visibility, self._samples, self._fence = wanted, visibility, samples, fence
        self._attempts: list[Attempt] = []
        self.proposed = 0

    def run(self, quick: bool) -> list[Attempt]:
        """All attempts, in order; ``quick``: no more after the first that meets the floor."""
        tried: set[CircuitParameters] = set()
        for share in FORECAST_SHARES:
            proposed = candidates(
                self._calibration,
                self._visibility,
                self._spec.floor,
                self._spec.budget,
                forms=self._forms,
                max_logrows=self._limit,
                margin=self._wanted.margin,
                share=share,
            )
            fresh = [one for one in proposed if one.parameters not in tried]
            self.proposed += len(fresh)
            tried.update(one.parameters for one in fresh)
            self._attempts += self._forward(fresh, quick)
            if any(one.outcome == _FITS for one in self._attempts):
                break
        return self._attempts

    def _forward(self, proposed: Sequence[Candidate], quick: bool) -> Iterator[Attempt]:
        """Run candidates forward, cheapest first, until enough of them fit and the next cannot be among the best."""
        count = min(self._wanted.forward_runs, len(proposed))
        self._fence.progress.phase("tune: run forward", count)
        good: list[Attempt] = []
        for candidate in proposed[:count]:
            dear = good and candidate.cost.prove_seconds > 1.3 * good[-1].candidate.cost.prove_seconds
            if len(good) >= 2 * self._wanted.setups and dear:
                return
            attempt = _attempt(candidate, self._calibration, self._spec.floor, self._visibility, self._samples, self._fence)
            if attempt.outcome == _FITS:
                good.append(attempt)
            self._fence.progress.advance()
            yield attempt
            if quick and good:
                return

    def refusal(self) -> PolicyNotMet:
        """Why nothing meets the floor, and what was tried and would."""
        rows = f"2^{self._limit} rows"
        logrows = self._limit + 2
        larger = f"Allow more rows: [budget] max_logrows = {logrows} in circuit.toml, and `verifai srs fetch -k {logrows}`."
        other = "Or use the sumcheck engine: `verifai init MODEL -o DIR --engine sumcheck`."
        measured = [one for one in self._attempts if one.fidelity is not None]
        if not self._attempts:
            message = f"no circuit of at most {rows} within the budget is predicted to meet the fidelity floor"
            return self._refused(message, f"{larger} {other}")
        reasons = ", ".join(sorted({one.outcome for one in self._attempts}))
        message = f"none of {len(self._attempts)} circuits of at most {rows} meets the fidelity floor ({reasons})"
        if not measured:
            return self._refused(message, f"{larger} {other}")
        best = min(measured, key=lambda one: _missed(self._spec.floor, one.fidelity))
        assert best.fidelity is not None
        missed = "; ".join(self._spec.floor.missed(best.fidelity)) or best.outcome
        reach = self._spec.floor.lowered_to(best.fidelity)
        met = f"The best circuit tried meets {reach} in [fidelity]. " if self._spec.floor.missed(best.fidelity) else ""
        return self._refused(f"{message}; the best: {missed}", f"{met}{larger} {other}")

    def _refused(self, message: str, hint: str) -> PolicyNotMet:
        where = "circuit.toml: [fidelity]"
        return PolicyNotMet("fidelity-below-floor", f"{self._spec.name}: {message}", where=where, hint=hint)


def _missed(floor: FidelityFloor, fidelity: Fidelity | None) -> tuple[int, float]:
    """How far from a floor; smaller is nearer."""
    assert fidelity is not None
    return len(floor.missed(fidelity)), fidelity.judged_error or 0.0


def _attempt(
    candidate: Candidate,
    calibration: Calibration,
    floor: FidelityFloor,
    visibility: CircuitVisibility,
    samples: Sequence[Sample],
    fence: Fence,
) -> Attempt:
    """Run it forward; once more, with what the first run showed to be missing, when a value left its range."""
    given = [fed(calibration.model.inputs, one, candidate.parameters) for one in samples]
    try:
        ran = trial(candidate.variant.onnx, candidate.parameters, visibility, given, fence=fence)
    except UnsupportedModel:
        wider = candidate.widened(0, 0, legs=1)
        if wider is None:
            return Attempt(candidate, "a sample leaves its range")
        try:
            ran = trial(wider.variant.onnx, wider.parameters, visibility, given, fence=fence)
        except UnsupportedModel:
            return Attempt(wider, "a sample leaves its range")
        candidate = wider
    if not _looked_up(ran):
        margin = candidate.parameters.lookup_margin
        low, high = min(one.lookup_low for one in ran.witnesses), max(one.lookup_high for one in ran.witnesses)
        sized = replace(candidate, size=exact_size(candidate.size, ran.settings_bytes))
        more = sized.widened(floor_of(low * margin) - 1, ceil(high * margin) + 1)
        if more is None:
            return Attempt(candidate, "a lookup leaves its range")
        candidate = more
        try:
            ran = trial(candidate.variant.onnx, candidate.parameters, visibility, given, fence=fence)
        except UnsupportedModel:
            return Attempt(candidate, "a sample leaves its range")
    resized = candidate.resized(exact_size(candidate.size, ran.settings_bytes))
    fidelity = calibration.of_witnesses(ran.witnesses, ran.settings.output_scales)
    if resized is None:
        return Attempt(candidate, "too many rows", fidelity)
    if not _looked_up(ran):
        return Attempt(resized, "a lookup leaves its range", fidelity)
    return Attempt(resized, _FITS if not floor.missed(fidelity) else "below the fidelity floor", fidelity)


def _looked_up(ran: Trial) -> bool:
    """Whether every lookup of every sample stayed inside its table."""
    low, high = ran.settings.lookup_range
    reached = [end for one in ran.witnesses for end in (one.lookup_low, one.lookup_high)]
    return not ran.settings.required_lookups or all(low <= end <= high for end in reached)


def exact_size(predicted: CircuitSize, settings: bytes) -> CircuitSize:
    """The circuit's size as ezkl's settings state it."""
    document = json.loads(settings)
    return replace(
        predicted,
        cells=int(document["total_assignments"]),
        einsum_cells=int(document["einsum_params"]["total_einsum_col_size"]),
        shuffles=int(document["num_shuffles"]),
        lookups=len(document["required_lookups"]),
    )


def _set_up(
    confirmed: Sequence[Attempt],
    attempts: list[Attempt],
    wanted: TuningOptions,
    visibility: CircuitVisibility,
    srs: Srs,
    fence: Fence,
) -> list[Attempt]:
    """Set up the best; those that do not fit drop out, and the next take their place."""
    fence.progress.phase("tune: set up", wanted.setups)
    ready: list[Attempt] = []
    for attempt in confirmed:
        if len(ready) == wanted.setups:
            break
        place = next(index for index, one in enumerate(attempts) if one is attempt)
        try:
            with private_directory(fence.scratch) as folder:
                built = build(
                    attempt.candidate.variant.onnx, attempt.candidate.parameters, visibility, srs.path, folder, fence=fence
                )
                done = replace(attempt, outcome="set up", key_bytes=built.pk_path.stat().st_size)
            ready.append(done)
        except UnsupportedModel:
            done = replace(attempt, outcome="does not fit its rows")
        except ResourceExhausted:
            done = replace(attempt, outcome="needs more memory than allowed")
        attempts[place] = done
        fence.progress.advance()
    if not ready:
        raise ResourceExhausted(
            "out-of-memory",
            "none of the circuits tried could be set up",
            hint="Raise the memory budget or max_logrows in circuit.toml.",
        )
    return sorted(ready, key=lambda one: one.rank)
