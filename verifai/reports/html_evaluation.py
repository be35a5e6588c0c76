"""An evaluation on a page: the sentence, the confusion matrix as a picture, rates with intervals, the worst samples.

No script and no outside resource: pictures are drawn as SVG, pixel by pixel, so a page may be opened from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.evaluation.metrics import ClassCounts, Rate
from verifai.domain.evaluation.shown import Picture, ShownEvaluation, WorstSample
from verifai.domain.evaluation.words import group_lines, lines, percent
from verifai.reports.html_text import safe

MAX_DRAWN = 40
"""Classes that a confusion matrix draws; of more, those with the most wrong answers."""
MAX_NAMED = 100
"""Samples without an answer that a page names."""
_CELL, _LEFT, _TOP = 34, 120, 30
_MAX_NAME = 16
_SIDE = 84


def evaluation_html(one: ShownEvaluation) -> str:
    """The section about one evaluation. All foreign text in it is escaped."""
    said = lines(one.data, one.metrics, one.confidence)
    parts = [f'<p class="big"><b>{safe(said[0])}</b></p>']
    whole = one.metrics.whole
    if isinstance(whole, ClassCounts):
        parts.append(f"<figure>{confusion_svg(one.data, whole)}<figcaption>{_CAPTION}</figcaption></figure>")
        parts.append(_classes(one, whole))
    else:
        parts.append("<ul>" + "".join(f"<li>{safe(line)}</li>" for line in said[1:2]) + "</ul>")
    parts += [_left_out(one), _groups(one), _worst(one)]
    return f'<section class="evaluation"><h2>How good the model is</h2>{"".join(part for part in parts if part)}</section>'


_CAPTION = (
    "Each row is a class of the data set, each column what was answered. Right answers lie on the diagonal. The stronger "
    "its colour, the larger a cell’s share of the row; the number in it counts samples."
)


def confusion_svg(data: DataLock, counts: ClassCounts) -> str:
    """The confusion matrix: rows are the data set's classes, columns the answers, with a column of answers that it lacks."""
    drawn = _drawn(counts)
    other = counts.classes
    columns = [*drawn, *([other] if any(answered == other for _, answered in counts.confusion) else [])]
    names = [*data.classes, "another"]
    longest = max(min(len(names[answered]), _MAX_NAME) for answered in columns)
    below = 44 + 5 * longest  # names are turned by 45°
    width, height = max(260, _LEFT + _CELL * len(columns) + 16), _TOP + _CELL * len(drawn) + below
    parts = [
        f'<text class="axis" x="{_LEFT}" y="{height - 8}">answered →</text>',
        '<text class="axis" x="8" y="16">class of the data set ↓</text>',
    ]
    for row, label in enumerate(drawn):
        y = _TOP + row * _CELL
        total = counts.recall(label).samples
        parts.append(f'<text x="{_LEFT - 8}" y="{y + _CELL / 2 + 4:.0f}" text-anchor="end">{_name(names[label])}</text>')
        for column, answered in enumerate(columns):
            parts.append(_cell(counts.confusion.get((label, answered), 0), total, label, answered, column, y, names))
    for column, answered in enumerate(columns):
        x, y = _LEFT + column * _CELL + _CELL / 2, _TOP + len(drawn) * _CELL + 14
        parts.append(
            f'<text x="{x:.0f}" y="{y}" text-anchor="end" transform="rotate(-45 {x:.0f} {y})">{_name(names[answered])}</text>'
        )
    left = (
        "" if len(drawn) == counts.classes else f"; {counts.classes - len(drawn)} classes with fewer wrong answers are left out"
    )
    label_text = safe(f"Confusion matrix of {data.name}{left}")
    return (
        f'<svg class="confusion" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{label_text}">{"".join(parts)}</svg>'
    )


def _cell(count: int, total: int, label: int, answered: int, column: int, y: int, names: Sequence[str]) -> str:
    x, share = _LEFT + column * _CELL, count / total if total else 0.0
    kind = "right" if label == answered else "wrong"
    title = safe(f"{count:,} of {total:,} samples of {names[label]} were answered {names[answered]}")
    fill = f'<rect class="{kind}" x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" fill-opacity="{0.08 + 0.6 * share:.2f}"/>'
    text = f'<text x="{x + _CELL / 2:.0f}" y="{y + _CELL / 2 + 4:.0f}" text-anchor="middle">{_short(count)}</text>'
    frame = f'<rect class="frame" x="{x}" y="{y}" width="{_CELL}" height="{_CELL}"/>'
    return f"<g><title>{title}</title>{fill if count else ''}{frame}{text if count else ''}</g>"


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count // 1000}k"


def _drawn(counts: ClassCounts) -> list[int]:
    places = list(range(counts.classes))
    if len(places) <= MAX_DRAWN:
        return places
    wrong = {at: counts.recall(at).samples - counts.recall(at).right for at in places}
    return sorted(sorted(places, key=lambda at: (-wrong[at], at))[:MAX_DRAWN])


