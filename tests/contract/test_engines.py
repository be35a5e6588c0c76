"""Every proof engine keeps the contract of ``verifai.engines.interface``; refusals first.

The suite knows the engines by their interface alone. An engine in the registry without a case here is a failure.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from tests.support.engine_cases import CONTEXT, OPTIONS, EngineCase, asked_of, make_case
from tests.support.ezkl_small import SAMPLES, small_onnx
from verifai.circuit_folder import CircuitFolder
from verifai.domain.circuit_spec import AskedPrivacy
from verifai.domain.findings import Outcome
from verifai.domain.privacy_words import hides
from verifai.domain.statement import EngineName, Privacy, Role, Visibility, WeightVisibility
from verifai.engines.capabilities import (
    CheckInputsRequest,
    FindsOutsideInputs,
    KeepsSetUpFiles,
    OffersSecondOpinion,
    RenewsWeightRoots,
    SplitsModels,
    WarmsUp,
)
from verifai.engines.registry import all_engines, engine_for, engine_names
from verifai.errors import EvidenceRejected, InputRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.npz import write_npz
from verifai.onnx_graph.reference import Reference
from verifai.stages.compile import compile_circuit
from verifai.stages.matching import match

Make = Callable[..., EngineCase]
CAPABILITIES = (
    FindsOutsideInputs,
    FindsOutsideInputs,
    KeepsSetUpFiles,
    OffersSecondOpinion,
    RenewsWeightRoots,
    SplitsModels,
    WarmsUp,
)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Cases by engine and visibility, each made once."""
    made: dict[tuple[EngineName, Visibility, WeightVisibility, bool], EngineCase] = {}

    def get(
        name: EngineName,
        inputs: Visibility = Visibility.PUBLIC,
        weights: WeightVisibility = WeightVisibility.PUBLIC,
        *,
        swapped: bool = False,
    ) -> EngineCase:
        key = (name, inputs, weights, swapped)
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{name.value}-{inputs.value}")
            folder.chmod(0o700)
            made[key] = make_case(name, folder, inputs, weights, swapped=swapped)
        return made[key]

    return get


@pytest.fixture(params=engine_names(), ids=lambda name: name.value)
def name(request: pytest.FixtureRequest) -> EngineName:
    """Each registered engine."""
    engine: EngineName = request.param
    return engine


@pytest.fixture
def case(name: EngineName, make: Make) -> EngineCase:
    """The engine's public circuit."""
    return make(name)


def refusal(case: EngineCase, folder: Path, files: dict[str, bytes]) -> VerifaiError:
    with pytest.raises(VerifaiError) as caught:
        case.engine.verify(case.verify_request(folder, files))
    return caught.value


def test_every_registered_engine_is_in_this_suite() -> None:
    assert set(engine_names()) == set(OPTIONS)
    for name in engine_names():
        assert engine_for(name).name is name
    assert [engine.name for engine in all_engines()] == list(engine_names())


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_capability_is_offered_by_some_engine(capability: type) -> None:
    assert any(isinstance(engine, capability) for engine in all_engines())


def test_a_flipped_byte_anywhere_in_the_payload_is_rejected(case: EngineCase, tmp_path: Path) -> None:
    for number, (name, data) in enumerate(sorted(case.proof.files.items())):
        for at in (0, len(data) // 3, len(data) // 2, len(data) - 1):
            folder = tmp_path / f"{number}-{at}"
            folder.mkdir(exist_ok=True)
            changed = bytearray(data)
            changed[at] ^= 1
            error = refusal(case, folder, {**case.proof.files, name: bytes(changed)})
            assert isinstance(error, EvidenceRejected), f"{name}, byte {at}: {error.code}"


@pytest.mark.parametrize("change", ["empty", "truncated", "padded", "missing"])
def test_a_payload_file_that_is_not_whole_is_rejected(case: EngineCase, tmp_path: Path, change: str) -> None:
    changes: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda data: b"",
        "truncated": lambda data: data[:-1],
        "padded": lambda data: data + b"\x00",
    }
    for number, name in enumerate(sorted(case.proof.files)):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = dict(case.proof.files)
        data = files.pop(name)
        if change != "missing":
            files[name] = changes[change](data)
        assert isinstance(refusal(case, folder, files), EvidenceRejected), name


