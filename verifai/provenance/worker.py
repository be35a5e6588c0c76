"""The child process that reads a release's signature, or exports its files again. Run by this package only, never imported.

Keys, certificates and Sigstore's bundles are foreign bytes, read by compiled code. What refuses them is an answer, no failure.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from typing import Any

from verifai.domain.model_signing import SignerKind, TrustedModelSigner
from verifai.domain.utc_time import parse_utc
from verifai.errors import VerifaiError


def _verify(args: Mapping[str, Any]) -> dict[str, Any]:
    from verifai.provenance.signature_file import parse_signature_file
    from verifai.provenance.signatures import check_signers

    try:
        found = parse_signature_file(base64.b64decode(args["data"]), "signature")
        entries = [TrustedModelSigner(**{**one, "kind": SignerKind(one["kind"])}) for one in args["entries"]]
        names, signed = check_signers(found, entries, parse_utc(args["at"]))
        return {"names": list(names), "signer": signed.signer, "words": list(signed.words)}
    except VerifaiError as problem:
        return refusal(problem)


def _export(args: Mapping[str, Any]) -> dict[str, Any]:
    from verifai.provenance.exporting import export_here

    try:
        return export_here(args)
    except VerifaiError as problem:
        return refusal(problem)


def refusal(problem: VerifaiError) -> dict[str, Any]:
    """An error as an answer."""
    refused = {"status": problem.status, "code": problem.code, "message": problem.message}
    return {"refused": {**refused, "where": problem.where, "hint": problem.hint}}


if __name__ == "__main__":
    from verifai.execution.child_entry import serve

    sys.exit(serve({"verify": _verify, "export": _export}))
