"""Whoever gives a verifier circuit, lock and proof wants to burn its memory and processor: what that costs is bounded.

A circuit is refused after work in proportion to its bytes, or it is verified within a price that was known before. A proof is
refused by its length before anything is evaluated. What is too much is "not checked" (status 4), never "rejected".
"""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.cpu_time import takes_at_most
from tests.support.sumcheck_examples import cnn, mlp
from tests.support.sumcheck_hostile import FAMILIES, SUITES, Draft, hostile_circuits, nested_views, row_sum
from tests.support.sumcheck_models import small_cnn
from tests.support.sumcheck_replay import replay
from tests.unit.engines.sumcheck.test_engine import ENGINE, Compiled, compiled, spec_of
from verifai.domain.circuit_spec import Budget
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.sumcheck import verifying
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.codec import MAGIC, circuit_digest, encode
from verifai.engines.sumcheck.planning.price import BASE_BYTES, Allowance, price_of
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.verifier import verify as verifier
from verifai.engines.sumcheck.verifier.verify import survey, trust_circuit
from verifai.errors import EvidenceRejected, ResourceExhausted, UnsupportedModel, VerifaiError

FIXED_SECONDS, SECONDS_PER_BYTE = 0.1, 20e-6
FIXED_BYTES, BYTES_PER_BYTE = 2 << 20, 64
"""What deciding about a circuit may take: several times what it does take, so that a busy machine does not matter."""
REPLAYED_SECONDS = 0.3
"""Circuits of a lower price are verified to the end; the others' prices follow from the same formulas."""
SMALL = Allowance(1 << 30, 10.0)


def _outcome(run: Callable[[], Any]) -> Any:
    """What it gives, or its error."""
    try:
        return run()
    except VerifaiError as problem:
        return problem


def _within(seconds: float, run: Callable[[], Any]) -> tuple[Any, int]:
    """What it gives, or its error, in that processor time; and its peak of memory."""
    found = []
    assert takes_at_most(seconds, lambda: found.append(_outcome(run)))
    tracemalloc.start()
    try:
        _outcome(run)
        return found[0], tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CASES = dict(hostile_circuits())


def test_there_are_enough_of_them():
    assert len(CASES) == 2 * sum(map(len, FAMILIES.values())) >= 200
    assert len({suite.zero_knowledge for suite in SUITES}) == 2


@pytest.mark.parametrize("name", CASES)
def test_deciding_about_a_circuit_costs_no_more_than_its_bytes(name):
    circuit = CASES[name]()
    check(circuit)  # no rule refuses it: its cost alone does
    data = encode(circuit)
    found, peak = _within(FIXED_SECONDS + SECONDS_PER_BYTE * len(data), lambda: survey(data, circuit_digest(data), SMALL))
    assert peak < FIXED_BYTES + BYTES_PER_BYTE * len(data)
    if isinstance(found, VerifaiError):
        assert isinstance(found, ResourceExhausted | UnsupportedModel) and found.status != 1
        return
    if found.price.seconds > REPLAYED_SECONDS:
        return
    price = _outcome(lambda: replay(data))
    if isinstance(price, UnsupportedModel):
        return  # the planner knows a step that is too weak, or a reshape that no claim passes
    assert not isinstance(price, VerifaiError), price
    _, peak = _within(price.seconds, lambda: replay(data))
    assert peak <= price.memory_bytes - BASE_BYTES


def test_the_worst_of_a_few_hundred_bytes_are_refused_as_too_costly():
    """345 bytes took 4.3 GiB, 403 bytes 95 s, and 2.9 kB with nested views 92 s."""
    for name in ("row_sum-28", "long_kernel-16", "slices-28", "wide_average-26", "many_groups-22", "merged_axes-24"):
        for suite in SUITES:
            data = encode(CASES[f"{name}-{suite.name}"]())
            with pytest.raises(ResourceExhausted) as caught:
                trust_circuit(data, circuit_digest(data), replace(SMALL, seconds=5.0))
            assert (caught.value.code, caught.value.status) == ("verification-over-budget", 4)
    for size in (3, 5, 16):
        with pytest.raises(UnsupportedModel):
            price_of(nested_views(Draft(), size))


