"""Every parser of foreign input, as a function of bytes: it returns, or raises a VerifaiError. Anything else is a finding."""

from __future__ import annotations

import base64
import json
import struct
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.fuzz.fuzz_sumcheck import (
    NAMES,
    encode_statement,
    frozen,
    proof_reader,
    read_circuit,
    read_section,
    statement_reader,
    verifier,
    weights_reader,
)
from tests.support.language_models import byte_tokenizer, tokenizer_file, word_tokenizer
from tests.support.paths import ROOT
from verifai.bundle.consistency import ConsistencyProof, parse_consistency
from verifai.bundle.keys import parse_public_key
from verifai.bundle.note import parse_checkpoint, parse_log_proof
from verifai.bundle.reader import open_bundle
from verifai.bundle.sbom import check_sbom
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Envelope, parse_envelope
from verifai.domain.attestation.manifest import parse_manifest
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.circuit_lock import parse_lock
from verifai.domain.circuit_spec import parse_spec
from verifai.domain.hardware import HardwareKind
from verifai.domain.policy.parse import parse_policy
from verifai.domain.statement import EngineName
from verifai.domain.strict_json import loads
from verifai.domain.tokenizer import parse_tokenizer
from verifai.domain.trust import parse_trust
from verifai.engines.ezkl import proof as ezkl_proof
from verifai.engines.ezkl.lock_section import parse_section
from verifai.engines.sumcheck.circuit.codec import circuit_digest
from verifai.engines.sumcheck.protocol.statement import PrivateTensor, PublicTensor, Statement
from verifai.engines.sumcheck.secrets.opening_ledger_format import LINE_BYTES, new_ledger, parse_ledger, record
from verifai.engines.sumcheck.verifier.verify import TrustedCircuit, trust_circuit, trust_weights, verify
from verifai.exporters.language import gguf_file, hf_files
from verifai.fingerprints.output import decode_output
from verifai.hardware import tdx
from verifai.hardware.dispatch import verify_evidence
from verifai.hardware.evidence import HardwareEvidence
from verifai.onnx_graph.arrays import read_npy, read_npz
from verifai.onnx_graph.load import load_canonical
from verifai.tokenization.encode import Encoder

