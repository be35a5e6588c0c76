"""What sumcheck proofs can hide, by suite, and what that costs."""

from __future__ import annotations

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.statement import Privacy, Visibility, WeightVisibility
from verifai.engines.interface import PrivacySupport
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE

ZK_COST_FACTOR_AIM = 1.5
"""The aim for the zero-knowledge suite's prove time, as a multiple of the integrity-only suite's. What was measured is in
docs/engine/zero-knowledge.md, section 7."""
ZK_COST_FACTOR_MEASURED: float | None = 1.59
"""Prove time with private inputs over that of the integrity-only suite: the largest ratio over the circuits of
docs/benchmarks.md, measured by ``verifai bench`` in one run. ``None`` would mean not measured; then only the aim is told."""


def privacy_support(spec: CircuitSpec) -> PrivacySupport:
    """The zero-knowledge suite when the specification asks for it, else the integrity-only suite."""
    if spec.weights is WeightVisibility.WITHHELD:
        reason = (
            'The sumcheck engine cannot withhold weights: a verification key that would fix them does not exist. Use "private" '
            'to hide them, or "committed" to bind them by a root (a proof still shows parts of them).'
        )
        return PrivacySupport(False, _level(spec), reason, "")
    if spec.zero_knowledge and spec.weights is WeightVisibility.COMMITTED:
        reason = (
            'The zero-knowledge suite hides the weights that it commits to: say "private", and keep a ledger of openings. '
            '"committed" weights, bound but not hidden, are for the integrity-only suite.'
        )
        return PrivacySupport(False, _level(spec), reason, "")
    if not spec.zero_knowledge:
        return PrivacySupport(True, Privacy.INTEGRITY_ONLY, " ".join(_integrity_only(spec)), "Nothing: it is the faster suite.")
    return PrivacySupport(True, Privacy.ZERO_KNOWLEDGE_UNAUDITED, " ".join(_zero_knowledge(spec)), " ".join(_cost(spec)))


def _level(spec: CircuitSpec) -> Privacy:
    return Privacy.ZERO_KNOWLEDGE_UNAUDITED if spec.zero_knowledge else Privacy.INTEGRITY_ONLY


def _integrity_only(spec: CircuitSpec) -> list[str]:
    reasons = ["The proof hides nothing."]
    if Visibility.HASHED in spec.tensors.values():
        reasons.append("Hashed tensors are bound to a root, not hidden: opened columns show parts of them.")
    if spec.weights is WeightVisibility.COMMITTED:
        reasons.append("Committed weights are bound to a root, not hidden: opened columns show parts of them.")
    return reasons


def _zero_knowledge(spec: CircuitSpec) -> list[str]:
    reasons = [f"Suite {ZERO_KNOWLEDGE.name}: the proof hides the values of private and inner tensors."]
    if Visibility.HASHED in spec.tensors.values():
        reasons.append("Hashed tensors are bound to salted roots, and hidden from those who lack the seed.")
    if spec.weights is WeightVisibility.PRIVATE:
        reasons.append("Private weights are bound to the root of a hiding commitment, which only so many proofs may open.")
    return reasons


def _cost(spec: CircuitSpec) -> list[str]:
    if ZK_COST_FACTOR_MEASURED is None:
        factor = f"aimed at {ZK_COST_FACTOR_AIM:g} × the integrity-only suite's, not measured yet"
    else:
        factor = f"about {ZK_COST_FACTOR_MEASURED:g} × the integrity-only suite's, as `verifai bench` measured"
    costs = [f"Prove time {factor}; more proof bytes."]
    if spec.weights is WeightVisibility.PRIVATE:
        costs.append("Each proof spends one opening of the weight commitment, whose ledger must not be lost.")
    return costs
