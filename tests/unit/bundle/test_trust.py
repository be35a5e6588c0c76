"""Trust files: strict, and judged by keys, dates and digests from outside the bundle."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.support.bundle_samples import CREATED, PAYLOAD, TestSigner, attestations, write_sample
from tests.support.paths import ROOT
from verifai.bundle.keys import public_pem
from verifai.bundle.log import create_log
from verifai.bundle.reader import open_bundle
from verifai.bundle.trust_check import check_trust
from verifai.bundle.writer import write_bundle
from verifai.domain.findings import Outcome
from verifai.domain.trust import parse_trust
from verifai.errors import UsageError
from verifai.stages.seal import seal_bundle
from verifai.stages.trust import TrustRequest, init_trust
from verifai.trust_file import read_trust

A, B, LOG = TestSigner(1), TestSigner(2), TestSigner(9)
NOW = "2026-02-01T00:00:00Z"
GOOD: dict[str, Any] = {
    "schema": "verifai/trust/v1",
    "keys": {"a": str(A.public_key), "b": str(B.public_key)},
    "roles": {"release": {"keys": ["a", "b"], "threshold": 1}},
    "srs": {"allow_test_srs": True},
}


def changed(edit: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    edit(document)
    return document


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "other schema": lambda d: d.update(schema="verifai/trust/v2"),
    "unknown table": lambda d: d.update(rolez={}),
    "unknown role": lambda d: d["roles"].update(boss={"keys": ["a"]}),
    "unknown key name": lambda d: d["roles"]["release"].update(keys=["c"]),
    "no keys in a role": lambda d: d["roles"]["release"].update(keys=[]),
    "a key twice in a role": lambda d: d["roles"]["release"].update(keys=["a", "a"]),
    "threshold 0": lambda d: d["roles"]["release"].update(threshold=0),
    "threshold above keys": lambda d: d["roles"]["release"].update(threshold=3),
    "one key under two names": lambda d: d["keys"].update(c=str(A.public_key)),
    "a key that is none": lambda d: d["keys"].update(a="ed25519:AAAA"),
    "age 0": lambda d: d.update(freshness={"maximum_age_days": 0}),
    "expiry without zone": lambda d: d.update(freshness={"expires": "2026-02-01"}),
    "expiry that never was": lambda d: d.update(freshness={"expires": "2026-02-30T00:00:00Z"}),
    "empty list of set-ups": lambda d: d["srs"].update(sha256=[]),
    "a set-up that is no digest": lambda d: d["srs"].update(sha256=["x"]),
    "log without key": lambda d: d.update(log={"origin": "o"}),
    "more witnesses asked than known": lambda d: d.update(
        log={"origin": "o", "key": str(A.public_key), "witness_threshold": 1}
    ),
    "one witness twice": lambda d: d.update(
        log={"origin": "o", "key": str(A.public_key), "witnesses": [{"name": "w", "key": str(B.public_key)}] * 2}
    ),
    "vk neither pinned nor re-derived": lambda d: d.update(circuits={"c": {"lock": "l", "verification_key": "any"}}),
    "misspelt field": lambda d: d["roles"]["release"].update(treshold=2),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_trust_file_with_a_mistake_is_refused_not_weakened(case: str) -> None:
    parse_trust(GOOD, "")
    with pytest.raises(UsageError) as problem:
        parse_trust(changed(BAD[case]), "trust.toml")
    assert problem.value.code == "bad-trust"
    assert problem.value.where.startswith("trust.toml")


@pytest.mark.parametrize("document", [{"schema": "verifai/trust/v1"}, {"schema": "verifai/trust/v1", "keys": GOOD["keys"]}])
def test_a_trust_file_that_trusts_nothing_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="names no role, circuit, log, identity, hardware or signer of models"):
        parse_trust(document, "")


def codes(folder: Path, document: dict[str, Any], now: str = NOW) -> dict[str, Outcome]:
    with open_bundle(folder) as bundle:
        return {one.code: one.outcome for one in check_trust(bundle, parse_trust(document, ""), now)}


def test_unsigned_below_threshold_and_enough(tmp_path: Path) -> None:
    write_sample(tmp_path / "none")
    write_sample(tmp_path / "one", (A,))
    write_sample(tmp_path / "two", (A, B))
    write_sample(tmp_path / "stranger", (TestSigner(7),))
    both = changed(lambda d: d["roles"]["release"].update(threshold=2))
    assert codes(tmp_path / "none", GOOD)["unsigned"] is Outcome.POLICY_NOT_MET
    assert codes(tmp_path / "stranger", GOOD)["below-threshold"] is Outcome.POLICY_NOT_MET
    assert codes(tmp_path / "one", both)["below-threshold"] is Outcome.POLICY_NOT_MET
    assert codes(tmp_path / "one", GOOD)["signed"] is Outcome.HOLDS
    assert codes(tmp_path / "two", both)["signed"] is Outcome.HOLDS


def test_roles_ask_for_their_own_attestations(tmp_path: Path) -> None:
    prover = changed(lambda d: d["roles"].update(prover={"keys": ["b"]}))
    write_bundle(tmp_path / "x", payload=PAYLOAD, attestations=attestations((B,)), signers=[A], created=CREATED)
    write_bundle(tmp_path / "y", payload=PAYLOAD, attestations=attestations((A,)), signers=[A], created=CREATED)
    assert Outcome.POLICY_NOT_MET not in codes(tmp_path / "x", prover).values()
    assert codes(tmp_path / "y", prover)["below-threshold"] is Outcome.POLICY_NOT_MET


@pytest.mark.parametrize(
    ("now", "limit", "code"),
    [
        ("2026-02-01T00:00:00Z", 1, "fresh"),
        ("2026-02-02T00:00:00Z", 1, "stale"),
        ("2026-01-31T11:55:00Z", 1, "fresh"),
        ("2026-01-31T11:40:00Z", 1, "from-the-future"),
    ],
)
def test_age_and_clock_skew(tmp_path: Path, now: str, limit: int, code: str) -> None:
    write_sample(tmp_path / "b", (A,))
    assert code in codes(tmp_path / "b", changed(lambda d: d.update(freshness={"maximum_age_days": limit})), now)


def test_an_expired_trust_file_trusts_nothing(tmp_path: Path) -> None:
    write_sample(tmp_path / "b", (A,))
    document = changed(lambda d: d.update(freshness={"expires": NOW}))
    assert codes(tmp_path / "b", document)["trust-expired"] is Outcome.POLICY_NOT_MET
    assert "trust-current" in codes(tmp_path / "b", document, "2026-01-31T23:59:59Z")


def test_test_set_ups_and_unlisted_set_ups(tmp_path: Path) -> None:
    write_sample(tmp_path / "b", (A,))
    strict = changed(lambda d: d.pop("srs"))
    listed = changed(lambda d: d["srs"].update(sha256=["0" * 64]))
    assert codes(tmp_path / "b", strict)["srs-test-only"] is Outcome.POLICY_NOT_MET
    assert codes(tmp_path / "b", listed)["srs-not-trusted"] is Outcome.POLICY_NOT_MET


def test_log_inclusion_is_demanded_and_found(tmp_path: Path) -> None:
    write_sample(tmp_path / "b", (A,))
    create_log(tmp_path / "log", origin="o.example/l", key=LOG.public_key)
    seal_bundle(tmp_path / "b", signers=[A], output=tmp_path / "sealed", log=tmp_path / "log", log_signer=LOG)
    good = changed(lambda d: d.update(log={"origin": "o.example/l", "key": str(LOG.public_key)}))
    later = "2030-01-01T00:00:00Z"
    assert codes(tmp_path / "sealed", good, later)["logged"] is Outcome.HOLDS
    assert codes(tmp_path / "b", good, later)["not-logged"] is Outcome.POLICY_NOT_MET
    optional = changed(lambda d: d.update(log={"origin": "o.example/l", "key": str(LOG.public_key), "required": False}))
    assert codes(tmp_path / "b", optional, later)["not-logged"] is Outcome.NOT_CHECKED
    other = changed(lambda d: d.update(log={"origin": "o.example/x", "key": str(LOG.public_key)}))
    assert codes(tmp_path / "sealed", other, later)["log-signature-invalid"] is Outcome.REJECTED
    watched = changed(
        lambda d: d.update(
            log={
                "origin": "o.example/l",
                "key": str(LOG.public_key),
                "witnesses": [{"name": "w.example/1", "key": str(B.public_key)}],
                "witness_threshold": 1,
            }
        )
    )
    assert codes(tmp_path / "sealed", watched, later)["below-witnesses"] is Outcome.POLICY_NOT_MET


def test_trust_init_writes_what_it_was_asked_and_never_overwrites(tmp_path: Path) -> None:
    lock = tmp_path / "c" / "circuit.lock"
    lock.parent.mkdir()
    document = {"schema": "verifai/circuit-lock/v1", "circuit": {"name": "c", "model_sha256": "0" * 64}, "engine": {}}
    lock.write_text(tomli_w.dumps(document))
    (tmp_path / "a.key.pub").write_bytes(public_pem(A.public_key))
    (tmp_path / "b.pub").write_text(str(B.public_key) + "\n")
    request = TrustRequest(locks=(lock.parent,), keys=(tmp_path / "a.key.pub", tmp_path / "b.pub"), threshold=2)
    trust = init_trust(tmp_path / "trust.toml", request)
    again = read_trust(tmp_path / "trust.toml")
    assert again.trust == trust
    assert set(trust.keys) == {"a", "b"}
    assert again.circuit("c")[1].name == "c"
    with pytest.raises(UsageError):
        init_trust(tmp_path / "trust.toml", request)
    lock.write_text(lock.read_text() + "# edited\n")
    with pytest.raises(UsageError) as problem:
        again.circuit("c")
    assert problem.value.code == "lock-changed"
    with pytest.raises(UsageError):
        init_trust(tmp_path / "t2.toml", TrustRequest())
    with pytest.raises(UsageError):
        init_trust(tmp_path / "t2.toml", TrustRequest(keys=(tmp_path / "b.pub",), threshold=2))
    assert not (tmp_path / "t2.toml").exists()


@pytest.mark.parametrize("beside", ["circuit.lock", "digits-cnn.lock", "digits-cnn/circuit.lock"])
def test_a_lock_named_by_its_makers_path_is_found_beside_the_trust_file_by_its_digest(beside: str, tmp_path: Path) -> None:
    """Whoever is sent both files does not have the folders of who wrote them."""
    lock = ROOT / "circuits" / "digits-cnn" / "circuit.lock"
    written = tmp_path / "maker" / "trust.toml"
    written.parent.mkdir()
    init_trust(written, TrustRequest((lock,), allow_test_srs=True))
    received = tmp_path / "reader" / "trust.toml"
    (received.parent / beside).parent.mkdir(parents=True)
    received.write_text(re.sub(r"(?m)^lock = .*", 'lock = "../maker/circuit.lock"', written.read_text()))
    with pytest.raises(UsageError, match="not here") as problem:
        read_trust(received).circuit("digits-cnn")
    assert "digits-cnn.lock" in problem.value.hint
    (received.parent / beside).write_text(lock.read_text() + "\n# changed\n")
    with pytest.raises(UsageError, match="not here"):
        read_trust(received).circuit("digits-cnn")
    (received.parent / beside).write_bytes(lock.read_bytes())
    assert read_trust(received).circuit("digits-cnn")[1].name == "digits-cnn"
    received.write_text("\n".join(line for line in received.read_text().splitlines() if "lock_sha256 =" not in line))
    with pytest.raises(UsageError, match="not here"):  # nothing says which lock was meant
        read_trust(received).circuit("digits-cnn")
