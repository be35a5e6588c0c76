"""Roots of private weights from the command line's functions: registered, spent, renewed; and files of a bundle exchanged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.openings import repeated_openings
from verifai.domain.statement import EngineName
from verifai.engines.sumcheck import proving
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.engines.sumcheck.secrets import reserved
from verifai.engines.sumcheck.secrets.store import UsableRoot, usable_root
from verifai.engines.sumcheck.verifying import check_payload
from verifai.errors import EvidenceRejected, UsageError
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.compile import compile_circuit
from verifai.stages.prove import prove
from verifai.stages.verify import verify_bundle
from verifai.stages.weights import renew_root, show_roots

FIXTURE = ROOT / "fixtures" / "digits-mlp"
SPEC = f"""
[circuit]
name = "hidden"
model = "{FIXTURE / "model.onnx"}"
engine = "sumcheck"
[tensors]
pixels = "private"
logits = "public"
[weights]
visibility = "private"
[calibration]
data = "{FIXTURE / "calibration.npz"}"
samples = 20
[engine.sumcheck]
opening_budget = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CircuitFolder:
    path = tmp_path_factory.mktemp("hidden")
    (path / "circuit.toml").write_text(SPEC)
    compile_circuit(CircuitFolder(path))
    return CircuitFolder(path)


def proven(folder: CircuitFolder, output: Path, count: int = 1) -> list[Path]:
    samples = read_samples(FIXTURE / "heldout.npz", folder.model).samples[:count]
    return [bundle.path for bundle in prove(folder, samples, output)]


def payload(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in (path / "payload").iterdir() if one.name != "sbom.cdx.json"}


def test_a_root_from_its_first_opening_to_its_last(folder: CircuitFolder, tmp_path: Path) -> None:
    lock = folder.lock()
    section = parse_section(lock.section(EngineName.SUMCHECK))
    assert [(one.used, one.budget, one.pinned) for one in show_roots(folder)] == [(1, 4, True)]  # the registration
    first, second = proven(folder, tmp_path / "a", 2)
    with pytest.raises(UsageError) as caught:  # the last opening is kept for a link
        proven(folder, tmp_path / "b")
    assert caught.value.code == "opening-budget-spent" and "renew" in caught.value.hint
    renew_root(folder)
    assert [(one.used, one.pinned) for one in show_roots(folder)] == [(4, True), (1, False)]
    third = proven(folder, tmp_path / "c")[0]
    verified = [verify_bundle(path, lock) for path in (first, second, third)]
    opened = [one.statement.openings[0] for one in verified]
    assert [len(one.statement.openings) for one in verified] == [2, 2, 4]
    assert not any(repeated_openings([one.opened for one in verified])), "one registration in three bundles is one opening"
    assert [one.number for one in opened] == [1, 2, 1] and opened[0].root == opened[1].root != opened[2].root
    assert opened[0].root == section.weights_sha256
    told = {finding.code: finding.message for finding in verified[2].findings}
    for code in ("sumcheck-weights-registered", "sumcheck-weights-linked", "proof-valid"):
        assert "bits per step, per hash evaluation, unaudited" in told[code]
    with pytest.raises(UsageError) as caught:
        renew_root(folder)
    assert caught.value.code == "opening-budget-spent"
    for path in (first, third):
        assert not any(name.endswith((".secret", ".openings", ".onnx")) for name in payload(path))

    pinned, linked = payload(first), payload(third)
    assert check_payload(section, pinned).roots is not None and check_payload(section, linked).roots is not None
    swaps = {
        "no registration": {name: data for name, data in pinned.items() if name != "registration.bin"},
        "an empty registration": {**pinned, "registration.bin": b""},
        "a registration of another number": {**pinned, "registration.bin": _changed(pinned["registration.bin"], 30)},
        "a registration's last byte": {**pinned, "registration.bin": _changed(pinned["registration.bin"], -1)},
        "a link that the proof did not use": {**pinned, "link.bin": linked["link.bin"]},
        "no link": {name: data for name, data in linked.items() if name != "link.bin"},
        "another epoch root": {**linked, "link.bin": _changed(linked["link.bin"], 25)},
        "a link's last byte": {**linked, "link.bin": _changed(linked["link.bin"], -1)},
        "a registration in the link's place": {**linked, "link.bin": linked["registration.bin"]},
        "the pinned root's proof": {**linked, "proof.bin": pinned["proof.bin"], "statement.bin": pinned["statement.bin"]},
        "a stranger beside them": {**linked, "weights.bin": b""},
    }
    for what, files in swaps.items():
        with pytest.raises(EvidenceRejected):
            check_payload(section, files)
            pytest.fail(what)