def test_prices_grow_with_what_is_asked():
    for family, sizes in FAMILIES.items():
        prices = []
        for size in sizes:
            try:
                prices.append(price_of(family(Draft(), size)).nanoseconds)
            except UnsupportedModel:
                prices.append(1 << 80)
        assert prices == sorted(prices), family.__name__


def _spoiled(data: bytes, pick: random.Random) -> bytes:
    """Bytes that a decoder must not trust: cut, changed, or with a count of billions."""
    changed = bytearray(data)
    kind = pick.randrange(4)
    if kind == 0:
        return bytes(changed[: pick.randrange(len(changed))])
    for _ in range(pick.randrange(1, 6)):
        at = pick.randrange(len(MAGIC), len(changed) - 4)
        if kind == 1:
            changed[at] ^= 1 << pick.randrange(8)
        else:
            changed[at : at + 4] = struct.pack("<I", pick.choice((0xFFFF_FFFF, 1 << 28, 1 << 24, 0xFFFF)))
    return bytes(changed)


def test_bytes_that_are_no_circuit_cost_no_more_than_they_are_long():
    pick = random.Random(11)
    bodies = [encode(CASES[f"{name}-{suite.name}"]()) for name in ("grid_of_pieces-12", "chain-40") for suite in SUITES]
    bodies += [encode(cnn()[0]), encode(mlp(committed=True)[0])]
    for number in range(300):
        data = _spoiled(bodies[number % len(bodies)], pick)

        def decided(data: bytes = data) -> Any:
            return survey(data, circuit_digest(data), SMALL)

        found, peak = _within(FIXED_SECONDS + SECONDS_PER_BYTE * len(data), decided)
        assert peak < FIXED_BYTES + BYTES_PER_BYTE * len(data)
        assert not isinstance(found, VerifaiError) or found.status in (1, 2, 4)


def test_a_circuit_too_long_to_decode_is_not_decoded(monkeypatch):
    monkeypatch.setattr(verifier, "decode_circuit", None)
    data = encode(mlp()[0]) + bytes(4 << 20)
    with pytest.raises(ResourceExhausted) as caught:
        trust_circuit(data, circuit_digest(data), Allowance(128 << 20, 60.0))
    assert caught.value.status == 4


# --- proofs ---


@pytest.fixture(scope="module", params=["public", "hidden"])
def proven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Compiled, Any]:
    net = small_cnn()
    hidden = request.param == "hidden"
    weights = WeightVisibility.COMMITTED if not hidden else WeightVisibility.PUBLIC
    tensors = {"x": Visibility.PRIVATE} if hidden else {}
    one = compiled(net, spec_of(net, weights, **tensors), tmp_path_factory.mktemp(request.param))
    return one, one.prove()


def test_a_proof_of_the_wrong_size_is_refused_before_anything_is_evaluated(proven, monkeypatch):
    one, proof = proven
    section = verifying.parse_section(one.section)

    def never(*given: Any) -> None:
        raise AssertionError("a proof of an impossible length was evaluated")

    monkeypatch.setattr(verifier, "check_proof", never)
    monkeypatch.setattr(proofs, "_words", never)
    honest = proof.files["proof.bin"]
    most = bytes(16 * proofs.MAX_MESSAGES)
    for wrong in (b"", honest[:100], honest + most, honest + bytes(1 << 22), honest[:-1], honest + b"\0"):
        files = {**proof.files, "proof.bin": wrong}
        found, peak = _within(2.0, lambda files=files: verifying.check_payload(section, files))
        assert isinstance(found, EvidenceRejected) and found.code == "proof-malformed"
        assert peak < 64 << 20


