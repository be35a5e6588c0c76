"""Segments that are not one inference never pass as a chain: reordered, missing, exchanged, rescaled or unbound."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.cli.app import run
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.digest import Sha256
from verifai.domain.statement import CommitmentOpening, EngineName, Role
from verifai.engines.sumcheck.boundary import check_boundary
from verifai.engines.sumcheck.circuit.codec import decode
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.errors import EvidenceRejected, UsageError, VerifaiError
from verifai.onnx_graph.arrays import read_npz
from verifai.onnx_graph.load import load_path
from verifai.onnx_graph.npz import write_npz
from verifai.stages.chain import verify_chain as stage
from verifai.stages.chain.split import split_model
from verifai.stages.chain.verify_chain import VerifiedChain, _link, verify_chain
from verifai.stages.compile import compile_circuit
from verifai.stages.verify import Expectations, VerifiedBundle, verify_bundle

FIXTURE = ROOT / "fixtures" / "digits-cnn"
CUTS = ("max_pool2d", "relu_1")
SAMPLES = 2


def prove_chain(folders: Sequence[Path], inputs: Path, target: Path, *more: str) -> None:
    """Bundles ``target/1/000000`` and so on, each segment fed with what the one before put out."""
    for number, folder in enumerate(folders, 1):
        tensors = target / f"{number}.npz"
        arguments = ["prove", str(folder), str(inputs), "-o", str(target / str(number)), "-q", "--limit", str(SAMPLES), *more]
        assert run([*arguments, "--output-tensors", str(tensors)]) == 0
        inputs = tensors


@dataclass(frozen=True)
class Chain:
    """Three compiled segments, and the evidence of two inferences."""

    root: Path

    def folder(self, number: int) -> Path:
        return self.root / "split" / str(number)

    def bundle(self, number: int, sample: int = 0) -> Path:
        return self.root / "evidence" / str(number) / f"{sample:06d}"

    def lock(self, number: int) -> CircuitLock:
        return read_lock(self.folder(number))

    def verify(self, bundles: Sequence[Path], locks: Sequence[CircuitLock], **more: Any) -> VerifiedChain:
        return verify_chain(bundles, locks, **more)

    def refused(
        self, bundles: Sequence[Path], locks: Sequence[CircuitLock], code: str, status: int, **more: Any
    ) -> VerifaiError:
        with pytest.raises(VerifaiError) as caught:
            verify_chain(bundles, locks, **more)
        assert (caught.value.code, caught.value.status) == (code, status), caught.value
        return caught.value


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    root = tmp_path_factory.mktemp("chain")
    split_model(FIXTURE / "model.onnx", CUTS, root / "split", calibration=FIXTURE / "calibration.npz")
    (root / "evidence").mkdir()
    made = Chain(root)
    for number in (1, 2, 3):
        compile_circuit(CircuitFolder(made.folder(number)))
    prove_chain([made.folder(n) for n in (1, 2, 3)], FIXTURE / "heldout.npz", root / "evidence", "--context", "nonce")
    return made


@pytest.fixture
def all_three(chain: Chain) -> tuple[list[Path], list[CircuitLock]]:
    return [chain.bundle(n) for n in (1, 2, 3)], [chain.lock(n) for n in (1, 2, 3)]


def test_the_honest_chain_gives_the_whole_circuits_integers(chain: Chain, all_three: Any, tmp_path: Path) -> None:
    """Cut where the whole circuit has a tensor of that scale, the parts compute the same integers as the whole."""
    verified = chain.verify(*all_three, model=load_path(FIXTURE / "model.onnx"), expect=Expectations(context="nonce"))
    assert [f.code for f in verified.findings] == ["chain-locks-fit", "chain-model-matches", "chain-linked", "chain-linked"]
    assert run(["init", str(FIXTURE / "model.onnx"), "-o", str(tmp_path / "c"), "--engine", "sumcheck", "--yes", "-q",
                "--calibration", str(FIXTURE / "calibration.npz")]) == 0  # fmt: skip
    with (tmp_path / "c" / "circuit.toml").open("a") as spec:
        spec.write("\n[engine.sumcheck]\ninput_bits = 8\n")  # as in the parts, which are not tuned
    compile_circuit(CircuitFolder(tmp_path / "c"))
    prove_chain([tmp_path / "c"], FIXTURE / "heldout.npz", tmp_path)
    assert (tmp_path / "1.npz").read_bytes() == (chain.root / "evidence" / "3.npz").read_bytes()


@pytest.mark.parametrize(("numbers", "repeated"), [((0, 0, 1), True), ((0, 1, 0), True), ((0, 1, 2), False)])
def test_one_opening_number_in_two_segments_is_refused(
    chain: Chain, all_three: Any, monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], repeated: bool
) -> None:
    given = iter(numbers)

    def opening(*arguments: Any, **named: Any) -> VerifiedBundle:
        found = verify_bundle(*arguments, **named)
        used = (CommitmentOpening("boundary", Sha256("a" * 64), next(given), 4),)
        return replace(found, opened=replace(found.opened, openings=used))

    monkeypatch.setattr(stage, "verify_bundle", opening)
    if repeated:
        problem = chain.refused(*all_three, "opening-repeated", 3)
        assert sum(str(path) in problem.message for path in all_three[0]) == 2
    else:
        chain.verify(*all_three)


def test_bundles_in_another_order_are_refused(chain: Chain, all_three: Any) -> None:
    bundles, locks = all_three
    chain.refused([bundles[1], bundles[0], bundles[2]], locks, "model-not-pinned", 1)
    chain.refused([bundles[1], bundles[0], bundles[2]], [locks[1], locks[0], locks[2]], "chain-locks", 2)


@pytest.mark.parametrize(("given", "code", "status"), [
    ((1, 3), "chain-locks", 2),
    ((1, 2), "chain-incomplete", 3),
    ((2, 3), "chain-incomplete", 3),
])  # fmt: skip
def test_a_missing_segment_is_noticed(chain: Chain, given: tuple[int, ...], code: str, status: int) -> None:
    chain.refused([chain.bundle(n) for n in given], [chain.lock(n) for n in given], code, status)


def test_fewer_locks_than_bundles_is_no_chain(chain: Chain, all_three: Any) -> None:
    bundles, locks = all_three
    chain.refused(bundles, locks[:2], "bad-option", 2)
    chain.refused(bundles[:1], locks[:1], "bad-option", 2)
    chain.refused([], [], "bad-option", 2)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_segment_of_another_inference_breaks_the_chain(chain: Chain, all_three: Any, number: int) -> None:
    bundles, locks = all_three
    bundles[number - 1] = chain.bundle(number, 1)
    chain.refused(bundles, locks, "chain-broken", 1)


def test_the_same_bundle_cannot_stand_for_two_segments(chain: Chain, all_three: Any, tmp_path: Path) -> None:
    bundles, locks = all_three
    copy = shutil.copytree(bundles[0], tmp_path / "copy")
    chain.refused([bundles[0], copy, bundles[2]], locks, "model-not-pinned", 1)
    chain.refused([bundles[0], copy, bundles[2]], [locks[0], locks[0], locks[2]], "chain-locks", 2)


def _changed_segment(chain: Chain, target: Path, old: str, new: str, number: int = 2) -> CircuitFolder:
    """A segment with one line of its specification changed, compiled anew."""
    shutil.copytree(chain.folder(number), target, ignore=shutil.ignore_patterns("build", "*.lock"))
    text = (target / "circuit.toml").read_text()
    assert old in text
    (target / "circuit.toml").write_text(text.replace(old, new, 1))
    compile_circuit(CircuitFolder(target))
    return CircuitFolder(target)


def _boundary(chain: Chain, name: str) -> Any:
    return parse_section(chain.lock(2).section(EngineName.SUMCHECK)).options.boundary[name]


def test_another_scale_under_equal_roots_is_refused(chain: Chain, all_three: Any, tmp_path: Path) -> None:
    """The next prover doubles the scale: equal integers, equal roots, and every value means twice as much."""
    bundles, locks = all_three
    scale = _boundary(chain, "max_pool2d")
    old = f"exponent = {scale.exponent}, low = {scale.low}, high = {scale.high}"
    folder = _changed_segment(chain, tmp_path / "2", old, old.replace(str(scale.exponent), str(scale.exponent + 1)))
    arrays = read_npz((chain.root / "evidence" / "1.npz").read_bytes(), "npz")
    (tmp_path / "doubled.npz").write_bytes(write_npz({name: 2 * array for name, array in arrays.items()}))
    assert (
        run(["prove", str(folder.folder), str(tmp_path / "doubled.npz"), "-o", str(tmp_path / "e"), "-q", "--limit", "1"]) == 0
    )
    forged = tmp_path / "e" / "000000"
    lock = folder.lock()
    chain.refused([bundles[0], forged, bundles[2]], [locks[0], lock, locks[2]], "chain-locks", 2)
    chain.refused([bundles[0], forged, bundles[2]], locks, "circuit-not-pinned", 1)


def test_equal_roots_do_not_link_tensors_of_different_meaning(chain: Chain, all_three: Any) -> None:
    bundles = chain.verify(*all_three).bundles
    assert _link(1, bundles[0], bundles[1]).code == "chain-linked"
    tensor = bundles[1].statement.of(Role.INPUT)[0]
    changes = [
        {"scale": tensor.scale * 2}, {"zero_point": 1}, {"digest_scheme": "ezkl-poseidon"}, {"shape": (1, 3, 3, 8)},
        {"scale": tensor.scale + Fraction(1, 2**60)},
    ]  # fmt: skip
    for change in changes:
        tensors = (replace(tensor, **change), *bundles[1].statement.of(Role.OUTPUT))
        other = replace(bundles[1], statement=replace(bundles[1].statement, tensors=tensors))
        with pytest.raises(EvidenceRejected) as caught:
            _link(1, bundles[0], other)
        assert caught.value.code == "chain-broken"


def test_another_range_is_refused(chain: Chain, all_three: Any, tmp_path: Path) -> None:
    bundles, locks = all_three
    folder = _changed_segment(chain, tmp_path / "2", "high = 255, zero_point = 0", "high = 127, zero_point = 0")
    chain.refused(bundles, [locks[0], folder.lock(), locks[2]], "chain-locks", 2)


@pytest.mark.parametrize("number", [1, 2])
def test_a_public_boundary_is_not_compared_and_not_accepted(chain: Chain, all_three: Any, tmp_path: Path, number: int) -> None:
    bundles, locks = all_three
    folder = _changed_segment(chain, tmp_path / "s", 'max_pool2d = "hashed"', 'max_pool2d = "public"', number)
    locks[number - 1] = folder.lock()
    problem = chain.refused(bundles, locks, "chain-locks", 2)
    assert "public" in problem.message


def test_locks_of_another_split_or_of_no_split_are_refused(chain: Chain, all_three: Any, tmp_path: Path) -> None:
    bundles, locks = all_three
    digest = load_path(FIXTURE / "model.onnx").sha256
    folder = _changed_segment(chain, tmp_path / "2", digest, "0" * 64)
    chain.refused(bundles, [locks[0], folder.lock(), locks[2]], "chain-locks", 2)
    text = (chain.folder(2) / "circuit.toml").read_text()
    folder = _changed_segment(chain, tmp_path / "3", text[text.index("[engine.sumcheck.segment]") :], "")
    chain.refused(bundles, [locks[0], folder.lock(), locks[2]], "chain-locks", 2)


def _repinned(lock: CircuitLock, **changes: Any) -> CircuitLock:
    section = lock.section(EngineName.SUMCHECK)
    return lock.with_section(EngineName.SUMCHECK, {**section, **changes})


def test_a_lock_of_a_suite_that_this_release_does_not_speak_is_not_compared(chain: Chain, all_three: Any) -> None:
    """Said before all else, a missing segment for instance: such a lock's boundaries may mean something else."""
    bundles, locks = all_three
    for number in range(2):
        given = [_repinned(lock, suite="sumcheck/0") if place == number else lock for place, lock in enumerate(locks[:2])]
        chain.refused(bundles[:2], given, "engine-version", 2)


