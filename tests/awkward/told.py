"""What a user is told about one file: export, check, init and compile, and every command that a hint names."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.awkward.models import Awkward

ENGINES = ("sumcheck", "ezkl")
_COMMAND = re.compile(r"`(verifai(?: [^`]*)?)`")


@dataclass
class Told:
    """What came of one file.

    Attributes:
        steps: verb → (exit status, the first error's text, its hint).
        hints: command of a hint → its exit status, and the code of its error.
    """

    steps: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    hints: dict[str, tuple[int, str]] = field(default_factory=dict)


def tell(case: Awkward, folder: Path) -> Told:
    """Write the file below ``folder`` and put it through the verbs, in this process."""
    work = folder / case.slug
    work.mkdir(parents=True)
    (work / case.file).write_bytes(case.make(work))
    told = Told()
    with contextlib.chdir(work):
        model = case.file
        if _step(told, case, "check", model):
            if _step(told, case, "export", model, "-o", "canonical.onnx"):
                _step(told, case, "init", model, "-o", "circuit", "--yes")
                for engine in ENGINES:
                    _spec(Path(f"written-{engine}"), model, engine)
                    _step(told, case, "compile", f"written-{engine}", name=f"compile, {engine}")
                return told
            model = "canonical.onnx"
        if case.only_check:
            _step(told, case, "check", model, name="check, both engines")
            return told
        data = _samples(Path(model))
        for engine in ENGINES:
            _step(told, case, "check", model, "--engine", engine, name=f"check, {engine}")
            given = ("--engine", engine, "--calibration", data, "--task", "regression", "--yes")
            if not _step(told, case, "init", model, "-o", engine, *given, name=f"init, {engine}"):
                _step(told, case, "compile", engine, name=f"compile, {engine}")
    return told


def _samples(model: Path) -> str:
    """Inputs that fit a canonical model, in a file."""
    from verifai.onnx_graph.load import load_path

    rng = np.random.default_rng(0)
    arrays = {spec.name: rng.uniform(-3, 3, (100, *spec.shape)).astype(spec.dtype) for spec in load_path(model).inputs}
    np.savez("samples.npz", **arrays)
    return "samples.npz"


def _spec(folder: Path, model: str, engine: str) -> None:
    """A specification written by hand, for a model that init refuses."""
    folder.mkdir()
    (folder / "circuit.toml").write_text(
        f'[circuit]\nname = "a"\nmodel = "../{model}"\nengine = "{engine}"\n[tensors]\nx = "public"\ny = "public"\n'
        '[weights]\nvisibility = "public"\n[calibration]\ndata = "x.npz"\n[fidelity]\n',
        encoding="utf-8",
    )


def _step(told: Told, case: Awkward, *arguments: str, name: str = "") -> int:
    status, document = _run(arguments)
    problem = (document or {}).get("error") or {}
    text, place, code = (str(problem.get(key) or "") for key in ("message", "where", "code"))
    hint = str(problem.get("hint") or "")
    place = "the local store" if code == "srs-missing" else place  # whose path is the user's own
    told.steps[name or arguments[0]] = (status, f"[{code}] {text}" + (f" (at {place})" if place else "") if text else "", hint)
    for number, command in enumerate(_COMMAND.findall(hint)):
        # What the reader knows is filled in; an output of its own, so that no step takes another's.
        command = command.replace("MODEL", case.file)
        target = f"hint-{len(told.hints)}-{number}.onnx"
        words = shlex.split(command.replace("-o FILE", f"-o {target}"))[1:]
        if command not in told.hints and words[0] != "srs":  # which would change the user's store
            ended, answer = _run([*words, "--force"] if words[0] == "export" else words)
            told.hints[command] = (ended, str(((answer or {}).get("error") or {}).get("code") or ""))
    return status


def _run(arguments: Sequence[str]) -> tuple[int, Any]:
    from verifai.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([*arguments, "--json"])
    try:
        return status, json.loads(out.getvalue())
    except ValueError:
        return status, {"error": {"code": "?", "message": (err.getvalue() or out.getvalue())[-300:]}}
