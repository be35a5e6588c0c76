"""Votes and their trees as documents: one spelling, strict, and the same tree as RFC 6962."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from verifai.bundle import merkle
from verifai.domain.consensus import vote_tree
from verifai.domain.consensus.job import Job, OutputKind, PrecisionClass, VoteSubject, canonical
from verifai.domain.consensus.round import commitments_digest, picked_samples, sample_seed
from verifai.domain.consensus.vote import Environment, Opening, Vote, VoteCommitment, commitment_value
from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.errors import EvidenceRejected, VerifaiError

SEED = sha256(b"seed")
SUBJECT = VoteSubject(SEED, SEED, OutputKind.LOGITS, PrecisionClass.FP32, parameters={"projections": 8}, tensors=("y",))
JOB = Job(SUBJECT, SEED, 3, SEED)
VOTE = Vote(SEED, SEED, SEED, SEED, SEED, "0" * 64, SEED, (b"\x01" * 32,) * 3, (Opening(1, b"output", (SEED, SEED)),))
COMMITMENT = VoteCommitment(SEED, SEED, SEED, Environment("x86_64", "avx2", "onnxruntime 1", "Linux", 2))


@pytest.mark.parametrize("size", range(1, 34))
def test_the_tree_is_rfc_6962s(size: int) -> None:
    leaves = [vote_tree.leaf_hash(bytes([i])) for i in range(size)]
    assert leaves[0] == merkle.leaf_hash(b"\x00")
    root = vote_tree.root(leaves)
    for index in range(size):
        found = vote_tree.path(leaves, index)
        merkle.check_inclusion(leaves[index], index, size, [bytes.fromhex(one) for one in found], bytes.fromhex(root))
        assert vote_tree.root_from_path(leaves[index], index, size, found) == root


@given(st.integers(1, 40), st.data())
def test_a_path_leads_to_its_root_from_nowhere_else(size: int, data: st.DataObject) -> None:
    leaves = [vote_tree.leaf_hash(bytes([i])) for i in range(size)]
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    found = list(vote_tree.path(leaves, index))
    root = vote_tree.root(leaves)
    if other != index:
        assert vote_tree.root_from_path(leaves[index], other, size, found) != root
        assert vote_tree.root_from_path(leaves[other], index, size, found) != root
    assert vote_tree.root_from_path(leaves[index], index, size, [*found, SEED]) is None
    assert vote_tree.root_from_path(leaves[index], size, size, found) is None
    if found:
        assert vote_tree.root_from_path(leaves[index], index, size, found[:-1]) is None


def test_canonical_bytes_are_rfc_8785() -> None:
    for document in (JOB.to_json(), VOTE.to_json(), COMMITMENT.to_json()):
        assert canonical(document) == rfc8785.dumps(document)


@pytest.mark.parametrize("value", [JOB, SUBJECT, VOTE, COMMITMENT], ids=lambda one: type(one).__name__)
def test_documents_round_trip(value) -> None:  # type: ignore[no-untyped-def]
    again = json.loads(json.dumps(value.to_json()))
    assert type(value).from_record(Record(again, "test")) == value


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_document_is_refused_or_says_something_else(data: st.DataObject) -> None:
    value = data.draw(st.sampled_from([JOB, VOTE, COMMITMENT]))
    document = json.loads(json.dumps(value.to_json()))
    node = document
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        child = node[key]
        if not isinstance(child, dict | list) or not child or data.draw(st.booleans()):
            break
        node = child
    rubbish = st.sampled_from([None, True, -1, 2**70, 1.5, "", "x", "\ud800", [], {}, [None], {"a": 1}, "0" * 64])
    action = data.draw(st.sampled_from(["replace", "delete", "add"]))
    if action == "replace":
        node[key] = data.draw(rubbish)
    elif action == "delete" and isinstance(node, dict):
        del node[key]
    elif isinstance(node, dict):
        node["smuggled"] = 1
    try:
        found = type(value).from_record(Record(document, "test"))
    except VerifaiError as problem:
        assert isinstance(problem, EvidenceRejected)
        return
    assert (found == value) == (document == json.loads(json.dumps(value.to_json())))


def test_a_commitment_binds_root_salt_and_voter() -> None:
    a, b = sha256(b"a"), sha256(b"b")
    values = {commitment_value(x, y, z) for x in (a, b) for y in (a, b) for z in (a, b)}
    assert len(values) == 8


def test_the_seed_picks_distinct_samples_evenly() -> None:
    counts = [0] * 10
    for i in range(2000):
        picked = picked_samples(sha256(str(i).encode()), 10, 3)
        assert len(set(picked)) == 3
        assert list(picked) == sorted(picked)
        for one in picked:
            counts[one] += 1
    assert all(480 < count < 720 for count in counts)
    assert picked_samples(SEED, 5, 5) == (0, 1, 2, 3, 4)


def test_samples_have_seeds_of_their_own() -> None:
    assert len({sample_seed(SEED, i) for i in range(100)}) == 100


def test_the_commitment_set_does_not_hang_on_order_but_on_every_member() -> None:
    a, b, c = (Sha256(sha256(one)) for one in (b"a", b"b", b"c"))
    assert commitments_digest({a: [b, c], b: [a]}) == commitments_digest({b: [a], a: [c, b]})
    assert commitments_digest({a: [b]}) != commitments_digest({a: [b, c]}) != commitments_digest({a: [c]})
