"""The plot is well-formed, carries every figure, and cannot be broken out of by a name."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from verifai.reports.bench_plot import bench_plot

ROWS = [
    {"circuit": "digits-mlp", "engine": "ezkl-default", "prove_s": 23.3, "peak_rss_bytes": 3 * 2**30},
    {"circuit": "digits-mlp", "engine": "sumcheck", "prove_s": 0.02, "peak_rss_bytes": 150 * 2**20},
]


def test_nothing_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        bench_plot([])


def test_every_row_is_a_bar_with_its_figure() -> None:
    text = bench_plot(ROWS)
    ElementTree.fromstring(text)
    assert all(
        figure in text
        for figure in (">23.3<", ">0.0200<", ">3,070<", ">150<", "in seconds", "in MiB", "ezkl-default", "sumcheck")
    )


def test_names_are_escaped() -> None:
    text = bench_plot([{**ROWS[0], "circuit": "<script>alert(1)</script>"}])
    assert "<script" not in text
    ElementTree.fromstring(text)


def test_longer_times_are_longer_bars() -> None:
    root = ElementTree.fromstring(bench_plot(ROWS))
    bars = [element for element in root.iter() if element.tag.endswith("rect") and element.get("height") == "16"]
    assert float(bars[0].get("width", "0")) > float(bars[1].get("width", "0"))
