"""The Solidity verifier of ezkl proofs, compiled and run: what it refuses though ezkl takes it.

The tests need what ``make test-evm`` installs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.ezkl_small import SmallCircuit
from verifai.domain.findings import Outcome
from verifai.engines.ezkl import calls, field, proof
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.engines.ezkl.evm import contract as contracts
from verifai.engines.ezkl.evm import opinion
from verifai.engines.ezkl.evm.contract import Contract, ask, compile_contract
from verifai.engines.ezkl.evm.tools import ToolMissing, Tools, find_tools
from verifai.engines.ezkl.proof import Proof
from verifai.engines.ezkl.srs.file import G2_BYTES
from verifai.errors import Undecided
from verifai.execution.child import Limits

pytestmark = pytest.mark.evm
FENCE = Fence(Limits(memory_bytes=2 * 2**30, wall_seconds=3600))
SETTINGS, VK, PROOF = "settings.json", "vk.key", "proof.json"


def _instances(change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Callable[[Proof], Proof]:
    return lambda genuine: replace(genuine, instances=change(genuine.instances))


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Proof], Proof]:
    return lambda genuine: replace(genuine, proof=change(genuine.proof))


def _flip(position: int) -> Callable[[Proof], Proof]:
    def change(data: bytes) -> bytes:
        index = position % len(data)
        return data[:index] + bytes((data[index] ^ 1,)) + data[index + 1 :]

    return _bytes(change)


TAKEN_BY_EZKL: dict[str, Callable[[Proof], Proof]] = {
    "one trailing byte": _bytes(lambda data: data + b"\x00"),
    "a trailing word": _bytes(lambda data: data + bytes(32)),
    "100 trailing bytes": _bytes(lambda data: data + b"\xa5" * 100),
}
FALSE: dict[str, Callable[[Proof], Proof]] = {
    "one zero instance appended": _instances(lambda values: (*values, 0)),
    "four zero instances appended": _instances(lambda values: (*values, 0, 0, 0, 0)),
    "an input changed": _instances(lambda values: (values[0] + 1, *values[1:])),
    "an output changed": _instances(lambda values: (*values[:-1], (values[-1] + 1) % field.MODULUS)),
    "two instances swapped": _instances(lambda values: (values[1], values[0], *values[2:])),
    "all instances zero": _instances(lambda values: (0,) * len(values)),
    "an instance missing": _instances(lambda values: values[:-1]),
    "last byte missing": _bytes(lambda data: data[:-1]),
    "last word missing": _bytes(lambda data: data[:-32]),
    "all bytes zero": _bytes(lambda data: bytes(len(data))),
    "no bytes": _bytes(lambda data: b""),
    **{f"bit flipped in byte {position}": _flip(position) for position in (0, 31, 63, 64, 500, 1000, 1500, 1900, -65, -33, -1)},
}
NOT_REDUCED: dict[str, Callable[[Proof], Proof]] = {
    "an input plus the modulus": _instances(lambda values: (values[0] + field.MODULUS, *values[1:])),
    "an output plus the modulus": _instances(lambda values: (*values[:-1], values[-1] + field.MODULUS)),
}


@pytest.fixture(scope="module")
def found() -> Tools:
    try:
        return find_tools()
    except ToolMissing as problem:
        pytest.skip(f"{problem.message}; make test-evm installs it")


@pytest.fixture(scope="module")
def contract(small_public: SmallCircuit, found: Tools) -> Contract:
    files = small_public.files
    return compile_contract(files[SETTINGS], files[VK], _srs(small_public), found, FENCE)


@pytest.fixture
def genuine(small_public: SmallCircuit) -> Proof:
    section = small_public.section
    return proof.parse(small_public.files[PROOF], instances=6, proof_bytes=section["proof_bytes"])


def _srs(circuit: SmallCircuit) -> bytes:
    return bytes.fromhex(circuit.section["srs"]["verifier"])


def ezkl_accepts(circuit: SmallCircuit, given: Proof, srs: bytes | None = None) -> bool:
    """What ezkl itself says, without any check of ours before it."""
    inputs = {
        PROOF: given.for_ezkl(),
        SETTINGS: circuit.files[SETTINGS],
        VK: circuit.files[VK],
        "srs": _srs(circuit) if srs is None else srs,
    }
    step = call("verify", proof=PROOF, settings=SETTINGS, vk=VK, srs="srs")
    try:
        return calls.run([step], FENCE, inputs=inputs).values == (True,)
    except CallFailed:
        return False


@pytest.mark.parametrize("row", TAKEN_BY_EZKL)
def test_the_contract_refuses_padding_that_ezkl_takes(
    small_public: SmallCircuit, contract: Contract, genuine: Proof, row: str
) -> None:
    tampered = TAKEN_BY_EZKL[row](genuine)
    assert ezkl_accepts(small_public, tampered), "or this row shows nothing"
    (verdict,) = ask(contract, [tampered], FENCE)
    assert not verdict.accepted
    assert verdict.why


def prove_with_zeros(circuit: SmallCircuit, zeros: int, folder: Path) -> Proof:
    """What a dishonest prover makes: a proof of the genuine sample with so many zero outputs more."""
    build = circuit.build_dir
    data = json.dumps({"input_data": [circuit.inputs["x"].reshape(-1).tolist()]}).encode()
    step = call("gen_witness", data="in.json", circuit=build / "circuit.compiled", output="w.json")
    calls.run([step], FENCE, inputs={"in.json": data}, outputs={"w.json": folder / "w.json"})
    witness = json.loads((folder / "w.json").read_bytes())
    witness["outputs"][0] += ["0" * 64] * zeros
    files = {"circuit": build / "circuit.compiled", "pk": build / "pk.key", "srs": build / "params.srs"}
    step = call("prove", witness="w.json", output="p.json", **files)
    calls.run([step], FENCE, inputs={"w.json": json.dumps(witness).encode()}, outputs={"p.json": folder / "p.json"})
    return proof.from_ezkl((folder / "p.json").read_bytes())


@pytest.mark.parametrize("zeros", [1, 4])
def test_the_contract_refuses_extended_outputs_that_ezkl_takes(
    small_public: SmallCircuit, contract: Contract, tmp_path: Path, zeros: int
) -> None:
    extended = prove_with_zeros(small_public, zeros, tmp_path)
    assert len(extended.instances) == 6 + zeros
    assert ezkl_accepts(small_public, extended), "or this row shows nothing"
    (verdict,) = ask(contract, [extended], FENCE)
    assert not verdict.accepted


def test_the_contract_refuses_a_forgery_that_ezkl_takes_under_a_zeroed_srs(
    small_public: SmallCircuit, contract: Contract, genuine: Proof
) -> None:
    forged = replace(genuine, instances=(*genuine.instances[:-1], 12345))
    zeroed = _srs(small_public)[: -2 * G2_BYTES] + bytes(2 * G2_BYTES)
    assert ezkl_accepts(small_public, forged, zeroed), "or this shows nothing"
    (verdict,) = ask(contract, [forged], FENCE)
    assert not verdict.accepted


def test_the_contract_refuses_what_is_false(contract: Contract, genuine: Proof) -> None:
    rows = {**FALSE, **NOT_REDUCED}
    verdicts = ask(contract, [change(genuine) for change in rows.values()], FENCE)
    assert [name for name, verdict in zip(rows, verdicts, strict=True) if verdict.accepted] == []


def test_the_contract_takes_an_honest_proof_also_after_a_false_one(contract: Contract, genuine: Proof) -> None:
    false, honest = ask(contract, [_flip(0)(genuine), genuine], FENCE)
    assert (false.accepted, honest.accepted, honest.why) == (False, True, "")
    assert 200_000 < honest.gas < 2_000_000


def test_the_contract_of_a_circuit_takes_no_proof_of_another(
    small_public: SmallCircuit, small_hashed: SmallCircuit, contract: Contract, genuine: Proof, found: Tools
) -> None:
    files = small_hashed.files
    other = compile_contract(files[SETTINGS], files[VK], _srs(small_hashed), found, FENCE)
    section = small_hashed.section
    hashed = proof.parse(files[PROOF], instances=3, proof_bytes=section["proof_bytes"])
    assert [one.accepted for one in ask(other, [hashed, genuine], FENCE)] == [True, False]
    assert [one.accepted for one in ask(contract, [hashed], FENCE)] == [False]


def test_the_contract_is_deployed_within_ethereums_limits_and_made_the_same_again(
    small_public: SmallCircuit, contract: Contract, found: Tools
) -> None:
    assert len(contract.runtime) <= 24_576
    assert contract.deploy_gas is not None
    assert 200 * len(contract.runtime) < contract.deploy_gas < 16_777_216
    files = small_public.files
    assert compile_contract(files[SETTINGS], files[VK], _srs(small_public), found, FENCE) == contract


def test_an_honest_proof_gets_the_same_verdict_from_both(small_public: SmallCircuit, found: Tools, tmp_path: Path) -> None:
    finding = small_public.engine.second_opinion(small_public.request(tmp_path))
    assert (finding.code, finding.outcome) == ("evm-agrees", Outcome.HOLDS)
    assert "accepts the proof too" in finding.message
    assert "gas to verify" in finding.message
    assert f"solc 0.8.20, py-evm {found.evm_version}" in finding.evidence


def test_a_false_proof_gets_the_same_verdict_from_both(
    small_public: SmallCircuit, genuine: Proof, found: Tools, tmp_path: Path
) -> None:
    false = FALSE["an output changed"](genuine)
    request = small_public.request(tmp_path, {**small_public.files, PROOF: false.to_bytes()})
    finding = small_public.engine.second_opinion(request)
    assert (finding.code, finding.outcome) == ("evm-agrees", Outcome.HOLDS)
    assert "refuses the proof too" in finding.message


def test_a_source_that_does_not_compile_decides_nothing(
    small_public: SmallCircuit, found: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "solidity_verifier", lambda *args: b"contract Halo2Verifier {")
    finding = small_public.engine.second_opinion(small_public.request(tmp_path))
    assert (finding.code, finding.outcome) == ("evm-undecided", Outcome.UNDECIDED)
    assert "solc" in finding.message


def test_a_contract_too_large_for_ethereum_is_still_asked(contract: Contract, genuine: Proof, found: Tools) -> None:
    padded = contract.runtime + bytes(24_577 - len(contract.runtime))
    (gas,) = contracts._run(
        [{"op": "deploy", "args": {"creation": contract.creation.hex(), "runtime": padded.hex()}}], FENCE.limits, FENCE
    )
    assert gas is None
    large = Contract(contract.creation, padded, gas)
    (verdict,) = ask(large, [genuine], FENCE)
    assert "EIP-170" in opinion.compare(True, verdict, large, found).message
    assert verdict.accepted


def test_creation_code_that_deploys_something_else_is_no_contract(contract: Contract) -> None:
    task = {"creation": contract.creation.hex(), "runtime": (contract.runtime[:-1] + b"\x00").hex()}
    with pytest.raises(Undecided) as caught:
        contracts._run([{"op": "deploy", "args": task}], FENCE.limits, FENCE)
    assert caught.value.code == "engine-crashed"


def test_a_deadline_ends_the_compiler_and_decides_nothing(
    small_public: SmallCircuit, found: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "COMPILE_SECONDS", 0.0)
    finding = small_public.engine.second_opinion(small_public.request(tmp_path))
    assert (finding.code, finding.outcome, finding.evidence) == ("evm-undecided", Outcome.UNDECIDED, "deadline")
