"""Test machines: reports in the makers' formats, under roots of our own. Whoever holds these keys can make any report.

Each class stands for one machine of one maker; its method ``report`` gives evidence over 64 bytes, as the real device would.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifai.domain.hardware import HardwareKind
from verifai.hardware.evidence import Collateral, HardwareEvidence

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)
_AMD = "1.3.6.1.4.1.3704.1."
_SGX = "1.2.840.113741.1.13.1"

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def raw_ecdsa(key: ec.EllipticCurvePrivateKey, message: bytes, digest: hashes.HashAlgorithm) -> tuple[int, int]:
    """r and s."""
    return decode_dss_signature(key.sign(message, ec.ECDSA(digest)))


@dataclass
class Authority:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def crl(
        self,
        revoked: Sequence[x509.Certificate] = (),
        *,
        start: dt.datetime = NOW - _DAY,
        days: int = 30,
        critical: Sequence[x509.ExtensionType] = (),
    ) -> bytes:
        """A revocation list, DER."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(start).next_update(start + days * _DAY)
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(start).build()
            builder = builder.add_revoked_certificate(entry)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        for extension in critical:
            builder = builder.add_extension(extension, critical=True)
        return _sign(builder, self.key).public_bytes(Encoding.DER)


def _sign(builder, key: Key):
    if isinstance(key, rsa.RSAPrivateKey):
        digest = hashes.SHA384()
        return builder.sign(key, digest, rsa_padding=padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH))
    return builder.sign(key, hashes.SHA384() if isinstance(key.curve, ec.SECP384R1) else hashes.SHA256())


def certify(
    name: str,
    key: Key,
    issuer: Authority | None = None,
    *,
    ca: bool = True,
    path_length: int | None = None,
    signs_certificates: bool = True,
    critical: bool = False,
    extensions: Sequence[tuple[str, bytes]] = (),
    start: dt.datetime = NOW - 100 * _DAY,
    days: float = 36_500,  # tests of the command line go by the clock
) -> Authority:
    """A certificate for ``key``, signed by ``issuer`` or by itself. ``critical``: whether ``extensions`` are."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.issuer_name(subject if issuer is None else issuer.certificate.subject)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(start + days * _DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    usage = x509.KeyUsage(not ca, False, False, False, False, ca and signs_certificates, ca, False, False)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    signer = key if issuer is None else issuer.key
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    for oid, value in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=critical)
    return Authority(_sign(builder, signer), key)


@dataclass
class SevMachine:
    """An AMD machine under an ARK and ASK of our own.

    Attributes:
        versions: of bootloader, tee, snp, microcode.
        fmc: of Turin's first firmware, which the older lines have not.
        chip: Turin: 8 bytes, the others 64.
        wrapped: whether the certificate holds the chip's identifier as an OCTET STRING.
    """

    product: str = "Milan-B0"
    versions: tuple[int, int, int, int] = (4, 1, 22, 213)
    chip: bytes = bytes(range(64))
    measurement: bytes = b"\x5a" * 48
    fmc: int = 2
    wrapped: bool = False

    def beside(self, chip: bytes) -> SevMachine:
        """Another machine of the same maker."""
        other = SevMachine(self.product, self.versions, chip, self.measurement)
        other.ark, other.ask = self.ark, self.ask
        return other

    @property
    def turin(self) -> bool:
        return self.product.startswith("Turin")

    @cached_property
    def ark(self) -> Authority:
        return certify("ARK-Test", rsa.generate_private_key(65537, 2048))

    @cached_property
    def ask(self) -> Authority:
        return certify("SEV-Test", rsa.generate_private_key(65537, 2048), self.ark)

    @cached_property
    def vcek(self) -> Authority:
        boot, tee, snp, microcode = self.versions
        values = {"3.1": boot, "3.2": tee, "3.3": snp, "3.8": microcode, "3.4": 0, "3.5": 0, "3.6": 0, "3.7": 0}
        if self.turin:
            values["3.9"] = self.fmc
        name, chip = self.product.encode(), self.chip
        if self.wrapped:
            chip = bytes([4, len(chip)]) + chip
        extensions = [(_AMD + oid, der_integer(value)) for oid, value in values.items()]
        extensions += [(_AMD + "2", bytes([0x16, len(name)]) + name), (_AMD + "4", chip)]
        return certify("SEV-VCEK", ec.generate_private_key(ec.SECP384R1()), self.ask, ca=False, extensions=extensions)

    @property
    def roots(self) -> bytes:
        """PEM for ``test_roots``."""
        return self.ask.pem + self.ark.pem

    def report(self, data: bytes, *, debug: bool = False, crl: bytes = b"", **fields: int) -> HardwareEvidence:
        """Evidence over ``data``; ``fields``: as of :meth:`raw`."""
        return HardwareEvidence(HardwareKind.SEV_SNP, self.raw(data, debug=debug, **fields), self.vcek.der, crl)

    def raw(
        self, data: bytes, *, debug: bool = False, version: int = 2, policy: int = 0, key_info: int = 0, hide_chip: int = 0
    ) -> bytes:
        """``policy``: further bits of the guest's policy."""
        report = bytearray(1184)
        report[0:4] = version.to_bytes(4, "little")
        report[8:16] = (1 << 17 | 1 << 16 | debug << 19 | policy).to_bytes(8, "little")
        report[0x48:0x4C] = key_info.to_bytes(4, "little")
        report[0x34:0x38] = (1).to_bytes(4, "little")
        report[0x50:0x90] = data
        report[0x90:0xC0] = self.measurement
        boot, tee, snp, microcode = self.versions
        tcb = bytes([boot, tee, 0, 0, 0, 0, snp, microcode])
        if self.turin:
            tcb = bytes([self.fmc, boot, tee, snp, 0, 0, 0, microcode])
        for offset in (0x38, 0x180, 0x1E0, 0x1F0):
            report[offset : offset + 8] = tcb
        report[0x1A0:0x1E0] = bytes(64) if hide_chip else self.chip.ljust(64, b"\0")
        key = self.vcek.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        r, s = raw_ecdsa(key, bytes(report[:0x2A0]), hashes.SHA384())
        report[0x2A0:0x2E8] = r.to_bytes(72, "little")
        report[0x2E8:0x330] = s.to_bytes(72, "little")
        return bytes(report)


