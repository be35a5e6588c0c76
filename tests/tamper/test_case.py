"""Cases that are mailed: what came with the evidence is never trusted by itself, and nothing in the file can hide or grow."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.bundle.archive_format import DATE_TIME
from verifai.bundle.case import CASE, is_case, open_case, write_case
from verifai.cli.app import run
from verifai.domain.spoken import GROUPS, is_spoken, spoken
from verifai.errors import EvidenceRejected, UsageError, VerifaiError
from verifai.stages.handover import HandoverRequest, case_trust, hand_over, judge_anchors

V1 = ROOT / "fixtures" / "bundles" / "v1"
FOLDER, TRUST, LOCK = V1 / "accept" / "folder", V1 / "trust.toml", V1 / "circuit.lock"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("case") / "case.verifai"
    hand_over(made, HandoverRequest((FOLDER,), trust=TRUST, report=False))
    return made


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rebuilt(path: Path, change: Callable[[dict[str, bytes]], None], target: Path, **options: Any) -> Path:
    """A case whose maker changed what he liked and wrote it well; ``options`` of the zip are not ours."""
    files = members(path)
    change(files)
    with zipfile.ZipFile(target, "w", options.get("method", zipfile.ZIP_STORED)) as archive:
        for name in sorted(files) if not options.get("unsorted") else sorted(files, reverse=True):
            info = zipfile.ZipInfo(name, options.get("date", DATE_TIME))
            info.create_system, info.external_attr = 3, options.get("mode", 0o100644) << 16
            info.compress_type = options.get("method", zipfile.ZIP_STORED)
            archive.writestr(info, files[name])
    return target


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = run([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_what_came_with_the_evidence_is_not_accepted_by_itself(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = told(["verify", str(case), "--allow-test-srs"], capsys)
    assert (status, found["bundles"][0]["verdict"]) == (3, "policy-not-met")
    assert {one["code"] for one in found["findings"]} >= {"proof-valid", "anchors-came-along"}
    assert str(case) in found["bundles"][0]["path"]


def test_the_fingerprint_that_was_told_makes_it_an_acceptance(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_case(case) as opened:
        digits = spoken(opened.anchors)
    for one in (digits, digits.replace(" ", ""), digits.replace(" ", "-")):
        status, found = told(["verify", str(case), "--allow-test-srs", "--anchors", one], capsys)
        assert (status, found["bundles"][0]["verdict"]) == (0, "accepted")
    wrong = ("1" if digits[0] == "0" else "0") + digits[1:]
    refused = {wrong: (1, "anchors-differ"), **dict.fromkeys((digits[:-1], digits[:30], "", "0"), (2, "bad-option"))}
    for one, expected in refused.items():
        status, found = told(["verify", str(case), "--allow-test-srs", "--anchors", one], capsys)
        assert (status, found["error"]["code"]) == expected, one


def test_ones_own_lock_and_trust_file_judge_a_case_as_any_bundle(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = told(["verify", str(case), "--lock", str(LOCK), "--allow-test-srs"], capsys)
    assert status == 0
    status, found = told(["audit", str(case), "--trust", str(TRUST), "--no-rederive"], capsys)
    assert (status, found["bundles"][0]["verdict"]) == (0, "holds")
    status, found = told(["audit", str(case), "--no-rederive"], capsys)
    assert (status, found["bundles"][0]["verdict"]) == (3, "policy-not-met")


@pytest.mark.parametrize("verb", ["audit", "verify"])
def test_a_fingerprint_beside_ones_own_lock_or_trust_file_is_compared_too(
    verb: str, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever gives digits wants to know whether they fit, whatever else decides."""
    own = ["--trust", str(V1 / "trust.toml"), "--no-rederive"] if verb == "audit" else ["--lock", str(V1 / "circuit.lock")]
    own += ["--allow-test-srs"] if verb == "verify" else []
    with open_case(case) as opened:
        right = spoken(opened.anchors)
    assert run([verb, str(case), *own, "--anchors", right]) == 0
    wrong = ("1" if right[0] != "1" else "2") + right[1:]
    other_script = right.translate({ord("0") + one: 0x0660 + one for one in range(10)})
    for false, status in ((wrong, 1), *((one, 2) for one in (right[:-1], right[:29], "", " ", other_script))):
        capsys.readouterr()
        assert run([verb, str(case), *own, "--anchors", false]) == status, false
        assert ("anchors-differ" if status == 1 else "bad-option") in "".join(capsys.readouterr())


