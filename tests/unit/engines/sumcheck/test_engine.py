"""The engine as its callers see it: what it refuses, what it pins, and that a changed payload is never accepted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import Array, encoder_block, float_constants, model, samples, small_cnn
from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.fidelity import FidelityFloor, Task
from verifai.domain.findings import Outcome
from verifai.domain.privacy_words import hides
from verifai.domain.statement import EngineName, Privacy, Visibility, WeightVisibility
from verifai.engines.interface import CompileRequest, ProveRequest, VerifyRequest
from verifai.engines.sumcheck import estimate as estimating
from verifai.engines.sumcheck import verifying
from verifai.engines.sumcheck.engine import SumcheckEngine
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.engines.sumcheck.payload.files import STATEMENT_FILE
from verifai.engines.sumcheck.protocol.suite import INTEGRITY
from verifai.errors import DeadlineExceeded, EvidenceRejected, InputRejected, ResourceExhausted, UsageError, VerifaiError
from verifai.onnx_graph.model import OnnxModel

ENGINE = SumcheckEngine()


def spec_of(net: OnnxModel, weights: WeightVisibility = WeightVisibility.PUBLIC, **tensors: Visibility) -> CircuitSpec:
    return CircuitSpec(
        name="test",
        model="model.onnx",
        engine=EngineName.SUMCHECK,
        tensors={t.name: tensors.get(t.name, Visibility.PUBLIC) for t in (*net.inputs, *net.outputs)},
        weights=weights,
        calibration=None,
        calibration_samples=None,
        task=Task.CLASSIFICATION,
        budget=Budget(),
        fidelity=FidelityFloor(),
    )


@dataclass(frozen=True)
class Compiled:
    net: OnnxModel
    spec: CircuitSpec
    section: Mapping[str, Any]
    build: Path
    feeds: list[dict[str, Array]]

    def prove(self, number: int = 0, context: str = "nonce") -> Any:
        return ENGINE.prove(ProveRequest(self.net, self.spec, self.section, self.build, self.feeds[number], context=context))

    def request(self, folder: Path, files: Mapping[str, bytes], **changes: Any) -> VerifyRequest:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        request = VerifyRequest({name: folder / name for name in files}, self.section, self.net.sha256, context="nonce")
        return replace(request, **changes)


def compiled(net: OnnxModel, spec: CircuitSpec, build: Path) -> Compiled:
    feeds = samples(net, 12)
    calibration = {t.name: np.stack([feed[t.name] for feed in feeds]) for t in net.inputs}
    made = ENGINE.compile(CompileRequest(net, spec, calibration, build, build))
    assert made.fidelity.samples == 12
    return Compiled(net, spec, made.section, build, feeds)


@pytest.fixture(scope="module", params=["public", "bound"])
def cnn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiled]:
    """A small network, everything public; and with hashed input and committed weights."""
    net = small_cnn()
    bound = request.param == "bound"
    spec = spec_of(
        net,
        WeightVisibility.COMMITTED if bound else WeightVisibility.PUBLIC,
        **({"x": Visibility.HASHED} if bound else {}),
    )
    yield compiled(net, spec, tmp_path_factory.mktemp(f"build-{request.param}"))


def test_a_proof_verifies_and_states_what_was_proven(cnn: Compiled, tmp_path: Path) -> None:
    proof = cnn.prove()
    verified = ENGINE.verify(cnn.request(tmp_path, proof.files))
    assert verified.statement == proof.statement
    statement = verified.statement
    assert statement.privacy is Privacy.INTEGRITY_ONLY and statement.context_bound and statement.context == "nonce"
    assert statement.model_sha256 == cnn.net.sha256 and statement.weights is cnn.spec.weights
    x, y = statement.tensors
    assert (x.shape, y.shape) == ((1, 1, 10, 10), (1, 5))
    if x.visibility is Visibility.PUBLIC:
        assert x.quantised == ENGINE.quantise(x, cnn.feeds[0]["x"])
    else:
        assert x.digest == ENGINE.digest(x, cnn.feeds[0]["x"]) != ENGINE.digest(x, cnn.feeds[1]["x"])
        assert "weights.bin" not in proof.files
    assert all(finding.outcome is Outcome.HOLDS for finding in verified.findings)


def test_another_context_is_another_proof(cnn: Compiled, tmp_path: Path) -> None:
    one, other = cnn.prove(context="a"), cnn.prove(context="b")
    mixed = {**one.files, "statement.bin": other.files["statement.bin"]}
    with pytest.raises(EvidenceRejected):
        ENGINE.verify(cnn.request(tmp_path, mixed))


def test_every_changed_file_is_refused(cnn: Compiled, tmp_path: Path) -> None:
    files = cnn.prove().files
    rng = np.random.default_rng(2)
    tried = 0
    for name, data in files.items():
        for position in {0, len(data) // 2, len(data) - 1, *(int(v) for v in rng.integers(0, len(data), 12))}:
            changed = bytearray(data)
            changed[position] ^= 1 << int(rng.integers(0, 8))
            with pytest.raises(EvidenceRejected):
                ENGINE.verify(cnn.request(tmp_path, {**files, name: bytes(changed)}))
            tried += 1
        for wrong in (data[:-1], data + b"\0", b""):
            with pytest.raises(EvidenceRejected):
                ENGINE.verify(cnn.request(tmp_path, {**files, name: wrong}))
            tried += 1
    assert tried >= 3 * 15


def test_missing_and_additional_files_are_refused(cnn: Compiled, tmp_path: Path) -> None:
    files = dict(cnn.prove().files)
    for wrong in ({n: d for n, d in files.items() if n != "proof.bin"}, {**files, "notes.txt": b"?"}):
        with pytest.raises(EvidenceRejected) as refused:
            ENGINE.verify(cnn.request(tmp_path, wrong))
        assert refused.value.code == "payload-mismatch"


def test_an_auditor_derives_the_same_circuit_from_the_model(cnn: Compiled, tmp_path: Path) -> None:
    request = cnn.request(tmp_path, cnn.prove().files)
    assert [f.outcome for f in ENGINE.rederive(request, cnn.net)] == [Outcome.HOLDS, Outcome.HOLDS]
    foreign = {**cnn.section, "weights_sha256": "00" * 32}
    findings = ENGINE.rederive(replace(request, section=foreign), cnn.net)
    assert [f.outcome for f in findings] == [Outcome.HOLDS, Outcome.REJECTED]
    other = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 4)}, {"y": (1, 4)})
    assert [f.outcome for f in ENGINE.rederive(request, other)] == [Outcome.REJECTED]
    assert {f.outcome for f in ENGINE.rederive(replace(request, model_sha256=other.sha256), other)} == {Outcome.REJECTED}


def test_compiling_with_the_pin_reproduces_it_without_calibrating(cnn: Compiled, tmp_path: Path) -> None:
    calibration = {"x": np.stack([feed["x"] for feed in cnn.feeds])}
    again = ENGINE.compile(CompileRequest(cnn.net, cnn.spec, calibration, tmp_path, tmp_path, locked=cnn.section))
    assert again.section == cnn.section
    for name in ("circuit.bin", "weights.bin"):
        assert (tmp_path / name).read_bytes() == (cnn.build / name).read_bytes()
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_stale_build_files_are_refused(cnn: Compiled, tmp_path: Path) -> None:
    for name in ("circuit.bin", "weights.bin"):
        for other in ("circuit.bin", "weights.bin"):
            (tmp_path / other).write_bytes((cnn.build / other).read_bytes())
        data = bytearray((tmp_path / name).read_bytes())
        data[-1] ^= 1
        for content in (bytes(data), bytes(data[:-1])):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UsageError) as refused:
                replace(cnn, build=tmp_path).prove()
            assert refused.value.code == "stale-build"
        (tmp_path / name).unlink()
        with pytest.raises(UsageError) as refused:
            replace(cnn, build=tmp_path).prove()
        assert refused.value.code == "stale-build"


def test_an_input_beyond_the_calibrated_range_is_refused_with_its_cell(cnn: Compiled) -> None:
    far = cnn.feeds[0]["x"].copy()
    far[0, 0, 0, 3] = 5.0
    with pytest.raises(InputRejected) as refused:
        replace(cnn, feeds=[{"x": far}]).prove()
    assert refused.value.code == "input-out-of-range" and "cell 3 is 5" in refused.value.message
    for bad in ({"x": far[:, :, :9]}, {"x": far.astype(np.float64)}, {}, {"x": far, "z": far}):
        with pytest.raises(InputRejected):
            replace(cnn, feeds=[bad]).prove()


def test_a_specification_that_asks_to_withhold_weights_is_refused_with_the_alternative(tmp_path: Path) -> None:
    net = small_cnn()
    spec = spec_of(net, WeightVisibility.WITHHELD)
    with pytest.raises(UsageError) as refused:
        compiled(net, spec, tmp_path)
    assert refused.value.code == "privacy-unsupported" and '"private"' in refused.value.message
    with pytest.raises(UsageError):
        ENGINE.estimate(net, spec)


def test_what_visibility_hides_is_said_honestly() -> None:
    assert "everyone" in hides(EngineName.SUMCHECK, Privacy.INTEGRITY_ONLY, Visibility.PUBLIC)
    assert "not hidden" in hides(EngineName.SUMCHECK, Privacy.INTEGRITY_ONLY, Visibility.HASHED)
    assert "integrity-only (not zero-knowledge)" in hides(EngineName.SUMCHECK, Privacy.INTEGRITY_ONLY, Visibility.PRIVATE)


SECTION_CHANGES: dict[str, Any] = {
    "suite": 5,
    "circuit_sha256": "AB" * 32,
    "weights": "withheld",
    "weights_sha256": "00",
    "soundness_millibits": -1,
    "tensors": [{"role": "input"}],
    "options": {"bits": 8},
    "scales": [{"value": "x", "mantissa": 0, "exponent": 0, "low": 0, "high": 1, "zero_point": 0}],
    "fidelity": {},
    "unknown": 1,
}


@pytest.mark.parametrize("field", SECTION_CHANGES)
def test_a_lock_section_is_read_strictly(field: str, cnn: Compiled) -> None:
    assert parse_section(cnn.section).to_toml() == cnn.section
    with pytest.raises(UsageError) as refused:
        ENGINE.summarise({**cnn.section, field: SECTION_CHANGES[field]})
    assert refused.value.code == "bad-lock"
    if field != "unknown":
        with pytest.raises(UsageError):
            ENGINE.summarise({name: value for name, value in cnn.section.items() if name != field})


def test_a_section_that_contradicts_its_circuit_or_suite_is_a_broken_lock(cnn: Compiled, tmp_path: Path) -> None:
    files = cnn.prove().files
    tensors = [dict(tensor) for tensor in cnn.section["tensors"]]
    tensors[0]["visibility"] = "hashed" if tensors[0]["visibility"] == "public" else "public"
    for change, code in (({"tensors": tensors}, "bad-lock"), ({"suite": "sumcheck/0"}, "engine-version")):
        with pytest.raises(UsageError) as refused:
            ENGINE.verify(cnn.request(tmp_path, files, section={**cnn.section, **change}))
        assert refused.value.code == code


def test_support_is_judged_per_node_with_reason() -> None:
    net = model(
        [
            helper.make_node("Relu", ["x"], ["h"]),
            helper.make_node("Det", ["h"], ["r"]),
            helper.make_node("Sigmoid", ["r"], ["y"]),
        ],
        {"x": (1, 5, 5)},
        {"y": (1,)},
        {},
    )
    found = ENGINE.operator_support(net)
    assert [(entry.op_type, entry.supported) for entry in found] == [("Relu", True), ("Det", False), ("Sigmoid", True)]
    assert "no rule" in found[1].reason


def test_an_estimate_is_near_what_compiling_gives(cnn: Compiled) -> None:
    estimate = ENGINE.estimate(cnn.net, cnn.spec)
    proof = cnn.prove().files["proof.bin"]
    assert 0.5 < estimate.proof_bytes / len(proof) < 2
    assert estimate.rows > 0 and estimate.memory_bytes > 1 << 27


def test_an_estimate_counts_the_registration_of_hidden_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of a wide layer is little to prove; that its weights keep their bounds is a lookup for each part of each."""
    constants = float_constants(np.random.default_rng(3), k=(512, 512), b=(512,))
    net = model([helper.make_node("Gemm", ["x", "k", "b"], ["y"])], {"x": (1, 512)}, {"y": (1, 512)}, constants)
    spec = spec_of(net, WeightVisibility.PRIVATE)
    whole = ENGINE.estimate(net, spec).memory_bytes
    calibration = {"x": np.stack([feed["x"] for feed in samples(net, 4)])}
    tight = replace(spec, budget=Budget(memory_bytes=int(0.9 * whole)))
    with pytest.raises(ResourceExhausted, match="keep their bounds") as caught:
        ENGINE.compile(CompileRequest(net, tight, calibration, tmp_path, tmp_path, secrets_dir=tmp_path / "secrets"))
    assert caught.value.code == "estimate-over-budget"
    monkeypatch.setattr(estimating, "registration_memory_bytes", lambda circuit: 0)
    assert ENGINE.estimate(net, spec).memory_bytes < 0.7 * whole  # all that it said once


