"""The cut of an SRS: the one right file, whoever hands it over; and the same keys as ezkl makes with the source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.ezkl_small import CUT_SRS, SAMPLES, SRS, SRS_FOLDER, SmallCircuit, starting_section
from verifai.cli import app as cli
from verifai.domain.digest import sha256
from verifai.domain.progress import SILENT
from verifai.engines.ezkl import calls
from verifai.engines.ezkl.build_folder import BuildFolder
from verifai.engines.ezkl.calls import Fence
from verifai.engines.ezkl.lock_section import parse_section
from verifai.engines.ezkl.srs import ceremony
from verifai.engines.ezkl.srs import file as srs
from verifai.engines.ezkl.srs import working as working_srs
from verifai.engines.ezkl.srs.bn254 import G1, ORDER, g1_multiply
from verifai.engines.ezkl.srs.cut import is_cut, write_cut
from verifai.engines.ezkl.srs.file import G1_BYTES, SrsTrust, points_of, read_srs
from verifai.engines.ezkl.srs.lagrange import belongs_together, lagrange_basis, root_of_unity
from verifai.engines.ezkl.srs.store import SrsStore
from verifai.engines.ezkl.srs.working import cut_file, cut_to
from verifai.engines.interface import CompileRequest
from verifai.errors import DeadlineExceeded, EngineCrashed, EvidenceRejected, UsageError
from verifai.execution.child import Limits


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SRS of k = 5, made by ezkl."""
    return SrsStore(tmp_path_factory.mktemp("store")).generate(5).path