def test_a_file_that_does_not_belong_is_rejected(case: EngineCase, tmp_path: Path) -> None:
    assert isinstance(refusal(case, tmp_path, {**case.proof.files, "extra.bin": b"x"}), EvidenceRejected)


def test_the_evidence_of_another_model_is_rejected(case: EngineCase, make: Make, tmp_path: Path) -> None:
    other = make(case.engine.name, swapped=True)
    assert isinstance(refusal(case, tmp_path, dict(other.proof.files)), EvidenceRejected)


def test_a_section_with_an_unknown_field_is_no_section(case: EngineCase, tmp_path: Path) -> None:
    section = {**case.circuit.section, "surprise": 1}
    with pytest.raises(UsageError) as caught:
        case.engine.verify(case.verify_request(tmp_path, section=section))
    assert caught.value.code == "bad-lock"
    with pytest.raises(UsageError):
        case.engine.summarise(section)


def test_test_material_is_refused_unless_it_was_allowed(case: EngineCase, tmp_path: Path) -> None:
    request = case.verify_request(tmp_path, allow_test_material=False)
    if not case.engine.summarise(case.circuit.section).insecure:
        assert case.engine.verify(request).statement == case.proof.statement
        return
    with pytest.raises(PolicyNotMet):
        case.engine.verify(request)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"x": SAMPLES[0], "z": SAMPLES[0]},
        {"x": SAMPLES[0].reshape(4)},
        {"x": SAMPLES[0].astype(np.float64)},
        {"x": np.array([[0.0, np.nan, 0.0, 0.0]], np.float32)},
        {"x": np.array([[0.0, 0.0, np.inf, 0.0]], np.float32)},
        {"x": np.array([[1e30, 0.0, 0.0, 0.0]], np.float32)},
    ],
    ids=["missing", "unknown", "shape", "dtype", "NaN", "infinity", "range"],
)
def test_an_input_that_cannot_be_proven_is_refused_and_named(case: EngineCase, inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputRejected) as caught:
        case.engine.prove(case.prove_request(inputs=inputs))
    assert caught.value.where


OUTSIDE = (np.nan, np.inf, 1e30, 900.0)


@pytest.mark.parametrize("visibility", [Visibility.PUBLIC, Visibility.PRIVATE])
def test_what_cannot_be_proven_is_found_beforehand_and_only_that(name: EngineName, make: Make, visibility: Visibility) -> None:
    case = make(name, visibility)
    samples = [{"x": SAMPLES[0].copy()} for _ in OUTSIDE] + [{"x": SAMPLES[0]}]
    for sample, value in zip(samples, OUTSIDE, strict=False):
        sample["x"][0, 2] = value
    assert isinstance(case.engine, FindsOutsideInputs)
    request = CheckInputsRequest(case.model, case.circuit.section, case.build_dir, samples, case.spec.budget)
    found = case.engine.outside_inputs(request)
    assert [one.row for one in found] == list(range(len(OUTSIDE)))
    for one, value in zip(found, OUTSIDE, strict=True):
        assert one.tensor == "x"
        assert one.value == (f"{value:g}" if visibility is Visibility.PUBLIC else "")
        # Of a hidden tensor the place is told where it names a column; ezkl knows none unless its circuit has columns.
        told = name is EngineName.SUMCHECK or visibility is Visibility.PUBLIC or one.place is not None
        assert one.place == ((0, 2) if told else None)
        if visibility is Visibility.PRIVATE:
            assert (one.low, one.high) == (None, None)
            assert f"{value:g}" not in one.reason
        with pytest.raises(InputRejected) as caught:
            case.engine.prove(case.prove_request(inputs=samples[one.row]))
        if visibility is Visibility.PRIVATE and value == OUTSIDE[-1]:
            assert "900" not in str(caught.value)
    with pytest.raises(InputRejected):
        case.engine.outside_inputs(replace(request, samples=[{"x": SAMPLES[0].reshape(4)}]))
    with pytest.raises(UsageError):
        case.engine.outside_inputs(replace(request, build_dir=case.build_dir / "nowhere"))


