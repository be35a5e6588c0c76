"""A plot of ``bench``: prove time and key size per circuit and engine, on logarithmic axes, as one self-contained SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_BAR, _GAP, _GROUP = 16, 4, 26
_LEFT, _PANEL, _BETWEEN, _TOP = 190, 330, 70, 56
_COLOURS = ("#9aa5b1", "#2f6f9f", "#3b8f5a", "#b5762a", "#7d5aa6", "#a34b5c")
_PANELS = (("prove_s", "prove, in seconds", 1.0), ("peak_rss_bytes", "peak memory, in MiB", 2.0**20))
"""Per panel: the field, its heading with the unit, and how much of the field makes one unit."""


def bench_plot(rows: Sequence[Mapping[str, Any]], *, title: str = "verifai bench: one run on one machine") -> str:
    """Draw the rows of ``bench --json``.

    Args:
        rows: objects with ``circuit``, ``engine``, ``prove_s`` and ``peak_rss_bytes``.

    Returns:
        An SVG document. Bars start at a power of ten, so lengths compare ratios, not amounts; each bar carries its figure.

    Raises:
        ValueError: when there is no row.
    """
    if not rows:
        raise ValueError("nothing to draw")
    engines = list(dict.fromkeys(str(row["engine"]) for row in rows))
    colours = {engine: _COLOURS[index % len(_COLOURS)] for index, engine in enumerate(engines)}
    places, height = _places(rows)
    width = _LEFT + len(_PANELS) * (_PANEL + _BETWEEN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 40}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height + 40}" fill="white"/>',
        f'<text x="12" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for circuit, y in _circuits(rows, places):
        parts.append(f'<text x="12" y="{y}" font-weight="bold">{escape(circuit)}</text>')
    for number, (field, label, unit) in enumerate(_PANELS):
        values = [max(float(row[field]) / unit, 1e-6) for row in rows]
        parts += _panel(rows, places, values, label, _LEFT + number * (_PANEL + _BETWEEN), height, colours)
    for index, engine in enumerate(engines):
        x = 12 + index * 170
        parts.append(f'<rect x="{x}" y="{height + 14}" width="12" height="12" fill="{colours[engine]}"/>')
        parts.append(f'<text x="{x + 18}" y="{height + 24}">{escape(engine)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _places(rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], int]:
    places, y, before = [], _TOP, None
    for row in rows:
        if before is not None:
            y += _BAR + _GAP + (_GROUP if row["circuit"] != before else 0)
        places.append(y)
        before = row["circuit"]
    return places, y + _BAR + 20


def _circuits(rows: Sequence[Mapping[str, Any]], places: Sequence[int]) -> list[tuple[str, int]]:
    first: dict[str, int] = {}
    for row, y in zip(rows, places, strict=True):
        first.setdefault(str(row["circuit"]), y + 12)
    return list(first.items())


def _panel(
    rows: Sequence[Mapping[str, Any]],
    places: Sequence[int],
    values: Sequence[float],
    label: str,
    x: int,
    height: int,
    colours: Mapping[str, str],
) -> list[str]:
    low = math.floor(math.log10(min(values)))
    high = max(math.ceil(math.log10(max(values))), low + 1)
    parts = [f'<text x="{x}" y="44" fill="#555">{escape(label)}; each line is ten times the one before</text>']
    for power in range(low, high + 1):
        at = x + _PANEL * (power - low) / (high - low)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 6}" y2="{height - 12}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{height + 2}" text-anchor="middle" fill="#555">{_tick(power)}</text>')
    for row, y, value in zip(rows, places, values, strict=True):
        length = max(2.0, _PANEL * (math.log10(value) - low) / (high - low))
        colour = colours[str(row["engine"])]
        parts.append(f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>')
        parts.append(f'<text x="{x + length + 5:.1f}" y="{y + 12}">{_figure(value)}</text>')
    return parts


def _tick(power: int) -> str:
    """A power of ten as people write it."""
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:.{-power}f}"


def _figure(value: float) -> str:
    """Three digits in the panel's unit."""
    rounded = float(f"{value:.3g}")
    decimals = max(0, 2 - math.floor(math.log10(rounded)))
    return f"{rounded:,.{decimals}f}"
