"""tee: the bytes that a machine is asked to sign, its evidence put into a bundle, and raw evidence shown.

The measuring side is not ours: ``docs/hardware.md`` says how a guest asks its device for a report over these bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from verifai.bundle import canonical
from verifai.bundle.archive import contents
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.domain import strict_json
from verifai.domain.attestation.envelope import (
    MAX_ENVELOPE_BYTES,
    Attestation,
    Envelope,
    Subject,
    parse_envelope,
    statement_document,
)
from verifai.domain.attestation.tee import (
    COLLATERAL,
    About,
    AboutReceipt,
    AboutVoter,
    HardwarePredicate,
    report_data,
    subject_of,
)
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.digest import Sha256, sha256
from verifai.domain.hardware import HardwareFacts, HardwareKind
from verifai.domain.record import Record
from verifai.domain.statement import check_context
from verifai.domain.trust_keys import PublicKey
from verifai.domain.utc_time import format_utc, parse_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited, write_new
from verifai.fingerprints.output import encode_output
from verifai.hardware.evidence import MAX_LIST_BYTES, MAX_REPORT_BYTES, Collateral, HardwareEvidence
from verifai.hardware.tdx import quote_length
from verifai.hardware.verify import verify_hardware
from verifai.onnx_graph.arrays import read_npz
from verifai.onnx_graph.fenced import load_path_fenced
from verifai.stages.attested import INPUTS_FILE, OUTPUTS_FILE, about_proof

RECEIPT_SCHEMA = "verifai/receipt/v1"
_MAX_TENSORS = 1 << 29
COLLATERAL_FILES: Mapping[str, str] = {
    "tcb_info": "tcb-info.json",
    "qe_identity": "qe-identity.json",
    "signing_certificate": "signing-certificate.pem",
    "pck_crl": "pck-crl.der",
    "pck_crl_issuer": "pck-crl-issuer.pem",
    "root_crl": "root-crl.der",
}
"""Names of the files in a folder of TDX collateral."""


@dataclass(frozen=True)
class Receipt:
    """An inference that hardware shall attest to, with the tensors that it is about.

    Attributes:
        outputs, inputs: encoded; inputs may be left out of what is handed on.
    """

    about: AboutReceipt
    outputs: bytes
    inputs: bytes


@dataclass(frozen=True)
class AttachedBundle:
    """A bundle with hardware evidence in it.

    Attributes:
        attestation: identifier of the evidence's attestation.
        facts: what the evidence establishes; which machines count is a trust file's question.
        trimmed: how many bytes behind the quote were left out.
    """

    path: Path
    bundle_id: Sha256
    attestation: Sha256
    facts: HardwareFacts
    trimmed: int


def make_receipt(model: Path, inputs: Path, outputs: Path, context: str, target: Path) -> Receipt:
    """Write a receipt of one inference: digests of the canonical model, the inputs and the outputs.

    Args:
        inputs, outputs: ``.npz`` files, one array per tensor.
        target: a new JSON file; the encoded tensors are written beside it.

    Raises:
        UsageError: ``file-missing``, ``file-exists``, ``bad-context``; whatever reading the model or the arrays raises.
    """
    check_context(context)
    encoded = [_encoded(path) for path in (inputs, outputs)]
    about = AboutReceipt(load_path_fenced(model).sha256, sha256(encoded[0]), sha256(encoded[1]), context)
    document = {"schema": RECEIPT_SCHEMA, **{name: text for name, text in about.to_json().items() if name != "about"}}
    write_new(target, canonical.encode(document))
    write_new(target.with_suffix(".inputs.bin"), encoded[0])
    write_new(target.with_suffix(".outputs.bin"), encoded[1])
    return Receipt(about, encoded[1], encoded[0])


def read_receipt(path: Path) -> Receipt:
    """The inverse of :func:`make_receipt`. Raises UsageError (``file-missing``, ``bad-receipt``)."""
    where = str(path)
    document = strict_json.loads(
        read_limited(path, limit=65536), where=where, max_bytes=65536, error=UsageError, code="bad-receipt"
    )
    record = Record(document, where, error=UsageError, code="bad-receipt")
    record.text("schema", pattern=RECEIPT_SCHEMA)
    model, inputs, outputs = (record.sha256(name) for name in ("model_sha256", "inputs_sha256", "outputs_sha256"))
    about = AboutReceipt(model, inputs, outputs, check_context(record.text("context", empty=True)))
    record.done()
    encoded = [read_limited(path.with_suffix(ending), limit=_MAX_TENSORS) for ending in (".inputs.bin", ".outputs.bin")]
    for digest, data, name in ((inputs, encoded[0], "inputs"), (outputs, encoded[1], "outputs")):
        if sha256(data) != digest:
            raise record.refuse(f"the {name} beside it are not those that it names", f"{name}_sha256")
    return Receipt(about, encoded[1], encoded[0])


def _encoded(path: Path) -> bytes:
    return encode_output(dict(read_npz(read_limited(path, limit=_MAX_TENSORS), str(path))))


def claim_of_bundle(path: Path) -> About:
    """What hardware can attest to about the proof bundle at ``path``."""
    with open_bundle(path) as bundle:
        return about_proof(bundle)


def claim_of_voter(path: Path, key: PublicKey) -> AboutVoter:
    """What hardware can attest to about a verifier of the round whose terms are at ``path``, as ``vote-open`` writes them.

    Raises:
        EvidenceRejected: ``malformed``, ``tee-malformed``, when there is not exactly one round.
        UsageError: ``file-missing``, ``not-asked``.
    """
    envelope = parse_envelope(read_limited(path, limit=MAX_ENVELOPE_BYTES), str(path))
    return _voter([parse_attestation(envelope, str(path))], key)


def _voter(attestations: Iterable[Attestation], key: PublicKey) -> AboutVoter:
    rounds = [one for one in attestations if isinstance(one.predicate, RoundTerms)]
    if len(rounds) != 1:
        raise EvidenceRejected("tee-malformed", f"the bundle holds {len(rounds)} rounds where one is needed")
    terms = rounds[0].predicate
    assert isinstance(terms, RoundTerms)
    if key.keyid not in terms.voters:
        raise UsageError("not-asked", "the round does not ask this verifier", hint="Use a key that the round names.")
    return AboutVoter(rounds[0].id, key.keyid)


def signed_bytes(about: About) -> bytes:
    """The 64 bytes to ask the machine's device for: SEV-SNP and TDX ``report_data``, Nitro ``user_data``."""
    return report_data(about)


