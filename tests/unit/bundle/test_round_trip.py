"""What is written can be read, both forms carry the same, and equal content has equal bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.bundle_samples import CREATED, PAYLOAD, TestSigner, attestations, write_sample
from verifai.bundle.archive import pack, unpack
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.errors import EvidenceRejected, UsageError


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_existing_target_is_refused_and_untouched(tmp_path: Path) -> None:
    write_sample(tmp_path / "b")
    before = tree(tmp_path / "b")
    with pytest.raises(UsageError) as problem:
        write_sample(tmp_path / "b", (TestSigner(1),))
    assert problem.value.code == "file-exists"
    assert tree(tmp_path / "b") == before


def test_a_bundle_without_attestation_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EvidenceRejected):
        write_bundle(tmp_path / "b", payload=PAYLOAD, attestations=(), created=CREATED)
    assert list(tmp_path.iterdir()) == []


def test_nothing_at_the_path_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as problem, open_bundle(tmp_path / "none"):
        pass
    assert problem.value.code == "file-missing"


@pytest.mark.parametrize("signers", [(), (TestSigner(1),), (TestSigner(2), TestSigner(1))])
def test_reading_gives_back_what_was_written(tmp_path: Path, signers: tuple[TestSigner, ...]) -> None:
    written = write_sample(tmp_path / "b", signers)
    with open_bundle(tmp_path / "b") as bundle:
        assert bundle.bundle_id == written
        assert {name: path.read_bytes() for name, path in bundle.payload.items()} == PAYLOAD
        assert bundle.attestations == {one.id: one for one in attestations(signers)}
        assert bundle.check_signatures(one.public_key for one in signers).signers == {one.public_key for one in signers}
        copies = list(bundle.payload.values())
        assert copies[0].parent.stat().st_mode & 0o777 == 0o700
    assert not any(path.exists() for path in copies)


def test_the_identifier_does_not_depend_on_who_signed(tmp_path: Path) -> None:
    payload_only = {"payload": PAYLOAD, "attestations": attestations(), "created": CREATED}
    unsigned = write_bundle(tmp_path / "a", **payload_only)
    signed = write_bundle(tmp_path / "b", **payload_only, signers=[TestSigner(1)])
    assert unsigned == signed
    assert tree(tmp_path / "a") != tree(tmp_path / "b")


def test_equal_content_has_equal_bytes(tmp_path: Path) -> None:
    for name, payload in (("a", PAYLOAD), ("b", dict(reversed(PAYLOAD.items())))):
        write_sample(
            tmp_path / name, (TestSigner(1), TestSigner(2)) if name == "a" else (TestSigner(2), TestSigner(1)), payload
        )
        pack(tmp_path / name, tmp_path / f"{name}.zip")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_pack_and_unpack_are_inverse(tmp_path: Path) -> None:
    written = write_sample(tmp_path / "d", (TestSigner(1),))
    assert pack(tmp_path / "d", tmp_path / "d.zip") == written
    assert unpack(tmp_path / "d.zip", tmp_path / "again") == written
    assert tree(tmp_path / "again") == tree(tmp_path / "d")
    pack(tmp_path / "again", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "d.zip").read_bytes()
    pack(tmp_path / "d.zip", tmp_path / "third.zip")
    assert (tmp_path / "third.zip").read_bytes() == (tmp_path / "d.zip").read_bytes()


def test_other_zip_readers_see_the_same_files(tmp_path: Path) -> None:
    write_sample(tmp_path / "d")
    pack(tmp_path / "d", tmp_path / "d.zip")
    with zipfile.ZipFile(tmp_path / "d.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == tree(tmp_path / "d")
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


@pytest.mark.parametrize("verb", [pack, unpack])
def test_pack_and_unpack_refuse_an_existing_target(tmp_path: Path, verb) -> None:
    write_sample(tmp_path / "d")
    (tmp_path / "there").write_bytes(b"mine")
    with pytest.raises(UsageError) as problem:
        verb(tmp_path / "d", tmp_path / "there")
    assert problem.value.code == "file-exists"
    assert (tmp_path / "there").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "there"]
