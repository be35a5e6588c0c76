"""A real Ray cluster of several node processes: nodes that die, lie, lag or are of another release, and the same evidence."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.ray.liar import write_liar
from tests.support.batch_circuits import small_circuit, write_rows
from tests.support.crews import Noted, verified_digests, whole
from tests.support.paths import ROOT
from tests.support.ray_nodes import small
from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.domain.workforce import Workforce
from verifai.errors import Undecided
from verifai.execution.workforce import ray_crew
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.batch.report import BatchOptions, BatchReport
from verifai.stages.batch.run import prove_batch

pytestmark = pytest.mark.ray
ROWS = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head on which nothing runs, to which each test adds its nodes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["PYTHONPATH"] = str(ROOT)
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small()})
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def node(cluster: Any) -> Iterator[Any]:
    """Adds nodes that go away after the test."""
    added = []

    def add(**environment: str) -> Any:
        found = cluster.add_node(num_cpus=1, env_vars=environment, **small())
        added.append(found)
        cluster.wait_for_nodes()
        return found

    yield add
    for one in added:
        if one in cluster.list_all_nodes():
            cluster.remove_node(one, allow_graceful=False)


@pytest.fixture(scope="module")
def public(root: Path) -> CircuitFolder:
    return small_circuit(root, "public", Visibility.PUBLIC)


@pytest.fixture(scope="module")
def hidden(root: Path) -> CircuitFolder:
    return small_circuit(root, "hidden", Visibility.PRIVATE, WeightVisibility.PRIVATE, budget=64)


@pytest.fixture(scope="module")
def samples(root: Path, public: CircuitFolder) -> list[Mapping[str, Any]]:
    return list(read_samples(write_rows(root / "rows.npz", ROWS), public.model))


@pytest.fixture(scope="module")
def expected(root: Path, public: CircuitFolder, samples: list[Mapping[str, Any]]) -> dict[str, str]:
    prove_batch(public, samples, root / "local")
    return verified_digests(public, root / "local")


class HelpComes(Noted):
    """Adds an honest node when something was said of the one that is there: so that one was asked, whomever Ray prefers."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self._node = node
        self.honest: Any = None

    def note(self, text: str) -> None:
        super().note(text)
        if self.honest is None:
            self.honest = self._node()


def proven(
    folder: CircuitFolder, samples: list[Mapping[str, Any]], output: Path, listener: Noted, **options: Any
) -> BatchReport:
    workforce = Workforce(4, "ray", ship_weights=True, ship_inputs=True)
    given = BatchOptions(**{"workforce": workforce, "keep_going": True, **options})
    return prove_batch(folder, samples, output, given, progress=listener)


