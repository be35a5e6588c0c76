"""Every verb under odd surroundings: what surrounds a run decides nothing about evidence, and never ends it as a bug.

The table of statuses is that of ``docs/cli.md``. A run that would end with 0 ends with 4 where its result could not be shown;
every other status stays what it is, because nothing but a check that failed may be 1, and a mistake is one whoever watches.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.surroundings import ORDINARY, SURROUNDINGS, Ended, Surroundings, is_supported
from verifai.cli.verbs import VERBS, Verb

V1 = "fixtures/bundles/v1"
TEE = "tests/vectors/tee"
VOTERS = "--voter a.key.pub --voter b.key.pub --voter c.key.pub"
MESSAGES = "round.json a.commitment.json b.commitment.json c.commitment.json a.vote.json b.vote.json c.vote.json"

COMMANDS: tuple[tuple[str, int], ...] = (
    # One that succeeds for every verb that does so in a moment, and a mistake for each.
    ("demo -o circuit", 2),
    ("quickstart absent.onnx data.csv", 2),
    ("export model.onnx -o {out}", 0),
    ("export absent.onnx -o {out}", 2),
    ("init model.onnx -o {out} --calibration data.npz --engine sumcheck --yes", 0),
    ("init model.onnx -o {out} --calibration absent.npz --yes", 2),
    ("check model.onnx", 0),
    ("check absent.onnx", 2),
    ("compile circuit --locked", 0),
    ("compile absent", 2),
    ("prove circuit absent.npz -o {out}", 2),
    ("verify evidence --lock circuit", 0),
    (f"verify {V1}/reject/proof-byte.vbundle --lock circuit", 1),
    ("verify evidence/000000 --lock other.lock", 1),
    ("verify empty --lock circuit", 4),
    ("verify absent --lock circuit", 2),
    ("audit absent --trust trust.toml", 2),
    ("split model.onnx --at nothing -o {out}", 2),
    ("verify-chain evidence/000000 --lock circuit", 2),
    ("seal evidence/000000 --key a.key -o {out}", 0),
    ("seal absent --key a.key", 2),
    ("pack evidence/000000 -o {out}", 0),
    ("pack absent -o {out}", 2),
    ("unpack packed -o {out}", 0),
    (f"unpack {V1}/reject/archive-cut.vbundle -o {{out}}", 1),
    ("inspect evidence/000000", 0),
    ("inspect circuit", 0),
    ("inspect absent", 2),
    ("page --empty -o {out}", 0),
    ("page absent --lock absent.lock -o {out}", 2),
    ("diff evidence/000000 evidence/000001", 0),
    ("diff evidence/000000 absent", 2),
    ("calibrate absent.onnx data.npz -o {out}", 2),
    ("record-proofs model.onnx absent.npz evidence/000000 --lock circuit -o {out}", 2),
    (f"vote-open model.onnx data.npz --kind exact {VOTERS} --beacon-source l --beacon-number 1 -o {{out}}", 0),
    (f"vote-open model.onnx absent.npz --kind exact {VOTERS} --beacon-source l --beacon-number 1 -o {{out}}", 2),
    ("vote-commit round.json model.onnx data.npz --key a.key --outputs outputs.npz -o {out}", 0),
    ("vote-commit absent.json model.onnx data.npz --key a.key -o {out}", 2),
    (
        "vote-reveal round.json a.commitment.json b.commitment.json c.commitment.json --beacon beacon.json "
        f"--secret a.commitment.json.secret --key a.key {VOTERS} -o {{out}}",
        0,
    ),
    (f"vote-reveal round.json absent.json --beacon beacon.json --secret absent --key a.key {VOTERS} -o {{out}}", 2),
    ("vote-replay round.json model.onnx data.npz absent.json --key a.key -o {out}", 2),
    (f"consensus {MESSAGES} --beacon beacon.json {VOTERS}", 0),
    (f"consensus {MESSAGES} --beacon beacon.json {VOTERS} --coordinator b.key.pub", 1),
    (f"consensus {MESSAGES.rpartition(' ')[0]} --beacon beacon.json {VOTERS}", 3),
    (f"consensus absent.json --beacon beacon.json {VOTERS}", 2),
    ("gate-init evidence --lock circuit --trust trust.toml -o {out}", 0),
    ("gate-init absent --lock circuit -o {out}", 2),
    ("gate evidence --policy policy.toml --jobs 1", 0),
    ("gate evidence/000000 --policy strict.toml", 3),
    ("gate --policy policy.toml", 4),
    ("gate evidence --policy absent.toml", 2),
    ("gate --explain --policy policy.toml", 0),
    ("bench absent", 2),
    ("warm-up --engine none", 2),
    ("key new {out} --no-passphrase", 0),
    ("key show a.key", 0),
    ("key show absent", 2),
    ("trust init -o {out} --lock circuit.lock --key a.key.pub", 0),
    ("trust init -o {out} --lock absent", 2),
    ("tee claim evidence/000000", 0),
    ("tee claim absent", 2),
    ("tee receipt model.onnx absent.npz absent.npz -o {out}.json", 2),
    (f"tee show {TEE}/nitro-doc.cbor --kind nitro", 0),
    (f"tee show {TEE}/nitro-doc.cbor --kind tdx", 1),
    ("tee show absent --kind tdx", 2),
    (f"tee attach evidence/000000 {TEE}/nitro-doc.cbor --kind nitro -o {{out}}", 1),
    ("tee attach absent absent --kind nitro -o {out}", 2),
    ("weights show circuit", 2),
    ("weights renew absent", 2),
    ("log init {out} --origin example.org/log --key a.key.pub", 0),
    ("log init a.log --origin example.org/log --key a.key.pub", 2),
    ("log append a.log evidence", 0),
    ("log append absent evidence", 2),
    ("log check a.log", 0),
    ("log check a.key", 2),
    ("log checkpoint a.log --key a.key -o {out}", 0),
    ("log checkpoint a.log --key b.key", 2),
    ("log prove a.log evidence/000000 --key a.key", 0),
    ("log prove a.log absent --key a.key", 2),
    ("log verify proof.tlog evidence/000000 --origin example.org/log --key a.key.pub", 0),
    ("log verify proof.tlog evidence/000001 --origin example.org/log --key a.key.pub", 1),
    ("log consistency a.log --from 1", 0),
    ("log consistency a.log --from 999", 2),
    ("log cosign checkpoint --origin example.org/log --log-key a.key.pub --name w.example/w --key b.key --state {out}", 0),
    ("log cosign checkpoint --origin other.org/log --log-key a.key.pub --name w.example/w --key b.key --state {out}", 1),
    ("version", 0),
    ("version absent", 2),
    ("help", 0),
    ("help absent", 2),
    ("explain proof-invalid", 0),
    ("explain absent", 2),
    ("completion bash", 0),
    ("completion absent", 2),
    ("lock show circuit", 0),
    ("lock show absent", 2),
    ("receipt absent --lock circuit -o {out}", 2),
    ("handover absent --lock circuit -o {out}", 2),
    ("dataset absent.npz -o {out}", 2),
    ("evaluate circuit absent.npz -o {out}", 2),
    ("generate circuit --prompt word -o {out}", 2),
    ("provenance circuit --model-signature absent --trust trust.toml", 2),
    ("notarise circuit --model-signature absent --trust trust.toml --key a.key", 2),
    ("gate-show absent", 2),
    ("gate-verify verdict --trust trust.toml", 2),
    ("gate-verify absent --trust judged.toml", 2),
    ("push absent oci:models:v1", 2),
    ("pull oci:absent:v1 -o {out}", 3),
    ("promote oci:models:v1 --alias champion --policy policy.toml -o {out}", 2),
    ("trust show trust.toml", 0),
    ("trust show absent", 2),
    ("trust add absent --role gate --key a.key.pub", 2),
    ("trust add trust.toml --role gate --key absent", 2),
    (f"round init {{out}} model.onnx absent.npz --kind exact {VOTERS} --key a.key", 2),
    ("round join absent --key b.key --coordinator a.key.pub --wait 0", 2),
    ("round close absent --key a.key --wait 0", 2),
    ("srs list", 0),
    ("srs check fixtures/srs/INSECURE-TEST-k09.srs", 0),
    ("srs check absent", 2),
    ("srs import absent", 2),
    ("srs fetch -k 99", 2),
    ("srs generate -k 99 -o {out}", 2),
    ("srs cut absent -k 9 -o {out}", 2),
)  # fmt: skip
SLOW: tuple[tuple[str, int], ...] = (
    ("quickstart model.onnx data.npz -o {out} --engine sumcheck", 0),
    ("compile circuit", 0),
    ("prove circuit data.npz -o {out} --limit 1", 0),
    ("audit evidence/000000 --trust trust.toml", 0),
    (f"audit {V1}/reject/proof-byte.vbundle --trust {V1}/trust.toml", 1),
    (f"verify {V1}/accept/other-digit.vbundle --lock {V1} --allow-test-srs", 0),
    (f"verify {V1}/reject/resealed-instance.vbundle --lock {V1} --allow-test-srs", 1),
    ("vote-commit round.json model.onnx data.npz --key a.key -o {out}", 0),
    ("warm-up", 0),
    ("receipt evidence/000000 --lock circuit -o {out}", 0),
    ("receipt evidence/000000 --lock other.lock -o {out}", 1),
    ("handover evidence --lock circuit --no-report -o {out}", 0),
    ("dataset labelled.npz -o {out}", 0),
    ("gate-verify verdict --trust judged.toml --policy policy.toml --bundle evidence/000000", 0),
    ("pull oci:models:v1 -o {out}", 0),
    ("gate-show verdict", 0),
    ("help trust add", 0),
)
NEVER = ("Traceback", "bug [", "Exception ignored")


def _verbs() -> set[str]:
    names: set[str] = set()
    for name, row in VERBS.items():
        names |= {name} if isinstance(row, Verb) else {f"{name} {inner}" for inner in row.verbs}
    return names


def _verb_of(command: str) -> str:
    first, second = (*command.split(), "")[:2]
    return first if isinstance(VERBS[first], Verb) else f"{first} {second}"


@dataclass(frozen=True)
class Bench:
    """A folder with everything that the commands name, and the server that runs them in it."""

    server: Surroundings
    folder: bytes
    numbers: Iterator[int]

    def run(self, command: str, name: str = ORDINARY) -> Ended:
        out: str | bytes = f"out-{next(self.numbers)}"
        if name == "names that are not UTF-8":
            out = os.fsencode(str(out)) + b"-\xff"
        words = [out if word == "{out}" else word for word in command.split()]
        return self.server.run(self.folder, words, name)

    def made(self, command: str) -> None:
        ended = self.run(command)
        assert ended.status == 0, (command, ended)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """In a folder whose name is not UTF-8, for all of them: what works there works anywhere."""
    top = Path(tempfile.mkdtemp(prefix="surroundings-"))
    folder = Path(os.fsdecode(os.fsencode(top) + b"/w-\xff"))
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "COV", "PYTEST"))}
    environment |= {"HOME": str(top), "TMPDIR": str(top), "VERIFAI_OPENINGS_DIR": str(top / "openings")}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a fork takes one thread along
    # The kernels that this user has compiled already; where there are none, they are compiled here once.
    environment["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    try:
        with Surroundings(environment) as server:
            bench = Bench(server, os.fsencode(folder), count())
            _furnish(folder, bench)
            yield bench
    finally:
        shutil.rmtree(top)


def _furnish(folder: Path, bench: Bench) -> None:
    digits = ROOT / "fixtures" / "digits-mlp"
    for name in ("fixtures/bundles/v1", "fixtures/srs", TEE):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copyfile(digits / "model.onnx", folder / "model.onnx")
    with np.load(digits / "heldout.npz") as held:
        np.savez(folder / "data.npz", pixels=held["pixels"][:30])
        np.savez(folder / "labelled.npz", pixels=held["pixels"][:30], labels=np.arange(30) % 10)
        np.savez(folder / "outputs.npz", logits=np.zeros((30, 1, 10), np.float32))
    (folder / "empty").mkdir()
    (folder / "beacon.json").write_text(json.dumps({"source": "l", "number": 1, "value": "5a" * 32}))
    for name in "abc":
        bench.made(f"key new {name}.key --no-passphrase")
    for command in (
        "init model.onnx -o circuit --calibration data.npz --engine sumcheck --yes",
        "compile circuit",
        "prove circuit data.npz -o evidence --limit 2 --key a.key",
        "pack evidence/000000 -o packed",
        "log init a.log --origin example.org/log --key a.key.pub",
        "log append a.log evidence",
        "log checkpoint a.log --key a.key -o checkpoint",
        "log prove a.log evidence/000000 --key a.key -o proof.tlog",
        "trust init -o trust.toml --lock circuit/circuit.lock --key a.key.pub",
        "gate-init evidence --lock circuit --trust trust.toml -o policy.toml",
        "gate evidence --policy policy.toml --jobs 1 --attest verdict --key a.key",
        "push evidence oci:models:v1 --model model.onnx",
        "trust init -o judged.toml --lock circuit/circuit.lock --key a.key.pub",
        "trust add judged.toml --role gate --key a.key.pub",
        f"vote-open model.onnx data.npz --kind exact {VOTERS} --beacon-source l --beacon-number 1 -o round.json",
        *(
            f"vote-commit round.json model.onnx data.npz --key {one}.key --outputs outputs.npz -o {one}.commitment.json"
            for one in "abc"
        ),
        *(
            "vote-reveal round.json a.commitment.json b.commitment.json c.commitment.json --beacon beacon.json "
            f"--secret {one}.commitment.json.secret --key {one}.key {VOTERS} -o {one}.vote.json"
            for one in "abc"
        ),
    ):
        bench.made(command)
    lock = (folder / "circuit" / "circuit.lock").read_text()
    shutil.copyfile(folder / "circuit" / "circuit.lock", folder / "circuit.lock")
    (folder / "other.lock").write_text(re.sub(r'(?m)^circuit_sha256 = "[0-9a-f]{8}', 'circuit_sha256 = "00000000', lock))
    (folder / "strict.toml").write_text((folder / "policy.toml").read_text().replace("minimum = ", "minimum = 1"))


def test_no_verb_is_left_out() -> None:
    assert {_verb_of(command) for command, _ in COMMANDS} == _verbs()


def test_there_are_at_least_twelve_surroundings() -> None:
    assert len(SURROUNDINGS) - 1 >= 12


def _expected(status: int, name: str, ended: Ended) -> set[int]:
    if status == 0 and name in ("closed stdout", "full disk"):
        return {4}
    return {status}


def _hold(bench: Bench, command: str, status: int, name: str) -> None:
    ended = bench.run(command, name)
    assert ended.status in _expected(status, name, ended), ended
    assert not any(word in ended.out + ended.err for word in NEVER), ended


@pytest.mark.parametrize("name", SURROUNDINGS)
@pytest.mark.parametrize(("command", "status"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_the_status_is_that_of_the_table(command: str, status: int, name: str, bench: Bench) -> None:
    if not is_supported(name):
        pytest.skip(f"this system has no {name}")
    _hold(bench, command, status, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SURROUNDINGS)
@pytest.mark.parametrize(("command", "status"), SLOW, ids=[command for command, _ in SLOW])
def test_the_status_is_that_of_the_table_where_it_takes_longer(command: str, status: int, name: str, bench: Bench) -> None:
    if not is_supported(name):
        pytest.skip(f"this system has no {name}")
    _hold(bench, command, status, name)


ENDINGS = {
    # What a shell writes behind the command, and the status that it sees.
    "": 0,
    ">&-": 4,
    "</dev/null >/dev/full": 4,
    "2>&-": 0,
    "| true; exit ${PIPESTATUS[0]}": 0,
    ">/dev/null 2>/dev/full": 0,
}


STARTS = (
    ("", "verifai"),
    ("", "verifai.cli.main"),
    ("", "verifai.cli.app"),
    ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0", "verifai"),
    ("COLUMNS=", "verifai"),
)


@pytest.mark.parametrize(("before", "entry"), STARTS)
@pytest.mark.parametrize(("behind", "status"), ENDINGS.items())
def test_a_whole_process_ends_as_the_table_says(behind: str, status: int, entry: str, before: str, bench: Bench) -> None:
    """With the end of the interpreter, which may flush what the command left; by every way to start it."""
    if "/dev/full" in behind and not is_supported("full disk"):
        pytest.skip("this system has no /dev/full")
    command = f"{before} {shlex.quote(sys.executable)} -m {entry} log check a.log {behind}"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=bench.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert ended.returncode == status, ended
    assert b"Traceback" not in ended.stderr + ended.stdout
    assert b"Exception ignored" not in ended.stderr
