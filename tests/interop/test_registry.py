"""Bundles pushed to a real registry and pulled back; ``oras`` reads what this program wrote; hostile answers give nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.servers import oci_registry
from tests.support.paths import ROOT
from verifai.errors import EvidenceRejected, PolicyNotMet, Undecided
from verifai.registries.reference import RemoteReference
from verifai.registries.remote import RemoteStore
from verifai.stages.distribute import pull_bundles, push_bundles

pytestmark = pytest.mark.interop
BUNDLE = ROOT / "fixtures" / "bundles" / "v1" / "accept" / "folder"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with oci_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(BUNDLE / "payload" / "model.onnx", tmp_path / "model.onnx"))


def test_a_bundle_goes_and_comes_back(address: str, model: Path, tmp_path: Path) -> None:
    reference = f"{address}/team/digits:v1"
    with pytest.raises(PolicyNotMet) as caught:
        push_bundles([BUNDLE], reference)
    assert caught.value.code == "registry-missing"
    pushed = push_bundles([BUNDLE], reference, model=model)
    push_bundles([BUNDLE], reference)
    pulled = pull_bundles(reference, tmp_path / "pulled")
    assert [one for _, one in pulled.bundles] == [one for _, one in pushed.bundles]


def test_oras_reads_what_was_written(address: str, model: Path, tmp_path: Path) -> None:
    from oras.provider import Registry

    push_bundles([BUNDLE], f"{address}/digits:v1", model=model)
    registry = Registry(hostname=address, insecure=True)
    manifest = registry.get_manifest(f"{address}/digits:v1")
    assert manifest["artifactType"] == "application/vnd.verifai.model.v1"
    digest = manifest["layers"][0]["digest"]
    with registry.get_blob(f"{address}/digits:v1", digest) as answer:
        assert answer.content == model.read_bytes()


def test_what_another_client_pushed_under_the_referrers_tag_is_no_bundle(address: str, model: Path, tmp_path: Path) -> None:
    from verifai.registries.oci import INDEX_TYPE, read_artifact

    push_bundles([BUNDLE], f"{address}/hostile:v1", model=model)
    store = RemoteStore(RemoteReference(address, "hostile", "v1"))
    subject = read_artifact(store, "v1").described
    entry = {
        "mediaType": subject.media_type,
        "artifactType": "application/vnd.verifai.bundle.v1+zip",
        "digest": subject.digest,
        "size": subject.size,
    }
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    store.put_manifest(subject.digest.replace(":", "-"), json.dumps(index).encode(), INDEX_TYPE)
    with pytest.raises(EvidenceRejected) as caught:
        pull_bundles(f"{address}/hostile:v1", tmp_path / "pulled")
    assert caught.value.code == "registry-malformed"


def test_no_server_is_undecided(tmp_path: Path) -> None:
    with pytest.raises(Undecided) as caught:
        pull_bundles("127.0.0.1:1/digits:v1", tmp_path / "pulled")
    assert caught.value.code == "registry-unavailable"
