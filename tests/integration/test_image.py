"""The Dockerfile's steps, done one by one below a folder that stands for the image's root; no Docker is needed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PLACES = ("/opt/verifai", "/src", "/work", "/home/auditor")
AS_ROOT = ("useradd", "chown")
"""Commands that only root may run: taken note of, and left out."""


@dataclass
class Image:
    """One stage: where its root lies, and what its instructions have set."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    work: str = "/"
    user: str = "root"
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def here(self, text: str) -> str:
        return re.sub(rf"(?<![\w.])({'|'.join(PLACES)})(?![\w])", lambda match: f"{self.root}{match[1]}", text)

    def run(self, line: str, stub: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        folder = Path(self.here(self.work)) if self.work != "/" else self.root
        folder.mkdir(parents=True, exist_ok=True)
        base = {name: os.environ[name] for name in ("HOME", "LANG", "PIP_CONFIG_FILE", "PIP_INDEX_URL") if name in os.environ}
        env = base | {"PATH": f"{stub}:{os.environ['PATH']}"}
        for name, text in self.env.items():
            env[name] = self.here(text).replace("$PATH", env["PATH"])
        done = subprocess.run(["sh", "-c", self.here(line)], cwd=folder, env=env, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done


def instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def copy(sources: list[str], target: Path) -> None:
    for name in tracked():
        for source in sources:
            wanted = source.removeprefix("./").rstrip("/")
            if wanted == ".":
                place = target / name
            elif name == wanted:
                place = target / Path(name).name
            elif name.startswith(f"{wanted}/"):
                place = target / name.removeprefix(f"{wanted}/")
            else:
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place)


def build(tmp_path: Path) -> dict[str, Image]:
    """Every stage of the Dockerfile, its RUN lines executed."""
    stub = tmp_path / "stub"
    stub.mkdir()
    base_python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    (stub / "python").write_text(f'#!/bin/sh\nexec "{base_python}" "$@"\n')
    for name in AS_ROOT:
        (stub / name).write_text("#!/bin/sh\nexit 0\n")
    for path in stub.iterdir():
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    stages: dict[str, Image] = {}
    now = Image(tmp_path)
    for word, rest in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        if word == "FROM":
            base, _, name = rest.split()
            parent = stages.get(base)
            # A child shares its parent's folder: the paths inside an environment must not change.
            now = Image(tmp_path / "image") if parent is None else replace(parent, env=dict(parent.env))
            stages[name] = now
        elif word == "ENV":
            now.env |= dict(part.split("=", 1) for part in shlex.split(rest))
        elif word == "WORKDIR":
            now.work = rest
        elif word == "USER":
            now.user = rest
        elif word == "COPY" and not rest.startswith("--from="):
            *sources, target = rest.split()
            copy(sources, Path(now.here(target if target.startswith("/") else f"{now.work}/{target}")))
        elif word == "COPY":
            source = re.match(r"--from=(\w+) (\S+) ", rest)
            assert source and source[1] in stages and Path(now.here(source[2])).exists(), rest
        elif word == "RUN":
            now.run(rest, stub)
        elif word == "ENTRYPOINT":
            now.entry = [part.strip('" ') for part in rest.strip("[]").split(",")]
        elif word == "CMD":
            now.command = [part.strip('" ') for part in rest.strip("[]").split(",")]
        else:
            raise AssertionError(f"this test does not know {word}")
    return stages


@pytest.mark.slow
def test_every_step_of_the_image_works_and_so_does_what_it_starts(tmp_path: Path) -> None:
    """Needs a package index, as `docker build` does."""
    stages = build(tmp_path)
    stub = tmp_path / "stub"
    assert set(stages) == {"build", "auditor", "toolkit"}
    for name in ("auditor", "toolkit"):
        image = stages[name]
        assert image.user == "auditor", "no image runs as root"
        assert image.entry == ["verifai"]
    auditor, toolkit = stages["auditor"], stages["toolkit"]
    assert "Usage: verifai" in auditor.run(shlex.join([*auditor.entry, *auditor.command]), stub).stdout
    (tmp_path / "image" / "work").mkdir(exist_ok=True)
    steps = (
        "verifai compile circuits/digits-mlp --locked --engine sumcheck",
        "verifai prove circuits/digits-mlp fixtures/digits-mlp/heldout.npz -o /work/evidence --limit 1 --engine sumcheck",
        "verifai verify /work/evidence/000000 --lock circuits/digits-mlp/circuit.lock",
    )
    for step in steps:
        toolkit.run(step, stub)
    assert (tmp_path / "image" / "home" / "auditor" / "kernels").is_dir(), "kernels are compiled into the image"
