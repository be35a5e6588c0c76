"""A circuit's Solidity verifier, compiled; and what it says of a proof.

The contract is another implementation than ezkl's ``verify``: of transcript, constraints and opening, on the EVM's own curve
arithmetic. It compares the lengths of proof and instances exactly, and takes reduced numbers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.engines.ezkl.calls import Fence, first_line
from verifai.engines.ezkl.evm.solidity import solidity_verifier
from verifai.engines.ezkl.evm.tools import Tools
from verifai.engines.ezkl.proof import Proof
from verifai.errors import EngineCrashed, ResourceExhausted, Undecided
from verifai.execution import child
from verifai.execution.child import Limits, Step
from verifai.execution.scratch import private_directory

WORKER = "verifai.engines.ezkl.evm.worker"
DRIVER = Path(__file__).with_name("solc_driver.js")
COMPILE_SECONDS = 300.0
VERIFY_SECONDS = 120.0
_MEMORY = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Contract:
    """The compiled verifier of one circuit.

    Attributes:
        creation, runtime: bytecode that is sent to deploy it, and that then lies on the chain.
        deploy_gas: of the deploying transaction; ``None`` when the contract is larger than Ethereum deploys (EIP-170).
    """

    creation: bytes
    runtime: bytes
    deploy_gas: int | None


@dataclass(frozen=True, slots=True)
class EvmVerdict:
    """What the contract says of one proof.

    Attributes:
        gas: of the whole transaction, calldata included.
        why: how it refused; empty when it accepted.
    """

    accepted: bool
    gas: int
    why: str


def compile_contract(settings: bytes, vk: bytes, verifier_srs: bytes, tools: Tools, fence: Fence) -> Contract:
    """Generate and compile the contract. The caller has checked ``settings`` and ``vk`` against the lock.

    Args:
        verifier_srs: cut to k = 1; its points become constants of the contract.

    Raises:
        EngineCrashed: ezkl wrote no source, or solc refuses it.
        Undecided: out of memory or time, or a crash.
    """
    with private_directory() as folder:
        srs = folder / "verifier.srs"
        srs.write_bytes(verifier_srs)
        source = solidity_verifier(settings, vk, srs, fence)
        soljson = folder / "soljson.js"
        soljson.write_bytes(tools.soljson)  # the bytes whose digest was compared, not whatever lies there by now
        args = {
            "source": source.decode("utf-8", errors="strict"),
            "node": str(tools.node),
            "driver": str(DRIVER),
            "soljson": str(soljson),
        }
        # No limit on address space: node reserves far more than it uses, and has a limit of its own for its heap.
        limits = Limits(wall_seconds=COMPILE_SECONDS, cpu_seconds=COMPILE_SECONDS)
        (code,) = _run([{"op": "compile", "args": args}], limits, fence)
    (gas,) = _run([{"op": "deploy", "args": code}], _limits(fence), fence)
    return Contract(bytes.fromhex(code["creation"]), bytes.fromhex(code["runtime"]), gas)


def ask(contract: Contract, proofs: Sequence[Proof], fence: Fence) -> tuple[EvmVerdict, ...]:
    """Put ``proofs`` to the contract, each in a transaction of its own.

    Raises:
        Undecided: out of memory or time, or a crash.
    """
    plain = [{"instances": [f"{value:x}" for value in one.instances], "proof": one.proof.hex()} for one in proofs]
    (answers,) = _run([{"op": "verify", "args": {"runtime": contract.runtime.hex(), "proofs": plain}}], _limits(fence), fence)
    return tuple(EvmVerdict(bool(one["accepted"]), int(one["gas"]), str(one["why"])) for one in answers)


def _limits(fence: Fence) -> Limits:
    memory = fence.limits.memory_bytes or _MEMORY
    return Limits(memory_bytes=memory, wall_seconds=VERIFY_SECONDS, cpu_seconds=VERIFY_SECONDS)


def _run(steps: Sequence[Mapping[str, Any]], limits: Limits, fence: Fence) -> tuple[Any, ...]:
    with private_directory() as folder:
        report = child.run(WORKER, {"steps": list(steps)}, folder=folder, limits=limits, progress=fence.progress)
    if report.death is not None:
        raise report.death
    for step in report.steps:
        if step.failure:
            raise _failed(step)
    return tuple(step.value for step in report.steps)


def _failed(step: Step) -> Undecided:
    if step.failure == "memory":
        return ResourceExhausted("out-of-memory", f"no memory left in {step.name}", hint="Raise the memory limit.")
    return EngineCrashed("engine-crashed", f"{step.name} of the on-chain verifier failed: {first_line(step.message)}")