def test_the_same_evidence_as_here_also_when_a_node_is_killed_in_the_middle(
    cluster: Any,
    node: Any,
    public: CircuitFolder,
    samples: list[Mapping[str, Any]],
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    node()
    doomed, done = node(), []

    class KillsANode(Noted):
        def advance(self, steps: int = 1) -> None:
            done.append(steps)
            if len(done) == 3:
                cluster.remove_node(doomed, allow_graceful=False)

    report = proven(public, samples, tmp_path / "e", KillsANode())
    assert (report.status, len(report.made)) == (0, ROWS)
    assert verified_digests(public, tmp_path / "e") == expected and whole(tmp_path / "e")


@pytest.mark.parametrize("lie", ["object", "exception", "giant", "another's name"])
def test_a_lying_node_is_named_and_left_out(
    node: Any,
    public: CircuitFolder,
    samples: list[Mapping[str, Any]],
    expected: dict[str, str],
    tmp_path: Path,
    lie: str,
) -> None:
    bomb = tmp_path / "bomb"
    liar = node(
        PYTHONPATH=f"{write_liar(tmp_path / 'liar')}{os.pathsep}{ROOT}", VERIFAI_TEST_LIE=lie, VERIFAI_TEST_BOMB=str(bomb)
    )
    listener = HelpComes(node)
    report = proven(public, samples, tmp_path / "e", listener)
    assert bomb.with_name("bomb.lied").exists(), "the liar was never asked"
    assert not bomb.exists(), "what a worker sent was unpickled here"
    assert (report.status, report.problems) == (0, {}), listener.notes
    assert verified_digests(public, tmp_path / "e") == expected and whole(tmp_path / "e")
    left_out = [note for note in listener.notes if note.endswith("gets nothing more.")]
    assert len(left_out) == 1 and liar.node_id[:12] in left_out[0] and listener.honest.node_id[:12] not in left_out[0]


def test_a_node_of_another_release_is_named_and_left_out(
    node: Any, public: CircuitFolder, samples: list[Mapping[str, Any]], expected: dict[str, str], tmp_path: Path
) -> None:
    old = node(PYTHONPATH=f"{write_liar(tmp_path / 'old')}{os.pathsep}{ROOT}", VERIFAI_TEST_RELEASE="9.9.9")
    listener = HelpComes(node)
    assert proven(public, samples, tmp_path / "e", listener).status == 0
    assert any(old.node_id[:12] in note and "verifai 9.9.9" in note for note in listener.notes)
    assert any(old.node_id[:12] in note and note.endswith("gets nothing more.") for note in listener.notes)
    assert verified_digests(public, tmp_path / "e") == expected


def test_a_node_whose_disk_cannot_be_written_is_named_and_the_rest_is_proven(
    node: Any, public: CircuitFolder, samples: list[Mapping[str, Any]], expected: dict[str, str], tmp_path: Path
) -> None:
    full = node(
        PYTHONPATH=f"{write_liar(tmp_path / 'full')}{os.pathsep}{ROOT}",
        VERIFAI_TEST_LIE="full disk",
        VERIFAI_TEST_BOMB=str(tmp_path / "bomb"),
    )
    listener = HelpComes(node)
    assert proven(public, samples, tmp_path / "e", listener).status == 0
    assert any(full.node_id[:12] in note and "(disk)" in note for note in listener.notes), listener.notes
    assert verified_digests(public, tmp_path / "e") == expected


class Clock:
    """Two hours pass with each item that the slow worker keeps: no test waits for them."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept

    def monotonic(self) -> float:
        return time.monotonic() + 7200 * len(list(self._kept.parent.glob(f"{self._kept.name}.slow-*")))


def test_a_slow_node_is_told_and_what_it_keeps_is_proven_by_others(
    node: Any,
    public: CircuitFolder,
    samples: list[Mapping[str, Any]],
    expected: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = tmp_path / "bomb"
    monkeypatch.setattr(ray_crew, "time", Clock(bomb))
    node(PYTHONPATH=f"{write_liar(tmp_path / 'slow')}{os.pathsep}{ROOT}", VERIFAI_TEST_LIE="slow", VERIFAI_TEST_BOMB=str(bomb))
    listener = HelpComes(node)
    # One at a time, so that the clock is no other item's.
    workforce = Workforce(1, "ray", ship_weights=True, ship_inputs=True)
    assert proven(public, samples, tmp_path / "e", listener, workforce=workforce).status == 0
    assert any("there was no answer within 3,600 s" in note for note in listener.notes), listener.notes
    assert verified_digests(public, tmp_path / "e") == expected and whole(tmp_path / "e")


def test_of_hidden_weights_no_number_is_used_twice_though_worker_processes_die(
    node: Any, hidden: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    node(
        PYTHONPATH=f"{write_liar(tmp_path / 'liar')}{os.pathsep}{ROOT}",
        VERIFAI_TEST_LIE="dies",
        VERIFAI_TEST_BOMB=str(tmp_path / "bomb"),
    )
    listener = HelpComes(node)
    report = proven(hidden, samples, tmp_path / "e", listener, context="c", context_per_sample=True)
    while report.status:  # an item that was given to the dying node four times is told; the same command goes on
        assert report.status == 4 and report.made
        report = proven(hidden, samples, tmp_path / "e", listener, context="c", context_per_sample=True)
    assert (tmp_path / "bomb.lied").exists()
    assert len(verified_digests(hidden, tmp_path / "e")) == ROWS and whole(tmp_path / "e")


def test_a_cluster_without_a_node_that_is_large_enough_says_so(
    public: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(Undecided) as caught:
        proven(public, samples, tmp_path / "e", Noted())
    assert caught.value.code == "no-worker-left" and "1 CPUs" in caught.value.message


def test_the_command_line_joins_the_cluster_that_is_named(
    cluster: Any, node: Any, public: CircuitFolder, root: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    node()
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    command = [sys.executable, "-m", "verifai", "prove", str(public.folder), str(root / "rows.npz"), "-o", str(tmp_path / "e")]
    done = subprocess.run([*command, "--on", "ray"], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert verified_digests(public, tmp_path / "e") == expected