V1 = ROOT / "fixtures" / "bundles" / "v1"
FOLDER = V1 / "accept" / "folder"
TEE = ROOT / "tests" / "vectors" / "tee"


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        seeds: valid inputs to start from.
        runs: how many inputs CI tries; fixed, so that CI takes the same time every day.
        max_length: of an input, in bytes.
    """

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    runs: int = 5_000
    max_length: int = 8192


def _toml(parse: Callable[[Any], object]) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        try:
            document = tomllib.loads(data.decode("utf-8"))
        except (ValueError, RecursionError):
            return None  # read_toml turns these into usage errors
        return parse(document)

    return run


def _archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        path.write_bytes(data)
        with open_bundle(path):
            pass


def _payloads() -> dict[str, bytes]:
    found = {}
    for path in [FOLDER / "bundle.dsse.json", *(FOLDER / "attestations").iterdir()]:
        payload = base64.b64decode(json.loads(path.read_bytes())["payload"])
        found[json.loads(payload)["predicateType"].split(":")[2]] = payload
    return found


def _read(path: str) -> bytes:
    return (FOLDER / path).read_bytes()


def _predicates() -> tuple[CircuitPredicate, ProofPredicate]:
    found = {
        one.predicate.TYPE: one.predicate
        for one in (parse_attestation(Envelope(_payloads()[k]), "") for k in ("circuit", "proof"))
    }
    circuit, proof = found[CircuitPredicate.TYPE], found[ProofPredicate.TYPE]
    assert isinstance(circuit, CircuitPredicate)
    assert isinstance(proof, ProofPredicate)
    return circuit, proof


def _section(data: bytes) -> object:
    return _toml(lambda document: parse_section(parse_lock(document, "").section(EngineName.EZKL)))(data)


def _hardware_targets() -> dict[str, Target]:
    """The verifiers of hardware evidence, without the process that fences them in."""
    at = datetime(2026, 6, 1, tzinfo=UTC)
    vcek = (TEE / "sev-snp-vcek.der").read_bytes()
    report = (TEE / "sev-snp-report-milan.bin").read_bytes()
    # As the reader of a claim takes them: a device hands out a buffer that is longer than its quote.
    buffers = [path.read_bytes() for path in sorted(TEE.glob("tdx-quote-v*.bin"))]
    quotes = tuple(one[: tdx.quote_length(one)] for one in buffers)

    def run(kind: HardwareKind) -> Callable[[bytes], object]:
        return lambda data: verify_evidence(HardwareEvidence(kind, data, vcek if kind is HardwareKind.SEV_SNP else b""), at)

    def chip(data: bytes) -> object:
        return verify_evidence(HardwareEvidence(HardwareKind.SEV_SNP, report, data), at)

    return {
        "sev-snp": Target(run(HardwareKind.SEV_SNP), (report,), 1_500),
        "sev-snp-vcek": Target(chip, (vcek,), 3_000),
        "nitro": Target(run(HardwareKind.NITRO), tuple(path.read_bytes() for path in sorted(TEE.glob("nitro-*.cbor"))), 2_000),
        "tdx": Target(run(HardwareKind.TDX), quotes, 3_000),
    }


def targets() -> dict[str, Target]:
    """By name."""
    payloads = _payloads()
    circuit, proof = _predicates()
    log_proof = next((FOLDER / "log").glob("*.tlog-proof")).read_bytes()
    model = _read("payload/model.onnx")
    heldout = (ROOT / "fixtures" / "digits-mlp" / "heldout.npz").read_bytes()
    specs = tuple(path.read_bytes() for path in sorted((ROOT / "circuits").glob("*/circuit.toml")))
    policy = b'schema = "verifai/policy/v1"\n'
    return {
        "strict-json": Target(lambda data: loads(data, where="", floats=True), (b'{"a":[1,2.5,"x",null,true]}',), 30_000),
        "envelope": Target(lambda data: parse_envelope(data, ""), (_read("bundle.dsse.json"),)),
        "manifest": Target(lambda data: parse_manifest(data, ""), (payloads["manifest"],)),
        "attestation": Target(lambda data: parse_attestation(Envelope(data), ""), (payloads["circuit"], payloads["proof"])),
        "checkpoint": Target(lambda data: parse_checkpoint(data, ""), (_read("log/checkpoint"),), 30_000),
        "log-proof": Target(lambda data: parse_log_proof(data, ""), (log_proof,), 30_000),
        "log-consistency": Target(
            lambda data: parse_consistency(data, ""), (ConsistencyProof(1, 2, (bytes(32),)).to_bytes(),), 15_000
        ),
        "archive": Target(_archive, ((V1 / "accept" / "single-file.vbundle").read_bytes(),), 2_000, 80_000),
        "sbom": Target(lambda data: check_sbom(data, circuit, proof.created, {}), (_read("payload/sbom.cdx.json"),), 4_000),
        **_hardware_targets(),
        "public-key": Target(
            lambda data: parse_public_key(data, ""), (b"ed25519:" + base64.b64encode(b"\2" + bytes(31)),), 15_000
        ),
        "trust": Target(_toml(lambda document: parse_trust(document, "")), ((V1 / "trust.toml").read_bytes(),)),
        "circuit-spec": Target(_toml(lambda document: parse_spec(document, "")), specs),
        "circuit-lock": Target(_section, ((V1 / "circuit.lock").read_bytes(),), 1_000),
        "policy": Target(lambda data: parse_policy(data, ""), (policy,)),
        "ezkl-proof": Target(
            lambda data: ezkl_proof.parse(data, instances=74, proof_bytes=10304), (_read("payload/proof.json"),), 2_000, 40_000
        ),
        "onnx": Target(lambda data: load_canonical(data, where=""), (model,), 600, 20_000),
        "npz": Target(lambda data: read_npz(data, ""), (heldout[:20_000], _small_npz()), 3_000, 24_000),
        "npy": Target(lambda data: read_npy(data, ""), (_small_npy(),), 15_000),
        "circuit-zk": Target(_circuit, _circuits(), 3_000, 16_000),
        "proof-zk": Target(_proof, (_frozen("mlp-private.proof"),), 3_000, 64_000),
        "opening-ledger": Target(lambda data: parse_ledger(data, ""), _ledgers(), 15_000, 2048),
        "gguf": Target(lambda data: gguf_file.parse_header(data, len(data), ""), (_small_gguf(),), 20_000, 4096),
        "tokenizer": Target(_tokenizer, tuple(tokenizer_file(one()) for one in (word_tokenizer, byte_tokenizer)), 5_000, 8192),
        "safetensors": Target(_safetensors, (_small_safetensors(),), 15_000, 4096),
        "vote-output": Target(lambda data: decode_output(data), (b"",), 15_000),
        **_sumcheck(),
    }


def _sumcheck() -> dict[str, Target]:
    cases = {name: frozen(name) for name in NAMES}
    small, hashed = cases["products-public"], cases["mlp-hashed-committed"]
    locks = tuple((ROOT / "circuits" / name / "circuit.lock").read_bytes() for name in ("digits-mlp", "lenet5"))
    return {
        "sumcheck-circuit": Target(read_circuit, tuple(case.circuit for case in cases.values()), 20_000, 12_000),
        "sumcheck-weights": Target(weights_reader(cases["cnn-public"]), (cases["cnn-public"].weights,), 30_000, 1_024),
        "sumcheck-statement": Target(
            statement_reader(hashed), (encode_statement(hashed.trusted.circuit, hashed.statement),), 30_000, 1_024
        ),
        "sumcheck-proof": Target(proof_reader(small), (small.proof,), 5_000, 40_000),
        "sumcheck-verify": Target(verifier(small), (small.proof,), 3_000, 40_000),
        "sumcheck-verify-hashed": Target(verifier(hashed), (hashed.proof,), 1_500, 80_000),
        "sumcheck-lock": Target(_toml(read_section), locks, 3_000, 16_000),
    }


def _small_gguf() -> bytes:
    """Two entries, one of them a list of texts, and two tensors."""
    key, items = b"general.architecture", (b"ab", b"c")
    entries = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, 5) + b"llama"
    entries += struct.pack("<Q", 1) + b"t" + struct.pack("<IIQ", 9, 8, len(items))
    entries += b"".join(struct.pack("<Q", len(item)) + item for item in items)
    tensors = struct.pack("<Q", 1) + b"a" + struct.pack("<IQQIQ", 2, 32, 2, 8, 0)
    tensors += struct.pack("<Q", 1) + b"b" + struct.pack("<IQIQ", 1, 8, 0, 96)
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 2) + entries + tensors
    return head.ljust(-(-len(head) // 32) * 32, b"\0") + bytes(128)


def _tokenizer(data: bytes) -> object:
    """What is parsed is also read by the library, and reads a text."""
    found = parse_tokenizer(data, "")
    return found.text(Encoder(found).tokens("the walk")[:8])


def _small_safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"format": "np"}})
    return len(header).to_bytes(8, "little") + header.encode() + bytes(16)


def _safetensors(data: bytes) -> object:
    """As a file of a folder: our own reading of the header, then the library's of all."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / hf_files.SINGLE).write_bytes(data)
        found = hf_files.open_safetensors(Path(folder))
        return found.read_all({name: name for name in found.shapes})


