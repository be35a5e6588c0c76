"""The samples that a circuit cannot represent: found, and told, before the first proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from verifai.domain.proof_index import row_words
from verifai.engines.capabilities import CheckInputsRequest, FindsOutsideInputs, OutsideInput
from verifai.engines.interface import ProofEngine
from verifai.errors import InputRejected

TOLD = 20
"""How many are told one by one."""


class SamplesOutside(InputRejected):
    """Some samples cannot be proven, and it was not said to prove the others.

    Attributes:
        outside: all of them, by row.
    """

    outside: tuple[OutsideInput, ...] = ()


def outside_samples(
    engine: ProofEngine, request: CheckInputsRequest, columns: Mapping[str, Sequence[str]]
) -> tuple[OutsideInput, ...]:
    """What the circuit cannot represent, by row; nothing from an engine that cannot tell without proving.

    Args:
        columns: names of the places of the last axis, by input, where there are any.

    Raises:
        InputRejected: an input that is not of the model's shape and dtype. UsageError: ``stale-build``. Undecided.
    """
    if not isinstance(engine, FindsOutsideInputs):
        return ()
    request.progress.phase(f"checking {len(request.samples)} samples", len(request.samples))
    return tuple(_named(one, columns.get(one.tensor, ())) for one in engine.outside_inputs(request))


def _named(one: OutsideInput, columns: Sequence[str]) -> OutsideInput:
    """With the name of its column, where there is one."""
    if not one.place or one.place[-1] >= len(columns):
        return one
    return replace(one, column=columns[one.place[-1]])


_GAPS = "No value is made up for a gap: write the one that stands for it in your data, or leave the row out."


def refuse_outside(outside: Sequence[OutsideInput], samples: int) -> None:
    """Raise SamplesOutside (``input-out-of-range``) when there are any."""
    if not outside:
        return
    first, rows = outside[0], len({one.row for one in outside})
    if samples == 1:
        message = _hidden_words(first) if first.hidden else _cell_words(first)
        where = first.tensor or "the input"
    else:
        message, where = (
            f"{rows} of {samples} samples lie outside what the circuit takes; nothing was proven",
            outside_words(first),
        )
    others = f"--keep-going proves the other {samples - rows}. " if rows < samples else ""
    covered = "To take such inputs in: compile with calibration data that covers them."
    hint = others + (_GAPS if all(one.gap for one in outside) else covered)
    problem = SamplesOutside("input-out-of-range", message, where=where, hint=hint)
    problem.outside = tuple(outside)
    raise problem


def outside_words(one: OutsideInput) -> str:
    """For people: row, column and value; of a hidden tensor no value. Rows count from 1, as readers of tables count them."""
    tensor = f" {one.tensor!r}" if one.tensor else ""
    told = _hidden_words(one) if one.hidden else _cell_words(one)
    return f"{row_words(one.row)}: input{tensor}, {told}"


def _hidden_words(one: OutsideInput) -> str:
    where = "a value" if one.place is None else _place_words(one)
    told = f"{where} is outside what the circuit takes; it is hidden, so it is not shown"
    return f"{told}; {one.reason}" if one.reason else told


def _place_words(one: OutsideInput) -> str:
    """A column by its name; else the cell by its indices in the array, which count from 0."""
    return f"column {one.column!r}" if one.column else f"cell {list(one.place or ())}"


def _cell_words(one: OutsideInput) -> str:
    if one.reason and one.value == "nan":
        return f"{_place_words(one)}: {one.reason}"
    told = f"{_place_words(one)} is {one.value}"
    if one.low is not None and one.high is not None:
        told += f"; the circuit takes [{one.low:g}, {one.high:g}]"
    if one.reason:
        told += f"; {one.reason}"
    more = one.cells - 1
    return told + (f" (and {more} more cell{'s' * (more > 1)})" if more > 0 else "")


def outside_document(one: OutsideInput) -> dict[str, Any]:
    """For ``--json``; ``row`` and ``place`` are indices, from 0, as in the index of the batch."""
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
