"""The second verifier (verifier-js/) beside the first one: the same verdicts, the same codes, on bundles of every kind.

Each case goes through both, in one Node process for all. What one of them cannot do it says (``not-checked-here``), and then it
does not accept.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.batch_circuits import small_circuit, write_rows
from tests.support.bundle_forge import (
    LOG,
    PROVER,
    RELEASE,
    SECOND,
    STRANGER,
    Forge,
    archive_of,
    envelope_document,
    log_files,
    read_folder,
    write_files,
)
from tests.support.paths import ROOT
from tests.support.second_reader import DIST, Answer, SecondVerifier, first_verifier
from tests.tamper.test_bundle_archive import ARCHIVES, NAMES
from tests.tamper.test_bundle_matrix import BYTES, Edit, edits_of, raw_edits
from verifai.bundle import canonical
from verifai.bundle.archive import unpack
from verifai.bundle.dsse import sign
from verifai.domain.attestation.envelope import Envelope
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.attestation.predicate_types import CIRCUIT_TYPE, PROOF_TYPE
from verifai.domain.attestation.types import predicate_types
from verifai.domain.statement import Visibility
from verifai.errors import UsageError
from verifai.onnx_graph.inputs import read_samples
from verifai.reports.evidence_page import empty_page
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.run import prove_batch
from verifai.trust_file import read_trust

pytestmark = pytest.mark.js
FROZEN = ROOT / "fixtures" / "bundles"
OURS = FROZEN / "sumcheck-2"
TRUST = OURS / "trust.toml"
KINDS = ("public", "hashed", "private")
# Codes of what one of the two only says: the command `audit` has words for what this test asks `verify` and the trust check.
SAID = {"signatures-not-judged", "provenance-missing", "provenance-not-judged"}


@pytest.fixture(scope="module")
def second() -> Iterator[SecondVerifier]:
    verifier = SecondVerifier()
    yield verifier
    verifier.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good") / "bundle"
    unpack(OURS / "public.vbundle", folder)
    return read_folder(folder)


def said(answer: Answer) -> list[tuple[str, str]]:
    return [one for one in answer.codes if one[0] not in SAID]


def agree(second: SecondVerifier, bundle: Path, kind: str = "public", context: str | None = "frozen", why: str = "") -> Answer:
    first = first_verifier(bundle, OURS / f"{kind}.lock", TRUST, context)
    other = second.ask(bundle, OURS / f"{kind}.lock", TRUST, context)
    assert (other.status, other.failed) == (first.status, first.failed), why
    if first.status == 0:
        assert (sorted(said(other)), other.statement) == (sorted(said(first)), first.statement), why
    return first


# --- bundles as they are ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_bundle_is_accepted_by_both(second: SecondVerifier, tmp_path: Path, kind: str) -> None:
    assert agree(second, OURS / f"{kind}.vbundle", kind).status == 0
    unpack(OURS / f"{kind}.vbundle", tmp_path / "folder")
    assert agree(second, tmp_path / "folder", kind).status == 0


@pytest.mark.parametrize("kind", KINDS)
def test_another_lock_and_another_context_are_refused_by_both(second: SecondVerifier, kind: str) -> None:
    bundle = OURS / f"{kind}.vbundle"
    for other in KINDS:
        answer = agree(second, bundle, other)
        assert (answer.status == 0) == (other == kind)
    assert agree(second, bundle, kind, context="another").failed == {"context-mismatch"}
    assert agree(second, bundle, kind, context=None).status == 0


@pytest.mark.parametrize("case", sorted(FROZEN.glob("v1/*/*.expected.json")), ids=lambda case: case.name.split(".")[0])
def test_frozen_bundles_of_ezkl_are_read_alike_and_never_accepted(second: SecondVerifier, case: Path) -> None:
    bundle = case.with_name(case.name.removesuffix(".expected.json"))
    expected = json.loads(case.read_text())
    lock, trust = FROZEN / "v1" / "circuit.lock", FROZEN / "v1" / "trust.toml"
    first = first_verifier(bundle, lock, trust, now=expected["now"], proofs=False)
    other = second.ask(bundle, lock, trust, now=expected["now"])
    assert other.status != 0
    mine = {"not-checked-here", "circuit-not-pinned", "subject-mismatch", "model-mismatch", "broken-chain", "model-not-pinned"}
    assert other.failed - mine == first.failed - mine
    assert "not-checked-here" in other.failed or other.status == 1


# --- containers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", list(ARCHIVES))
def test_attacks_on_the_archive(second: SecondVerifier, tmp_path: Path, case: str) -> None:
    (tmp_path / "b").write_bytes(ARCHIVES[case])
    assert agree(second, tmp_path / "b").status == 1


@pytest.mark.parametrize("name", list(NAMES))
def test_names_that_do_not_belong_there(second: SecondVerifier, tmp_path: Path, good: dict[str, bytes], name: str) -> None:
    (tmp_path / "b").write_bytes(archive_of({**good, name: b"x"}))
    assert agree(second, tmp_path / "b").status == 1


def test_flips_of_the_archive_s_own_bytes(second: SecondVerifier, tmp_path: Path) -> None:
    packed = (OURS / "public.vbundle").read_bytes()
    places = [*range(60), *range(len(packed) - 400, len(packed)), *range(60, len(packed), 1499)]
    for at in places:
        (tmp_path / "b").write_bytes(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :])
        assert agree(second, tmp_path / "b", why=f"byte {at}").status == 1
    for length in (*range(64), len(packed) // 2, len(packed) - 1):
        (tmp_path / "b").write_bytes(packed[:length])
        assert agree(second, tmp_path / "b", why=f"cut to {length}").status == 1


def test_attacks_on_the_folder(second: SecondVerifier, tmp_path: Path, good: dict[str, bytes]) -> None:
    def folder(name: str) -> Path:
        return write_files(tmp_path / name, good)

    link = folder("link")
    (link / "payload" / "model.onnx").unlink()
    (link / "payload" / "model.onnx").symlink_to("/etc/passwd")
    pipe = folder("pipe")
    os.mkfifo(pipe / "payload" / "pipe")
    inner = folder("inner")
    (inner / "payload" / "sub").mkdir()
    empty = folder("empty")
    (empty / "empty").mkdir()
    extra = folder("extra")
    (extra / "README").write_text("hello")
    place = folder("place")
    (place / "payload" / "proof.bin").unlink()
    (place / "payload" / "proof.bin").mkdir()
    manifest = folder("manifest")
    (manifest / MANIFEST_NAME).unlink()
    (manifest / MANIFEST_NAME).mkdir()
    large = folder("large")
    os.truncate(large / "payload" / "model.onnx", 2**41)
    missing = folder("missing")
    (missing / MANIFEST_NAME).unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "name").symlink_to(link)
    cases = [link, pipe, inner, empty, extra, place, manifest, large, missing]
    for path in (*cases, tmp_path / "other", tmp_path / "name", tmp_path / "absent", Path("/dev/null")):
        assert agree(second, path, why=path.name).status != 0


# --- documents --------------------------------------------------------------------------------------------------------------


def _edits(document: Any) -> list[Edit]:
    return [*edits_of(document), *raw_edits(json.dumps(document, separators=(",", ":"), sort_keys=True).encode())]


def _bytes_of(edit: Edit, document: Any) -> bytes:
    changed, raw = edit.apply(document)
    if raw is not None:
        return raw
    return canonical.encode(changed) if isinstance(changed, dict) else json.dumps(changed).encode()


def _path_of(files: dict[str, bytes], kind: str) -> str:
    paths = [path for path in files if path.startswith("attestations/")]
    return next(
        one for one in paths if f"urn:verifai:{kind}:v1".encode() in base64.b64decode(json.loads(files[one])["payload"])
    )


@pytest.mark.parametrize("kind", ["circuit", "proof"])
@pytest.mark.parametrize("sealed", [False, True], ids=["as-is", "resealed"])
def test_every_field_of_an_attestation(
    second: SecondVerifier, tmp_path: Path, good: dict[str, bytes], kind: str, sealed: bool
) -> None:
    document = Forge.of(good).statements[kind]
    path = _path_of(good, kind)
    for number, edit in enumerate(_edits(document)):
        data = _bytes_of(edit, document)
        if sealed:
            forge = Forge.of(good)
            forge.raw = {kind: data}
            if kind == "circuit":
                forge.statements["circuit"] = json.loads(data) if data.startswith(b"{") and edit.raw is None else document
            elif edit.raw is None and data.startswith(b"{"):
                forge.statements["proof"], forge.raw = json.loads(data), {}
            files = forge.sealed(relink=not (edit.path[:1] == ("subject",) or edit.path == ("predicate", "circuit")))
        else:
            files = {**good, path: canonical.encode(envelope_document(data, json.loads(good[path])["signatures"]))}
        (tmp_path / f"{number}").write_bytes(archive_of(files))
        answer = agree(second, tmp_path / f"{number}", why=f"{kind}: {edit.name}")
        assert answer.status in (0, 1, 3) and (sealed or answer.status == 1), edit.name


@pytest.mark.parametrize("sealed", [False, True], ids=["as-is", "resealed"])
def test_every_field_of_the_manifest(second: SecondVerifier, tmp_path: Path, good: dict[str, bytes], sealed: bool) -> None:
    document = json.loads(base64.b64decode(json.loads(good[MANIFEST_NAME])["payload"]))
    signatures = json.loads(good[MANIFEST_NAME])["signatures"]
    for number, edit in enumerate(_edits(document)):
        data = _bytes_of(edit, document)
        envelope = sign(Envelope(data), (RELEASE, SECOND)).to_json() if sealed else envelope_document(data, signatures)
        (tmp_path / f"{number}").write_bytes(archive_of({**good, MANIFEST_NAME: canonical.encode(envelope)}))
        answer = agree(second, tmp_path / f"{number}", why=f"manifest: {edit.name}")
        assert answer.status in (0, 1, 3) and (sealed or answer.status == 1), edit.name


def test_every_field_of_an_envelope(second: SecondVerifier, tmp_path: Path, good: dict[str, bytes]) -> None:
    paths = [path for path in good if path.endswith(".dsse.json")]
    rest = {path: data for path, data in good.items() if path != MANIFEST_NAME}
    for path in paths:
        document = json.loads(good[path])
        for number, edit in enumerate(_edits(document)):
            data = _bytes_of(edit, document)
            cases = [{**good, path: data}]
            if path != MANIFEST_NAME:
                cases.append(Forge.of(good).with_manifest({**rest, path: data}))
            for which, files in enumerate(cases):
                target = tmp_path / f"{path.replace('/', '-')[:20]}-{number}-{which}"
                target.write_bytes(archive_of(files))
                assert agree(second, target, why=f"{path}: {edit.name}").status in (0, 1, 3)


@pytest.mark.parametrize("change", list(BYTES))
def test_the_bytes_of_every_file(second: SecondVerifier, tmp_path: Path, good: dict[str, bytes], change: str) -> None:
    rest = {path: data for path, data in good.items() if path != MANIFEST_NAME}
    for path in sorted(good):
        data = BYTES[change](good[path])
        cases = [{**good, path: data}]
        if path.startswith("payload/"):
            forge = Forge.of(good)
            forge.payload[path.removeprefix("payload/")] = data
            cases.append(forge.sealed())
        elif path != MANIFEST_NAME:
            cases.append(Forge.of(good).with_manifest({**rest, path: data}))
        for which, files in enumerate(cases):
            target = tmp_path / f"{path.replace('/', '-')[:30]}-{which}"
            target.write_bytes(archive_of(files))
            agree(second, target, why=f"{path}: {change}")


@pytest.mark.parametrize(
    "kind", sorted(one.split(":")[2] for one in predicate_types() if one not in (CIRCUIT_TYPE, PROOF_TYPE))
)
def test_of_what_it_cannot_read_it_checks_bytes_and_signatures_and_gives_no_verdict(
    second: SecondVerifier, tmp_path: Path, good: dict[str, bytes], kind: str
) -> None:
    """A proof that holds is no acceptance of what else the bundle claims; a forged signature is still false evidence."""
    forge = Forge.of(good)
    digest = hashlib.sha256(forge.payload["proof.bin"]).hexdigest()
    forge.statements[kind] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "payload/proof.bin", "digest": {"sha256": digest}}],
        "predicateType": f"urn:verifai:{kind}:v1",
        "predicate": {"accuracy": ["1", "1"], "nested": [{"anything": "\u202e"}]},
    }
    files = forge.sealed()
    (extra,) = {path for path in files if path.startswith("attestations/")} - set(good)
    cases = {"whole": files}
    envelope = json.loads(files[extra])
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    rest = {path: data for path, data in files.items() if path != MANIFEST_NAME}
    cases["forged"] = forge.with_manifest({**rest, extra: canonical.encode(envelope)})
    cases["changed"] = {**files, "payload/weights.bin": files["payload/weights.bin"][:-1] + b"X"}
    document = forge.statements[kind]
    document["subject"][0]["digest"]["sha256"] = "0" * 64
    cases["about another"] = forge.sealed()
    answers = {}
    for name, held in cases.items():
        (tmp_path / name).write_bytes(archive_of(held))
        answers[name] = second.ask(tmp_path / name, OURS / "public.lock", TRUST, "frozen")
    whole = answers["whole"]
    assert (whole.status, whole.failed, whole.statement) == (4, {"not-checked-here"}, None)
    assert {("bundle-intact", "holds"), ("not-checked-here", "undecided"), ("logged", "holds")} <= set(whole.codes)
    assert sum(code == "signed" for code, _ in whole.codes) == (4 if kind == "evaluation" else 3)
    assert (answers["forged"].status, answers["forged"].failed) == (1, {"signature-invalid", "not-checked-here"})
    assert (answers["changed"].status, answers["changed"].failed) == (1, {"digest-mismatch"})
    assert (answers["about another"].status, answers["about another"].failed) == (1, {"digest-mismatch"})


def test_who_signed_and_what_the_log_says(second: SecondVerifier, tmp_path: Path, good: dict[str, bytes]) -> None:
    payload = base64.b64decode(json.loads(good[MANIFEST_NAME])["payload"])
    signed = {"nobody": (), "one": (RELEASE,), "a stranger": (STRANGER,), "one and a stranger": (SECOND, STRANGER)}
    for name, signers in signed.items():
        files = {**good, MANIFEST_NAME: canonical.encode(sign(Envelope(payload), signers).to_json())}
        (tmp_path / name).write_bytes(archive_of(files))
        assert agree(second, tmp_path / name, why=name).status == 3
    envelope = sign(Envelope(payload), (RELEASE, SECOND)).to_json()
    swapped = copy.deepcopy(envelope)
    swapped["signatures"][0]["sig"], swapped["signatures"][1]["sig"] = (one["sig"] for one in reversed(envelope["signatures"]))
    (tmp_path / "swapped").write_bytes(archive_of({**good, MANIFEST_NAME: canonical.encode(swapped)}))
    assert agree(second, tmp_path / "swapped").failed == {"signature-invalid"}

    ids = sorted(path.removeprefix("attestations/")[:64] for path in good if path.startswith("attestations/"))
    rest = {path: data for path, data in good.items() if path != MANIFEST_NAME and not path.startswith("log/")}
    ours = log_files(ids)
    first, last = (f"log/{one}.tlog-proof" for one in ids)
    logs = {
        "no log": {},
        "no proof": {path: data for path, data in ours.items() if path != first},
        "another log": log_files(ids, PROVER),
        "proofs swapped": {**ours, first: ours[last], last: ours[first]},
        "empty": dict.fromkeys(ours, b""),
        "cosigned twice": {**ours, "log/checkpoint": ours["log/checkpoint"] + ours["log/checkpoint"].split(b"\n\n")[1]},
        "size 0": {path: data.replace(b"\n4\n", b"\n0\n") for path, data in ours.items()},
        "an extension": {path: data.replace(b"\n4\n", b"\n4\nmore\n") for path, data in ours.items()},
        "leading zero": {path: data.replace(b"index ", b"index 0") for path, data in ours.items()},
    }
    for name, files in logs.items():
        (tmp_path / name).write_bytes(archive_of(Forge.of(good).with_manifest({**rest, **files})))
        assert agree(second, tmp_path / name, why=name).status in (1, 3), name
    checkpoint = ours["log/checkpoint"]
    for at in range(len(checkpoint)):
        changed = {**ours, "log/checkpoint": checkpoint[:at] + bytes([checkpoint[at] ^ 1]) + checkpoint[at + 1 :]}
        (tmp_path / "flip").write_bytes(archive_of(Forge.of(good).with_manifest({**rest, **changed})))
        assert agree(second, tmp_path / "flip", why=f"checkpoint, byte {at}").status in (1, 3)
    assert LOG.public_key != PROVER.public_key


@pytest.mark.slow
@pytest.mark.skipif(not DIST.exists(), reason="verifier-js is not built here (make verifier-js)")
def test_random_changes_of_documents_and_archives(second: SecondVerifier, tmp_path: Path, good: dict[str, bytes]) -> None:
    """Bytes of a document replaced, doubled, dropped or moved, then sealed again so that the parsers are reached."""
    random = Random(20)
    rest = {path: data for path, data in good.items() if path != MANIFEST_NAME}
    paths = [path for path in good if not path.startswith("payload/")]
    told: dict[int, int] = {}
    for number in range(2000):
        path = random.choice(paths)
        data = bytearray(good[path])
        if path.endswith(".dsse.json") and random.random() < 0.7:
            document = json.loads(good[path])
            inner = bytearray(base64.b64decode(document["payload"]))
            _shake(random, inner)
            data = bytearray(canonical.encode(sign(Envelope(bytes(inner)), (RELEASE, SECOND, PROVER)).to_json()))
        else:
            _shake(random, data)
        files = {**good, path: bytes(data)}
        if path != MANIFEST_NAME and random.random() < 0.8:
            files = Forge.of(good).with_manifest({**rest, path: bytes(data)})
        (tmp_path / "b").write_bytes(archive_of(files))
        answer = agree(second, tmp_path / "b", why=f"case {number}: {path}")
        told[answer.status] = told.get(answer.status, 0) + 1
    assert told.get(1, 0) > 1000, told


def _shake(random: Random, data: bytearray) -> None:
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        at = random.randrange(len(data))
        choice = random.randrange(5)
        if choice == 0:
            data[at] = random.randrange(256)
        elif choice == 1:
            data[at:at] = data[at : at + random.randrange(1, 40)]
        elif choice == 2 and len(data) > 50:
            del data[at : at + random.randrange(1, 40)]
        elif choice == 3:
            data[at:at] = random.choice(
                (b",", b"0", b'"', b"{}", b"[]", b"\\u0000", b"1e9", b"-", b"null", b"\xff", b" ", b"\n")
            )
        else:
            data[at] ^= 1 << random.randrange(8)


# --- the reader's own files, and the command --------------------------------------------------------------------------------


def test_broken_locks_are_the_reader_s_own(second: SecondVerifier, tmp_path: Path) -> None:
    text = (OURS / "public.lock").read_text()
    changes = {
        "empty": "",
        "no toml": "x = = 1",
        "another schema": text.replace("circuit-lock/v1", "circuit-lock/v9"),
        "unknown field": text.replace("[circuit]", "[circuit]\nextra = 1"),
        "another engine": text.replace("[engine.sumcheck", "[engine.other"),
        "a suite of tomorrow": text.replace('"sumcheck/2"', '"sumcheck/9"'),
        "a float for an integer": text.replace("soundness_millibits = ", "soundness_millibits = 1.0 #"),
    }
    for name, changed in changes.items():
        (tmp_path / "lock").write_text(changed)
        one = first_verifier_lock(OURS / "public.vbundle", tmp_path / "lock")
        other = second.ask(OURS / "public.vbundle", tmp_path / "lock")
        assert (other.status, other.failed) == one, name


def first_verifier_lock(bundle: Path, lock: Path) -> tuple[int, set[str]]:
    answer = first_verifier(bundle, lock)
    return answer.status, answer.failed


@pytest.mark.parametrize("key", ["re-derive", "0" * 64])
def test_a_circuit_that_the_trust_file_does_not_pin_is_not_accepted(second: SecondVerifier, tmp_path: Path, key: str) -> None:
    text = TRUST.read_text()
    pinned = text.replace(tomllib.loads(text)["circuits"]["public"]["verification_key"], key)
    for name in ("trust.toml", *(f"{kind}.lock" for kind in KINDS)):
        (tmp_path / name).write_text(pinned if name == "trust.toml" else (OURS / name).read_text())
    bundle, lock, trust = OURS / "public.vbundle", OURS / "public.lock", tmp_path / "trust.toml"
    first, other = (ask(bundle, lock, trust, "frozen") for ask in (first_verifier, second.ask))
    code = "key-rederivation-missing" if key == "re-derive" else "key-not-trusted"
    assert (other.status, other.failed) == (first.status, first.failed) == (3 if key == "re-derive" else 1, {code})


def test_the_command_speaks_as_the_contract_says(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["node", str(DIST / "verifier.mjs"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    nothing = run()
    assert nothing.returncode == 2 and not nothing.stdout and nothing.stderr
    good = run(str(OURS / "public.vbundle"), "--lock", str(OURS / "public.lock"), "--json")
    document = json.loads(good.stdout)
    assert (good.returncode, document["schema"], document["verdict"]) == (0, "verifai/verify/v1", "accepted")
    absent = run(str(tmp_path / "absent"), "--lock", str(OURS / "public.lock"), "--json")
    assert (absent.returncode, json.loads(absent.stdout)["verdict"]) == (2, "not-checked")
    wrong = run(str(OURS / "public.vbundle"), "--lock", str(OURS / "hashed.lock"), "--json")
    assert (wrong.returncode, json.loads(wrong.stdout)["verdict"]) == (1, "rejected")
    no_lock = run(str(OURS / "public.vbundle"), "--lock", str(tmp_path / "absent"), "--json")
    assert (no_lock.returncode, json.loads(no_lock.stdout)["error"]["code"]) == (2, "file-missing")


def test_the_page_in_the_package_is_the_one_that_is_built() -> None:
    """Who makes a page needs no Node.js: the built page is part of the package, byte for byte."""
    assert (DIST / "page.html").read_bytes() == empty_page(), "run: make verifier-js"


OTHERS = (
    "gate", "calibration", "round", "vote-commitment", "vote", "vote-replay", "consensus", "tee", "evaluation", "release",
    "derivation", "beacon", "round-cut", "vote-opening",
)  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_what_the_second_verifier_cannot_judge_is_named_and_never_accepted(
    second: SecondVerifier, tmp_path: Path, good: dict[str, bytes], kind: str
) -> None:
    forge = Forge.of(good)
    other = copy.deepcopy(forge.statements["circuit"])
    forge.statements[kind] = {**other, "predicateType": f"urn:verifai:{kind}:v1", "predicate": {}}
    write_files(tmp_path / "b", forge.sealed())
    for trust in (TRUST, None):
        answer = second.ask(tmp_path / "b", OURS / "public.lock", trust, "frozen")
        assert (answer.status, answer.failed, answer.statement) == (4, {"not-checked-here"}, None)


def test_a_context_begins_no_line_of_its_own(tmp_path: Path) -> None:
    """Whoever proves chooses the context; a line of it could pass for the verdict about another bundle."""
    folder = small_circuit(tmp_path, "public", Visibility.PUBLIC)
    samples = list(read_samples(write_rows(tmp_path / "rows.npz", 1), folder.model))
    prove_batch(folder, samples, tmp_path / "out", BatchOptions(context="a\nACCEPTED another\r\u2028\u00ad"))
    bundle = str(tmp_path / "out" / "000000")
    command = ["node", str(DIST / "verifier.mjs"), bundle, "--lock", str(folder.folder / "circuit.lock")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0
    assert [line for line in ended.stdout.splitlines() if not line.startswith("   ")] == [f"ACCEPTED {bundle}"]
    assert r"a\x0aACCEPTED another\x0d\u2028\xad" in ended.stdout


def test_a_key_with_which_anybody_signs_is_no_key_of_a_trust_file(tmp_path: Path) -> None:
    """The point 1: signature (1, 0) verifies for every message."""
    weak = base64.b64encode((1).to_bytes(32, "little")).decode()
    trust = tmp_path / "trust.toml"
    trust.write_text(re.sub(r'"ed25519:[^"]*"', f'"ed25519:{weak}"', TRUST.read_text(), count=1))
    command = ["node", str(DIST / "verifier.mjs"), str(OURS / "public.vbundle"), "--lock", str(OURS / "public.lock")]
    ended = subprocess.run([*command, "--trust", str(trust)], capture_output=True, text=True, check=False, timeout=600)
    assert (ended.returncode, "[bad-trust]" in ended.stderr) == (2, True), ended
    with pytest.raises(UsageError) as problem:
        read_trust(trust)
    assert problem.value.code == "bad-trust"
