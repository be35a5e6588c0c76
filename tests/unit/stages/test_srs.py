"""Set-up files through the stage: every file is judged when it is read, and test material is never taken unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.cli.app import run
from verifai.engines.ezkl.srs.store import STORE_VARIABLE
from verifai.errors import EvidenceRejected, UsageError
from verifai.stages import srs

FIXTURE = ROOT / "fixtures" / "srs" / "INSECURE-TEST-k09.srs"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "store"))
    return tmp_path / "store"


def test_test_material_is_refused_unless_it_is_asked_for(store: Path) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        srs.import_file(FIXTURE)
    assert caught.value.code == "srs-not-ceremony" and not store.exists()


def test_a_file_that_is_no_srs_is_refused_wherever_it_lies(store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.srs"
    broken.write_bytes(FIXTURE.read_bytes()[:-1])
    for ask in (srs.judge_file, lambda path: srs.import_file(path, allow_test=True)):
        with pytest.raises(EvidenceRejected) as caught:
            ask(broken)
        assert caught.value.code == "srs-malformed"
    store.mkdir()
    shutil.copyfile(broken, store / "INSECURE-TEST-k09-000000000000.srs")
    with pytest.raises(EvidenceRejected):
        srs.list_files()


def test_a_file_that_is_not_there_and_sizes_that_no_file_has_are_refused(store: Path, tmp_path: Path) -> None:
    refusals = {
        "file-missing": lambda: srs.judge_file(tmp_path / "absent.srs"),
        "bad-option": lambda: srs.generate_file(0),
        "file-exists": lambda: srs.cut_file(FIXTURE, 8, FIXTURE),
    }
    for code, ask in refusals.items():
        with pytest.raises(UsageError) as caught:
            ask()
        assert caught.value.code == code


def test_what_is_imported_is_listed_with_its_judgement(store: Path) -> None:
    assert srs.list_files() == srs.StoredFiles(store, ())
    made = srs.import_file(FIXTURE, allow_test=True)
    assert srs.list_files().files == (made,)
    judged = srs.judge_file(FIXTURE)
    assert (made.logrows, made.sha256, made.size, made.trust) == (9, judged.sha256, judged.size, "INSECURE-TEST")
    assert made.insecure and made.path.parent == store and made.size == FIXTURE.stat().st_size


def test_a_store_elsewhere_leaves_the_user_s_alone(store: Path, tmp_path: Path) -> None:
    made = srs.generate_file(3, root=tmp_path / "elsewhere")
    assert made.path.parent == tmp_path / "elsewhere" and made.insecure and not store.exists()


def test_the_command_line_says_what_the_stage_found(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["srs", "import", str(FIXTURE), "--json"]) == 1
    assert run(["srs", "import", str(FIXTURE), "--test", "-q"]) == 0
    capsys.readouterr()
    assert run(["srs", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (file,) = document["files"]
    assert document["store"] == str(store) and file["trust"] == "INSECURE-TEST"
    assert {"path", "logrows", "sha256", "trust", "bytes"} == set(file)
    assert run(["srs", "check", str(FIXTURE)]) == 0
    assert "can forge every proof" in " ".join(capsys.readouterr().out.split())
