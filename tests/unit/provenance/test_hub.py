"""Digests that a hub left beside a download: claims, compared with signed files, and never a reason to accept one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.support.releases import resources, statement
from verifai.domain.model_signing import parse_manifest
from verifai.errors import EvidenceRejected
from verifai.provenance.hub import HubReport, compare_claims, hub_claims, pointer_oid
from verifai.provenance.release_files import stage_release

WEIGHTS, CONFIG = b"weights", b'{"a": 1}'


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def pointer(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_bytes(CONFIG)
    return folder


def metadata(folder: Path, name: str, etag: str) -> None:
    path = folder / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{'a' * 40}\n{etag}\n1790000000.5\n")


def report(folder: Path, tmp_path: Path, **options: object) -> HubReport:
    """What came out for a folder that was signed without the cache of its download."""
    entries = [one for one in resources(folder) if not one["name"].startswith(".cache")]
    manifest = parse_manifest(json.dumps(statement(entries, **options)).encode(), "payload")
    into = tmp_path / "staged"
    into.mkdir()
    staged = stage_release(folder, manifest, into)
    return compare_claims(hub_claims(folder, staged.sha256), staged)


def test_what_a_download_left_is_compared_and_told(release: Path, tmp_path: Path) -> None:
    metadata(release, "model.safetensors", hashlib.sha256(WEIGHTS).hexdigest())
    metadata(release, "config.json", git_blob(CONFIG))
    found = report(release, tmp_path)
    assert not found.differ and sorted(next(iter(found.agree.values()))) == ["config.json", "model.safetensors"]
    assert "2 digests" in found.sentences()[0] and "claims" in found.sentences()[0]


def test_a_claim_of_something_else_is_told_and_decides_nothing(release: Path, tmp_path: Path) -> None:
    metadata(release, "model.safetensors", "00" * 32)
    metadata(release, "config.json", "00" * 20)
    found = report(release, tmp_path)
    assert [one.name for one in found.differ] == ["config.json", "model.safetensors"] and not found.agree
    assert all("not this file" in one for one in found.sentences())


@pytest.mark.parametrize("text", ["", "a\nb\nc\n", "x" * 5000, "a" * 40 + "\n" + "0" * 64 + "\n", "é\n" * 3])
def test_what_is_no_metadata_says_nothing(release: Path, tmp_path: Path, text: str) -> None:
    metadata(release, "config.json", "0" * 64)
    (release / ".cache" / "huggingface" / "download" / "config.json.metadata").write_text(text)
    assert report(release, tmp_path) == HubReport({}, (), ())


def test_links_into_a_cache_name_their_blobs(release: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    (tmp_path / "blobs").mkdir()
    (release / "model.safetensors").rename(tmp_path / "blobs" / digest)
    (release / "model.safetensors").symlink_to(Path("..") / "blobs" / digest)
    found = report(release, tmp_path, allow_symlinks=True)
    assert found.agree == {"Hugging Face's cache": ("model.safetensors",)}


def test_an_index_names_shards_that_are_not_there(release: Path, tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 7}, "weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (release / "model.safetensors.index.json").write_text(json.dumps(index))
    assert report(release, tmp_path).missing == ("model-00002-of-00002.safetensors",)


def test_a_pointer_is_told_as_one(release: Path, tmp_path: Path) -> None:
    """A repository that was cloned without git-lfs: the digest of the contents is there, and the contents are not."""
    entries = resources(release)
    manifest = parse_manifest(json.dumps(statement(entries)).encode(), "payload")
    (release / "model.safetensors").write_bytes(pointer(WEIGHTS))
    assert pointer_oid((release / "model.safetensors").read_bytes()) == hashlib.sha256(WEIGHTS).hexdigest()
    assert pointer_oid(WEIGHTS) is None
    (tmp_path / "staged").mkdir()
    with pytest.raises(EvidenceRejected) as caught:
        stage_release(release, manifest, tmp_path / "staged")
    assert "pointer" in caught.value.message and caught.value.hint == "Fetch the contents: git lfs pull"