def test_another_trust_file_or_lock_has_another_fingerprint(case: Path, tmp_path: Path) -> None:
    with open_case(case) as opened:
        before = opened.anchors
    changes: dict[str, Callable[[dict[str, bytes]], None]] = {
        "trust": lambda files: files.update({"locks/trust.toml": files["locks/trust.toml"] + b"# and nothing else\n"}),
        "lock": lambda files: files.update({"locks/digits-mlp/circuit.lock": files["locks/digits-mlp/circuit.lock"] + b"#\n"}),
        "no trust": lambda files: files.pop("locks/trust.toml") and None,
        "one more lock": lambda files: files.update({"locks/other/circuit.lock": files["locks/digits-mlp/circuit.lock"]}),
    }
    for name, change in changes.items():
        with open_case(rebuilt(case, change, tmp_path / f"{name}.verifai")) as opened:
            assert opened.anchors != before, name


def test_pages_are_no_anchors(case: Path, tmp_path: Path) -> None:
    """Nothing is read from them, so they do not change what is compared."""
    with (
        open_case(case) as opened,
        open_case(rebuilt(case, lambda files: files.update({"report.html": b"all is well"}), tmp_path / "c")) as other,
    ):
        assert opened.anchors == other.anchors


HOSTILE_NAMES = [
    "../outside", "bundles/../../outside.vbundle", "/etc/passwd", "bundles/a/b.vbundle", "locks/UP/circuit.lock",
    "locks/x/../../y", "locks/digits-mlp/circuit.toml", "bundles/.vbundle", "bundles/x.vbundle ", "locks/trust.toml~",
    "CASE.json", "Bundles/x.vbundle", "bundles/x.VBUNDLE", "report.htm", "locks/digits-mlp/circuit.lock/x",
    "bundles\\x.vbundle",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_no_case_has_is_refused(name: str, case: Path, tmp_path: Path) -> None:
    made = rebuilt(case, lambda files: files.update({name: b"x"}), tmp_path / "hostile.verifai")
    with pytest.raises(EvidenceRejected) as problem, open_case(made):
        pass
    assert problem.value.code in ("bad-case", "bad-archive", "path-collision")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"method": zipfile.ZIP_DEFLATED},
        {"date": (2026, 1, 1, 0, 0, 0)},
        {"mode": 0o120777},
        {"unsorted": True},
    ],
    ids=["compressed", "dated", "links", "unsorted"],
)
def test_a_zip_that_leaves_anything_open_is_refused(options: dict[str, Any], case: Path, tmp_path: Path) -> None:
    made = rebuilt(case, lambda files: None, tmp_path / "hostile.verifai", **options)
    with pytest.raises(EvidenceRejected) as problem, open_case(made):
        pass
    assert problem.value.code == "bad-archive"