def _changed(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def test_a_lost_ledger_kills_the_root_and_a_lost_seed_too(folder: CircuitFolder, tmp_path: Path) -> None:
    for ending, code in (("openings", "opening-ledger-missing"), ("secret", "weights-secret-missing")):
        copy = CircuitFolder(tmp_path / ending)
        shutil.copytree(folder.folder, copy.folder)
        root = parse_section(copy.lock().section(EngineName.SUMCHECK)).weights_sha256
        secrets = copy.secrets_dir(EngineName.SUMCHECK)
        for link in secrets.glob("*.link"):
            link.unlink()
        (secrets / f"weights-{root[:16]}.{ending}").unlink()
        with pytest.raises(UsageError) as caught:
            compile_circuit(copy, locked=True)
        assert caught.value.code == code
        with pytest.raises(UsageError):
            proven(copy, tmp_path / f"{ending}-out")
        assert not (secrets / f"weights-{root[:16]}.{ending}").exists(), "a lost file was made again"


def test_a_number_is_on_disk_before_a_proof_begins_and_is_lost_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it written afterwards, a prover that is killed in between would open one root twice under one number."""
    (tmp_path / "circuit.toml").write_text(SPEC)
    compile_circuit(CircuitFolder(tmp_path))
    folder, seen = CircuitFolder(tmp_path), []

    def killed(*given: object, opening_number: int, **more: object) -> None:
        seen.append((opening_number, show_roots(folder)[0].used))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(proving.prover, "prove", killed)
        with pytest.raises(KeyboardInterrupt):
            proven(folder, tmp_path / "a")
    assert seen == [(1, 2)]  # number 0 was the registration's
    verified = verify_bundle(proven(folder, tmp_path / "b")[0], folder.lock())
    assert verified.statement.openings[0].number == 2


def test_who_takes_numbers_at_the_same_time_leaves_the_one_for_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking for a root and taking its number another process takes the last one that proofs may have."""
    (tmp_path / "circuit.toml").write_text(SPEC)
    folder = CircuitFolder(tmp_path)
    compile_circuit(folder)
    genuine, secrets = proving.usable_root, folder.secrets_dir(EngineName.SUMCHECK)

    def slow(*arguments: Any) -> UsableRoot:
        found = genuine(*arguments)
        found.reserve(2)
        return found

    monkeypatch.setattr(proving, "usable_root", slow)
    with pytest.raises(UsageError) as caught:
        proven(folder, tmp_path / "a")
    assert caught.value.code == "opening-budget-spent"
    assert [(one.used, one.budget) for one in show_roots(folder)] == [(3, 4)]
    renew_root(folder)
    # The same for a block: where the last ones are gone, it is of the next root.
    section = parse_section(folder.lock().section(EngineName.SUMCHECK))
    renewed = usable_root(secrets, section.weights_sha256)
    races = iter([lambda: renewed.reserve(4)])

    def raced(*arguments: Any) -> UsableRoot:
        found = genuine(*arguments)
        next(races, lambda: None)()
        return found

    monkeypatch.setattr(reserved, "usable_root", raced)
    with pytest.raises(UsageError) as caught:
        reserved.reserve_openings(section, secrets, 2)
    assert caught.value.code == "opening-budget-spent" and "compile" in caught.value.hint
