"""A picture of more cells than a signed document lists: proven, verified, matched with the file; forgeries are rejected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from verifai.circuit_folder import CircuitFolder
from verifai.cli import app as cli
from verifai.domain.statement import MAX_STATED, Role, Statement
from verifai.errors import EvidenceRejected
from verifai.showcase.demo_steps import reseal
from verifai.stages.quickstart import QuickstartRequest, QuickstartResult, quickstart
from verifai.stages.verify import verify_bundle

SIDE = 258


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, QuickstartResult]:
    folder = tmp_path_factory.mktemp("picture")
    generator = np.random.default_rng(3)
    weight = numpy_helper.from_array(generator.uniform(0.1, 1, (2, 1, 6, 6)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["picture", "w"], ["seen"], strides=[6, 6]),
        helper.make_node("Relu", ["seen"], ["lit"]),
        helper.make_node("GlobalAveragePool", ["lit"], ["mean"]),
    ]
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 1, SIDE, SIDE])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 2, 1, 1])
    graph = helper.make_graph(nodes, "g", [picture], [mean], [weight])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "model.onnx")
    data = generator.random((3, 1, 1, SIDE, SIDE), dtype=np.float32) * np.float32([1, 0.6, 0.3]).reshape(3, 1, 1, 1, 1)
    np.savez(folder / "data.npz", picture=data)
    np.savez(folder / "one.npz", picture=data[0])
    np.savez(folder / "other.npz", picture=data[1])
    assert data[0].size > MAX_STATED
    return folder, quickstart(QuickstartRequest(str(folder / "model.onnx"), folder / "data.npz", folder / "made"))


def test_the_verifier_knows_every_value_and_the_document_their_digest(proven: tuple[Path, QuickstartResult]) -> None:
    folder, made = proven
    (tensor,) = made.verified.statement.of(Role.INPUT)
    (stated,) = made.verified.proof.statement.of(Role.INPUT)
    assert tensor.quantised is not None
    assert stated.quantised is None
    assert stated.holds(tensor.quantised)
    picture = np.load(folder / "one.npz")["picture"].reshape(-1)
    assert np.abs(np.array(tensor.values()) - picture).max() < 2e-3


def test_another_digest_is_rejected(proven: tuple[Path, QuickstartResult], tmp_path: Path) -> None:
    folder, made = proven

    def lied(statement: Statement) -> Statement:
        first, *others = statement.tensors
        return replace(statement, tensors=(replace(first, quantised_sha256="0" * 64), *others))

    lock = CircuitFolder(folder / "made" / "circuit").lock()
    forged = reseal(made.bundle.path, tmp_path / "digest", payload={}, statement=lied)
    with pytest.raises(EvidenceRejected) as refused:
        verify_bundle(forged, lock)
    assert refused.value.code == "statement-mismatch"


def test_another_picture_in_the_proofs_files_is_rejected(proven: tuple[Path, QuickstartResult], tmp_path: Path) -> None:
    folder, made = proven

    def swapped(data: bytes) -> bytes:
        return data[:40] + bytes([data[40] ^ 1]) + data[41:]

    lock = CircuitFolder(folder / "made" / "circuit").lock()
    forged = reseal(made.bundle.path, tmp_path / "cells", payload={"statement.bin": swapped})
    with pytest.raises(EvidenceRejected):
        verify_bundle(forged, lock)


def test_the_verbs_take_it(proven: tuple[Path, QuickstartResult], capsys: pytest.CaptureFixture[str]) -> None:
    folder, made = proven
    bundle, lock = str(made.bundle.path), str(folder / "made" / "circuit" / "circuit.lock")
    assert cli.run(["inspect", bundle]) == 0
    assert "in the proof's files" in " ".join(capsys.readouterr().out.split())
    assert cli.run(["verify", bundle, "--lock", lock, "--input", str(folder / "one.npz"), "--json"]) == 0
    assert cli.run(["verify", bundle, "--lock", lock, "--input", str(folder / "other.npz"), "--json"]) == 1
    assert cli.run(["diff", bundle, bundle]) == 0