@dataclass
class NitroMachine:
    """An AWS Nitro enclave under a root of our own."""

    pcr0: bytes = b"\xa7" * 48
    made: dt.datetime = NOW

    @cached_property
    def root(self) -> Authority:
        return certify("aws.nitro-enclaves test", ec.generate_private_key(ec.SECP384R1()))

    @cached_property
    def zone(self) -> Authority:
        return certify("zone.test", ec.generate_private_key(ec.SECP384R1()), self.root)

    @cached_property
    def leaf(self) -> Authority:
        start = self.made - dt.timedelta(seconds=5)
        return certify("i-0.test", ec.generate_private_key(ec.SECP384R1()), self.zone, ca=False, start=start, days=0.125)

    @property
    def roots(self) -> bytes:
        """PEM for ``test_roots``."""
        return self.root.pem

    def report(self, data: bytes, *, debug: bool = False, **changes: object) -> HardwareEvidence:
        """Evidence over ``data``; ``changes``: fields of the document to replace."""
        return HardwareEvidence(HardwareKind.NITRO, self.raw(data, debug=debug, **changes))

    def raw(self, data: bytes, *, debug: bool = False, **changes: object) -> bytes:
        pcrs = {index: bytes(48) for index in range(16)}
        if not debug:
            pcrs |= {0: self.pcr0, 1: b"\x01" * 48, 2: b"\x02" * 48}
        document = {
            "module_id": "i-0test-enc0test",
            "digest": "SHA384",
            "timestamp": int(self.made.timestamp() * 1000),
            "pcrs": pcrs,
            "certificate": self.leaf.der,
            "cabundle": [self.root.der, self.zone.der],
            "public_key": None,
            "user_data": data,
            "nonce": None,
            **changes,
        }
        payload = cbor2.dumps(document)
        protected = cbor2.dumps({1: -35})
        key = self.leaf.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        r, s = raw_ecdsa(key, cbor2.dumps(["Signature1", protected, b"", payload]), hashes.SHA384())
        return cbor2.dumps([protected, {}, payload, r.to_bytes(48, "big") + s.to_bytes(48, "big")])


