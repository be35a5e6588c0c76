"""Codes of the sumcheck room."""

from __future__ import annotations

from verifai.domain.codes import Code

CODES: dict[str, Code] = {
    "circuit-malformed": Code(
        (1,), "Bytes are not the canonical bytes of an integer circuit.", "Compile again, or get the circuit from its maker."
    ),
    "circuit-invalid": Code(
        (1,), "An integer circuit breaks one of its rules, such as the no-wrap rule.", "Compile again with this release."
    ),
    "weights-malformed": Code(
        (1,), "A weight blob does not have the circuit's lengths, bounds or norms.", "Compile again, or get the weights again."
    ),
    "circuit-mismatch": Code(
        (1,), "The integer circuit is not the one that is expected.", "Use the circuit that the lock pins."
    ),
    "weights-mismatch": Code((1,), "The weights are not the ones that are expected.", "Use the weights that the lock pins."),
    "statement-invalid": Code(
        (1,),
        "A statement does not fit its circuit: kinds, counts or ranges of tensors.",
        "Get the evidence again from its maker.",
    ),
    "sumcheck-unsupported": Code(
        (2,),
        "The sumcheck engine's suite cannot prove an operation of the circuit.",
        "Change the node named, or use another engine.",
    ),
    "sumcheck-too-large": Code(
        (2,), "The circuit is larger than the suite's sizes or error bounds allow.", "Split the model, or use a smaller one."
    ),
    "circuit-not-planned": Code(
        (2,), "A draft circuit without commitments and error bounds was to be proven.", "Plan the circuit first."
    ),
}
