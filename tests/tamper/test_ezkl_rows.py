"""Every row of what ezkl itself lets through, in the engine: refused, with the expected status and code.

Rows come twice where it makes sense: as is, and with the lock's digests changed to those of the tampered file, so that no row
is caught by a digest alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.ezkl_batch import ACCEPTED, Case, judge, repinned
from tests.support.ezkl_small import SAMPLES, SmallCircuit, small_onnx, spec_of, starting_section
from verifai.domain.findings import Outcome
from verifai.domain.statement import Visibility
from verifai.engines.ezkl import field, proof, rederiving
from verifai.engines.ezkl.engine import EzklEngine
from verifai.engines.ezkl.srs.store import SrsStore
from verifai.engines.interface import CompileRequest, ProveRequest
from verifai.errors import VerifaiError
from verifai.onnx_graph.canonicalise import canonicalise

Document = dict[str, Any]


def verdict(circuit: SmallCircuit, folder: Path, files: Mapping[str, bytes], **changes: Any) -> tuple[int, str]:
    """What the engine itself says."""
    try:
        circuit.engine.verify(circuit.request(folder, files, **changes))
    except VerifaiError as problem:
        return (problem.status, problem.code)
    return ACCEPTED


def canonical(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _instances(change: Callable[[list[str]], list[str]]) -> Callable[[Document], bytes]:
    return lambda document: canonical({**document, "instances": change(document["instances"])})


def _proof(change: Callable[[str], str]) -> Callable[[Document], bytes]:
    return lambda document: canonical({**document, "proof": change(document["proof"])})


def _alias(text: str) -> str:
    """The same field element, plus the modulus."""
    return (field.decode(text) + field.MODULUS).to_bytes(32, "little").hex()


def _ezkl_form(document: Document) -> bytes:
    parsed = proof.Proof(tuple(field.decode(text) for text in document["instances"]), bytes.fromhex(document["proof"]))
    return parsed.for_ezkl()


ONE = field.encode(1)
PROOF_ROWS: dict[str, tuple[str, Callable[[Document], bytes]]] = {
    "ezkl's own file": ("proof-malformed", _ezkl_form),
    "unknown key": ("proof-malformed", lambda d: canonical({**d, "timestamp": 0})),
    "pretty inputs": ("proof-malformed", lambda d: canonical({**d, "pretty_public_inputs": {"outputs": [["9.0"]]}})),
    "another schema": ("proof-malformed", lambda d: canonical({**d, "schema": "verifai/ezkl-proof/v2"})),
    "missing instances": ("proof-malformed", lambda d: canonical({k: v for k, v in d.items() if k != "instances"})),
    "missing proof": ("proof-malformed", lambda d: canonical({k: v for k, v in d.items() if k != "proof"})),
    "100 trailing proof bytes": ("proof-malformed", _proof(lambda text: text + "00" * 100)),
    "one proof byte less": ("proof-malformed", _proof(lambda text: text[:-2])),
    "half a proof byte": ("proof-malformed", _proof(lambda text: text[:-1])),
    "no proof bytes": ("proof-malformed", _proof(lambda text: "")),
    "upper-case proof": ("proof-malformed", _proof(str.upper)),
    "proof as numbers": ("proof-malformed", lambda d: canonical({**d, "proof": list(bytes.fromhex(d["proof"]))})),
    "upper-case element": ("proof-malformed", _instances(lambda items: [*items[:-1], items[-1].upper()])),
    "0x prefix": ("proof-malformed", _instances(lambda items: ["0x" + items[0], *items[1:]])),
    "appended zero output": ("proof-malformed", _instances(lambda items: [*items, "0" * 64])),
    "prepended zero": ("proof-malformed", _instances(lambda items: ["0" * 64, *items])),
    "one instance less": ("proof-malformed", _instances(lambda items: items[:-1])),
    "no instances": ("proof-malformed", _instances(lambda items: [])),
    "the same element plus the modulus": ("proof-malformed", _instances(lambda items: [_alias(items[0]), *items[1:]])),
    "an element of all ones": ("proof-malformed", _instances(lambda items: ["f" * 64, *items[1:]])),
    "element as number": ("proof-malformed", lambda d: canonical({**d, "instances": [1] * len(d["instances"])})),
    "instances nested": ("proof-malformed", lambda d: canonical({**d, "instances": [d["instances"]]})),
    "duplicate key": ("proof-malformed", lambda d: canonical(d).replace(b'{"', b'{"proof":"00","', 1)),
    "NaN": ("proof-malformed", lambda d: canonical(d).replace(b'"schema"', b'"x":NaN,"schema"')),
    "whitespace": ("proof-malformed", lambda d: canonical(d).replace(b",", b", ", 1)),
    "no final newline": ("proof-malformed", lambda d: canonical(d)[:-1]),
    "trailing bytes": ("proof-malformed", lambda d: canonical(d) + b"{}"),
    "byte order mark": ("proof-malformed", lambda d: b"\xef\xbb\xbf" + canonical(d)),
    "escaped characters": ("proof-malformed", lambda d: canonical(d).replace(b'"proof"', b'"pro\\u006ff"')),
    "not UTF-8": ("proof-malformed", lambda d: b"\xff" + canonical(d)),
    "deep nesting": ("proof-malformed", lambda d: b"[" * 100_000 + b"]" * 100_000),
    "empty file": ("proof-malformed", lambda d: b""),
    "null": ("proof-malformed", lambda d: b"null\n"),
    "changed input": ("proof-invalid", _instances(lambda items: [ONE, *items[1:]])),
    "changed output": ("proof-invalid", _instances(lambda items: [*items[:-1], ONE])),
    "negated output": ("proof-invalid", _instances(lambda items: [*items[:-1], field.encode(-field.decode(items[-1]))])),
    "outputs swapped": ("proof-invalid", _instances(lambda items: [*items[:-2], items[-1], items[-2]])),
    "an element that no tensor holds": ("instance-out-of-range", _instances(lambda i: [field.encode(2**200), *i[1:]])),
    "proof of zero bytes": ("proof-invalid", _proof(lambda text: "00" * (len(text) // 2))),
    "proof of 0xff bytes": ("proof-invalid", _proof(lambda text: "ff" * (len(text) // 2))),
    "proof rotated by a point": ("proof-invalid", _proof(lambda text: text[128:] + text[:128])),
}


@pytest.mark.parametrize("row", PROOF_ROWS)
def test_a_tampered_proof_file_is_refused(small_public: SmallCircuit, tmp_path: Path, row: str) -> None:
    code, change = PROOF_ROWS[row]
    files = {**small_public.files, "proof.json": change(json.loads(small_public.files["proof.json"]))}
    assert verdict(small_public, tmp_path, files) == (1, code)


def test_the_genuine_proof_is_accepted_so_that_the_rows_mean_something(small_public: SmallCircuit, tmp_path: Path) -> None:
    assert verdict(small_public, tmp_path, small_public.files) == ACCEPTED


def test_the_batch_judges_like_the_engine(small_public: SmallCircuit, tmp_path: Path) -> None:
    document = json.loads(small_public.files["proof.json"])
    rows = ["changed input", "upper-case proof", "an element that no tensor holds", "proof of zero bytes"]
    cases = [Case(small_public.files)]
    cases += [Case({**small_public.files, "proof.json": PROOF_ROWS[row][1](document)}) for row in rows]
    expected = []
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        expected.append(verdict(small_public, folder, case.files))
    assert judge(small_public, cases) == expected


def _set(path: str, value: Any) -> Callable[[Document], bytes]:
    def change(document: Document) -> bytes:
        target = document
        *parents, last = path.split(".")
        for name in parents:
            target = target[name]
        target[last] = value
        return canonical(document)

    return change


SETTINGS_ROWS: dict[str, tuple[str, Callable[[Document], bytes]]] = {
    "input scale": ("settings-mismatch", _set("run_args.input_scale", 3)),
    "parameter scale": ("settings-mismatch", _set("run_args.param_scale", 3)),
    "model input scales": ("settings-mismatch", _set("model_input_scales", [3])),
    "model output scales": ("settings-mismatch", _set("model_output_scales", [3])),
    "one output scale too many": ("settings-mismatch", _set("model_output_scales", [7, 7])),
    "input visibility": ("settings-mismatch", _set("run_args.input_visibility", "Private")),
    "output visibility": ("settings-mismatch", _set("run_args.output_visibility", "Private")),
    "unknown visibility": ("settings-malformed", _set("run_args.output_visibility", "KZGCommit")),
    "polynomial commitments": ("settings-malformed", _set("module_sizes.polycommit", [4])),
    "a hash that is no instance": (
        "settings-malformed",
        _set("run_args.input_visibility", {"Hashed": {"hash_is_public": False, "outlets": []}}),
    ),
    "weights private": ("settings-malformed", _set("run_args.param_visibility", "Private")),
    "weights public": ("settings-malformed", _set("run_args.param_visibility", "Public")),
    "instance shapes": ("settings-mismatch", _set("model_instance_shapes", [[1, 4], [1, 3]])),
    "no instance shapes": ("settings-mismatch", _set("model_instance_shapes", [])),
    "hash count": ("settings-mismatch", _set("module_sizes.poseidon", [84, [1]])),
    "lookup range": ("settings-mismatch", _set("run_args.lookup_range", [-1000, 1000])),
    "lookup range reversed": ("settings-malformed", _set("run_args.lookup_range", [5, -5])),
    "lookup range of 2^60": ("settings-malformed", _set("run_args.lookup_range", [0, 2**60])),
    "check mode": ("settings-malformed", _set("check_mode", "SAFE")),
    "version": ("settings-malformed", _set("version", "22.0.0")),
    "decomposition base": ("settings-mismatch", _set("run_args.decomp_base", 128)),
    "decomposition legs": ("settings-mismatch", _set("run_args.decomp_legs", 8)),
    "rebase multiplier": ("settings-mismatch", _set("run_args.scale_rebase_multiplier", 2)),
    "rows": ("settings-mismatch", _set("run_args.logrows", 11)),
    "no range checks on inputs and outputs": ("settings-malformed", _set("run_args.ignore_range_check_inputs_outputs", True)),
    "0 inner columns": ("settings-malformed", _set("run_args.num_inner_cols", 0)),
    "2 inner columns": ("settings-mismatch", _set("run_args.num_inner_cols", 2)),
    "1e6 inner columns": ("settings-malformed", _set("run_args.num_inner_cols", 10**6)),
    "1e12 assignments": ("settings-malformed", _set("total_assignments", 10**12)),
    "1e12 constants": ("settings-malformed", _set("total_const_size", 10**12)),
    "1e12 dynamic cells": ("settings-malformed", _set("total_dynamic_col_size", 10**12)),
    "1e12 shuffle cells": ("settings-malformed", _set("total_shuffle_col_size", 10**12)),
    "1e12 einsum cells": ("settings-malformed", _set("einsum_params.total_einsum_col_size", 10**12)),
    "20,000 range checks": ("settings-malformed", _set("required_range_checks", [[0, i] for i in range(20_000)])),
    "range check of 2^39": ("settings-malformed", _set("required_range_checks", [[0, 2**39]])),
    "1,000 lookups": ("settings-malformed", _set("required_lookups", ["Abs"] * 1000)),
    "negative size": ("settings-malformed", _set("num_rows", -1)),
    "a float for a size": ("settings-malformed", _set("num_rows", 1.5)),
    "true for a size": ("settings-malformed", _set("num_rows", True)),
    "unknown field": ("settings-malformed", _set("comment", "x")),
    "a timestamp": ("settings-malformed", _set("timestamp", 1)),
    "indented": ("settings-malformed", lambda d: json.dumps(d, sort_keys=True, indent=1).encode() + b"\n"),
    "trailing bytes": ("settings-malformed", lambda d: canonical(d) + b" "),
    "not JSON": ("settings-malformed", lambda d: b"\x00" * 100),
    "unsorted range checks": (
        "settings-malformed",
        lambda d: canonical({**d, "required_range_checks": d["required_range_checks"][::-1]}),
    ),
}


@pytest.mark.parametrize("row", SETTINGS_ROWS)
def test_tampered_settings_are_refused_as_is_and_behind_a_changed_lock(
    small_public: SmallCircuit, tmp_path: Path, row: str
) -> None:
    code, change = SETTINGS_ROWS[row]
    files = {**small_public.files, "settings.json": change(json.loads(small_public.files["settings.json"]))}
    assert files["settings.json"] != small_public.files["settings.json"]
    assert verdict(small_public, tmp_path, files) == (1, "settings-not-pinned")
    assert verdict(small_public, tmp_path, files, section=repinned(small_public.section, files)) == (1, code)


def _key(change: Callable[[bytearray], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        changed = bytearray(data)
        change(changed)
        return bytes(changed)

    return apply


def _put(position: int, value: int) -> Callable[[bytes], bytes]:
    return _key(lambda data: data.__setitem__(position, value))


KEY_ROWS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    **{f"k = {k}": ("vk-malformed", _put(1, k)) for k in (0, 9, 11, *range(22, 29), 255)},
    "another format": ("vk-malformed", _put(0, 2)),
    "selectors not compressed": ("vk-malformed", _put(2, 0)),
    "2^32 - 1 commitments": ("vk-malformed", _key(lambda data: data.__setitem__(slice(3, 7), b"\xff" * 4))),
    "no commitments": ("vk-malformed", _key(lambda data: data.__setitem__(slice(3, 7), b"\x00" * 4))),
    "one commitment less": ("proof-invalid", _key(lambda data: data.__setitem__(3, data[3] - 1))),
    "first commitment zeroed": ("proof-invalid", _key(lambda data: data.__setitem__(slice(7, 71), bytes(64)))),
    "commitments swapped": ("proof-invalid", _key(lambda data: data.__setitem__(slice(7, 135), data[71:135] + data[7:71]))),
    "half the key": ("proof-invalid", lambda data: data[: len(data) // 2]),
    "header only": ("vk-malformed", lambda data: data[:7]),
    "empty": ("vk-malformed", lambda data: b""),
}


@pytest.mark.parametrize("row", KEY_ROWS)
def test_a_tampered_key_is_refused_as_is_and_behind_a_changed_lock(
    small_public: SmallCircuit, tmp_path: Path, row: str
) -> None:
    code, change = KEY_ROWS[row]
    files = {**small_public.files, "vk.key": change(small_public.files["vk.key"])}
    assert verdict(small_public, tmp_path, files) == (1, "vk-not-pinned")
    assert verdict(small_public, tmp_path, files, section=repinned(small_public.section, files)) == (1, code)


@pytest.mark.parametrize("row", ["100 trailing bytes", "last selector bit"])
def test_a_key_that_ezkl_takes_for_the_same_is_refused_by_digest_and_by_the_audit(
    small_public: SmallCircuit, tmp_path: Path, row: str
) -> None:
    data = small_public.files["vk.key"]
    changed = data + bytes(100) if row == "100 trailing bytes" else data[:-1] + bytes([data[-1] ^ 0x80])
    files = {**small_public.files, "vk.key": changed}
    assert verdict(small_public, tmp_path, files) == (1, "vk-not-pinned")
    request = small_public.request(tmp_path, files, section=repinned(small_public.section, files))
    findings = small_public.engine.rederive(request, small_public.model)
    assert [finding.code for finding in findings if finding.outcome is Outcome.REJECTED] == ["vk-not-rederived"]


def test_keys_are_made_again_in_the_layout_that_is_pinned(
    small_public: SmallCircuit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ezkl lays some models out in one of several ways, at random: an audit that took any would reject honest circuits."""
    asked: list[str | None] = []
    real = rederiving.build

    def build(*given: Any, wanted: str | None = None, **options: Any) -> Any:
        asked.append(wanted)
        return real(*given, wanted=wanted, **options)

    monkeypatch.setattr(rederiving, "build", build)
    request = small_public.request(tmp_path, small_public.files)
    findings = small_public.engine.rederive(request, small_public.model)
    assert asked == [request.section["settings_sha256"]]
    assert all(finding.outcome is Outcome.HOLDS for finding in findings)