def test_a_build_that_was_not_made_is_refused(case: EngineCase, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(UsageError):
        case.engine.prove(case.prove_request(build_dir=tmp_path))


def test_a_context_is_bound_or_said_not_to_be(case: EngineCase, tmp_path: Path) -> None:
    # The manifest of a bundle may say anything; a bound context is the proof's own.
    statement = case.engine.verify(case.verify_request(tmp_path, context="another")).statement
    assert statement.context == (CONTEXT if statement.context_bound else "another")


def test_an_audit_with_another_model_finds_it_and_raises_nothing(case: EngineCase, make: Make, tmp_path: Path) -> None:
    other = make(case.engine.name, swapped=True).model
    findings = case.engine.rederive(case.verify_request(tmp_path, model_sha256=other.sha256), other)
    assert any(finding.outcome is Outcome.REJECTED for finding in findings)


def test_an_audit_of_the_genuine_circuit_holds(case: EngineCase, tmp_path: Path) -> None:
    findings = case.engine.rederive(case.verify_request(tmp_path), case.model)
    assert findings
    assert all(finding.outcome is Outcome.HOLDS for finding in findings), findings


def test_what_was_proven_is_what_is_verified(case: EngineCase, tmp_path: Path) -> None:
    verified = case.engine.verify(case.verify_request(tmp_path))
    assert verified.statement == case.proof.statement
    assert verified.statement.context == CONTEXT
    assert verified.findings
    assert all(finding.step and finding.outcome in (Outcome.HOLDS, Outcome.NOT_CHECKED) for finding in verified.findings)


def test_the_statement_follows_model_and_specification(case: EngineCase) -> None:
    statement = case.proof.statement
    assert statement.engine is case.engine.name
    assert statement.model_sha256 == case.model.sha256
    for role, specs in ((Role.INPUT, case.model.inputs), (Role.OUTPUT, case.model.outputs)):
        assert [(one.name, one.shape) for one in statement.of(role)] == [(spec.name, spec.shape) for spec in specs]
        assert all(one.visibility is case.spec.tensors[one.name] for one in statement.of(role))


def test_public_values_are_those_of_the_input_and_near_the_model_s_output(case: EngineCase) -> None:
    (given,), (result,) = case.proof.statement.of(Role.INPUT), case.proof.statement.of(Role.OUTPUT)
    assert given.quantised == case.engine.quantise(given, case.sample["x"])
    expected = Reference(case.model).run(case.sample)["y"].reshape(-1)
    assert np.max(np.abs(np.array(result.values()) - expected)) <= case.circuit.fidelity.max_abs_error + 1e-6


def test_a_hashed_input_is_bound_to_its_digest(name: EngineName, make: Make, tmp_path: Path) -> None:
    hashed = make(name, Visibility.HASHED)
    (given,) = hashed.engine.verify(hashed.verify_request(tmp_path)).statement.of(Role.INPUT)
    assert given.quantised is None
    assert hashed.engine.digest(given, SAMPLES[0]) == given.digest
    assert hashed.engine.digest(given, SAMPLES[1]) != given.digest


def circuit_folder(name: EngineName, folder: Path, inputs: Visibility, weights: WeightVisibility) -> CircuitFolder:
    (folder / "model.onnx").write_bytes(canonicalise(small_onnx(), where="small.onnx").model.data)
    (folder / "calibration.npz").write_bytes(write_npz({"x": SAMPLES}))
    document = {
        "circuit": {"name": "small", "model": "model.onnx", "engine": name.value},
        "tensors": {"x": inputs.value, "y": "public"},
        "weights": {"visibility": weights.value},
        "calibration": {"data": "calibration.npz"},
        "engine": {name.value: dict(OPTIONS[name])},
    }
    (folder / "circuit.toml").write_text(tomli_w.dumps(document))
    return CircuitFolder(folder)


PRIVACY_ASKED = {
    "public": (Visibility.PUBLIC, WeightVisibility.PUBLIC),
    "hashed input": (Visibility.HASHED, WeightVisibility.PUBLIC),
    "private input": (Visibility.PRIVATE, WeightVisibility.PUBLIC),
    "private weights": (Visibility.PUBLIC, WeightVisibility.PRIVATE),
    "private input and weights": (Visibility.PRIVATE, WeightVisibility.PRIVATE),
}


@pytest.mark.parametrize("asked", PRIVACY_ASKED)
def test_the_privacy_that_is_offered_is_proven_and_the_rest_is_refused(
    name: EngineName, make: Make, tmp_path: Path, asked: str
) -> None:
    inputs, weights = PRIVACY_ASKED[asked]
    support = engine_for(name).privacy_support(asked_of(name, inputs, weights))
    if not support.offered:
        folder = circuit_folder(name, tmp_path, inputs, weights)
        with pytest.raises(UsageError) as caught:
            compile_circuit(folder)
        assert caught.value.code == "privacy-unsupported"
        assert caught.value.message == support.reason
        assert not folder.lock_path.exists()
        return
    statement = make(name, inputs, weights).proof.statement
    assert statement.privacy is support.level
    assert statement.weights is weights
    (given,) = statement.of(Role.INPUT)
    assert (given.quantised is None, given.digest is None) == (inputs is not Visibility.PUBLIC, inputs is not Visibility.HASHED)


def test_an_engine_refuses_by_itself_to_show_a_private_input(name: EngineName, make: Make) -> None:
    if engine_for(name).privacy_support(asked_of(name, Visibility.PRIVATE)).offered:
        assert "x" not in {one.name for one in make(name, Visibility.PRIVATE).proof.statement.tensors if one.quantised}
        return
    with pytest.raises(UsageError) as caught:
        make(name, Visibility.PRIVATE)
    assert caught.value.code == "privacy-unsupported"


@pytest.mark.parametrize("level", [None, *AskedPrivacy])
@pytest.mark.parametrize("weights", WeightVisibility)
@pytest.mark.parametrize("inputs", Visibility)
def test_privacy_support_is_told_in_whole_sentences(
    name: EngineName, inputs: Visibility, weights: WeightVisibility, level: AskedPrivacy | None
) -> None:
    spec = replace(asked_of(name, inputs, weights), privacy=level)
    support = engine_for(name).privacy_support(spec)
    assert support.reason.endswith(".") and "\n" not in support.reason
    assert bool(support.cost) == support.offered
    assert not support.cost or support.cost.endswith(".")
    if support.offered:
        support.require(name)
        # An engine that would not hide must not be taken for one that does.
        assert not spec.zero_knowledge or support.level is not Privacy.INTEGRITY_ONLY
    else:
        with pytest.raises(UsageError):
            support.require(name)


def test_quantisation_refuses_what_the_tensor_is_not(case: EngineCase) -> None:
    (given,) = case.proof.statement.of(Role.INPUT)
    for wrong in (SAMPLES[0].reshape(4), np.full((1, 4), np.nan, np.float32)):
        with pytest.raises(InputRejected):
            case.engine.quantise(given, wrong)


NUMBERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_are_values_whatever_their_type(case: EngineCase, dtype: str) -> None:
    """An integer 1 given for a tensor of reals is the real 1, never one step of its quantisation."""
    (given,) = case.proof.statement.of(Role.INPUT)
    values = np.array([[0, 1, 1, 0]])
    expected = case.engine.quantise(given, values.astype(np.float32))
    assert case.engine.quantise(given, values.astype(dtype)) == expected
    shown = replace(given, quantised=expected)
    assert match(case.engine, shown, values.astype(dtype)).outcome is Outcome.HOLDS
    steps = np.array(expected).reshape(values.shape)
    if dtype != "bool" and int(steps.max()) <= (np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 2048):
        assert steps.max() > 1
        with pytest.raises(EvidenceRejected) as refused:
            match(case.engine, shown, steps.astype(dtype))
        assert refused.value.code == "input-mismatch"


@pytest.mark.parametrize("values", [np.ones((1, 4), "complex64"), np.full((1, 4), "1"), np.full((1, 4), None)])
def test_what_is_no_number_is_no_value(case: EngineCase, values: Any) -> None:
    (given,) = case.proof.statement.of(Role.INPUT)
    with pytest.raises(InputRejected):
        case.engine.quantise(given, values)
    with pytest.raises(InputRejected):
        case.engine.quantise(given, np.full((1, 4), 2**53 + 1, np.int64))


def test_a_hashed_tensor_is_compared_by_values_too(name: EngineName, make: Make) -> None:
    hashed = make(name, Visibility.HASHED)
    (given,) = hashed.proof.statement.of(Role.INPUT)
    values = np.array([[0, 1, 1, 0]])
    digest = hashed.engine.digest(given, values.astype(np.float32))
    shown = replace(given, digest=digest)
    for dtype in ("uint8", "int64", "bool"):
        assert hashed.engine.digest(given, values.astype(dtype)) == digest
        assert match(hashed.engine, shown, values.astype(dtype)).outcome is Outcome.HOLDS
    steps = hashed.engine.quantise(given, values)
    with pytest.raises(EvidenceRejected):
        match(hashed.engine, shown, np.array(steps, np.int64).reshape(values.shape))


def test_compiling_again_with_the_pinned_tuning_gives_the_same_section(case: EngineCase, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    again = case.engine.compile(case.compile_request(tmp_path, locked=case.circuit.section))
    assert again.section == case.circuit.section


def test_a_section_is_plain_toml_and_survives_it(case: EngineCase, tmp_path: Path) -> None:
    section = tomllib.loads(tomli_w.dumps(dict(case.circuit.section)))
    assert section == case.circuit.section
    assert case.engine.summarise(section) == case.engine.summarise(case.circuit.section)
    request = replace(case.verify_request(tmp_path), section=section)
    assert case.engine.verify(request).statement == case.proof.statement


def test_the_summary_agrees_with_the_statement(case: EngineCase) -> None:
    summary = case.engine.summarise(case.circuit.section)
    assert summary.circuit_sha256 == case.proof.statement.circuit_sha256
    assert summary.engine_version in case.circuit.section.values()
    assert summary.segment is None, "this circuit is no part of a split model"
    assert summary.fidelity == case.circuit.fidelity
    assert all(len(digest) == 64 for digest in summary.pins.values())


def test_support_is_told_per_node_and_costs_before_any_cost(case: EngineCase) -> None:
    support = case.engine.operator_support(case.model)
    assert [node.op_type for node in support] == [node.op_type for node in case.model.proto.graph.node]
    assert all(node.supported for node in support)
    estimate = case.engine.estimate(case.model, case.spec)
    assert min(estimate.rows, estimate.memory_bytes, estimate.proof_bytes) > 0
    assert estimate.basis


def test_what_each_visibility_hides_is_said_in_one_sentence(case: EngineCase) -> None:
    texts = [hides(case.engine.name, case.proof.statement.privacy, visibility) for visibility in Visibility]
    assert len(set(texts)) == len(texts)
    assert all(text.endswith(".") and "\n" not in text for text in texts)
