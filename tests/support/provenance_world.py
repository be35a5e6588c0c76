"""A small world for provenance: a signed release, a circuit of its model, a trust file with its signer and a notary."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric import ec
from onnx import TensorProto, helper, numpy_helper

from tests.support.gate_world import ALICE, BOB, Key
from tests.support.releases import public_pem, sign_folder, signing_key
from verifai.circuit_folder import CircuitFolder
from verifai.domain.audit import AuditReport
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.statement import EngineName
from verifai.domain.trust import Trust
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.stages.compile import compile_circuit
from verifai.stages.gate.gate import gate
from verifai.stages.gate.load import load_policy
from verifai.stages.origin import HeldRelease
from verifai.stages.prove import prove
from verifai.trust_file import read_trust

PUBLISHER, STRANGER = signing_key(1), signing_key(2)
NOTARY, OTHER_NOTARY = ALICE, BOB
SPEC = """
[circuit]
name = "scorer"
model = "model.onnx"
engine = "sumcheck"
[tensors]
x = "public"
y = "public"
[weights]
visibility = "{weights}"
[fidelity]
top1_agreement = 0.5
[calibration]
data = "calibration.npz"
"""


def scorer(seed: int) -> bytes:
    """An ONNX file of a small network, with a symbolic batch, as a framework would write it."""
    random = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "scorer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [weight("w", 4, 6), weight("v", 6, 2)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class World:
    """Paths and values of one world."""

    root: Path

    @property
    def release(self) -> Path:
        return self.root / "release"

    @property
    def folder(self) -> CircuitFolder:
        return CircuitFolder(self.root / "scorer")

    @property
    def trust_path(self) -> Path:
        return self.root / "trust.toml"

    @property
    def held(self) -> HeldRelease:
        return HeldRelease(self.release)

    @property
    def trust(self) -> Trust:
        return read_trust(self.trust_path).trust

    def sign(self, key: ec.EllipticCurvePrivateKey = PUBLISHER) -> None:
        """Sign the release as it is now."""
        sign_folder(self.release, key, name="scorer-1.0")

    def prove(self, name: str = "evidence", seed: int = 5) -> Path:
        """One bundle of the circuit as it is now."""
        sample = {"x": np.random.default_rng(seed).normal(size=(1, 4)).astype(np.float32).clip(-2, 2)}
        (bundle,) = prove(self.folder, [sample], self.root / name, compare=False)
        return bundle.path

    def write_trust(self, *, notary: Key | None = NOTARY, signer: ec.EllipticCurvePrivateKey | None = PUBLISHER) -> None:
        """A trust file that names the circuit, and whom it is told to."""
        lines = ['schema = "verifai/trust/v1"', "[keys]", f'release = "{Key(7).public_key}"']
        lines += [] if notary is None else [f'notary = "{notary.public_key}"', "[roles.notary]", 'keys = ["notary"]']
        lines += ["[circuits.scorer]", 'lock = "scorer/circuit.lock"']
        if signer is not None:
            lines += ["[[model_signers]]", 'name = "acme"', 'kind = "key"', f'public_key = """\n{public_pem(signer)}"""']
        self.trust_path.write_text("\n".join(lines) + "\n")

    def audit(self, path: Path, release: HeldRelease | None = None) -> AuditReport:
        """What an audit says by the trust file, which pins the key: private weights give no model to make it again from."""
        section = self.folder.lock().section(EngineName.SUMCHECK)
        key = f'lock = "scorer/circuit.lock"\nverification_key = "{section["circuit_sha256"]}"'
        trust = self.root / "audit.toml"
        trust.write_text(self.trust_path.read_text().replace('lock = "scorer/circuit.lock"', key))
        return audit_bundle(path, read_trust(trust), AuditOptions(release=release))

    def policy(self, provenance: str = 'signed_by = "acme"') -> Path:
        """A policy that demands a proof, and of provenance what it is told."""
        path = self.root / "policy.toml"
        path.write_text(
            'schema = "verifai/policy/v1"\ntrust = "trust.toml"\n[[model]]\nname = "scorer"\nlock = "scorer/circuit.lock"\n'
            'evidence = ["proof"]\n[model.proof]\nengines = ["sumcheck"]\nprivacy = "integrity-only"\n'
            + (f"[model.provenance]\n{provenance}\n" if provenance else "")
        )
        return path

    def gate(self, *bundles: Path, provenance: str = 'signed_by = "acme"') -> GateVerdict:
        """What a gate says about bundles."""
        loaded = load_policy(self.policy(provenance))
        return gate(loaded, list(bundles), now=datetime.now(UTC), jobs=1)

    def copy(self, root: Path) -> World:
        """The same world elsewhere, to be changed."""
        shutil.copytree(self.root, root, symlinks=True)
        return World(root)


def make_world(root: Path, *, weights: str = "private", seed: int = 0) -> World:
    """A release that is signed, and a circuit that is compiled from it; nothing is pinned yet."""
    world = World(root)
    world.release.mkdir(parents=True)
    data = scorer(seed)
    (world.release / "scorer.onnx").write_bytes(data)
    (world.release / "README.md").write_text("A small network.\n")
    world.sign()
    world.write_trust()
    compile_model(world, data, weights)
    return world


def compile_model(world: World, data: bytes, weights: str) -> None:
    """Compile an ONNX file into the world's circuit folder."""
    folder = world.folder.folder
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(canonicalise(data, where="scorer", dims={"N": 1}).model.data)
    np.savez(folder / "calibration.npz", x=np.random.default_rng(1).normal(size=(40, 1, 4)).astype(np.float32).clip(-3, 3))
    (folder / "circuit.toml").write_text(SPEC.format(weights=weights))
    compile_circuit(CircuitFolder(folder))