def _frozen(name: str) -> bytes:
    return (ROOT / "tests" / "golden" / "sumcheck-zk-2" / name).read_bytes()


def _circuits() -> tuple[bytes, ...]:
    return tuple(_frozen(f"{name}.circuit") for name in ("mlp-private", "argmax-private-committed"))


def _circuit(data: bytes) -> object:
    """Under its own digest, so that rules and plan are reached."""
    return trust_circuit(data, circuit_digest(data))


def _proof(data: bytes) -> object:
    """Taken apart and played to its end; a valid seed's mutants are refused at whatever step sees them first."""
    trusted = _private_mlp()
    document = json.loads(_frozen("mlp-private.json"))
    weights = trust_weights(trusted, document["weights"], _frozen("mlp-private.weights"))
    statement = Statement((PrivateTensor(), PublicTensor(tuple(document["tensors"][1]["cells"]))), b"frozen")
    return verify(trusted, weights, statement, data)


@lru_cache(maxsize=1)
def _private_mlp() -> TrustedCircuit:
    data = _frozen("mlp-private.circuit")
    return trust_circuit(data, circuit_digest(data))


def _ledgers() -> tuple[bytes, ...]:
    """Unused, in use, and spent."""
    found = [new_ledger("a" * 64, 3)]
    for number in range(3):
        line = record(parse_ledger(found[-1], ""), f"proof {number}")
        found.append(found[-1][: LINE_BYTES * (number + 1)] + line + found[-1][LINE_BYTES * (number + 2) :])
    return tuple(found)


def _small_npy() -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.arange(6, dtype=np.float32).reshape(2, 3))
    return buffer.getvalue()


def _small_npz() -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(6, dtype=np.float32), b=np.zeros((2, 2)))
    return buffer.getvalue()