def test_every_refusal_is_one_of_ours(cnn: Compiled, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    files = dict(cnn.prove().files)
    for _ in range(60):
        name = list(files)[int(rng.integers(0, len(files)))]
        noise = rng.integers(0, 256, int(rng.integers(0, 400)), dtype=np.uint8).tobytes()
        kept = files[name][: int(rng.integers(0, len(files[name])))]
        with pytest.raises(VerifaiError):
            ENGINE.verify(cnn.request(tmp_path, {**files, name: kept + noise}))


def test_a_statement_exchanged_while_a_child_verifies_is_rejected(
    cnn: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child reads the files, and so does the parent that waits for it: both must have read the same statement."""
    honest = dict(cnn.prove().files)
    other = SumcheckEngine().prove(ProveRequest(cnn.net, cnn.spec, cnn.section, cnn.build, cnn.feeds[1], context="nonce")).files
    assert other[STATEMENT_FILE] != honest[STATEMENT_FILE]
    monkeypatch.setattr(verifying, "HERE_BYTES", 0)
    assert ENGINE.verify(cnn.request(tmp_path, honest)).statement
    run = verifying.child.run

    def exchanged(*arguments: Any, **more: Any) -> Any:
        report = run(*arguments, **more)
        (tmp_path / STATEMENT_FILE).write_bytes(other[STATEMENT_FILE])
        return report

    monkeypatch.setattr(verifying.child, "run", exchanged)
    with pytest.raises(EvidenceRejected) as refused:
        ENGINE.verify(cnn.request(tmp_path, honest))
    assert refused.value.code == "payload-mismatch"


def test_compiling_proving_and_deriving_again_honour_the_budget(cnn: Compiled, tmp_path: Path) -> None:
    """Over the limit is "not done" (status 4); before the work where it can be known, else while it is under way."""
    calibration = {"x": np.stack([feed["x"] for feed in cnn.feeds])}
    small, short = Budget(memory_bytes=1 << 20), Budget(prove_seconds=1e-4, setup_seconds=1e-4)

    def compiling(budget: Budget) -> Any:
        return ENGINE.compile(CompileRequest(cnn.net, replace(cnn.spec, budget=budget), calibration, tmp_path, tmp_path))

    def proving(budget: Budget) -> Any:
        return ENGINE.prove(ProveRequest(cnn.net, cnn.spec, cnn.section, cnn.build, cnn.feeds[0], budget=budget))

    for work in (compiling, proving):
        with pytest.raises(DeadlineExceeded) as late:
            work(short)
        assert late.value.status == 4
    with pytest.raises(ResourceExhausted) as large:
        proving(small)
    assert large.value.code == "estimate-over-budget" and large.value.status == 4
    assert proving(Budget(memory_bytes=2 << 30, prove_seconds=3600.0)).statement
    assert not (tmp_path / "circuit.bin").exists()


def test_an_encoder_block_proves_and_stays_near_the_float_model(tmp_path: Path) -> None:
    net = encoder_block()
    block = compiled(net, spec_of(net), tmp_path)
    proof = block.prove()
    payload = tmp_path / "payload"
    payload.mkdir()
    assert ENGINE.verify(block.request(payload, proof.files)).statement == proof.statement
    summary = ENGINE.summarise(block.section)
    assert summary.engine_version == INTEGRITY.name
    largest = max(abs(value) for value in proof.statement.tensors[1].values())
    assert summary.fidelity.mean_abs_error < 0.02 * largest
