"""Codes of the ezkl engine."""

from __future__ import annotations

from verifai.domain.codes.code import Code

_REJECT_KEY = "Reject it: the key does not belong to this model."

CODES: dict[str, Code] = {
    "ezkl-refused": Code(
        (2,),
        "ezkl cannot make a circuit of this model.",
        "Run `verifai check` on the model; change the node that it names.",
    ),
    "circuit-too-large": Code(
        (2,), "The circuit needs more rows than ezkl can have.", "Split the model, or use the sumcheck engine."
    ),
    "mixed-visibility": Code(
        (2,),
        "ezkl needs one visibility for all inputs, and one for all outputs.",
        "Change [tensors] in circuit.toml, or use the sumcheck engine.",
    ),
    "nothing-bound": Code(
        (2,), "With every tensor private a proof says nothing.", 'Make the inputs or the outputs "public" or "hashed".'
    ),
    "weights-unsupported": Code(
        (2,), "ezkl circuits do not commit to weights.", 'Use "public" or "withheld", or the sumcheck engine.'
    ),
    "input-type-unsupported": Code((2,), "ezkl circuits do not take inputs of this type.", "Cast the input to float32."),
    "calibration-out-of-range": Code(
        (2,), "The pinned circuit does not take all calibration samples.", "Compile without `--locked`, or correct the data."
    ),
    "settings-malformed": Code(
        (1,),
        "The circuit settings are not what this ezkl release writes, or a figure in them is out of range.",
        "Get the bundle again from its maker.",
    ),
    "settings-mismatch": Code((1,), "The settings say something else than the lock.", "Reject it."),
    "settings-not-pinned": Code(
        (1,), "The settings are not the pinned ones.", "Ask for a proof made with the circuit that you trust."
    ),
    "settings-consistent": Code((0,), "The settings are in range and say what the lock says.", ""),
    "vk-not-pinned": Code(
        (1,), "The verification key is not the pinned one.", "Ask for a proof made with the circuit that you trust."
    ),
    "vk-malformed": Code((1,), "The verification key's header does not fit the settings.", "Reject it."),
    "keys-pinned": Code((0,), "Settings and verification key are the pinned ones.", ""),
    "instance-out-of-range": Code((1,), "A public value of the proof cannot be the value of a tensor.", "Reject it."),
    "srs-malformed": Code(
        (1,),
        "The SRS is truncated, padded, zeroed, or has points that do not belong.",
        "Fetch it again: `verifai srs fetch -k SIZE`.",
    ),
    "srs-not-ceremony": Code(
        (1,), "The SRS is not the public ceremony's, though it should be.", "Fetch it again: `verifai srs fetch -k SIZE`."
    ),
    "srs-missing": Code(
        (2,),
        "The local store has no SRS that is large enough.",
        "Run `verifai srs fetch -k SIZE`, or `verifai srs import FILE`.",
    ),
    "srs-too-small": Code((2,), "The SRS has fewer rows than the circuit.", "Fetch a larger one, or lower max_logrows."),
    "srs-unavailable": Code(
        (4,), "The SRS could not be downloaded, or is not in the local store.", "Check the network, or import a copy."
    ),
    "srs-test-only": Code(
        (3,),
        "The SRS is INSECURE-TEST material: its maker can forge proofs.",
        "Compile with a ceremony SRS; `--allow-test-srs` accepts a test.",
    ),
    "srs-test-allowed": Code((0,), "An INSECURE-TEST SRS was accepted by request.", "Never do so for a release."),
    "srs-ceremony": Code((0,), "The SRS is the public ceremony's.", ""),
    "circuit-onnx-rederived": Code((0,), "The rewritten ONNX, made again, is the pinned one.", ""),
    "circuit-onnx-not-rederived": Code((1,), "The rewritten ONNX, made again, differs.", _REJECT_KEY),
    "settings-rederived": Code((0,), "The settings, made again, are the pinned ones.", ""),
    "settings-not-rederived": Code((1,), "The settings, made again, differ.", _REJECT_KEY),
    "vk-rederived": Code((0,), "The verification key, made again, is the pinned one.", ""),
    "vk-not-rederived": Code((1,), "The verification key, made again, differs.", _REJECT_KEY),
    "not-rederived": Code((4,), "The key could not be made again.", "Give it more memory or time."),
    "evm-agrees": Code((0,), "The circuit's Solidity verifier, run in an EVM, says of the proof what ezkl says.", ""),
    "evm-disagrees": Code(
        (1,),
        "The circuit's Solidity verifier and ezkl differ about the proof.",
        "Reject it and report it: one of them is wrong.",
    ),
    "evm-unavailable": Code(
        (0,),
        "The on-chain check was asked for and not made: something that it needs is missing, or the proof was refused before.",
        "Install what the finding names: Node.js, the npm package solc, the extra `evm`.",
    ),
    "evm-undecided": Code((4,), "The on-chain check did not come to an end.", "Give it more memory, or leave `--evm` out."),
}
