"""The tuner: the cheapest bits that meet the fidelity floor, found by lowering and running circuits on the calibration data.

Bits are tried from coarse to fine, in :data:`LADDER`'s steps: up by leaps until a circuit meets the floor, then back between
the last that did not and the first that did. Each attempt is a whole circuit, lowered and run on real samples, so what is
advised was tried. Fields that ``circuit.toml`` gives are taken as they are. Where no circuit meets the floor, the values whose
rounding costs most are held on finer grids (:mod:`.sensitivity`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.fidelity import Fidelity, LanguageFigures, Task
from verifai.domain.progress import Progress
from verifai.domain.statement import MAX_COLUMNS, Visibility
from verifai.engines.fidelity import reference_measure
from verifai.engines.sumcheck.building import build_circuit
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import results
from verifai.engines.sumcheck.fidelity import measure
from verifai.engines.sumcheck.lowering.dynamic import dynamic_hint
from verifai.engines.sumcheck.lowering.graph import read_graph
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.lowering.quantised import own_scales
from verifai.engines.sumcheck.lowering.select import INTEGERS
from verifai.engines.sumcheck.payload.bindings import BINDINGS
from verifai.engines.sumcheck.planning.plan import plan
from verifai.engines.sumcheck.protocol.suite import Suite
from verifai.engines.sumcheck.quantise.ends import Ends, ends, one_sided
from verifai.engines.sumcheck.quantise.ranges import (
    calibrate,
    column_ranges,
    compared_inputs,
    exact_exponents,
    ordered_inputs,
    shared_ranges,
    unlike_columns,
    wide_sums,
)
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Range, Scale, alike, choose_scales
from verifai.engines.sumcheck.sensitivity import (
    FREE_BITS,
    WIDEST,
    WIDEST_OUTPUT,
    Cost,
    blamed,
    chosen,
    costs,
    extra_bits,
    finer,
    finer_input,
    finer_results,
)
from verifai.errors import InputRejected, PolicyNotMet, UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

LADDER = (8, 9, 10, 11, 12, 13, 14, 15)
"""Bits of inner tensors, coarse to fine."""
_LEAPS = (0, 2, 4, 7)
_SHARES = (0.7, 0.6, 0.45, 0.35, 0.15)
"""Of the error allowed, that values which are not held more finely may cost together: less where more did not do."""
_REFUSALS, _SPARED = 16, 2
"""Most circuits tried for bounds that do not hold, and the bits by which a finer grid is then coarsened each time."""
_NAMED = 3
"""Most values that a message names."""
SEARCH_SAMPLES = 256
"""Most samples that a search runs on; what it finds is measured on all."""
DEAD = 1e-12
"""Beside an output's largest cell, a cell that moves by less is a constant. Columns in units of their own may well differ by
more than float32 resolves: one of thousandths beside one of millions is none."""
OUTPUT_SHARE = 0.25
"""An output's own rounding takes at most this share of the error allowed."""
MIN_OUTPUT_BITS, MAX_OUTPUT_BITS = 8, 15
_OTHER_BITS_MAY_DO = ("circuit-bound", "constant-value")
"""Refusals that depend on the bits, so that the next rung may keep the bound, or tell a factor from 0."""
TUNED_FIELDS = ("activation_bits", "input_bits", "output_bits", "column_bits")

