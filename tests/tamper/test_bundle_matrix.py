"""The tamper matrix over a whole, real bundle: every file and every JSON field, changed, deleted, doubled, reordered, swapped.

Each case runs twice: *as is*, where a digest or a canonical form refuses, and *resealed*: re-digested, re-logged and re-signed
with every trusted key, so that the check behind the signature has to refuse. Only what a signer may freely say about himself
is exempt, by name, in ``CLAIMS``.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle_forge import RELEASE, SECOND, Forge, archive_of, envelope_document, read_folder, write_files
from tests.support.paths import ROOT
from verifai.bundle import canonical
from verifai.bundle.archive import unpack
from verifai.bundle.dsse import sign
from verifai.domain.attestation.envelope import Envelope
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.findings import Outcome
from verifai.engines.ezkl import verifying
from verifai.errors import VerifaiError
from verifai.onnx_graph import fenced
from verifai.stages.audit import reference, steps
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.stages.verify import Expectations
from verifai.trust_file import read_trust

V1 = ROOT / "fixtures" / "bundles" / "v1"
GOOD = read_folder(V1 / "accept" / "folder")
TRUST = read_trust(V1 / "trust.toml")
OPTIONS = AuditOptions(expect=Expectations(context="frozen"), rederive=False, now="2026-12-01T00:00:00Z")
LONG = 6
"""Of longer lists only the first and the last elements are taken: all elements of such a list are read by one loop."""

Path_ = tuple[str | int, ...]
CLAIMS = {
    # What was installed where the proof was made: nobody else can know. Shown in reports as a claim.
    "sbom.cdx.json: package version": lambda path: path[:1] == ("components",) and path[-1] in ("version", "purl"),
}


class Remembered:
    """A call whose answer or error is a function of its key: asked once per key."""

    def __init__(self, asked: Callable[..., Any], key: Callable[..., Any]) -> None:
        self._asked, self._key = asked, key
        self.answers: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        key = self._key(*arguments)
        if key not in self.answers:
            try:
                self.answers[key] = self._asked(*arguments)
            except VerifaiError as problem:
                self.answers[key] = problem
        answer = self.answers[key]
        if isinstance(answer, VerifaiError):
            raise answer
        return answer


def _proof_key(section: Any, files: Any, parsed: Any, fence: Any) -> Any:
    return repr(section), tuple(sorted((name, bytes(data)) for name, data in files.items())), repr(parsed)


def _input_key(model: Any, samples: Any, *rest: Any) -> Any:
    (inputs,) = samples
    return model, tuple(sorted((name, value.dtype.name, value.shape, value.tobytes()) for name, value in inputs.items()))


@pytest.fixture(scope="module", autouse=True)
def remember_children() -> Iterator[None]:
    """What the fenced children answer is a function of the files' bytes, and most cases leave these as they are."""
    proofs = Remembered(verifying.check_proof, _proof_key)
    models = Remembered(fenced.load_path_fenced, lambda path, *rest: path.read_bytes())
    values = Remembered(fenced.run_references_fenced, _input_key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verifying, "check_proof", proofs)
        patch.setattr(steps, "load_path_fenced", models)
        patch.setattr(reference, "run_references_fenced", values)
        yield
    assert None in proofs.answers.values(), "the untouched proof was never accepted"
    assert models.answers, "no model was ever read"
    assert values.answers, "no model was ever run"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("other") / "bundle"
    unpack(V1 / "accept" / "other-digit.vbundle", folder)
    return read_folder(folder)


def judge(tmp_path: Path, files: dict[str, bytes], *, archive: bool = False) -> tuple[int, set[str]]:
    """Status and codes of the audit; an exception of any kind fails the test."""
    target = tmp_path / "case"
    if archive:
        target.write_bytes(archive_of(files))
    else:
        write_files(target, files)
    report = audit_bundle(target, TRUST, OPTIONS)
    bad = {one.code for one in report.findings if one.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)}
    return report.status, bad


def refused(result: tuple[int, set[str]], why: str) -> None:
    status, codes = result
    assert status in (1, 3), f"{why}: status {status}, {codes}"
    assert codes, why


# --- JSON edits ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """One change of a parsed document; ``raw`` takes its bytes instead, for what a dict cannot hold."""

    name: str
    path: Path_
    change: Callable[[Any], None] | None = None
    raw: Callable[[bytes], bytes] | None = None

    def apply(self, document: Any) -> tuple[Any, bytes | None]:
        """The changed document, or bytes when it has no canonical form."""
        changed = copy.deepcopy(document)
        if self.change is not None:
            self.change(changed)
            return changed, None
        assert self.raw is not None
        return changed, self.raw(canonical.encode(document))


