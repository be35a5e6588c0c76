"""Put the cases through export, check, init, compile, prove and verify, a child for each; results in docs/data/coverage.json.

python -m tools.coverage.measure                      all of them (half an hour of one core)
python -m tools.coverage.measure keras lstm           those whose route or name has one of the words
python -m tools.coverage.measure --write …            also keep the results and write docs/coverage.md
python -m tools.coverage.measure --write --missing …  only those that have no result there yet: goes on with a run that ended
python -m tools.coverage.measure --keep FOLDER …      also keep the models, inputs and circuits
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.coverage.case import SAMPLES, Case, Made
from tools.coverage.page import DATA, outcome_counts, write_page
from tools.coverage.routes import all_cases

MAKE_SECONDS, RUN_SECONDS = 180, 240
"""Of processor time, so that a machine that is busy with other work changes no result."""
PATIENCE = 20
"""As many times as long is waited by the clock, for what hangs without working."""
MEMORY = 12 << 30
WRONG = 0.25
"""An accepted value farther off than this share of the output's range on the samples is called wrong, floor or not."""


def run_verb(*arguments: str) -> tuple[int, dict[str, Any]]:
    """A command of the command line in this process: its status and its document."""
    from verifai.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([*arguments, "--json"])
    try:
        document = json.loads(out.getvalue())
    except ValueError:
        document = {"error": {"code": "no-json", "message": (err.getvalue() + out.getvalue())[-2000:]}}
    return status, document


def through(made: Made, work: Path, *, quick: bool = False) -> dict[str, Any]:
    """The outcome of one case: how it ended, with code, message, place and hint where it was refused."""
    np.savez(work / "data.npz", **made.inputs)  # type: ignore[arg-type]
    np.savez(work / "sample.npz", **{name: array[:1] for name, array in made.inputs.items()})  # type: ignore[arg-type]
    canonical, circuit, bundle = str(work / "canonical.onnx"), work / "circuit", str(work / "evidence")
    steps = [
        ("export", str(made.model), "-o", canonical, "--inputs", str(work / "data.npz")),
        ("check", canonical, "--engine", "sumcheck"),
        ("init", canonical, "-o", str(circuit), "--engine", "sumcheck", "--task", "regression",
         "--calibration", str(work / "data.npz"), "--yes"),
        ("compile", str(circuit)),
        ("prove", str(circuit), str(work / "sample.npz"), "-o", bundle),
        ("verify", bundle, "--lock", str(circuit / "circuit.lock")),
    ]  # fmt: skip
    found: dict[str, Any] = {}
    document: dict[str, Any] = {}
    for step in steps:
        started = time.process_time()
        status, document = run_verb(*step)
        found[step[0]] = round(time.process_time() - started, 2)
        if step[0] == "compile" and not status:
            if quick:
                return {**found, "outcome": "compiled", "spread_error": document["fidelity"]["spread_error"]}
            found |= {"spread_error": document["fidelity"]["spread_error"], "cells": document["tried"][-1]["cells"]}
        if status:
            return {**found, **refusal(step[0], status, document)}
    error = farthest(made, document["bundles"][0]["statement"])
    return {**found, "error": error, "outcome": "wrong" if error > WRONG else "proven"}


def refusal(verb: str, status: int, document: dict[str, Any]) -> dict[str, Any]:
    """What a command that did not succeed said."""
    problem = document.get("error") or {}
    findings = [one for one in document.get("findings", ()) if one.get("outcome") not in ("holds", "not-checked")]
    if not problem and findings:
        problem = findings[0]
    if not problem and verb == "check":
        engine = document["engines"][0]
        operators = [one for one in engine.get("operators", ()) if not one["supported"]]
        message = "; ".join(f"{one['op_type']}: {one['reason']}" for one in operators) or engine.get("reason", "")
        problem = {"code": "check", "message": message, "hint": "; ".join(one["suggestion"] for one in operators)}
    code = str(problem.get("code", "none"))
    if status == 70 or code in ("no-json", "none", "internal-error"):
        outcome = "bug"
    else:
        outcome = "floor" if code.startswith("fidelity") else "refused"
    told = {key: str(problem.get(key) or "") for key in ("message", "where", "hint")}
    return {"outcome": outcome, "verb": verb, "status": status, "code": code, **told}