def read_evidence(
    kind: HardwareKind, report: Path, certificate: Path | None, crl: Path | None, collateral: Path | None
) -> tuple[HardwareEvidence, int]:
    """Evidence from the files that a machine and its maker's service hand out.

    Args:
        collateral: a folder with the files of :data:`COLLATERAL_FILES`.

    Returns:
        The evidence, and how many bytes behind a TDX quote were left out: devices hand out a buffer longer than the quote.

    Raises:
        UsageError: ``file-missing``, ``bad-option``.
        EvidenceRejected: ``tee-malformed``.
    """
    if (kind is HardwareKind.SEV_SNP) != (certificate is not None):
        needs = "needs" if certificate is None else "takes no"
        hint = "Give the chip's VCEK certificate in DER form: --certificate vcek.der" if certificate is None else ""
        raise UsageError("bad-option", f"{kind.value} {needs} --certificate", where="--certificate", hint=hint)
    if crl is not None and kind is not HardwareKind.SEV_SNP:
        raise UsageError("bad-option", "--crl is for sev-snp; TDX has its lists in --collateral", where="--crl")
    if collateral is not None and kind is not HardwareKind.TDX:
        raise UsageError("bad-option", "only TDX has collateral", where="--collateral")
    data = read_limited(report, limit=MAX_REPORT_BYTES)
    trimmed = 0
    if kind is HardwareKind.TDX and len(data) > (length := quote_length(data)):
        data, trimmed = data[:length], len(data) - length
    parts = None
    if collateral is not None:
        parts = Collateral(
            **{name: read_limited(collateral / file, limit=MAX_LIST_BYTES) for name, file in COLLATERAL_FILES.items()}
        )
    chain, lists = (b"" if path is None else read_limited(path, limit=MAX_LIST_BYTES) for path in (certificate, crl))
    return HardwareEvidence(kind, data, chain, lists, parts), trimmed


def show_evidence(evidence: HardwareEvidence, at: str, test_roots: bytes = b"") -> HardwareFacts:
    """What raw evidence establishes at the moment ``at``; nothing is judged. Raises what :func:`verify_hardware` raises."""
    return verify_hardware(evidence, parse_utc(at), test_roots)


