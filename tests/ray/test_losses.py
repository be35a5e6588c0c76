"""Commands on a Ray cluster, each in a process of its own: by a real client address, and killed, with workers, at random."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.batch_circuits import small_circuit, write_rows
from tests.support.crews import verified_digests
from tests.support.kills import PHASES, Killer, command, commands, finish, require_same, rows_done
from tests.support.paths import ROOT
from tests.support.ray_nodes import free_ports, ray_workers, raylet, small_cluster
from tests.support.waiting import has_ended, until
from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.run import prove_batch

pytestmark = [
    pytest.mark.ray,
    # Ray leaves the logs of a client server open when it begins one.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROWS = 40
SHIPPED = ("--ship-weights", "--ship-inputs")


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> CircuitFolder:
    return small_circuit(tmp_path_factory.mktemp("losses"), "public", Visibility.PUBLIC)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> CircuitFolder:
    root = tmp_path_factory.mktemp("losses-hidden")
    return small_circuit(root, "hidden", Visibility.PRIVATE, WeightVisibility.PRIVATE, budget=64)


def expected(folder: CircuitFolder, data: Path, output: Path) -> dict[str, str]:
    """What one process makes."""
    prove_batch(folder, list(read_samples(data, folder.model)), output, BatchOptions(renew_roots=True))
    return verified_digests(folder, output)


def begin(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "verifai", *arguments, "--json"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_lost_object_store_is_named(public: CircuitFolder, tmp_path: Path) -> None:
    """Ray ends the command's process with 1 when this machine's store is gone; that is no verdict."""
    _lose_the_store(public, tmp_path)


@pytest.mark.slow  # two clusters and the client's server: Ray gives each half a minute, which a loaded machine exceeds
def test_after_a_lost_object_store_the_same_command_goes_on_through_a_client(public: CircuitFolder, tmp_path: Path) -> None:
    data, arguments = _lose_the_store(public, tmp_path)
    (port,) = free_ports(1)
    with small_cluster(1, ray_client_server_port=port):
        process = begin([*arguments[:-1], f"ray://127.0.0.1:{port}"], RAY_ADDRESS="")
        told, said = process.communicate()
    assert process.returncode == 0, (told, said)
    require_same(public, tmp_path / "e", expected(public, data, tmp_path / "one"), ROWS)


def _lose_the_store(public: CircuitFolder, tmp_path: Path) -> tuple[Path, list[str]]:
    """Kill the raylet of this machine in the middle of a command; its samples, and the command's arguments."""
    data, output = write_rows(tmp_path / "rows.npz", ROWS), tmp_path / "e"
    arguments = command(public, data, output, "--jobs", "2", "--on", "ray")
    with small_cluster(1) as cluster:
        process = begin(arguments, RAY_ADDRESS=cluster.address)
        until(lambda: rows_done(output) >= 2 or process.poll() is not None)
        os.kill(raylet(cluster.head_node), signal.SIGKILL)
        told, said = process.communicate()
    document = json.loads(told)
    assert (process.returncode, document["error"]["code"]) == (4, "cluster-lost"), said
    assert 2 <= rows_done(output) < ROWS
    return data, arguments


def test_where_no_cluster_answers_is_told(public: CircuitFolder, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.npz", 2)
    (port,) = free_ports(1)
    process = begin(command(public, data, tmp_path / "e", "--on", f"ray://127.0.0.1:{port}"))
    told, said = process.communicate()
    assert (process.returncode, json.loads(told)["error"]["code"]) == (4, "cluster-lost"), said


@pytest.mark.slow
@pytest.mark.timeout(7200)  # each new run has Ray start worker processes: about a quarter of an hour of processor time
@pytest.mark.parametrize("kind", ["public", "hidden"])
def test_two_hundred_kills_over_two_hundred_samples(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """Commands and worker processes; at last a node, with all that runs on it."""
    folder, rows = request.getfixturevalue(kind), 200
    data, output = write_rows(tmp_path / "rows.npz", rows), tmp_path / "e"
    shipped = SHIPPED if kind == "hidden" else ()
    arguments = command(folder, data, output, "--jobs", "2", "--on", "ray", *shipped)
    warm = command(folder, data, tmp_path / "warm", "--limit", "1")
    with small_cluster(2) as cluster, commands({"RAY_ADDRESS": cluster.address}, ["ray"], warm) as starter:
        killer = Killer(
            starter,
            arguments,
            output,
            rows,
            tmp_path / "kills.log",
            workers=lambda _: ray_workers(cluster),
            raylets=lambda: [raylet(node) for node in cluster.list_all_nodes()],
            phases=(*PHASES, "checking an answer"),
            within=5.0,
        )
        killer.until(200)
        print(killer.told())
        starter.start(arguments)
        done = rows_done(output)
        until(lambda: rows_done(output) > done or has_ended(starter.running))
        os.kill(raylet(next(node for node in cluster.list_all_nodes() if node is not cluster.head_node)), signal.SIGKILL)
        starter.status()
        finish(starter, arguments)
    require_same(folder, output, expected(folder, data, tmp_path / "one"), rows)
    assert killer.killed.total() >= 200 and min(killer.of("command"), killer.of("worker")) >= 50, killer.told()