@dataclass
class TdxMachine:
    """An Intel TDX platform under a root of our own.

    Attributes:
        component: version of each of the 16 platform components.
        levels: what its service lists, newest first: component version → status.
    """

    mrtd: bytes = b"\x7d" * 48
    component: int = 7
    levels: tuple[tuple[int, str], ...] = ((7, "UpToDate"), (5, "OutOfDate"))
    fmspc: bytes = bytes.fromhex("50806f000000")
    qe_signer: bytes = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
    issued: dt.datetime = NOW - _DAY
    _keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    def _key(self, name: str) -> ec.EllipticCurvePrivateKey:
        return self._keys.setdefault(name, ec.generate_private_key(ec.SECP256R1()))

    @cached_property
    def root(self) -> Authority:
        return certify("Test SGX Root CA", self._key("root"))

    @cached_property
    def platform_ca(self) -> Authority:
        return certify("Intel SGX PCK Platform CA", self._key("platform"), self.root)

    @cached_property
    def signing(self) -> Authority:
        return certify("Test TCB Signing", self._key("signing"), self.root, ca=False)

    @cached_property
    def pck(self) -> Authority:
        extension = sgx_extension(self.component, self.fmspc)
        return certify(
            "Intel SGX PCK Certificate", self._key("pck"), self.platform_ca, ca=False, extensions=[(_SGX, extension)]
        )

    @property
    def roots(self) -> bytes:
        """PEM for ``test_roots``."""
        return self.root.pem

    def report(self, data: bytes, *, debug: bool = False, collateral: Collateral | None = None) -> HardwareEvidence:
        """Evidence over ``data``."""
        return HardwareEvidence(HardwareKind.TDX, self.raw(data, debug=debug), collateral=collateral)

    def raw(
        self,
        data: bytes,
        *,
        debug: bool = False,
        qe_debug: bool = False,
        version: int = 4,
        patches: Sequence[tuple[int, bytes]] = (),
        leaf: Authority | None = None,
    ) -> bytes:
        """A quote; of version 5 with a TD report 1.5.

        Args:
            patches: places in the TD report, and bytes to stand there.
            leaf: in place of the PCK certificate.
        """
        header = version.to_bytes(2, "little") + (2).to_bytes(2, "little") + (0x81).to_bytes(4, "little") + bytes(4)
        header += bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
        body = bytearray(648 if version == 5 else 584)
        body[0:16] = bytes([self.component, 0, self.component]) + bytes(13)  # 0: no identity of the module of its own
        body[120:128] = (0x10000000 | debug).to_bytes(8, "little")
        body[136:184] = self.mrtd
        body[520:584] = data
        for start, patch in patches:
            body[start : start + len(patch)] = patch
        attestation = self._key("attestation")
        point = attestation.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        auth = bytes(range(32))
        qe = bytearray(384)
        qe[48:64] = (0x11 | qe_debug << 1).to_bytes(8, "little") + bytes(8)
        qe[128:160] = self.qe_signer
        qe[256:258] = (2).to_bytes(2, "little")
        qe[258:260] = (4).to_bytes(2, "little")
        qe[320:352] = hashlib.sha256(point + auth).digest()
        chain = (leaf or self.pck).pem + self.platform_ca.pem + self.root.pem
        certified = bytes(qe) + self._signed("pck", bytes(qe)) + len(auth).to_bytes(2, "little") + auth
        certified += (5).to_bytes(2, "little") + len(chain).to_bytes(4, "little") + chain
        kind = b"" if version == 4 else (3).to_bytes(2, "little") + len(body).to_bytes(4, "little")
        signed = header + kind + bytes(body)
        parts = self._signed("attestation", signed) + point
        parts += (6).to_bytes(2, "little") + len(certified).to_bytes(4, "little") + certified
        return signed + len(parts).to_bytes(4, "little") + parts

    def _signed(self, key: str, message: bytes) -> bytes:
        r, s = raw_ecdsa(self._key(key), message, hashes.SHA256())
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def collateral(
        self,
        *,
        revoked: Sequence[x509.Certificate] = (),
        days: int = 30,
        info_changes: Mapping[str, object] | None = None,
        identity_changes: Mapping[str, object] | None = None,
    ) -> Collateral:
        """What the maker's service would say at :attr:`issued`, signed with changes where they are given."""
        times = {
            "issueDate": f"{self.issued:%Y-%m-%dT%H:%M:%SZ}",
            "nextUpdate": f"{self.issued + days * _DAY:%Y-%m-%dT%H:%M:%SZ}",
        }
        info = {
            "id": "TDX",
            "version": 3,
            **times,
            "fmspc": self.fmspc.hex(),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 15,
            "tdxModule": {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8},
            "tcbLevels": [self._level(svn, status) for svn, status in self.levels],
        }
        identity = {
            "id": "TD_QE",
            "version": 2,
            **times,
            "tcbEvaluationDataNumber": 15,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": self.qe_signer.hex().upper(),
            "isvprodid": 2,
            "tcbLevels": [{"tcb": {"isvsvn": 4}, "tcbDate": "2026-02-15T00:00:00Z", "tcbStatus": "UpToDate"}],
        }
        return Collateral(
            tcb_info=self._service("tcbInfo", info | dict(info_changes or {})),
            qe_identity=self._service("enclaveIdentity", identity | dict(identity_changes or {})),
            signing_certificate=self.signing.pem,
            pck_crl=self.platform_ca.crl(revoked, days=days),
            pck_crl_issuer=self.platform_ca.pem,
            root_crl=self.root.crl(days=days),
        )

    def _level(self, svn: int, status: str) -> dict[str, object]:
        tcb = {
            "sgxtcbcomponents": [{"svn": svn} for _ in range(16)],
            "pcesvn": 5,
            "tdxtcbcomponents": [{"svn": svn if index in (0, 2) else 0} for index in range(16)],
        }
        return {"tcb": tcb, "tcbDate": "2026-02-15T00:00:00Z", "tcbStatus": status, "advisoryIDs": ["INTEL-SA-00001"]}

    def _service(self, name: str, document: dict[str, object]) -> bytes:
        text = json.dumps(document, separators=(",", ":"))
        return f'{{"{name}":{text},"signature":"{self._signed("signing", text.encode()).hex()}"}}'.encode()


