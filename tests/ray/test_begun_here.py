"""A cluster that the command begins on its own machine: its ports are open to the network, so it takes nothing from others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.ray

BEGIN = """
import os, subprocess, sys
from verifai.execution.workforce.ray_crew import Demands, join

crew = join(b"", Demands("m:f", "1", 2**26, 1, 2**20, True), address=None, jobs=1)
import ray

assert os.environ["VERIFAI_PASSPHRASE"] == "kept from workers", "the command itself still has it"
print("worker", ray.get(ray.remote(lambda: os.environ.get("VERIFAI_PASSPHRASE")).remote()))
program = "import sys; from ray._raylet import GcsClient; print(len(GcsClient(sys.argv[1]).get_all_node_info(timeout=30)))"
stranger = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
for who, environment in (("owner", dict(os.environ)), ("stranger", stranger)):
    command = [sys.executable, "-c", program, ray.get_runtime_context().gcs_address]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    print(who, ended.stdout.strip() or "AuthenticationError" in ended.stderr)
crew.close()
"""


def _begun(before: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"VERIFAI_PASSPHRASE": "kept from workers", "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", before + BEGIN], env=environment, capture_output=True, text=True)


def test_strangers_are_refused_and_workers_have_no_passphrase() -> None:
    ended = _begun()
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("\n") == ["worker None", "owner 1", "stranger True", ""]


def test_where_ray_was_loaded_without_tokens_no_cluster_is_begun() -> None:
    ended = _begun("import ray\n")
    assert ended.returncode != 0 and "would take code from anybody on the network" in ended.stderr
