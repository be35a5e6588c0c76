"""A child that does what foreign code does on a bad day. Run by test_child.py in place of the ezkl worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from verifai.execution.child_entry import serve


class PanicException(BaseException):
    """Stands in for pyo3_runtime.PanicException, which is a BaseException too."""


def environment(args):
    command = Path("/proc/self/cmdline").read_bytes().decode()
    return {
        "variables": dict(os.environ),
        "cwd": str(Path.cwd()),
        "mode": Path().stat().st_mode & 0o777,
        "files": [path.name for path in Path().iterdir()],
        "stdin": sys.stdin.read(),
        "command": command,
        "session": os.getsid(0) == os.getpid(),
    }


def fail(args):
    raise RuntimeError("ordinary failure")


def panic(args):
    raise PanicException("index out of bounds")


def hang(args):
    if args.get("grandchild"):
        child = subprocess.Popen(["sleep", "3600"])
        written = Path("pids")
        written.write_text(f"{os.getpid()} {child.pid}")
        shutil.move(written, args["grandchild"])  # it is there whole or not at all
    while True:
        time.sleep(60)


def spin(args):
    while True:
        pass


def allocate(args):
    blocks = []
    while True:
        blocks.append(bytearray(os.urandom(1) * (16 * 2**20)))


def touch_slowly(args):
    blocks = []
    while True:
        blocks.append(b"x" * (8 * 2**20))
        time.sleep(0.02 if len(blocks) < 30 else 60)  # 240 MiB, and there it stays


def orphan(args):
    subprocess.Popen(["sleep", "600"])
    os.abort()


def flood(args):
    for _ in range(300):
        os.write(2, b"private input 0.123 " * 5000)
    return "still here"


def nonsense(args):
    os.write(int(sys.argv[1]), args["bytes"].encode() + b"\n")
    os._exit(0)


HANDLERS = {
    "echo": lambda args: args,
    "environment": environment,
    "fail": fail,
    "panic": panic,
    "hang": hang,
    "spin": spin,
    "allocate": allocate,
    "touch_slowly": touch_slowly,
    "abort": lambda args: os.abort(),
    "killed": lambda args: os.kill(os.getpid(), signal.SIGKILL),
    "quit": lambda args: os._exit(3),
    "orphan": orphan,
    "flood": flood,
    "large": lambda args: "x" * args["size"],
    "not_json": lambda args: float("nan"),
    "nonsense": nonsense,
}

if __name__ == "__main__":
    sys.exit(serve(HANDLERS))
