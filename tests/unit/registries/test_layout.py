"""Evidence in an OCI image layout: pushed and pulled byte for byte, and everything hostile in such a folder refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.bundle.reader import open_bundle
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.registries.reference import LayoutReference, ModelVersion, RemoteReference, parse_reference
from verifai.registries.remote import refuse_plain
from verifai.stages.distribute import pull_bundles, push_bundles

BUNDLE = ROOT / "fixtures" / "bundles" / "v1" / "accept" / "folder"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model that the bundle is about."""
    path = tmp_path / "model.onnx"
    shutil.copy(BUNDLE / "payload" / "model.onnx", path)
    return path


@pytest.fixture
def layout(tmp_path: Path, model: Path) -> Path:
    folder = tmp_path / "models"
    push_bundles([BUNDLE], f"oci:{folder}:v1", model=model)
    return folder


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def tagged(layout: Path) -> dict[str, dict[str, Any]]:
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    return {one["annotations"]["org.opencontainers.image.ref.name"]: one for one in entries}


def put(layout: Path, document: Any) -> dict[str, Any]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def retag(layout: Path, tag: str, document: Any) -> None:
    index = json.loads((layout / "index.json").read_bytes())
    for one in index["manifests"]:
        if one["annotations"]["org.opencontainers.image.ref.name"] == tag:
            one.update(put(layout, document))
    (layout / "index.json").write_text(json.dumps(index))


def referrers_tag(layout: Path) -> str:
    (found,) = (name for name in tagged(layout) if name.startswith("sha256-"))
    return found


def test_what_was_pushed_is_pulled(layout: Path, tmp_path: Path) -> None:
    moved = pull_bundles(f"oci:{layout}:v1", tmp_path / "pulled")
    with open_bundle(BUNDLE) as ours, open_bundle(moved.bundles[0][0]) as theirs:
        assert ours.bundle_id == theirs.bundle_id == moved.bundles[0][1]
    assert [path.name for path in (tmp_path / "pulled").iterdir()] == [f"{moved.bundles[0][1]}.zip"]
    assert pull_bundles(f"oci:{layout}:v1", tmp_path / "pulled") == moved, "again, into the same folder"


def test_the_layout_is_what_the_specification_says(layout: Path) -> None:
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for path in (layout / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    index = json.loads(blob(layout, tagged(layout)[referrers_tag(layout)]["digest"]).read_bytes())
    manifest = json.loads(blob(layout, index["manifests"][0]["digest"]).read_bytes())
    assert manifest["subject"]["digest"] == tagged(layout)["v1"]["digest"]
    assert manifest["artifactType"] == index["manifests"][0]["artifactType"] == "application/vnd.verifai.bundle.v1+zip"


def test_pushing_twice_adds_nothing_and_another_model_takes_no_tag(layout: Path, model: Path, tmp_path: Path) -> None:
    push_bundles([BUNDLE], f"oci:{layout}:v1", model=model)
    assert len(pull_bundles(f"oci:{layout}:v1", tmp_path / "pulled").bundles) == 1
    model.write_bytes(b"another model")
    with pytest.raises(UsageError) as caught:
        push_bundles([BUNDLE], f"oci:{layout}:v1", model=model)
    assert caught.value.code == "file-exists"
    with pytest.raises(EvidenceRejected) as rejected:
        push_bundles([BUNDLE], f"oci:{layout}:v2", model=model)
    assert rejected.value.code == "registry-other-model"


def hostile_manifest(layout: Path) -> dict[str, Any]:
    index = json.loads(blob(layout, tagged(layout)[referrers_tag(layout)]["digest"]).read_bytes())
    found: dict[str, Any] = json.loads(blob(layout, index["manifests"][0]["digest"]).read_bytes())
    return found


def refer(layout: Path, manifest: Any) -> None:
    """List one bundle's manifest as the only referrer."""
    found = put(layout, manifest)
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.verifai.bundle.v1+zip",
        **found,
    }
    retag(layout, referrers_tag(layout), {"schemaVersion": 2, "manifests": [entry]})


def another_subject(layout: Path) -> None:
    manifest = hostile_manifest(layout)
    manifest["subject"]["digest"] = "sha256:" + "00" * 32
    refer(layout, manifest)


def no_subject(layout: Path) -> None:
    manifest = hostile_manifest(layout)
    del manifest["subject"]
    refer(layout, manifest)


def two_layers(layout: Path) -> None:
    manifest = hostile_manifest(layout)
    manifest["layers"] *= 2
    refer(layout, manifest)


def another_layer(layout: Path) -> None:
    manifest = hostile_manifest(layout)
    manifest["layers"][0].update(put(layout, b"no bundle at all"))
    refer(layout, manifest)


def a_layer_that_is_no_bundle_of_its_own_size(layout: Path) -> None:
    manifest = hostile_manifest(layout)
    manifest["layers"][0]["size"] -= 1
    refer(layout, manifest)


def a_huge_layer(layout: Path) -> None:
    manifest = hostile_manifest(layout)
    manifest["layers"][0]["size"] = 2**41
    refer(layout, manifest)


