"""Codes of bundles, signatures, the audit log, trust files and audits."""

from __future__ import annotations

from verifai.domain.codes.code import Code

_AGAIN = "Get the bundle again from its maker; do not use this copy."

CODES: dict[str, Code] = {
    "bad-case": Code(
        (1, 2),
        "The file is not exactly a case as `verifai handover` writes it, or cannot become one.",
        "Ask for the case again; or hand over one lock per circuit.",
    ),
    "anchors-came-along": Code(
        (3,),
        "Lock and trust file came with the evidence, so whoever made it up could have made them up too.",
        "Have their fingerprint told by somebody you trust; give it: --anchors 'DIGITS'. Or give your own trust file.",
    ),
    "anchors-confirmed": Code((0,), "Lock and trust file in the case have the fingerprint that was given.", "Nothing to do."),
    "anchors-differ": Code(
        (1,),
        "Lock and trust file in the case do not have the fingerprint that was given.",
        "Do not rely on the case: somebody changed it, or it is another one.",
    ),
    # Container: docs/bundle-format.md, reading steps.
    "link": Code(
        (1, 2), "There is a link where a bundle has only files.", "Name the bundle itself; copy files instead of linking."
    ),
    "bad-path": Code((1,), "A name cannot be that of a file in a bundle.", _AGAIN),
    "path-collision": Code((1,), "Two names are equal, or differ only by case.", _AGAIN),
    "bundle-too-large": Code((1,), "Too many files, or more bytes than a bundle may have.", _AGAIN),
    "bad-archive": Code(
        (1,),
        "A single-file bundle is not byte for byte the zip that its content gives.",
        "Make it with: `verifai pack BUNDLE -o FILE`.",
    ),
    "page-too-large": Code((2,), "The bundles are too large for an evidence page.", "Take fewer of them."),
    "manifest-missing": Code((1,), "There is no bundle.dsse.json.", "Name the folder that prove or seal wrote."),
    "not-canonical": Code((1,), "A document is not in canonical form (RFC 8785).", _AGAIN),
    "file-absent": Code((1,), "A file that is listed is not there.", _AGAIN),
    "file-unlisted": Code((1,), "A file is there that is not listed.", "Remove it, or get the bundle again."),
    "digest-mismatch": Code((1,), "A file is not the one that is listed.", _AGAIN),
    "unknown-predicate": Code((1,), "An attestation has a type that this release does not know.", "Use a newer verifai."),
    "parent-missing": Code((1,), "An attestation builds on one that is not in the bundle.", _AGAIN),
    # Signatures.
    "signature-invalid": Code((1,), "A signature does not verify with the key it names.", _AGAIN),
    # Keys.
    "bad-key": Code((2,), "A key file cannot be used.", "Make one with: `verifai key new PATH`."),
    "bad-passphrase": Code((2,), "A private key's passphrase is missing or wrong.", "Set VERIFAI_PASSPHRASE."),
    # The audit log.
    "log-malformed": Code((1,), "A checkpoint or log proof is not what its format allows.", _AGAIN),
    "log-proof-invalid": Code((1,), "An entry is not where the log proof says.", "Ask the log for a new proof."),
    "log-inconsistent": Code((1,), "The log's past was changed.", "Do not trust this log; tell its witnesses."),
    "log-signature-invalid": Code((1,), "A checkpoint is not signed by the log or witness it names.", _AGAIN),
    "log-corrupt": Code((1,), "The log's file was edited or damaged.", "Restore the log from a copy."),
    "log-busy": Code((4,), "Another process holds the log.", "Try again."),
    "log-empty": Code((2,), "The log has no entry.", "Append something first: `verifai log append LOG BUNDLE`."),
    "bad-log": Code(
        (2,), "The file is not an audit log.", "Make one with: `verifai log init LOG --origin NAME --key PUBLIC_KEY`."
    ),
    "bad-log-entry": Code((2,), "Only SHA-256 digests are logged.", "Name a bundle, or 64 hex digits."),
    "wrong-log-key": Code((2,), "The key is not that of the log.", "Give the key that the log was made with."),
    "not-in-log": Code(
        (2,), "The log, or that checkpoint of it, does not hold this entry.", "Append it: `verifai log append LOG BUNDLE`."
    ),
    # Trust: docs/bundle-format.md, steps T1 to T5 and L1 to L4.
    "bad-trust": Code((2,), "A trust file is not what its format allows.", "Mend the field that is named."),
    "trust-expired": Code((3,), "The trust file's end date has passed.", "Review it, then give it a new date."),
    "trust-current": Code((0,), "The trust file may be used.", ""),
    "unsigned": Code((3,), "A required signature is missing.", "Sign it: `verifai seal BUNDLE --key KEY`."),
    "below-threshold": Code((3,), "Too few distinct trusted keys signed.", "Ask the missing signers."),
    "signed": Code((0,), "Enough distinct trusted keys signed.", ""),
    "signature-not-required": Code((0,), "No signature is required on this.", "Name a role in the trust file to require it."),
    "from-the-future": Code((1,), "Something says that it was made later than it can have been.", _AGAIN),
    "stale": Code((3,), "The evidence is older than allowed.", "Ask for a fresh proof."),
    "fresh": Code((0,), "The evidence is young enough.", ""),
    "age-not-limited": Code((0,), "No maximum age is set.", "Set freshness.maximum_age_days in the trust file."),
    "srs-not-trusted": Code((3,), "The set-up material is not on the trust file's list.", "Review it, then add its digest."),
    "srs-trusted": Code((0,), "The set-up material is on the trust file's list.", ""),
    "srs-not-limited": Code((0,), "The trust file lists no set-up material.", "Set srs.sha256 in the trust file."),
    "not-logged": Code(
        (0, 3),
        "An attestation is not proven to be in the audit log.",
        "Log it: `verifai seal BUNDLE --log LOG --log-key KEY -o NEW`.",
    ),
    "below-witnesses": Code(
        (0, 3),
        "Too few witnesses cosigned the log's checkpoint.",
        "Ask the witnesses for cosignatures, then seal the bundle again with --checkpoint.",
    ),
    "logged": Code((0,), "Every attestation is in the trusted audit log.", ""),
    "log-not-required": Code((0,), "The trust file names no audit log.", "Add [log] to the trust file to require it."),
    "circuit-not-trusted": Code((3,), "The trust file does not name the circuit.", "Review its lock, then add it."),
    "lock-changed": Code((2,), "A lock is not the one that the trust file pins.", "Review the lock, then pin its digest."),
    "consistency-missing": Code(
        (3,),
        "A witness was shown no proof that the log only grew.",
        "Get the proof: `verifai log consistency LOG --from SIZE -o FILE`.",
    ),
    "documents-match": Code((0,), "The receipt and the SLSA provenance in the bundle say what the evidence says.", ""),
    "document-mismatch": Code(
        (1,), "A receipt or SLSA provenance does not say what the evidence says.", "It was edited: reject the bundle."
    ),
    "sbom-mismatch": Code((1,), "The bill of materials is not the one of this evidence.", _AGAIN),
    # Audit: docs/bundle-format.md, steps A1 to A9.
    "section-pinned": Code((0,), "Every parameter that the lock pins is the one the evidence was made with.", ""),
    "model-unreadable": Code((1,), "The model in the bundle is not a canonical model.", _AGAIN),
    "key-not-rederived": Code((0,), "The key was not made again from the model.", "Audit without --no-rederive."),
    "key-rederived": Code((0,), "The key was made again from the model, as the trust file demands.", ""),
    "key-pinned": Code((0,), "The circuit's key is the one that the trust file pins.", ""),
    "key-not-trusted": Code((1,), "The circuit's key is not the one that the trust file pins.", "Reject the evidence."),
    "key-rederivation-missing": Code(
        (3,), "The key had to be made again from the model, and was not.", "See step A2 of the report."
    ),
    "shapes-match": Code((0,), "The statement's tensors are the model's.", ""),
    "input-not-matched": Code(
        (0,),
        "A given input is private in the proof, so nothing shows that it is the proven one; the float model runs on it.",
        'To match inputs, ask for a circuit with this tensor "hashed" or "public".',
    ),
    "fidelity-fair": Code((0,), "By the figures that the lock pins, the circuit is near its float model.", ""),
    "fidelity-poor": Code(
        (3,),
        "By the figures that the lock pins, the circuit is not near its float model, whatever compile was told to accept.",
        "Leave [fidelity] out of circuit.toml, compile, and prove again; or accept it: "
        "`verifai audit BUNDLE --trust FILE --max-spread-error LIMIT`.",
    ),
    "fidelity-not-judged": Code(
        (0,),
        "The lock pins no error in spreads of the output, or is that of a part of a model.",
        "Compile again: older releases did not measure it.",
    ),
    "reference-not-run": Code((0,), "The float model was not run.", "Give the proven input with --input."),
    "reference-distance": Code(
        (0,),
        "How far the proven output is from the float model's was not judged in spreads of the output: the lock pins none.",
        "Compile again: older releases did not pin it.",
    ),
    "reference-near": Code((0,), "The proven output is near the float model's.", ""),
    "reference-far": Code(
        (3,),
        "The proven output is far from the float model's: its error is too large, or it decides otherwise.",
        "Do not take the proven value for the model's. Compile with calibration data that covers such inputs, or with a lower "
        "spread_error in [fidelity], and prove again.",
    ),
    "sbom-matches": Code((0,), "The bill of materials is the one of this evidence.", ""),
    "sbom-missing": Code((0,), "There is no bill of materials.", "Ask for evidence made by a newer release."),
    "log-consistent": Code((0,), "The whole log was hashed again and only grew.", ""),
    "log-consistency-not-checked": Code((0,), "The log's past was not compared.", "Give a copy of the log with --log."),
    "attestation-not-judged": Code((0,), "An attestation is there that this audit does not judge.", "Use the verb for it."),
    # Keyless signing.
    "no-identity": Code((2,), "The environment offers no identity token.", "Run it in CI with permission id-token: write."),
    "keyless-signed": Code((0,), "The identity that the trust file names vouched for the manifest.", ""),
    "keyless-missing": Code(
        (3,), "The manifest has no keyless signature of the identity.", "Vouch for it: `verifai seal BUNDLE --sigstore`."
    ),
    "keyless-invalid": Code((1,), "The keyless signature is not the identity's, or not over this manifest.", _AGAIN),
    "keyless-unavailable": Code((4,), "Sigstore could not be used.", "Install the extra sigstore, or try again."),
}
