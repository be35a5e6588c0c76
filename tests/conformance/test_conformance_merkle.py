"""RFC 6962 / RFC 9162 conformance: the vectors of transparency-dev/merkle, and our own made with pymerkle as oracle."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.bundle.merkle import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    subtree_hash,
)
from verifai.errors import EvidenceRejected

SHARED = ROOT.parent / "shared" / "vectors" / "rfc6962.json"
OWN = json.loads((Path(__file__).parent / "vectors" / "merkle.json").read_text())


def _shared(kind: str) -> list:
    if not SHARED.is_file():
        reason = "the vectors of transparency-dev/merkle are not beside this project (../shared/vectors/rfc6962.json)"
        return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(case, id=name) for name, case in json.loads(SHARED.read_text())[kind].items()]


def _hash(text: str | None) -> bytes:
    return base64.b64decode(text or "")


@pytest.mark.parametrize("case", _shared("inclusion"))
def test_inclusion_vectors(case: dict) -> None:
    arguments = (_hash(case["leafHash"]), case["leafIdx"], case["treeSize"], [_hash(one) for one in case["proof"] or ()])
    if case["wantErr"]:
        with pytest.raises(EvidenceRejected) as problem:
            check_inclusion(*arguments, _hash(case["root"]))
        assert problem.value.code == "log-proof-invalid"
    else:
        check_inclusion(*arguments, _hash(case["root"]))
        with pytest.raises(EvidenceRejected):  # the same proof says nothing about another root
            check_inclusion(*arguments, bytes(32))


@pytest.mark.parametrize("case", _shared("consistency"))
def test_consistency_vectors(case: dict) -> None:
    proof = [_hash(one) for one in case["proof"] or ()]
    arguments = (case["size1"], case["size2"], proof, _hash(case["root1"]), _hash(case["root2"]))
    if not case["wantErr"] and len(arguments[3]) != 32:
        # One of the vectors accepts equal "roots" of 12 bytes. We refuse those, and accept the same case with real hashes.
        with pytest.raises(EvidenceRejected, match="bytes instead of 32"):
            check_consistency(*arguments)
        arguments = (*arguments[:3], *(hashlib.sha256(one).digest() for one in arguments[3:]))
    if case["wantErr"]:
        with pytest.raises(EvidenceRejected) as problem:
            check_consistency(*arguments)
        assert problem.value.code == "log-inconsistent"
    else:
        check_consistency(*arguments)
        with pytest.raises(EvidenceRejected):
            check_consistency(*arguments[:3], bytes(32), arguments[4])


def _lookup(level: int, position: int) -> bytes:
    if level == 0:
        return leaf_hash(OWN["entries"][position].encode())
    return node_hash(_lookup(level - 1, 2 * position), _lookup(level - 1, 2 * position + 1))


def _root(size: int) -> bytes:
    return bytes.fromhex(OWN["roots"][str(size)])


@pytest.mark.parametrize("size", [int(size) for size in OWN["roots"]])
def test_roots_are_those_of_pymerkle(size: int) -> None:
    assert subtree_hash(_lookup, 0, size) == _root(size)


def test_inclusion_proofs_are_those_of_pymerkle_and_hold() -> None:
    for case in OWN["inclusion"]:
        proof = inclusion_proof(_lookup, case["index"], case["size"])
        assert sorted(one.hex() for one in proof) == case["hashes"]
        leaf = bytes.fromhex(OWN["leaves"][case["index"]])
        check_inclusion(leaf, case["index"], case["size"], proof, _root(case["size"]))


def test_consistency_proofs_lead_to_the_roots_of_pymerkle() -> None:
    sizes = sorted(int(size) for size in OWN["roots"])
    for first in sizes:
        for second in [size for size in sizes if size >= first]:
            proof = consistency_proof(_lookup, first, second)
            check_consistency(first, second, proof, _root(first), _root(second))
            for other in [size for size in sizes if size not in (first, second)]:
                with pytest.raises(EvidenceRejected):
                    check_consistency(first, second, proof, _root(other), _root(second))


@pytest.mark.parametrize("size", range(1, 20))
def test_every_single_bit_of_a_proof_matters(size: int) -> None:
    root = subtree_hash(_lookup, 0, size)
    for index in range(size):
        proof = inclusion_proof(_lookup, index, size)
        check_inclusion(_lookup(0, index), index, size, proof, root)
        wrong_index = (index + 1) % size
        if wrong_index != index:
            with pytest.raises(EvidenceRejected):
                check_inclusion(_lookup(0, index), wrong_index, size, proof, root)
        for place in range(len(proof)):
            changed = [bytes([one[0] ^ 1]) + one[1:] if at == place else one for at, one in enumerate(proof)]
            with pytest.raises(EvidenceRejected):
                check_inclusion(_lookup(0, index), index, size, changed, root)
            with pytest.raises(EvidenceRejected):
                check_inclusion(_lookup(0, index), index, size, proof[:place] + proof[place + 1 :], root)


@pytest.mark.parametrize("length", [0, 1, 20, 31, 33, 64])
def test_a_hash_that_is_not_32_bytes_is_refused(length: int) -> None:
    odd, good = bytes(length), bytes(32)
    for leaf, proof, root in ((odd, [], odd), (odd, [], good), (good, [odd], good), (good, [], odd)):
        with pytest.raises(EvidenceRejected, match="bytes instead of 32"):
            check_inclusion(leaf, 0, 1, proof, root)
    for proof, first, second in (([odd], good, good), ([], odd, odd), ([], good, odd)):
        with pytest.raises(EvidenceRejected, match="bytes instead of 32"):
            check_consistency(1, 1, proof, first, second)


def test_size_zero_is_refused() -> None:
    with pytest.raises(EvidenceRejected, match="size 0"):
        check_inclusion(bytes(32), 0, 0, [], bytes(32))
    for second in (0, 1, 8):
        with pytest.raises(EvidenceRejected, match="empty tree"):
            check_consistency(0, second, [], bytes(32), bytes(32))
    for bad in ((0, 0), (-1, 4), (4, 4)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(_lookup, *bad)
    with pytest.raises(ValueError, match="no consistency"):
        consistency_proof(_lookup, 0, 4)


def test_an_endless_proof_is_refused() -> None:
    with pytest.raises(EvidenceRejected, match="more than 64"):
        check_inclusion(bytes(32), 0, 2, [bytes(32)] * 1000, bytes(32))
