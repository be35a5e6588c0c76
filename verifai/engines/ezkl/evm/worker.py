"""The child processes of the on-chain check, run by :mod:`verifai.engines.ezkl.evm.contract`; the parent reads constants only.

Compiler and EVM are foreign code, and the contract's source was written by ezkl; the parent believes only what it compares.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Args = Mapping[str, Any]

SOURCE = "verifier.sol"
CONTRACT = "Halo2Verifier"
SIGNATURE = b"verifyProof(bytes,uint256[])"
SETTINGS = {
    # Without the optimizer the contract does not compile ("stack too deep"); ezkl's own compilation uses it too.
    "evmVersion": "shanghai",
    "optimizer": {"enabled": True, "runs": 1},
    "metadata": {"bytecodeHash": "none"},
    "outputSelection": {SOURCE: {CONTRACT: ["evm.bytecode.object", "evm.deployedBytecode.object"]}},
}
HEAP_MIB = 2048
CHAIN_ID = 1
GAS_LIMIT = 10**9
"""Far above any verification; a precompile that fails burns nearly all that it gets, so that running out means refused."""
BLOCK_GAS_LIMIT = 10**12
_GAS_PRICE = 10**10
_CONTRACT_ADDRESS = bytes(19) + b"\xff"
_WORD_ONE = (1).to_bytes(32, "big")
MAX_CODE_BYTES = 24_576
MAX_CREATION_BYTES = 49_152
"""Limits of deployment: EIP-170, EIP-3860."""


def _compile(args: Args) -> dict[str, str]:
    """Source → creation and runtime bytecode, in hex."""
    task = {"language": "Solidity", "sources": {SOURCE: {"content": args["source"]}}, "settings": SETTINGS}
    Path("input.json").write_text(json.dumps(task), encoding="utf-8")
    command = [args["node"], f"--max-old-space-size={HEAP_MIB}", args["driver"], args["soljson"], "input.json", "output.json"]
    # In this process's group, so that the parent's deadline ends it too.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"node ended with status {done.returncode}: {done.stderr[-500:].decode(errors='replace')}")
    answer = json.loads(Path("output.json").read_text(encoding="utf-8"))
    errors = [one["message"] for one in answer.get("errors", []) if one["severity"] == "error"]
    if errors:
        raise RuntimeError(f"solc: {errors[0]}")
    code = answer["contracts"][SOURCE][CONTRACT]["evm"]
    return {"creation": code["bytecode"]["object"], "runtime": code["deployedBytecode"]["object"]}


def _verify(args: Args) -> list[dict[str, Any]]:
    """Put each proof to the contract; one answer per proof, in order."""
    from eth_abi.abi import encode
    from eth_utils.crypto import keccak

    chain = _Chain(bytes.fromhex(args["runtime"]))
    selector = keccak(SIGNATURE)[:4]
    answers = []
    for proof in args["proofs"]:
        instances = [int(text, 16) for text in proof["instances"]]
        data = selector + encode(["bytes", "uint256[]"], [bytes.fromhex(proof["proof"]), instances])
        gas, computation = chain.send(_CONTRACT_ADDRESS, data)
        accepted = bool(computation.is_success) and computation.output == _WORD_ONE
        answers.append({"accepted": accepted, "gas": gas, "why": "" if accepted else _why(computation)})
    return answers


def _deploy(args: Args) -> int | None:
    """Gas of the contract's deployment; ``None`` when it is larger than Ethereum deploys."""
    creation, runtime = bytes.fromhex(args["creation"]), bytes.fromhex(args["runtime"])
    if len(runtime) > MAX_CODE_BYTES or len(creation) > MAX_CREATION_BYTES:
        return None
    chain = _Chain(b"")
    gas, computation = chain.send(b"", creation)
    if not computation.is_success or chain.code(computation.msg.storage_address) != runtime:
        raise RuntimeError("the contract's creation code does not deploy its runtime code")
    return gas


class _Chain:
    """A chain of one block, with one account that pays and one contract; nothing of it outlives the process."""

    def __init__(self, code: bytes) -> None:
        from eth.chains.base import MiningChain
        from eth.db.atomic import AtomicDB
        from eth.vm.forks import PragueVM
        from eth_keys.datatypes import PrivateKey

        class OneBlock(MiningChain):  # type: ignore[misc]
            vm_configuration = ((0, PragueVM),)
            chain_id = CHAIN_ID

        self._key = PrivateKey(bytes(31) + b"\x01")
        empty: dict[str, Any] = {"balance": 0, "nonce": 0, "code": b"", "storage": {}}
        state = {self._key.public_key.to_canonical_address(): {**empty, "balance": 10**30}}
        if code:
            state[_CONTRACT_ADDRESS] = {**empty, "nonce": 1, "code": code}
        header = {"difficulty": 0, "gas_limit": BLOCK_GAS_LIMIT, "timestamp": 1, "coinbase": bytes(20)}
        chain = OneBlock.from_genesis(AtomicDB(), header, state)
        self._vm = chain.get_vm()
        self._header = self._vm.get_block().header
        self._nonce = 0

    def send(self, to: bytes, data: bytes) -> tuple[int, Any]:
        """One signed transaction: gas used in all, and what became of it."""
        unsigned = self._vm.create_unsigned_transaction(
            nonce=self._nonce, gas_price=_GAS_PRICE, gas=GAS_LIMIT, to=to, value=0, data=data
        )
        receipt, computation = self._vm.apply_transaction(
            self._header, unsigned.as_signed_transaction(self._key, chain_id=CHAIN_ID)
        )
        self._nonce += 1
        # Each is applied on the first header, so that a receipt counts its own transaction only.
        return int(receipt.gas_used), computation

    def code(self, address: bytes) -> bytes:
        """The code at ``address``."""
        found: bytes = self._vm.state.get_code(address)
        return found


def _why(computation: Any) -> str:
    return type(computation.error).__name__ if computation.is_error else f"returned {computation.output[:32].hex()}"


HANDLERS = {"compile": _compile, "verify": _verify, "deploy": _deploy}

if __name__ == "__main__":
    from verifai.execution.child_entry import serve

    sys.exit(serve(HANDLERS))