def test_bytes_before_between_and_behind_are_refused(case: Path, tmp_path: Path) -> None:
    data = case.read_bytes()
    for index, other in enumerate((b"x" + data, data + b"x", data[:-1], data[: len(data) // 2], data + data)):
        made = tmp_path / f"{index}.verifai"
        made.write_bytes(other)
        with pytest.raises(VerifaiError), open_case(made):
            pass


def test_a_name_that_comes_twice_is_refused(case: Path, tmp_path: Path) -> None:
    """Two readers could take another one of two trust files each."""
    files = members(case)
    made = tmp_path / "twice.verifai"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(made, "w") as archive:
        for name in sorted([*files, "locks/trust.toml"]):
            info = zipfile.ZipInfo(name, DATE_TIME)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, files[name])
    with pytest.raises(EvidenceRejected) as problem, open_case(made):
        pass
    assert problem.value.code == "path-collision"


def test_a_lock_that_lies_about_its_circuit_is_refused(case: Path, tmp_path: Path) -> None:
    def moved(files: dict[str, bytes]) -> None:
        files["locks/lenet5/circuit.lock"] = files.pop("locks/digits-mlp/circuit.lock")
        files["locks/trust.toml"] = files["locks/trust.toml"].replace(b"[circuits.digits-mlp]", b"[circuits.lenet5]")

    with open_case(rebuilt(case, moved, tmp_path / "c")) as opened, pytest.raises(EvidenceRejected, match="is that of"):
        case_trust(opened)


def test_a_trust_file_in_a_case_reads_nothing_of_its_readers_disk(case: Path, tmp_path: Path) -> None:
    secret = tmp_path / "mine.lock"
    shutil.copy(LOCK, secret)
    for place in (str(secret), "../../../../etc/passwd", "circuit.lock"):

        def by_place(files: dict[str, bytes], place: str = place) -> None:
            line = f'[circuits.digits-mlp]\nlock = "{place}"\n'.encode()
            files["locks/trust.toml"] = files["locks/trust.toml"].replace(b"[circuits.digits-mlp]\n", line)

        with open_case(rebuilt(case, by_place, tmp_path / "c")) as opened, pytest.raises(EvidenceRejected, match="by a place"):
            case_trust(opened)


def test_a_lock_without_trust_and_trust_without_a_lock_are_refused(case: Path, tmp_path: Path) -> None:
    def one_more(files: dict[str, bytes]) -> None:
        files["locks/other/circuit.lock"] = files["locks/digits-mlp/circuit.lock"]

    with open_case(rebuilt(case, one_more, tmp_path / "c")) as opened, pytest.raises(EvidenceRejected, match="same circuits"):
        case_trust(opened)
    bare = rebuilt(case, lambda files: files.pop("locks/trust.toml") and None, tmp_path / "d")
    with open_case(bare) as opened, pytest.raises(EvidenceRejected, match="no trust file"):
        case_trust(opened)


def test_two_locks_for_one_circuit_are_not_handed_over(tmp_path: Path) -> None:
    other = tmp_path / "circuit.lock"
    other.write_bytes(LOCK.read_bytes() + b"# another one\n")
    with pytest.raises(UsageError, match="two locks"):
        hand_over(tmp_path / "case.verifai", HandoverRequest((FOLDER,), (other,), TRUST, report=False))
    assert not (tmp_path / "case.verifai").exists()


def test_false_evidence_is_not_handed_over(tmp_path: Path) -> None:
    false = V1 / "reject" / "resealed-instance.vbundle"
    with pytest.raises(EvidenceRejected, match="not handed over"):
        hand_over(tmp_path / "case.verifai", HandoverRequest((false,), trust=TRUST))
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_was_changed_in_a_case_is_found_as_anywhere(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def exchanged(files: dict[str, bytes]) -> None:
        files["bundles/folder.vbundle"] = (V1 / "reject" / "proof-byte.vbundle").read_bytes()

    made = rebuilt(case, exchanged, tmp_path / "case.verifai")
    status, found = told(["verify", str(made), "--lock", str(LOCK), "--allow-test-srs"], capsys)
    assert (status, found["bundles"][0]["verdict"]) == (1, "rejected")


def test_a_case_is_judged_alone(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = told(["verify", str(case), str(FOLDER), "--lock", str(LOCK)], capsys)
    assert (status, found["error"]["code"]) == (2, "bad-option")
    status, found = told(["verify", str(FOLDER), "--lock", str(LOCK), "--anchors", "1"], capsys)
    assert (status, found["error"]["code"]) == (2, "bad-option")


def test_a_case_among_bundles_leaves_the_whole_undecided(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds evidence that nobody looked at; a note beside status 0 would let false evidence pass unseen."""
    shutil.copytree(FOLDER, tmp_path / "000000")
    for arguments in (["verify", "--lock", str(LOCK), "--allow-test-srs"], ["audit", "--trust", str(TRUST), "--no-rederive"]):
        shutil.copy(case, tmp_path / "mail.verifai")
        status, found = told([*arguments, str(tmp_path)], capsys)
        assert status == 4 and "not-a-bundle" in {one["code"] for one in found["findings"]}
        assert any("it is a case" in one["message"] for one in found["findings"])
        (tmp_path / "mail.verifai").unlink()
        assert told([*arguments, str(tmp_path)], capsys)[0] == 0


def test_a_case_is_told_from_a_bundle(case: Path) -> None:
    assert is_case(case)
    assert not any(is_case(path) for path in (V1 / "accept").iterdir())
    assert not is_case(ROOT / "nothing")


def test_the_same_things_make_the_same_case(case: Path, tmp_path: Path) -> None:
    hand_over(tmp_path / "again", HandoverRequest((FOLDER,), trust=TRUST, report=False))
    assert (tmp_path / "again").read_bytes() == case.read_bytes()


def test_bundles_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(V1 / "accept" / "single-file.vbundle", tmp_path / name / "ä bundle.vbundle")
    paths = tuple(tmp_path / name / "ä bundle.vbundle" for name in ("a", "b"))
    made = hand_over(tmp_path / "case", HandoverRequest(paths, trust=TRUST, report=False))
    assert made.bundles == ("bundle", "bundle-2") or len(set(made.bundles)) == 2
    with open_case(tmp_path / "case") as opened:
        assert len(opened.bundles) == 2


def test_a_case_without_a_bundle_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_case(tmp_path / "case", {"report.html": b""})
    with pytest.raises(UsageError):
        write_case(tmp_path / "case", {"bundles/x.vbundle": b"", "../x": b""})
    assert CASE == "case.json" and not list(tmp_path.iterdir())


def test_the_telephone_fingerprint_is_all_of_the_digest(case: Path) -> None:
    with open_case(case) as opened:
        finding = judge_anchors(opened, opened.anchors)
        assert finding.code == "anchors-confirmed"
    digits = spoken("00" * 31 + "01")
    assert digits == " ".join(["00000"] * (GROUPS - 1) + ["00001"])
    assert is_spoken(digits, "00" * 31 + "01") and not is_spoken(digits, "00" * 31 + "02")
    assert not is_spoken("00" * 16, "00" * 32)
