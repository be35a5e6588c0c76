"""Figures and tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from verifai.cli.frame import plain
from verifai.domain.codes import remedy
from verifai.domain.fidelity import FEW_SAMPLES, Fidelity
from verifai.domain.findings import Finding, Outcome, folded
from verifai.domain.shown import ShownTensor, shown_blocks

if TYPE_CHECKING:
    from verifai.engines.interface import PrivacySupport

_MARK = {
    Outcome.HOLDS: "[green]✓[/]",
    Outcome.REJECTED: "[red]✗[/]",
    Outcome.POLICY_NOT_MET: "[yellow]![/]",
    Outcome.UNDECIDED: "[yellow]?[/]",
    Outcome.NOT_CHECKED: "[dim]–[/]",
}


def bytes_text(count: int) -> str:
    """``1536`` → ``1.5 KiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def seconds_text(seconds: float) -> str:
    """Three significant digits, with the unit."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> Table:
    """A plain table; cells may hold markup, so escape foreign text first."""
    result = Table(*headings, title=title, title_justify="left", box=SIMPLE_HEAD, title_style="bold", pad_edge=False)
    for row in rows:
        result.add_row(*row)
    return result


def escaped_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table whose cells are shown as they are."""
    return table(headings, [[escape(cell) for cell in row] for row in rows])


def value_lines(shown: Sequence[ShownTensor]) -> list[str]:
    """One line per public tensor: what was proven, in values; of a batch, for the first items."""
    return [f"   {'  ' if at else ''}{plain(line)}" for block in shown_blocks(shown) for at, line in enumerate(block)]


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """One line per finding, with its mark; what is said alike of many places in one."""
    lines = []
    for finding in folded(findings):
        step = f"[dim]{finding.step:<5}[/] " if finding.step else ""
        where = f" [dim]({plain(finding.where)})[/]" if finding.where else ""
        lines.append(f" {_MARK[finding.outcome]} {step}{plain(finding.message)}{where} [dim]\\[{finding.code}][/]")
        if remedy := remedy_of(finding):
            lines.append(f"         [dim]{plain(remedy)}[/]")
    return lines


def remedy_of(finding: Finding) -> str:
    """What to do about a finding: what it says itself, else what the catalogue says of its code; empty where nothing is."""
    if finding.outcome is Outcome.HOLDS:
        return ""
    return finding.remedy or ("" if finding.outcome is Outcome.NOT_CHECKED else remedy(finding.code))


def privacy_json(privacy: PrivacySupport) -> dict[str, Any]:
    """Whether an engine gives the privacy that was asked for."""
    return {
        "offered": privacy.offered,
        "level": privacy.level.value,
        "reason": privacy.reason,
        "cost": privacy.cost,
    }


def privacy_line(privacy: PrivacySupport) -> str:
    """The same in a line for people."""
    if not privacy.offered:
        return f"Privacy as asked for: [red]not offered[/]. {plain(privacy.reason)}"
    return f"Privacy: {privacy.level.value}. {plain(privacy.reason)} Cost of privacy: {plain(privacy.cost)}"


def fidelity_json(fidelity: Fidelity) -> dict[str, Any]:
    """How near a circuit is to its float model."""
    return {
        "samples": fidelity.samples,
        "top1_matches": fidelity.top1_matches,
        "max_abs_error": fidelity.max_abs_error,
        "mean_abs_error": fidelity.mean_abs_error,
        "worst_sample": fidelity.worst_sample,
        "task": None if fidelity.task is None else fidelity.task.value,
        "spread_error": fidelity.spread_error,
        "column_error": fidelity.column_error,
        "r2": fidelity.r2,
        "close_decisions": fidelity.close_decisions,
        "few_samples": fidelity.few_samples,
        "language": None if fidelity.language is None else fidelity.language.to_document(),
    }


def fidelity_lines(fidelity: Fidelity) -> list[str]:
    """The same for people."""
    if fidelity.language is not None:
        return [f"Fidelity against onnxruntime on {fidelity.samples} calibration texts: {fidelity.language.words()}"]
    said = []
    if fidelity.top1_matches is not None:
        said.append(f"decisions agree on {fidelity.top1_matches}/{fidelity.samples}")
    if fidelity.close_decisions:
        said.append(f"{fidelity.close_decisions} of them lie within rounding")
    if fidelity.spread_error is not None:
        worst = "" if fidelity.column_error is None else f" ({fidelity.column_error:.2g} in its worst column)"
        said.append(f"99th percentile of the error {fidelity.spread_error:.2g} standard deviations of the output{worst}")
    if fidelity.r2 is not None and fidelity.top1_matches is None:
        said.append(f"R² {fidelity.r2:.6f}")
    said.append(f"largest error {fidelity.max_abs_error:.3g} (sample {fidelity.worst_sample})")
    said.append(f"mean error {fidelity.mean_abs_error:.3g}")
    lines = [f"Fidelity against onnxruntime on {fidelity.samples} calibration samples: {', '.join(said)}"]
    if fidelity.few_samples:
        lines.append(
            f"[yellow]Fewer than {FEW_SAMPLES} calibration samples:[/] they say little of other inputs, whose inner values may "
            "be cut off. Calibrate with more."
        )
    return lines
