"""The second opinion on one proof: does the Solidity verifier say what ezkl says?

    E1  steps 1 to 4 of a verification hold, so that contract and proof are those of the lock
    E2  node, compiler and the extra ``evm`` are there
    E3  ezkl writes the contract from the pinned settings and key and the lock's SRS points; solc compiles it; it deploys
    E4  ezkl's own verdict about the proof (step 6)
    E5  the contract's verdict about the same instances and proof bytes, in py-evm; the two are equal

Nothing in the contract comes from the bundle: settings and key have the pinned digests, the SRS is the lock's.
"""

from __future__ import annotations

from verifai.domain.findings import Finding, Outcome
from verifai.engines.ezkl import proof, verifying
from verifai.engines.ezkl.calls import Fence
from verifai.engines.ezkl.evm.contract import Contract, EvmVerdict, ask, compile_contract
from verifai.engines.ezkl.evm.tools import SOLC_VERSION, ToolMissing, Tools, find_tools
from verifai.engines.ezkl.evm.worker import MAX_CODE_BYTES
from verifai.engines.ezkl.lock_section import LockSection, expect_version, parse_section
from verifai.engines.ezkl.proof import Proof
from verifai.engines.interface import VerifyRequest
from verifai.errors import EvidenceRejected, Undecided


def second_opinion(request: VerifyRequest) -> Finding:
    """One of ``evm-agrees``, ``evm-disagrees``, ``evm-unavailable`` and ``evm-undecided``.

    Raises:
        UsageError: the lock section cannot be read, or is of another release.
    """
    section = parse_section(request.section)
    expect_version(section)
    try:  # E1
        files = verifying.read_files(request.files)
        verifying.check_pins(section, files)
        verifying.check_settings_and_key(section, files[verifying.SETTINGS_FILE], files[verifying.VK_FILE])
        parsed = proof.parse(files[verifying.PROOF_FILE], instances=section.instances, proof_bytes=section.proof_bytes)
    except EvidenceRejected as problem:
        return _unavailable("the contract was not asked: the proof was refused before", evidence=problem.code)
    try:
        tools = find_tools()  # E2
    except ToolMissing as problem:
        return _unavailable(f"not checked on chain: {problem.message}", remedy=problem.remedy)
    fence = verifying.fence_for(request.budget, request.progress)
    try:
        contract = compile_contract(
            files[verifying.SETTINGS_FILE], files[verifying.VK_FILE], section.srs.verifier, tools, fence
        )  # E3
        ours = _accepts(section, files, parsed, fence)  # E4
        (theirs,) = ask(contract, [parsed], fence)  # E5
    except Undecided as problem:
        return Finding(
            "evm-undecided",
            Outcome.UNDECIDED,
            f"the on-chain check did not come to an end: {problem.message}",
            evidence=problem.code,
            remedy=problem.hint,
        )
    return compare(ours, theirs, contract, tools)


def compare(ours: bool, theirs: EvmVerdict, contract: Contract, tools: Tools) -> Finding:
    """Two verdicts → a finding, with gas and size."""
    figures = _figures(theirs, contract)
    evidence = f"solc {SOLC_VERSION}, py-evm {tools.evm_version}"
    verbs = {True: "accepts", False: "refuses"}
    if ours == theirs.accepted:
        message = f"the circuit's Solidity verifier, run in an EVM, {verbs[ours]} the proof too: {figures}"
        return Finding("evm-agrees", Outcome.HOLDS, message, evidence=evidence)
    return Finding(
        "evm-disagrees",
        Outcome.REJECTED,
        f"ezkl {verbs[ours]} the proof, its Solidity verifier {verbs[theirs.accepted]} it: {figures}",
        evidence=evidence,
        remedy="Reject the proof and report it: one of the two verifiers is wrong.",
    )


def _accepts(section: LockSection, files: dict[str, bytes], parsed: Proof, fence: Fence) -> bool:
    try:
        verifying.check_proof(section, files, parsed, fence)
    except EvidenceRejected:
        return False
    return True


def _figures(verdict: EvmVerdict, contract: Contract) -> str:
    size = f"contract of {len(contract.runtime):,} bytes"
    if contract.deploy_gas is None:
        size += f", over the {MAX_CODE_BYTES:,} that Ethereum deploys (EIP-170), so run without deploying"
    else:
        size += f", {contract.deploy_gas:,} gas to deploy"
    if verdict.accepted:
        return f"{verdict.gas:,} gas to verify; {size}"
    return f"refused with {verdict.why}; {size}"


def _unavailable(message: str, *, evidence: str = "", remedy: str = "") -> Finding:
    return Finding("evm-unavailable", Outcome.NOT_CHECKED, message, evidence=evidence, remedy=remedy)
