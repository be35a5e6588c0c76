"""The Solidity verifier that ezkl generates for one circuit."""

from __future__ import annotations

from pathlib import Path

from verifai.engines.ezkl import calls
from verifai.engines.ezkl.build import SETTINGS_FILE, VK_FILE
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory

MAX_SOURCE_BYTES = 16 * 1024 * 1024


def solidity_verifier(settings: bytes, vk: bytes, srs: Path, fence: Fence) -> bytes:
    """Source of the contract that verifies proofs of this circuit on chain.

    The caller has checked ``settings`` and ``vk`` against the lock, and judged ``srs``; its points become constants of the
    contract. No compiler is run.

    Raises:
        EngineCrashed: ezkl wrote no source.
        Undecided: out of memory or time, or a crash.
    """
    step = call("create_evm_verifier", vk=VK_FILE, settings=SETTINGS_FILE, solidity="verifier.sol", abi="abi.json", srs=srs)
    with private_directory(fence.scratch) as private:
        target = private / "verifier.sol"
        try:
            calls.run([step], fence, inputs={SETTINGS_FILE: settings, VK_FILE: vk}, outputs={"verifier.sol": target})
        except CallFailed as problem:
            raise calls.crashed(problem) from None
        return read_limited(target, limit=MAX_SOURCE_BYTES)
