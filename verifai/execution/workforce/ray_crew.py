"""A crew on a Ray cluster. Ray decides which node does what, waits for room, and tries again where a worker process was lost.

Workers are strangers: what they answer is bytes, of which nothing is unpickled (:mod:`.ray_reading`). Their names are what they
say, and a liar may give another one's. So after the first answer that no honest worker gives, each item is given to one node by
a label selector, and an answer has the name of the node that its item was given to. Nodes are left out by such names alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.packages import install_hint
from verifai.execution.workforce.interface import Answer
from verifai.execution.workforce.ray_reading import read
from verifai.execution.workforce.ray_task import make_task, open_envelope

RELEASE = "2.60.0"
"""The release of Ray whose objects are read here; the extra ``ray`` pins it."""
POLL_SECONDS = 5.0
RETRIES = 3
"""How often Ray tries a task again whose worker process was lost, where nothing is spent by that."""
STARTS = 3
"""How often a cluster on this machine is begun before that is given up."""
ADDRESS_VARIABLE = "RAY_ADDRESS"
AUTH_MODE, AUTH_TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
KEY_VARIABLE = "VERIFAI_PASSPHRASE"
LOST = "cluster-lost"
NOBODY = "no-worker-left"


@dataclass(frozen=True, slots=True)
class Demands:
    """What the tasks of a batch ask for.

    Attributes:
        entry: ``module:function`` of the work; called with a digest of what is shared, a function that fetches it, and an item.
        release: of verifai, that workers must have.
        memory_bytes, cpus: of one task.
        largest_answer: in bytes.
        repeatable: whether Ray may run a task twice; never where an item has something that may be used once.
        slow_seconds: how long an item may be in hand before it is told, and taken from its worker; ``None`` for ever.
    """

    entry: str
    release: str
    memory_bytes: int
    cpus: int
    largest_answer: int
    repeatable: bool
    slow_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Given:
    """An item in hand: since when, and the identifier of the node that it was given to; empty where Ray decided."""

    number: int
    began: float
    node: str = ""


class RayCrew:
    """Tasks of a cluster. Made by :func:`join`."""

    def __init__(self, ray: Any, shared: bytes, demands: Demands, jobs: int | None, *, ours: bool) -> None:
        self._ray, self._demands, self._jobs, self._ours = ray, demands, jobs, ours
        self._task = ray.remote(make_task())
        self.share(shared)
        self._in_hand: dict[Any, _Given] = {}
        self._left_out: set[str] = set()
        self._by_name = False
        self._require_somebody()

    @property
    def room(self) -> int:
        """As many as asked for; else one that runs and one that waits for each place that the cluster has now."""
        return self._jobs or max(2, 2 * sum(self._places(node) for node in self._nodes()))

    def share(self, shared: bytes) -> None:
        """Put it into the cluster once; every node fetches it once, and every worker process keeps what it made of it."""
        self._key, self._bytes = hashlib.sha256(shared).digest(), shared
        with _connected():
            self._shared = self._ray.put(shared)

    def submit(self, number: int, data: bytes) -> None:
        """Give an item to Ray."""
        options: dict[str, Any] = {
            "num_cpus": self._demands.cpus,
            "memory": self._demands.memory_bytes,
            "max_retries": RETRIES if self._demands.repeatable else 0,
            "retry_exceptions": False,
            "name": f"item {number} of verifai",
        }
        node = self._least_busy() if self._by_name else ""
        if node:
            options["label_selector"] = {"ray.io/node-id": node}
        with _connected():
            ref = self._task.options(**options).remote(
                self._demands.entry, self._demands.release, self._key, [self._shared], data
            )
        self._in_hand[ref] = _Given(number, time.monotonic(), node)

    def next(self) -> Answer:
        """The item that ends first, as Ray tells it; or one that took too long."""
        while True:
            with _connected():
                ended, _ = self._ray.wait(list(self._in_hand), num_returns=1, timeout=POLL_SECONDS, fetch_local=False)
            if ended:
                return self._answer(self._in_hand.pop(ended[0]), ended[0])
            if (late := self._late()) is not None:
                return late
            self._require_somebody()

    def done_with(self, number: int) -> None:
        """Nothing to do: an item keeps no other one waiting."""

    def leave_out(self, answer: Answer) -> bool:
        """Nothing more is given to that node, if it is known; from here on it is."""
        self._by_name = True
        if not answer.certain:
            return False
        self._left_out.update(one for one, name in self._names().items() if name == answer.worker)
        return True

    def close(self) -> None:
        """Take back what is still in hand, and leave a cluster that was begun or joined here."""
        for ref in self._in_hand:
            with contextlib.suppress(Exception):
                self._ray.cancel(ref, force=True)
        self._in_hand.clear()
        if self._ours:
            with contextlib.suppress(Exception):
                self._ray.shutdown()

    def _answer(self, given: _Given, ref: Any) -> Answer:
        with _connected():
            found = read(self._ray, ref, limit=self._demands.largest_answer)
        names = self._names()
        told = Answer(given.number, None, names.get(given.node, ""), certain=bool(given.node))
        if found.data is None and not found.strange:
            self._share_again(found.lost)
            return replace(told, lost=found.lost)
        if found.data is None:
            return replace(told, lost=f"what came back is not taken: {found.lost}", strange=True)
        try:
            opened = open_envelope(found.data)
        except EvidenceRejected as problem:
            return replace(told, lost=problem.message, strange=True)
        if opened.node not in names or opened.node != (given.node or opened.node):
            return replace(told, lost="it names itself as another node", strange=True)
        told = replace(told, worker=names[opened.node])
        if opened.release != self._demands.release:
            other = f"verifai {opened.release[:40]}" if opened.release else "no verifai"
            return replace(told, lost=f"it has {other}, and this is verifai {self._demands.release}", useless=True)
        if opened.failed:
            self._share_again(opened.failed)
            return replace(told, lost=f"it could not work: {opened.failed[:300]}")
        return replace(told, data=opened.data)

    def _share_again(self, told: str) -> None:
        """Where an object was lost, it may be the one that all tasks share."""
        if "OBJECT" in told.upper() or "OWNER" in told.upper():
            self.share(self._bytes)

    def _late(self) -> Answer | None:
        """An item whose node is gone, or that nobody answered for too long; it is taken back."""
        here = {node["NodeID"] for node in self._nodes()}
        limit, now = self._demands.slow_seconds, time.monotonic()
        for ref, given in self._in_hand.items():
            if given.node and given.node not in here:  # Ray would wait for a node of that name for ever
                lost = "its node is gone, or was left out"
            elif limit is not None and now - given.began > limit:
                lost = f"there was no answer within {limit:,.0f} s"
            else:
                continue
            del self._in_hand[ref]
            with contextlib.suppress(Exception):
                self._ray.cancel(ref, force=True)
            slow = not lost.startswith("its node")
            return Answer(given.number, None, self._names().get(given.node, ""), lost, strange=slow, certain=bool(given.node))
        return None

    def _least_busy(self) -> str:
        """Of the nodes that are not left out, the one with the fewest of our items for its size."""
        busy = Counter(given.node for given in self._in_hand.values())
        places = {node["NodeID"]: self._places(node) for node in self._nodes()}
        fitting = [node for node, room in places.items() if room]
        return min(fitting, key=lambda node: (busy[node] / places[node], node), default="")

    def _nodes(self) -> list[dict[str, Any]]:
        """The cluster's nodes that are alive now, but those that are left out."""
        with _connected():
            return [node for node in self._ray.nodes() if node.get("Alive") and node["NodeID"] not in self._left_out]

    def _places(self, node: dict[str, Any]) -> int:
        """How many tasks fit on a node."""
        has = node.get("Resources", {})
        by_memory = int(has.get("memory", 0) // max(1, self._demands.memory_bytes))
        return min(int(has.get("CPU", 0) // self._demands.cpus), by_memory)

    def _names(self) -> dict[str, str]:
        """Every node's name for people, by its identifier."""
        with _connected():
            nodes = self._ray.nodes()
        return {node["NodeID"]: f"node {node['NodeID'][:12]} at {node.get('NodeManagerAddress', '?')}" for node in nodes}

    def _require_somebody(self) -> None:
        if any(self._places(node) for node in self._nodes()):
            return
        memory = f"{self._demands.memory_bytes / 2**30:.1f} GiB of memory"
        left = f"; {len(self._left_out)} were left out" if self._left_out else ""
        message = f"no node of the cluster has {self._demands.cpus} CPUs and {memory} for one proof{left}"
        raise Undecided(NOBODY, message, where="--on", hint="Add nodes, or make them larger; then give the same command again.")


def join(shared: bytes, demands: Demands, *, address: str | None, jobs: int | None) -> RayCrew:
    """Join a cluster, or begin one on this machine, and give it what its tasks share.

    A program that has joined one already goes on with that one.

    Raises:
        UsageError: ``ray-missing``.
        Undecided: ``cluster-lost`` when there is no cluster at that address; ``no-worker-left``.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to Ray's makers
    place = address or os.environ.get(ADDRESS_VARIABLE) or "local"
    if place == "local":
        _close_to_others()
    try:
        import ray
    except ImportError:
        hint = install_hint("ray")
        raise UsageError("ray-missing", "Ray is not installed here", where="--on", hint=hint) from None
    if ray.__version__ != RELEASE:
        message = f"Ray {ray.__version__} is installed; answers of strangers are read with {RELEASE} only"
        raise UsageError("ray-missing", message, where="--on", hint=f"Run: `pip install 'ray[client]=={RELEASE}'`")
    if place.startswith("ray://") and importlib.util.find_spec("grpc") is None:
        message = "a cluster at ray:// is spoken to by grpcio, which is not installed here"
        raise UsageError("ray-missing", message, where="--on", hint=install_hint("ray"))
    ours = not ray.is_initialized()
    if ours:
        more = {} if place.startswith("ray://") else {"log_to_driver": False}
        if place == "local":
            more["include_dashboard"] = False
            if AUTH_MODE not in os.environ:
                message = (
                    "Ray was loaded before, without tokens: a cluster begun now would take code from anybody on the network"
                )
                hint = f"Set {AUTH_MODE}=token and {AUTH_TOKEN} before the program starts, or call ray.init() before."
                raise Undecided(LOST, message, where="--on", hint=hint)
        _enter(ray, place, more)
    try:
        return RayCrew(ray, shared, demands, jobs, ours=ours)
    except BaseException:
        if ours:
            with contextlib.suppress(Exception):
                ray.shutdown()
        raise


def _enter(ray: Any, place: str, more: dict[str, Any]) -> None:
    """Join what is at ``place``, or begin it. Ray gives a node that it begins 30 seconds, too few where much else runs: that
    is tried again.

    Raises:
        Undecided: ``cluster-lost``.
    """
    for left in reversed(range(STARTS if place == "local" else 1)):
        try:
            with _without_passphrase():
                ray.init(address=place, logging_level="ERROR", **more)
            return
        except Exception as problem:  # noqa: BLE001 - of many kinds, by how far it came
            with contextlib.suppress(Exception):
                ray.shutdown()
            if left:
                continue
            hint = "See that the cluster is up and has the same Python and Ray as this machine: `ray status`"
            if place == "local":
                hint = "Give this machine less else to do, and the same command again; or `--on local`, without Ray."
            raise Undecided(LOST, f"cannot join: {str(problem)[:300]}", where=place, hint=hint) from None


def _close_to_others() -> None:
    """Have the cluster that is begun here ask for a token that nobody else has: its ports are open to the whole network, and
    whoever can submit to them runs code as this user. Ray takes such settings when it is loaded, and not later.
    """
    if "ray" not in sys.modules and AUTH_MODE not in os.environ:
        os.environ[AUTH_MODE] = "token"
        os.environ[AUTH_TOKEN] = secrets.token_hex(32)


@contextlib.contextmanager
def _without_passphrase() -> Iterator[None]:
    """What is begun in this block does not inherit the passphrase of signing keys: workers need none."""
    kept = os.environ.pop(KEY_VARIABLE, None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ[KEY_VARIABLE] = kept


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """What Ray raises when the cluster itself is gone, as one error of ours."""
    try:
        yield
    except (UsageError, Undecided, KeyboardInterrupt, EvidenceRejected):
        raise
    except Exception as problem:  # noqa: BLE001 - Ray's own kinds of it are many, and none of them is a finished item
        hint = "What is done stays. When the cluster is up again, give the same command again."
        raise Undecided(LOST, f"the cluster is gone: {type(problem).__name__}: {str(problem)[:200]}", hint=hint) from None
