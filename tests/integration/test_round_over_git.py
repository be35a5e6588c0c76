"""A round whose parties share nothing but a branch of git: a bare repository here, three working copies of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.bundle.keys import new_key
from verifai.cli import app as cli

MODEL = ROOT / "fixtures" / "digits-cnn" / "model.onnx"
NAMES = ("anna", "bo", "cem")

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs the program git")


def git(folder: Path, *arguments: str) -> str:
    own = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(own, check=True, capture_output=True, text=True).stdout


class Parties:
    """Three people, each with a working copy, a key and a private folder."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base, self.capsys = base, capsys
        subprocess.run(["git", "init", "-q", "--bare", "-b", "rounds", str(base / "bare.git")], check=True)
        first = self.clone("first")
        (first / "README").write_text("rounds\n")
        git(first, "checkout", "-q", "-B", "rounds")
        git(first, "add", "README")
        git(first, "commit", "-q", "-m", "begin")
        git(first, "push", "-q", "-u", "origin", "rounds")
        for name in NAMES:
            self.clone(name)
            new_key(base / f"{name}.key")
        data = np.load(ROOT / "fixtures" / "digits-cnn" / "heldout.npz")
        np.save(base / "inputs.npy", data[next(one for one in data if one != "label")][:2])

    def clone(self, name: str) -> Path:
        subprocess.run(
            ["git", "clone", "-q", str(self.base / "bare.git"), str(self.base / name)], check=True, capture_output=True
        )
        return self.base / name

    def folder(self, name: str) -> Path:
        return self.base / name / "round"

    def run(self, *arguments: str) -> tuple[int, str]:
        status = cli.run(list(arguments))
        said = self.capsys.readouterr()
        return status, said.out + said.err

    def init(self) -> None:
        voters = [part for name in NAMES for part in ("--voter", str(self.base / f"{name}.key.pub"))]
        key, state = str(self.base / "anna.key"), str(self.base / "state-anna")
        where = (str(self.folder("anna")), str(MODEL), str(self.base / "inputs.npy"))
        status, said = self.run("round", "init", *where, "--kind", "exact", *voters, "--key", key, "--git", "--state", state)
        assert status == 0, said
        assert f"--key {key} --state {state} --git`" in said, "the printed commands are complete"

    def join(self, name: str, *more: str) -> tuple[int, str]:
        chair = () if name == "anna" else ("--coordinator", str(self.base / "anna.key.pub"))
        own = ("--key", str(self.base / f"{name}.key"), "--state", str(self.base / f"state-{name}"), "--git", "--wait", "0")
        return self.run("round", "join", str(self.folder(name)), *own, *chair, *more)

    def play(self, *names: str) -> dict[str, str]:
        """One look each, in turn, until nobody waits."""
        done: dict[str, str] = {}
        for _ in range(8):
            for name in names:
                if name not in done:
                    status, said = self.join(name)
                    assert status in (0, 4), said
                    if status == 0:
                        done[name] = said
        return done