def farthest(made: Made, statement: dict[str, Any]) -> float:
    """The largest error of a proven output against onnxruntime on the file itself, in ranges of that output on the samples."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(made.model), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    fed = {one.name for one in session.get_inputs()}
    runs = [
        session.run(names, {name: array[at] for name, array in made.inputs.items() if name in fed}) for at in range(SAMPLES)
    ]
    worst = 0.0
    for tensor in statement["tensors"]:
        if tensor["role"] != "output":
            continue
        if tensor["name"] not in names or tensor.get("values") is None:
            continue
        column = names.index(tensor["name"])
        every = np.stack([np.asarray(_plain(one[column]), np.float64) for one in runs])
        proven = np.asarray(tensor["values"], np.float64).reshape(every[0].shape)
        reach = max(float(np.ptp(every)), 1e-6 * float(np.abs(every).max()), 1e-12)
        worst = max(worst, float(np.abs(proven - every[0]).max()) / reach)
    return worst


def _plain(value: Any) -> Any:
    """An array, also of what a ZipMap gives: for each row, class → score."""
    return [list(row.values()) for row in value] if isinstance(value, list) else value


@contextlib.contextmanager
def folder(case: Case, kept: Path | None) -> Iterator[Path]:
    """Where the case's files lie."""
    if kept is None:
        with tempfile.TemporaryDirectory() as work:
            yield Path(work)
        return
    shutil.rmtree(kept / case.slug, ignore_errors=True)
    (kept / case.slug).mkdir(parents=True)
    yield kept / case.slug


def allow(seconds: int) -> None:
    """End this process by a signal after so much more processor time, or after ``PATIENCE`` times that by the clock."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(seconds * PATIENCE)


def child(case: Case, work: Path, out: Path) -> None:
    """Make and put through one case, in a process of its own; what is found goes to ``out``."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    allow(MAKE_SECONDS)
    with (work / "log.txt").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        made = case.make(work)
        found: dict[str, Any] = {}
    except Exception as problem:
        traceback.print_exc()
        words = re.sub(r"\s+", " ", str(problem))[:300]
        found = {"outcome": "not made", "message": f"{type(problem).__name__}: {words}"}
    out.write_text(json.dumps({"outcome": "timeout", "verb": "made"}), encoding="utf-8")
    if not found:
        allow(RUN_SECONDS)
        try:
            found = through(made, work, quick="VERIFAI_COVERAGE_QUICK" in os.environ)
        except BaseException as problem:
            traceback.print_exc()
            found = {"outcome": "bug", "message": f"{type(problem).__name__}: {problem}"[:500]}
    text = json.dumps(found, sort_keys=True)
    for own in (str(work), sys.prefix, os.path.realpath(sys.prefix)):  # nothing kept names a place of this machine
        text = text.replace(own, "…")
    out.write_text(text, encoding="utf-8")


def measured(case: Case, kept: Path | None) -> dict[str, Any]:
    """The outcome of one case."""
    with folder(case, kept) as work, tempfile.TemporaryDirectory() as aside:
        out = Path(aside) / "found.json"
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                child(case, work, out)
            os._exit(0)
        _, status, usage = os.wait4(pid, 0)
        found: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.is_file() else {"outcome": "not made"}
        if os.WIFSIGNALED(status):
            late = os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGPROF)
            found |= {"outcome": found["outcome"] if late else "bug", "message": f"ended by signal {os.WTERMSIG(status)}"}
    return {**found, "route": case.route, "cpu": round(usage.ru_utime + usage.ru_stime, 1), "mib": usage.ru_maxrss // 1024}


def preload() -> None:
    """What every child needs is loaded once, before the forks."""
    import onnxruntime  # noqa: F401

    import verifai.cli.app
    import verifai.engines.sumcheck.engine
    import verifai.stages.export
    import verifai.stages.verify  # noqa: F401
    from tools.coverage.torch_export import warm_up as load_exporters
    from verifai.stages.warm_up import warm_up as load_kernels

    load_exporters()
    load_kernels()
    gc.freeze()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only cases whose route or name has one of these")
    parser.add_argument("--write", action="store_true", help="keep the results in docs/data and write the page")
    parser.add_argument("--missing", action="store_true", help="only cases without a result in the file of results")
    parser.add_argument("--keep", type=Path, help="folder for the models, inputs and circuits")
    parser.add_argument("--results", type=Path, default=DATA, help="the file of results")
    options = parser.parse_args()
    preload()
    done = json.loads(options.results.read_text("utf-8")) if options.missing and options.results.is_file() else {}
    found = run(options.words, options.keep, options.results if options.write else None, done)
    print(outcome_counts(found), file=sys.stderr)
    if options.write and options.results == DATA:
        write_page()


def run(words: Sequence[str], kept: Path | None, results: Path | None, done: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """The chosen cases but those that are ``done``, one after the other; each result is kept as it comes."""
    found: dict[str, dict[str, Any]] = {}
    for case in all_cases():
        if case.slug in done or (words and not any(word in f"{case.route} {case.slug}" for word in words)):
            continue
        found[case.slug] = one = measured(case, kept)
        told = " ".join(str(one.get(key, "")) for key in ("verb", "code", "message", "where"))[:300]
        print(f"{case.slug:<34} {one['outcome']:<9} {one['cpu']:>6} s {told} {one.get('spread_error', '')}", flush=True)
        if results is not None:
            every = json.loads(results.read_text("utf-8")) if results.is_file() else {}
            results.write_text(json.dumps({**every, case.slug: one}, indent=0) + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
