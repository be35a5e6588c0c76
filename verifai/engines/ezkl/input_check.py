"""Which samples a circuit cannot represent. ezkl's inputs have no ranges of their own, so each sample is run forward: a lookup
that leaves its table is found without a proof, which would wait for ever."""

from __future__ import annotations

import numpy as np

from verifai.engines.capabilities import CheckInputsRequest, OutsideInput
from verifai.engines.ezkl import proving, settings, tensors
from verifai.engines.ezkl.build import CIRCUIT_FILE, SETTINGS_FILE, Sample
from verifai.engines.ezkl.build_folder import BuildFolder
from verifai.engines.ezkl.calls import Fence
from verifai.engines.ezkl.columns import quantise_value
from verifai.engines.ezkl.lock_section import expect_version, parse_section
from verifai.engines.ezkl.parameters import CircuitParameters
from verifai.errors import InputRejected, Undecided
from verifai.execution.child import Limits
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory


def outside_inputs(request: CheckInputsRequest) -> tuple[OutsideInput, ...]:
    """At most one entry per sample. A single sample is not run forward: its proof begins with that.

    Raises:
        InputRejected: an input that is not of the model's shape and dtype. UsageError: ``stale-build``, ``bad-lock``,
            ``engine-version``. Undecided: memory, deadline, or a crash.
    """
    from verifai.onnx_graph.reference import check_tensors

    section = parse_section(request.section)
    expect_version(section)
    folder = BuildFolder(request.build_dir)
    folder.check(section)
    pinned = settings.parse(read_limited(folder.path(SETTINGS_FILE), limit=settings.MAX_BYTES))
    fence = Fence(
        Limits(memory_bytes=request.budget.memory_bytes, wall_seconds=request.budget.prove_seconds),
        threads=request.threads,
        scratch=request.build_dir,
    )
    found = []
    for row, inputs in enumerate(request.samples):
        check_tensors(inputs, request.model.inputs)
        sample = [tensors.cells(spec.name, inputs[spec.name], spec.shape) for spec in request.model.inputs]
        one = _too_large(request, row, sample, pinned, section.parameters)
        if one is None and len(request.samples) > 1:
            one = _run_forward(request, row, sample, pinned, fence, folder, section.parameters)
        found += [one] if one is not None else []
        request.progress.advance()
    return tuple(found)


def _too_large(
    request: CheckInputsRequest, row: int, sample: Sample, pinned: settings.Settings, parameters: CircuitParameters
) -> OutsideInput | None:
    for spec, flat, scale in zip(request.model.inputs, sample, pinned.input_scales, strict=True):
        columns = parameters.columns_of(spec.name)
        for index, value in enumerate(flat):
            try:
                if columns:
                    columns[index].quantise(value)
                else:
                    quantise_value(value, scale)
            except ValueError as problem:
                if not proving.shows_inputs(pinned):
                    return OutsideInput(row, spec.name, 1, _place(index, spec.shape), reason=f"it is {problem}")
                return OutsideInput(row, spec.name, 1, _place(index, spec.shape), value=f"{value:g}", reason=str(problem))
    return None


def _run_forward(
    request: CheckInputsRequest,
    row: int,
    sample: Sample,
    pinned: settings.Settings,
    fence: Fence,
    folder: BuildFolder,
    parameters: CircuitParameters,
) -> OutsideInput | None:
    specs = request.model.inputs
    try:
        with private_directory(fence.scratch) as private:
            path = private / "witness.json"
            proving.make_witness(folder.path(CIRCUIT_FILE), sample, specs, pinned, fence, path, parameters)
    except InputRejected as problem:
        far = proving.farthest_cell(specs, sample, parameters)
        shape = next(spec.shape for spec in specs if spec.name == far.tensor)
        if not proving.shows_inputs(pinned):  # which cell is the largest would tell of it where its tensor has no columns
            place = _place(far.cell, shape) if far.by_column else None
            return OutsideInput(row, far.tensor if len(specs) == 1 else "", 0, place, reason=problem.message)
        reason = f"{problem.message.partition(';')[0]}; this is {far.words}"
        return OutsideInput(row, far.tensor, 0, _place(far.cell, shape), value=f"{far.value:g}", reason=reason)
    except Undecided:
        pass  # what keeps this sample from being run keeps it from being proven, and is told then
    return None


def _place(cell: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(cell, shape))
