"""The provenance chain as an inline SVG drawing: parents to the left, the bundle to the right."""

from __future__ import annotations

from collections.abc import Sequence

from verifai.domain.audit import ChainNode
from verifai.reports.html_text import safe

BOX_WIDTH, BOX_HEIGHT = 168, 64
_GAP_X, _GAP_Y, _MARGIN = 56, 18, 8
MAX_ROWS = 8
"""Boxes per column; what is more is counted in the last one."""

_TITLES = {
    "model": "Model",
    "circuit": "Circuit",
    "proof": "Proof",
    "vote": "Vote",
    "vote-commitment": "Vote, sealed",
    "vote-replay": "Vote, replayed",
    "round": "Round of votes",
    "calibration": "Tolerance",
    "consensus": "Consensus",
    "gate": "Release verdict",
    "bundle": "This bundle",
}


def chain_svg(nodes: Sequence[ChainNode]) -> str:
    """Draw ``nodes``, given parents before children."""
    columns = _columns(nodes)
    height = _MARGIN * 2 + max(min(len(column), MAX_ROWS) for column in columns) * (BOX_HEIGHT + _GAP_Y) - _GAP_Y
    width = _MARGIN * 2 + len(columns) * (BOX_WIDTH + _GAP_X) - _GAP_X
    places: dict[str, tuple[int, int]] = {}
    boxes = []
    for depth, column in enumerate(columns):
        x = _MARGIN + depth * (BOX_WIDTH + _GAP_X)
        top = (height - min(len(column), MAX_ROWS) * (BOX_HEIGHT + _GAP_Y) + _GAP_Y) // 2
        shown = column if len(column) <= MAX_ROWS else column[: MAX_ROWS - 1]
        for row, node in enumerate(shown):
            y = top + row * (BOX_HEIGHT + _GAP_Y)
            places[node.id] = (x, y)
            boxes.append(_box(node, x, y))
        if len(shown) < len(column):
            y = top + len(shown) * (BOX_HEIGHT + _GAP_Y)
            boxes.append(_more(len(column) - len(shown), x, y))
            places |= {node.id: (x, y) for node in column[len(shown) :]}
    edges = {
        (places[parent], places[node.id]) for node in nodes for parent in node.parents if parent in places and node.id in places
    }
    lines = "".join(_edge(*start, *end) for start, end in sorted(edges))
    label = ", then ".join(_TITLES.get(column[0].kind, column[0].kind) for column in columns)
    return (
        f'<svg class="chain" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="Provenance: {safe(label)}">{lines}{"".join(boxes)}</svg>'
    )


def _columns(nodes: Sequence[ChainNode]) -> list[list[ChainNode]]:
    depths: dict[str, int] = {}
    for node in nodes:
        depths[node.id] = 1 + max((depths.get(parent, -1) for parent in node.parents), default=-1)
    columns: list[list[ChainNode]] = [[] for _ in range(1 + max(depths.values()))]
    for node in nodes:
        columns[depths[node.id]].append(node)
    return columns


def _box(node: ChainNode, x: int, y: int) -> str:
    title = safe(_TITLES.get(node.kind, node.kind))
    signed = "✓ " + ", ".join(node.signers) if node.signers else "no trusted signature"
    if node.kind == "model":
        signed = "named by its content"
    signed = safe(signed if len(signed) <= 26 else signed[:25] + "…")
    return (
        f'<g class="{"signed" if node.signers or node.kind == "model" else "unsigned"}">'
        f"<title>{safe(node.id)}</title>"
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>'
        f'<text x="{x + 12}" y="{y + 21}" class="title">{title}</text>'
        f'<text x="{x + 12}" y="{y + 38}" class="id">{safe(node.id[:12])}…</text>'
        f'<text x="{x + 12}" y="{y + 54}" class="who">{signed}</text></g>'
    )


def _more(count: int, x: int, y: int) -> str:
    return (
        f'<g class="unsigned"><rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>'
        f'<text x="{x + 12}" y="{y + 38}" class="title">and {count} more</text></g>'
    )


def _edge(x1: int, y1: int, x2: int, y2: int) -> str:
    start, end = (x1 + BOX_WIDTH, y1 + BOX_HEIGHT // 2), (x2, y2 + BOX_HEIGHT // 2)
    middle = (start[0] + end[0]) // 2
    return (
        f'<path class="edge" d="M{start[0]} {start[1]} C{middle} {start[1]} {middle} {end[1]} {end[0] - 7} {end[1]}"/>'
        f'<path class="tip" d="M{end[0]} {end[1]} l-8 -4 v8 z"/>'
    )
