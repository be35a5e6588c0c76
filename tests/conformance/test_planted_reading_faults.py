"""Faults planted in how either verifier reads evidence: the comparison of both has to notice each of them.

A comparison that notices no fault is worth nothing. Each fault takes one check away, in one verifier alone.
"""

from __future__ import annotations

import base64
import json
import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.test_second_verifier import OURS, TRUST
from tests.support.bundle_forge import (
    ORIGIN,
    RELEASE,
    SECOND,
    STRANGER,
    WITNESS,
    Forge,
    archive_of,
    log_files,
    read_folder,
)
from tests.support.second_reader import DIST, Answer, SecondVerifier, first_verifier
from verifai.bundle import canonical, dsse, log_check, merkle, reader, trust_check
from verifai.bundle.archive import unpack
from verifai.bundle.dsse import sign
from verifai.bundle.note import Checkpoint, LogProof, parse_checkpoint, parse_log_proof
from verifai.domain.attestation.envelope import Envelope
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.stages import verify as stage

pytestmark = pytest.mark.js


@dataclass(frozen=True)
class Case:
    """One bundle that a verifier has to refuse for one reason only."""

    bundle: Path
    lock: Path
    context: str | None = "frozen"
    now: str = "2026-12-01T12:00:00Z"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Each was put together again with every trusted key, so that only one check stands against it."""
    folder = tmp_path_factory.mktemp("cases")
    unpack(OURS / "public.vbundle", folder / "unpacked")
    good = read_folder(folder / "unpacked")
    files: dict[str, bytes] = {"good": archive_of(good)}

    def forged(name: str, change: object) -> None:
        forge = Forge.of(good)
        change(forge)  # type: ignore[operator]
        files[name] = archive_of(forge.sealed())

    def statement(forge: Forge) -> None:
        forge.statements["proof"]["predicate"]["statement"]["context"] = "another"

    def fidelity(forge: Forge) -> None:
        forge.statements["circuit"]["predicate"]["fidelity"]["worst_sample"] += 1

    def future(forge: Forge) -> None:
        forge.statements["proof"]["predicate"]["created"] = forge.created = "2036-01-01T00:00:00Z"

    def model(forge: Forge) -> None:
        forge.payload["model.onnx"] += b"\0"

    def extra(forge: Forge) -> None:
        forge.payload["more.bin"] = b"more"

    def spaced(forge: Forge) -> None:
        forge.raw = {"proof": canonical.encode(forge.statements["proof"]).replace(b'":', b'": ', 1)}

    def twice(forge: Forge) -> None:
        forge.raw = {"proof": b'{"_type":"x",' + canonical.encode(forge.statements["proof"])[1:]}

    for change in (statement, fidelity, future, model, extra, spaced, twice):
        forged(change.__name__, change)

    envelope = Envelope(base64.b64decode(json.loads(good[MANIFEST_NAME])["payload"]))
    files["one key"] = archive_of({**good, MANIFEST_NAME: canonical.encode(sign(envelope, (RELEASE,)).to_json())})
    files["stranger"] = archive_of({**good, MANIFEST_NAME: canonical.encode(sign(envelope, (STRANGER, SECOND)).to_json())})
    signed = sign(envelope, (RELEASE, SECOND)).to_json()
    one, other = signed["signatures"]
    one["sig"], other["sig"] = other["sig"], one["sig"]
    files["signatures swapped"] = archive_of({**good, MANIFEST_NAME: canonical.encode(signed)})
    files["unlisted"] = archive_of({**good, "payload/zzz": b"x"})
    files["changed"] = archive_of({**good, "payload/sbom.cdx.json": good["payload/sbom.cdx.json"][:-1] + b"X"})
    flipped = bytearray(archive_of(good))
    flipped[14] ^= 1  # the checksum in the first local header, and in the directory
    at = flipped.index(b"PK\x01\x02")
    flipped[at + 16] ^= 1
    files["checksum"] = bytes(flipped)

    ids = sorted(path[13:77] for path in good if path.startswith("attestations/"))
    rest = {path: data for path, data in good.items() if path != MANIFEST_NAME and not path.startswith("log/")}
    logs = log_files(ids)
    first, last = (f"log/{one}.tlog-proof" for one in ids)
    files["proofs swapped"] = archive_of(Forge.of(good).with_manifest({**rest, **logs, first: logs[last], last: logs[first]}))
    checkpoint = parse_checkpoint(logs["log/checkpoint"], "")
    bare = Checkpoint(checkpoint.origin, checkpoint.size, checkpoint.root, checkpoint.signatures[:1])
    proof = parse_log_proof(logs[first], "")
    uncosigned = {**logs, first: LogProof(proof.index, proof.hashes, bare).to_bytes()}
    files["another checkpoint"] = archive_of(Forge.of(good).with_manifest({**rest, **uncosigned}))
    without = {path: data.replace(logs["log/checkpoint"], bare.to_bytes()) for path, data in logs.items()}
    files["no witness"] = archive_of(Forge.of(good).with_manifest({**rest, **without, "log/checkpoint": bare.to_bytes()}))
    assert (checkpoint.origin, WITNESS.public_key == STRANGER.public_key) == (ORIGIN, False)

    found = []
    lock = OURS / "public.lock"
    for name, data in files.items():
        (folder / name.replace(" ", "-")).write_bytes(data)
        found.append(Case(folder / name.replace(" ", "-"), lock))
    good_path = folder / "good.vbundle"
    good_path.write_bytes(files["good"])
    other_lock = folder / "other.lock"
    other_lock.write_text(lock.read_text().replace("activation_bits = 10", "activation_bits = 9"))
    assert other_lock.read_text() != lock.read_text()
    return [
        *found,
        Case(good_path, other_lock),
        Case(good_path, lock, context="another"),
        Case(good_path, lock, now="2028-01-01T00:00:00Z"),
    ]


def _first(one: Case) -> Answer:
    return first_verifier(one.bundle, one.lock, _trust_of(one), one.context, one.now)


def _second(verifier: SecondVerifier, one: Case) -> Answer:
    return verifier.ask(one.bundle, one.lock, _trust_of(one), one.context, one.now)


def _unlike(mine: Answer, other: Answer) -> bool:
    return (mine.status, mine.failed) != (other.status, other.failed)


@pytest.fixture(scope="module")
def firsts(cases: list[Case]) -> list[Answer]:
    """The first verifier's answers, as it is."""
    return [_first(one) for one in cases]


