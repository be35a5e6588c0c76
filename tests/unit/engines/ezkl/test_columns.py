"""Scales of columns: every integer is the specified one, whatever the input scale, and one circuit has one spelling."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifai.domain.record import Record
from verifai.domain.statement import Role, TensorStatement, Visibility
from verifai.domain.tensor import TensorSpec
from verifai.engines.ezkl import tensors
from verifai.engines.ezkl.columns import Frame, InputColumn, TensorColumns, choose_frames, parse_columns
from verifai.engines.ezkl.parameters import FOLDED, CircuitParameters
from verifai.errors import InputRejected, UsageError

RANGES = [(278.0, 1680.0), (0.13, 0.66), (-5.0, 3.0), (1e9, 1e9 + 64), (7.0, 7.0), (0.0, 1.0), (-1e-30, 1e-30)]
FRAMES = choose_frames(RANGES)


def parameters(scale: int, frames: tuple[Frame, ...] = FRAMES) -> CircuitParameters:
    columns = (TensorColumns("x", tuple(frame.column(scale) for frame in frames)),)
    return CircuitParameters(scale, 8, 1, 512, 3, 2, -128, 128, 2.0, 10, (FOLDED,), columns)


@pytest.mark.parametrize("scale", range(2, 13))
def test_a_row_is_within_half_a_step_of_its_integers_and_of_one_size(scale: int) -> None:
    rng = np.random.default_rng(scale)
    chosen = parameters(scale)
    for _ in range(200):
        row = [float(np.float32(rng.uniform(low, high))) for low, high in RANGES]
        (given,) = tensors.fed([TensorSpec("x", (1, len(row)), "float32")], [row], chosen)
        for value, unit, column, frame in zip(row, given, chosen.columns_of("x"), FRAMES, strict=True):
            q = unit * 2.0**scale
            assert q == int(q), "ezkl is given what it cannot round otherwise"
            stated = column.stated
            assert abs((int(q) - stated.zero_point) * stated.scale - Fraction(value)) <= stated.scale / 2
            assert abs(unit) <= 1.3
            factor, offset = column.affine(scale)
            assert (factor, offset) == frame.affine, "the graph is the same at every input scale"


def test_the_statement_quantises_as_the_prover_does() -> None:
    chosen = parameters(7)
    row = np.array([[733.25, 0.4, 1.5, 1e9 + 64, 7.0, 1.0, 0.0]], np.float32)
    columns = tuple(column.stated for column in chosen.columns_of("x"))
    hidden = TensorStatement(Role.INPUT, "x", (1, 7), Visibility.PRIVATE, Fraction(1), columns=columns)
    (given,) = tensors.fed([TensorSpec("x", (1, 7), "float32")], [row[0].tolist()], chosen)
    assert tensors.quantise(hidden, row) == tuple(int(unit * 128) for unit in given)


def test_columns_of_one_size_share_one_scale() -> None:
    assert choose_frames([(0.0, 16.0)] * 60 + [(0.0, 0.0)] * 4) == ()
    assert choose_frames([(-3.0, 3.0), (-2.0, 2.5)]) == ()
    assert choose_frames([(1000.0, 1001.0), (1000.0, 1001.0)]) != (), "small beside where they lie"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, 1e20])
def test_a_value_that_no_circuit_takes_is_refused_and_a_hidden_one_is_not_told(value: float) -> None:
    row = [[value, 0.4, 1.5, 1e9, 7.0, 1.0, 0.0]]
    spec = [TensorSpec("x", (1, 7), "float32")]
    with pytest.raises(InputRejected, match="cell 0 is") as told:
        tensors.fed(spec, row, parameters(7))
    assert told.value.code == "input-out-of-range"
    with pytest.raises(InputRejected) as hidden:
        tensors.fed(spec, row, parameters(7), shown=False)
    assert repr(value) not in hidden.value.message and "hidden" in hidden.value.message


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [{"tensor": "x", "columns": []}],
        [{"tensor": "x", "columns": [[0, 0]]}, {"tensor": "x", "columns": [[0, 0]]}],
        [{"tensor": "x", "columns": [[0, 0, 0]]}],
        [{"tensor": "x", "columns": [[0.0, 0]]}],
        [{"tensor": "x", "columns": [[True, 0]]}],
        [{"tensor": "x", "columns": [[301, 0]]}],
        [{"tensor": "x", "columns": [[0, 2**53]]}],
        [{"tensor": "x", "columns": [[0, 0]], "more": 1}],
        {"x": [[0, 0]]},
    ],
)
def test_columns_have_one_spelling(columns: Any) -> None:
    with pytest.raises(UsageError) as refused:
        parse_columns(Record({"columns": columns}, "circuit.lock", error=UsageError, code="bad-lock"))
    assert refused.value.code == "bad-lock"


def test_parameters_are_read_as_they_were_written() -> None:
    chosen = parameters(6)
    assert CircuitParameters.from_record(Record(chosen.to_toml(), "lock", error=UsageError, code="bad-lock")) == chosen
    plain = CircuitParameters(6, 8, 1, 512, 3, 2, -128, 128, 2.0, 10)
    assert "columns" not in plain.to_toml(), "locks that need none keep their bytes"
    loose = chosen.to_toml() | {"rewrites": []}
    with pytest.raises(UsageError, match=FOLDED):
        CircuitParameters.from_record(Record(loose, "lock", error=UsageError, code="bad-lock"))


def test_an_offset_of_any_size_is_exact() -> None:
    column = InputColumn(-9, -(2**51) + 1)
    factor, offset = column.affine(9)
    assert (factor, Fraction(offset)) == (1.0, Fraction(2**51 - 1, 512))