def attach_evidence(
    source: Path,
    evidence: HardwareEvidence,
    target: Path,
    *,
    key: PublicKey | None = None,
    test_roots: bytes = b"",
    trimmed: int = 0,
    now: datetime | None = None,
) -> AttachedBundle:
    """Write a new bundle: that at ``source`` with hardware evidence about its proof, or about one verifier of its round.

    Args:
        key: of the verifier; ``None`` for the bundle's proof.
        trimmed: as :func:`read_evidence` counted.
        now: by default the clock.

    Raises:
        EvidenceRejected: the evidence is not genuine, or the machine signed something else (``tee-not-bound``).
        UsageError: ``file-exists``, ``not-asked``.
    """
    with open_bundle(source) as bundle:
        about: About = about_proof(bundle) if key is None else _voter(bundle.attestations.values(), key)
        created = format_utc(now or datetime.now(UTC))
        facts = _require_bound(evidence, about, created, test_roots)
        added = _attestation(evidence, about, created)
        files = dict(contents(bundle))
        bundle_id = write_bundle(
            target,
            payload=bundle.payload,
            attestations=[*bundle.attestations.values(), added],
            created=created,
            log={name.removeprefix("log/"): _data(content) for name, content in files.items() if name.startswith("log/")},
            succeeds=bundle.bundle_id,
        )
    return AttachedBundle(target, bundle_id, added.id, facts, trimmed)


def attach_receipt(
    receipt: Receipt,
    evidence: HardwareEvidence,
    target: Path,
    *,
    show_inputs: bool,
    test_roots: bytes = b"",
    trimmed: int = 0,
    now: datetime | None = None,
) -> AttachedBundle:
    """Write a bundle that holds a receipt, its outputs, and hardware evidence for it.

    Args:
        show_inputs: whether the inputs go into the bundle; else their digest alone does, which does not hide inputs that can be
            guessed.
    """
    created = format_utc(now or datetime.now(UTC))
    facts = _require_bound(evidence, receipt.about, created, test_roots)
    added = _attestation(evidence, receipt.about, created)
    payload = {OUTPUTS_FILE: receipt.outputs, **({INPUTS_FILE: receipt.inputs} if show_inputs else {})}
    bundle_id = write_bundle(target, payload=payload, attestations=[added], created=created)
    return AttachedBundle(target, bundle_id, added.id, facts, trimmed)


def _require_bound(evidence: HardwareEvidence, about: About, at: str, test_roots: bytes) -> HardwareFacts:
    facts = show_evidence(evidence, at, test_roots)
    wanted = report_data(about)
    if facts.report_data != wanted:
        message = f"the machine signed {facts.report_data.hex()[:24]}…, wanted is {wanted.hex()[:24]}…"
        hint = "Ask the device for a report over the bytes that `verifai tee claim` writes."
        raise EvidenceRejected("tee-not-bound", message, where="report_data", hint=hint)
    return facts


def _attestation(evidence: HardwareEvidence, about: About, created: str) -> Attestation:
    collateral = evidence.collateral
    predicate = HardwarePredicate(
        kind=evidence.kind,
        about=about,
        report=evidence.report,
        created=created,
        certificate=evidence.certificate,
        crl=evidence.crl,
        collateral={} if collateral is None else {name: getattr(collateral, name) for name in COLLATERAL},
    )
    subjects = (Subject(*subject_of(about)),)
    return Attestation(Envelope(canonical.encode(statement_document(subjects, predicate))), subjects, predicate)


def _data(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def trust_lines(one: HardwareFacts) -> list[str]:
    """What stands in a trust file that accepts a report like this one, once the code behind it was reviewed."""
    lines = ["[[hardware]]", 'name = "NAME"', f'kind = "{one.kind.value}"']
    if one.kind is HardwareKind.SEV_SNP:
        lines.append(f'products = ["{one.product}"]')
        lines.append("minimum_svns = { " + ", ".join(f"{name} = {value}" for name, value in sorted(one.svns.items())) + " }")
    shown = {name: value for name, value in one.registers.items() if value.strip("0")}
    lines.append("[hardware.registers]")
    lines += [f'{name} = "{value}"' for name, value in shown.items()]
    return lines