def _name(text: str) -> str:
    return safe(text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…")


def _rate(rate: Rate, confidence: float) -> str:
    interval = rate.interval(confidence)
    if interval is None:
        return "<td>no sample</td><td></td><td></td>"
    return f"<td>{percent(rate.value)}</td><td>{interval.words()}</td><td>{rate.right:,} of {rate.samples:,}</td>"


def _classes(one: ShownEvaluation, counts: ClassCounts) -> str:
    confidence = one.confidence
    rows = [f"<tr><th>all: accuracy</th>{_rate(counts.accuracy, confidence)}</tr>"]
    rows += [
        f"<tr><th>top-{k} accuracy</th>{_rate(Rate(right, counts.samples), confidence)}</tr>"
        for k, right in sorted(counts.top_k.items())
    ]
    drawn = _drawn(counts)
    for place in drawn:
        rows.append(f"<tr><th>{safe(one.data.classes[place])}: recall</th>{_rate(counts.recall(place), confidence)}</tr>")
        rows.append(f"<tr><th>{safe(one.data.classes[place])}: precision</th>{_rate(counts.precision(place), confidence)}</tr>")
    more = counts.classes - len(drawn)
    note = f"<p>{more:,} more classes have fewer wrong answers; the JSON report has all.</p>" if more else ""
    head = f"<tr><th></th><th>rate</th><th>interval, {confidence * 100:g} % confidence</th><th>samples</th></tr>"
    return f"<h3>Rates</h3><table>{head}{''.join(rows)}</table>{note}"


def _left_out(one: ShownEvaluation) -> str:
    """The samples without an answer, by their places."""
    if not one.left_out:
        return ""
    named = ", ".join(str(place) for place in one.left_out[:MAX_NAMED])
    more = f" and {len(one.left_out) - MAX_NAMED:,} more" if len(one.left_out) > MAX_NAMED else ""
    told = f"{len(one.left_out):,} samples lie outside what the circuit takes, so no answer to them is proven: {named}{more}."
    return f"<h3>Samples without an answer</h3><p>{told}</p>"


def _groups(one: ShownEvaluation) -> str:
    if not one.metrics.groups:
        return ""
    said = group_lines(one.metrics, one.confidence)
    return f"<h3>Groups, by {safe(one.data.group)}</h3><ul>{''.join(f'<li>{safe(line)}</li>' for line in said)}</ul>"


def _worst(one: ShownEvaluation) -> str:
    if not one.worst:
        return ""
    classes = isinstance(one.metrics.whole, ClassCounts)
    shown = f"{len(one.worst)} of {one.wrong:,}" if classes else f"the {len(one.worst)} largest errors"
    title = f"Wrong answers, surest first ({shown})" if classes else f"Worst answers ({shown})"
    return f'<h3>{title}</h3><ul class="worst">{"".join(_sample(sample) for sample in one.worst)}</ul>'


def _sample(sample: WorstSample) -> str:
    picture = "" if sample.picture is None else picture_svg(sample.picture)
    values = "".join(f"<br>{safe(name)} {safe(text)}" for name, text in sample.values)
    group = f"<br>group {safe(sample.group)}" if sample.group else ""
    how = f"<br>{safe(sample.how)}" if sample.how else ""
    told = f"sample {sample.place}: is <b>{safe(sample.expected)}</b>, answered <b>{safe(sample.answered)}</b>"
    return f"<li>{picture}{told}{how}{group}{values}</li>"


def picture_svg(picture: Picture, side: int = _SIDE) -> str:
    """A picture as one SVG: a rectangle per run of equal pixels, so that it needs neither script nor image."""
    parts = []
    step = max(1, max(picture.width, picture.height) // 64)  # a page shows it small
    columns, rows = range(0, picture.width, step), range(0, picture.height, step)
    for y, row in enumerate(rows):
        x = 0
        pixels = [_pixel(picture, column, row) for column in columns]
        while x < len(pixels):
            end = x + 1
            while end < len(pixels) and pixels[end] == pixels[x]:
                end += 1
            if pixels[x] != "#000000":  # the ground is black
                parts.append(f'<path fill="{pixels[x]}" d="M{x} {y}h{end - x}v1h-{end - x}z"/>')
            x = end
    wide, high = len(columns), len(rows)
    height = max(1, round(side * high / wide))
    return (
        f'<svg viewBox="0 0 {wide} {high}" width="{side}" height="{height}" shape-rendering="crispEdges" role="img" '
        f'aria-label="the sample">{"".join(parts)}</svg>'
    )


def _pixel(picture: Picture, x: int, y: int) -> str:
    at = (y * picture.width + x) * picture.channels
    levels = picture.pixels[at : at + picture.channels]
    red, green, blue = levels if len(levels) == 3 else (levels[0],) * 3
    return f"#{red:02x}{green:02x}{blue:02x}"
