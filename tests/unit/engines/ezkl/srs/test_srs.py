"""SRS files: only the ceremony's are trusted, only well-formed ones are read, and the store believes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from verifai.domain.digest import sha256
from verifai.engines.ezkl import calls
from verifai.engines.ezkl.srs import ceremony
from verifai.engines.ezkl.srs import file as srs
from verifai.engines.ezkl.srs import store as srs_store
from verifai.engines.ezkl.srs.file import SrsTrust, cut, judge_verifier_srs, read_srs
from verifai.engines.ezkl.srs.store import SrsStore, find_by_digest
from verifai.errors import EvidenceRejected, Undecided, UsageError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated SRS of k = 3."""
    return SrsStore(tmp_path_factory.mktemp("store")).generate(3).path


ROWS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "388 zero bytes": lambda data: bytes(388),
    "516 zero bytes": lambda data: bytes(516),
    "all zero behind the header": lambda data: data[:4] + bytes(len(data) - 4),
    "last 256 bytes zeroed": lambda data: data[:-256] + bytes(256),
    "last 128 bytes zeroed": lambda data: data[:-128] + bytes(128),
    "truncated": lambda data: data[:-1],
    "padded": lambda data: data + bytes(1),
    "k one larger": lambda data: bytes([data[0] + 1]) + data[1:],
    "k = 2^31": lambda data: b"\x00\x00\x00\x80" + data[4:],
    "first point not the generator": lambda data: data[:4] + data[68:132] + data[68:],
    "a point at infinity": lambda data: data[:200] + bytes(64) + data[264:],
    "a coordinate beyond the prime": lambda data: data[:68] + b"\xff" * 32 + data[100:],
    "s·g2 = g2": lambda data: data[:-128] + data[-256:-128],
}


@pytest.mark.parametrize("row", ROWS)
def test_a_file_that_ezkl_would_swallow_is_refused(made: Path, tmp_path: Path, row: str) -> None:
    path = tmp_path / "bad.srs"
    path.write_bytes(ROWS[row](made.read_bytes()))
    with pytest.raises(EvidenceRejected) as caught:
        read_srs(path)
    assert caught.value.code == "srs-malformed"
    assert str(path) in caught.value.where


def test_a_device_is_not_read() -> None:
    with pytest.raises(UsageError) as caught:
        read_srs(Path("/dev/zero"))
    assert caught.value.code == "file-missing"


def test_swapped_middle_points_change_the_digest_that_locks_pin(made: Path, tmp_path: Path) -> None:
    data = made.read_bytes()
    swapped = tmp_path / "swapped.srs"
    swapped.write_bytes(data[:132] + data[196:260] + data[132:196] + data[260:])
    assert read_srs(swapped).sha256 != read_srs(made).sha256
    assert find_by_digest(read_srs(made).sha256, 3, [tmp_path]) is None


def test_what_was_generated_is_test_material(made: Path) -> None:
    judged = read_srs(made)
    assert judged.trust is SrsTrust.TEST
    assert made.name.startswith("INSECURE-TEST")


def test_cutting_gives_the_file_that_ezkl_makes_for_k_1(tmp_path: Path) -> None:
    smallest = SrsStore(tmp_path).generate(1)
    assert cut(smallest.path) == smallest.path.read_bytes()
    assert len(smallest.verifier) == 516


