"""Data sets are read whole or refused with the place; equal samples have one root, and whatever differs has another."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.evaluations import lock_of, rows_set
from verifai.domain.evaluation.data_lock import DataKind, DataTask, parse_data_lock
from verifai.domain.toml import parse_toml
from verifai.errors import EvidenceRejected, InputRejected, UsageError
from verifai.stages.evaluation.data_set import DataSet, digests_of, pin, read_carried, to_file
from verifai.stages.evaluation.lock_file import read_data_lock, render_data_lock, write_data_lock
from verifai.stages.evaluation.read_data import DataOptions, read_data


def test_the_root_of_two_small_samples_is_computed_as_the_page_says() -> None:
    data = DataSet(
        DataKind.ARRAYS, DataTask.CLASSIFICATION, {"x": np.array([[1.0], [2.0]], np.float32)}, np.array([0, 1]), ("0", "1")
    )

    def number(value: int) -> bytes:
        return value.to_bytes(8, "little")

    def sized(part: bytes) -> bytes:
        return number(len(part)) + part

    def leaf(cells: bytes, label: int) -> bytes:
        named = sized(b"x") + sized(b"float32") + number(1) + number(1)  # of rank 1, and of size 1
        inputs = b"verifai/sample-inputs/v1\n" + number(1) + named + sized(cells)
        entry = b"verifai/sample/v1\n" + sized(inputs) + sized(number(label))
        return hashlib.sha256(b"\x00" + entry).digest()

    leaves = [leaf(np.array([value], "<f4").tobytes(), label) for value, label in ((1.0, 0), (2.0, 1))]
    assert digests_of(data).root == hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).hexdigest()


def test_every_change_of_a_data_set_changes_its_root() -> None:
    data = rows_set()
    x = np.array(data.inputs["x"])
    changed = [
        data.first(9),
        replace(data, inputs={"y": x}),
        replace(data, inputs={"x": x.astype(np.float64)}),
        replace(data, inputs={"x": x.reshape(-1, 2, 2)}),
        replace(data, inputs={"x": x[::-1].copy()}),
        replace(data, labels=data.labels[::-1].copy()),
        replace(data, groups=data.groups[1:] + data.groups[:1]),
        replace(data, groups=()),
    ]
    roots = {digests_of(one).root for one in [data, *changed]}
    assert len(roots) == len(changed) + 1
    assert digests_of(rows_set()).root == digests_of(data).root
    big = replace(data, inputs={"x": x.astype(">f4")})  # the same numbers, stored the other way round
    assert digests_of(big).root == digests_of(data).root


def test_what_a_bundle_carries_is_read_back_and_held_to_the_pin(tmp_path: Path) -> None:
    texts = ("ä", "b,c", "\n")
    data = DataSet(
        DataKind.TABLE,
        DataTask.REGRESSION,
        {"n": np.array([1, 2, 3]), "t": texts},
        np.array([0.5, -1.0, 2.0]),
        (),
        ("g", "g", "h"),
    )
    path = tmp_path / "data.npz"
    path.write_bytes(to_file(data))
    lock = pin(data, "set", "y", group="who")
    found = read_carried(path, lock)
    assert found.inputs["t"] == texts
    with pytest.raises(EvidenceRejected):
        read_carried(path, replace(lock, root=lock.inputs_root, inputs_root=lock.root))


def test_a_lock_is_read_as_it_was_written_and_refused_when_edited(tmp_path: Path) -> None:
    lock = lock_of(rows_set())
    write_data_lock(tmp_path / "data.lock", lock)
    assert read_data_lock(tmp_path / "data.lock") == lock
    text = render_data_lock(lock).decode()
    edits = {
        "count = 10": "count = 0",
        'task = "classification"': 'task = "guessing"',
        'group = "group"': "",
        '"a",': '"b",',
        "[data]": "[data]\nsurprise = 1",
        "verifai/data-lock/v1": "verifai/data-lock/v9",
    }
    for old, new in edits.items():
        assert old in text
        with pytest.raises(UsageError) as caught:
            parse_data_lock(parse_toml(text.replace(old, new, 1).encode()), "data.lock")
        assert caught.value.code == "bad-data-lock"
    with pytest.raises(UsageError):
        write_data_lock(tmp_path / "bad.lock", replace(lock, name="a\x1bb"))
    assert not (tmp_path / "bad.lock").exists()


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / f"t{sum(1 for _ in tmp_path.iterdir())}.csv"
    path.write_text(text)
    return path


def test_tables_give_numbers_texts_classes_and_groups(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,sex,label\n1,f,yes\n2.5,m,no\n3,f,no\n")
    found = read_data(path, DataOptions(group="sex")).data
    assert found.classes == ("no", "yes")
    assert found.labels.tolist() == [1, 0, 0]
    assert found.groups == ("f", "m", "f")
    assert list(found.inputs) == ["a", "sex"]
    assert isinstance(found.inputs["sex"], tuple)


def test_parquet_and_csv_of_the_same_numbers_have_one_root(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the [tables] extra")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the [tables] extra")
    parquet.write_table(arrow.table({"a": [0.5, 1.5, 2.25], "b": [1, 2, 3], "label": [0, 1, 1]}), tmp_path / "t.parquet")
    path = csv(tmp_path, "a,b,label\n0.50,1,0\n1.5,2,1\n2.25,3,1\n")
    assert digests_of(read_data(path).data).root == digests_of(read_data(tmp_path / "t.parquet").data).root


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (["0", "2", "1"], DataTask.CLASSIFICATION, ("0", "1", "2")),
        (["-1", "1", "1"], DataTask.CLASSIFICATION, ("-1", "1")),
        (["true", "false", "true"], DataTask.CLASSIFICATION, ("false", "true")),
        (["0.5", "2", "1"], DataTask.REGRESSION, ()),
        ([str(one) for one in range(30)], DataTask.REGRESSION, ()),
    ],
)
def test_labels_are_taken_for_what_they_look_like(
    tmp_path: Path, labels: list[str], task: DataTask, classes: tuple[str, ...]
) -> None:
    path = csv(tmp_path, "a,label\n" + "".join(f"{row},{label}\n" for row, label in enumerate(labels)))
    found = read_data(path).data
    assert (found.task, found.classes) == (task, classes)


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        ("a,b\n1,2\n", DataOptions(), "label-missing"),
        ("a,label,y\n1,2,3\n", DataOptions(), "label-missing"),
        ("a,label\n1,2\n", DataOptions(label="z"), "input-missing"),
        ("a,label\n1,2\n", DataOptions(group="z"), "input-missing"),
        ("label\n1\n", DataOptions(), "input-missing"),
        ("a,label\n1,\n2,x\n", DataOptions(), "input-malformed"),
        ("a,g,label\n1,,x\n2,u,x\n", DataOptions(group="g"), "input-malformed"),
        ("a,label\n1,x\n", DataOptions(task=DataTask.REGRESSION), "input-dtype"),
        ("a,label\n1,1e300\n2,0.5\n", DataOptions(), "input-dtype"),
        ("a,label\n1,x\n", DataOptions(classes=("y",)), "input-dtype"),
        ("a,label\n1,5\n", DataOptions(classes=("y", "z")), "input-dtype"),
        ("a,label\n1,\x1b[31m\n2,y\n", DataOptions(), "input-malformed"),
        ("a,label\n", DataOptions(), "input-malformed"),
    ],
)
def test_tables_that_cannot_be_counted_are_refused(tmp_path: Path, text: str, options: DataOptions, code: str) -> None:
    with pytest.raises(InputRejected) as caught:
        read_data(csv(tmp_path, text), options)
    assert caught.value.code == code
    assert caught.value.where


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"x": np.zeros((3, 2))}, "label-missing"),
        ({"x": np.zeros((3, 2)), "label": np.zeros(2)}, "input-shape"),
        ({"x": np.zeros((3, 2)), "label": np.zeros((3, 2))}, "input-shape"),
        ({"x": np.full((2, 2), np.nan), "label": np.zeros(2)}, "input-non-finite"),
        ({"x": np.zeros((2, 2), np.complex64), "label": np.zeros(2)}, "input-dtype"),
        ({"x": np.zeros(()), "label": np.zeros(2)}, "input-shape"),
        ({"label": np.zeros(2)}, "input-missing"),
        ({"x": np.zeros((0, 2)), "label": np.zeros(0)}, "input-shape"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], code: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputRejected) as caught:
        read_data(tmp_path / "x.npz")
    assert caught.value.code in (code, "input-shape", "input-malformed")


def picture(path: Path, value: int, mode: str = "L", size: tuple[int, int] = (4, 3)) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs the [images] extra")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)


def test_folders_of_pictures_by_table_and_by_class_give_the_same_pixels(tmp_path: Path) -> None:
    for name, value in (("a/1.png", 10), ("a/2.png", 20), ("b/1.png", 30)):
        picture(tmp_path / "classes" / name, value)
        picture(tmp_path / "table" / name, value)
    (tmp_path / "table" / "labels.csv").write_text("file,label\na/1.png,a\na/2.png,a\nb/1.png,b\n")
    by_class, by_table = read_data(tmp_path / "classes").data, read_data(tmp_path / "table").data
    assert by_class.kind is DataKind.PICTURES
    assert by_class.classes == ("a", "b")
    assert digests_of(by_class).root == digests_of(by_table).root
    pixels = by_class.inputs["image"]
    assert not isinstance(pixels, tuple)
    assert pixels.shape == (3, 1, 3, 4)


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "missing.png", "", "a/../../outside.png", "link.png"])
def test_a_table_of_pictures_reaches_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "set" / "in.png", 1)
    picture(tmp_path / "outside.png", 2)
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "set" / "labels.csv").write_text(f'file,label\nin.png,a\n"{name}",b\n')
    with pytest.raises(UsageError) as caught:
        read_data(tmp_path / "set")
    assert caught.value.code in ("input-malformed", "file-missing")


def test_pictures_of_other_sizes_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a" / "1.png", 1)
    picture(tmp_path / "set" / "a" / "2.png", 1, size=(5, 3))
    with pytest.raises(InputRejected) as caught:
        read_data(tmp_path / "set")
    assert caught.value.code == "input-shape"
    (tmp_path / "set" / "a" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(InputRejected) as caught:
        read_data(tmp_path / "set")
    assert caught.value.code == "input-malformed"
    with pytest.raises(InputRejected) as caught:
        read_data(tmp_path / "set" / "a")
    assert caught.value.code == "label-missing"


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "breast-cancer-mlp", "lenet5"])
def test_the_data_of_the_fixtures_are_data_sets(name: str) -> None:
    from tests.support.paths import ROOT

    found = read_data(ROOT / "fixtures" / name / "heldout.npz").data
    assert found.task is DataTask.CLASSIFICATION
    assert len(found.classes) == (2 if name == "breast-cancer-mlp" else 10)


@pytest.mark.parametrize(
    ("loader", "task", "count"),
    [
        ("load_digits", DataTask.CLASSIFICATION, 1797),
        ("load_breast_cancer", DataTask.CLASSIFICATION, 569),
        ("load_wine", DataTask.CLASSIFICATION, 178),
        ("load_diabetes", DataTask.REGRESSION, 442),
    ],
)
def test_the_data_sets_of_scikit_learn_are_taken_for_what_they_are(
    tmp_path: Path, loader: str, task: DataTask, count: int
) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs the [sklearn] extra")
    found = getattr(datasets, loader)()
    np.savez(tmp_path / "x.npz", x=found.data, target=found.target)
    read = read_data(tmp_path / "x.npz").data
    assert (read.task, len(read)) == (task, count)
