"""Compile: tune or reproduce, set up, prove one sample to see that it all works, pin."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.digest import Sha256, sha256
from verifai.domain.fidelity import Fidelity
from verifai.domain.statement import Role, Visibility, WeightVisibility
from verifai.engines.capabilities import Prediction
from verifai.engines.ezkl import calls, proving, verifying
from verifai.engines.ezkl.build import (
    CIRCUIT_FILE,
    PK_FILE,
    SETTINGS_FILE,
    VK_FILE,
    Built,
    Sample,
    Witness,
    build,
    parse_witness,
    trial,
)
from verifai.engines.ezkl.build_folder import SRS_FILE, BuildFolder
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.engines.ezkl.lock_section import LockSection, PinnedSrs, PinnedTensor, expect_version, parse_section
from verifai.engines.ezkl.parameters import CircuitVisibility, Tuned
from verifai.engines.ezkl.privacy import privacy_support
from verifai.engines.ezkl.rewrites import registry as rewrites
from verifai.engines.ezkl.settings import VERSION, Settings
from verifai.engines.ezkl.srs.choose import named_srs, require_stored, stored_srs
from verifai.engines.ezkl.srs.file import Srs, SrsTrust, read_srs
from verifai.engines.ezkl.srs.working import cut_to
from verifai.engines.ezkl.tensors import fed
from verifai.engines.ezkl.tuning.calibration import by_output
from verifai.engines.fidelity import Measure
from verifai.engines.interface import CompiledCircuit, CompileRequest
from verifai.errors import UnsupportedModel, UsageError
from verifai.execution.child import Limits
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

DEFAULT_MAX_LOGROWS = 20


@dataclass(frozen=True, slots=True)
class _Plan:
    """What compile works on, once the request was read."""

    visibility: CircuitVisibility
    samples: tuple[Sample, ...]
    measure: Measure
    fence: Fence


def compile_circuit(request: CompileRequest) -> CompiledCircuit:
    """Tune or reproduce, set up, pin.

    Raises:
        UsageError: specification, missing SRS, or a lock of another release.
        UnsupportedModel: ezkl cannot make the circuit.
        Undecided: memory, deadline, or a crash. The build folder is then marked unfinished.
    """
    visibility = _visibility(request)
    locked = None if request.locked is None else parse_section(request.locked)
    options = dict(request.spec.options.get("ezkl", {}))
    named = named_srs(options.pop("srs", None), request.spec_dir)
    # Before anything is tuned: a search of minutes that ends in a missing file is a search wasted.
    largest = named or require_stored(request.model, request.spec, locked)
    plan = _plan(request, visibility)
    tuned = _tuned(request, plan, locked, named, min(_max_logrows(request), largest.logrows), options)
    srs = named or stored_srs(tuned.parameters.logrows, locked)
    if srs.logrows < tuned.parameters.logrows:
        raise UsageError(
            "srs-too-small",
            f"the SRS has k = {srs.logrows}, the circuit needs {tuned.parameters.logrows}",
            where=str(srs.path),
            hint=f"Run: `verifai srs fetch -k {tuned.parameters.logrows}`, or allow fewer rows in [budget] max_logrows.",
        )
    folder = BuildFolder(request.build_dir)
    built, cut_sha256 = _build(folder, tuned, srs, plan, request, locked)
    witnesses, forward_seconds = _forward(folder, plan, request, tuned)
    fidelity = measure(request.model, plan, witnesses, built.settings)
    request.progress.phase("prove once")
    fence = replace(plan.fence, limits=replace(plan.fence.limits, wall_seconds=request.spec.budget.prove_seconds))
    made = proving.run(folder, request.model.inputs, plan.samples[0], built.settings, fence, tuned.parameters)
    pinned_srs = PinnedSrs(SrsTrust(srs.trust), srs.logrows, srs.sha256, srs.verifier, cut_sha256)
    section = _section(request, plan, tuned, built, pinned_srs, fidelity, len(made.proof.proof))
    parse_section(section.to_toml())
    files = proving.evidence_files(folder, made.proof)
    proving.self_check(section, files, made.witness, verifying.fence_for(request.spec.budget, request.progress))
    folder.seal()
    return CompiledCircuit(
        section=section.to_toml(),
        fidelity=fidelity,
        tried=tuned.tried,
        seconds={**built.seconds, "forward": forward_seconds, "prove": made.seconds},
        peak_rss_bytes=max(built.peak_rss_bytes, made.peak_rss_bytes),
        key_bytes=built.pk_path.stat().st_size,
    )


def predict(request: CompileRequest) -> Prediction:
    """A circuit that meets the floor, run by ezkl on the calibration data. Raises as :func:`compile_circuit`, before keys."""
    visibility = _visibility(request)
    options = dict(request.spec.options.get("ezkl", {}))
    named = named_srs(options.pop("srs", None), request.spec_dir)
    largest = named or require_stored(request.model, request.spec, None)
    plan = _plan(request, visibility)
    rows = min(_max_logrows(request), largest.logrows)
    tuned = _tuned(request, plan, None, None, rows, options, quick=True)
    fidelity = tuned.fidelity or _fidelity_of(tuned, request, plan)
    chosen = tuned.parameters
    bits = {"input_scale": chosen.input_scale, "param_scale": chosen.param_scale, "logrows": chosen.logrows}
    return Prediction(fidelity, 1 << chosen.logrows, bits, len(tuned.tried))


def _fidelity_of(tuned: Tuned, request: CompileRequest, plan: _Plan) -> Fidelity:
    """Of a tuning that the specification gives, and that was taken without a search."""
    given = [fed(request.model.inputs, one, tuned.parameters) for one in plan.samples]
    ran = trial(tuned.circuit_onnx, tuned.parameters, plan.visibility, given, fence=plan.fence)
    return measure(request.model, plan, ran.witnesses, ran.settings)


def _visibility(request: CompileRequest) -> CircuitVisibility:
    """The circuit's visibility, once it is known that ezkl offers what the specification asks for."""
    visibility = visibility_of(request.model, request.spec)
    if request.spec.weights is WeightVisibility.PRIVATE:
        raise UsageError(
            "privacy-unsupported",
            privacy_support(request.spec).reason,
            where="circuit.toml: [weights] visibility",
            hint='Use "withheld" when that is enough, or the sumcheck engine.',
        )
    if request.spec.weights is WeightVisibility.COMMITTED:
        raise UsageError(
            "weights-unsupported",
            "ezkl circuits fix their weights in the verification key; they do not commit to them",
            where="circuit.toml: [weights] visibility",
            hint='Use "public" or "withheld", or the sumcheck engine.',
        )
    return visibility


