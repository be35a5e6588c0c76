"""Proven values beside the float model's as an inline SVG plot."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import floor, log10

from verifai.domain.audit import OutputComparison

WIDTH, HEIGHT = 760, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 14, 30
MAX_POINTS = 128
"""Values that are drawn; of larger outputs, those with the largest differences."""


def fidelity_svg(one: OutputComparison) -> str:
    """Both values at every index; at most ``MAX_POINTS`` of them."""
    indices = _indices(one)
    values = [one.proven[index] for index in indices] + [one.reference[index] for index in indices]
    low, high = min(*values, 0.0), max(*values, 0.0)
    if high - low == 0:
        low, high = low - 1, high + 1
    margin = (high - low) * 0.08
    low, high = low - margin, high + margin

    def y_of(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def x_of(place: int) -> float:
        return _LEFT + (place + 0.5) / len(indices) * (WIDTH - _LEFT - _RIGHT)

    parts = [_axis(low, high, y_of)]
    step = max(1, len(indices) // 16)
    for place, index in enumerate(indices):
        x, left, right = x_of(place), y_of(one.proven[index]), y_of(one.reference[index])
        parts.append(f'<line class="stem" x1="{x:.1f}" y1="{y_of(0):.1f}" x2="{x:.1f}" y2="{left:.1f}"/>')
        parts.append(f'<circle class="proven" cx="{x:.1f}" cy="{left:.1f}" r="4"/>')
        parts.append(
            f'<circle class="reference" cx="{x:.1f}" cy="{right:.1f}" r="7"><title>{index}: proven {one.proven[index]:.6g}, '
            f"original {one.reference[index]:.6g}</title></circle>"
        )
        if place % step == 0:
            parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{index}</text>')
    label = escape(f"Values of output {one.name}: proven and by the original model", quote=True)
    return (
        f'<svg class="fidelity" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


def _indices(one: OutputComparison) -> list[int]:
    everything = range(len(one.proven))
    if len(one.proven) <= MAX_POINTS:
        return list(everything)
    errors = one.errors
    return sorted(sorted(everything, key=lambda index: -errors[index])[:MAX_POINTS])


def _axis(low: float, high: float, y_of: Callable[[float], float]) -> str:
    unit = 10.0 ** floor(log10((high - low) / 4))
    unit *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (unit * factor) <= 5)
    lines = []
    mark = floor(low / unit) * unit
    while mark <= high:
        if mark >= low:
            y = y_of(mark)
            lines.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>')
            lines.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{round(mark, 9):g}</text>')
        mark += unit
    return "".join(lines)