@pytest.fixture(scope="module")
def genuine(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``source`` cut to k = 3."""
    path = tmp_path_factory.mktemp("cut") / "cut.srs"
    write_cut(source, 3, path)
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that children were asked for."""
    steps: list[str] = []
    run = calls.run

    def counting(asked, *args, **kwargs):  # type: ignore[no-untyped-def]
        steps.extend(step["op"] for step in asked)
        return run(asked, *args, **kwargs)

    monkeypatch.setattr(calls, "run", counting)
    return steps


def powers_and_basis(path: Path) -> tuple[list[G1], list[G1]]:
    data = path.read_bytes()
    points = points_of(data[4:-256], str(path))
    return points[: len(points) // 2], points[len(points) // 2 :]


def test_the_basis_is_the_one_that_ezkl_writes(source: Path) -> None:
    powers, basis = powers_and_basis(source)
    assert lagrange_basis(powers) == basis
    assert belongs_together(powers, basis)


def test_the_root_of_unity_has_its_order() -> None:
    for logrows in (1, 5, 28):
        root = root_of_unity(logrows)
        assert pow(root, 2**logrows, ORDER) == 1 != pow(root, 2 ** (logrows - 1), ORDER)


def test_the_cut_to_k_1_is_the_one_that_locks_carry(source: Path, tmp_path: Path) -> None:
    write_cut(source, 1, tmp_path / "k1.srs")
    assert (tmp_path / "k1.srs").read_bytes() == read_srs(source).verifier


def test_cutting_in_two_steps_gives_the_same_file(source: Path, genuine: Path, tmp_path: Path) -> None:
    write_cut(source, 4, tmp_path / "k4.srs")
    write_cut(tmp_path / "k4.srs", 3, tmp_path / "k3.srs")
    assert (tmp_path / "k3.srs").read_bytes() == genuine.read_bytes()
    assert is_cut(tmp_path / "k3.srs", source)


BASIS_ROWS: dict[str, Callable[[list[G1]], list[G1]]] = {
    "two swapped": lambda basis: [basis[1], basis[0], *basis[2:]],
    "turned by one": lambda basis: [*basis[1:], basis[0]],
    "one of another": lambda basis: [basis[1], *basis[1:]],
    "one negated": lambda basis: [*basis[:-1], (basis[-1][0], srs.PRIME - basis[-1][1])],
    "all doubled": lambda basis: [g1_multiply(point, 2) or point for point in basis],
    "one missing": lambda basis: basis[:-1],
    "one too many": lambda basis: [*basis, basis[0]],
    "none": lambda basis: [],
}


@pytest.mark.parametrize("row", BASIS_ROWS)
def test_another_basis_does_not_belong_to_the_powers(genuine: Path, row: str) -> None:
    powers, basis = powers_and_basis(genuine)
    assert not belongs_together(powers, BASIS_ROWS[row](basis))


def _swap(data: bytes, first: int) -> bytes:
    """Two points that follow each other, exchanged."""
    start, middle, end = (4 + G1_BYTES * index for index in (first, first + 1, first + 2))
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


FILE_ROWS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "truncated": lambda data, other: data[:-1],
    "padded": lambda data, other: data + bytes(1),
    "empty": lambda data, other: b"",
    "zeroed": lambda data, other: bytes(len(data)),
    "zero behind the header": lambda data, other: data[:4] + bytes(len(data) - 4),
    "a power at infinity": lambda data, other: data[:196] + bytes(64) + data[260:],
    "a basis point at infinity": lambda data, other: data[:580] + bytes(64) + data[644:],
    "the last 256 bytes zeroed": lambda data, other: data[:-256] + bytes(256),
    "another k in the header": lambda data, other: bytes([data[0] + 1]) + data[1:],
    "powers swapped": lambda data, other: _swap(data, 3),
    "basis swapped": lambda data, other: _swap(data, 9),
    "a power twice": lambda data, other: data[:196] + data[260:324] + data[260:],
    "another set-up": lambda data, other: other,
    "another set-up's powers and basis": lambda data, other: data[:132] + other[132:516] + data[516:],
    "another set-up's basis": lambda data, other: data[:516] + other[516:-256] + data[-256:],
    "another set-up's g2": lambda data, other: data[:-256] + other[-256:],
}


@pytest.mark.parametrize("row", FILE_ROWS)
def test_a_file_that_is_not_the_cut_is_passed_over_and_the_cut_made(
    source: Path, genuine: Path, tmp_path: Path, counted: list[str], row: str
) -> None:
    SrsStore(tmp_path / "other").generate(3)
    other = next((tmp_path / "other").iterdir()).read_bytes()
    near = tmp_path / "near"
    near.mkdir()
    (near / "candidate.srs").write_bytes(FILE_ROWS[row](genuine.read_bytes(), other))
    made = cut_to(read_srs(source), 3, tmp_path / "out.srs", Fence(), near=[near, near / "missing.srs"])
    assert made is not None
    assert made.path.read_bytes() == genuine.read_bytes()
    assert counted[-1] == "cut_srs"


@pytest.mark.parametrize("row", ["powers swapped", "basis swapped", "a power twice", "another set-up's basis"])
def test_what_reads_as_an_srs_is_still_not_the_cut(source: Path, genuine: Path, tmp_path: Path, row: str) -> None:
    """The rows above that only the comparison with the source finds: every point is on its curve."""
    other = SrsStore(tmp_path / "other").generate(3).path.read_bytes()
    path = tmp_path / "candidate.srs"
    path.write_bytes(FILE_ROWS[row](genuine.read_bytes(), other))
    assert read_srs(path).verifier == read_srs(source).verifier
    assert not is_cut(path, source)


def test_the_cut_that_lies_near_is_taken(source: Path, genuine: Path, tmp_path: Path, counted: list[str]) -> None:
    made = cut_to(read_srs(source), 3, tmp_path / "out.srs", Fence(), near=[genuine], pinned=read_srs(genuine).sha256)
    assert made is not None
    assert counted == ["is_srs_cut"]
    assert made.path.read_bytes() == genuine.read_bytes()


def test_the_cut_that_lies_near_is_not_taken_for_another_pin(
    source: Path, genuine: Path, tmp_path: Path, counted: list[str]
) -> None:
    made = cut_to(read_srs(source), 3, tmp_path / "out.srs", Fence(), near=[genuine], pinned=read_srs(SRS).sha256)
    assert counted == ["cut_srs"]
    assert made is not None
    assert made.sha256 == read_srs(genuine).sha256, "made from the source; that it is not the pinned one, compile finds"


def test_powers_that_are_none_are_refused(source: Path, tmp_path: Path) -> None:
    data = source.read_bytes()
    path = tmp_path / "hostile.srs"
    # g, τ·g, then one and the same point: each is on the curve, and k = 1 is as it was.
    path.write_bytes(data[:132] + data[132:196] * 30 + data[132 + 64 * 30 :])
    with pytest.raises(EvidenceRejected) as caught:
        cut_to(read_srs(path), 3, tmp_path / "out.srs", Fence())
    assert (caught.value.code, caught.value.where) == ("srs-malformed", str(path))
    assert not (tmp_path / "out.srs").exists()


def test_a_cut_that_does_not_end_in_time_says_what_else_to_do(tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        cut_to(read_srs(SRS), 11, tmp_path / "out.srs", Fence(Limits(wall_seconds=0.01)))
    assert (caught.value.status, caught.value.code) == (4, "deadline")
    assert "verifai srs fetch -k 11" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["bytes", "set-up"])
def test_a_cut_that_came_out_wrong_is_a_crash(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    other = SrsStore(tmp_path / "other").generate(3).path.read_bytes()

    def wrong(steps, fence, *, outputs):  # type: ignore[no-untyped-def]
        outputs["cut.srs"].write_bytes(bytes(100) if damage == "bytes" else other)

    monkeypatch.setattr(calls, "run", wrong)
    with pytest.raises(EngineCrashed):
        cut_to(read_srs(source), 3, tmp_path / "out.srs", Fence())


@pytest.fixture
def pretend(source: Path, genuine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``source`` as if it were the ceremony's, and its cut to k = 3 as well: no real one is at hand without a download."""
    judged = read_srs(source)
    digests = {5: judged.sha256, 3: read_srs(genuine).sha256, 1: sha256(judged.verifier)}
    monkeypatch.setattr(ceremony, "S_G2", srs._g2(judged.verifier, 516 - 128, ""))
    monkeypatch.setattr(ceremony, "SHA256", {**ceremony.SHA256, **digests})
    return source


def test_the_cut_of_the_ceremony_s_file_is_the_ceremony_s_file(pretend: Path, tmp_path: Path) -> None:
    made = cut_to(read_srs(pretend), 3, tmp_path / "out.srs", Fence())
    assert made is not None
    assert made.trust is SrsTrust.CEREMONY


def test_a_cut_with_the_ceremony_s_points_and_another_digest_is_not_used(pretend: Path, tmp_path: Path) -> None:
    notes: list[str] = []

    class Noting(type(SILENT)):  # type: ignore[misc]
        def note(self, text: str) -> None:
            notes.append(text)

    assert cut_to(read_srs(pretend), 4, tmp_path / "out.srs", Fence(progress=Noting())) is None
    assert len(notes) == 1
    assert "the larger one is used" in notes[0]
    assert not (tmp_path / "out.srs").exists()
    with pytest.raises(EvidenceRejected) as caught:
        cut_file(pretend, 4, tmp_path / "out.srs")
    assert caught.value.code == "srs-not-ceremony"


def test_the_shipped_cuts_are_cuts_of_the_shipped_file() -> None:
    cuts = sorted(path for path in SRS_FOLDER.glob("*.srs") if path != SRS)
    assert [read_srs(path).logrows for path in cuts] == [9, 10, 11]
    for path in cuts:
        assert is_cut(path, SRS)


def test_cutting_on_the_command_line(source: Path, genuine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.srs"
    assert cli.run(["srs", "cut", str(source), "-k", "3", "-o", str(output), "--json"]) == 0
    assert read_srs(genuine).sha256 in capsys.readouterr().out
    assert output.read_bytes() == genuine.read_bytes()


@pytest.mark.parametrize("logrows", [0, 5, 6])
def test_a_size_that_is_not_below_the_source_s_is_refused(source: Path, tmp_path: Path, logrows: int) -> None:
    with pytest.raises(UsageError) as caught:
        cut_file(source, logrows, tmp_path / "out.srs")
    assert caught.value.code == "bad-option"


def test_cutting_overwrites_nothing(source: Path, genuine: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        cut_file(source, 3, source)
    assert caught.value.code == "file-exists"
    with pytest.raises(UsageError) as caught:
        cut_file(source, 3, tmp_path / "no" / "out.srs")
    assert caught.value.code == "file-missing"


def _compile(circuit: SmallCircuit, folder: Path, *, cut: bool) -> Path:
    section = starting_section(circuit.model, circuit.spec)
    if not cut:
        del section["srs"]["cut_sha256"]
    folder.mkdir(mode=0o700)
    request = CompileRequest(circuit.model, circuit.spec, {"x": SAMPLES}, folder, folder, locked=section)
    made = circuit.engine.compile(request).section
    assert ("cut_sha256" in made["srs"]) is cut
    circuit.engine.prove(circuit.prove_request(section=made, build_dir=folder))
    return folder


def test_keys_are_the_same_whether_we_cut_or_ezkl_does(small_public: SmallCircuit, tmp_path: Path) -> None:
    whole = _compile(small_public, tmp_path / "whole", cut=False)
    assert (whole / "params.srs").read_bytes() == SRS.read_bytes(), "a lock without a cut is reproduced as it was made"
    cut = small_public.build_dir
    assert (cut / "params.srs").read_bytes() == CUT_SRS.read_bytes()
    for name in ("vk.key", "pk.key", "settings.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


def _reindexed(folder: Path) -> None:
    BuildFolder(folder).seal()


BUILD_ROWS: dict[str, Callable[[bytes], bytes]] = {
    "powers swapped": lambda data: _swap(data, 5),
    "basis swapped": lambda data: _swap(data, 1024 + 5),
    "truncated": lambda data: data[:-1],
    "padded": lambda data: data + bytes(1),
    "zeroed": lambda data: bytes(len(data)),
    "basis zeroed": lambda data: data[: 4 + 64 * 1024] + bytes(64 * 1024) + data[-256:],
    "the last 256 bytes zeroed": lambda data: data[:-256] + bytes(256),
    "the verifier's cut": lambda data: read_srs(SRS).verifier,
    "of fewer rows": lambda data: (SRS_FOLDER / "INSECURE-TEST-k09.srs").read_bytes(),
    "of more rows": lambda data: (SRS_FOLDER / "INSECURE-TEST-k11.srs").read_bytes(),
    "the source itself": lambda data: SRS.read_bytes(),
}


@pytest.mark.parametrize("reindex", [False, True], ids=["as it is", "index made again"])
@pytest.mark.parametrize("row", BUILD_ROWS)
def test_another_srs_in_the_build_folder_is_refused(
    small_public: SmallCircuit, tmp_path: Path, row: str, reindex: bool
) -> None:
    build = tmp_path / "build"
    shutil.copytree(small_public.build_dir, build)
    path = build / "params.srs"
    path.write_bytes(BUILD_ROWS[row](path.read_bytes()))
    if reindex:
        _reindexed(build)
    with pytest.raises(UsageError) as caught:
        small_public.engine.prove(small_public.prove_request(build_dir=build))
    assert caught.value.code == "stale-build"
    assert "params.srs" in caught.value.where
    assert "--engine ezkl --locked" in caught.value.hint


def test_compiling_again_mends_a_tampered_build_folder(small_public: SmallCircuit, tmp_path: Path) -> None:
    build = tmp_path / "build"
    shutil.copytree(small_public.build_dir, build)
    (build / "params.srs").write_bytes(_swap(CUT_SRS.read_bytes(), 1024 + 5))
    _reindexed(build)
    request = CompileRequest(
        small_public.model,
        small_public.spec,
        {"x": SAMPLES},
        build,
        build,
        locked=starting_section(small_public.model, small_public.spec),
    )
    section = small_public.engine.compile(request).section
    assert section == small_public.section
    assert (build / "params.srs").read_bytes() == CUT_SRS.read_bytes()


def test_a_lock_with_another_cut_does_not_reproduce(small_public: SmallCircuit, tmp_path: Path) -> None:
    section = starting_section(small_public.model, small_public.spec)
    section["srs"]["cut_sha256"] = "0" * 64
    tmp_path.chmod(0o700)
    request = CompileRequest(small_public.model, small_public.spec, {"x": SAMPLES}, tmp_path, tmp_path, locked=section)
    made = small_public.engine.compile(request).section
    assert made["srs"]["cut_sha256"] == read_srs(CUT_SRS).sha256, "computed, never copied from the lock"


SECTION_ROWS: dict[str, object] = {"not a digest": "zz", "upper case": "A" * 64, "a number": 7, "empty": ""}


@pytest.mark.parametrize("row", SECTION_ROWS)
def test_a_cut_that_no_lock_says_is_refused(small_public: SmallCircuit, row: str) -> None:
    section = json.loads(json.dumps(small_public.section))
    section["srs"]["cut_sha256"] = SECTION_ROWS[row]
    with pytest.raises(UsageError) as caught:
        parse_section(section)
    assert caught.value.code == "bad-lock"


def test_an_srs_without_rows_to_spare_has_no_cut(small_public: SmallCircuit) -> None:
    section = json.loads(json.dumps(small_public.section))
    section["srs"]["logrows"] = section["parameters"]["logrows"]
    with pytest.raises(UsageError) as caught:
        parse_section(section)
    assert caught.value.code == "bad-lock"
    del section["srs"]["cut_sha256"]
    assert parse_section(section).srs.working_sha256 == section["srs"]["sha256"]


def test_the_section_is_written_as_it_is_read(small_public: SmallCircuit) -> None:
    parsed = parse_section(small_public.section)
    assert parsed.srs.working_sha256 == parsed.srs.cut_sha256 == read_srs(CUT_SRS).sha256
    assert parse_section(parsed.to_toml()) == parsed
    without = replace(parsed, srs=replace(parsed.srs, cut_sha256=None))
    assert parse_section(without.to_toml()) == without


def test_a_candidate_that_is_no_file_is_passed_over(source: Path, tmp_path: Path) -> None:
    near = tmp_path / "near"
    near.mkdir()
    (near / "folder.srs").mkdir()
    (near / "null.srs").symlink_to("/dev/zero")
    (near / "dangling.srs").symlink_to(near / "nowhere")
    assert working_srs._candidates([near], 3) == []
