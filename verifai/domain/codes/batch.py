"""Codes of batches: indexes of proofs, folders of bundles."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "index-malformed": Code(
        (2,), "The index of a batch is not as its schema says.", "Prove into another folder; the bundles stay as they are."
    ),
    "index-differs": Code(
        (2,),
        "The index is of another batch: other inputs, circuit, context or keys.",
        "Give what the first run was given, or prove into another folder.",
    ),
    "index-bundle-differs": Code(
        (2,),
        "A bundle that the index lists is not there, or is another one.",
        "Put the bundle back, or prove into another folder; no sample is proven twice.",
    ),
    "index-inputs-unknown": Code(
        (2,),
        "What tells hidden inputs of a batch apart is gone, so it cannot be continued.",
        "Prove the rows that are missing into another folder.",
    ),
    "batch-busy": Code((4,), "Another process proves into this folder.", "Wait for it, or choose another folder."),
    "not-a-bundle": Code(
        (0, 2, 4),
        "Something in a folder of bundles is no bundle, so it was not looked at; or what was named as one bundle is none.",
        "Take it out of the folder, or name it by itself.",
    ),
}
