"""ezkl as it comes, on the ONNX files that our circuits are made of: every argument is ezkl's default.

python -m tools.estimators.as_it_comes --write              all estimators: an hour or two
python -m tools.estimators.as_it_comes --only wine          those whose slug contains a text
python -m tools.estimators.as_it_comes --missing --write    those that have no result yet

``gen_settings``, ``calibrate_settings`` on rows of the calibration half, ``compile_circuit``, ``setup``, ``prove``, ``verify``,
in a child process with :data:`SECONDS` processor seconds for each estimator. A row is *accepted* when the proof is verified and
the circuit's outputs meet the floor that is the default here; ezkl itself judges no error. The SRS is made beforehand, for
tests, as a user would have downloaded it: it takes no part in the time.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from tools.estimators import results
from tools.estimators.page import PAGE, line, page
from tools.estimators.results import Results, Row
from tools.estimators.zoo import Case, cases, save
from verifai.domain.fidelity import DEFAULT_FLOORS, Fidelity
from verifai.engines.fidelity import Measure
from verifai.errors import VerifaiError
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference
from verifai.stages.export import export

ENGINE = "ezkl-as-it-comes"
SECONDS = 40
"""Processor seconds of all of ezkl's work on one estimator."""
MEMORY = 12 * 2**30
LARGEST = 15
"""log2 of the most rows that are set up: set-up and proof of more take longer than :data:`SECONDS`."""
PARALLELISM = 1.85
"""Processor seconds per elapsed second on two cores."""
CALIBRATION_ROWS = 20
"""As in ezkl's own examples; it runs each of them under each pair of scales."""
MEASURED_ROWS = 100
NOTE = (
    "ezkl 23.0.5 with the defaults of its own `gen_settings` and `calibrate_settings`, on the same ONNX files. Limit: "
    f"{SECONDS} processor seconds per estimator, the SRS not counted, and 2^{LARGEST} rows (29 earlier: 120 and 2^17, their "
    f"error that of all cells); of a circuit that needs more, the error is measured and nothing is set up. The error is over "
    f"{MEASURED_ROWS} rows of the calibration half; one held-out row is proven. Compile s is the set-up; times are processor "
    f"seconds divided by {PARALLELISM}. Accepted: proven, verified, and within the floor that is the default here; ezkl itself "
    "judges no error."
)
_MODULUS = 21888242871839275222246405745257275088548364400416034343698204186575808495617


def measure(case: Case, work: Path, srs: Path, seconds: int = SECONDS, largest: int = LARGEST) -> Row:
    """One row of the table."""
    folder, x, half = save(case, work)
    try:
        model = export(str(folder / "model.skops")).model
    except VerifaiError as problem:
        return Row(case.slug, case.name, case.data, False, f"{problem.code}: {problem.message}")
    (folder / "model.onnx").write_bytes(model.data)
    data = {"calibration": x[:half][:MEASURED_ROWS].tolist(), "held_out": x[half : half + 1].tolist()}
    (folder / "rows.json").write_text(json.dumps(data))
    told = list(_child("forward", folder, srs, seconds))
    figures = {name: value for one in told if one["kind"] == "settings" for name, value in one.items() if name == "size_log2"}
    fidelity, held_out = _fidelity(case, model, told, x, half)
    if fidelity is not None:
        matches = fidelity.top1_matches
        agreement = "" if matches is None else f"{matches}/{fidelity.samples}"
        figures |= {"spread_error": fidelity.judged_error, "held_out": held_out, "agreement": agreement}

    def row(reason: str, **more: Any) -> Row:
        return Row(case.slug, case.name, case.data, not reason, reason, **figures, **more)

    if reason := _failure(told):
        return row(reason)
    if figures["size_log2"] > largest:
        return row(f"needs 2^{figures['size_log2']} rows; set-up not run")
    if not _srs_path(srs, figures["size_log2"]).exists():
        list(_child("srs", folder, srs, 3600))
    spent = sum(one["seconds"] for one in told if one["kind"] == "step")
    told = list(_child("prove", folder, srs, max(1, round(seconds - spent))))
    if reason := _failure(told):
        return row(reason)
    took = {one["name"]: one["seconds"] / PARALLELISM for one in told if one["kind"] == "step"}
    refused = sum(one["kind"] == "refused" for one in told)
    missed = list(DEFAULT_FLOORS[case.task].missed(fidelity)) if fidelity is not None else ["no row could be run"]
    missed += [f"{refused} rows could not be run"] if refused else []
    reason = "proven, and the proof verified, but " + "; ".join(missed) if missed else ""
    return row(reason, compile_seconds=took["setup"], prove_seconds=took["prove"])


