"""The consensus page: who agrees, who does not, and how far off, for readers who know no statistics. No network, no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verifai.domain.findings import Outcome
from verifai.reports.html_page import facts, header, html_page
from verifai.reports.html_text import safe

_WIDTH, _LEFT, _RIGHT, _ROW = 960, 230, 44, 44
_TONE = {
    "accept": Outcome.HOLDS,
    "reject": Outcome.REJECTED,
    "no-quorum": Outcome.POLICY_NOT_MET,
    "indeterminate": Outcome.UNDECIDED,
}
_HEAD = {
    "accept": ("They agree", "Enough independent verifiers computed the same answer, as far as arithmetic allows."),
    "reject": ("They disagree", "The verifiers computed different answers. Do not rely on any of them."),
    "no-quorum": ("Too few answers", "Not enough verifiers gave a valid answer to decide anything."),
    "indeterminate": ("Cannot tell", "The answers are so close to a tie that the tolerance cannot tell them apart."),
}
_MARK = {"within": ("agrees", "agrees"), "beyond": ("disagrees", "disagrees"), "indeterminate": ("unclear", "cannot tell")}
"""By relation: the class of the style sheet, and the words."""


@dataclass(frozen=True, slots=True)
class Band:
    """A range of distances seen in the calibration, in multiples of the tolerance."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One verifier. ``ratio`` is its distance from the centre in multiples of the tolerance."""

    name: str
    relation: str
    ratio: float
    centre: bool
    note: str


@dataclass(frozen=True, slots=True)
class ConsensusPage:
    """What the page shows.

    Attributes:
        outcome: ``accept``, ``reject``, ``no-quorum`` or ``indeterminate``.
        honest, attacks: from the calibration; empty when the kind needs none.
        faults: verifiers whose answers did not count: (name, what happened).
        facts: small print: (label, value).
    """

    outcome: str
    reason: str
    nodes: tuple[NodeRow, ...]
    honest: tuple[Band, ...]
    attacks: tuple[Band, ...]
    faults: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]


def render_consensus(page: ConsensusPage) -> bytes:
    """One self-contained page. Equal values give equal bytes."""
    title, lead = _HEAD[page.outcome]
    faults = "".join(f"<tr><td>{safe(who)}</td><td>{safe(what)}</td></tr>" for who, what in page.faults)
    fault_table = f"<section><h2>Answers that did not count</h2><table>{faults}</table></section>" if faults else ""
    body = f"""<article>
{header(_TONE[page.outcome], "verifai consensus", title, safe(lead), safe(page.reason))}
<section><h2>How far is each answer from the common one?</h2>
<figure>{_plot(page)}<figcaption>Distance from the common answer, in multiples of the limit. Each mark is ten times the one
before it.</figcaption></figure>
<p>Two computers never round in quite the same way, so honest answers differ a little: the green band is how much they
differed when this model was measured. The red bands are what cheating looked like then: a cheaper model, a changed input. The
line between them is the <b>limit</b>. A dot left of the line agrees with the others.</p></section>
{fault_table}
<section><h2>Identifiers</h2>{facts(page.facts)}</section>
</article>"""
    return b"".join(html_page(f"Consensus: {title}", [body]))