def _verifier(change: Callable[[bytes], bytes]) -> Callable[[Document], Document]:
    return lambda srs: {**srs, "verifier": change(bytes.fromhex(srs["verifier"])).hex()}


SRS_ROWS: dict[str, Callable[[Document], Document]] = {
    "all zero": _verifier(lambda data: bytes(516)),
    "388 zero bytes": _verifier(lambda data: bytes(388)),
    "g2 and s·g2 zeroed": _verifier(lambda data: data[:-256] + bytes(256)),
    "s·g2 zeroed": _verifier(lambda data: data[:-128] + bytes(128)),
    "s·g2 = g2": _verifier(lambda data: data[:-128] + data[-256:-128]),
    "g2 = s·g2": _verifier(lambda data: data[:-256] + data[-128:] * 2),
    "g1 not the generator": _verifier(lambda data: data[:4] + data[68:132] + data[68:]),
    "middle points swapped": _verifier(lambda data: data[:132] + data[196:260] + data[132:196] + data[260:]),
    "trailing bytes": _verifier(lambda data: data + b"\x00"),
    "truncated": _verifier(lambda data: data[:-1]),
    "k = 2": _verifier(lambda data: b"\x02" + data[1:]),
    "called the ceremony's": lambda srs: {**srs, "trust": "ceremony"},
    "unknown trust": lambda srs: {**srs, "trust": "mine"},
    "upper case": lambda srs: {**srs, "verifier": srs["verifier"].upper()},
}