def der_integer(value: int) -> bytes:
    """A DER INTEGER from 0 to 65535."""
    raw = value.to_bytes((value.bit_length() + 8) // 8, "big")
    return bytes([2, len(raw)]) + raw


def _tagged(tag: int, content: bytes) -> bytes:
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes(2, "big") if len(content) > 255 else bytes([len(content)])
    return bytes([tag, 0x80 | len(length)]) + length + content


def _oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    body = bytes([40 * first + second])
    for arc in rest:
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        body += bytes(reversed(digits))
    return _tagged(6, body)


def sgx_extension(component: int, fmspc: bytes) -> bytes:
    """Intel's SGX extension of a PCK certificate (Intel SGX PCK Certificate profile, section 1.3.5)."""

    def entry(oid: str, value: bytes) -> bytes:
        return _tagged(0x30, _oid(oid) + value)

    components = b"".join(entry(f"{_SGX}.2.{index + 1}", der_integer(component)) for index in range(16))
    components += entry(f"{_SGX}.2.17", der_integer(11)) + entry(f"{_SGX}.2.18", _tagged(4, bytes([component]) * 16))
    return _tagged(
        0x30,
        entry(f"{_SGX}.1", _tagged(4, bytes(16)))
        + entry(f"{_SGX}.2", _tagged(0x30, components))
        + entry(f"{_SGX}.3", _tagged(4, bytes(2)))
        + entry(f"{_SGX}.4", _tagged(4, fmspc))
        + entry(f"{_SGX}.5", _tagged(0x0A, b"\x01")),
    )
