"""What was proven, in values: never a name that the lock does not have, never a class that nobody decides, never a crash."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from verifai.domain.digest import sha256
from verifai.domain.fidelity import Fidelity, OutputFigures, Task
from verifai.domain.names import PlaceNames
from verifai.domain.shown import ShownTensor, number_text, shown_line, shown_values, statement_document
from verifai.domain.statement import (
    Column,
    EngineName,
    Privacy,
    Role,
    Statement,
    TensorStatement,
    Visibility,
    WeightVisibility,
)


def tensor(quantised: Any, shape: tuple[int, ...], scale: Any = Fraction(1, 100), role: Role = Role.OUTPUT, **more: Any) -> Any:
    name = more.pop("name", "y" if role is Role.OUTPUT else "x")
    return TensorStatement(role, name, shape, Visibility.PUBLIC, Fraction(scale), quantised=tuple(quantised), **more)


def statement(*tensors: TensorStatement) -> Statement:
    digest = sha256(b"x")
    return Statement(
        EngineName.SUMCHECK, digest, digest, tensors, "", True, Privacy.INTEGRITY_ONLY, WeightVisibility.PUBLIC
    )  # fmt: skip


def fidelity(task: Task | None, *outputs: OutputFigures, top1: int | None = 1) -> Fidelity:
    return Fidelity(1, top1, 0.0, 0.0, 0, task=task, outputs=outputs)


def figures(threshold: float | None = None, cells: int = 3) -> OutputFigures:
    return OutputFigures("y", (1.0,) * cells, 0.0, 1.0, threshold)


def only(shown: tuple[ShownTensor, ...]) -> ShownTensor:
    (one,) = shown
    return one


LABELS = PlaceNames({"y": ("a", "b", "c")})


def test_one_number_is_told_with_its_step() -> None:
    one = only(shown_values(statement(tensor([537], (1, 1), Fraction(22, 100)))))
    assert shown_line(one) == "output y = 118.1 (step 0.22)"
    assert one.to_json()["values"] == [118.14]


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (118.14, 0.22, "118.1"),
        (-0.001, 0.01, "0.00"),
        (5.0, 1.0, "5"),
        (1234567.0, 12.0, "1234567"),
        (0.1234567, 1e-5, "0.12346"),
        (3e-40, 1e-42, "3e-40"),
        (1e300, 1e290, "1e+300"),
        (None, 1.0, "beyond any double"),
        (0.5, 0.0, "0.5"),
        (0.5, -1.0, "0.5"),
    ],
)
def test_digits_follow_the_step(value: float | None, step: float, text: str) -> None:
    assert number_text(value, step) == text


def test_only_the_lock_names_a_class() -> None:
    proven = statement(tensor([2, 95, 3], (1, 3)))
    pinned = fidelity(Task.CLASSIFICATION, figures())
    assert shown_line(only(shown_values(proven, LABELS, pinned))) == "output y = a 0.02, b 0.95, c 0.03 (step 0.01); class 1, b"
    assert shown_line(only(shown_values(proven, None, pinned))) == "output y = 0.02, 0.95, 0.03 (step 0.01); class 1"
    assert shown_line(only(shown_values(proven))) == "output y = 0.02, 0.95, 0.03 (step 0.01)"
    # Labels of another number fit no place.
    wrong = only(shown_values(proven, PlaceNames({"y": ("a", "b")}), pinned))
    assert wrong.names == () and wrong.decisions[0].label == ""
    other = only(shown_values(proven, PlaceNames({"z": ("a", "b", "c")}), pinned))
    assert other.decisions[0].label == ""


def test_a_regression_and_one_number_name_no_class() -> None:
    proven = statement(tensor([2, 95, 3], (1, 3)))
    assert not only(shown_values(proven, LABELS, fidelity(Task.REGRESSION, figures(), top1=None))).decides
    assert not only(shown_values(statement(tensor([5], (1, 1))), None, fidelity(None))).decides
    assert not only(shown_values(proven, None, fidelity(None, top1=None))).decides
    assert only(shown_values(proven, None, fidelity(None))).decisions[0].index == 1, "older locks know classes alone"


def test_one_cell_is_on_one_side_or_the_other() -> None:
    pinned, names = fidelity(Task.CLASSIFICATION, figures(0.5, cells=1)), PlaceNames({"y": ("no", "yes")})
    for quantised, said in ((49, "class 0, no"), (50, "class 1, yes")):
        one = only(shown_values(statement(tensor([quantised], (1, 1))), names, pinned))
        assert shown_line(one).endswith(said)


def test_several_labels_are_those_that_say_yes() -> None:
    pinned = fidelity(Task.MULTI_LABEL, figures(0.5))
    one = only(shown_values(statement(tensor([90, 10, 60], (1, 3))), LABELS, pinned))
    assert shown_line(one).endswith("; labels 0, a; 2, c")
    none = only(shown_values(statement(tensor([9, 10, 6], (1, 3))), LABELS, pinned))
    assert shown_line(none).endswith("; no label") and none.to_json()["decisions"] == []


def test_an_integer_is_the_class_itself() -> None:
    pinned = fidelity(Task.CLASSIFICATION)
    assert shown_line(only(shown_values(statement(tensor([2], (1,), 1)), LABELS, pinned))) == "output y = 2; class 2, c"
    for beyond in (-1, 3):
        assert only(shown_values(statement(tensor([beyond], (1,), 1)), LABELS, pinned)).decisions[0].label == ""


def test_every_row_has_a_class_and_long_lists_are_counted() -> None:
    pinned = fidelity(Task.CLASSIFICATION, figures(cells=1))
    rows = [cell for row in range(10) for cell in (row % 2, 1 - row % 2)]
    one = only(shown_values(statement(tensor(rows, (1, 10, 2))), None, pinned))
    assert [decision.index for decision in one.decisions] == [1, 0] * 5
    assert "0 (row 1)" in shown_line(one) and "… and 6 more" in shown_line(one)
    assert "… and 14 more (20 values from 0.00 to 0.01, step 0.01)" in shown_line(one)


def test_of_many_classes_the_largest_are_told() -> None:
    cells = list(range(1000))
    cells[7] = 5000
    one = only(shown_values(statement(tensor(cells, (1, 1000))), None, fidelity(Task.CLASSIFICATION, figures(cells=1))))
    assert shown_line(one).startswith("output y = [7] 50.00, [999] 9.99, [998] 9.98, … and 997 more (1,000 values")
    cut = one.cut(4)
    assert len(cut.values) == 4 and cut.size == 1000 and shown_line(cut) == shown_line(one)


def test_a_table_row_has_its_columns_names_and_steps() -> None:
    columns = (Column(Fraction(1, 4), 0), Column(Fraction(100), -3))
    proven = statement(tensor([6, 7], (1, 2), 1, Role.INPUT, columns=columns))
    one = only(shown_values(proven, PlaceNames(columns={"x": ("height", "price")})))
    assert shown_line(one) == "input x = height 1.5, price 1000" and one.values == (1.5, 1000.0)
    assert one.to_json()["column_names"] == ["height", "price"] and one.to_json()["steps"] == [0.25, 100.0]


def test_what_is_hidden_is_not_shown() -> None:
    hidden = TensorStatement(Role.INPUT, "x", (1,), Visibility.PRIVATE, Fraction(1))
    hashed = TensorStatement(Role.OUTPUT, "y", (1,), Visibility.HASHED, Fraction(1), digest="00", digest_scheme="s")
    assert shown_values(statement(hidden, hashed), LABELS, fidelity(Task.CLASSIFICATION)) == ()


@pytest.mark.parametrize("scale", [Fraction(10**400), Fraction(1, 10**400), Fraction(0), Fraction(-1, 3)])
def test_a_scale_that_nobody_would_write_is_shown_all_the_same(scale: Fraction) -> None:
    """An inspected bundle claims what it likes."""
    one = only(
        shown_values(statement(tensor([3, -(2**70), 0], (1, 3), scale)), LABELS, fidelity(Task.CLASSIFICATION, figures()))
    )
    assert shown_line(one).startswith("output y = ")
    json.dumps(one.to_json(), allow_nan=False)


def test_the_json_statement_keeps_its_fields_and_gains_numbers() -> None:
    proven = statement(tensor([2, 95, 3], (1, 3)), TensorStatement(Role.INPUT, "x", (1,), Visibility.PRIVATE, Fraction(1)))
    shown = shown_values(proven, LABELS, fidelity(Task.CLASSIFICATION, figures()))
    document = statement_document(proven, shown)
    signed = proven.to_json()
    for found, before in zip(document["tensors"], signed["tensors"], strict=True):
        assert {name: found[name] for name in before} == before
    assert document["tensors"][0]["values"] == [0.02, 0.95, 0.03] and document["tensors"][0]["labels"] == ["a", "b", "c"]
    assert document["tensors"][0]["decisions"] == [{"row": 0, "index": 1, "label": "b"}]
    assert document["tensors"][1] == signed["tensors"][1], "a private tensor has no values"
    assert {name: value for name, value in document.items() if name != "tensors"} == {
        name: value for name, value in signed.items() if name != "tensors"
    }
