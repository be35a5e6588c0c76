"""Proving and verifying with the engine: what is refused before any cost, what the statement says, what is left on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.ezkl_small import SAMPLES, SRS, SmallCircuit, small_onnx, spec_of, starting_section
from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Outcome
from verifai.domain.privacy_words import hides
from verifai.domain.statement import EngineName, Privacy, Role, Visibility, WeightVisibility
from verifai.engines.ezkl import build, calls, lock_section, proving, tensors
from verifai.engines.ezkl.build_folder import BuildFolder
from verifai.engines.ezkl.calls import Fence, call
from verifai.engines.ezkl.evm.solidity import solidity_verifier
from verifai.engines.ezkl.parameters import CircuitParameters, CircuitVisibility
from verifai.engines.ezkl.settings import VERSION
from verifai.engines.ezkl.srs import bn254
from verifai.engines.ezkl.srs import store as srs_store
from verifai.engines.interface import CompileRequest
from verifai.errors import (
    DeadlineExceeded,
    EngineCrashed,
    InputRejected,
    ResourceExhausted,
    Undecided,
    UnsupportedModel,
    UsageError,
)
from verifai.execution.child import Limits
from verifai.onnx_graph.canonicalise import canonicalise

GOOD = SAMPLES[0]
INPUT_ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "missing": ("input-missing", {}),
    "unknown": ("input-unknown", {"x": GOOD, "z": GOOD}),
    "wrong shape": ("input-shape", {"x": GOOD.reshape(2, 2)}),
    "no batch axis": ("input-shape", {"x": GOOD.reshape(4)}),
    "double precision": ("input-dtype", {"x": GOOD.astype(np.float64)}),
    "integers": ("input-dtype", {"x": GOOD.astype(np.int64)}),
    "booleans": ("input-dtype", {"x": GOOD.astype(bool)}),
    "field elements as text": ("input-dtype", {"x": np.full((1, 4), "00" * 32)}),
    "NaN": ("input-out-of-range", {"x": np.array([[0, np.nan, 0, 0]], np.float32)}),
    "infinity": ("input-out-of-range", {"x": np.array([[0, 0, np.inf, 0]], np.float32)}),
    "beyond every circuit": ("input-out-of-range", {"x": np.array([[1e30, 0, 0, 0]], np.float32)}),
    "beyond this circuit": ("input-out-of-range", {"x": np.array([[0, 0, 0, 1e7]], np.float32)}),
}


@pytest.mark.parametrize("row", INPUT_ROWS)
def test_an_input_that_the_circuit_cannot_take_is_refused_and_named(small_public: SmallCircuit, row: str) -> None:
    code, inputs = INPUT_ROWS[row]
    before = sorted(path.name for path in small_public.build_dir.iterdir())
    with pytest.raises(InputRejected) as caught:
        small_public.engine.prove(small_public.prove_request(inputs=inputs))
    assert caught.value.code == code
    assert "x" in caught.value.where or "z" in caught.value.where
    assert sorted(path.name for path in small_public.build_dir.iterdir()) == before, "nothing is left behind"


def _tampered(circuit: SmallCircuit, folder: Path, change: Callable[[Path], object]) -> SmallCircuit:
    copy = folder / "build"
    shutil.copytree(circuit.build_dir, copy)
    change(copy)
    return replace(circuit, build_dir=copy)


BUILD_ROWS: dict[str, Callable[[Path], object]] = {
    "no index": lambda folder: (folder / "build.json").unlink(),
    "index of zero bytes": lambda folder: (folder / "build.json").write_bytes(bytes(100)),
    "key deleted": lambda folder: (folder / "pk.key").unlink(),
    "proving key changed": lambda folder: (folder / "pk.key").write_bytes((folder / "pk.key").read_bytes()[:-1] + b"\x00"),
    "circuit changed": lambda folder: (folder / "circuit.compiled").write_bytes(b"x"),
    "settings changed": lambda folder: (folder / "settings.json").write_bytes(b"{}"),
    "verification key changed": lambda folder: (folder / "vk.key").write_bytes(b"x"),
    "SRS changed": lambda folder: (folder / "params.srs").write_bytes(bytes(516)),
}


@pytest.mark.parametrize("row", BUILD_ROWS)
def test_a_build_that_is_not_what_compile_left_is_refused(small_public: SmallCircuit, tmp_path: Path, row: str) -> None:
    circuit = _tampered(small_public, tmp_path, BUILD_ROWS[row])
    with pytest.raises(UsageError) as caught:
        circuit.engine.prove(circuit.prove_request())
    assert caught.value.code == "stale-build"


def test_a_build_of_another_circuit_is_refused(small_public: SmallCircuit, small_private: SmallCircuit) -> None:
    with pytest.raises(UsageError) as caught:
        small_public.engine.prove(small_public.prove_request(build_dir=small_private.build_dir))
    assert caught.value.code == "stale-build"


def test_build_files_are_private_and_nothing_else_is_left(small_public: SmallCircuit) -> None:
    files = {path.name: path.stat().st_mode & 0o777 for path in small_public.build_dir.iterdir()}
    names = {"build.json", "circuit.compiled", "params.srs", "pk.key", "settings.json", "vk.key"}
    assert files == dict.fromkeys(names, 0o600)
    assert small_public.build_dir.stat().st_mode & 0o777 == 0o700


def test_a_bundle_holds_no_key_witness_or_private_tensor(small_private: SmallCircuit) -> None:
    assert set(small_private.files) == {"proof.json", "settings.json", "vk.key"}
    quantised = tensors.quantise_cells("x", GOOD.reshape(-1).tolist(), 7)
    text = small_private.files["proof.json"].decode()
    assert not any(f'"{value.to_bytes(32, "little").hex()}"' in text for value in quantised if value > 0)


def test_the_statement_says_what_was_public(small_public: SmallCircuit, tmp_path: Path) -> None:
    statement = small_public.engine.verify(small_public.request(tmp_path, context="nonce")).statement
    (given,), (result,) = statement.of(Role.INPUT), statement.of(Role.OUTPUT)
    assert given.quantised == (64, -32, 96, 16)
    assert given.scale == Fraction(1, 128)
    assert given.quantised == small_public.engine.quantise(given, GOOD)
    assert np.argmax(result.values()) == 0
    assert statement.circuit_sha256 == small_public.section["vk_sha256"]
    assert statement.model_sha256 == small_public.model.sha256
    assert (statement.context, statement.context_bound) == ("nonce", False)


def test_the_statement_binds_a_hashed_input_to_its_digest(small_hashed: SmallCircuit, tmp_path: Path) -> None:
    engine = small_hashed.engine
    (given,) = engine.verify(small_hashed.request(tmp_path)).statement.of(Role.INPUT)
    assert given.visibility is Visibility.HASHED
    assert given.quantised is None
    assert engine.digest(given, GOOD) == given.digest
    assert engine.digest(given, SAMPLES[1]) != given.digest


def test_the_statement_holds_nothing_of_a_private_input(small_private: SmallCircuit, tmp_path: Path) -> None:
    (given,) = small_private.engine.verify(small_private.request(tmp_path)).statement.of(Role.INPUT)
    assert (given.quantised, given.digest) == (None, None)


def test_two_proofs_of_one_input_differ_and_both_hold(small_public: SmallCircuit, tmp_path: Path) -> None:
    second = small_public.engine.prove(small_public.prove_request())
    assert second.files["proof.json"] != small_public.files["proof.json"], "a proof that repeats hides nothing"
    small_public.engine.verify(small_public.request(tmp_path, second.files))


def test_withheld_weights_are_said_to_be_withheld(small_public: SmallCircuit, tmp_path: Path) -> None:
    section = {**small_public.section, "weights": "withheld"}
    statement = small_public.engine.verify(small_public.request(tmp_path, section=section)).statement
    assert statement.weights is WeightVisibility.WITHHELD


def test_the_audit_makes_the_same_key_again(small_hashed: SmallCircuit, tmp_path: Path) -> None:
    findings = small_hashed.engine.rederive(small_hashed.request(tmp_path), small_hashed.model)
    assert [finding.outcome for finding in findings] == [Outcome.HOLDS] * 4


def test_the_audit_refuses_another_model(small_public: SmallCircuit, tmp_path: Path) -> None:
    other = canonicalise(small_onnx(last_bias=(-0.125, 0.25)), where="other").model
    (finding,) = small_public.engine.rederive(small_public.request(tmp_path), other)
    assert (finding.outcome, finding.code) == (Outcome.REJECTED, "model-mismatch")
    claimed = small_public.request(tmp_path, model_sha256=other.sha256)
    codes = [found.code for found in small_public.engine.rederive(claimed, other) if found.outcome is Outcome.REJECTED]
    assert codes == ["circuit-onnx-not-rederived", "vk-not-rederived"]


def test_the_audit_says_when_it_lacks_the_srs(
    small_public: SmallCircuit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(srs_store.STORE_VARIABLE, str(tmp_path / "empty"))
    findings = small_public.engine.rederive(small_public.request(tmp_path, setup_material=()), small_public.model)
    assert (findings[-1].outcome, findings[-1].code) == (Outcome.UNDECIDED, "srs-unavailable")


def test_the_audit_says_when_it_lacks_time(small_public: SmallCircuit, tmp_path: Path) -> None:
    request = small_public.request(tmp_path, budget=Budget(setup_seconds=0.01))
    findings = small_public.engine.rederive(request, small_public.model)
    assert (findings[-1].outcome, findings[-1].evidence) == (Outcome.UNDECIDED, "deadline")


def test_a_deadline_or_a_memory_limit_leaves_the_proof_undecided(small_public: SmallCircuit) -> None:
    before = sorted(path.name for path in small_public.build_dir.iterdir())
    with pytest.raises(DeadlineExceeded):
        small_public.engine.prove(small_public.prove_request(budget=Budget(prove_seconds=0.01)))
    assert sorted(path.name for path in small_public.build_dir.iterdir()) == before


def test_a_panic_of_ours_making_is_a_crash_not_a_rejection(small_public: SmallCircuit, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = proving.expected_instances
    monkeypatch.setattr(proving, "expected_instances", lambda *args: genuine(*args)[:-1])
    with pytest.raises(EngineCrashed):
        small_public.engine.prove(small_public.prove_request())


SPEC_ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "everything private": ("nothing-bound", {"tensors": {"x": Visibility.PRIVATE, "y": Visibility.PRIVATE}}),
    "committed weights": ("weights-unsupported", {"weights": WeightVisibility.COMMITTED}),
    "private weights": ("privacy-unsupported", {"weights": WeightVisibility.PRIVATE}),
    "no SRS": ("srs-missing", {"options": {}}),
    "an SRS that does not exist": ("file-missing", {"options": {"ezkl": {"srs": "absent.srs"}}}),
    "an SRS that is a number": ("bad-spec", {"options": {"ezkl": {"srs": 5}}}),
}


@pytest.mark.parametrize("row", SPEC_ROWS)
def test_a_specification_that_ezkl_cannot_meet_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, small_public: SmallCircuit
) -> None:
    monkeypatch.setenv(srs_store.STORE_VARIABLE, str(tmp_path / "empty"))
    code, changes = SPEC_ROWS[row]
    model = small_public.model
    section = starting_section(model, small_public.spec)
    request = CompileRequest(model, replace(small_public.spec, **changes), {"x": SAMPLES}, tmp_path, tmp_path, locked=section)
    with pytest.raises(UsageError) as caught:
        small_public.engine.compile(request)
    assert caught.value.code == code
    assert [path.name for path in tmp_path.iterdir() if path.name != "empty"] == []


def test_a_missing_srs_is_found_before_anything_is_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_public: SmallCircuit
) -> None:
    monkeypatch.setenv(srs_store.STORE_VARIABLE, str(tmp_path / "empty"))
    monkeypatch.setattr(calls, "run", lambda *args, **options: pytest.fail("ezkl was called"))
    spec = replace(small_public.spec, options={})
    with pytest.raises(UsageError) as caught:
        small_public.engine.compile(CompileRequest(small_public.model, spec, {"x": SAMPLES}, tmp_path, tmp_path))
    assert (caught.value.code, "verifai srs fetch -k " in caught.value.hint) == ("srs-missing", True)


def test_an_srs_that_is_too_small_is_refused(tmp_path: Path, small_public: SmallCircuit) -> None:
    small = srs_store.SrsStore(tmp_path / "store").generate(4)
    spec = spec_of(Visibility.PUBLIC, Visibility.PUBLIC, options={"ezkl": {"srs": str(small.path)}})
    request = CompileRequest(
        small_public.model, spec, {"x": SAMPLES}, tmp_path, tmp_path, locked=starting_section(small_public.model, spec)
    )
    with pytest.raises(UsageError) as caught:
        small_public.engine.compile(request)
    assert caught.value.code == "srs-too-small"


def test_a_failed_compile_leaves_no_build_that_prove_would_take(small_public: SmallCircuit, tmp_path: Path) -> None:
    circuit = _tampered(small_public, tmp_path, lambda folder: None)
    spec = replace(circuit.spec, budget=Budget(setup_seconds=0.01))
    request = CompileRequest(circuit.model, spec, {"x": SAMPLES}, circuit.build_dir, tmp_path, locked=dict(circuit.section))
    with pytest.raises(DeadlineExceeded):
        circuit.engine.compile(request)
    with pytest.raises(UsageError) as caught:
        BuildFolder(circuit.build_dir).check(lock_section.parse_section(circuit.section))
    assert caught.value.code == "stale-build"


VISIBILITY = CircuitVisibility(Visibility.PUBLIC, Visibility.PUBLIC)


def _parameters() -> CircuitParameters:
    from tests.support.ezkl_small import PARAMETERS

    return CircuitParameters(**{**PARAMETERS, "rewrites": ()})


def test_keys_are_the_same_bytes_again_in_another_folder_with_other_threads_and_a_poisoned_cache(
    small_public: SmallCircuit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = tmp_path / "home"
    (poisoned / ".ezkl" / "cache").mkdir(parents=True)
    (poisoned / ".ezkl" / "cache" / "fixed-0").write_bytes(bytes(64))
    monkeypatch.setenv("HOME", str(poisoned))
    monkeypatch.setenv("EZKL_REPO_PATH", str(poisoned / ".ezkl"))
    monkeypatch.setenv("EZKL_KEY_FORMAT", "processed")
    for threads in (1, 2):
        work = tmp_path / str(threads)
        work.mkdir()
        built = build.build(
            small_public.model.data, _parameters(), VISIBILITY, SRS, work, fence=Fence(threads=threads, scratch=work)
        )
        assert built.settings_bytes == small_public.files["settings.json"]
        assert built.vk_path.read_bytes() == small_public.files["vk.key"]
        assert (work / "pk.key").read_bytes() == (small_public.build_dir / "pk.key").read_bytes()
    assert [path.name for path in (poisoned / ".ezkl" / "cache").iterdir()] == ["fixed-0"], "and nothing is written there"


def test_a_model_that_ezkl_cannot_read_is_refused_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        build.build(b"not onnx", _parameters(), VISIBILITY, SRS, tmp_path, fence=Fence())
    assert caught.value.code == "ezkl-refused"
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


def test_a_trial_runs_samples_forward_without_keys(small_public: SmallCircuit, tmp_path: Path) -> None:
    samples = [[row.reshape(-1).tolist()] for row in SAMPLES]
    made = build.trial(small_public.model.data, _parameters(), VISIBILITY, samples, fence=Fence(scratch=tmp_path))
    assert [witness.inputs[0] for witness in made.witnesses] == [
        tensors.quantise_cells("x", sample[0], 7) for sample in samples
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_solidity_verifier_carries_the_srs_points_and_needs_no_compiler(small_public: SmallCircuit) -> None:
    files = small_public.files
    source = solidity_verifier(files["settings.json"], files["vk.key"], SRS, Fence(Limits(wall_seconds=3600))).decode()
    assert "contract Halo2Verifier" in source
    assert f"{bn254.G2_GENERATOR[0][0]:064x}" in source


def test_children_without_a_download_have_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.update(kwargs["environment"])
        return genuine(*args, **kwargs)

    genuine = calls.child.run
    monkeypatch.setattr(calls.child, "run", spy)
    calls.run([call("poseidon_hash", message=["01" + "0" * 62])], Fence())
    assert seen["https_proxy"] == "http://127.0.0.1:9"


def test_memory_that_does_not_suffice_is_said_so(small_public: SmallCircuit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MIN_MEMORY_BYTES", 0)
    circuit = small_public.build_dir / "circuit.compiled"
    steps = [call("forward", circuit=circuit, samples=[[SAMPLES[0].reshape(-1).tolist()]] * 50)]
    with pytest.raises(ResourceExhausted) as caught:
        calls.run(steps, Fence(Limits(memory_bytes=2**20, wall_seconds=3600)))
    assert caught.value.code == "out-of-memory"


def test_concurrent_builds_do_not_meet(small_public: SmallCircuit, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def one(number: int) -> bytes:
        work = tmp_path / str(number)
        work.mkdir()
        return build.build(small_public.model.data, _parameters(), VISIBILITY, SRS, work, fence=Fence()).vk_path.read_bytes()

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(one, range(3))) == {small_public.files["vk.key"]}


def test_a_folder_that_cannot_be_written_is_said_so(small_public: SmallCircuit, tmp_path: Path) -> None:
    with pytest.raises(Undecided) as caught:
        build.build(small_public.model.data, _parameters(), VISIBILITY, SRS, tmp_path / "absent", fence=Fence())
    assert caught.value.code == "disk"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("visibility", Visibility)
def test_what_a_visibility_hides_is_one_sentence(visibility: Visibility) -> None:
    text = hides(EngineName.EZKL, Privacy.ZERO_KNOWLEDGE, visibility)
    assert text.endswith(".")
    assert "\n" not in text


def test_the_hash_is_not_sold_as_hiding() -> None:
    text = hides(EngineName.EZKL, Privacy.ZERO_KNOWLEDGE, Visibility.HASHED)
    assert "unsalted" in text and "guess" in text


def test_the_summary_names_test_material(small_public: SmallCircuit) -> None:
    summary = small_public.engine.summarise(small_public.section)
    assert summary.insecure == ("test-srs",)
    assert summary.engine_version == VERSION
    assert summary.circuit_sha256 == summary.pins["vk_sha256"] == small_public.section["vk_sha256"]