def test_messages_and_claims_beyond_the_script_are_refused_within_the_price(proven):
    """As many further messages as a proof's length may have: read, and found to be left over or false."""
    one, proof = proven
    section = verifying.parse_section(one.section)
    trusted = trust_circuit(proof.files["circuit.bin"], section.circuit_sha256)
    honest = proof.files["proof.bin"]
    for more in (16, 16 * 1000, 16 * 4000):
        for filler in (bytes(more), b"\x01" * more):
            files = {**proof.files, "proof.bin": honest + filler}
            found, peak = _within(trusted.price.seconds, lambda files=files: verifying.check_payload(section, files))
            assert isinstance(found, EvidenceRejected) and found.code == "proof-malformed"
            assert peak <= trusted.price.memory_bytes
    swapped = {**proof.files, "proof.bin": honest[:-16] + bytes(16)}
    found, _ = _within(trusted.price.seconds, lambda: verifying.check_payload(section, swapped))
    assert isinstance(found, EvidenceRejected)


# --- the fence ---


def test_the_child_process_comes_to_the_same(proven, tmp_path: Path, monkeypatch):
    one, proof = proven
    request = one.request(tmp_path, proof.files)
    here = ENGINE.verify(request)
    calls = []
    run = verifying.child.run
    monkeypatch.setattr(verifying, "HERE_SECONDS", 0.0)
    monkeypatch.setattr(verifying.child, "run", lambda *given, **more: calls.append(more["limits"]) or run(*given, **more))
    assert ENGINE.verify(request) == here
    assert calls[0].memory_bytes == verifying.VERIFY_MEMORY and calls[0].wall_seconds == verifying.VERIFY_SECONDS
    changed = bytearray(proof.files["proof.bin"])
    changed[len(changed) // 2] ^= 1
    with pytest.raises(EvidenceRejected) as caught:
        ENGINE.verify(one.request(tmp_path, {**proof.files, "proof.bin": bytes(changed)}))
    assert caught.value.code in ("proof-invalid", "proof-malformed")
    with pytest.raises(EvidenceRejected) as caught:
        ENGINE.verify(one.request(tmp_path, {**proof.files, "statement.bin": b"?"}))
    assert caught.value.code == "statement-malformed"


def test_memory_that_was_not_given_is_not_taken(proven, tmp_path: Path, monkeypatch):
    one, proof = proven
    for limit in (1, 1 << 20, 40 << 20):
        request = one.request(tmp_path, proof.files, budget=Budget(memory_bytes=limit))
        with pytest.raises(ResourceExhausted) as caught:
            ENGINE.verify(request)
        assert caught.value.status == 4 and "--max-memory" in caught.value.hint
    monkeypatch.setattr(verifying, "VERIFY_SECONDS", 1e-6)
    with pytest.raises(ResourceExhausted) as caught:
        ENGINE.verify(one.request(tmp_path, proof.files))
    assert caught.value.code == "verification-over-budget"


def test_a_price_that_was_too_low_costs_no_more_than_the_limit(tmp_path: Path, monkeypatch):
    """The child is killed at its limit even if the formulas were wrong: as if nothing had a price."""
    data = encode(row_sum(Draft(), 26))
    script = tmp_path / "burn.py"
    script.write_text(
        "import sys\n"
        "from verifai.execution.child_entry import serve\n"
        "from verifai.engines.sumcheck.circuit.codec import decode\n"
        "from verifai.engines.sumcheck.planning.rehearsal import foretell\n"
        "from verifai.engines.sumcheck.protocol import buses\n"
        "def burn(args):\n"
        "    circuit = decode(bytes.fromhex(args['circuit']))\n"
        "    foretell(circuit, buses.build(circuit))\n"
        "sys.exit(serve({'verify': burn}))\n"
    )
    monkeypatch.setattr(verifying.child, "_command", lambda module: [verifying.child.sys.executable, "-I", str(script)])
    limits = verifying.Limits(256 << 20, 60.0, 3600.0)
    report = verifying.child.run(
        "any", {"steps": [{"op": "verify", "args": {"circuit": data.hex()}}]}, folder=tmp_path, limits=limits
    )
    assert report.death is not None or report.steps[0].failure == "memory"
    if report.death is not None:
        assert report.death.status == 4
