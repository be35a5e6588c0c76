"""Codes of the sumcheck engine."""

from __future__ import annotations

from verifai.domain.codes.code import Code

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
    "sumcheck-weights-registered": Code(
        (0,), "The weights under a hiding root are proven to keep the circuit's bounds.", "Nothing to do."
    ),
    "sumcheck-counts": Code(
        (0,),
        "The circuit counts right answers, each given without its label and by one and the same function.",
        "Nothing to do.",
    ),
    "sumcheck-weights-linked": Code(
        (0,), "A fresh root is proven to commit to the same weights as the pinned one.", "Nothing to do."
    ),
    "sumcheck-weights-hidden": Code(
        (0,), "The root of private weights cannot be derived from a model: it depends on a secret seed.", "Ask the owner."
    ),
    "sumcheck-unsupported": Code(
        (2,),
        "The sumcheck engine's suite cannot prove an operation of the circuit.",
        "Change the node named, or use another engine.",
    ),
    "sumcheck-too-large": Code(
        (2,), "The circuit is larger than the suite's sizes or error bounds allow.", "Split the model, or use a smaller one."
    ),
    "verification-over-budget": Code(
        (4,),
        "Verifying would take more memory or time than allowed; it was not begun.",
        "If you trust whoever gave you the circuit, raise --max-memory; else ask for a smaller circuit.",
    ),
    "circuit-not-planned": Code(
        (2,),
        "A circuit whose commitments and error bounds are not those that this version plans cannot be proven.",
        "Compile the circuit again.",
    ),
    "circuit-bound": Code(
        (2,),
        "A value of the quantised model could leave the range that the proof's field allows.",
        "Change the node that is named; where [engine.sumcheck] activation_bits is given, remove it, so that others are tried.",
    ),
    "constant-value": Code(
        (2,),
        "A value of the model does not depend on its inputs once quantised.",
        "Remove it; where [engine.sumcheck] activation_bits is given, remove that, so that more bits are tried.",
    ),
    "no-scale": Code((2,), "Calibration, or the lock, gives no range for a value.", "Compile again without --locked."),
    "range-holds-pole": Code(
        (2,),
        "The operand of a quotient, logarithm or root takes values where the model has no number, or its range reaches there.",
        "Keep it on one side of 0 in the model, or calibrate with input_margin = 0.",
    ),
    "not-finite": Code(
        (2,), "A value is infinite or not a number on the calibration data.", "Correct the calibration data or the model."
    ),
    "unused-input": Code((2,), "A model input takes no part in the computation.", "Remove the input from the model."),
    "statement-malformed": Code((1,), "The statement's bytes do not fit the circuit.", "Get the bundle again from its maker."),
    "sumcheck-circuit-pinned": Code((0,), "The integer circuit is the pinned one and keeps every rule.", ""),
    "sumcheck-weights-pinned": Code((0,), "The weights are the pinned ones.", ""),
    "sumcheck-statement-bound": Code((0,), "Statement and context are bound by the proof.", ""),
    "sumcheck-circuit-rederived": Code((0,), "The circuit, lowered again from the model, equals the pinned one.", ""),
    "sumcheck-weights-rederived": Code((0,), "The weights, lowered again from the model, equal the pinned ones.", ""),
    "sumcheck-circuit-differs": Code(
        (1,), "The circuit, lowered again from the model, differs from the pinned one.", "Do not trust the lock; compile again."
    ),
    "sumcheck-weights-differs": Code(
        (1,), "The weights, lowered again from the model, differ from the pinned ones.", "Do not trust the lock; compile again."
    ),
    "sumcheck-model-differs": Code((1,), "The model is not the one that the lock pins.", "Use the model that the lock pins."),
    "sumcheck-not-rederived": Code(
        (1,), "The pinned section cannot be derived from the model.", "Do not trust the lock; compile again."
    ),
}
