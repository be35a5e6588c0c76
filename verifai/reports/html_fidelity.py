"""Proven values beside the float model's, and their difference, as one inline SVG plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, isfinite, log10

from verifai.domain.comparison import OutputComparison
from verifai.reports.html_text import safe

WIDTH = 760
_VALUES, _ERRORS, _GAP = 210, 100, 34

_LEFT, _RIGHT, _TOP, _FOOT = 84, 12, 14, 22
HEIGHT = _VALUES + _GAP + _ERRORS + _FOOT
MAX_POINTS = 128
"""Values that are drawn; of larger outputs, those with the largest differences."""

Scale = Callable[[float], float]


def fidelity_svg(one: OutputComparison, bound: float | None = None) -> str:
    """Both values at every index, and below them the difference.

    Args:
        bound: largest absolute difference that was measured at compile time, drawn as a dashed line.
    """
    indices = _indices(one)
    if not indices:
        return "<p>The original model gives no finite number here, so there is nothing to draw.</p>"
    proven = [one.proven[index] for index in indices]
    reference = [one.reference[index] for index in indices]
    differences = [left - right for left, right in zip(proven, reference, strict=True)]
    parts, upper = _axis([*proven, *reference, 0.0], _TOP, _VALUES)
    lines, lower = _axis([*differences, 0.0, *((bound, -bound) if bound else ())], _VALUES + _GAP, HEIGHT - _FOOT - 4)
    middle = (_VALUES + _GAP + HEIGHT - _FOOT) / 2
    parts += [_title("value", (_TOP + _VALUES) / 2), _title("difference", middle)]
    parts.append(
        f'<text class="tick" x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">'
        "place in the output, counted from 0</text>"
    )
    parts += lines
    if bound:
        for edge in (bound, -bound):
            parts.append(
                f'<line class="bound" x1="{_LEFT}" y1="{lower(edge):.1f}" x2="{WIDTH - _RIGHT}" y2="{lower(edge):.1f}"/>'
            )
    step = max(1, len(indices) // 16)
    for place, index in enumerate(indices):
        x = _LEFT + (place + 0.5) / len(indices) * (WIDTH - _LEFT - _RIGHT)
        left, right, error = upper(proven[place]), upper(reference[place]), lower(differences[place])
        title = f"<title>{index}: proven {proven[place]:.6g}, original {reference[place]:.6g}</title>"
        parts.append(f'<line class="stem" x1="{x:.1f}" y1="{upper(0):.1f}" x2="{x:.1f}" y2="{left:.1f}"/>')
        parts.append(f'<circle class="proven" cx="{x:.1f}" cy="{left:.1f}" r="4"/>')
        parts.append(f'<circle class="reference" cx="{x:.1f}" cy="{right:.1f}" r="7">{title}</circle>')
        top, height = min(error, lower(0)), abs(error - lower(0))
        parts.append(f'<rect class="difference" x="{x - 4:.1f}" y="{top:.1f}" width="8" height="{height:.1f}"/>')
        if place % step == 0:
            parts.append(f'<text class="tick" x="{x:.1f}" y="{_VALUES + 20}" text-anchor="middle">{index}</text>')
    label = safe(f"Values of output {one.name}: proven, by the original model, and their difference")
    return (
        f'<svg class="fidelity" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


def _title(text: str, y: float) -> str:
    """The name of a vertical axis, read from below."""
    return f'<text class="tick" x="14" y="{y:.0f}" text-anchor="middle" transform="rotate(-90 14 {y:.0f})">{text}</text>'


def _indices(one: OutputComparison) -> list[int]:
    errors = one.errors
    everything = [index for index, error in enumerate(errors) if isfinite(error)]
    if len(everything) <= MAX_POINTS:
        return everything
    return sorted(sorted(everything, key=lambda index: -errors[index])[:MAX_POINTS])


def _axis(values: Sequence[float], top: int, bottom: int) -> tuple[list[str], Scale]:
    """Grid lines with their numbers, and the function from value to y."""
    low, high = min(values), max(values)
    if high == low:
        low, high = low - 1, high + 1
    margin = (high - low) * 0.08
    low, high = low - margin, high + margin

    def y_of(value: float) -> float:
        return top + (high - value) / (high - low) * (bottom - top)

    unit = 10.0 ** floor(log10((high - low) / 4))
    unit *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (unit * factor) <= 5)
    lines = []
    for count in range(floor(low / unit) + 1, floor(high / unit) + 1):
        y = y_of(count * unit)
        lines.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>')
        lines.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{count * unit:.6g}</text>')
    return lines, y_of
