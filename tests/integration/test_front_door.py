"""The whole way of a new user, with an installed wheel and no clone: one command to a private proof, then a batch left alone.

The same in parts and in this process: ``test_quickstart.py`` (a table with gaps, text and turned columns) and
``test_batches.py`` (interruptions).
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT

skops_io = pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

RUN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from verifai.cli.main import main; main()"
COLUMNS = ("age", "income", "balance", "visits", "ratio")
ROWS, GAPS = 200, 40


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs, and nothing else."""
    root = tmp_path_factory.mktemp("wheel")
    for name in ("verifai", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / "src" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / "src" / name)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", root / "dist", root / "src"], check=True)
    (wheel,) = (root / "dist").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", root / "site", wheel], check=True)
    return root / "site"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A pipeline without pickle, and two tables: text, gaps, semicolons, columns in another order."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(3)
    count = 2 * ROWS
    rows = np.column_stack(
        [rng.integers(18, 90, count), rng.lognormal(10, 0.6, count).round(2), rng.normal(1500, 4000, count).round(2),
         rng.poisson(4, count), rng.beta(2, 5, count).round(4)]
    ).astype(float)  # fmt: skip
    target = rows[:, 0] / 30 + rows[:, 1] / 20000 + 2 * rows[:, 4] > 3.5
    rows[rng.choice(ROWS, GAPS, replace=False), rng.integers(0, 5, GAPS)] = np.nan
    rows[ROWS + rng.choice(ROWS, GAPS, replace=False), rng.integers(0, 5, GAPS)] = np.nan
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(rows, target)
    pipeline.named_steps["simpleimputer"].feature_names_in_ = np.array(COLUMNS, object)  # as of a data frame
    skops_io.dump(pipeline, tmp_path / "m.skops")
    turned = [3, 0, 4, 2, 1]
    header = ["customer", *(COLUMNS[at] for at in turned), "approved"]
    lines = [
        [f"C-{number}; Ltd.", *("" if np.isnan(row[at]) else repr(float(row[at])) for at in turned), "yes" if yes else "no"]
        for number, (row, yes) in enumerate(zip(rows, target, strict=True))
    ]
    for name, part in (("first.csv", lines[:ROWS]), ("then.csv", lines[ROWS:])):
        with (tmp_path / name).open("w", newline="") as stream:
            csv.writer(stream, delimiter=";").writerows([header, *part])
    return tmp_path


def start(site: Path, work: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments, "--json"], cwd=work, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def ran(site: Path, work: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    process = start(site, work, *arguments)
    out, err = process.communicate()
    assert "Traceback" not in err
    return process.returncode, json.loads(out)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_from_a_wheel_to_a_private_proof_and_an_audited_batch(installed: Path, work: Path) -> None:
    assert ran(installed, work, "warm-up")[0] == 0
    begun = time.monotonic()
    options = ("--drop", "customer", "--drop", "approved", "--private", "input", "-o", "made")
    status, made = ran(installed, work, "quickstart", "m.skops", "first.csv", *options)
    assert (status, made["verdict"], made["fidelity"]["samples"]) == (0, "accepted", ROWS - GAPS)
    assert time.monotonic() - begun < 60, "one command and under a minute"

    batch = ("prove", "made/circuit", "then.csv", "-o", "batch", "--keep-going", "--resume", "--context-per-sample", "run")
    for lines in (30, 70):
        process = start(installed, work, *batch)
        index = work / "batch" / "index.jsonl"
        while process.poll() is None and (not index.exists() or index.read_bytes().count(b"\n") < lines):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 130
    status, proven = ran(installed, work, *batch)
    totals = proven["totals"]
    assert status == 2, "some samples were left out"
    assert (totals["proven"] + totals["proven_earlier"], totals["skipped"], totals["failed"]) == (ROWS - GAPS, GAPS, 0)
    contexts = {one["statement"]["context"] for one in proven["bundles"]}
    assert len(contexts) == totals["proven"], "each a context of its own, which tells equal outputs apart"

    lock = "made/circuit/circuit.lock"
    assert ran(installed, work, "key", "new", "signing.key", "--no-passphrase")[0] == 0
    assert ran(installed, work, "seal", "batch", "--key", "signing.key")[0] == 0
    assert ran(installed, work, "pack", "batch", "-o", "packed")[0] == 0
    assert ran(installed, work, "trust", "init", "-o", "trust.toml", "--lock", lock, "--key", "signing.key.pub")[0] == 0
    for arguments in (
        ("verify", "batch", "--lock", lock),
        ("verify", "packed", "--lock", lock),
        ("audit", "batch", "--trust", "trust.toml"),
    ):
        status, document = ran(installed, work, *arguments)
        assert (status, document["totals"]["outcomes"]["accepted"]) == (0, ROWS - GAPS), arguments[0]
