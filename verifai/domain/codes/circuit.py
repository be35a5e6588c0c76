"""Codes of specifications, locks, compile, prove and verify."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "bad-spec": Code((2,), "circuit.toml is not as its schema says.", "Mend the field that the message names."),
    "bad-lock": Code((2,), "circuit.lock is not as its schema says.", "Restore it from version control, or compile again."),
    "privacy-contradiction": Code(
        (2,),
        "[privacy] says integrity-only, but a tensor or the weights are private.",
        'Say level = "zero-knowledge", or make the field that the message names "public", "hashed" or "committed".',
    ),
    "no-lock": Code(
        (2,), "The circuit was not compiled, or nothing is pinned for this model.", "Run `verifai compile CIRCUIT`."
    ),
    "batch-unsupported": Code(
        (2,),
        "The engine, or the model, has no proofs of several inferences.",
        "Use the sumcheck engine, or leave the batch out.",
    ),
    "stale-lock": Code((2,), "The lock pins another model than circuit.toml names.", "Run `verifai compile CIRCUIT`."),
    "engine-not-in-lock": Code(
        (2,), "The lock pins no circuit of this engine.", "Run `verifai compile CIRCUIT --engine ENGINE`."
    ),
    "lock-not-reproduced": Code(
        (2,), "Compiling again gave something else than the lock pins.", "Find out what changed; then compile without --locked."
    ),
    "no-calibration-data": Code((2,), "compile has no calibration data.", "Name a .npz file in [calibration]."),
    "operator-unsupported": Code(
        (2,), "The engine cannot prove an operator of the model.", "Use another engine, or rewrite the node."
    ),
    "estimate-over-budget": Code(
        (4,), "The estimated memory exceeds the budget.", "Raise the budget or lower the fidelity floor."
    ),
    "fidelity-below-floor": Code(
        (3,), "The circuit is less faithful than the specification demands.", "Allow larger scales, or lower the floor."
    ),
    "nothing-to-prove": Code((2,), "There is no sample to prove.", "Give an input file with samples."),
    "no-proof": Code(
        (1, 3), "The bundle holds no proof, or no evidence that a gate knows.", "Ask for a bundle made by `verifai prove`."
    ),
    "ambiguous-proof": Code((1,), "The bundle holds more than one proof attestation.", "Ask for one bundle per inference."),
    "broken-chain": Code(
        (1,), "An attestation names a parent that is not there or of the wrong kind.", "Get the bundle again from its maker."
    ),
    "subject-mismatch": Code(
        (1,), "An attestation is about other files than those in the bundle.", "Get the bundle again from its maker."
    ),
    "bundle-intact": Code((0,), "Every file matches the manifest.", ""),
    "signatures-not-judged": Code(
        (0,), "No trust file was given, so the signatures were not judged.", "Run `verifai audit BUNDLE --trust FILE`."
    ),
    "circuit-pinned": Code((0,), "The circuit is the one that the lock pins.", ""),
    "model-not-pinned": Code((1,), "The evidence is about another model.", "Use the right lock, or reject the release."),
    "circuit-not-pinned": Code(
        (1,), "The evidence is about another compilation of the circuit.", "Use the right lock, or reject the release."
    ),
    "model-missing": Code((1,), "The weights are public, but the model is not in the bundle.", "Ask for the whole bundle."),
    "model-mismatch": Code((1,), "The model in the bundle is not the pinned one.", "Reject it."),
    "model-matches": Code((0,), "The model in the bundle is the pinned one.", ""),
    "model-withheld": Code((0,), "The model is not in the bundle.", "Ask its owner if you need to re-derive the key."),
    "statement-mismatch": Code((1,), "The attested statement is not what the proof says.", "Reject it."),
    "statement-matches": Code((0,), "The attested statement is what the proof says.", ""),
    "context-mismatch": Code(
        (1,), "The context is not the one that was asked for.", "It may be an old proof; ask for a new one."
    ),
    "context-matches": Code((0,), "The context is the one that was asked for.", ""),
    "context-not-compared": Code(
        (0,), "No context was given to compare with.", "Pass --expect-context with a fresh nonce that you chose."
    ),
    "unknown-tensor": Code(
        (2,), "A tensor was given that the statement does not have.", "Use the names that the message lists."
    ),
    "input-mismatch": Code((1,), "The given input is not the proven one.", "Another input was proven."),
    "output-mismatch": Code((1,), "The given output is not the proven one.", "Another output was proven."),
    "input-matches": Code((0,), "The given input is the proven one.", ""),
    "output-matches": Code((0,), "The given output is the proven one.", ""),
    "input-private": Code(
        (3,), "The input is private: nothing can be compared with it.", "Ask for a circuit with a hashed or public input."
    ),
    "output-private": Code(
        (3,), "The output is private: nothing can be compared with it.", "Ask for a circuit with a hashed or public output."
    ),
}