def a_digest_that_is_a_path(layout: Path) -> None:
    manifest = hostile_manifest(layout)
    manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd"
    refer(layout, manifest)


def a_changed_blob(layout: Path) -> None:
    path = blob(layout, hostile_manifest(layout)["layers"][0]["digest"])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def a_link_for_a_blob(layout: Path) -> None:
    path = blob(layout, hostile_manifest(layout)["layers"][0]["digest"])
    path.rename(layout / "elsewhere")
    path.symlink_to(layout / "elsewhere")


def a_pipe_for_a_blob(layout: Path) -> None:
    path = blob(layout, hostile_manifest(layout)["layers"][0]["digest"])
    path.unlink()
    os.mkfifo(path)


def a_changed_manifest(layout: Path) -> None:
    path = blob(layout, tagged(layout)["v1"]["digest"])
    path.write_bytes(path.read_bytes().replace(b"v1", b"v2"))


def too_many(layout: Path) -> None:
    entries = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.verifai.bundle.v1+zip",
            "digest": f"sha256:{number:064x}",
            "size": 1,
        }
        for number in range(257)
    ]
    retag(layout, referrers_tag(layout), {"schemaVersion": 2, "manifests": entries})


def nonsense(layout: Path) -> None:
    retag(layout, referrers_tag(layout), b"[" * 200_000)


def twice_a_key(layout: Path) -> None:
    retag(layout, referrers_tag(layout), b'{"schemaVersion": 2, "manifests": [], "manifests": []}')


def manifest_and_index_at_once(layout: Path) -> None:
    """One reader takes it for a model, the other for a list of models."""
    manifest = json.loads(blob(layout, tagged(layout)["v1"]["digest"]).read_bytes())
    retag(layout, "v1", {**manifest, "manifests": []})


def a_manifest_that_says_that_it_is_an_index(layout: Path) -> None:
    manifest = json.loads(blob(layout, tagged(layout)["v1"]["digest"]).read_bytes())
    retag(layout, "v1", {**manifest, "mediaType": "application/vnd.oci.image.index.v1+json"})


def an_index_that_is_a_manifest(layout: Path) -> None:
    entries = json.loads(blob(layout, tagged(layout)[referrers_tag(layout)]["digest"]).read_bytes())
    retag(layout, referrers_tag(layout), {**entries, "layers": []})


def two_models_of_one_tag(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_bytes())
    first = next(one for one in index["manifests"] if one["annotations"]["org.opencontainers.image.ref.name"] == "v1")
    manifest = json.loads(blob(layout, first["digest"]).read_bytes())
    index["manifests"].append({**first, **put(layout, {**manifest, "annotations": {"a": "b"}})})
    (layout / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "change",
    [
        manifest_and_index_at_once,
        a_manifest_that_says_that_it_is_an_index,
        an_index_that_is_a_manifest,
        two_models_of_one_tag,
        another_subject,
        no_subject,
        two_layers,
        another_layer,
        a_layer_that_is_no_bundle_of_its_own_size,
        a_huge_layer,
        a_digest_that_is_a_path,
        a_changed_blob,
        a_link_for_a_blob,
        a_pipe_for_a_blob,
        a_changed_manifest,
        too_many,
        nonsense,
        twice_a_key,
    ],
)
def test_a_hostile_layout_gives_nothing(change: Callable[[Path], None], layout: Path, tmp_path: Path) -> None:
    change(layout)
    with pytest.raises(VerifaiError) as caught:
        pull_bundles(f"oci:{layout}:v1", tmp_path / "pulled")
    assert caught.value.status == 1, caught.value
    assert not (tmp_path / "pulled").exists() or not list((tmp_path / "pulled").iterdir())


def test_a_bundle_of_another_model_is_not_pulled(layout: Path, tmp_path: Path) -> None:
    """Attached by somebody who writes manifests by hand: the place shows which model it is, and the bundle another one."""
    manifest = json.loads(blob(layout, tagged(layout)["v1"]["digest"]).read_bytes())
    manifest["layers"][0].update(put(layout, b"another model"))
    bundle = hostile_manifest(layout)
    old = referrers_tag(layout)
    retag(layout, "v1", manifest)
    bundle["subject"] |= {key: tagged(layout)["v1"][key] for key in ("digest", "size")}
    refer(layout, bundle)
    index = json.loads((layout / "index.json").read_bytes())
    for one in index["manifests"]:
        if one["annotations"]["org.opencontainers.image.ref.name"] == old:
            one["annotations"]["org.opencontainers.image.ref.name"] = tagged(layout)["v1"]["digest"].replace(":", "-")
    (layout / "index.json").write_text(json.dumps(index))
    with pytest.raises(EvidenceRejected) as caught:
        pull_bundles(f"oci:{layout}:v1", tmp_path / "pulled")
    assert caught.value.code == "registry-other-model"