def at(document: Any, path: Path_) -> Any:
    for step in path:
        document = document[step]
    return document


def other_value(value: Any) -> Any:
    """A value of the same kind that means something else."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        if len(value) == 64 and all(char in "0123456789abcdef" for char in value):
            return ("0" if value[0] != "0" else "1") + value[1:]
        if value.lstrip("-").isdigit():
            return str(int(value) + 1)
        if value.endswith("Z") and value[4:5] == "-":
            return "2036" + value[4:]
        return value + "x" if value else "x"
    return "x"


def setter(path: Path_, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        at(document, path[:-1])[path[-1]] = value

    return change


def deleter(path: Path_) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        del at(document, path[:-1])[path[-1]]

    return change


def inserter(path: Path_, key: str | int, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        container = at(document, path)
        if isinstance(container, list):
            container.insert(int(key), value)
        else:
            container[key] = value

    return change


def reverser(path: Path_) -> Callable[[Any], None]:
    return lambda document: at(document, path).reverse()


def edits_of(document: Any, path: Path_ = ()) -> Iterator[Edit]:
    """Every edit of one document."""
    value = at(document, path)
    place = "/".join(str(step) for step in path) or "(root)"
    if path:
        yield Edit(f"delete {place}", path, deleter(path))
        yield Edit(f"retype {place}", path, setter(path, [] if not isinstance(value, list) else {}))
        yield Edit(f"null {place}", path, setter(path, None))
    if isinstance(value, dict):
        yield Edit(f"add to {place}", (*path, "unknown"), inserter(path, "unknown", "x"))
        for key in value:
            yield from edits_of(document, (*path, key))
    elif isinstance(value, list):
        if value:
            yield Edit(f"double first of {place}", path, inserter(path, 0, copy.deepcopy(value[0])))
        if len(value) > 1 and value != value[::-1]:
            yield Edit(f"reorder {place}", path, reverser(path))
        picked = range(len(value)) if len(value) <= LONG else (0, len(value) - 1)
        for index in picked:
            yield from edits_of(document, (*path, index))
    elif path:
        yield Edit(f"change {place}", path, setter(path, other_value(value)))


def raw_edits(data: bytes) -> Iterator[Edit]:
    """Edits of the bytes: keys twice, another order, white space, trailing bytes, NaN."""
    text = data.decode()
    first = next(iter(json.loads(data)))
    value = json.dumps(json.loads(data)[first])
    yield Edit("key twice", (), raw=lambda _: ("{" + json.dumps(first) + ":" + value + "," + text[1:]).encode())
    yield Edit("white space", (), raw=lambda _: text.replace(":", ": ", 1).encode())
    yield Edit("trailing newline", (), raw=lambda _: data + b"\n")
    yield Edit("trailing value", (), raw=lambda _: data + b"{}")
    yield Edit("byte order mark", (), raw=lambda _: b"\xef\xbb\xbf" + data)
    yield Edit("reordered keys", (), raw=lambda _: json.dumps(_reversed(json.loads(data)), separators=(",", ":")).encode())
    yield Edit("NaN", (), raw=lambda _: b'{"a":NaN,' + data[1:])
    yield Edit("deep", (), raw=lambda _: b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"," + data[1:])
    yield Edit("UTF-16", (), raw=lambda _: text.encode("utf-16"))
    yield Edit("empty", (), raw=lambda _: b"{}")


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return value


# --- which documents ----------------------------------------------------------------------------------------------------------

STATEMENTS = Forge.of(GOOD).statements
MANIFEST = json.loads(base64.b64decode(json.loads(GOOD[MANIFEST_NAME])["payload"]))
JSON_PAYLOADS = [path for path in GOOD if path.startswith("payload/") and path.endswith(".json")]


def _cases(document: Any) -> list[Edit]:
    return [*edits_of(document), *raw_edits(json.dumps(document, separators=(",", ":"), sort_keys=True).encode())]


STATEMENT_CASES = [(kind, edit) for kind, document in STATEMENTS.items() for edit in _cases(document)]
PAYLOAD_CASES = [(path, edit) for path in JSON_PAYLOADS for edit in _cases(json.loads(GOOD[path]))]
ENVELOPES = [path for path in GOOD if path.endswith(".dsse.json")]
ENVELOPE_CASES = [(path, edit) for path in ENVELOPES for edit in _cases(json.loads(GOOD[path]))]
MANIFEST_CASES = _cases(MANIFEST)
COUNT = 2 * len(STATEMENT_CASES) + 2 * len(PAYLOAD_CASES) + 2 * len(ENVELOPE_CASES) + 2 * len(MANIFEST_CASES)


def _encoded(changed: Any, raw: bytes | None) -> bytes:
    return raw if raw is not None else canonical.encode(changed) if isinstance(changed, dict) else json.dumps(changed).encode()


def test_the_matrix_is_as_large_as_it_says() -> None:
    print(f"tamper matrix: {COUNT} field cases")
    assert COUNT > 1500


def test_the_untouched_bundle_is_accepted(tmp_path: Path) -> None:
    assert judge(tmp_path, GOOD) == (0, set())


def test_putting_it_together_again_unchanged_is_accepted(tmp_path: Path) -> None:
    """Otherwise every resealed case below would prove nothing."""
    assert judge(tmp_path, Forge.of(GOOD).sealed()) == (0, set())
    assert judge(tmp_path.joinpath("2"), Forge.of(GOOD).sealed()) == (0, set())


def _chunks(cases: list[Any], size: int = 40) -> list[Any]:
    return [pytest.param(cases[start : start + size], id=f"{start}-{start + size}") for start in range(0, len(cases), size)]


@pytest.mark.parametrize("cases", _chunks(STATEMENT_CASES))
def test_every_field_of_an_attestation(tmp_path: Path, cases: list[tuple[str, Edit]]) -> None:
    for number, (kind, edit) in enumerate(cases):
        changed, raw = edit.apply(STATEMENTS[kind])
        data = _encoded(changed, raw)
        path = next(one for one in ENVELOPES if _is(GOOD[one], kind))
        signatures = json.loads(GOOD[path])["signatures"]
        as_is = {**GOOD, path: canonical.encode(envelope_document(data, signatures))}
        refused(judge(tmp_path / f"{number}a", as_is), f"as is, {kind}: {edit.name}")
        forge = Forge.of(GOOD)
        if raw is None and isinstance(changed, dict):
            forge.statements[kind] = changed
        forge.raw = {kind: raw} if raw is not None else {}
        relink = not (edit.path[:1] == ("subject",) or edit.path == ("predicate", "circuit"))
        refused(judge(tmp_path / f"{number}b", forge.sealed(relink=relink)), f"resealed, {kind}: {edit.name}")


def _is(envelope: bytes, kind: str) -> bool:
    return f"urn:verifai:{kind}:v1".encode() in base64.b64decode(json.loads(envelope)["payload"])


@pytest.mark.parametrize("cases", _chunks(PAYLOAD_CASES))
def test_every_field_of_a_payload_document(tmp_path: Path, cases: list[tuple[str, Edit]]) -> None:
    for number, (path, edit) in enumerate(cases):
        changed, raw = edit.apply(json.loads(GOOD[path]))
        data = _encoded(changed, raw)
        if data == GOOD[path]:
            continue  # engines end their documents with a newline, so that edit is none
        refused(judge(tmp_path / f"{number}a", {**GOOD, path: data}), f"as is, {path}: {edit.name}")
        forge = Forge.of(GOOD)
        name = path.removeprefix("payload/")
        forge.payload[name] = data
        if not _is_claim(name, edit):
            refused(judge(tmp_path / f"{number}b", forge.sealed()), f"resealed, {path}: {edit.name}")


def _is_claim(name: str, edit: Edit) -> bool:
    return any(key.startswith(f"{name}:") and rule(edit.path) for key, rule in CLAIMS.items())


@pytest.mark.parametrize("cases", _chunks(ENVELOPE_CASES))
def test_every_field_of_an_envelope(tmp_path: Path, cases: list[tuple[str, Edit]]) -> None:
    for number, (path, edit) in enumerate(cases):
        changed, raw = edit.apply(json.loads(GOOD[path]))
        data = _encoded(changed, raw)
        refused(judge(tmp_path / f"{number}a", {**GOOD, path: data}), f"as is, {path}: {edit.name}")
        if path != MANIFEST_NAME:  # the manifest's envelope is what sealing makes
            rest = {key: value for key, value in GOOD.items() if key != MANIFEST_NAME}
            sealed = Forge.of(GOOD).with_manifest({**rest, path: data})
            refused(judge(tmp_path / f"{number}b", sealed), f"resealed, {path}: {edit.name}")


@pytest.mark.parametrize("cases", _chunks(MANIFEST_CASES))
def test_every_field_of_the_manifest(tmp_path: Path, cases: list[Edit]) -> None:
    signatures = json.loads(GOOD[MANIFEST_NAME])["signatures"]
    for number, edit in enumerate(cases):
        changed, raw = edit.apply(MANIFEST)
        data = _encoded(changed, raw)
        as_is = {**GOOD, MANIFEST_NAME: canonical.encode(envelope_document(data, signatures))}
        refused(judge(tmp_path / f"{number}a", as_is), f"as is, manifest: {edit.name}")
        resealed = canonical.encode(sign(Envelope(data), (RELEASE, SECOND)).to_json())
        refused(judge(tmp_path / f"{number}b", {**GOOD, MANIFEST_NAME: resealed}), f"resealed, manifest: {edit.name}")


# --- whole files --------------------------------------------------------------------------------------------------------------

BYTES: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "middle byte": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "last byte": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "doubled": lambda data: data * 2,
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("path", sorted(GOOD))
@pytest.mark.parametrize("change", list(BYTES))
def test_the_bytes_of_every_file(tmp_path: Path, path: str, change: str) -> None:
    data = BYTES[change](GOOD[path])
    refused(judge(tmp_path / "a", {**GOOD, path: data}), f"as is, {path}: {change}")
    if path == MANIFEST_NAME:
        return
    if path.startswith("payload/"):
        forge = Forge.of(GOOD)
        forge.payload[path.removeprefix("payload/")] = data
        sealed = forge.sealed()
    else:
        sealed = Forge.of(GOOD).with_manifest({**{k: v for k, v in GOOD.items() if k != MANIFEST_NAME}, path: data})
    refused(judge(tmp_path / "b", sealed), f"resealed, {path}: {change}")


@pytest.mark.parametrize("path", sorted(set(GOOD) - {MANIFEST_NAME}))
def test_every_file_removed_doubled_or_taken_from_another_bundle(tmp_path: Path, path: str, other: dict[str, bytes]) -> None:
    rest = {key: value for key, value in GOOD.items() if key not in (path, MANIFEST_NAME)}
    whole = {key: value for key, value in GOOD.items() if key != MANIFEST_NAME}
    folder, name = path.split("/")
    double = f"{folder}/{'0' * 64}.dsse.json" if folder == "attestations" else f"{folder}/copy-{name}"
    cases = {"removed": rest, "doubled": {**whole, double: GOOD[path]}}
    twin = other.get(path) or other[_twin(path, other)]
    if twin != GOOD[path]:
        cases["swapped"] = {**whole, path: twin}
        cases["renamed swap"] = {**rest, _twin(path, other): twin}
    for case, files in cases.items():
        refused(judge(tmp_path / f"{case} a", {**files, MANIFEST_NAME: GOOD[MANIFEST_NAME]}), f"as is, {path}: {case}")
        if (path, case) in {("payload/sbom.cdx.json", "removed")}:
            continue  # a bundle without a bill of materials is allowed; the report says so
        sealed = Forge.of(GOOD).with_manifest(files)
        refused(judge(tmp_path / f"{case} b", sealed), f"resealed, {path}: {case}")


def _twin(path: str, other: dict[str, bytes]) -> str:
    """The file of the other bundle that plays the same part."""
    if path.startswith("attestations/"):
        kind = next(kind for kind in STATEMENTS if _is(GOOD[path], kind))
        return next(one for one in other if one.startswith("attestations/") and _is(other[one], kind))
    if path.endswith(".tlog-proof"):
        attestation = path.replace("log/", "attestations/").replace(".tlog-proof", ".dsse.json")
        return _twin(attestation, other).replace("attestations/", "log/").replace(".dsse.json", ".tlog-proof")
    return path


def test_a_bundle_shown_again_for_another_request_is_refused(tmp_path: Path) -> None:
    report = audit_bundle(
        V1 / "accept" / "folder", TRUST, AuditOptions(Expectations(context="nonce-2"), rederive=False, now=OPTIONS.now)
    )
    assert report.status == 1
    assert "context-mismatch" in {one.code for one in report.findings}


def test_a_bundle_shown_again_after_its_time_is_refused() -> None:
    report = audit_bundle(
        V1 / "accept" / "folder", TRUST, AuditOptions(OPTIONS.expect, rederive=False, now="2028-01-01T00:00:00Z")
    )
    assert report.status == 3
    assert "stale" in {one.code for one in report.findings}


def test_random_bytes_of_the_single_file_form(tmp_path: Path) -> None:
    """400 single-byte changes all over the archive, headers and contents."""
    good = (V1 / "accept" / "single-file.vbundle").read_bytes()
    generator = random.Random(7)
    places = [*range(64), *range(len(good) - 80, len(good)), *(generator.randrange(len(good)) for _ in range(256))]
    target = tmp_path / "case"
    for place in places:
        target.write_bytes(good[:place] + bytes([good[place] ^ (1 << generator.randrange(8))]) + good[place + 1 :])
        report = audit_bundle(target, TRUST, OPTIONS)
        assert report.status == 1, place
        assert report.bundle_id is None