@pytest.mark.parametrize("row", SRS_ROWS)
def test_a_lock_with_a_tampered_srs_is_no_lock(small_public: SmallCircuit, tmp_path: Path, row: str) -> None:
    section = {**small_public.section, "srs": SRS_ROWS[row](dict(small_public.section["srs"]))}
    assert verdict(small_public, tmp_path, small_public.files, section=section) == (2, "bad-lock")


def test_a_forged_proof_under_another_srs_is_refused(small_public: SmallCircuit, tmp_path: Path) -> None:
    other = SrsStore(tmp_path / "store").generate(1)
    srs = {**small_public.section["srs"], "verifier": other.verifier.hex()}
    assert verdict(small_public, tmp_path, small_public.files, section={**small_public.section, "srs": srs}) == (
        1,
        "proof-invalid",
    )


def test_test_material_is_refused_by_default_even_when_everything_else_holds(
    small_public: SmallCircuit, tmp_path: Path
) -> None:
    assert verdict(small_public, tmp_path, small_public.files, allow_test_material=False) == (3, "srs-test-only")


def test_a_false_proof_is_false_before_it_is_insufficient(small_public: SmallCircuit, tmp_path: Path) -> None:
    change = PROOF_ROWS["changed output"][1]
    files = {**small_public.files, "proof.json": change(json.loads(small_public.files["proof.json"]))}
    assert verdict(small_public, tmp_path, files, allow_test_material=False) == (1, "proof-invalid")


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> SmallCircuit:
    """The small circuit with its two last biases swapped: same settings, another model."""
    folder = tmp_path_factory.mktemp("other")
    folder.chmod(0o700)
    engine = EzklEngine()
    model = canonicalise(small_onnx(last_bias=(-0.125, 0.25)), where="other.onnx").model
    spec = spec_of(Visibility.PUBLIC, Visibility.PUBLIC)
    request = CompileRequest(model, spec, {"x": SAMPLES}, folder, folder, locked=starting_section(model, spec))
    section = engine.compile(request).section
    made = engine.prove(ProveRequest(model, spec, section, folder, {"x": SAMPLES[0]}))
    return SmallCircuit(engine, model, spec, section, folder, {"x": SAMPLES[0]}, made.files)