@pytest.fixture
def parties(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Parties:
    return Parties(tmp_path, capsys)


def test_three_people_agree_and_no_file_is_carried(parties: Parties) -> None:
    parties.init()
    (parties.folder("anna") / "anna.key").write_text("a private key that lies in the wrong place")
    done = parties.play("bo", "cem", "anna")
    assert set(done) == set(NAMES) and all("3 of 3 votes agree" in said for said in done.values())
    seen = parties.clone("a reader")
    published = git(seen, "ls-files").splitlines()
    assert "round/decision/bundle.dsse.json" in published
    assert not [one for one in published if one.endswith(".key") or "secret" in one or "state" in one]
    assert len([one for one in published if "/votes/" in one]) == 3
    for name in NAMES:
        assert (parties.base / name / "README").read_text() == "rounds\n"


def test_a_branch_written_anew_and_files_removed_by_somebody_stop_nobody(parties: Parties) -> None:
    parties.init()
    assert parties.join("bo")[0] == 4 and parties.join("cem")[0] == 4
    attacker = parties.clone("attacker")
    for victim in (attacker / "round" / "commitments").iterdir():
        victim.unlink()
    (attacker / "round" / "voters" / "x.pub").write_text("noise")
    git(attacker, "add", "-A")
    git(attacker, "commit", "-q", "--amend", "-m", "nothing was here")
    git(attacker, "push", "-q", "--force", "origin", "rounds")
    done = parties.play("anna", "bo", "cem")
    assert set(done) == set(NAMES) and all("3 of 3 votes agree" in said for said in done.values())


def test_an_exchanged_vote_is_put_right_and_own_unpushed_work_elsewhere_stays(parties: Parties) -> None:
    parties.init()
    own = parties.base / "bo" / "notes.txt"
    own.write_text("not committed")
    assert parties.join("bo")[0] == 4
    attacker = parties.clone("attacker")
    (one,) = (attacker / "round" / "commitments").iterdir()
    one.write_text("{}")
    git(attacker, "commit", "-q", "-am", "forged")
    git(attacker, "push", "-q", "origin", "rounds")
    done = parties.play("cem", "anna", "bo")
    assert set(done) == set(NAMES)
    assert own.read_text() == "not committed"
    assert "notes.txt" not in git(parties.clone("a reader"), "ls-files")


@pytest.mark.parametrize("deep", [False, True])
def test_a_link_in_the_place_of_the_folder_leads_nobody_out_of_the_working_copy(deep: bool, parties: Parties) -> None:
    parties.init()
    assert parties.join("bo")[0] == 4
    treasure = parties.base / "treasure"
    shutil.copytree(parties.folder("bo"), treasure)
    before = sorted(str(one.relative_to(treasure)) for one in treasure.rglob("*"))
    attacker = parties.clone("attacker")
    git(attacker, "rm", "-q", "-r", "round/voters" if deep else "round")
    link = attacker / "round" / "voters" if deep else attacker / "round"
    link.symlink_to(treasure / "voters" if deep else treasure)
    git(attacker, "add", "-A")
    git(attacker, "commit", "-q", "-m", "look here")
    git(attacker, "push", "-q", "origin", "rounds")
    status, said = parties.join("bo")
    assert status in (2, 4) and "Traceback" not in said, said
    assert deep or "git-failed" in said
    assert sorted(str(one.relative_to(treasure)) for one in treasure.rglob("*")) == before, "nothing is written there"


@pytest.mark.parametrize("case", ["no git", "no upstream", "detached"])
def test_a_folder_that_no_branch_carries_is_refused_before_anything_is_written(case: str, parties: Parties) -> None:
    place = parties.base / "anna"
    if case == "no git":
        place = parties.base / "plain"
        place.mkdir()
    elif case == "no upstream":
        git(place, "checkout", "-q", "-b", "own")
    else:
        git(place, "checkout", "-q", "--detach")
    voters = [part for name in NAMES for part in ("--voter", str(parties.base / f"{name}.key.pub"))]
    where = (str(place / "round"), str(MODEL), str(parties.base / "inputs.npy"), "--kind", "exact")
    status, said = parties.run("round", "init", *where, *voters, "--key", str(parties.base / "anna.key"), "--git")
    assert status == 2 and "round-git" in said
    assert not (place / "round").exists()


def test_an_unreachable_branch_is_an_environment_problem_and_the_command_goes_on_later(parties: Parties) -> None:
    parties.init()
    (parties.base / "bare.git").rename(parties.base / "away.git")
    status, said = parties.join("bo")
    assert status == 4 and "git-failed" in said and "Traceback" not in said
    (parties.base / "away.git").rename(parties.base / "bare.git")
    assert set(parties.play("bo", "cem", "anna")) == set(NAMES)


def test_a_private_folder_inside_the_shared_one_is_refused(parties: Parties) -> None:
    parties.init()
    state = parties.folder("anna") / "state"
    own = ("--key", str(parties.base / "anna.key"), "--state", str(state), "--wait", "0")
    status, said = parties.run("round", "join", str(parties.folder("anna")), *own)
    assert status == 2 and "private folder lies in the shared one" in said
    assert not state.exists()


def test_json_says_the_same_with_and_without_git(parties: Parties) -> None:
    parties.init()
    parties.play("bo", "cem", "anna")
    key, state = str(parties.base / "anna.key"), str(parties.base / "state-anna")
    page = parties.base / "votes.html"
    again = ("--key", key, "--state", state, "--report", f"html={page}", "--json")
    status, said = parties.run("round", "join", str(parties.folder("anna")), *again)
    document, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
    assert status == 0 and document["outcome"] == "accept" and len(document["agreeing"]) == 3
    shown = page.read_text(encoding="utf-8")
    assert "They agree" in shown and ">cem (" in shown and ">you (" in shown, "voters are called by name"
    status, said = parties.run("round", "join", str(parties.folder("anna")), "--key", key, "--report", "pdf=x")
    assert status == 2 and "html=PATH" in said
