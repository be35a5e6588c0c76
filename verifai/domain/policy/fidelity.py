"""Fidelity that a lock pins, against the floors of a policy. Pure."""

from __future__ import annotations

from fractions import Fraction

from verifai.domain.attestation.circuit import FidelityFigures
from verifai.domain.findings import Finding, Outcome, holds, missed
from verifai.domain.policy.demands import (
    FidelityDemand,
)

_MORE = "Compile again with more calibration samples."
_SCALES = "Ask the same of the circuit, in [fidelity] of circuit.toml, then compile again: it looks for finer scales."


def judge_fidelity(
    demand: FidelityDemand, figures: FidelityFigures | None, clamped_cells: int | None = None
) -> tuple[Finding, ...]:
    """The figures that the lock pins, against the floors. No figures meet no floor.

    Args:
        clamped_cells: as the prover counted; ``None`` when it did not.
    """
    if demand == FidelityDemand():
        return ()
    code = "fidelity-below-floor"
    if figures is None:
        return (missed(code, "the lock holds no fidelity figures", "Compile again.", where="fidelity"),)
    findings: list[Finding] = []
    if figures.samples < demand.samples:
        findings.append(
            missed(code, f"measured on {figures.samples} samples, {demand.samples} are demanded", _MORE, where="samples")
        )
    if demand.top1_agreement is not None:
        findings.append(_judge_agreement(demand.top1_agreement, figures))
    if demand.max_abs_error is not None and figures.max_abs_error > Fraction(demand.max_abs_error):
        findings.append(
            missed(
                code,
                f"largest error {float(figures.max_abs_error):.4g}, at most {demand.max_abs_error:.4g} is demanded",
                _SCALES,
                where="max_abs_error",
            )
        )
    if demand.spread_error is not None:
        findings += _judge_spread_error(demand.spread_error, figures)
    if demand.perplexity_ratio is not None:
        findings += _judge_perplexity(demand.perplexity_ratio, figures)
    if demand.clamped_cells is not None:
        findings += _judge_clamped(demand.clamped_cells, clamped_cells)
    if any(finding.outcome is not Outcome.HOLDS for finding in findings):
        return tuple(finding for finding in findings if finding.outcome is not Outcome.HOLDS)
    return (holds("fidelity-met", f"fidelity on {figures.samples} calibration samples meets the floors"),)


def _judge_agreement(floor: float, figures: FidelityFigures) -> Finding:
    code = "fidelity-below-floor"
    if figures.agreement is None:
        return missed(code, "the circuit has no classes, so no agreement was measured", _MORE, where="top1_agreement")
    matches, of = figures.agreement
    # Exact: 99 of 100 meets 0.99, whose double lies slightly above 99/100.
    if Fraction(matches, of) < Fraction(str(floor)):
        return missed(
            code,
            f"decisions agree on {matches:,} of {of:,}, {floor:g} is demanded",
            _SCALES,
            where="top1_agreement",
        )
    return holds("fidelity-met", "agreement of decisions meets the floor")


def _judge_spread_error(limit: float, figures: FidelityFigures) -> tuple[Finding, ...]:
    code, where = "fidelity-below-floor", "spread_error"
    if figures.spread_error is None:
        message = "the lock pins no error in spreads of the output"
        return (missed(code, message, "Compile again: older releases did not measure it.", where=where),)
    error = max(figures.spread_error, figures.column_error or Fraction(0))
    if error > Fraction(str(limit)):
        whose = "the worst output column" if error == figures.column_error else "the output"
        found = f"99th percentile of the error {float(error):.4g} spreads of {whose}"
        return (missed(code, f"{found}, at most {limit:g} is demanded", _SCALES, where=where),)
    return ()


def _judge_perplexity(limit: float, figures: FidelityFigures) -> tuple[Finding, ...]:
    code, where = "fidelity-below-floor", "perplexity_ratio"
    if not figures.perplexity or figures.circuit_perplexity is None:
        message = "the lock pins no perplexity: the circuit is of no language model, or its logits were not found"
        return (missed(code, message, "Ask for top1_agreement, which any circuit with decisions has.", where=where),)
    ratio = figures.circuit_perplexity / figures.perplexity
    if ratio > Fraction(str(limit)):
        message = f"perplexity {float(ratio):.5f} times the float model's, at most {limit:g} times is demanded"
        return (missed(code, message, _SCALES, where=where),)
    return ()


def _judge_clamped(limit: int, counted: int | None) -> tuple[Finding, ...]:
    code, where = "fidelity-below-floor", "clamped_cells"
    if counted is None:
        message = "the prover did not count inner cells that were cut off at their range"
        return (missed(code, message, "Ask for a proof by an engine and a release that count them.", where=where),)
    if counted > limit:
        message = f"up to {counted:,} inner cells were cut off at their range, at most {limit:,} may be"
        return (missed(code, message, "Compile again with calibration data that covers such inputs.", where=where),)
    return ()