def _plot(page: ConsensusPage) -> str:
    if not page.nodes:
        return "<p>No valid answer arrived, so there is nothing to compare.</p>"
    bands = [*page.honest, *page.attacks]
    values = [one.ratio for one in page.nodes if one.ratio > 0] + [v for band in bands for v in (band.low, band.high) if v > 0]
    low = min([0.01, *values])
    high = max([100.0, *(min(v, 1e6) for v in values)])
    scale = _Scale(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    attack_rows = len(page.attacks)
    top = 34
    bottom = top + _ROW * len(page.nodes)
    height = bottom + 34 + 24 * attack_rows + 20
    parts = [f'<svg class="plot" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Distance of each verifier">']
    parts += _grid(scale, top, bottom)
    if page.honest:
        left, right = scale.x(min(one.low for one in page.honest)), scale.x(max(one.high for one in page.honest))
        parts.append(_box(left, max(right, left + 4), top, bottom, "agrees", 0.16))
        parts.append(f'<text x="{left + 4:.0f}" y="{bottom - 6}" class="small">honest runs</text>')
    if page.attacks:
        start = scale.x(min(one.low for one in page.attacks))
        parts.append(_box(start, _WIDTH - _RIGHT, top, bottom, "disagrees", 0.08))
    limit = scale.x(1.0)
    parts.append(
        f'<line x1="{limit:.1f}" x2="{limit:.1f}" y1="{top - 8}" y2="{bottom}" stroke="currentColor" '
        f'stroke-width="2" stroke-dasharray="6 4"/><text x="{limit:.1f}" y="{top - 14}" text-anchor="middle">limit</text>'
    )
    for index, node in enumerate(page.nodes):
        parts += _node(scale, node, top + _ROW * index + _ROW / 2)
    for index, band in enumerate(sorted(page.attacks, key=lambda one: one.low)):
        parts += _attack(scale, band, bottom + 40 + 24 * index)
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True, slots=True)
class _Scale:
    low: int
    high: int

    def x(self, ratio: float) -> float:
        """Position on the logarithmic axis; zero and tiny values at its left end."""
        power = math.log10(ratio) if ratio > 0 else self.low
        share = (min(max(power, self.low), self.high) - self.low) / (self.high - self.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _grid(scale: _Scale, top: float, bottom: float) -> list[str]:
    parts = []
    step = max(1, math.ceil((scale.high - scale.low) / 9))
    for power in range(scale.low, scale.high + 1, step):
        x = scale.x(10.0**power)
        label = f"×{10**power:,}" if power >= 0 else f"×1/{10**-power:,}"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="currentColor" opacity=".12"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" class="small">{label}</text>'
        )
    return parts


def _box(left: float, right: float, top: float, bottom: float, tone: str, opacity: float) -> str:
    return (
        f'<rect class="{tone} mark" x="{left:.1f}" y="{top}" width="{max(right - left, 1):.1f}" height="{bottom - top}" '
        f'fill-opacity="{opacity}"/>'
    )


def _node(scale: _Scale, node: NodeRow, y: float) -> list[str]:
    tone, word = _MARK[node.relation]
    x = scale.x(node.ratio)
    place = "the centre" if node.centre else "identical" if node.ratio == 0 else f"{_times(node.ratio)} × limit"
    side = "end" if x > _WIDTH - 330 else "start"
    offset = -13 if side == "end" else 13
    note = f" · {safe(node.note)}" if node.note else ""
    return [
        f'<text x="{_LEFT - 12}" y="{y + 4:.0f}" text-anchor="end">{safe(node.name)}</text>',
        f'<line class="{tone} line" x1="{_LEFT}" x2="{x:.1f}" y1="{y}" y2="{y}" opacity=".35" stroke-width="2"/>',
        f'<circle class="{tone} mark" cx="{x:.1f}" cy="{y}" r="7"/>',
        f'<text x="{x + offset:.1f}" y="{y - 8:.0f}" text-anchor="{side}" class="small over">{word} · {place}{note}</text>',
    ]


def _times(ratio: float) -> str:
    """Three digits, written as people write numbers: 0.0312, 803, 57,500."""
    return f"{float(f'{ratio:.3g}'):,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _attack(scale: _Scale, band: Band, y: float) -> list[str]:
    left, right = scale.x(band.low), scale.x(band.high)
    return [
        f'<text x="{_LEFT - 12}" y="{y + 4:.0f}" text-anchor="end" class="small">{safe(band.name)}</text>',
        f'<line class="disagrees line" x1="{left:.1f}" x2="{max(right, left + 3):.1f}" y1="{y}" y2="{y}" stroke-width="7" '
        'stroke-linecap="round" opacity=".55"/>',
    ]


def voter_names(voters: Sequence[str], called: Mapping[str, str] | None = None) -> dict[str, str]:
    """What each key identifier is called: by its owner's name, where one is known, and the first digits of the key.

    Eight digits, or more where they clash.
    """
    size = 8
    while len({voter[:size] for voter in voters}) < len(set(voters)):
        size += 4
    own = called or {}
    return {voter: f"{own[voter][:24]} ({voter[:size]})" if own.get(voter) else voter[:size] for voter in voters}