def test_the_ceremony_is_known_by_its_point(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = read_srs(made).verifier
    s_g2 = srs._g2(verifier, 516 - 128, "")
    monkeypatch.setattr(ceremony, "S_G2", s_g2)
    assert judge_verifier_srs(verifier, "") is SrsTrust.CEREMONY


@pytest.fixture
def pretend(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``made``, as if it were the ceremony's file: no real one is at hand without a download."""
    judged = read_srs(made)
    monkeypatch.setattr(ceremony, "S_G2", srs._g2(judged.verifier, 516 - 128, ""))
    monkeypatch.setattr(ceremony, "SHA256", {**ceremony.SHA256, 3: judged.sha256, 1: sha256(judged.verifier)})
    return made


def test_a_ceremony_file_is_trusted_by_digest_and_points_together(pretend: Path) -> None:
    assert read_srs(pretend).trust is SrsTrust.CEREMONY


def test_the_ceremony_s_points_with_other_contents_are_refused(pretend: Path, tmp_path: Path) -> None:
    data = pretend.read_bytes()
    path = tmp_path / "swapped.srs"
    path.write_bytes(data[:132] + data[196:260] + data[132:196] + data[260:])
    with pytest.raises(EvidenceRejected) as caught:
        read_srs(path)
    assert caught.value.code == "srs-not-ceremony"


def test_the_ceremony_s_digest_with_other_points_is_refused(pretend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(ceremony, "SHA256", {**ceremony.SHA256, 3: read_srs(pretend).sha256})
    with pytest.raises(EvidenceRejected) as caught:
        read_srs(pretend)
    assert caught.value.code == "srs-not-ceremony"


def test_import_refuses_test_material_unless_it_was_asked_for(made: Path, tmp_path: Path) -> None:
    store = SrsStore(tmp_path / "store")
    with pytest.raises(EvidenceRejected) as caught:
        store.import_file(made)
    assert caught.value.code == "srs-not-ceremony"
    assert store.files() == ()
    imported = store.import_file(made, allow_test=True)
    assert imported.path.read_bytes() == made.read_bytes()
    assert store.find(3) is None, "test material never stands in for the ceremony's"
    assert store.find(3, trust=SrsTrust.TEST) == imported


def test_import_of_a_bad_file_leaves_nothing(made: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.srs"
    bad.write_bytes(made.read_bytes()[:-1])
    store = SrsStore(tmp_path / "store")
    with pytest.raises(EvidenceRejected):
        store.import_file(bad, allow_test=True)
    assert not store.root.exists() or list(store.root.iterdir()) == []


def test_a_file_changed_in_the_store_is_passed_over(pretend: Path, tmp_path: Path) -> None:
    store = SrsStore(tmp_path / "store")
    stored = store.import_file(pretend)
    assert store.find(2) == stored
    stored.path.chmod(0o600)
    stored.path.write_bytes(bytes(stored.path.stat().st_size))
    assert store.find(2) is None


def test_find_takes_the_smallest_that_is_large_enough(pretend: Path, tmp_path: Path) -> None:
    store = SrsStore(tmp_path / "store")
    store.import_file(pretend)
    assert store.find(4) is None
    assert store.find(2, exact=True) is None
    found = store.find(3, exact=True)
    assert found is not None
    assert found.logrows == 3


class _Download:
    """Stands in for ezkl's download, which needs a network."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def __call__(self, steps: Any, fence: calls.Fence, *, outputs: Mapping[str, Path]) -> calls.Ran:
        assert steps[0]["op"] == "get_srs"
        if self.data is None:
            message = "RuntimeError: Failed to get srs: error sending request\nsecond line"
            raise calls.CallFailed(calls.Step("get_srs", None, "error", message, 0.1))
        outputs["out.srs"].write_bytes(self.data)
        return calls.Ran((None,), (0.1,), 0)


def test_fetch_offline_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "run", _Download(None))
    store = SrsStore(tmp_path / "store")
    with pytest.raises(Undecided) as caught:
        store.fetch(3)
    assert (caught.value.status, caught.value.code) == (4, "srs-unavailable")
    assert "\n" not in caught.value.message
    assert list(store.root.iterdir()) == []


def test_fetch_keeps_nothing_but_the_ceremony_s_file(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SrsStore(tmp_path / "store")
    for data, code in ((made.read_bytes(), "srs-not-ceremony"), (bytes(388), "srs-malformed")):
        monkeypatch.setattr(calls, "run", _Download(data))
        with pytest.raises(EvidenceRejected) as caught:
            store.fetch(3)
        assert caught.value.code == code
        assert list(store.root.iterdir()) == []


def test_fetch_moves_the_ceremony_s_file_into_the_store_once(
    pretend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SrsStore(tmp_path / "store")
    monkeypatch.setattr(calls, "run", _Download(pretend.read_bytes()))
    fetched = store.fetch(3)
    assert fetched.trust is SrsTrust.CEREMONY
    monkeypatch.setattr(calls, "run", _Download(None))
    assert store.fetch(3) == fetched


@pytest.mark.parametrize("logrows", [0, 27, -1])
def test_sizes_that_the_ceremony_has_not_are_refused(tmp_path: Path, logrows: int) -> None:
    store = SrsStore(tmp_path / "store")
    for make in (store.fetch, store.generate):
        with pytest.raises(UsageError) as caught:
            make(logrows)
        assert caught.value.code == "bad-option"


def test_the_store_s_place_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(srs_store.STORE_VARIABLE, str(tmp_path / "here"))
    assert srs_store.default_store().root == tmp_path / "here"
