"""Real servers on this machine's loopback, each on a port that the system picks, ended with their block."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LIMIT = 240.0
"""Seconds until a server that does not say where it listens is given up; no machine comes near."""


@contextmanager
def serving(command: list[str], pattern: str, folder: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Run a server until the block ends. ``pattern``: what it says of itself, with the port as its first group."""
    log: list[str] = []
    port: list[str] = []
    heard = threading.Event()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line)
            if not port and (match := re.search(pattern, line)):
                port.append(match[1])
                heard.set()
        heard.set()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        heard.wait(LIMIT)
        if not port:
            pytest.fail(f"{command[0]} did not begin to listen:\n{''.join(log[-40:])}")
        yield f"127.0.0.1:{port[0]}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(LIMIT)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def oci_registry(folder: Path) -> Iterator[str]:
    """Debian's docker-registry; skips where it cannot be had."""
    here = ROOT / ".venv-interop" / "registry" / "usr" / "bin" / "docker-registry"
    program = (
        os.environ.get("VERIFAI_DOCKER_REGISTRY") or shutil.which("docker-registry") or (str(here) if here.exists() else "")
    )
    if not program:
        pytest.skip("Debian's docker-registry is not here: make test-interop fetches it where apt-get is")
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {folder / 'blobs'}\n"
        "http:\n  addr: 127.0.0.1:0\n"
    )
    with serving([program, "serve", str(config)], r"listening on 127\.0\.0\.1:(\d+)", folder) as address:
        yield address


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """MLflow with a SQLite file."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "0", "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONUNBUFFERED": "1"}
    with serving(command, r"running on http://127\.0\.0\.1:(\d+)", folder, quiet) as address:
        yield f"http://{address}"
