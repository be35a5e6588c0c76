"""A forger with every trusted key: takes a real bundle apart, changes it, and puts it together again as an insider could.

With :meth:`Forge.sealed` every digest, name, signature and log proof is right again, so that only the check *behind* them is
left to refuse.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verifai.bundle import canonical
from verifai.bundle.archive_format import Member, end_record
from verifai.bundle.dsse import sign
from verifai.bundle.merkle import inclusion_proof, leaf_hash, node_hash, subtree_hash
from verifai.bundle.note import Checkpoint, LogProof
from verifai.domain.attestation.envelope import PAYLOAD_TYPE, Envelope
from verifai.domain.attestation.manifest import MANIFEST_NAME, media_type
from verifai.domain.trust_keys import PublicKey

ORIGIN = "example.org/verifai-fixtures"
MANIFEST_TYPE = "urn:verifai:manifest:v1"


@dataclass(frozen=True)
class SeedSigner:
    """A signer whose key is made from a word; everybody has it, so nothing signed by it means anything outside these tests."""

    word: str

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"verifai test key {self.word}".encode()).digest())

    @property
    def public_key(self) -> PublicKey:
        return PublicKey(self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


RELEASE, SECOND, PROVER, LOG, WITNESS, STRANGER = (
    SeedSigner(word) for word in ("release", "second", "prover", "log", "witness", "stranger")
)
WITNESS_NAME = "witness.example/verifai"
COSIGNED_AT = 1_790_000_000


def log_files(ids: list[str], log: SeedSigner = LOG) -> dict[str, bytes]:
    """``log/`` of a bundle whose attestations are the first entries of a log with two further ones."""
    entries = [*ids, hashlib.sha256(b"before").hexdigest(), hashlib.sha256(b"after").hexdigest()]
    leaves = [leaf_hash(bytes.fromhex(one)) for one in entries]

    def lookup(level: int, position: int) -> bytes:
        if level == 0:
            return leaves[position]
        return node_hash(lookup(level - 1, 2 * position), lookup(level - 1, 2 * position + 1))

    size = len(entries)
    checkpoint = Checkpoint(ORIGIN, size, subtree_hash(lookup, 0, size)).signed_by(log)
    checkpoint = checkpoint.cosigned_by(WITNESS_NAME, WITNESS, COSIGNED_AT)
    files = {"log/checkpoint": checkpoint.to_bytes()}
    for index, one in enumerate(ids):
        proof = LogProof(index, inclusion_proof(lookup, index, size), checkpoint)
        files[f"log/{one}.tlog-proof"] = proof.to_bytes()
    return files


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file of a bundle folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write them, without the care that a real writer takes."""
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def archive_of(files: Mapping[str, bytes]) -> bytes:
    """The single-file form of any files, well formed or not as bundles."""
    data, central = bytearray(), bytearray()
    for name in sorted(files):
        member = Member(name, len(files[name]), zlib.crc32(files[name]), len(data))
        data += member.local_header() + files[name]
        central += member.central_header()
    return bytes(data + central + end_record(len(files), len(data), len(central)))


@dataclass
class Forge:
    """One bundle in parts.

    Attributes:
        payload: by name.
        statements: attestation payloads as JSON documents, by kind (``circuit``, ``proof``); further ones by any name.
        raw: bytes that take the place of a statement's canonical form, by the same name.
        manifest: applied to the manifest document before it is encoded.
    """

    payload: dict[str, bytes]
    statements: dict[str, Any]
    created: str
    raw: dict[str, bytes] = field(default_factory=dict)
    manifest: Callable[[dict[str, Any]], None] | None = None
    manifest_raw: Callable[[bytes], bytes] | None = None

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Forge:
        """Take a bundle apart."""
        statements = {}
        for path, data in files.items():
            if path.startswith("attestations/"):
                document = json.loads(base64.b64decode(json.loads(data)["payload"]))
                statements[document["predicateType"].split(":")[2]] = document
        manifest = json.loads(base64.b64decode(json.loads(files[MANIFEST_NAME])["payload"]))
        payload = {path.removeprefix("payload/"): data for path, data in files.items() if path.startswith("payload/")}
        return cls(payload, statements, manifest["predicate"]["created"])

    def sealed(self, *, relink: bool = True) -> dict[str, bytes]:
        """All files again: subjects, parents, names, log proofs, manifest and signatures made to fit.

        Args:
            relink: whether subjects' digests and the parent are brought up to date.
        """
        circuit = self._envelope("circuit")
        proof = self.statements.get("proof")
        if proof is not None and relink:
            for subject in _list(proof, "subject"):
                name = str(subject.get("name", "")).removeprefix("payload/") if isinstance(subject, dict) else ""
                if name in self.payload and isinstance(subject.get("digest"), dict):
                    subject["digest"]["sha256"] = hashlib.sha256(self.payload[name]).hexdigest()
            if isinstance(proof.get("predicate"), dict) and "circuit" in proof["predicate"] and circuit is not None:
                proof["predicate"]["circuit"] = circuit.id
        envelopes = [circuit, *(self._envelope(name) for name in sorted(self.statements) if name != "circuit")]
        files = {f"payload/{name}": data for name, data in self.payload.items()}
        present = [one for one in envelopes if one is not None]
        for one in present:
            files[f"attestations/{one.id}.dsse.json"] = canonical.encode(one.to_json())
        files |= log_files(sorted(one.id for one in present))
        return self.with_manifest(files)

    def with_manifest(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """``files`` with a manifest that lists them, signed by the release keys."""
        document: dict[str, Any] = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [
                {
                    "name": path,
                    "digest": {"sha256": hashlib.sha256(files[path]).hexdigest()},
                    "mediaType": media_type(path),
                    "annotations": {"size": len(files[path])},
                }
                for path in sorted(files)
            ],
            "predicateType": MANIFEST_TYPE,
            "predicate": {"created": self.created},
        }
        if self.manifest is not None:
            self.manifest(document)
        data = canonical.encode(document)
        if self.manifest_raw is not None:
            data = self.manifest_raw(data)
        return {**files, MANIFEST_NAME: canonical.encode(sign(Envelope(data), (RELEASE, SECOND)).to_json())}

    def _envelope(self, name: str) -> Envelope | None:
        if name not in self.statements:
            return None
        data = self.raw.get(name) or canonical.encode(self.statements[name])
        return sign(Envelope(data), (PROVER,))


def _list(document: Any, field_name: str) -> list[Any]:
    value = document.get(field_name) if isinstance(document, dict) else None
    return value if isinstance(value, list) else []


def envelope_document(payload: bytes, signatures: list[dict[str, str]]) -> dict[str, Any]:
    """A DSSE envelope as JSON, with any signatures."""
    return {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": signatures}
