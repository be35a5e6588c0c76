"""Writes ``docs/data/operators-ezkl.json``: what became of the onnx package's node tests when they were put through ezkl.

Run it by hand after a change of :mod:`verifai.engines.ezkl.cost.operators` or of the ezkl release (about 15 minutes of two
processors): ``python -m tests.conformance.make_ezkl_operators [OPERATOR …]``. ``tests/conformance/test_ezkl_operators.py``
holds what ``check`` says to the file.

Every case whose canonical model ``check`` calls provable is run forward in ezkl and its result compared with the expected one.
The smallest right case of each operator is also set up, proven and verified, on a test SRS that is made for it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.support.onnx_node_cases import all_cases, apart, with_constants
from tests.support.paths import ROOT
from verifai.domain.statement import Visibility
from verifai.engines.ezkl import calls
from verifai.engines.ezkl.build import Trial, build, trial
from verifai.engines.ezkl.calls import Fence, call
from verifai.engines.ezkl.compiling import visibility_of
from verifai.engines.ezkl.cost.estimate import operator_support
from verifai.engines.ezkl.parameters import CircuitParameters, CircuitVisibility
from verifai.engines.ezkl.proving import flatten
from verifai.engines.ezkl.settings import VERSION
from verifai.errors import UnsupportedModel, VerifaiError
from verifai.execution.child import Limits
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference
from verifai.stages.check import all_public

TARGET = ROOT / "docs" / "data" / "operators-ezkl.json"
TOLERANCE = 1 / 24
"""Largest error beside the largest expected magnitude (at least 1). Another operation is off by far more, rounding by less."""
LOGROWS = 15
PUBLIC = CircuitVisibility(Visibility.PUBLIC, Visibility.PUBLIC)


def _parameters(scale: int, legs: int, logrows: int = LOGROWS) -> CircuitParameters:
    edge = 2 ** (LOGROWS - 2)
    return CircuitParameters(
        input_scale=scale,
        param_scale=scale,
        scale_rebase_multiplier=1,
        decomp_base=512,
        decomp_legs=legs,
        num_inner_cols=2,
        lookup_low=-edge,
        lookup_high=edge,
        lookup_margin=0.0,
        logrows=logrows,
    )


CHOICES = (_parameters(10, 3), _parameters(7, 4), _parameters(13, 5))
"""Tried in this order until the result is right, as a person would who tunes by hand."""


@dataclass(frozen=True)
class Found:
    """What became of one case: ``right``, ``wrong``, ``refused`` by ezkl, or ``died``; proven and verified as well, or not."""

    case: str
    operator: str
    opset: int
    outcome: str
    told: str = ""
    proven: bool = False

    def document(self) -> dict[str, Any]:
        """For the file."""
        return {
            "case": self.case,
            "operator": self.operator,
            "opset": self.opset,
            "outcome": self.outcome,
            **({"told": self.told} if self.told else {}),
            **({"proven": True} if self.proven else {}),
        }


@dataclass(frozen=True)
class Case:
    """One node test that reaches the engine: its canonical model, one sample, and what is expected."""

    name: str
    operator: str
    opset: int
    model: OnnxModel
    sample: tuple[tuple[float, ...], ...]
    expected: tuple[Any, ...]


def reaching(only: Sequence[str] = ()) -> Iterator[Case]:
    """The single-node tests that ``check`` lets through to ezkl; with ``only``, all of these operators."""
    for case in all_cases():
        nodes = case.model.graph.node if case.model is not None else ()
        if len(nodes) != 1 or nodes[0].domain not in ("", "ai.onnx") or not case.data_sets[0][0]:
            continue
        if only and nodes[0].op_type not in only:
            continue
        arrays = (*case.data_sets[0][0], *case.data_sets[0][1])
        if not all(isinstance(array, np.ndarray | np.generic) for array in arrays):
            continue
        name = case.name.removeprefix("test_")
        try:
            data, inputs = with_constants(case)
            model = canonicalise(data, where=name).model
            visibility_of(model, all_public(model))
        except VerifaiError:
            continue
        if any(tensor.dtype not in ("float32", "int32", "int64", "bool") for tensor in model.outputs):
            continue
        if not only and not all(one.supported for one in operator_support(model)):
            continue
        opset = next(entry.version for entry in case.model.opset_import if entry.domain in ("", "ai.onnx"))
        shaped = {spec.name: np.asarray(inputs[spec.name]).reshape(spec.shape) for spec in model.inputs}
        try:
            own = Reference(model).run(shaped)
            sample = tuple(tuple(flat) for flat in flatten(model.inputs, shaped))
        except VerifaiError:
            continue
        if any(apart(own[spec.name], wanted) for spec, wanted in zip(model.outputs, case.data_sets[0][1], strict=True)):
            continue  # onnxruntime disagrees with the package: test_onnx_backend_sumcheck.py
        yield Case(name, nodes[0].op_type, opset, model, sample, tuple(case.data_sets[0][1]))


def forward(case: Case, fence: Fence) -> tuple[Found, CircuitParameters | None]:
    """Run the case in ezkl, without keys; the parameters with which it came out right."""
    told: list[tuple[str, str]] = []
    for parameters in CHOICES:
        try:
            ran = trial(case.model.data, parameters, PUBLIC, (case.sample,), fence=fence)
        except UnsupportedModel as problem:
            told.append(("refused", problem.message.removeprefix("ezkl cannot make this circuit: ")[:160]))
            continue
        except VerifaiError as problem:
            told.append(("died", problem.message[:160]))
            continue
        wrong = _wrong(case, ran)
        if not wrong:
            return Found(case.name, case.operator, case.opset, "right"), parameters
        told.append(("wrong", wrong))
    outcome, why = next((one for one in told if one[0] == "wrong"), told[0])
    return Found(case.name, case.operator, case.opset, outcome, why), None


def _wrong(case: Case, ran: Trial) -> str:
    """How far the result is off; empty when it is right."""
    witness = ran.witnesses[0]
    if len(witness.outputs) != len(case.expected):
        return f"{len(witness.outputs)} outputs instead of {len(case.expected)}"
    for cells, scale, expected in zip(witness.outputs, ran.settings.output_scales, case.expected, strict=True):
        values, wanted = np.array(cells, np.float64) / 2.0**scale, np.asarray(expected, np.float64).reshape(-1)
        if values.size != wanted.size:
            return f"{values.size} values instead of {wanted.size}"
        if not values.size or not np.isfinite(wanted).all():
            continue
        error = float(np.abs(values - wanted).max())
        exact = np.asarray(expected).dtype.kind in "iub"
        if error > (0.01 if exact else TOLERANCE * max(1.0, float(np.abs(wanted).max()))):
            return f"off by {error:.3g} where values reach {np.abs(wanted).max():.3g}"
    return ""


def prove(case: Case, parameters: CircuitParameters, fence: Fence, scratch: Path) -> bool:
    """Set up, prove and verify one case, in the fewest rows that hold it."""
    ran = trial(case.model.data, parameters, PUBLIC, (case.sample,), fence=fence)
    low, high = ran.witnesses[0].lookup_low, ran.witnesses[0].lookup_high
    least = max(ran.settings.num_rows, 2 * parameters.decomp_base, high - low if ran.settings.required_lookups else 0)
    parameters = replace(parameters, lookup_low=min(low, -2), lookup_high=max(high, 2), logrows=(least + 64).bit_length())
    srs = (
        scratch / f"{parameters.logrows}.srs"
    )  # no larger than needed: ezkl cuts a larger one anew each time, which costs more
    if not srs.exists():
        calls.run([call("gen_srs", output="test.srs", logrows=parameters.logrows)], fence, outputs={"test.srs": srs})
    folder = scratch / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    built = build(case.model.data, parameters, PUBLIC, srs, folder, fence=fence)
    data = json.dumps({"input_data": [list(tensor) for tensor in case.sample]}).encode("ascii")
    steps = [
        call("gen_witness", data="input.json", circuit=built.circuit_path, output="witness.json"),
        call("prove", witness="witness.json", circuit=built.circuit_path, pk=built.pk_path, srs=srs, output="proof.json"),
        call("verify", proof="proof.json", settings=built.settings_path, vk=built.vk_path, srs=srs),
    ]
    return calls.run(steps, fence, inputs={"input.json": data}).values[-1] is True


def measure(operator: str, fence: Fence) -> list[Found]:
    """Every case of one operator forward, then the smallest right one end to end."""
    results: list[Found] = []
    right: list[tuple[int, int, Case, CircuitParameters]] = []
    for case in reaching([operator]):
        found, parameters = forward(case, fence)
        if parameters is not None:
            right.append((sum(len(flat) for flat in case.sample), len(results), case, parameters))
        results.append(found)
    if right:
        _, at, case, parameters = min(right, key=lambda one: one[:2])
        with tempfile.TemporaryDirectory() as name:
            try:
                done, told = prove(case, parameters, fence, Path(name)), ""
            except (VerifaiError, calls.CallFailed) as problem:
                done, told = False, f"not proven: {problem}"[:160]
        results[at] = replace(results[at], outcome="right" if done else "refused", told=told, proven=done)
    return results


def read() -> dict[str, list[dict[str, Any]]]:
    """What the file says, by operator."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(TARGET.read_text("utf-8"))["cases"] if TARGET.is_file() else ():
        found.setdefault(one["operator"], []).append(one)
    return found


def main() -> None:
    """Measure and write, one operator after the other; what is not measured keeps what the file says of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operators", nargs="*", help="only these, all their cases")
    parser.add_argument("--missing", action="store_true", help="only operators of which no case is proven")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    fence = Fence(Limits(memory_bytes=4 * 2**30, wall_seconds=240))
    known = read()
    chosen = given.operators or sorted({case.operator for case in reaching()} | set(known))
    if given.missing:
        chosen = [name for name in chosen if not any(one.get("proven") for one in known.get(name, ()))]
    for operator in chosen:
        known[operator] = [found.document() for found in measure(operator, fence)]
        print(operator, [(one["case"], one["outcome"], one.get("proven", "")) for one in known[operator]], flush=True)
        cases = sorted((one for many in known.values() for one in many), key=lambda one: (one["operator"], one["case"]))
        document = json.dumps({"onnx": onnx.__version__, "ezkl": VERSION, "cases": cases})
        TARGET.write_text(document.replace(', {"case"', ',\n{"case"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
