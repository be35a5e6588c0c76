"""Codes of signed releases and of the chain from them to a circuit."""

from __future__ import annotations

from verifai.domain.codes.code import Code

_NO = "Do not accept it: fetch the release again."

CODES: dict[str, Code] = {
    "provenance-signed": Code((0,), "A signer whom the trust file names signed the release that the lock pins.", ""),
    "provenance-rederived": Code((0,), "A link from the release to the circuit was made again here.", ""),
    "provenance-attested": Code(
        (0,), "A link from the release to the circuit rests on the signature of a notary whom the trust file names.", ""
    ),
    "provenance-missing": Code(
        (0, 3),
        "A link from a signed release to this circuit is not shown, so the weights could be anybody's.",
        "Pin a signed release: `verifai provenance`; have the derivation repeated: `verifai notarise`.",
    ),
    "provenance-broken": Code(
        (1,),
        "Evidence of provenance contradicts the lock: another release, model, circuit or weight root.",
        "It was made for something else, or the model was exchanged: do not accept it.",
    ),
    "provenance-not-judged": Code(
        (0,),
        "The bundle shows a signed release; without its signers in a trust file nothing is said about it.",
        "Name them in [[model_signers]] of the trust file.",
    ),
    "provenance-not-rederived": Code(
        (4,),
        "The derivation could not be repeated: other releases of the tools exported the model, or the engine cannot.",
        "Repeat it with the releases that the lock names.",
    ),
    "provenance-not-pinned": Code(
        (2,),
        "The lock pins no signed release.",
        "Pin one: `verifai provenance CIRCUIT --model-signature model.sig --trust trust.toml`.",
    ),
    "bad-provenance": Code(
        (2,), "A file in the circuit's folder `provenance` is no attestation of a release or a derivation.", "Remove it."
    ),
    "model-signature-malformed": Code((1,), "A file is no signature of a release by OpenSSF Model Signing 1.0.", _NO),
    "model-signature-invalid": Code((1,), "The signature of a release does not hold.", _NO),
    "model-signature-not-current": Code(
        (3,), "A certificate behind a release's signature is not valid now.", "Ask for a new signature."
    ),
    "model-signature-unavailable": Code(
        (4,), "A package that reads this kind of signature is not installed.", "Install the extra sigstore."
    ),
    "model-signer-not-trusted": Code(
        (3,),
        "Nobody whom the trust file names, or whom the policy asks for, signed the release.",
        "Name the signer in [[model_signers]], once you know that the release is theirs.",
    ),
    "release-files-differ": Code((1,), "The files of a release are not exactly those that were signed.", _NO),
    "release-digest-unknown": Code(
        (4,), "The release is signed by digests that need a further package.", "Ask the signer for digests by sha256."
    ),
    "release-source-unclear": Code(
        (2,), "Several signed files, or none, are models by their name.", "Name the exported one: --source FILE."
    ),
}
