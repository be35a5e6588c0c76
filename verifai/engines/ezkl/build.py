"""From ONNX bytes and parameters to settings, circuit and keys: what compile, audit and the tuner share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.engines.ezkl import calls, settings
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.engines.ezkl.field import decode_signed
from verifai.engines.ezkl.parameters import CircuitParameters, CircuitVisibility
from verifai.errors import EngineCrashed, UnsupportedModel
from verifai.execution.scratch import private_directory

SETTINGS_FILE = "settings.json"
CIRCUIT_FILE = "circuit.compiled"
VK_FILE = "vk.key"
PK_FILE = "pk.key"


@dataclass(frozen=True, slots=True)
class Witness:
    """What one forward pass of a compiled circuit came to.

    Attributes:
        inputs, outputs: quantised tensors, flat, one tuple per tensor, signed.
        hashed_inputs, hashed_outputs: Poseidon digests as little-endian hex, one per tensor; empty when not hashed.
        lookup_low, lookup_high: smallest and largest input of any lookup; both 0 when there is none.
        max_range_size: largest value that any range check met.
    """

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    hashed_inputs: tuple[str, ...]
    hashed_outputs: tuple[str, ...]
    lookup_low: int
    lookup_high: int
    max_range_size: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings and forward passes of one candidate, before any key is made.

    Attributes:
        settings_bytes: normalised. witnesses: one per sample, in order.
        seconds: step → seconds. peak_rss_bytes: of the child.
    """

    settings_bytes: bytes
    settings: settings.Settings
    witnesses: tuple[Witness, ...]
    seconds: dict[str, float]
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True)
class Built:
    """One circuit with its keys, on disk below one private folder (files 0600).

    Attributes:
        seconds: ``gen_settings``, ``compile_circuit``, ``setup``.
    """

    settings_bytes: bytes
    settings: settings.Settings
    settings_path: Path
    circuit_path: Path
    vk_path: Path
    pk_path: Path
    seconds: dict[str, float]
    peak_rss_bytes: int


Sample = Sequence[Sequence[float]]
"""One sample: one flat list of float values per model input, in the graph's order."""


def trial(
    model_onnx: bytes,
    parameters: CircuitParameters,
    visibility: CircuitVisibility,
    samples: Sequence[Sample],
    *,
    fence: Fence,
) -> Trial:
    """Derive settings, compile, and run every sample forward: cheap enough to try many candidates.

    ``logrows`` need not be large enough yet: no key is made.

    Raises:
        UnsupportedModel: code ``ezkl-refused``, when ezkl cannot make a circuit of the model or run a sample through it.
        Undecided: out of memory or time, or a crash.
    """
    steps = [*_settings_steps(parameters, visibility)]
    if samples:
        steps.append(call("forward", circuit=CIRCUIT_FILE, samples=[[list(tensor) for tensor in one] for one in samples]))
    with private_directory(fence.scratch) as keep:
        target = keep / SETTINGS_FILE
        ran = _run(steps, fence, {"model.onnx": model_onnx}, {SETTINGS_FILE: target})
        data = target.read_bytes()
    witnesses = tuple(parse_witness(item) for item in ran.values[2]) if samples else ()
    return Trial(data, _parse_own(data), witnesses, _seconds(steps, ran), ran.peak_rss_bytes)


def build(
    model_onnx: bytes,
    parameters: CircuitParameters,
    visibility: CircuitVisibility,
    srs: Path,
    workdir: Path,
    *,
    fence: Fence,
    settings_bytes: bytes | None = None,
    wanted: str | None = None,
) -> Built:
    """Derive settings, compile and set up, in one child with an empty cache.

    Args:
        model_onnx: after the rewrites; ``parameters.rewrites`` is a record and is not applied here.
        srs: an SRS of at least ``parameters.logrows``.
        workdir: existing private folder (0700) for the results; overwritten whole or not at all.
        settings_bytes: pinned settings to use instead of deriving them.
        wanted: digest of the settings that are to come out. ezkl may lay one model out in several ways; whoever pins compares.

    Raises:
        UnsupportedModel: code ``ezkl-refused``.
        Undecided: out of memory or time, a crash, or a full disk.
    """
    steps = _settings_steps(parameters, visibility, wanted)
    inputs = {"model.onnx": model_onnx}
    if settings_bytes is not None:
        steps = steps[1:]
        inputs[SETTINGS_FILE] = settings_bytes
    steps.append(call("setup", circuit=CIRCUIT_FILE, vk=VK_FILE, pk=PK_FILE, srs=srs.resolve()))
    outputs = {name: workdir / name for name in (SETTINGS_FILE, CIRCUIT_FILE, VK_FILE, PK_FILE)}
    ran = _run(steps, fence, inputs, outputs)
    data = outputs[SETTINGS_FILE].read_bytes()
    return Built(
        settings_bytes=data,
        settings=_parse_own(data),
        settings_path=outputs[SETTINGS_FILE],
        circuit_path=outputs[CIRCUIT_FILE],
        vk_path=outputs[VK_FILE],
        pk_path=outputs[PK_FILE],
        seconds=_seconds(steps, ran),
        peak_rss_bytes=ran.peak_rss_bytes,
    )


def parse_witness(value: Any) -> Witness:
    """A witness as the worker answers it. Raises EngineCrashed when it is not one."""
    try:
        return Witness(
            inputs=tuple(tuple(decode_signed(cell) for cell in tensor) for tensor in value["inputs"]),
            outputs=tuple(tuple(decode_signed(cell) for cell in tensor) for tensor in value["outputs"]),
            hashed_inputs=_hashes(value["processed_inputs"]),
            hashed_outputs=_hashes(value["processed_outputs"]),
            lookup_low=int(value["min_lookup_inputs"]),
            lookup_high=int(value["max_lookup_inputs"]),
            max_range_size=int(value["max_range_size"]),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise EngineCrashed("engine-crashed", f"ezkl's witness has an unknown form: {problem}") from None


def _hashes(processed: Any) -> tuple[str, ...]:
    if not processed or not processed.get("poseidon_hash"):
        return ()
    return tuple(str(item) for item in processed["poseidon_hash"])


def _settings_steps(
    parameters: CircuitParameters, visibility: CircuitVisibility, wanted: str | None = None
) -> list[dict[str, Any]]:
    run_args = parameters.run_args(visibility.inputs, visibility.outputs)
    return [
        call("gen_settings", model="model.onnx", output=SETTINGS_FILE, run_args=run_args, wanted=wanted),
        call("compile_circuit", model="model.onnx", settings=SETTINGS_FILE, output=CIRCUIT_FILE),
    ]


def _run(steps: Sequence[Any], fence: Fence, inputs: dict[str, bytes], outputs: dict[str, Path]) -> calls.Ran:
    try:
        return calls.run(steps, fence, inputs=inputs, outputs=outputs)
    except CallFailed as problem:
        raise UnsupportedModel(
            "ezkl-refused",
            f"ezkl cannot make this circuit: {calls.first_line(str(problem))}",
            hint="Run `verifai check MODEL`; it names operators and attributes that ezkl does not take.",
        ) from None


def _seconds(steps: Sequence[Any], ran: calls.Ran) -> dict[str, float]:
    return {step["op"]: seconds for step, seconds in zip(steps, ran.seconds, strict=True)}


def _parse_own(data: bytes) -> settings.Settings:
    if not settings.is_normal(data):
        raise EngineCrashed("engine-crashed", "ezkl changed the settings while it compiled")
    return settings.parse(data, error=EngineCrashed, code="engine-crashed")
