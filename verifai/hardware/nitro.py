"""AWS Nitro attestation documents: a COSE_Sign1 (RFC 9052) with ES384 over a CBOR map, signed by a key that AWS certified.

Fields and rules: "Nitro Enclaves Attestation Process" of the AWS Nitro Enclaves NSM API, sections 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from verifai.domain.hardware import HardwareFacts, HardwareKind, TcbStatus
from verifai.errors import Undecided
from verifai.execution.packages import install_hint
from verifai.hardware.certificates import check_chain, check_ecdsa, fingerprint, load_der, pinned, utc
from verifai.hardware.evidence import HardwareEvidence, malformed

_PROTECTED = bytes.fromhex("a1013822")
"""{1: −35}: ES384, the one algorithm that these documents have."""
_MAX_CABUNDLE = 8
_YEAR_9999 = 253_370_764_800_000
"""Milliseconds: later moments are no dates."""
_OPTIONAL = {"public_key": 1024, "user_data": 512, "nonce": 512}
_FIELDS = {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", *_OPTIONAL}


def verify(evidence: HardwareEvidence, test_roots: tuple[x509.Certificate, ...] = ()) -> HardwareFacts:
    """Verify a document.

    Args:
        test_roots: roots of the caller's own, accepted beside that of AWS.

    Raises:
        EvidenceRejected: ``tee-malformed``, ``tee-invalid``, ``tee-root-not-trusted``.
        Undecided: ``missing-extra``, when the CBOR reader is not installed.
    """
    payload, signature = _open(evidence.report)
    fields = _fields(payload)
    leaf = load_der(fields["certificate"], "certificate")
    bundle = [load_der(one, "cabundle") for one in fields["cabundle"]]
    (aws,) = pinned("aws-nitro.pem")
    root = next((one for one in test_roots if bundle[0] == one), aws)
    window = check_chain([leaf, *reversed(bundle)], root, "cabundle")
    signed = _dumps(["Signature1", _PROTECTED, b"", payload])  # RFC 9052 section 4.4
    check_ecdsa(leaf.public_key(), ec.SECP384R1, signature, signed, SHA384(), "signature")
    pcrs = fields["pcrs"]
    made = utc(fields["timestamp"] / 1000)
    return HardwareFacts(
        kind=HardwareKind.NITRO,
        product="nitro",
        report_data=fields["user_data"] or b"",
        registers={f"pcr{index}": value.hex() for index, value in pcrs.items()},
        # In debug mode the image is not measured: PCR0 to PCR2 are zero.
        debug=not any(pcrs[0]),
        svns={},
        tcb=TcbStatus.UNKNOWN,
        # AWS publishes no list: its leaf certificates live for three hours.
        revocation_checked=True,
        valid_from=window.start,
        valid_until=window.end,
        platform=fields["module_id"].partition("-enc")[0],
        root_sha256=fingerprint(root),
        made=made,
        test_root=root != aws,
        words=(f"module {fields['module_id']}",),
    )


def _open(data: bytes) -> tuple[bytes, bytes]:
    """Payload and signature of the COSE_Sign1; its envelope has one spelling, since no signature covers it."""
    document = _loads(data, "report")
    if not isinstance(document, list) or len(document) != 4:
        raise malformed("report", "expected a COSE_Sign1 of four parts")
    protected, unprotected, payload, signature = document
    if protected != _PROTECTED or unprotected != {}:
        raise malformed("report", "expected the header of ES384 and nothing beside it")
    if not isinstance(payload, bytes) or not isinstance(signature, bytes) or len(signature) != 96:
        raise malformed("report", "expected a payload and a signature of 96 bytes")
    if _dumps(document) != data:
        raise malformed("report", "the envelope is not in the shortest CBOR form")
    return payload, signature


def _fields(payload: bytes) -> Mapping[str, Any]:
    fields = _loads(payload, "payload")
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        raise malformed("payload", f"expected the fields {', '.join(sorted(_FIELDS))}")
    pcrs = fields["pcrs"]
    good = (
        isinstance(fields["module_id"], str) and 0 < len(fields["module_id"]) <= 256,
        fields["digest"] == "SHA384",
        type(fields["timestamp"]) is int and 0 < fields["timestamp"] < _YEAR_9999,
        isinstance(pcrs, dict) and 0 in pcrs and all(_is_pcr(index, value) for index, value in pcrs.items()),
        isinstance(fields["certificate"], bytes) and 0 < len(fields["certificate"]) <= 1024 * 4,
        isinstance(fields["cabundle"], list) and 0 < len(fields["cabundle"]) <= _MAX_CABUNDLE,
        all(isinstance(one, bytes) and 0 < len(one) <= 1024 * 4 for one in fields["cabundle"] or [None]),
        *(_is_optional(fields[name], limit) for name, limit in _OPTIONAL.items()),
    )
    if not all(good):
        raise malformed("payload", "a field is not of the type and size that the specification states")
    return fields


def _is_pcr(index: object, value: object) -> bool:
    return type(index) is int and 0 <= index < 32 and isinstance(value, bytes) and len(value) in (32, 48, 64)


def _is_optional(value: object, limit: int) -> bool:
    return value is None or (isinstance(value, bytes) and len(value) <= limit)


def _loads(data: bytes, where: str) -> Any:
    cbor2 = _cbor2()
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError, OverflowError) as problem:
        raise malformed(where, f"no CBOR: {type(problem).__name__}") from None


def _dumps(value: object) -> bytes:
    encoded: bytes = _cbor2().dumps(value)
    return encoded


def _cbor2() -> Any:
    try:
        import cbor2
    except ImportError:
        raise Undecided(
            "tee-unavailable", "the package cbor2 is needed to read Nitro documents", hint=install_hint("hardware")
        ) from None
    return cbor2
