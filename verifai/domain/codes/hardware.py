"""Codes of hardware attestation."""

from __future__ import annotations

from verifai.domain.codes.code import Code

_NO = "Do not accept it."

CODES: dict[str, Code] = {
    "tee-genuine": Code((0,), "A hardware report is signed by a key that its maker's root certifies.", ""),
    "tee-bound": Code((0,), "The machine signed the digest of what the report is shown for.", ""),
    "tee-trusted": Code((0,), "The trust file names the code that the machine measured.", ""),
    "tee-not-a-proof": Code((0,), "Hardware evidence rests on the machine and its maker; it proves nothing by itself.", ""),
    "tee-test-root": Code((0,), "The report leads to a test root that the trust file accepts.", "Never for a release."),
    "tee-malformed": Code(
        (1,), "Hardware evidence is not in the form of its kind.", "Ask for the file as the machine made it."
    ),
    "tee-invalid": Code((1,), "A signature or a binding of hardware evidence does not hold.", _NO),
    "tee-root-not-trusted": Code((1, 3), "Hardware evidence leads to a root that is not its maker's.", _NO),
    "tee-revoked": Code((1,), "The maker revoked a key that the hardware evidence rests on.", _NO),
    "tee-not-bound": Code(
        (1,), "The machine signed the digest of something else.", "It was made for something else: do not accept it."
    ),
    "tee-measurement-not-trusted": Code(
        (3,), "The code that the machine measured is not on the trust file's list.", "Review that code, then add [[hardware]]."
    ),
    "tee-product-not-trusted": Code(
        (3,), "The processor is of a line that the trust file does not name.", "Use another machine."
    ),
    "tee-debug": Code(
        (0, 3),
        "The machine's owner could read what ran, by debugging or by migrating the guest.",
        "Switch debugging and migration off.",
    ),
    "tee-tcb-out-of-date": Code((3,), "The machine's firmware is older than accepted.", "Update the machine's firmware."),
    "tee-tcb-unknown": Code(
        (3,), "Nothing says whether the machine's firmware is up to date.", "Give the maker's collateral with the evidence."
    ),
    "tee-revocation-unknown": Code(
        (3,), "No revocation list of the time came with the evidence.", "Give the maker's revocation lists with the evidence."
    ),
    "tee-not-current": Code(
        (3,), "Certificates or lists of the evidence are not valid at the time it is judged for.", "Ask for fresh evidence."
    ),
    "tee-date-not-signed": Code(
        (3,), "Evidence is to be judged for its own date, which no trusted key signed.", "Ask for a signature on the bundle."
    ),
    "bad-receipt": Code(
        (2,),
        "A receipt is not in its form, or the tensors beside it are not its own.",
        "Write it again: `verifai tee receipt`.",
    ),
    "tee-missing": Code(
        (3,), "Hardware evidence is demanded, and none that counts was shown.", "Attach it: `verifai tee attach`."
    ),
    "tee-not-judged": Code(
        (0,),
        "The bundle holds hardware evidence; the trust file names no hardware.",
        "Name it in [[hardware]] of the trust file.",
    ),
    "tee-unavailable": Code((4,), "A package that reads hardware evidence is not installed.", "Install the extra hardware."),
    "environments-attested": Code((0,), "Enough agreeing verifiers ran on attested hardware.", ""),
    "too-few-attested": Code(
        (3,), "Fewer agreeing verifiers than demanded ran on attested hardware.", "Ask verifiers for reports over their keys."
    ),
}