@pytest.fixture(scope="module")
def seconds(cases: list[Case]) -> list[Answer]:
    """The second verifier's, as it is."""
    with closing(SecondVerifier()) as verifier:
        return [_second(verifier, one) for one in cases]


def _trust_of(one: Case) -> Path | None:
    return TRUST if one.lock.parent == OURS else None  # the trust file pins the lock by its digest


def test_without_a_fault_there_is_no_difference(cases: list[Case], firsts: list[Answer], seconds: list[Answer]) -> None:
    answers = zip(cases, firsts, seconds, strict=True)
    assert [one.bundle.name for one, mine, other in answers if _unlike(mine, other)] == []


SECOND_FAULTS = {
    "canonical form": ("expected === null || !sameBytes(data, expected)", "false"),
    "signatures": ('return crypto.subtle.verify("Ed25519", imported, signature, message)', "return true"),
    "threshold": ("check.signers.size < rule.threshold", "false"),
    "unlisted files": ("!listed.has(name) && name !== MANIFEST_NAME", "false"),
    "digests of files": ("digest !== one.sha256", "false"),
    "checksums": ("crc32(data) !== one.crc32", "false"),
    "the section's digest": ("circuit.sectionSha256 !== digest", "false"),
    "fidelity": ("!sameFidelity(circuit.fidelity, section)", "false"),
    "the attested statement": ("ours === null || theirs === null || decodeUtf8(ours) !== decodeUtf8(theirs)", "false"),
    "roots of the log": ("!sameBytes(current, root)", "false"),
    "one checkpoint": ("!sameBytes(proof.checkpoint.bytes, checkpoint.bytes)", "false"),
    "witnesses": ("cosigned < log.witnessThreshold", "false"),
    "contexts": ("statement.context !== expect.context", "false"),
    "keys twice": ("found.has(key)", "false"),
    "subjects": ("listed !== actual", "false"),
    "the model": ("digest !== lock.modelSha256", "false"),
    "the future": ("claimed > now + SKEW", "false"),
    "age": ("days > limit", "false"),
}


@pytest.mark.parametrize("fault", list(SECOND_FAULTS))
def test_a_fault_in_the_second_verifier_is_noticed(tmp_path: Path, cases: list[Case], firsts: list[Answer], fault: str) -> None:
    before, after = SECOND_FAULTS[fault]
    program = (DIST / "cases.mjs").read_text()
    # The builder numbers names that several modules use.
    pattern = re.sub(r"\\?\b([a-z][A-Za-z]*)\b(?![\"'])", r"\1[0-9]*", re.escape(before))
    assert len(re.findall(pattern, program)) == 1, f"{before!r} stands there {len(re.findall(pattern, program))} times"
    (tmp_path / "cases.mjs").write_text(re.sub(pattern, after.replace("\\", r"\\"), program))
    with closing(SecondVerifier(tmp_path / "cases.mjs")) as faulty:
        assert any(_unlike(mine, _second(faulty, one)) for one, mine in zip(cases, firsts, strict=True))


@pytest.mark.parametrize(
    "fault", ["canonical form", "signatures", "listing", "chain", "root", "lock", "statement", "context", "age", "checkpoint"]
)
def test_a_fault_in_the_first_verifier_is_noticed(
    cases: list[Case], seconds: list[Answer], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {
        "canonical form": (canonical, "require", lambda *_: None),
        "signatures": (dsse, "verifies", lambda *_: True),
        "listing": (reader, "_compare_listing", lambda *_: None),
        "chain": (reader, "_check_digest", lambda *_: None),
        "root": (log_check, "check_inclusion", lambda *_, **__: None),
        "lock": (stage, "check_against_lock", lambda *_: []),
        "statement": (stage, "check_attested", lambda *_: stage.holds("statement-matches", "", "V6")),
        "context": (stage, "check_context", lambda *_: stage.holds("context-matches", "", "V7")),
        "age": (trust_check, "_check_age", lambda *_: stage.holds("fresh", "", "T4")),
        "checkpoint": (log_check, "check_checkpoint", lambda *_: 1),
    }
    module, name, replacement = faults[fault]
    assert hasattr(module, name) and merkle.leaf_hash
    monkeypatch.setattr(module, name, replacement)
    assert any(_unlike(_first(one), other) for one, other in zip(cases, seconds, strict=True))
