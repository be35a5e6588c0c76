"""Small Ray clusters for tests: a head on which nothing runs, and nodes of one core."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from tests.support.kill_agent import ray_workers_of
from tests.support.paths import ROOT

MEMORY = 2 * 2**30
STORE = 80 * 2**20
ATTEMPTS = 5
HELPERS = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_raylet_start_wait_time_s", "90")  # read when ray is loaded, as the next one
os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
os.environ.setdefault(
    "RAY_health_check_timeout_ms", "60000"
)  # by default a node that is merely slow is declared dead, and ends


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def small() -> dict[str, Any]:
    """What a node takes. With ports of their own its helpers are not waited for: on a busy machine they take longer to start
    than Ray waits for them."""
    ports = dict(zip(HELPERS, free_ports(len(HELPERS)), strict=True))
    return {"memory": MEMORY, "object_store_memory": STORE, "include_log_monitor": False, **ports}


@contextmanager
def small_cluster(nodes: int, **head: Any) -> Iterator[Any]:
    """A cluster that this process does not join: commands do."""
    os.environ["PYTHONPATH"] = str(ROOT)
    made = _begun(nodes, {"num_cpus": 0, "include_dashboard": False, **head})
    try:
        yield made
    finally:
        made.shutdown()


def _begun(nodes: int, head: dict[str, Any]) -> Any:
    """A cluster that is up; where a busy machine took longer than Ray waits for its own helpers, another one."""
    from ray.cluster_utils import Cluster

    for attempt in range(ATTEMPTS):
        made = Cluster()
        try:
            made.add_node(**small(), **head)
            for _ in range(nodes):
                made.add_node(num_cpus=1, **small())
        except Exception:
            made.shutdown()
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return made
    raise AssertionError("not reached")


def raylet(node: Any) -> int:
    """The process of a node that holds its object store."""
    return int(node.all_processes["raylet"][0].process.pid)


def ray_workers(cluster: Any) -> list[int]:
    """Worker processes of all nodes."""
    raylets = [raylet(node) for node in cluster.list_all_nodes()]
    return [pid for one in raylets for pid in ray_workers_of(one)]