def test_a_proof_of_another_model_is_refused(small_public: SmallCircuit, other_model: SmallCircuit, tmp_path: Path) -> None:
    assert verdict(small_public, tmp_path, other_model.files) == (1, "vk-not-pinned")
    only_proof = {**small_public.files, "proof.json": other_model.files["proof.json"]}
    assert verdict(small_public, tmp_path, only_proof) == (1, "proof-invalid")


def test_a_key_of_another_model_behind_a_changed_lock_is_refused_by_the_audit(
    small_public: SmallCircuit, other_model: SmallCircuit, tmp_path: Path
) -> None:
    section = {**other_model.section, "circuit_onnx_sha256": small_public.section["circuit_onnx_sha256"]}
    request = small_public.request(tmp_path, other_model.files, section=section)
    findings = small_public.engine.rederive(request, small_public.model)
    assert [finding.code for finding in findings if finding.outcome is Outcome.REJECTED] == ["vk-not-rederived"]


@pytest.mark.parametrize("name", ["proof.json", "settings.json", "vk.key"])
def test_a_missing_file_is_refused(small_public: SmallCircuit, tmp_path: Path, name: str) -> None:
    files = {key: data for key, data in small_public.files.items() if key != name}
    assert verdict(small_public, tmp_path, files) == (1, "payload-mismatch")


def test_a_file_too_many_is_refused(small_public: SmallCircuit, tmp_path: Path) -> None:
    files = {**small_public.files, "pk.key": b"weights"}
    assert verdict(small_public, tmp_path, files) == (1, "payload-mismatch")


def test_a_folder_in_place_of_a_file_is_refused(small_public: SmallCircuit, tmp_path: Path) -> None:
    request = small_public.request(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(VerifaiError) as caught:
        small_public.engine.verify(replace(request, files={**request.files, "vk.key": tmp_path / "folder"}))
    assert (caught.value.status, caught.value.code) == (1, "payload-mismatch")


def test_a_file_without_end_is_not_read_to_its_end(small_public: SmallCircuit, tmp_path: Path) -> None:
    request = small_public.request(tmp_path)
    with (tmp_path / "endless").open("wb") as stream:
        stream.truncate(2**31)  # sparse: 2 GiB of zeros that take no space
    with pytest.raises(VerifaiError) as caught:
        small_public.engine.verify(replace(request, files={**request.files, "proof.json": tmp_path / "endless"}))
    assert (caught.value.status, caught.value.code) == (1, "payload-mismatch")