def _fidelity(
    case: Case, model: OnnxModel, told: Sequence[Mapping[str, Any]], x: Any, half: int
) -> tuple[Fidelity | None, float | None]:
    """Of the rows that the circuit was run on, and the error of the one that is proven, in spreads."""
    (spec,) = model.inputs
    ran = {(one["part"], one["row"]): np.array(one["values"]) for one in told if one["kind"] == "outputs"}
    numbers = [number for part, number in ran if part == "calibration"]
    if not numbers:
        return None, None
    reference = Reference(model)
    wanted = [reference.run({spec.name: x[number].reshape(spec.shape)}) for number in numbers]
    sizes = np.cumsum([one.size for one in model.outputs])[:-1]
    rows = np.array([ran["calibration", number] for number in numbers])
    found = {one.name: part for one, part in zip(model.outputs, np.split(rows, sizes, axis=1), strict=True)}
    measured = Measure(case.task, wanted)
    held_out = None
    if ("held_out", 0) in ran:
        exact = reference.run({spec.name: x[half].reshape(spec.shape)})
        flat = np.concatenate([np.asarray(one, np.float64).reshape(-1) for one in exact.values()])
        spreads = np.concatenate([measured.spread(name) for name in measured.real] or [np.ones(flat.size)])
        held_out = float((np.abs(ran["held_out", 0] - flat) / spreads).max())
    return measured.compare(found), held_out


def _failure(told: Sequence[Mapping[str, Any]]) -> str:
    """What went wrong, and in which step; empty for nothing."""
    last = told[-1]
    if last["kind"] != "ended":
        return ""
    began = [one["name"] for one in told if one["kind"] == "begin"]
    return f"{began[-1] if began else 'the import'}: {last['reason']}"


