"""``docs/examples/swapped-weight.md`` does what it says, with the real engines, command by command."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "examples" / "swapped-weight.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(console|python)\n(.*?)```", PAGE, flags=re.S)
STATUS = re.compile(r"\s+# exit status (\d+)$")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a fresh clone has."""
    shutil.copytree(ROOT / "circuits", tmp_path / "circuits", ignore=shutil.ignore_patterns("build", "*.local.lock"))
    shutil.copytree(ROOT / "fixtures", tmp_path / "fixtures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VERIFAI_SRS_DIR", str(tmp_path / "srs"))
    return tmp_path


def test_the_page_ends_in_the_statuses_that_it_prints(checkout: Path) -> None:
    from verifai.cli import app as cli

    seen: list[int] = []
    for kind, text in BLOCKS:
        if kind == "python":
            subprocess.run([sys.executable, "-c", text], check=True)
            continue
        for line in text.splitlines():
            command = line.removeprefix("$ ")
            expected = STATUS.search(command)
            command = STATUS.sub("", command)
            if command.startswith("verifai "):
                status = cli.run([*shlex.split(command)[1:], "-q"])
            else:
                status = subprocess.run(["sh", "-c", command]).returncode
            assert status == (int(expected[1]) if expected else 0), command
            seen += [status] if expected else []
    assert seen == [0, 1, 0, 1, 1, 3, 4]
    assert "accepted" in (checkout / "gate.md").read_text()
    assert "release-mismatch" in (checkout / "gate.sarif").read_text()


def test_the_reasons_that_the_page_names_are_codes() -> None:
    from verifai.domain.codes import all_codes

    named = set(re.findall(r"\(`([a-z-]+)`\)", PAGE))
    assert len(named) >= 4
    assert named <= set(all_codes())
