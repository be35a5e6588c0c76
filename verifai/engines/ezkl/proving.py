"""Proving one sample: check the input, run the circuit forward, check its range, prove, and verify what came out.

ezkl's ``prove`` never checks its own result, and waits for ever when a lookup is out of range; so the witness is looked at
before, and the proof goes through the verifier's own steps after.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.domain.statement import Visibility
from verifai.domain.tensor import TensorSpec
from verifai.engines.ezkl import build, calls, field, proof, settings, tensors, verifying
from verifai.engines.ezkl.build import CIRCUIT_FILE, PK_FILE, SETTINGS_FILE, VK_FILE, Sample, Witness
from verifai.engines.ezkl.build_folder import SRS_FILE, BuildFolder
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.engines.ezkl.lock_section import LockSection, expect_version, parse_section
from verifai.engines.ezkl.parameters import CircuitParameters
from verifai.engines.ezkl.proof import Proof
from verifai.engines.interface import EngineProof, ProveRequest, Tensors
from verifai.errors import EngineCrashed, EvidenceRejected, InputRejected
from verifai.execution.child import Limits
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory

WITNESS_SECONDS = 600.0
_WITNESS_FILE = "witness.json"


@dataclass(frozen=True, slots=True)
class Proved:
    """What proving made, before it is put into a bundle.

    Attributes:
        seconds: of ezkl's prove call.
    """

    proof: Proof
    witness: Witness
    seconds: float
    peak_rss_bytes: int


def prove(request: ProveRequest) -> EngineProof:
    """Prove one sample, then verify the proof.

    Raises:
        InputRejected: a tensor with its name and value.
        UsageError: ``stale-build``, ``bad-lock``, ``engine-version``.
        Undecided: memory, deadline, or a crash.
    """
    section = parse_section(request.section)
    expect_version(section)
    folder = BuildFolder(request.build_dir)
    folder.check(section)
    samples = flatten(request.model.inputs, request.inputs, shown=section.visibility.inputs is Visibility.PUBLIC)
    fence = Fence(
        Limits(memory_bytes=request.budget.memory_bytes, wall_seconds=request.budget.prove_seconds),
        threads=request.threads,
        scratch=request.build_dir if os.access(request.build_dir, os.W_OK) else None,
        progress=request.progress,
    )
    pinned = settings.parse(read_limited(folder.path(SETTINGS_FILE), limit=settings.MAX_BYTES))
    made = run(folder, request.model.inputs, samples, pinned, fence, section.parameters)
    files = evidence_files(folder, made.proof)
    self_check(section, files, made.witness, verifying.fence_for(request.budget, request.progress))
    statement = verifying.decode(section, made.proof, model_sha256=request.model.sha256, context=request.context)
    return EngineProof(files=files, statement=statement, seconds=made.seconds, peak_rss_bytes=made.peak_rss_bytes)


def flatten(specs: Sequence[TensorSpec], inputs: Tensors, *, shown: bool = True) -> list[list[float]]:
    """The inputs, one flat list per tensor, in the model's order. ``shown``: as in :func:`.tensors.quantise_cells`.

    Raises:
        InputRejected: missing, unknown, wrong shape or dtype, or not finite; ``where`` names the tensor.
    """
    from verifai.onnx_graph.reference import check_tensors

    check_tensors(inputs, specs)
    result = []
    for spec in specs:
        flat = tensors.cells(spec.name, inputs[spec.name], spec.shape)
        tensors.quantise_cells(spec.name, flat, 0, shown=shown)  # finite, and within what any circuit takes
        result.append(flat)
    return result


def run(
    folder: BuildFolder,
    specs: Sequence[TensorSpec],
    sample: Sample,
    pinned: settings.Settings,
    fence: Fence,
    parameters: CircuitParameters,
) -> Proved:
    """Witness, mock, prove. The private files in between are deleted before this returns.

    Raises:
        InputRejected: code ``input-out-of-range``.
        Undecided: memory, deadline, or a crash.
    """
    circuit, srs = folder.path(CIRCUIT_FILE), folder.path(SRS_FILE)
    with private_directory(fence.scratch) as private:
        witness_path, proof_path = private / _WITNESS_FILE, private / "proof.json"
        witness, first_peak = make_witness(circuit, sample, specs, pinned, fence, witness_path, parameters)
        fence.progress.phase("prove")
        steps = [
            call("mock", witness=witness_path, circuit=circuit),
            call("prove", witness=witness_path, circuit=circuit, pk=folder.path(PK_FILE), srs=srs, output="proof.json"),
        ]
        try:
            ran = calls.run(steps, fence, outputs={"proof.json": proof_path})
        except CallFailed as problem:
            if problem.step.name == "mock":
                raise _out_of_range(specs, sample, "the circuit's constraints do not hold", pinned, parameters) from None
            raise calls.crashed(problem) from None
        made = proof.from_ezkl(read_limited(proof_path, limit=2 * proof.MAX_FILE_BYTES))
    return Proved(made, witness, ran.seconds[1], max(first_peak, ran.peak_rss_bytes))


def make_witness(
    circuit: Path,
    sample: Sample,
    specs: Sequence[TensorSpec],
    pinned: settings.Settings,
    fence: Fence,
    output: Path,
    parameters: CircuitParameters,
) -> tuple[Witness, int]:
    """Run the circuit forward and check that every lookup stayed inside its table.

    Returns:
        The witness and the child's peak resident memory.

    Raises:
        InputRejected: code ``input-out-of-range``.
    """
    fence.progress.phase("witness")
    steps = [call("gen_witness", data="input.json", circuit=circuit, output=_WITNESS_FILE)]
    given = tensors.fed(specs, sample, parameters, shown=shows_inputs(pinned))
    data = json.dumps({"input_data": given}, allow_nan=False).encode("ascii")
    seconds = fence.limits.wall_seconds
    fence = fence.within(wall_seconds=WITNESS_SECONDS if seconds is None else seconds)
    try:
        ran = calls.run(steps, fence, inputs={"input.json": data}, outputs={_WITNESS_FILE: output})
    except CallFailed as problem:
        if problem.step.failure == "panic":
            raise calls.crashed(problem) from None
        raise _out_of_range(specs, sample, "a value inside the circuit leaves its range", pinned, parameters) from None
    witness = build.parse_witness(ran.values[0])
    low, high = pinned.lookup_range
    if pinned.required_lookups and not low <= witness.lookup_low <= witness.lookup_high <= high:
        reached = f"a lookup reaches [{witness.lookup_low}, {witness.lookup_high}], its table has [{low}, {high}]"
        hidden = f"a lookup leaves its table [{low}, {high}]"
        raise _out_of_range(specs, sample, reached if shows_inputs(pinned) else hidden, pinned, parameters)
    expected = tuple(
        tensors.quantise_cells(spec.name, flat, scale, parameters.columns_of(spec.name))
        for spec, flat, scale in zip(specs, sample, pinned.input_scales, strict=True)
    )
    if witness.inputs != expected:
        raise EngineCrashed("engine-crashed", "ezkl quantised the input to other integers than the specified rule gives")
    return witness, ran.peak_rss_bytes


def shows_inputs(pinned: settings.Settings) -> bool:
    """Whether proofs show the inputs; errors, which end in logs, tell no value of inputs that they hide."""
    return pinned.inputs is Visibility.PUBLIC


@dataclass(frozen=True, slots=True)
class FarthestCell:
    """The likeliest cause of a value that leaves its range, as ezkl does not say which it was: the cell of largest magnitude,
    or, of columns with scales of their own, the one farthest from what its column held on the calibration data.

    Attributes:
        cell: its place in the tensor, row-major.
    """

    tensor: str
    cell: int
    value: float
    by_column: bool

    @property
    def words(self) -> str:
        """What it is, for people."""
        return "farthest from its column's calibration data" if self.by_column else "the largest value given"


def farthest_cell(specs: Sequence[TensorSpec], sample: Sample, parameters: CircuitParameters) -> FarthestCell:
    """Of a whole sample. Cells of columns are compared by the circuit's integers, which are of one size for all of them."""
    found = []
    for spec, flat, units in zip(specs, sample, tensors.fed(specs, sample, parameters), strict=True):
        columns = bool(parameters.columns_of(spec.name))
        found += [
            (columns, abs(unit), FarthestCell(spec.name, cell, value, columns))
            for cell, (value, unit) in enumerate(zip(flat, units, strict=True))
        ]
    return max(found, key=lambda one: one[:2])[2]


