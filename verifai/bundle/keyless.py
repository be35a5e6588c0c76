"""Keyless signing: an identity (an e-mail address, a CI workflow) instead of a stored key. Extra ``[sigstore]``.

The Sigstore bundle lies beside ours as ``BUNDLE.sigstore.json`` and is over the manifest's exact payload bytes. It comes on top
of Ed25519 signatures: keys and identities are asked for apart in the trust file.

The tests use a substitute for Sigstore, offline; signing with Sigstore itself needs the network and an identity
token, and is not part of any test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from verifai.domain.trust import KeylessTrust
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.packages import install_hint

MAX_SIDECAR_BYTES = 1024 * 1024
_EXTRA = "sigstore"


def sidecar_path(bundle: Path) -> Path:
    """Where the Sigstore bundle of the bundle at ``bundle`` lies."""
    return bundle.with_name(bundle.name + ".sigstore.json")


class KeylessSigner(Protocol):
    """Signs a payload under an identity."""

    def sign(self, payload: bytes) -> bytes:
        """A Sigstore bundle (JSON) over ``payload``. Raises UsageError, Undecided."""


class KeylessVerifier(Protocol):
    """Checks a signature that was made under an identity."""

    def verify(self, payload: bytes, sidecar: bytes, wanted: KeylessTrust) -> None:
        """Raises EvidenceRejected (``keyless-invalid``) unless ``wanted`` vouched for ``payload``; Undecided when unable."""


class SigstoreSigner:
    """The public Sigstore instance, with the identity token that the environment offers (a CI job's, for instance)."""

    def sign(self, payload: bytes) -> bytes:
        """Raises UsageError (``extra-missing``, ``no-identity``), Undecided (``keyless-unavailable``)."""
        try:
            from sigstore.errors import Error
            from sigstore.models import ClientTrustConfig
            from sigstore.oidc import IdentityError, IdentityToken, detect_credential
            from sigstore.sign import SigningContext
        except ImportError:
            raise UsageError("extra-missing", "the package sigstore is not installed", hint=install_hint(_EXTRA)) from None
        try:
            token = detect_credential()
            if token is None:
                raise UsageError(
                    "no-identity",
                    "the environment offers no identity token",
                    hint="Run this in CI with permission id-token: write.",
                )
            context = SigningContext.from_trust_config(ClientTrustConfig.production())
            with context.signer(IdentityToken(token)) as signer:
                text: str = signer.sign_artifact(payload).to_json()
        except (Error, IdentityError, OSError) as problem:
            raise Undecided("keyless-unavailable", f"Sigstore did not sign: {str(problem)[:300]}") from None
        return text.encode()


class SigstoreVerifier:
    """The public Sigstore instance, offline: with the trust root that the installed package carries."""

    def verify(self, payload: bytes, sidecar: bytes, wanted: KeylessTrust) -> None:
        """Raises EvidenceRejected (``keyless-invalid``), Undecided (``keyless-unavailable``)."""
        try:
            from sigstore.errors import Error, VerificationError
            from sigstore.models import Bundle, InvalidBundle
            from sigstore.verify import Verifier, policy
        except ImportError:
            raise Undecided("keyless-unavailable", "the package sigstore is not installed", hint=install_hint(_EXTRA)) from None
        identity = policy.Identity(identity=wanted.identity, issuer=wanted.issuer)
        try:
            Verifier.production(offline=True).verify_artifact(payload, Bundle.from_json(sidecar), identity)
        except (VerificationError, InvalidBundle) as problem:
            raise EvidenceRejected(
                "keyless-invalid",
                f"{wanted.identity} did not vouch for this manifest: {str(problem)[:300]}",
                where="sigstore.json",
            ) from None
        except Error as problem:
            raise Undecided("keyless-unavailable", f"Sigstore cannot check it: {str(problem)[:300]}") from None
