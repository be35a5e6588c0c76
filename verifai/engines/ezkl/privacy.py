"""What ezkl proofs can hide, and what that costs."""

from __future__ import annotations

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.privacy_words import WITHHELD_SHOWS
from verifai.domain.statement import Privacy, Visibility, WeightVisibility
from verifai.engines.interface import PrivacySupport

_COST = "Nothing beside the engine's own cost: every ezkl proof is zero-knowledge, whatever is private."


def privacy_support(spec: CircuitSpec) -> PrivacySupport:
    """Private tensors are hidden; weights can only be withheld, which is less."""
    level = Privacy.ZERO_KNOWLEDGE
    if spec.weights is WeightVisibility.PRIVATE:
        reason = f'ezkl cannot hide weights; "withheld" is the most that it offers. Not hidden are then {WITHHELD_SHOWS}.'
        return PrivacySupport(False, level, reason, "")
    reasons = ["The proof hides the values of private and inner tensors."]
    if Visibility.HASHED in spec.tensors.values():
        reasons.append("Hashed tensors are bound to an unsalted digest: whoever can guess one can confirm the guess.")
    if spec.weights is WeightVisibility.WITHHELD:
        reasons.append(f"The ONNX file stays with its owner. Not hidden: {WITHHELD_SHOWS}.")
    return PrivacySupport(True, level, " ".join(reasons), _COST)