def _out_of_range(
    specs: Sequence[TensorSpec], sample: Sample, reason: str, pinned: settings.Settings, parameters: CircuitParameters
) -> InputRejected:
    far = farthest_cell(specs, sample, parameters)
    told = f"; {far.words} is cell {far.cell} = {far.value!r}" if shows_inputs(pinned) else ""
    return InputRejected(
        "input-out-of-range",
        f"{reason}{told}",
        where=f"tensor {far.tensor!r}" if told else "the input",
        hint="The circuit was calibrated on other values: give the input in the units of the calibration data, or compile with "
        "data that covers it.",
    )


def evidence_files(folder: BuildFolder, made: Proof) -> dict[str, bytes]:
    """The files that go into a bundle."""
    return {
        verifying.PROOF_FILE: made.to_bytes(),
        SETTINGS_FILE: read_limited(folder.path(SETTINGS_FILE), limit=settings.MAX_BYTES),
        VK_FILE: read_limited(folder.path(VK_FILE), limit=verifying.MAX_VK_BYTES),
    }


def self_check(section: LockSection, files: Mapping[str, bytes], witness: Witness, fence: Fence) -> None:
    """The verifier's steps 2 to 6 on what was just made, and equality with the witness.

    Raises:
        EngineCrashed: code ``engine-crashed``: our own proof does not verify.
    """
    fence.progress.phase("verify")
    try:
        verifying.check_pins(section, files)
        verifying.check_settings_and_key(section, files[SETTINGS_FILE], files[VK_FILE])
        parsed = proof.parse(files[verifying.PROOF_FILE], instances=section.instances, proof_bytes=section.proof_bytes)
        verifying.check_proof(section, files, parsed, fence)
    except EvidenceRejected as problem:
        raise EngineCrashed("engine-crashed", f"the proof just made does not verify: {problem.message}") from None
    if parsed.instances != expected_instances(section, witness):
        raise EngineCrashed("engine-crashed", "the proof's instances are not those of the witness")


def expected_instances(section: LockSection, witness: Witness) -> tuple[int, ...]:
    """What the proof's instances must be, from the witness: digest or cells of each tensor, in order."""
    flat = iter((*witness.inputs, *witness.outputs))
    hashes = iter((*witness.hashed_inputs, *witness.hashed_outputs))
    result: list[int] = []
    for tensor, cells in zip(section.tensors, flat, strict=True):
        if tensor.visibility is Visibility.PUBLIC:
            result.extend(value % field.MODULUS for value in cells)
        elif tensor.visibility is Visibility.HASHED:
            result.append(field.decode(next(hashes)))
    return tuple(result)