def _plan(request: CompileRequest, visibility: CircuitVisibility) -> _Plan:
    count = len(next(iter(request.calibration.values())))
    rows = [{name: array[index] for name, array in request.calibration.items()} for index in range(count)]
    samples = tuple(proving.flatten(request.model.inputs, row) for row in rows)
    outputs = Reference(request.model).run_batch(rows)
    measured = Measure(request.spec.task, outputs)
    budget = request.spec.budget
    fence = Fence(
        Limits(memory_bytes=budget.memory_bytes, wall_seconds=budget.setup_seconds),
        scratch=request.build_dir,
        progress=request.progress,
    )
    return _Plan(visibility, samples, measured, fence)


def visibility_of(model: OnnxModel, spec: CircuitSpec) -> CircuitVisibility:
    """The circuit's visibility.

    Raises:
        UsageError: code ``mixed-visibility`` or ``nothing-bound``.
        UnsupportedModel: code ``input-type-unsupported``.
    """
    for tensor in model.inputs:
        if tensor.dtype not in ("float32", "int32", "int64"):
            raise UnsupportedModel(
                "input-type-unsupported", f"ezkl circuits do not take {tensor.dtype} inputs", where=f"tensor {tensor.name!r}"
            )
    sides = [{tensor.name: spec.tensors[tensor.name] for tensor in side} for side in (model.inputs, model.outputs)]
    try:
        visibility = CircuitVisibility.of(*sides)
    except ValueError as problem:
        raise UsageError(
            "mixed-visibility",
            str(problem),
            where="circuit.toml: [tensors]",
            hint="Give all inputs one visibility, and all outputs one; or use the sumcheck engine.",
        ) from None
    if visibility == CircuitVisibility(Visibility.PRIVATE, Visibility.PRIVATE):
        raise UsageError(
            "nothing-bound",
            "with every tensor private a proof says nothing about any input or output",
            where="circuit.toml: [tensors]",
            hint='Make the inputs or the outputs "public" or "hashed".',
        )
    return visibility


def _max_logrows(request: CompileRequest) -> int:
    return request.spec.budget.max_logrows or DEFAULT_MAX_LOGROWS


def _tuned(
    request: CompileRequest,
    plan: _Plan,
    locked: LockSection | None,
    srs: Srs | None,
    max_logrows: int,
    options: Mapping[str, Any],
    *,
    quick: bool = False,
) -> Tuned:
    if locked is None:
        from verifai.engines.ezkl.tuning.tune import tune

        request.progress.phase("tune")
        return tune(
            request.model,
            request.spec,
            plan.visibility,
            plan.samples,
            srs=srs,
            max_logrows=max_logrows,
            options=options,
            fence=plan.fence,
            quick=quick,
        )
    expect_version(locked)
    return Tuned(locked.parameters, rewrites.circuit_onnx(request.model.data, locked.parameters), locked.tried)


