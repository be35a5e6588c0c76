"""Codes that every proof engine shares."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "engine-crashed": Code(
        (4,), "Foreign code died, or answered what it never should.", "Try again; report it with the input if it stays."
    ),
    "engine-not-loaded": Code((4,), "The engine's own library is missing or broken.", "Install verifai again."),
    "engine-version": Code(
        (2,), "The lock was made with another release of the engine.", "Use that release, or compile again."
    ),
    "stale-build": Code(
        (2,),
        "The build files are missing, changed, or not those that the lock pins.",
        "Run `verifai compile CIRCUIT --engine ENGINE --locked`.",
    ),
    "input-out-of-range": Code(
        (2,),
        "A value lies outside what the circuit was calibrated for, or outside what it can represent.",
        "Scale the input as in training, or compile with calibration data that covers it.",
    ),
    "privacy-unsupported": Code(
        (2,),
        "A specification asks for privacy that the engine does not give.",
        "Ask `verifai check` which engine gives it; or ask for less in circuit.toml.",
    ),
    "payload-complete": Code((0,), "The engine's files are complete and within their limits.", ""),
    "payload-mismatch": Code(
        (1,), "A file of the engine is missing, too large, or does not belong there.", "Get the bundle again from its maker."
    ),
    "proof-malformed": Code(
        (1,),
        "The proof is not in its one byte form, or has another size than every proof of this circuit.",
        "Get the bundle again from its maker.",
    ),
    "proof-well-formed": Code((0,), "The proof has the pinned form and size.", ""),
    "proof-invalid": Code((1,), "The engine refuses the proof.", "Reject it: the proof or a public value in it is false."),
    "proof-valid": Code((0,), "The engine accepts the proof.", ""),
    "output-saturated": Code(
        (0,),
        "Proven values lie at the end of the range that the circuit clamps an output to: the float model's may lie beyond.",
        "Compile with calibration data that covers such inputs, or with a larger output_margin in [engine.sumcheck].",
    ),
    "inner-saturated": Code(
        (0,),
        "Inner values lie beyond the range that calibration gave them and were cut off: the output may be farther from the "
        "float model's than the lock says.",
        "Compile with calibration data that covers such inputs, or with a larger activation_margin in [engine.sumcheck].",
    ),
    "statement-decoded": Code((0,), "The statement was decoded from authenticated data alone.", ""),
}
