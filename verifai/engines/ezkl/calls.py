"""ezkl's functions, typed and fenced: each call is one child process, and its outputs appear whole or not at all.

A child works in a private folder with its own, empty ``EZKL_REPO_PATH``: ezkl feeds whatever it finds in that cache into the
circuit's fixed columns without checking it. Outputs are moved out after success only, with mode 0600.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from verifai.domain.progress import SILENT, Progress
from verifai.errors import EngineCrashed, ResourceExhausted, Undecided, VerifaiError
from verifai.execution import child
from verifai.execution.child import ChildReport, Limits, Step
from verifai.execution.scratch import private_directory

WORKER = "verifai.engines.ezkl.worker"
MIN_MEMORY_BYTES = 256 * 2**20
"""Below this the interpreter and ezkl's library do not even load."""
_NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")


@dataclass(frozen=True, slots=True)
class Fence:
    """How the children of one piece of work run.

    Attributes:
        limits: per child.
        threads: ezkl's worker threads; ``None`` for one per processor.
        network: whether the child may use the network; only a download does. Without it ezkl's HTTP client is pointed at a
            closed port, because some calls would otherwise fetch and run a Solidity compiler.
        environment: variables to add, such as proxies for a download.
        scratch: existing folder for the private folders, on the file system of the outputs; ``None`` for the system's.
    """

    limits: Limits = field(default_factory=Limits)
    threads: int | None = None
    scratch: Path | None = None
    network: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = SILENT

    def within(self, *, wall_seconds: float | None) -> Fence:
        """The same fence with another deadline."""
        return replace(self, limits=replace(self.limits, wall_seconds=wall_seconds))


@dataclass(frozen=True, slots=True)
class Ran:
    """A child's answers, all of them successes.

    Attributes:
        values: one per step. seconds: one per step, inside the child.
        peak_rss_bytes: of the child.
    """

    values: tuple[Any, ...]
    seconds: tuple[float, ...]
    peak_rss_bytes: int


class CallFailed(Exception):
    """ezkl refused or panicked in one step. Never leaves this package: the caller knows what it means."""

    def __init__(self, step: Step) -> None:
        super().__init__(f"{step.name}: {step.message}")
        self.step = step


def call(op: str, **args: Any) -> dict[str, Any]:
    """One step of a task; ``op`` is a name in the worker's table.

    A ``Path`` is a file of ours and becomes absolute; a ``str`` is a name in the child's private folder.
    """
    plain = {name: str(value.absolute()) if isinstance(value, Path) else value for name, value in args.items()}
    return {"op": op, "args": plain}


def run(
    steps: Sequence[Mapping[str, Any]],
    fence: Fence,
    *,
    inputs: Mapping[str, bytes] | None = None,
    outputs: Mapping[str, Path] | None = None,
) -> Ran:
    """Run ``steps`` in one child.

    Args:
        inputs: files to put into the private folder, by name.
        outputs: files to move out after success: name in the private folder → destination.

    Raises:
        CallFailed: a step failed; nothing was moved out.
        Undecided: the child died, or ran out of memory or time; nothing was moved out.
    """
    with private_directory(fence.scratch) as folder:
        report = attempt(steps, fence, folder, inputs=inputs)
        if report.death is not None:
            raise report.death
        for step in report.steps:
            if step.failure == "memory":
                raise ResourceExhausted(
                    "out-of-memory", f"no memory left in ezkl's {step.name}", hint="Raise the memory limit."
                )
            if step.failure:
                raise CallFailed(step)
        if len(report.steps) != len(steps):
            raise EngineCrashed("engine-crashed", "the child answered too few steps")
        for name, destination in (outputs or {}).items():
            move_out(folder / name, destination)
    return Ran(tuple(step.value for step in report.steps), tuple(step.seconds for step in report.steps), report.peak_rss_bytes)


def attempt(
    steps: Sequence[Mapping[str, Any]],
    fence: Fence,
    folder: Path,
    *,
    inputs: Mapping[str, bytes] | None = None,
    keep_going: bool = False,
) -> ChildReport:
    """Run ``steps`` in one child in ``folder`` and report, whatever happened; ``keep_going``: after a failing step too."""
    for name, data in (inputs or {}).items():
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
    cache = folder / "ezkl"
    cache.mkdir(mode=0o700, exist_ok=True)
    threads = fence.threads or os.cpu_count() or 1
    memory = fence.limits.memory_bytes
    if memory is not None and memory < MIN_MEMORY_BYTES:
        asked, least = memory / 2**20, MIN_MEMORY_BYTES / 2**20
        message = f"a limit of {asked:.0f} MiB was asked for; ezkl needs {least:.0f} MiB even to start"
        raise ResourceExhausted("out-of-memory", message, hint="Raise the memory limit.")
    return child.run(
        WORKER,
        {"steps": list(steps), "keep_going": keep_going},
        folder=folder,
        limits=fence.limits,
        environment={
            "EZKL_REPO_PATH": str(cache),
            "EZKL_KEY_FORMAT": "raw-bytes",
            "RAYON_NUM_THREADS": str(threads),
            "RUST_BACKTRACE": "0",
            **({} if fence.network else _NO_NETWORK),
            **fence.environment,
        },
        progress=fence.progress,
    )


def move_out(source: Path, destination: Path) -> None:
    """Rename ``source`` to ``destination``, durably; across file systems by a copy beside the destination first."""
    try:
        if not source.is_file() or source.is_symlink():
            raise EngineCrashed("engine-crashed", f"ezkl did not write {source.name}")
        source.chmod(0o600)
        if source.stat().st_dev != destination.parent.stat().st_dev:
            near = destination.parent / f".{destination.name}.{os.getpid()}.tmp"
            try:
                shutil.copyfile(source, near)
                near.chmod(0o600)
                _sync(near)
                near.replace(destination)
            finally:
                near.unlink(missing_ok=True)
        else:
            _sync(source)
            source.replace(destination)
    except OSError as problem:
        raise Undecided("disk", f"cannot write: {problem.strerror}", where=str(destination)) from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def crashed(problem: CallFailed) -> VerifaiError:
    """The error for a step that has no business failing."""
    return EngineCrashed("engine-crashed", f"ezkl's {problem.step.name} failed: {first_line(problem.step.message)}")


def first_line(text: str) -> str:
    """The first line of foreign text, for diagnosis: cut short, without control characters."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return "".join(char if char.isprintable() else "?" for char in line)[:300]
