"""Judge many tampered proofs quickly: the verifier's own steps, with ezkl's call batched.

One child process serves many cases; when a case kills it, the death is that case's verdict and a new child goes on after it.
test_ezkl_rows.py holds this shortcut to the engine's own verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.ezkl_small import SmallCircuit
from verifai.domain.digest import sha256
from verifai.engines.ezkl import calls, proof, verifying
from verifai.engines.ezkl.calls import Fence, call
from verifai.engines.ezkl.lock_section import parse_section
from verifai.errors import VerifaiError
from verifai.execution.child import Limits
from verifai.execution.scratch import private_directory

PER_CHILD = 250
LIMITS = Limits(memory_bytes=2 * 2**30, wall_seconds=3600)

Verdict = tuple[int, str]
"""Exit status and code; (0, "accepted") when nothing objects."""
ACCEPTED: Verdict = (0, "accepted")


@dataclass(frozen=True)
class Case:
    """One tampered proof: its files, judged against ``section``, or against the circuit's own."""

    files: Mapping[str, bytes]
    section: Mapping[str, Any] | None = field(default=None)


def judge(circuit: SmallCircuit, cases: Sequence[Case]) -> list[Verdict]:
    """One verdict per case."""
    verdicts: dict[int, Verdict] = {}
    pending: list[tuple[int, dict[str, bytes]]] = []
    genuine = parse_section(circuit.section)
    for index, case in enumerate(cases):
        try:
            section = genuine if case.section is None else parse_section(case.section)
            verifying.check_pins(section, case.files)
            verifying.check_settings_and_key(section, case.files["settings.json"], case.files["vk.key"])
            parsed = proof.parse(case.files["proof.json"], instances=section.instances, proof_bytes=section.proof_bytes)
            verifying.decode(section, parsed, model_sha256=circuit.model.sha256, context="")
        except VerifaiError as problem:
            verdicts[index] = (problem.status, problem.code)
        else:
            pending.append((index, {**case.files, "proof.json": parsed.for_ezkl(), "srs": section.srs.verifier}))
    while pending:
        pending = _serve(pending[:PER_CHILD], verdicts) + pending[PER_CHILD:]
    return [verdicts[index] for index in range(len(cases))]


def _serve(batch: Sequence[tuple[int, dict[str, bytes]]], verdicts: dict[int, Verdict]) -> list[tuple[int, dict[str, bytes]]]:
    """Run one child over ``batch``; returns the cases that it did not reach."""
    names: dict[bytes, str] = {}
    steps = []
    for _, files in batch:
        path = {name: names.setdefault(data, f"f{len(names)}") for name, data in files.items()}
        steps.append(
            call("verify", proof=path["proof.json"], settings=path["settings.json"], vk=path["vk.key"], srs=path["srs"])
        )
    with private_directory() as folder:
        inputs = {name: data for data, name in names.items()}
        report = calls.attempt(steps, Fence(LIMITS, threads=1), folder, inputs=inputs, keep_going=True)
    for (index, _), step in zip(batch, report.steps, strict=False):
        if step.failure == "memory":
            verdicts[index] = (4, "out-of-memory")
        else:
            verdicts[index] = (1, "proof-invalid") if step.failure or step.value is not True else ACCEPTED
    reached = len(report.steps)
    if report.death is not None and reached < len(batch):
        verdicts[batch[reached][0]] = (report.death.status, report.death.code)
        reached += 1
    return list(batch[reached:])


def repinned(section: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The section with the digests of ``files``: what an attacker who could write the lock would make of it."""
    pins = {"settings_sha256": sha256(files["settings.json"]), "vk_sha256": sha256(files["vk.key"])}
    return {**section, **pins}


def flipped(data: bytes, position: int, mask: int = 1) -> bytes:
    """``data`` with the bits of ``mask`` flipped in one byte."""
    changed = bytearray(data)
    changed[position] ^= mask
    return bytes(changed)