Sample = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Tuned:
    """What was found.

    Attributes:
        tried: a row per circuit tried, with equal keys.
    """

    options: QuantiserOptions
    scales: Mapping[str, Scale]
    lowered: Lowered
    fidelity: Fidelity
    tried: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class _Attempt:
    """One circuit tried. ``rounded``: names of what it rounds; ``sums``, ``functions`` as :class:`.lowering.lower.Lowered` has
    them.

    What is kept of circuits that were not chosen has no ``lowered``: one of many weights takes a gigabyte.
    """

    number: int
    options: QuantiserOptions
    scales: Mapping[str, Scale]
    lowered: Lowered | None
    fidelity: Fidelity | None
    reason: str
    refused: UnsupportedModel | None = None
    cells: int = 0
    rounded: frozenset[str] = frozenset()
    sums: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()

    def row(self, chosen: bool) -> Mapping[str, Any]:
        """For people: bits, cost, fidelity, outcome."""
        found = self.fidelity
        return {
            **{name: getattr(self.options, name) for name in TUNED_FIELDS},
            "cells": self.cells,
            "spread_error": -1.0 if found is None or found.judged_error is None else found.judged_error,
            "top1_matches": -1 if found is None or found.top1_matches is None else found.top1_matches,
            **({} if found is None or found.language is None else _of_texts(found.language)),
            "outcome": "chosen" if chosen else self.reason or "meets the floor",
        }


def _of_texts(found: LanguageFigures) -> Mapping[str, Any]:
    """For people: what a language model is judged by."""
    return {"positions_match": found.matches, "perplexity_ratio": -1.0 if found.ratio is None else round(found.ratio, 5)}


def committed_cells(lowered: Lowered) -> int:
    """Cells that a proof of the circuit commits to, as far as its prove time depends on them."""
    layout = plan(lowered.circuit)
    return layout.witness.stored_cells + (1 << layout.bus.log_leaves)


