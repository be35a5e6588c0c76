"""Codes of split models and chained proofs."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "cut-invalid": Code(
        (2,),
        "The named tensors do not cut the model into a chain of segments.",
        "Cut where everything that comes later depends on the tensors named alone.",
    ),
    "output-not-exact": Code(
        (2,),
        "An output cannot be written so that it quantises back to the proven integers.",
        "Use the sumcheck engine, and a circuit whose outputs have a scale.",
    ),
    "chain-locks": Code(
        (2,),
        "The locks given are not those of consecutive segments: another scale, range, shape, order or binding at a boundary.",
        "Give the locks in the order of the segments, all compiled from one split.",
    ),
    "chain-incomplete": Code(
        (3,),
        "The first bundle's input or the last one's output is an inner tensor: a segment of the chain is missing.",
        "Give the bundles of all segments.",
    ),
    "chain-broken": Code(
        (1,),
        "A segment's input is not the tensor that the segment before put out.",
        "Reject the chain, or get the bundles of one inference.",
    ),
    "chain-model-differs": Code(
        (1,),
        "Splitting the model again gives other segments than the locks pin.",
        "The locks do not belong to this model: reject the chain, or use the locks of this model.",
    ),
    "chain-linked": Code((0,), "A segment's input root equals the output root of the segment before.", ""),
    "chain-locks-fit": Code((0,), "The locks pin equal shapes, scales, zero points and ranges at every boundary.", ""),
    "chain-model-matches": Code((0,), "Splitting the model again gives exactly the pinned segments.", ""),
    "chain-model-not-compared": Code(
        (0,), "That the segments are the parts of one model was not checked.", "Give the whole model with --model."
    ),
}
