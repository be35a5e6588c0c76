"""Codes of the release gate: policies, waivers, demands."""

from __future__ import annotations

from verifai.domain.codes.code import Code

_SHOW = "Run `verifai gate --explain --policy FILE`."

CODES: dict[str, Code] = {
    "verdict-passed": Code((0,), "The gate let the release through.", "Nothing to do."),
    "verdict-failed": Code((3,), "The gate did not let the release through.", "Read its report, in the verdict's bundle."),
    "verdict-policy": Code((0,), "The verdict is by exactly the policy that was given.", "Nothing to do."),
    "verdict-other-policy": Code(
        (3,), "The verdict is by another policy, or by one that named other files.", "Run the gate again with this policy."
    ),
    "verdict-bundle": Code((0,), "The bundle is among those that the gate let through.", "Nothing to do."),
    "verdict-other-bundle": Code(
        (3,), "The bundle is not among those that the gate let through.", "Run the gate again on this bundle."
    ),
    # Policies and waivers.
    "bad-policy": Code((2,), "The policy is not as its schema says.", "Mend the line and field that the message names."),
    "empty-policy": Code(
        (2,), "The policy demands nothing of any model.", "Write one with `verifai gate-init BUNDLE --lock FILE`."
    ),
    "waiver-malformed": Code((3,), "A waiver is malformed; it waives nothing.", "Mend or delete it."),
    "waiver-expired": Code((3,), "A waiver's expiry has passed; it waives nothing.", "Delete it, or renew it."),
    "waiver-too-broad": Code((3,), "A waiver reaches further than the policy allows; it waives nothing.", "Narrow it."),
    # Models and releases.
    "evidence-met": Code((0,), "The model has shown the evidence that the policy demands.", ""),
    "evidence-missing": Code((3,), "Nothing of a demanded kind was shown for the model.", _SHOW),
    "evidence-alternative": Code((0,), "This kind of evidence was not needed: the policy is content with another.", ""),
    "evidence-failed": Code((0,), "What was shown for the model failed.", "Read the findings of the bundles."),
    "evidence-not-asked": Code((3,), "No demand of the policy is about this bundle.", "Leave it out, or demand it."),
    "too-few-inferences": Code((3,), "Fewer distinct inferences were shown than demanded.", "Prove more inputs."),
    "release-matches": Code((0,), "The released file is the pinned model, byte for byte.", ""),
    "release-mismatch": Code((1,), "The released file is not the pinned model.", "Do not release it."),
    "duplicate-bundle": Code((0,), "The same bundle was given before; it counts once.", "Name each bundle once."),
    # Proofs.
    "engine-allowed": Code((0,), "The policy allows the engine.", ""),
    "engine-not-allowed": Code((3,), "The policy does not allow the engine.", "Prove with an allowed engine."),
    "privacy-met": Code((0,), "The proof hides as much as demanded.", ""),
    "privacy-below-policy": Code((3,), "The proof hides less than demanded.", "Use another engine or mode."),
    "srs-met": Code((0,), "The set-up material is of the demanded level.", ""),
    "srs-below-policy": Code((3,), "The set-up material is below the demanded level.", "Use a transparent engine."),
    "insecure-mode": Code((3,), "An insecure mode is in force that the policy does not name.", "Make the evidence without it."),
    "insecure-accepted": Code((0,), "The policy accepts an insecure mode that is in force.", "Never for a release."),
    "context-not-bound": Code((3,), "Nothing binds the context to the proof as firmly as asked.", "Demand a signature."),
    "context-repeated": Code((3,), "Different statements bear one context of those expected.", "Give one proof per number."),
    "inputs-not-told-apart": Code(
        (0,),
        "Proofs were counted by context: nothing shows that their hidden inputs differ.",
        "Make inputs public where that matters, or hashed by an engine whose digest does not hide.",
    ),
    "date-not-signed": Code((3,), "A maximum age is demanded, but no trusted key signed the date.", "Ask for a signature."),
    "fidelity-met": Code((0,), "The pinned circuit is as faithful as demanded.", ""),
    # Consensus.
    "verifiers-met": Code((0,), "Enough distinct trusted verifiers agree.", ""),
    "too-few-verifiers": Code((3,), "Fewer distinct trusted verifiers agree than demanded.", "Ask more verifiers."),
    "too-few-environments": Code((3,), "The agreeing verifiers ran in too few environments.", "Ask verifiers elsewhere."),
    # Earlier gates.
    "gate-passed": Code((0,), "An earlier gate let the model pass.", ""),
    "gate-refused": Code((3,), "An earlier gate refused the model.", "Read that gate's report."),
    "gate-policy-unknown": Code((3,), "An earlier gate decided under a policy that is not listed.", "Review it, then list it."),
    "gate-with-waivers": Code((3,), "An earlier gate's verdict rests on waivers.", "Decide again without them."),
    # The gate at work.
    "worker-died": Code((4,), "A worker process died, or hung, before its work was done.", "Run again with fewer --jobs."),
    "report-not-written": Code((4,), "A report could not be written.", "Check the folder and the space on the disk."),
}
