"""The samples that a circuit cannot represent: found, and told, before the first proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from verifai.domain.progress import SILENT, Progress
from verifai.engines.capabilities import CheckInputsRequest, FindsOutsideInputs, OutsideInput
from verifai.errors import InputRejected
from verifai.stages.prove import ReadyCircuit

TOLD = 20
"""How many are told one by one."""


class SamplesOutside(InputRejected):
    """Some samples cannot be proven, and it was not said to prove the others.

    Attributes:
        outside: all of them, by row.
    """

    outside: tuple[OutsideInput, ...] = ()


def outside_samples(
    ready: ReadyCircuit, samples: Sequence[Mapping[str, Any]], progress: Progress = SILENT
) -> tuple[OutsideInput, ...]:
    """What the circuit cannot represent, by row; nothing from an engine that cannot tell without proving.

    Raises:
        InputRejected: an input that is not of the model's shape and dtype. UsageError: ``stale-build``. Undecided.
    """
    engine, folder = ready.engine, ready.folder
    if not isinstance(engine, FindsOutsideInputs):
        return ()
    progress.phase(f"checking {len(samples)} samples", len(samples))
    request = CheckInputsRequest(
        model=folder.model,
        section=ready.section,
        build_dir=folder.build_dir(engine.name),
        samples=samples,
        budget=ready.budget,
        threads=ready.threads,
        progress=progress,
    )
    columns = ready.lock.names.columns
    return tuple(_named(one, columns.get(one.tensor, ())) for one in engine.outside_inputs(request))


def _named(one: OutsideInput, columns: Sequence[str]) -> OutsideInput:
    """With the name of its column, where the lock has one."""
    if not one.place or one.place[-1] >= len(columns):
        return one
    return replace(one, column=columns[one.place[-1]])


def refuse_outside(outside: Sequence[OutsideInput], samples: int) -> None:
    """Raise SamplesOutside (``input-out-of-range``) when there are any."""
    if not outside:
        return
    rows = len({one.row for one in outside})
    one_by_one = "the sample lies" if samples == 1 else f"{rows} of {samples} samples lie"
    others = f"--keep-going proves the other {samples - rows}. " if rows < samples else ""
    problem = SamplesOutside(
        "input-out-of-range",
        f"{one_by_one} outside what the circuit takes; nothing was proven",
        where=outside_words(outside[0]),
        hint=f"{others}To take them in: compile with calibration data that covers such inputs.",
    )
    problem.outside = tuple(outside)
    raise problem


def outside_words(one: OutsideInput) -> str:
    """For people: row, column and value; of a hidden tensor the row alone."""
    tensor = f" {one.tensor!r}" if one.tensor else ""
    if one.place is None:
        return f"row {one.row}: input{tensor}, hidden, so no value is shown" + (f"; {one.reason}" if one.reason else "")
    *outer, column = one.place or (0,)
    where = f"cell {list(one.place)}" if any(outer) else f"column {column}"
    where += f" ({one.column!r})" if one.column else ""
    told = f"row {one.row}: input{tensor} {where} is {one.value}"
    if one.low is not None and one.high is not None:
        told += f"; the circuit takes [{one.low:g}, {one.high:g}]"
    if one.reason:
        told += f"; {one.reason}"
    more = one.cells - 1
    return told + (f" (and {more} more cell{'s' * (more > 1)})" if more > 0 else "")


def outside_document(one: OutsideInput) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "row": one.row,
        "tensor": one.tensor or None,
        "cells": one.cells or None,
        "place": None if one.place is None else list(one.place),
        "column": one.column or None,
        "value": one.value or None,
        "low": one.low,
        "high": one.high,
        "reason": one.reason or None,
    }
