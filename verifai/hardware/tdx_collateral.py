"""What Intel says of a TDX platform at a time: TCB info, QE identity and revocation lists, judged by the package ``dcap-qvl``.

The package checks every signature of the quote a second time, the collateral's signatures, the revocation lists, and which
level the platform's versions reach. It is given the root and the moment, and is never asked to fetch anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from verifai.domain.hardware import TcbStatus
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected, Undecided
from verifai.execution.packages import install_hint
from verifai.hardware.certificates import Window, check_chain, check_crl, load_crl, load_pem_chain
from verifai.hardware.evidence import Collateral, invalid, malformed

_NO_LEVEL = "No matching TCB level found"
"""Words of dcap-qvl 0.7.0, which constraints.txt pins: the platform's versions lie below every level that Intel lists."""
_MAX_ADVISORIES = 64


@dataclass(frozen=True, slots=True)
class JudgedCollateral:
    """What the collateral says of a quote.

    Attributes:
        window: when all of the quote's certificates and all of the collateral are valid.
    """

    tcb: TcbStatus
    advisories: tuple[str, ...]
    window: Window


def judge_collateral(
    quote: bytes,
    collateral: Collateral,
    root: x509.Certificate,
    chain: Sequence[x509.Certificate],
    window: Window,
    at: datetime,
    *,
    pce: bytes,
) -> JudgedCollateral:
    """Judge the collateral for the moment ``at``.

    Outside of the collateral's own span, its nearest end is taken in place of ``at``: whether it is current is the caller's
    question, whether it is genuine is answered here.

    Args:
        quote: whose own signatures were checked.
        chain: the quote's certificates, leaf first.
        window: when they are valid.
        pce: identifier of the PCE, 2 bytes, as the PCK certificate states it.

    Raises:
        EvidenceRejected: ``tee-malformed``, ``tee-invalid``, ``tee-revoked``, ``tee-root-not-trusted``.
        Undecided: ``tee-unavailable``.
    """
    tcb_info, tcb_signature = _signed_part(collateral.tcb_info, "tcbInfo")
    identity, identity_signature = _signed_part(collateral.qe_identity, "enclaveIdentity")
    # dcap-qvl 0.7.0 compares FMSPC alone; TCB info is for a platform model *and* a PCE.
    if str(tcb_info.fields.get("pceId", "")).lower() != pce.hex():
        raise invalid("collateral.tcb_info", "it is for another PCE than that of the platform")
    signing = load_pem_chain(collateral.signing_certificate, "signing_certificate")
    issuer = load_pem_chain(collateral.pck_crl_issuer, "pck_crl_issuer")
    for name, one in (("signing_certificate", signing), ("pck_crl_issuer", issuer)):
        span = check_chain(one, root, name)
        window = window.cut(span.start, span.end)
    for name, document in (("tcb_info", tcb_info), ("qe_identity", identity)):
        window = window.cut(_moment(document, "issueDate", name), _moment(document, "nextUpdate", name))
    root_crl, pck_crl = load_crl(collateral.root_crl, "root_crl"), load_crl(collateral.pck_crl, "pck_crl")
    for crl, signer, listed, name in (
        (root_crl, root, [*chain[1:], *signing, *issuer], "root_crl"),
        (pck_crl, issuer[0], chain[:1], "pck_crl"),
    ):
        span = check_crl(crl, signer, listed, name)
        window = window.cut(span.start, span.end)
    if window.start > window.end:
        raise invalid("collateral", "its documents are never valid at the same time")
    moment = min(max(at, window.start), window.end - timedelta(seconds=1))  # lists end before their last second
    root_pem = root.public_bytes(Encoding.PEM)
    arguments = (
        _pem(issuer, root_pem),
        collateral.root_crl,
        collateral.pck_crl,
        _pem(signing, root_pem),
        tcb_info.text,
        tcb_signature,
        _pem(signing, root_pem),
        identity.text,
        identity_signature,
    )
    return _judge(quote, arguments, root, moment, window)


def _judge(quote: bytes, arguments: tuple[Any, ...], root: x509.Certificate, at: datetime, window: Window) -> JudgedCollateral:
    library = _library()
    seconds = int(at.timestamp())
    try:
        verifier = library.QuoteVerifier(root.public_bytes(Encoding.DER))
        claims = verifier.verify_with_policy(
            quote, library.QuoteCollateralV3(*arguments), seconds, library.QuotePolicy.claims_only(seconds)
        )
        tcb = json.loads(claims.to_json())["tcb"]
        return JudgedCollateral(TcbStatus(tcb["status"]), tuple(map(str, tcb["advisory_ids"][:_MAX_ADVISORIES])), window)
    except ValueError as problem:
        if _NO_LEVEL in str(problem):
            return JudgedCollateral(TcbStatus.UNSUPPORTED, (), window)
        if "revoked" in str(problem).lower():
            raise EvidenceRejected("tee-revoked", "Intel revoked the platform", where="collateral") from None
        raise invalid("collateral", f"dcap-qvl refuses it: {' '.join(str(problem).split())[:300]}") from None


@dataclass(frozen=True, slots=True)
class _Document:
    """One JSON document of Intel's service: the exact text that is signed, and what it says."""

    text: str
    fields: Mapping[str, Any]


def _signed_part(body: bytes, name: str) -> tuple[_Document, bytes]:
    """The signed part of ``{"NAME":…,"signature":"…"}``, byte for byte, and the signature."""
    head, middle = f'{{"{name}":'.encode(), b',"signature":"'
    text, found, rest = body.removesuffix(b"\n").rpartition(middle)
    try:
        if not found or not text.startswith(head) or not rest.endswith(b'"}'):
            raise ValueError("not in the form of Intel's service")
        signed = text[len(head) :].decode("utf-8")
        fields = json.loads(signed)
        signature = bytes.fromhex(rest[:-2].decode("ascii"))
        if not isinstance(fields, dict) or len(signature) != 64 or rest[:-2].decode() != signature.hex():
            raise ValueError("no object with a signature of 64 bytes")
    except (ValueError, RecursionError) as problem:
        raise malformed(f"collateral.{name}", f"cannot be read: {str(problem)[:200]}") from None
    return _Document(signed, fields), signature


def _moment(document: _Document, field: str, where: str) -> datetime:
    try:
        return parse_utc(str(document.fields[field]))
    except (KeyError, ValueError):
        raise malformed(f"collateral.{where}", f"{field} is no time") from None


def _pem(chain: Sequence[x509.Certificate], root_pem: bytes) -> str:
    """A chain as Intel's service gives it: with its root at the end."""
    parts = [one.public_bytes(Encoding.PEM) for one in chain if one.issuer != one.subject]
    return b"".join([*parts, root_pem]).decode("ascii")


def _library() -> Any:
    try:
        import dcap_qvl
    except ImportError:
        raise Undecided(
            "tee-unavailable", "the package dcap-qvl is needed to judge Intel's collateral", hint=install_hint("hardware")
        ) from None
    return dcap_qvl