def _build(
    folder: BuildFolder, tuned: Tuned, srs: Srs, plan: _Plan, request: CompileRequest, locked: LockSection | None
) -> tuple[Built, Sha256 | None]:
    """The keys, in the build folder; and the digest of the cut SRS that is there too, when it was cut."""
    folder.forget()
    with private_directory(request.build_dir) as private:
        source, cut_sha256 = _working_srs(folder, tuned.parameters.logrows, srs, private, plan.fence, locked)
        request.progress.phase("set up")
        wanted = None if locked is None else locked.settings_sha256
        built = build(tuned.circuit_onnx, tuned.parameters, plan.visibility, source, private, fence=plan.fence, wanted=wanted)
        calls.move_out(source, folder.path(SRS_FILE))
        for name in (SETTINGS_FILE, CIRCUIT_FILE, VK_FILE, PK_FILE):
            calls.move_out(private / name, folder.path(name))
    made = Built(
        settings_bytes=built.settings_bytes,
        settings=built.settings,
        settings_path=folder.path(SETTINGS_FILE),
        circuit_path=folder.path(CIRCUIT_FILE),
        vk_path=folder.path(VK_FILE),
        pk_path=folder.path(PK_FILE),
        seconds=built.seconds,
        peak_rss_bytes=built.peak_rss_bytes,
    )
    return made, cut_sha256


def _working_srs(
    folder: BuildFolder, logrows: int, srs: Srs, private: Path, fence: Fence, locked: LockSection | None
) -> tuple[Path, Sha256 | None]:
    """A copy of the SRS, judged again, or its cut to ``logrows``; with the cut's digest.

    A lock of an earlier release pins no cut: it is reproduced as it was made.
    """
    copy = private / "source.srs"
    shutil.copyfile(srs.path, copy)
    copied = read_srs(copy)
    if copied.sha256 != srs.sha256:
        raise UsageError("srs-missing", "the SRS file changed while it was read", where=str(srs.path))
    pinned = None if locked is None else locked.srs.cut_sha256
    if copied.logrows == logrows or (locked is not None and pinned is None):
        return copy, None
    near = (folder.path(SRS_FILE), srs.path.parent)
    cut = cut_to(copied, logrows, private / "cut.srs", fence, near=near, pinned=pinned)
    return (copy, None) if cut is None else (cut.path, cut.sha256)


def _forward(folder: BuildFolder, plan: _Plan, request: CompileRequest, tuned: Tuned) -> tuple[tuple[Witness, ...], float]:
    request.progress.phase("measure fidelity")
    given = [fed(request.model.inputs, one, tuned.parameters) for one in plan.samples]
    step = call("forward", circuit=folder.path(CIRCUIT_FILE), samples=given)
    try:
        ran = calls.run([step], plan.fence)
    except CallFailed as problem:
        raise UsageError(
            "calibration-out-of-range",
            f"the circuit does not take all calibration samples: {calls.first_line(problem.step.message)}",
            hint="Compile without --locked, or correct the calibration data.",
        ) from None
    return tuple(parse_witness(item) for item in ran.values[0]), ran.seconds[0]


def measure(model: OnnxModel, plan: _Plan, witnesses: Sequence[Witness], settings: Settings) -> Fidelity:
    """Circuit against onnxruntime over the calibration samples."""
    rows = [
        np.concatenate(
            [np.array(cells, np.float64) / 2.0**scale for cells, scale in zip(one.outputs, settings.output_scales, strict=True)]
        )
        for one in witnesses
    ]
    return plan.measure.compare(by_output(np.array(rows), model.outputs))


def _section(
    request: CompileRequest, plan: _Plan, tuned: Tuned, built: Built, srs: PinnedSrs, fidelity: Fidelity, proof_bytes: int
) -> LockSection:
    model, settings = request.model, built.settings
    sides = (
        (Role.INPUT, model.inputs, settings.input_scales, plan.visibility.inputs),
        (Role.OUTPUT, model.outputs, settings.output_scales, plan.visibility.outputs),
    )
    return LockSection(
        engine_version=VERSION,
        settings_sha256=sha256(built.settings_bytes),
        vk_sha256=sha256(built.vk_path.read_bytes()),
        circuit_onnx_sha256=sha256(tuned.circuit_onnx),
        proof_bytes=proof_bytes,
        weights=request.spec.weights,
        srs=srs,
        tensors=tuple(
            PinnedTensor(role, spec.name, spec.shape, spec.dtype, visibility, scale)
            for role, specs, scales, visibility in sides
            for spec, scale in zip(specs, scales, strict=True)
        ),
        parameters=tuned.parameters,
        fidelity=fidelity,
        tried=tuned.tried,
    )