def _child(what: str, folder: Path, srs: Path, seconds: int) -> Iterator[dict[str, Any]]:
    """What the child told; a last entry of kind ``ended`` when it did not come to its end."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    command = [sys.executable, "-m", "tools.estimators.as_it_comes", "--child", what, str(folder), "--srs", str(srs)]
    ran = subprocess.run(command, preexec_fn=limits, capture_output=True, text=True, errors="replace", check=False)
    done = False
    for text in ran.stdout.splitlines():
        if text.startswith('{"kind"'):  # ezkl prints tables of its own
            told = json.loads(text)
            done |= told["kind"] == "done"
            yield told
    if not done:
        late = ran.returncode in (-9, -24)
        words = [one for one in ran.stderr.splitlines() if one.strip()] or [f"status {ran.returncode}"]
        yield {"kind": "ended", "reason": f"not done within {seconds} processor seconds" if late else words[-1][:200]}


def _srs_path(folder: Path, logrows: int) -> Path:
    return folder / f"{logrows}.srs"


def run_child(what: str, folder: Path, srs_folder: Path) -> None:
    """The steps of one child; raises what ezkl raises."""
    ezkl: Any = import_module("ezkl")

    def path(name: str) -> str:
        return str(folder / name)

    rows = json.loads((folder / "rows.json").read_bytes())
    settings, circuit = path("settings.json"), path("circuit.ezkl")
    if what == "forward":
        (folder / "calibration.json").write_text(
            json.dumps({"input_data": [list(chain(*rows["calibration"][:CALIBRATION_ROWS]))]})
        )
        _step("gen_settings", lambda: ezkl.gen_settings(path("model.onnx"), settings))
        _step("calibrate_settings", lambda: ezkl.calibrate_settings(path("calibration.json"), path("model.onnx"), settings))
        _step("compile_circuit", lambda: ezkl.compile_circuit(path("model.onnx"), circuit, settings))
    read = json.loads(Path(settings).read_bytes())
    logrows, scales = read["run_args"]["logrows"], read["model_output_scales"]
    srs = str(_srs_path(srs_folder, logrows))
    if what == "srs":
        ezkl.gen_srs(srs, logrows)
    if what == "forward":
        _tell("settings", size_log2=logrows)
        for part in ("calibration", "held_out"):
            for number, row in enumerate(rows[part]):
                _run_row(part, number, row, folder, scales)
    if what == "prove":
        _step("setup", lambda: ezkl.setup(circuit, path("vk.key"), path("pk.key"), srs))
        _step("prove", lambda: ezkl.prove(path("witness.json"), circuit, path("pk.key"), path("proof.json"), srs))
        _step("verify", lambda: ezkl.verify(path("proof.json"), settings, path("vk.key"), srs))
    _tell("done")


def _run_row(part: str, number: int, row: Sequence[float], folder: Path, scales: Sequence[int]) -> None:
    ezkl: Any = import_module("ezkl")

    sample, circuit, witness = (str(folder / name) for name in ("sample.json", "circuit.ezkl", "witness.json"))
    Path(sample).write_text(json.dumps({"input_data": [row]}))
    began = time.process_time()
    try:
        made = _awaited(lambda: ezkl.gen_witness(sample, circuit, witness))
    except Exception as problem:  # noqa: BLE001  whatever it is: of one row; others may do
        _tell("refused", part=part, row=number, reason=str(problem)[:300])
        return
    signed = [[_signed(cell) for cell in tensor] for tensor in made["outputs"]]
    values = [cell / 2.0**power for tensor, power in zip(signed, scales, strict=True) for cell in tensor]
    _tell("outputs", part=part, row=number, values=values)
    _tell("step", name="gen_witness", seconds=time.process_time() - began)


def _signed(cell: str) -> int:
    """A field element, 32 bytes little-endian in hex, as a signed integer."""
    value = int.from_bytes(bytes.fromhex(cell), "little")
    return value if value < _MODULUS // 2 else value - _MODULUS


def _step(name: str, work: Callable[[], Any]) -> None:
    began = time.process_time()
    _tell("begin", name=name)
    _awaited(work)
    _tell("step", name=name, seconds=time.process_time() - began)


def _awaited(work: Callable[[], Any]) -> Any:
    async def wait() -> Any:
        value = work()
        return await value if inspect.isawaitable(value) else value

    return asyncio.run(wait())


def _tell(kind: str, **fields: Any) -> None:
    print(json.dumps({"kind": kind, **fields}), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="those whose slug contains this text")
    parser.add_argument("--missing", action="store_true", help="those that have no result yet")
    parser.add_argument("--write", action="store_true", help="keep the results in docs/data and write docs/estimators.md")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="processor seconds of one estimator")
    parser.add_argument("--largest", type=int, default=LARGEST, help="log2 of the most rows that are set up")
    parser.add_argument("--minutes", type=float, default=inf, help="begin no estimator later than this")
    parser.add_argument("--srs", type=Path, help="folder that keeps test SRS files between runs")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options.child[0], Path(options.child[1]), options.srs)
        return
    kept = results.read(ENGINE).rows
    with tempfile.TemporaryDirectory() as work:
        srs = options.srs or Path(work)
        end = time.monotonic() + 60 * options.minutes
        for case in cases():
            if time.monotonic() > end:
                break
            if options.only in case.slug and not (options.missing and case.slug in kept):
                row = measure(case, Path(work), srs, options.seconds, options.largest)
                print(f"{case.slug:50}", line(row), row.reason, flush=True)
                if options.write:
                    results.write(Results(ENGINE, NOTE, results.read(ENGINE).with_row(row).rows))
    if options.write:
        PAGE.write_text(page(results.read_all()), encoding="utf-8")


if __name__ == "__main__":
    main()
