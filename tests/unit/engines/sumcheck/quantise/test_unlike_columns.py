"""The sentence about inputs whose columns spread very differently."""

from __future__ import annotations

from verifai.engines.sumcheck.quantise.ranges import unlike_columns
from verifai.engines.sumcheck.quantise.scales import Range


def test_columns_far_apart_are_told_and_compared_ones_are_not() -> None:
    columns = {"features": [Range(0.0, 1.0), Range(0.0, 300.0), Range(2.0, 2.0)]}
    said = unlike_columns(columns, ())
    assert "features spread up to 300 times" in said and "StandardScaler" in said
    assert unlike_columns(columns, {"features"}) == ""


def test_alike_columns_and_constant_ones_are_no_reason() -> None:
    assert unlike_columns({"features": [Range(0.0, 1.0), Range(0.0, 200.0)]}, ()) == ""
    assert unlike_columns({"features": [Range(3.0, 3.0)]}, ()) == ""
