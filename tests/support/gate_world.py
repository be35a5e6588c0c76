"""A small world for tests of the gate: real bundles, locks, keys and logs on disk, and an engine whose proofs are a keyed hash.

The engine exists in tests only. It is sound in the sense that matters here: a proof that :func:`seal` did not make is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verifai.bundle import canonical
from verifai.bundle.writer import write_bundle
from verifai.circuit_folder import render_lock
from verifai.domain import strict_json
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256, sha256
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.verdict import GateVerdict, Judgement
from verifai.domain.record import Record
from verifai.domain.statement import (
    CommitmentOpening,
    EngineName,
    Privacy,
    Role,
    Statement,
    TensorStatement,
    Visibility,
    WeightVisibility,
)
from verifai.domain.trust_keys import PublicKey
from verifai.domain.utc_time import format_utc
from verifai.engines.interface import EngineProof, SectionSummary, VerifiedProof, VerifyRequest
from verifai.errors import EvidenceRejected
from verifai.stages.evidence import circuit_attestation, circuit_predicate, proof_attestation
from verifai.stages.gate.bundle import judge_bundle
from verifai.stages.gate.gate import gate
from verifai.stages.gate.load import LoadedPolicy, load_policy

NOW = datetime(2026, 6, 15, 12, 0, 0, tzinfo=UTC)
ENGINE_USERS = (
    "verifai.stages.verify",
    "verifai.stages.gate.load",
    "verifai.stages.gate.init",
    "verifai.stages.audit.audit",
    "verifai.stages.audit.steps",
)
"""Modules that ask for an engine by name: a stand-in is put into each."""


@dataclass(frozen=True)
class Key:
    """A signer made from a small number."""

    seed: int

    @property
    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed.to_bytes(32, "big"))

    @property
    def public_key(self) -> PublicKey:
        return PublicKey(self.private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)

    def write(self, path: Path) -> Path:
        from cryptography.hazmat.primitives import serialization as s

        path.write_bytes(self.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
        path.chmod(0o600)
        return path


ALICE, BOB, MALLORY, GATE_KEY, LOG_KEY = (Key(seed) for seed in (1, 2, 3, 4, 5))


def seal(statement: Mapping[str, Any]) -> str:
    return hashlib.sha256(b"only the engine of these tests knows this" + canonical.encode(statement)).hexdigest()


@dataclass(frozen=True)
class FakeEngine:
    """The part of an engine that verify and gate use."""

    name: EngineName

    def summarise(self, section: Mapping[str, Any]) -> SectionSummary:
        figures = section["fidelity"]
        pins = {"vk_sha256": section["circuit_sha256"]}
        if section["srs"] != "none":
            pins["srs_sha256"] = sha256(section["srs"].encode())
        modes = sorted([*section.get("insecure", []), *(["test-srs"] if section["srs"] == "test" else [])])
        return SectionSummary(
            "1.0", section["circuit_sha256"], pins, Fidelity(**{"top1_matches": None, **figures}), tuple(modes)
        )

    def quantise(self, tensor: TensorStatement, values: Any) -> tuple[int, ...]:
        return tuple(round(Fraction(float(one)) / tensor.scale) for one in values.reshape(-1))

    def verify(self, request: VerifyRequest) -> VerifiedProof:
        document = strict_json.loads(request.files["proof.json"].read_bytes(), where="proof.json")
        if document["seal"] != seal(document["statement"]):
            raise EvidenceRejected("proof-invalid", "the proof does not hold", where="proof.json")
        statement = Statement.from_record(Record(document["statement"], "proof.json"))
        return VerifiedProof(statement, (Finding("proof-valid", Outcome.HOLDS, "the proof holds", step="1"),))


def use_fake_engines() -> None:
    """For worker processes, which inherit no patches."""
    import importlib

    for name in ENGINE_USERS:
        importlib.import_module(name).engine_for = FakeEngine  # type: ignore[attr-defined]


def judge_with_fakes(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    """What a worker process runs in these tests."""
    use_fake_engines()
    return judge_bundle(loaded, path, now, budget)


@pytest.fixture
def fake_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENGINE_USERS:
        monkeypatch.setattr(f"{name}.engine_for", FakeEngine)


FIDELITY = {"samples": 100, "top1_matches": 99, "max_abs_error": 0.0625, "mean_abs_error": 0.0078125, "worst_sample": 3}


def section(
    circuit: str = "net", *, srs: str = "ceremony", fidelity: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {"circuit_sha256": sha256(circuit.encode()), "srs": srs, "fidelity": dict(fidelity or FIDELITY), **more}


@dataclass
class World:
    """One folder with a lock, a policy, and bundles."""

    folder: Path
    model: bytes = b"the pinned model"
    sections: dict[EngineName, dict[str, Any]] = field(default_factory=lambda: {EngineName.EZKL: section()})

    @property
    def pin(self) -> Sha256:
        return sha256(self.model)

    @property
    def circuit_lock(self) -> CircuitLock:
        return CircuitLock("net", self.pin, self.sections)

    def write_lock(self) -> Path:
        path = self.folder / "circuit.lock"
        path.write_bytes(render_lock(self.circuit_lock))
        return path

    def statement(
        self,
        sample: int,
        *,
        engine: EngineName = EngineName.EZKL,
        context: str = "",
        bound: bool = False,
        privacy: Privacy = Privacy.ZERO_KNOWLEDGE,
        weights: WeightVisibility = WeightVisibility.PUBLIC,
        private_input: bool = False,
        openings: Sequence[CommitmentOpening] = (),
    ) -> Statement:
        given = (Visibility.PRIVATE, Fraction(1, 128)) if private_input else (Visibility.PUBLIC, Fraction(1, 128), 0, (sample,))
        return Statement(
            engine=engine,
            model_sha256=self.pin,
            circuit_sha256=Sha256(self.sections[engine]["circuit_sha256"]),
            tensors=(
                TensorStatement(Role.INPUT, "x", (1, 1), *given),
                TensorStatement(Role.OUTPUT, "y", (1, 1), Visibility.PUBLIC, Fraction(1, 128), 0, (2 * sample,)),
            ),
            context=context,
            context_bound=bound,
            privacy=privacy,
            weights=weights,
            openings=tuple(openings),
        )

    def bundle(
        self,
        name: str,
        sample: int = 1,
        *,
        signers: Sequence[Key] = (),
        created: datetime = NOW - timedelta(days=1),
        sealed: datetime | None = None,
        forged: bool = False,
        engine: EngineName = EngineName.EZKL,
        log: Mapping[str, bytes] | None = None,
        leaked: bool = False,
        **statement: Any,
    ) -> Path:
        """Write one bundle. ``forged``: its proof was not made by the engine. ``leaked``: with the model in any case."""
        claim = self.statement(sample, engine=engine, **statement)
        document = dict(claim.to_json())
        data = canonical.encode({"statement": document, "seal": "00" if forged else seal(document)})
        summary = FakeEngine(engine).summarise(self.sections[engine])
        circuit = circuit_attestation(
            circuit_predicate(self.circuit_lock, engine, self.sections[engine], summary, claim.weights), signers
        )
        proof = EngineProof({"proof.json": data}, claim, 0.1, 1)
        attestations = [circuit, proof_attestation(circuit, proof, summary, format_utc(created), signers)]
        public = claim.weights is WeightVisibility.PUBLIC
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bundle(
            path,
            payload={"proof.json": data} | ({"model.onnx": self.model} if leaked or public else {}),
            attestations=attestations,
            signers=signers,
            created=format_utc(sealed or created),
            log=log,
        )
        return path

    def policy(self, *, proof: str = "", model: str = "", fidelity: str = "", rest: str = "", top: str = "") -> Path:
        """A policy that asks for one proof of the model, with further lines put in where they belong."""
        self.write_lock()
        path = self.folder / "verifai.toml"
        engines = "" if "engines" in proof else 'engines = ["ezkl"]\n'
        fidelity_table = f"[model.fidelity]\n{fidelity}\n" if fidelity else ""
        path.write_text(
            f'schema = "verifai/policy/v1"\n{top}\n'
            f'[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["proof"]\n{model}\n'
            f"[model.proof]\n{engines}{proof}\n{fidelity_table}{rest}\n"
        )
        return path

    def trust(self, roles: Mapping[str, tuple[Sequence[Key], int]], *, log: str = "", rest: str = "") -> str:
        """Write a trust file; returns the line that a policy names it with."""
        people = sorted({key.seed for keys, _ in roles.values() for key in keys})
        lines = ['schema = "verifai/trust/v1"', "[keys]", *(f'k{seed} = "{Key(seed).public_key}"' for seed in people)]
        for role, (keys, threshold) in roles.items():
            names = ", ".join(f'"k{key.seed}"' for key in keys)
            lines += [f"[roles.{role}]", f"keys = [{names}]", f"threshold = {threshold}"]
        # What the circuit rests on is asked of the policy here.
        lines += ["[srs]", "allow_test_srs = true", rest, log]
        (self.folder / "trust.toml").write_text("\n".join(lines) + "\n")
        return 'trust = "trust.toml"'

    def judge(self, policy: Path, *bundles: Path, now: datetime = NOW, jobs: int = 1) -> GateVerdict:
        return gate(load_policy(policy), bundles, now=now, jobs=jobs, judge=judge_with_fakes)


def codes(verdict: GateVerdict) -> set[str]:
    """The codes because of which a verdict is what it is."""
    bad = (Outcome.REJECTED, Outcome.POLICY_NOT_MET, Outcome.UNDECIDED)
    return {finding.code for finding in verdict.all_findings() if finding.outcome in bad}


def waiver(
    code: str,
    scope: str,
    *,
    identifier: str = "W-1",
    expires: str = '"2026-07-01T00:00:00Z"',
    approver: str = "alice@example.org",
    reason: str = "The proving machine is being replaced.",
) -> str:
    """One ``[[waiver]]`` table."""
    return (
        f'[[waiver]]\nid = "{identifier}"\ncode = "{code}"\nscope = "{scope}"\nreason = {json.dumps(reason)}\n'
        f'approver = "{approver}"\nexpires = {expires}\n'
    )
