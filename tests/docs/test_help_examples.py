"""Every command's --help ends with a worked example, and every example works as printed."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from tests.support.paths import ROOT
from tests.support.releases import public_pem, sign_folder, signing_key
from tests.support.token_round import make_token_round
from verifai.bundle.keys import new_key
from verifai.cli import app as cli

FIRST = ("key new", "export", "init", "check", "compile", "prove", "verify", "trust init")
"""These come first, in this order: the others use what they make."""
OTHER_STATUS = {
    # Without a network it says so in one line; with one it succeeds.
    "srs fetch": (0, 4),
    # No machine of AMD's is here: the report is a real one, over other bytes than those that the example asks for.
    "tee attach": (1,),
    # MLflow is not installed by default, and no server of it runs here.
    "promote": (2, 3, 4),
    # Two of the three verifiers have not joined: it says so, and ends when told not to wait.
    "round join": (4,),
    "round close": (4,),
}
SLOW = {"bench"}


def _examples() -> Iterator[tuple[str, str]]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield " ".join(path), command.epilog or ""
            return
        for name, child in children.items():
            yield from walk(child, (*path, name))

    yield from walk(typer.main.get_command(cli.app), ())


EXAMPLES = dict(_examples())
ORDER = [name for name in FIRST if name in EXAMPLES] + [name for name in EXAMPLES if name not in FIRST]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a fresh checkout to the examples."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "circuits", folder / "circuits", ignore=shutil.ignore_patterns("build", "*.local.lock"))
    shutil.copytree(ROOT / "fixtures", folder / "fixtures")
    for name in "abc":  # three verifiers, and the randomness that they wait for
        new_key(folder / f"{name}.key")
    (folder / "beacon.json").write_text(json.dumps({"source": "lottery", "number": 1, "value": "5a" * 32}))
    np.savez(folder / "inputs.npz", pixels=np.zeros((1, 64), np.float32))
    np.savez(folder / "outputs.npz", logits=np.zeros((1, 10), np.float32))
    shutil.copy(ROOT / "tests" / "vectors" / "tee" / "sev-snp-report-milan.bin", folder / "report.bin")
    shutil.copy(ROOT / "tests" / "vectors" / "tee" / "sev-snp-vcek.der", folder / "vcek.der")
    (folder / "release").mkdir()  # signed, as a publisher would
    shutil.copy(ROOT / "fixtures" / "digits-cnn" / "model.onnx", folder / "release")
    sign_folder(folder / "release", signing_key())
    signer = f'name = "acme"\nkind = "key"\npublic_key = """\n{public_pem(signing_key())}"""\n'
    (folder / "publishers.toml").write_text(f'schema = "verifai/trust/v1"\n[[model_signers]]\n{signer}')
    make_token_round(folder / "tokens", folder)  # what a round on a language model's tokens leaves
    return folder


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_every_command_has_an_example_of_itself(name: str) -> None:
    assert EXAMPLES[name].startswith("Example: verifai ")
    assert f"verifai {name} " in EXAMPLES[name] + " "


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in ORDER])
def test_the_example_works(
    name: str, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("VERIFAI_SRS_DIR", str(workspace / "srs-store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(workspace / "state"))
    line = EXAMPLES[name].removeprefix("Example: ")
    for command in line.split(" && "):
        status = cli.run(shlex.split(command)[1:])
        captured = capsys.readouterr()
        assert status in OTHER_STATUS.get(name, (0,)), f"{command}\n{captured.out}\n{captured.err}"
