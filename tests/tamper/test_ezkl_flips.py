"""Every byte of a proof, settings, key and SRS file matters: flipping any of them is never accepted.

Three forms. As is: the digests in the lock catch settings and keys, the parser or ezkl the proof. Re-pinned: the lock's digests
are those of the tampered files, so that what stands behind them is reached; what ezkl then takes for the same circuit, the
audit refuses. SRS: its points are judged, whoever pins them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ezkl_batch import ACCEPTED, Case, Verdict, flipped, judge, repinned
from tests.support.ezkl_small import SRS, SmallCircuit
from verifai.domain.findings import Outcome
from verifai.engines.ezkl.lock_section import parse_section
from verifai.engines.ezkl.srs.file import read_srs
from verifai.errors import EvidenceRejected, UsageError

FALSE = {(1, "proof-malformed"), (1, "proof-invalid"), (1, "instance-out-of-range")}
"""What a tampered proof comes to: refused by the parser, by ezkl, or as a value that no tensor holds."""
Tell = Callable[[str, Counter[Verdict]], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print how many cases were tried, and what became of them."""

    def say(what: str, verdicts: Counter[Verdict]) -> None:
        with capsys.disabled():
            named = {verdict: f"{verdict[1]} ({verdict[0]})" for verdict in verdicts}
            named[ACCEPTED] = "left by ezkl to the audit, which refuses them"
            shown = ", ".join(f"{count} {named[verdict]}" for verdict, count in sorted(verdicts.items()))
            print(f"\n  {what}: {verdicts.total()} cases: {shown}")

    return say


def test_every_byte_of_the_proof_file_matters(small_public: SmallCircuit, tell: Tell) -> None:
    data = small_public.files["proof.json"]
    cases = [Case({**small_public.files, "proof.json": flipped(data, at)}) for at in range(len(data))]
    verdicts = Counter(judge(small_public, cases))
    tell("proof.json, one bit of every byte", verdicts)
    assert set(verdicts) == FALSE
    assert verdicts.total() == len(data)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [2, 4, 8, 16, 32, 64, 128])
def test_every_other_bit_of_the_proof_file_matters(small_public: SmallCircuit, tell: Tell, mask: int) -> None:
    data = small_public.files["proof.json"]
    cases = [Case({**small_public.files, "proof.json": flipped(data, at, mask)}) for at in range(len(data))]
    verdicts = Counter(judge(small_public, cases))
    tell(f"proof.json, bit {mask} of every byte", verdicts)
    assert set(verdicts) <= FALSE


@pytest.mark.parametrize(("name", "code"), [("settings.json", "settings-not-pinned"), ("vk.key", "vk-not-pinned")])
def test_every_byte_of_settings_and_key_is_pinned(small_public: SmallCircuit, tell: Tell, name: str, code: str) -> None:
    data = small_public.files[name]
    cases = [Case({**small_public.files, name: flipped(data, at)}) for at in range(len(data))]
    verdicts = Counter(judge(small_public, cases))
    tell(f"{name}, one bit of every byte", verdicts)
    assert verdicts == {(1, code): len(data)}


def _repinned_cases(circuit: SmallCircuit, name: str, positions: list[int]) -> list[Case]:
    cases = []
    for at in positions:
        files = {**circuit.files, name: flipped(circuit.files[name], at)}
        cases.append(Case(files, repinned(circuit.section, files)))
    return cases


def _judge_repinned(circuit: SmallCircuit, name: str, positions: list[int], tmp_path: Path, tell: Tell) -> None:
    cases = _repinned_cases(circuit, name, positions)
    verdicts = judge(circuit, cases)
    tell(f"{name}, re-pinned", Counter(verdicts))
    assert all(status in (0, 1, 4) for status, _ in verdicts)
    taken = [case for case, verdict in zip(cases, verdicts, strict=True) if verdict == ACCEPTED]
    # To ezkl these are the same circuit; the lock was changed, and only an audit can see that.
    for number, case in enumerate(taken[:5]):
        folder = tmp_path / str(number)
        folder.mkdir()
        request = circuit.request(folder, case.files, section=case.section)
        rejected = [
            finding.code for finding in circuit.engine.rederive(request, circuit.model) if finding.outcome is Outcome.REJECTED
        ]
        assert rejected == ["settings-not-rederived" if name == "settings.json" else "vk-not-rederived"]


@pytest.mark.parametrize("name", ["settings.json", "vk.key"])
def test_behind_a_changed_lock_ezkl_or_the_audit_objects(
    small_public: SmallCircuit, tmp_path: Path, tell: Tell, name: str
) -> None:
    size = len(small_public.files[name])
    positions = sorted({*range(16), *random.Random(7).sample(range(size), 150), *range(size - 8, size)})
    _judge_repinned(small_public, name, positions, tmp_path, tell)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["settings.json", "vk.key"])
def test_behind_a_changed_lock_ezkl_or_the_audit_objects_to_every_byte(
    small_public: SmallCircuit, tmp_path: Path, tell: Tell, name: str
) -> None:
    _judge_repinned(small_public, name, list(range(len(small_public.files[name]))), tmp_path, tell)


def test_every_byte_of_the_pinned_srs_is_judged(small_public: SmallCircuit, tell: Tell) -> None:
    verdicts: Counter[Verdict] = Counter()
    verifier = bytes.fromhex(small_public.section["srs"]["verifier"])
    for at in range(len(verifier)):
        srs = {**small_public.section["srs"], "verifier": flipped(verifier, at).hex()}
        with pytest.raises(UsageError) as caught:
            parse_section({**small_public.section, "srs": srs})
        verdicts[(caught.value.status, caught.value.code)] += 1
    tell("the lock's verifier SRS, one bit of every byte", verdicts)
    assert verdicts == {(2, "bad-lock"): 516}


def _srs_file(folder: Path, logrows: int) -> bytes:
    from verifai.engines.ezkl.srs.store import SrsStore

    return SrsStore(folder / "store").generate(logrows).path.read_bytes()


def test_every_byte_of_an_srs_file_is_judged(tmp_path: Path, tell: Tell) -> None:
    data = _srs_file(tmp_path, 3)
    path = tmp_path / "flipped.srs"
    verdicts: Counter[Verdict] = Counter()
    for at in range(len(data)):
        path.write_bytes(flipped(data, at))
        with pytest.raises(EvidenceRejected) as caught:
            read_srs(path)
        verdicts[(caught.value.status, caught.value.code)] += 1
    tell("SRS file of k = 3, one bit of every byte", verdicts)
    assert verdicts == {(1, "srs-malformed"): len(data)}


def test_the_repository_s_srs_is_test_material() -> None:
    assert read_srs(SRS).trust.value == "INSECURE-TEST"