class Tuner:
    """One search.

    Args:
        samples: feeds of exact model shapes. given: the fields of ``[engine.sumcheck]`` that its author wrote.
        pad: as in :class:`~verifai.engines.interface.CompileRequest`.
    """

    def __init__(
        self,
        model: OnnxModel,
        spec: CircuitSpec,
        samples: Sequence[Sample],
        options: QuantiserOptions,
        given: frozenset[str],
        suite: Suite,
        progress: Progress,
        pad: int | None = None,
    ) -> None:
        self._model, self._spec, self._samples, self._suite = model, spec, samples, suite
        self._options, self._given, self._progress = options, given, progress
        self.floor = spec.floor
        progress.phase("calibrate", len(samples))
        self.measure = reference_measure(spec.task, model, samples, pad)
        few = samples[:SEARCH_SAMPLES]
        same = len(few) == len(samples)
        self._search = (few, self.measure if same else reference_measure(spec.task, model, few, pad))
        levels = (1 << options.activation_bits) - 1
        found = calibrate(model, samples, options.method, percentile=options.percentile, levels=levels)
        self._ranges = shared_ranges(model, found)
        self._columns = column_ranges(model, samples)
        self._exact = exact_exponents(model, samples)
        self._compared = compared_inputs(model)
        self._wide = wide_sums(model, samples, self._ranges) if options.unrounded else {}
        self._ordered = ordered_inputs(model)
        self._own_scales = own_scales(read_graph(model))
        self._output_columns = self._unlike_columns()
        self._tried: list[_Attempt] = []
        self._costs: list[Cost] = []
        self._fine: dict[str, Scale] = {}
        self._least_output = MIN_OUTPUT_BITS + 2

    def run(self) -> Tuned:
        """Search.

        Raises:
            PolicyNotMet: ``fidelity-below-floor``, with the change that would meet it.
            UnsupportedModel: an operator, or a bound that no bits keep.
        """
        best = self._climb() or self._decide() or self._refine()
        if best is None:
            raise self._refusal()
        assert best.lowered is not None
        fidelity = best.fidelity if len(self._search[0]) == len(self._samples) else None
        if fidelity is None:
            fidelity = measure(self._model, best.lowered, self._samples, self.measure, self._progress)
        assert fidelity is not None
        if self._fine:
            self._progress.note(f"Held on finer grids, since rounding them cost most: {self._costliest(self._fine)}.")
        tried = tuple(one.row(one.number == best.number) for one in self._tried)
        return Tuned(best.options, best.scales, best.lowered, fidelity, tried)

    def _climb(self) -> _Attempt | None:
        """The first rung of the ladder that meets the floor; ``None`` when none does."""
        rungs = [self._options.activation_bits] if "activation_bits" in self._given else list(LADDER)
        below, found, at = -1, None, len(rungs)
        for leap in [one for one in _LEAPS if one < len(rungs)]:
            attempt = self._try(rungs[leap])
            if not attempt.reason:
                found, at = attempt, leap
                break
            below = leap
        while found is not None and at - below > 1:
            middle = (at + below) // 2
            attempt = self._try(rungs[middle])
            if attempt.reason:
                below = middle
            else:
                found, at = attempt, middle
        return found

    def _decide(self) -> _Attempt | None:
        """With outputs as fine as can be, where nothing but decisions is missed: cells within one step tie."""
        missed = [one.fidelity for one in self._tried if one.fidelity is not None]
        if "output_bits" in self._given or not any(self.floor.misses_decisions_alone(one) for one in missed):
            return None
        self._least_output = MAX_OUTPUT_BITS
        return self._climb()

    def _refine(self) -> _Attempt | None:
        """The last rung, with the costliest values on finer grids; ``None`` where that does not meet the floor either."""
        last = next((one for one in reversed(self._tried) if one.fidelity is not None), None)
        if last is None or not self._options.unrounded or self._spec.task is Task.GENERATION:
            return None
        self._progress.phase("find what costs the precision")
        self._costs = costs(self._model, *self._search, self.floor, last.scales, last.rounded - self._own_scales)
        able = self._able(last)
        for share in _SHARES:
            spared: Counter[str] = Counter()
            for _ in range(_REFUSALS):
                picked = chosen(self._costs, able, share, free=last.functions)
                count = sum(one.value not in last.functions for one in picked)
                fine = {one.value: self._finer(one, last, share, count, spared) for one in picked}
                self._fine = {name: scale for name, scale in fine.items() if scale is not None}
                if not self._fine:
                    break
                attempt = self._try(last.options.activation_bits)
                if not attempt.reason and self._meets(attempt):
                    return attempt
                if attempt.refused is None:
                    break
                # Bounds do not hold: what they are about becomes coarser again, and in the end what it was.
                spared.update(dict.fromkeys(blamed(self._model, attempt.refused.where or "", self._fine), _SPARED))
                able -= {one.value for one in picked if spared[one.value] > self._extra(one, last, share, count)}
        self._fine = {}
        return None

    def _meets(self, attempt: _Attempt) -> bool:
        """Whether a circuit that meets the floor on what is searched with meets it on all samples."""
        if len(self._search[0]) == len(self._samples) or attempt.lowered is None:
            return True
        return not self.floor.missed(measure(self._model, attempt.lowered, self._samples, self.measure))

    def _able(self, tried: _Attempt) -> set[str]:
        """Values that can be held on finer grids: sums, results of functions, inputs that are shown. A hidden input or output
        is looked up."""
        shown = {name for name, visibility in self._spec.tensors.items() if visibility is Visibility.PUBLIC}
        inputs = {spec.name for spec in self._model.inputs if spec.dtype not in INTEGERS}
        hidden = {spec.name for spec in self._model.outputs} - shown
        closed = set(ends(self._model, self._options.boundary).cells) if hidden or "output_bits" in self._given else set()
        taken = set() if "input_bits" in self._given else inputs & shown
        return ((set(tried.sums) | set(tried.functions)) - closed | taken) - set(self._options.boundary)

    def _extra(self, cost: Cost, tried: _Attempt, share: float, count: int) -> int:
        """Bits that a value's grid is to be finer by."""
        return FREE_BITS if cost.value in tried.functions else extra_bits(cost, share, max(1, count))

    def _finer(self, cost: Cost, tried: _Attempt, share: float, count: int, spared: Mapping[str, int]) -> Scale | None:
        scale = tried.scales[cost.value]
        bits = max(1, self._extra(cost, tried, share, count) - spared[cost.value])
        if cost.value in {spec.name for spec in self._model.inputs}:
            return finer_input(scale, bits)
        if cost.value in tried.functions:
            return finer_results(scale, bits)
        return finer(scale, bits, WIDEST_OUTPUT if cost.value in {spec.name for spec in self._model.outputs} else WIDEST)

    def _costliest(self, names: Collection[str]) -> str:
        """For people: the values among ``names`` that cost most, with the error of the outputs that each makes by itself."""
        found = [one for one in self._costs if one.value in names]
        shown = ", ".join(f"{one.value} ({one.share:.2g} of the error allowed)" for one in found[:_NAMED])
        return shown + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")

    def _try(self, bits: int) -> _Attempt:
        options = self.options(bits)
        scales = {**self._scales(options), **self._fine, **options.boundary}
        self._progress.phase(f"try {bits} bits")
        try:
            tensors = {name: BINDINGS[visibility] for name, visibility in self._spec.tensors.items()}
            lowered = build_circuit(self._model, tensors, self._spec.weights, scales, options, self._suite)
            fidelity = measure(self._model, lowered, *self._search)
        except (UnsupportedModel, InputRejected) as problem:
            # Of what a finer grid does not allow, the coarser circuit, which was measured, says enough.
            if problem.code not in _OTHER_BITS_MAY_DO and not self._fine:
                raise
            refused = UnsupportedModel(problem.code, problem.message, where=problem.where)
            message = f"{problem.message} (at {problem.where})"
            attempt = _Attempt(len(self._tried), options, scales, None, None, message, refused)
            self._tried.append(attempt)
            return attempt
        missed = "; ".join(self.floor.missed(fidelity))
        made = {
            out for op in lowered.circuit.ops if isinstance(op, ops.Requant | ops.Lookup | ops.Rescale) for out in results(op)
        }
        rounded = {lowered.circuit.tensors[place].name for place in made} | lowered.sums | lowered.functions
        rounded |= {spec.name for spec in (*self._model.inputs, *self._model.outputs)}
        cells = committed_cells(lowered)
        attempt = _Attempt(
            len(self._tried), options, scales, lowered, fidelity, missed, cells=cells,
            rounded=frozenset(rounded), sums=lowered.sums, functions=lowered.functions,
        )  # fmt: skip
        self._tried.append(replace(attempt, lowered=None))
        return attempt

    def options(self, bits: int) -> QuantiserOptions:
        """The options of a rung: inner tensors of ``bits``, ends as fine as the floor needs; given fields as given."""
        hidden = any(self._spec.tensors[spec.name].value != "public" for spec in self._model.inputs)
        wanted: dict[str, Any] = {
            "activation_bits": bits,
            "input_bits": min(16, max(8, bits + 1)),
            # Public cells cost nothing; hidden ones are looked up in a table of their range.
            "column_bits": min(16, bits + 4) if hidden and not self._compared else 16,
            "output_bits": self._output_bits(),
            "unclamped": self._spec.task is Task.GENERATION and self._options.unrounded,
            "sparing": self._spec.task is Task.GENERATION and self._options.unrounded,
            "fine": bool(self._fine),
            "rounds_once": self._options.unrounded and bool(self._own_scales),
        }
        return replace(self._options, **{name: value for name, value in wanted.items() if name not in self._given})

    def _unlike_columns(self) -> dict[str, list[Range]]:
        """Outputs that are one row whose columns are too unlike for one scale: the ranges of their columns."""
        found = {}
        for spec in self._model.outputs:
            row = len(spec.shape) in (1, 2) and 1 < spec.size == spec.shape[-1] <= MAX_COLUMNS
            if not row or spec.name not in self.measure.real or self._spec.task is not Task.REGRESSION:
                continue
            if self.measure.one_unit(spec.name):
                # One vector, as an embedding is. A cell that is all but dead in it would get steps a billion times finer than
                # the others', and no layer has weights for both.
                continue
            ranges = [Range(float(low), float(high)) for low, high in zip(*self.measure.extremes(spec.name), strict=True)]
            reach = max(max(abs(one.low), abs(one.high)) for one in ranges)
            # A cell that hardly moves beside the others is a constant, as for the measure: some embeddings have dead cells, of
            # 1e-33 beside 0.3.
            ranges = [one if one.high - one.low > reach * DEAD else Range(one.low, one.low) for one in ranges]
            if not alike(ranges):
                found[spec.name] = ranges
        return found

    def _output_bits(self) -> int:
        """So many that rounding alone takes a small share of the error allowed."""
        limit = self.floor.spread_error
        bits = self._least_output
        margin = 1 + 2 * self._options.output_margin
        for name in self.measure.real:
            values, spreads = self._ranges[name], self.measure.spread(name)
            columns = self._output_columns.get(name)
            # A step per column is a power of two, up to twice finer than it has to be.
            spans = [2 * (one.high - one.low) for one in columns] if columns else [max(values.high, 0.0) - min(values.low, 0.0)]
            for span, spread in zip(spans, spreads if columns else [spreads.min()], strict=True):
                allowed = [] if limit is None else [limit * float(spread)]
                allowed += [] if self.floor.max_abs_error is None else [self.floor.max_abs_error]
                if allowed and min(allowed) > 0:
                    step = 2 * OUTPUT_SHARE * min(allowed)
                    bits = max(bits, int(np.ceil(np.log2(max(span * margin / step, 2.0)))))
        return min(bits, MAX_OUTPUT_BITS)

    def _scales(self, options: QuantiserOptions) -> dict[str, Scale]:
        inputs, outputs = ({tensor.name for tensor in side} for side in (self._model.inputs, self._model.outputs))
        made_of = ends(self._model, options.boundary) if options.fold else Ends(frozenset(outputs), frozenset())
        integers = {tensor.name for tensor in self._model.inputs if tensor.dtype in INTEGERS}
        ranges: Mapping[str, Range] = self._ranges
        return choose_scales(
            ranges, inputs, made_of.cells | outputs, options, integers, self._columns, self._exact, arguments=made_of.arguments,
            output_columns=self._output_columns if options.fold else None, compared=self._compared,
            wide=self._wide,
            ordered=self._ordered,
            one_sided=one_sided(self._model),
        )  # fmt: skip

    def _badness(self, found: Fidelity | None) -> tuple[float, ...]:
        """Less is better: fields missed, then errors."""
        assert found is not None
        return (len(self.floor.missed(found)), found.judged_error or 0.0, -(found.top1_agreement or 0.0))

    def _refusal(self) -> PolicyNotMet | UnsupportedModel:
        """Why nothing meets the floor, and the change that would: one that a circuit tried here meets."""
        measured = [one for one in self._tried if one.fidelity is not None]
        if not measured:
            last = self._tried[-1].refused
            assert last is not None
            given = "Remove activation_bits from [engine.sumcheck], so that others are tried."
            hint = given if "activation_bits" in self._given else "Other bits were tried: change the node that is named."
            return UnsupportedModel(last.code, last.message, where=last.where, hint=hint)
        best = min(measured, key=lambda one: self._badness(one.fidelity))
        assert best.fidelity is not None
        bits = ", ".join(f"{name} = {getattr(best.options, name)}" for name in TUNED_FIELDS if name not in self._given)
        fixed = sorted(self._given & set(TUNED_FIELDS))
        advice = self.floor.lowered_to(best.fidelity)
        hint = f"The best circuit tried ({bits}) meets {advice} in [fidelity]."
        if self._costs and self._costs[0].share > _SHARES[-1]:
            hint += f" Most precision is lost where these are rounded: {self._costliest([one.value for one in self._costs])}."
        hint = dynamic_hint(self._model) + hint + unlike_columns(self._columns, self._compared)
        if fixed:
            hint = f"Remove {', '.join(fixed)} from [engine.sumcheck], so that finer ones are tried. " + hint
        return PolicyNotMet(
            "fidelity-below-floor", f"{self._spec.name}: {best.reason}", where="circuit.toml: [fidelity]", hint=hint
        )
