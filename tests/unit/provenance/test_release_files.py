"""A release's files against its manifest: what is not exactly the signed files is refused, and never read further."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.releases import resources, statement
from verifai.domain.model_signing import ModelManifest, parse_manifest
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.provenance.release_files import StagedRelease, stage_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "sub" / "vocabulary.txt").write_bytes(b"words")
    (folder / "README.md").write_bytes(b"read me")
    return folder


def manifest_of(folder: Path, **options: object) -> ModelManifest:
    return parse_manifest(json.dumps(statement(resources(folder), **options)).encode(), "payload")


def stage(folder: Path, manifest: ModelManifest, tmp_path: Path, *beside: Path) -> StagedRelease:
    into = tmp_path / f"staged-{len(list(tmp_path.iterdir()))}"
    into.mkdir()
    return stage_release(folder, manifest, into, beside=beside)


def test_the_copy_holds_the_signed_files_and_nothing_else(release: Path, tmp_path: Path) -> None:
    manifest = manifest_of(release)
    (release / "model.sig").write_bytes(b"ignored by the signer")
    (release / ".git").mkdir()
    (release / ".git" / "config").write_bytes(b"ignored by the format")
    (release / "other.sig").write_bytes(b"the signature's own name")
    staged = stage(release, manifest, tmp_path, release / "other.sig")
    copied = {path.relative_to(staged.root).as_posix() for path in staged.root.rglob("*") if path.is_file()}
    assert copied == set(manifest.files) == {"README.md", "model.onnx", "sub/vocabulary.txt"}
    assert staged.sha256["model.onnx"] == hashlib.sha256(b"weights").hexdigest()


def exchange(release: Path) -> None:
    (release / "model.onnx").write_bytes(b"hollow!")


def remove(release: Path) -> None:
    (release / "model.onnx").unlink()


def append(release: Path) -> None:
    (release / "model.onnx").write_bytes(b"weights and more")


def cut(release: Path) -> None:
    (release / "model.onnx").write_bytes(b"weigh")


def add(release: Path) -> None:
    (release / "sub" / "model.onnx.data").write_bytes(b"unsigned weights")


def add_hidden(release: Path) -> None:
    (release / ".hidden").write_bytes(b"unsigned")


def swap(release: Path) -> None:
    first, second = release / "model.onnx", release / "sub" / "vocabulary.txt"
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def link_file(release: Path) -> None:
    (release / "model.onnx").rename(release.parent / "elsewhere")
    (release / "model.onnx").symlink_to(release.parent / "elsewhere")


def link_folder(release: Path) -> None:
    (release / "sub").rename(release.parent / "elsewhere")
    (release / "sub").symlink_to(release.parent / "elsewhere")


def link_unsigned(release: Path) -> None:
    (release / "more").symlink_to("/")


def pipe(release: Path) -> None:
    (release / "model.onnx").unlink()
    os.mkfifo(release / "model.onnx")


def folder_for_file(release: Path) -> None:
    (release / "model.onnx").unlink()
    (release / "model.onnx").mkdir()


@pytest.mark.parametrize(
    "change",
    [
        exchange,
        remove,
        append,
        cut,
        add,
        add_hidden,
        swap,
        link_file,
        link_folder,
        link_unsigned,
        pipe,
        folder_for_file,
    ],
)
def test_other_files_than_the_signed_ones_are_refused(change: Callable[[Path], None], release: Path, tmp_path: Path) -> None:
    manifest = manifest_of(release)
    change(release)
    with pytest.raises(EvidenceRejected) as caught:
        stage(release, manifest, tmp_path)
    assert caught.value.code == "release-files-differ" and str(release) in caught.value.where


def test_two_files_with_exchanged_names_are_refused_though_their_digests_are_all_there(release: Path, tmp_path: Path) -> None:
    """Equal contents may change places: that is the same folder. Others may not."""
    (release / "a").write_bytes(b"same")
    (release / "b").write_bytes(b"same")
    manifest = manifest_of(release)
    (release / "a").rename(release / "c")
    (release / "b").rename(release / "a")
    (release / "c").rename(release / "b")
    stage(release, manifest, tmp_path)
    swap(release)
    with pytest.raises(EvidenceRejected):
        stage(release, manifest, tmp_path)


def test_links_are_followed_where_the_signer_followed_them(release: Path, tmp_path: Path) -> None:
    """Caches of downloads keep files as links to blobs. What they lead to is compared; a link to a folder is not followed."""
    manifest = manifest_of(release, allow_symlinks=True)
    link_file(release)
    assert stage(release, manifest, tmp_path).sha256["model.onnx"] == hashlib.sha256(b"weights").hexdigest()
    (release.parent / "elsewhere").write_bytes(b"hollow!")
    with pytest.raises(EvidenceRejected):
        stage(release, manifest, tmp_path)
    link_folder_target = release.parent / "folder"
    (release.parent / "elsewhere").write_bytes(b"weights")
    (release / "sub").rename(link_folder_target)
    (release / "sub").symlink_to(link_folder_target)
    with pytest.raises(EvidenceRejected):
        stage(release, manifest, tmp_path)


def test_what_the_signer_left_out_is_never_copied(release: Path, tmp_path: Path) -> None:
    """A signer may leave out a file that decides the model: then it takes no part, whatever it holds."""
    entries = [one for one in resources(release) if one["name"] != "model.onnx"]
    manifest = parse_manifest(json.dumps(statement(entries, ignore_paths=["model.onnx"])).encode(), "payload")
    staged = stage(release, manifest, tmp_path)
    assert not (staged.root / "model.onnx").exists()


def test_a_release_of_one_file(release: Path, tmp_path: Path) -> None:
    path = release / "model.onnx"
    entry = {"name": ".", "algorithm": "sha256", "digest": hashlib.sha256(b"weights").hexdigest()}
    manifest = parse_manifest(json.dumps(statement([entry])).encode(), "payload")
    assert stage(path, manifest, tmp_path).path(".").read_bytes() == b"weights"
    for wrong in (release, release / "README.md"):
        with pytest.raises(EvidenceRejected):
            stage(wrong, manifest, tmp_path)
    with pytest.raises(EvidenceRejected):
        stage(path, manifest_of(release), tmp_path)


def test_parts_and_other_digests(release: Path, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20
    (release / "big").write_bytes(data)

    def entries(cut_at: int, algorithm: str = "sha256", name: str = "big") -> list[dict[str, str]]:
        spans = [(0, cut_at), (cut_at, len(data))]
        return [
            {"name": f"{name}:{a}:{b}", "algorithm": algorithm, "digest": hashlib.new(algorithm, data[a:b]).hexdigest()}
            for a, b in spans
        ]

    for other in ("model.onnx", "README.md", "sub/vocabulary.txt"):
        (release / other).unlink()
    for algorithm in ("sha256", "blake2b"):
        manifest = parse_manifest(json.dumps(statement(entries(1000, algorithm), method="shards")).encode(), "payload")
        assert stage(release, manifest, tmp_path).sha256["big"] == hashlib.sha256(data).hexdigest()
    (release / "big").write_bytes(data + b"more")
    with pytest.raises(EvidenceRejected, match="longer"):
        stage(release, manifest, tmp_path)
    (release / "big").write_bytes(data[:-1])
    with pytest.raises(EvidenceRejected):
        stage(release, manifest, tmp_path)
    blake = [{"name": "big", "algorithm": "blake3", "digest": "00" * 32}]
    with pytest.raises(Undecided) as caught:
        stage(release, parse_manifest(json.dumps(statement(blake)).encode(), "payload"), tmp_path)
    assert caught.value.code == "release-digest-unknown"


def test_a_release_that_is_not_there_is_the_callers_mistake(release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        stage(release / "nowhere", manifest_of(release), tmp_path)
    assert caught.value.code == "file-missing"
