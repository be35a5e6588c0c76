"""Hidden float32 numbers as limbs: both verifiers say the same of proofs about rows that trees compare, and of their locks."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.batch_circuits import write_rows
from tests.support.bundle_forge import Forge, read_folder, write_files
from tests.support.second_reader import SecondVerifier, first_verifier
from tests.unit.onnx_graph.test_trees import regressor
from verifai.circuit_folder import CircuitFolder
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.run import prove_batch
from verifai.stages.compile import compile_circuit
from verifai.stages.evidence import section_digest

pytestmark = pytest.mark.js
CASES = [
    ("hashed", "integrity-only", 0),
    ("hashed", "zero-knowledge", 0),
    ("private", "zero-knowledge", 0),
    ("hashed", "integrity-only", 4),
]
OPTIONS = "[engine.sumcheck.options]\n"
BOUNDARY = '[[engine.sumcheck.options.boundary]]\nvalue = "x"\nmantissa = 32768\nexponent = -15\nzero_point = 0\n'
EDITS = {
    "a boundary of limbs": (OPTIONS, f"{BOUNDARY}low = -32768\nhigh = 32767\n\n{OPTIONS}"),
    "a boundary of float32 numbers": (
        OPTIONS,
        f"{BOUNDARY}low = -2139095039\nhigh = 2139095039\nordered = true\n\n{OPTIONS}",
    ),
    "not ordered": ("ordered = true\n", ""),
    "columns of another width": ("ordered = true\n", "columns = [[0, 0], [0, 0]]\n"),
    "columns of steps that no float has": ("ordered = true\n", "columns = [[0, 0], [0, 0], [0, 0], [1100, 0]]\n"),
    "limbs in the model's shape": ("    4,\n]", "    4,\n    2,\n]"),
    "an output too": ('value = "x"', 'value = "y"'),
}


@pytest.fixture(scope="module")
def second() -> Iterator[SecondVerifier]:
    verifier = SecondVerifier()
    yield verifier
    verifier.close()


def trees(root: Path, visibility: str, level: str, batch: int) -> CircuitFolder:
    net = canonicalise(regressor(1, targets=1, leaves=12).SerializeToString(), where="test").model
    (root / "trees.onnx").write_bytes(net.data)
    write_rows(root / "cal.npz", 64, seed=1)
    folder = CircuitFolder(root / "trees")
    folder.folder.mkdir()
    (folder.folder / "circuit.toml").write_text(
        f"""
        [circuit]
        name = "trees"
        model = "../trees.onnx"
        engine = "sumcheck"
        {f"batch = {batch}" if batch else ""}
        [tensors]
        x = "{visibility}"
        y = "public"
        [privacy]
        level = "{level}"
        [fidelity]
        floor = "none"
        [calibration]
        data = "../cal.npz"
        """
    )
    compile_circuit(folder)
    return folder


@pytest.mark.parametrize("visibility, level, batch", CASES)
def test_both_verifiers_agree(second: SecondVerifier, tmp_path: Path, visibility: str, level: str, batch: int) -> None:
    folder = trees(tmp_path, visibility, level, batch)
    samples = list(read_samples(write_rows(tmp_path / "rows.npz", 3), folder.model))
    prove_batch(folder, samples, tmp_path / "out", BatchOptions())
    bundle, lock = tmp_path / "out" / "000000", folder.folder / "circuit.lock"
    first, other = first_verifier(bundle, lock), second.ask(bundle, lock)
    assert (first.status, other.status) == (0, 0), (first.codes, other.codes)
    assert first.statement == other.statement
    for what, (old, new) in EDITS.items():
        text = lock.read_text()
        assert text.count(old) >= 1, what
        changed = tmp_path / what / "circuit.lock"
        changed.parent.mkdir()
        changed.write_text(text.replace(old, new, 1))
        # The bundle is for that lock, so that nothing but the section itself is odd.
        forged = Forge.of(read_folder(bundle))
        section = tomllib.loads(changed.read_text())["engine"]["sumcheck"]
        forged.statements["circuit"]["predicate"]["section_sha256"] = section_digest(section)
        odd = write_files(tmp_path / what / "bundle", forged.sealed())
        answers = [first_verifier(odd, changed), second.ask(odd, changed)]
        assert [one.status for one in answers] == [2, 2], (what, [one.codes for one in answers])
        assert answers[0].failed == answers[1].failed == {"bad-lock"}, what
