"""Codes of openings of hidden commitments, and of the ledger that counts them."""

from __future__ import annotations

from verifai.domain.codes.code import Code

_DEAD = "The root is dead: compile again, which commits anew. Never restore or copy a ledger."

CODES: dict[str, Code] = {
    "opening-budget-spent": Code(
        (2,), "Every opening that a hidden commitment allows is spent.", "Make a new root: compile again."
    ),
    "opening-ledger-missing": Code((2,), "The opening ledger of a root is not there; it is never made anew.", _DEAD),
    "opening-ledger-exists": Code((2,), "Something is already where an opening ledger is to be made.", "Use another folder."),
    "opening-ledger-mismatch": Code((2,), "The opening ledger is that of another root.", "Use the one made with this root."),
    "opening-ledger-malformed": Code((2,), "The opening ledger was shortened, lengthened or changed.", _DEAD),
    "opening-ledger-unsafe": Code(
        (2,), "The opening ledger is a link, no regular file, another user's, or open to other users.", _DEAD
    ),
    "opening-ledger-rolled-back": Code(
        (2,), "More openings were spent than the ledger knows: it is a copy, restored, or made anew.", _DEAD
    ),
    "weights-secret-missing": Code(
        (2,), "The seed of a pinned hiding commitment to weights is not here.", "Only its owner has it; else compile again."
    ),
    "weights-not-registered": Code(
        (2,), "A hiding root of weights has no proof that these keep the circuit's bounds.", "Compile again."
    ),
    "weights-not-private": Code(
        (2,),
        "The circuit has no private weights, so there is no root to look after.",
        'Ask for [weights] visibility = "private".',
    ),
    "weights-secret-malformed": Code((2,), "The file with a commitment's seed was changed.", _DEAD),
    "tensor-secret-needed": Code(
        (2, 3),
        "A tensor under a hiding root cannot be compared without its secret seed.",
        "Ask the holder of the seed, or make the tensor public.",
    ),
    "tensor-secret-malformed": Code((2,), "The seed that came with a hashed tensor is not one.", "Ask its maker again."),
    "tensor-secrets-malformed": Code(
        (2,), "The file of seeds is not one, or not for these samples.", "Use the file that prove wrote beside the tensors."
    ),
    "tensor-secret-unused": Code(
        (2,), "A seed was given, but no hashed zero-knowledge input has its name.", "Leave --input-secrets out."
    ),
    "tensor-root-mismatch": Code(
        (2,), "A tensor and its seed do not make the root that came with them.", "Ask its maker for tensor and seed again."
    ),
    "opening-ledger-busy": Code((4,), "Another process holds the opening ledger.", "See which process hangs, then try again."),
    "opening-repeated": Code(
        (3,),
        "Two proofs use one opening number of a hidden commitment: both are genuine, but its hidden values may have leaked.",
        "Find the copied or restored opening ledger, stop using the root, and compile again.",
    ),
}
