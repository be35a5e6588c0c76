"""What was proven, in values, on a page: numbers with their step, classes with their label, rows as tables, pictures.

A picture is drawn from rectangles, so that a page needs no image and its rule against loading anything stays whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import isfinite

from verifai.domain.shown import TEXT_LINES, ShownTensor, first_items
from verifai.domain.tokenizer import TokenText
from verifai.reports.html_text import safe

MAX_COLUMNS, MAX_ROWS = 32, 8
"""Cells that a table shows; what is more is counted."""
MAX_DECISIONS = 16
MAX_PIXELS = 64
"""Pixels that a side of a picture shows; of larger pictures every second, third … is drawn."""
MIN_PIXELS = 4
_SIDE = 224
_NEWLINE = "\n"
_CHANNELS = (1, 3)


def values_html(shown: Sequence[ShownTensor], *, note: str = "") -> str:
    """One block per tensor; empty when there is none. ``note``: a sentence of ours that stands first."""
    if not shown:
        return ""
    kept, more = first_items(shown)
    blocks = "".join(f'<div class="proven">{_heading(one)}{_decisions(one)}{_body(one)}</div>' for one in kept)
    blocks += f"<p>… and {more:,} more items</p>" if more else ""
    return f"<section><h2>What was proven, in values</h2><p>{safe(note)}</p>{blocks}</section>"


def _heading(tensor: ShownTensor) -> str:
    shape = "×".join(str(size) for size in tensor.shape) or "one number"
    item = "" if tensor.item is None else f"Item {tensor.item}: "
    if tensor.part:
        note = f", {safe(tensor.note)}" if tensor.note else ""
        return f"<h3>{tensor.part.capitalize()} <small>{tensor.size:,} tokens{note}</small></h3>"
    return f"<h3>{item}{tensor.role.value.capitalize()} <code>{safe(tensor.name)}</code> <small>{shape}</small></h3>"


def _decisions(tensor: ShownTensor) -> str:
    if not tensor.decides:
        return ""
    if tensor.every and not tensor.decisions:
        return '<p class="decision">No label says yes.</p>'
    kind = "Label" if tensor.every else "Class"
    rows = tensor.size // tensor.width
    shown = tensor.decisions[:MAX_DECISIONS]
    texts = [one.words() + (f" (row {one.row})" if rows > 1 else "") for one in shown]
    more = tensor.decided - len(shown)
    counted = f"; … and {more:,} more" if more else ""
    return f'<p class="decision">{kind} <b>{safe("; ".join(texts))}</b>{counted}</p>'


def _body(tensor: ShownTensor) -> str:
    if tensor.text is not None:
        return f"{_text(tensor.text)}{_table(tensor)}"
    picture = picture_svg(tensor)
    if picture:
        return picture
    if tensor.size == 1:
        return f'<p class="number"><b>{safe(tensor.number(0))}</b> {_step(tensor)}</p>'
    return _table(tensor)


def _text(text: TokenText) -> str:
    """Line for line, each quoted, so that nothing in it looks like the page's own words."""
    lines = text.lines()
    if not 1 < len(lines) <= TEXT_LINES:
        return f'<p class="number"><b>{safe(text.words())}</b></p>'
    return f'<pre class="text">{_NEWLINE.join(safe(line) for line in lines)}</pre>'


def _step(tensor: ShownTensor) -> str:
    if len(tensor.steps) > 1:
        return "each column has a step of its own"
    return "" if tensor.steps[0] == 1 else f"step {tensor.steps[0]:.2g}"


def _table(tensor: ShownTensor) -> str:
    width, rows = tensor.width, tensor.size // tensor.width
    columns = min(width, MAX_COLUMNS)
    shown = min(rows, MAX_ROWS, len(tensor.values) // width)
    head = "".join(f"<th>{safe(tensor.names[at]) if tensor.names else at}</th>" for at in range(columns))
    body = "".join(
        "<tr>" + "".join(f"<td>{safe(tensor.number(row * width + at))}</td>" for at in range(columns)) + "</tr>"
        for row in range(shown)
    )
    left = tensor.size - shown * columns
    counted = f"{left:,} of {tensor.size:,} values are not shown. " if left else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<figure>{table}<figcaption>{counted}{_step(tensor)}</figcaption></figure>"


def picture_svg(tensor: ShownTensor) -> str:
    """The tensor as a picture, when it is one of 1 or 3 channels, channels first or last; else an empty text."""
    layout = _layout(tensor.shape)
    if layout is None or len(tensor.steps) > 1 or len(tensor.values) < tensor.size or None in tensor.values:
        return ""
    height, width, channels, last = layout
    low, high, unit = _white(tensor)
    if not isfinite(high - low):
        return ""
    values = [value if value is not None else 0.0 for value in tensor.values]
    skip = -(-max(height, width) // MAX_PIXELS)

    def colour(y: int, x: int) -> str:
        places = [(y * width + x) * channels + c if last else (c * height + y) * width + x for c in range(channels)]
        levels = [round(255 * (min(max(values[at], low), high) - low) / (high - low)) for at in places]
        return "#" + "".join(f"{level:02x}" for level in (levels if channels == 3 else levels * 3))

    parts, columns, rows = [], -(-width // skip), -(-height // skip)
    for row in range(rows):
        at = 0
        for shade, run in groupby(colour(row * skip, column * skip) for column in range(columns)):
            length = len(list(run))
            parts.append(f'<rect x="{at}" y="{row}" width="{length}" height="1" fill="{shade}"/>')
            at += length
    label = safe(f"{tensor.role.value} {tensor.name} as a picture")
    shown_height = round(_SIDE * rows / columns)
    drawn = "" if skip == 1 else f"; every {skip}th pixel is drawn"
    return (
        f'<figure><svg class="picture" viewBox="0 0 {columns} {rows}" width="{_SIDE}" height="{shown_height}" '
        f'shape-rendering="crispEdges" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f"<figcaption>{width}×{height} pixels, {unit}{drawn}; {_step(tensor)}</figcaption></figure>"
    )


def _layout(shape: tuple[int, ...]) -> tuple[int, int, int, bool] | None:
    """Height, width, channels, and whether the channels come last; ``None`` for what is no picture."""
    if len(shape) != 4 or shape[0] != 1:
        return None
    for channels, height, width, last in ((shape[1], shape[2], shape[3], False), (shape[3], shape[1], shape[2], True)):
        if channels in _CHANNELS and min(height, width) >= MIN_PIXELS:
            return height, width, channels, last
    return None


def _white(tensor: ShownTensor) -> tuple[float, float, str]:
    """The values that are black and white: 0 and 1, 0 and 255, or else the picture's own least and largest."""
    low, high = tensor.low or 0.0, tensor.high or 0.0
    for most, slack in ((1.0, tensor.steps[0]), (255.0, tensor.steps[0])):
        if -slack <= low and high <= most + slack:
            return 0.0, most, f"black is 0 and white is {most:g}"
    return low, high if high > low else low + max(1.0, abs(low)), f"black is {low:.4g} and white is {high:.4g}"