@pytest.mark.parametrize("change", [{"high": 254}, {"low": -1}, {"exponent": 1}, {"mantissa": 1}, {"zero_point": 1}])
@pytest.mark.parametrize("number", [1, 2])
def test_each_pin_of_a_boundary_is_compared(chain: Chain, all_three: Any, number: int, change: dict[str, int]) -> None:
    bundles, locks = all_three
    lock = locks[number - 1]
    options = dict(lock.section(EngineName.SUMCHECK)["options"])
    pins = [{**one, **change} if one["value"] == "max_pool2d" else one for one in options["boundary"]]
    locks[number - 1] = _repinned(lock, options={**options, "boundary": pins})
    problem = chain.refused(bundles, locks, "chain-locks", 2)
    assert "scales, ranges or zero points" in problem.message
    unpinned = [one for one in options["boundary"] if one["value"] != "max_pool2d"]
    locks[number - 1] = _repinned(lock, options={**options, "boundary": unpinned})
    assert "no pinned boundary" in chain.refused(bundles, locks, "chain-locks", 2).message


def test_one_cell_changed_on_the_way_breaks_the_chain(chain: Chain, all_three: Any, tmp_path: Path) -> None:
    bundles, locks = all_three
    arrays = read_npz((chain.root / "evidence" / "1.npz").read_bytes(), "npz")
    (name, values), step = next(iter(arrays.items())), float(_boundary(chain, "max_pool2d").step)
    values.reshape(-1)[5] += step if values.reshape(-1)[5] < 100 * step else -step
    (tmp_path / "changed.npz").write_bytes(write_npz({name: values}))
    assert (
        run(["prove", str(chain.folder(2)), str(tmp_path / "changed.npz"), "-o", str(tmp_path / "e"), "-q", "--limit", "1"])
        == 0
    )
    chain.refused([bundles[0], tmp_path / "e" / "000000", bundles[2]], locks, "chain-broken", 1)