def test_nothing_there_is_said(layout: Path, tmp_path: Path) -> None:
    for reference, kind, code in (
        (f"oci:{layout}:v9", PolicyNotMet, "registry-missing"),
        (f"oci:{tmp_path / 'nowhere'}:v1", PolicyNotMet, "registry-missing"),
        ("nonsense", UsageError, "bad-reference"),
    ):
        with pytest.raises(kind) as caught:
            pull_bundles(reference, tmp_path / "pulled")
        assert caught.value.code == code and caught.value.hint


def test_a_file_of_the_same_name_is_not_taken_for_the_bundle(layout: Path, tmp_path: Path) -> None:
    with open_bundle(BUNDLE) as bundle:
        name = f"{bundle.bundle_id}.zip"
    (tmp_path / "pulled").mkdir()
    (tmp_path / "pulled" / name).write_bytes(b"something else")
    with pytest.raises(VerifaiError):
        pull_bundles(f"oci:{layout}:v1", tmp_path / "pulled")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("oci:models:v1", LayoutReference("models", "v1")),
        ("oci:/a/b c:v1.0_x", LayoutReference("/a/b c", "v1.0_x")),
        ("localhost:5000/team/scorer:v1", RemoteReference("localhost:5000", "team/scorer", "v1")),
        ("registry.example.org/scorer:v1", RemoteReference("registry.example.org", "scorer", "v1")),
        ("models:/scorer/7", ModelVersion("scorer", "7")),
    ],
)
def test_references(text: str, found: object) -> None:
    assert parse_reference(text) == found


@pytest.mark.parametrize(
    "text", ["", "oci:", "oci:x", "scorer:v1", "models:/x/0", "models:/x/y", "http://h/x:v1", "h.x/../y:v1", "h.x/A:v1"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert caught.value.code == "bad-reference"


def test_all_that_one_pull_fetches_has_a_limit(layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifai.stages.distribute.MAX_PULLED_BYTES", 1000)
    with pytest.raises(EvidenceRejected) as caught:
        pull_bundles(f"oci:{layout}:v1", tmp_path / "pulled")
    assert caught.value.code == "registry-malformed" and "more than 1000" in caught.value.message


@pytest.mark.parametrize("notes", [None, [], "v1", 7, {"org.opencontainers.image.ref.name": ["v1"]}])
def test_an_entry_of_another_tool_does_not_stop_a_push(notes: object, layout: Path, model: Path, tmp_path: Path) -> None:
    index = json.loads((layout / "index.json").read_bytes())
    index["manifests"].append({"mediaType": "x", "digest": "sha256:" + "00" * 32, "size": 1, "annotations": notes})
    (layout / "index.json").write_text(json.dumps(index))
    push_bundles([BUNDLE], f"oci:{layout}:v2", model=model)
    assert len(pull_bundles(f"oci:{layout}:v2", tmp_path / "pulled").bundles) == 1


def test_nothing_is_written_through_links_that_others_laid(layout: Path, tmp_path: Path) -> None:
    """Temporary names that can be foreseen: whoever may write into the folder lays a link there, and waits."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    names = [path.name for path in (layout / "blobs" / "sha256").iterdir()]
    with open_bundle(BUNDLE) as bundle:
        identifier = bundle.bundle_id
    for name in names:
        (layout / "blobs" / "sha256" / name).unlink()
        (layout / "blobs" / "sha256" / f".{name}.{os.getpid()}").symlink_to(victim)
    (tmp_path / "pulled").mkdir()
    (tmp_path / "pulled" / f".{identifier}.{os.getpid()}").symlink_to(victim)
    (layout / "index.json").unlink()
    push_bundles([BUNDLE], f"oci:{layout}:v1", model=tmp_path / "model.onnx")
    pull_bundles(f"oci:{layout}:v1", tmp_path / "pulled")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("url", "headers", "redirect"),
    [
        ("https://r.example/v2/x", {"Location": "http://evil.example/x"}, True),
        ("https://r.example/v2/x", {"Location": "HTTP://evil.example/x"}, True),
        ("https://r.example/v2/x", {"Location": "ftp://evil.example/x"}, True),
        ("https://r.example/v2/", {"WWW-Authenticate": 'Bearer realm="http://evil.example/token",service="r"'}, False),
        ("https://r.example/v2/", {"WWW-Authenticate": "Bearer Realm=http://evil.example/token"}, False),
    ],
)
def test_a_registry_cannot_send_its_readers_to_a_place_without_tls(url: str, headers: dict[str, str], redirect: bool) -> None:
    with pytest.raises(ValueError, match="without TLS"):
        refuse_plain(SimpleNamespace(url=url, headers=headers, is_redirect=redirect))


def test_a_registry_may_send_its_readers_to_another_place_with_tls() -> None:
    for url, headers in (
        ("https://r.example/v2/x", {"Location": "https://storage.example/x"}),
        ("https://r.example/v2/x", {"Location": "/v2/y"}),
        ("http://localhost:5000/v2/x", {"Location": "http://localhost:5000/y"}),
        ("https://r.example/v2/", {"WWW-Authenticate": 'Bearer realm="https://auth.example/token",service="r"'}),
    ):
        refuse_plain(SimpleNamespace(url=url, headers=headers, is_redirect="Location" in headers))
