"""drand's numbers, as its networks published them, and under a key of the test's own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.drand_chains import SECRET, g1_bytes, g2_bytes, pin_own_chains, signed
from tests.support.paths import ROOT
from verifai.consensus.drand import digest_of_chain, parse_drand, require_signed, to_drand_json
from verifai.domain.consensus.beacons import CHAINS, DrandChain, PublishedBeacon, chain_of
from verifai.domain.consensus.round import BeaconRule
from verifai.domain.digest import Sha256
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.recursion import recursion_limit_kept

with recursion_limit_kept():
    from py_ecc.optimized_bls12_381 import Z1, Z2, curve_order, multiply

VECTORS = sorted((ROOT / "tests" / "vectors" / "drand").glob("*.json"))
ROUND = Sha256("ab" * 32)


def rule_of(path: Path) -> BeaconRule:
    name, number = path.stem.split("-")
    return BeaconRule(f"drand:{name}", int(number))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_published_number_holds(path: Path) -> None:
    found = parse_drand(path.read_bytes(), rule_of(path), ROUND, "")
    assert found.beacon.value == json.loads(path.read_text())["randomness"]
    assert parse_drand(to_drand_json(found), rule_of(path), ROUND, "") == found


def test_a_deep_file_is_refused_after_a_number_was_verified_as_well() -> None:
    """The library of the curve raises Python's recursion limit when it is imported; a deep file would end the process then."""
    program = (
        "import json, sys, pathlib\n"
        "from verifai.consensus.drand import parse_drand\n"
        "from verifai.domain.consensus.round import BeaconRule\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "name, number = path.stem.split('-')\n"
        "parse_drand(path.read_bytes(), BeaconRule(f'drand:{name}', int(number)), 'ab' * 32, '')\n"
        "assert 'py_ecc' in sys.modules\n"
        "try:\n"
        "    json.loads('[' * 200_000)\n"
        "except RecursionError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(VECTORS[0])], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, "refused"), done.stderr


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)
def test_the_chains_hash_binds_all_that_is_pinned(chain: DrandChain) -> None:
    assert digest_of_chain(chain) == chain.hash


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)
def test_the_first_number_after_a_moment_is_the_first(chain: DrandChain) -> None:
    moment = datetime(2026, 11, 30, 12, 0, 7, tzinfo=UTC)
    number = chain.first_after(moment)
    assert chain.time_of(number) >= moment > chain.time_of(number - 1)
    assert chain.first_after(chain.time_of(number)) == number
    assert chain.first_after(datetime(2000, 1, 1, tzinfo=UTC)) == 1


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another signature": (lambda one: one.update(signature=one["signature"][:-2] + "00"), "beacon-false"),
    "another randomness": (lambda one: one.update(randomness="00" * 32), "beacon-false"),
    "another number": (lambda one: one.update(round=one["round"] + 1), "bad-beacon"),
    "a signature of the wrong size": (lambda one: one.update(signature=one["signature"][:-2]), "bad-beacon"),
    "no signature": (lambda one: one.pop("signature"), "bad-beacon"),
    "a number as text": (lambda one: one.update(round=str(one["round"])), "bad-beacon"),
    "upper case": (lambda one: one.update(signature=one["signature"].upper()), "bad-beacon"),
}


@pytest.mark.parametrize("path", VECTORS[-2:], ids=lambda path: path.stem)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_number_is_refused(change: str, path: Path) -> None:
    document = json.loads(path.read_text())
    edit, code = CHANGES[change]
    edit(document)
    if change == "another signature":  # whoever forges it computes the randomness too
        document["randomness"] = hashlib.sha256(bytes.fromhex(document["signature"])).hexdigest()
    with pytest.raises((EvidenceRejected, UsageError)) as problem:
        parse_drand(json.dumps(document).encode(), rule_of(path), ROUND, "file")
    assert problem.value.code == code


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"round": 1, "round": 2}', b"\xff", b"9" * 9000])
def test_rubbish_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(UsageError) as problem:
        parse_drand(data, rule_of(VECTORS[0]), ROUND, "file")
    assert (problem.value.code, problem.value.where) == ("bad-beacon", "file")


def test_a_chained_number_needs_its_own_predecessor() -> None:
    path = next(one for one in VECTORS if one.stem.startswith("default"))
    document = json.loads(path.read_text())
    for previous in ("00" * 96, document["signature"]):
        changed = document | {"previous_signature": previous}
        with pytest.raises(EvidenceRejected, match="not that of"):
            parse_drand(json.dumps(changed).encode(), rule_of(path), ROUND, "")


def test_one_chains_number_is_none_of_anothers() -> None:
    quick = parse_drand(VECTORS[-1].read_bytes(), rule_of(VECTORS[-1]), ROUND, "")
    with pytest.raises(EvidenceRejected):
        require_signed(dataclasses.replace(quick, source="drand:default"))
    with pytest.raises(EvidenceRejected):
        require_signed(dataclasses.replace(quick, source="drand:mine"))
    with pytest.raises(EvidenceRejected):
        require_signed(dataclasses.replace(quick, source="lottery"))
    with pytest.raises(UsageError):
        chain_of(BeaconRule("drand:mine", 1))


@pytest.fixture
def own_chains(monkeypatch: pytest.MonkeyPatch) -> dict[str, DrandChain]:
    """Both schemes, under a key that the test knows."""
    return pin_own_chains(monkeypatch)


def test_both_schemes_hold_under_a_key_of_ones_own(own_chains: dict[str, DrandChain]) -> None:
    for chain in own_chains.values():
        previous = bytes(96) if chain.chained else b""
        good = signed(chain, 77, previous)
        require_signed(good)
        with pytest.raises(EvidenceRejected):
            require_signed(dataclasses.replace(good, number=78))
        with pytest.raises(EvidenceRejected):
            require_signed(signed(chain, 77, previous, SECRET + 1))


def test_infinity_and_points_outside_the_subgroup_sign_nothing(own_chains: dict[str, DrandChain]) -> None:
    """With the point at infinity on both sides the pairing equation would hold for a key at infinity."""
    unchained = own_chains["drand:unchained"]
    for signature in (g1_bytes(Z1), bytes([0xC0]) + bytes(47), bytes(48), b"\xff" * 48, _off_subgroup()):
        with pytest.raises(EvidenceRejected):
            require_signed(PublishedBeacon(ROUND, unchained.source, 5, signature.hex(), ""))
    chained = own_chains["drand:chained"]
    with pytest.raises(EvidenceRejected):
        require_signed(PublishedBeacon(ROUND, chained.source, 5, g2_bytes(Z2).hex(), "00" * 96))


def _off_subgroup() -> bytes:
    """A point of the curve that is not of order r: the smallest x that has one."""
    from py_ecc.bls.g2_primitives import subgroup_check
    from py_ecc.bls.point_compression import decompress_G1
    from py_ecc.optimized_bls12_381 import is_inf

    for x in range(1, 200):
        data = (x | 1 << 383).to_bytes(48, "big")
        try:
            point = decompress_G1(int.from_bytes(data, "big"))  # type: ignore[arg-type]
        except ValueError:
            continue
        if not subgroup_check(point):
            assert not is_inf(multiply(point, curve_order))
            return data
    raise AssertionError("every small x is in the subgroup, which cannot be")


def test_a_number_that_is_out_before_the_last_commitment_is_due_is_seen() -> None:
    chain = CHAINS["drand:quicknet"]
    due = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    assert chain.time_of(chain.first_after(due + timedelta(seconds=30))) >= due + timedelta(seconds=30)