def test_a_false_bundle_in_the_chain_is_refused(chain: Chain, all_three: Any, tmp_path: Path) -> None:
    bundles, locks = all_three
    copy = shutil.copytree(bundles[1], tmp_path / "copy")
    statement = copy / "payload" / "statement.bin"
    statement.write_bytes((bundles[2] / "payload" / "statement.bin").read_bytes())
    with pytest.raises(EvidenceRejected):
        chain.verify([bundles[0], copy, bundles[2]], locks)


def test_another_engines_proof_is_no_link(chain: Chain, all_three: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock may pin ezkl beside sumcheck; its digests and scales are others, and no boundary pins its ranges."""

    def as_ezkl(*arguments: Any, **more: Any) -> VerifiedBundle:
        found = verify_bundle(*arguments, **more)
        return replace(found, statement=replace(found.statement, engine=EngineName.EZKL))

    monkeypatch.setattr(stage, "verify_bundle", as_ezkl)
    chain.refused(*all_three, "chain-broken", 1)


def test_what_the_verifier_knows_is_compared_at_the_ends(chain: Chain, all_three: Any) -> None:
    chain.refused(*all_three, "context-mismatch", 1, expect=Expectations(context="another"))
    images = np.load(FIXTURE / "heldout.npz")["image"]
    first, second = (images[n].reshape(1, *images.shape[-3:]) for n in (0, 1))
    chain.verify(*all_three, expect=Expectations(inputs={"image": first}))
    chain.refused(*all_three, "input-mismatch", 1, expect=Expectations(inputs={"image": second}))
    with pytest.raises(VerifaiError):
        chain.verify(*all_three, expect=Expectations(outputs={"relu_1": np.zeros((1, 16, 1, 1))}))


def test_another_model_does_not_split_into_the_pinned_segments(chain: Chain, all_three: Any, tmp_path: Path) -> None:
    other = load_path(FIXTURE.parent / "digits-mlp" / "model.onnx")
    chain.refused(*all_three, "chain-model-differs", 1, model=other)
    bundles, locks = all_three
    forged = [replace(lock, model_sha256=locks[0].model_sha256) for lock in locks]
    chain.refused(bundles, forged, "chain-model-differs", 1, model=load_path(FIXTURE / "model.onnx"))


def test_a_boundary_that_the_circuit_does_not_have_is_a_broken_lock(chain: Chain) -> None:
    section = parse_section(chain.lock(2).section(EngineName.SUMCHECK))
    circuit = decode((chain.bundle(2) / "payload" / "circuit.bin").read_bytes())
    check_boundary(section, circuit)
    scale = section.options.boundary["max_pool2d"]
    for change in ({"high": 254}, {"low": -1}, {"exponent": scale.exponent + 1}, {"zero_point": 1}):
        options = replace(section.options, boundary={**section.options.boundary, "max_pool2d": replace(scale, **change)})
        with pytest.raises(UsageError) as caught:
            check_boundary(replace(section, options=options), circuit)
        assert caught.value.code == "bad-lock"
    options = replace(section.options, boundary={"elsewhere": scale})
    with pytest.raises(UsageError):
        check_boundary(replace(section, options=options), circuit)


def test_the_command_line_says_what_holds_and_ends_with_the_contracts_status(
    chain: Chain, all_three: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def ending(samples: Sequence[int], segments: Sequence[int] = (1, 2, 3)) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        bundles = [str(chain.bundle(n, s)) for n, s in zip(segments, samples, strict=True)]
        locks = [word for n in segments for word in ("--lock", str(chain.folder(n)))]
        status = run(["verify-chain", *bundles, *locks, "--json"])
        return status, json.loads(capsys.readouterr().out)

    status, document = ending((1, 1, 1))
    assert status == 0 and document["verdict"] == "accepted" and len(document["bundles"]) == 3
    assert any("took exactly the integers" in words for words in document["claims"])
    assert any("was not checked" in words for words in document["claims"])
    status, document = ending((0, 1, 1))
    assert status == 1 and document["verdict"] == "rejected" and document["error"]["code"] == "chain-broken"
    assert ending((0, 0), (1, 2))[0] == 3
    assert ending((0, 0), (2, 1))[0] == 2
