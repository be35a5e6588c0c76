"""Tables as inputs: columns by name, numbers exact, everything else refused with its row and column."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from verifai.domain.categories import Categories
from verifai.domain.table_columns import UNNAMED, TableColumns
from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected, UsageError
from verifai.onnx_graph import csv_tables
from verifai.onnx_graph.inputs import Samples, read_samples


class Takes:
    """A stand-in for a model: only its inputs matter here."""

    def __init__(self, *inputs: TensorSpec) -> None:
        self.inputs = inputs


WINE = Takes(TensorSpec("X", "float32", (1, 3)))
NAMED = TableColumns({"X": ("alcohol", "ash", "hue")})
PAIR = Takes(TensorSpec("age", "float32", (1, 1)), TensorSpec("code", "int64", (1, 1)))


def read(text: str | bytes, model: Takes = WINE, columns: TableColumns = NAMED) -> Samples:
    return read_samples("-", model, stdin=text.encode() if isinstance(text, str) else text, columns=columns)


def values(samples: Samples, name: str = "X") -> Any:
    return np.concatenate([sample[name] for sample in samples]).tolist()


ROWS = [[1.5, -2.0, 3.0], [4.0, 0.25, 60.0]]


REFUSED = {
    "an empty cell": ("alcohol,ash,hue\n1,2,3\n1,,3\n", "input-non-finite", "row 2 (line 3), column 'ash'"),
    "NaN": ("alcohol,ash,hue\n1,2,nan\n", "input-non-finite", "row 1 (line 2), column 'hue'"),
    "NA": ("alcohol,ash,hue\n1,NA,2\n", "input-non-finite", "column 'ash'"),
    "infinity": ("alcohol,ash,hue\n1,-inf,2\n", "input-non-finite", "column 'ash'"),
    "a number beyond float32": ("alcohol,ash,hue\n1,1e300,2\n", "input-non-finite", "row 1 (line 2), column 'ash'"),
    "a word": ("alcohol,ash,hue\n1,red,2\n", "input-dtype", "row 1 (line 2), column 'ash'"),
    "an underscore": ("alcohol,ash,hue\n1,1_000,2\n", "input-dtype", "column 'ash'"),
    "hexadecimal": ("alcohol,ash,hue\n1,0x10,2\n", "input-dtype", "column 'ash'"),
    "other digits": ("alcohol,ash,hue\n1,٣,2\n", "input-dtype", "column 'ash'"),
    "a comma that may be thousands": ("alcohol;ash;hue\n1;2,500;2\n", "input-dtype", "column 'ash'"),
    "decimal commas beside points": ("alcohol;ash;hue\n1;2,5;2.5\n", "input-dtype", "column 'ash'"),
    "a decimal comma between commas": ('alcohol,ash,hue\n1,"2,5",2\n', "input-dtype", "column 'ash'"),
    "a truth among numbers": ("alcohol,ash,hue\n1,true,2\n1,2,2\n", "input-dtype", "column 'ash'"),
    "a missing column": ("alcohol,hue\n1,2\n", "input-missing", ""),
    "an extra column": ("alcohol,ash,hue,target\n1,2,3,0\n", "input-unknown", ""),
    "an index without a name": (",alcohol,ash,hue\n0,1,2,3\n", "input-unknown", ""),
    "a short row": ("alcohol,ash,hue\n1,2\n", "input-malformed", "row 1 (line 2)"),
    "a long row": ("alcohol,ash,hue\n1,2,3\n\n1,2,3,4\n", "input-malformed", "row 2 (line 4)"),
    "two columns of one name": ("ash,ash,hue\n1,2,3\n", "input-malformed", ""),
    "no header": ("1,2,3\n4,5,6\n", "input-malformed", ""),
    "no row": ("alcohol,ash,hue\n", "input-malformed", ""),
    "a quote that is left open": ('alcohol,ash,hue\n1,"2,3\n', "input-malformed", "line 2"),
    "text that is not UTF-8": ("alcohol,äsh,hue\n1,2,3\n".encode("latin-1"), "input-malformed", ""),
    "UTF-16": ("alcohol,ash,hue\n1,2,3\n".encode("utf-16"), "input-malformed", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_with_row_and_column(case: str) -> None:
    text, code, place = REFUSED[case]
    with pytest.raises(InputRejected) as caught:
        read(text)
    assert (caught.value.code, caught.value.status) == (code, 2)
    assert place in caught.value.where
    assert caught.value.hint or "cells, but" in caught.value.message or case.endswith(("no row", "open"))


@pytest.mark.parametrize(
    "text",
    [
        "alcohol,ash,hue\n1.5,-2,3\n4.0,.25,6e1\n",
        "alcohol;ash;hue\r\n1.5;-2;3\r\n4.0;.25;6e1\r\n",
        'alcohol\tash\thue\n"1.5"\t-2\t3\n4.0\t.25\t6e1',
        '"alcohol","ash","hue"\n 1.5, -2, +3\n\n4.0,.25,6e1\n\n',
        "\ufeffalcohol,ash,hue\n1.5,-2,3\n4.0,.25,6e1\n",
    ],
)
def test_separators_quotes_blanks_and_a_byte_order_mark(text: str) -> None:
    samples = read(text)
    assert (values(samples), samples.notes) == (ROWS, ())


def test_columns_are_taken_by_name_and_another_order_is_said() -> None:
    samples = read("hue,alcohol,ash\n3,1.5,-2\n60,4,0.25\n")
    assert values(samples) == ROWS
    assert any("by their names" in note for note in samples.notes)


def test_a_quoted_separator_in_a_name() -> None:
    columns = TableColumns({"X": ("alcohol, %", "ash;x", "hue")})
    assert values(read('"alcohol, %";"ash;x";hue\n1.5;-2;3\n', columns=columns)) == ROWS[:1]


def test_a_column_that_is_dropped_is_left_out_and_said() -> None:
    text = "alcohol,colour,ash,hue\n1.5,red,-2,3\n"
    with pytest.raises(InputRejected) as caught:
        read(text)
    assert "'colour'" in caught.value.message
    assert "--drop colour" in caught.value.hint
    samples = read(text, columns=TableColumns(NAMED.names, frozenset({"colour", "never there"})))
    assert values(samples) == ROWS[:1]
    assert any("'colour'" in note for note in samples.notes)


def test_the_hint_can_be_pasted() -> None:
    with pytest.raises(InputRejected) as caught:
        read("alcohol,ash,hue,my target,\n1,2,3,0,1\n")
    assert "--drop 'my target' --drop ''" in caught.value.hint


def test_the_label_is_kept_beside_the_inputs() -> None:
    samples = read("alcohol,ash,hue,label\n1.5,-2,3,7\n4,.25,60,x\n")
    assert values(samples) == ROWS
    assert samples.label is not None
    assert samples.label.tolist() == ["7", "x"]


def test_without_known_names_all_columns_are_taken_in_order_and_said() -> None:
    samples = read("a,b,c\n1.5,-2,3\n4,.25,60\n", columns=UNNAMED)
    assert values(samples) == ROWS
    assert any("in the file's order" in note for note in samples.notes)
    with pytest.raises(InputRejected) as caught:
        read("a,b,c,d\n1,2,3,4\n", columns=UNNAMED)
    assert (caught.value.code, "--drop d;" in caught.value.hint) == ("input-shape", True)
    with pytest.raises(InputRejected) as caught:
        read("a,b\n1,2\n", columns=UNNAMED)
    assert (caught.value.code, "'a', 'b'" in caught.value.hint) == ("input-shape", True)


def test_several_inputs_take_the_columns_of_their_names() -> None:
    samples = read("code,age\n7,30.5\n", PAIR, UNNAMED)
    assert (samples[0]["age"].tolist(), samples[0]["code"].tolist()) == ([[30.5]], [[7]])
    assert samples[0]["code"].dtype == np.int64
    for cell, code in (("7.0", "input-dtype"), ("99999999999999999999", "input-dtype"), ("", "input-non-finite")):
        with pytest.raises(InputRejected) as caught:
            read(f"code,age\n{cell},30.5\n", PAIR, UNNAMED)
        assert (caught.value.code, "column 'code'" in caught.value.where) == (code, True)


def test_wide_inputs_of_a_model_with_several_need_names() -> None:
    model = Takes(*WINE.inputs, TensorSpec("age", "float32", (1, 1)))
    with pytest.raises(InputRejected) as caught:
        read("alcohol,ash,hue,age\n1,2,3,4\n", model, UNNAMED)
    assert "[inputs.NAME]" in caught.value.hint
    assert values(read("age,alcohol,ash,hue\n4,1.5,-2,3\n", model)) == ROWS[:1]


def test_booleans_are_words() -> None:
    model = Takes(TensorSpec("on", "bool", (1, 2)))
    assert values(read("a,b\nTrue,false\n", model, UNNAMED), "on") == [[True, False]]
    with pytest.raises(InputRejected) as caught:
        read("a,b\n1,0\n", model, UNNAMED)
    assert caught.value.hint == "Write true or false."


def test_pixels_are_read_row_by_row() -> None:
    model = Takes(TensorSpec("x", "float32", (1, 1, 2, 2)))
    samples = read("p0,p1,p2,p3\n1,2,3,4\n", model, UNNAMED)
    assert samples[0]["x"].tolist() == [[[[1, 2], [3, 4]]]]


def test_decimal_numbers_are_rounded_to_the_nearest_float32() -> None:
    assert values(read("alcohol,ash,hue\n0.1,16777217,1e-50\n")) == [np.array([0.1, 16777216, 0], np.float32).tolist()]


def test_a_table_of_too_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_tables, "MAX_ROWS", 2)
    with pytest.raises(InputRejected) as caught:
        read("alcohol,ash,hue\n" + 3 * "1,2,3\n")
    assert caught.value.code == "input-too-large"


def test_a_reader_that_looks_at_each_sample_gets_them_all() -> None:
    text = "alcohol,ash,hue\n1,,3\n1,2,-inf\n1,2,3\n"
    samples = read_samples("-", WINE, stdin=text.encode(), columns=NAMED, finite=False)
    assert [bool(np.isfinite(one["X"]).all()) for one in samples] == [False, False, True]
    with pytest.raises(InputRejected) as caught:
        read_samples("-", WINE, stdin=b"alcohol,ash,hue\n1,red,3\n", columns=NAMED, finite=False)
    assert caught.value.code == "input-dtype"


def parquet(**columns: Any) -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="reading Parquet needs the [tables] extra")
    from pyarrow import parquet as files

    buffer = io.BytesIO()
    files.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def test_parquet_is_read_by_name() -> None:
    data = parquet(hue=[3.0, 60.0], alcohol=[1.5, 4.0], ash=np.array([-2, 0.25], np.float32), colour=["red", None])
    with pytest.raises(InputRejected) as caught:
        read(data)
    assert (caught.value.code, "'colour'" in caught.value.message) == ("input-unknown", True)
    samples = read(data, columns=TableColumns(NAMED.names, frozenset({"colour"})))
    assert values(samples) == ROWS


def test_parquet_numbers_are_rounded_like_decimal_text() -> None:
    data = parquet(alcohol=[0.1], ash=np.array([16777217], np.int64), hue=[1e-50])
    assert values(read(data)) == [np.array([0.1, 16777216, 0], np.float32).tolist()]


@pytest.mark.parametrize(
    ("column", "code", "place"),
    [
        ([1.0, None], "input-non-finite", "row 2, column 'ash'"),
        ([1.0, float("nan")], "input-non-finite", "row 2, column 'ash'"),
        (["a", "b"], "input-dtype", "column 'ash'"),
        ([True, False], "input-dtype", "column 'ash'"),
        ([[1.0], [2.0]], "input-dtype", "column 'ash'"),
    ],
)
def test_parquet_cells_are_refused_with_their_place(column: Any, code: str, place: str) -> None:
    with pytest.raises(InputRejected) as caught:
        read(parquet(alcohol=[1.0, 2.0], ash=column, hue=[1.0, 2.0]))
    assert (caught.value.code, place in caught.value.where) == (code, True)


def test_parquet_that_is_cut_off_is_refused() -> None:
    data = parquet(alcohol=[1.0], ash=[1.0], hue=[1.0])
    for end in (4, len(data) // 2, len(data) - 1):
        with pytest.raises(InputRejected) as caught:
            read(data[:end])
        assert caught.value.code == "input-malformed"


def test_parquet_of_no_row_is_refused() -> None:
    with pytest.raises(InputRejected) as caught:
        read(parquet(alcohol=np.zeros(0), ash=np.zeros(0), hue=np.zeros(0)))
    assert caught.value.code == "input-malformed"


def test_without_pyarrow_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError) as caught:
        read(b"PAR1")
    assert (caught.value.code, "[tables]" in caught.value.hint) == ("extra-missing", True)


def test_parquet_with_gaps_is_left_to_a_reader_that_looks_at_each_sample() -> None:
    data = parquet(alcohol=[1.0, 2.0], ash=[1.0, None], hue=[3, 4])
    samples = read_samples("-", WINE, stdin=data, columns=NAMED, finite=False)
    assert [bool(np.isfinite(one["X"]).all()) for one in samples] == [True, False]


TEXTS = TableColumns(
    {"X": ("age", "job", "town")},
    categories={"X": {1: Categories(("clerk", "doctor")), 2: Categories(("1", "0"), others=True)}},
)


def test_texts_are_read_by_their_categories() -> None:
    found = read("town,age,job\n1, 30 ,doctor\n0,31,clerk\nBonn,32,clerk\n", columns=TEXTS)
    assert values(found) == [[30.0, 1.0, 0.0], [31.0, 0.0, 1.0], [32.0, 0.0, 2.0]]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("age,job,town\n30,farmer,1\n", "input-dtype", "'farmer' is none of the column's categories"),
        ("age,job,town\n30,1,1\n", "input-dtype", "'1' is none of the column's categories"),
        ("age,job,town\n30,Clerk,1\n", "input-dtype", "'Clerk' is none of the column's categories"),
        ("age,job,town\n30,,1\n", "input-non-finite", "the cell is empty"),
        ("age,job,town\n30,clerk,\n", "input-non-finite", "the cell is empty"),
    ],
)
def test_a_text_that_is_no_category_is_refused_where_it_stands(text: str, code: str, message: str) -> None:
    with pytest.raises(InputRejected) as caught:
        read(text, columns=TEXTS)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert "row 1 (line 2), column" in (caught.value.where or "")


def test_texts_of_a_parquet_file_are_read_by_their_categories_too() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the [tables] extra")
    from pyarrow import parquet

    def stored(jobs: Any) -> bytes:
        target = io.BytesIO()
        parquet.write_table(pyarrow.table({"age": [30.0, 31.0], "job": jobs, "town": ["1", "Oslo"]}), target)
        return target.getvalue()

    assert values(read(stored(["doctor", "clerk"]), columns=TEXTS)) == [[30.0, 1.0, 0.0], [31.0, 0.0, 2.0]]
    coded = pyarrow.array(["doctor", "clerk"]).dictionary_encode()
    assert values(read(stored(coded), columns=TEXTS)) == [[30.0, 1.0, 0.0], [31.0, 0.0, 2.0]]
    for jobs, message in (([1, 0], "a column of numbers"), (["doctor", None], "the cell is empty")):
        with pytest.raises(InputRejected, match=message):
            read(stored(jobs), columns=TEXTS)


def test_texts_that_repeat_without_limit_are_refused_or_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the [tables] extra")
    from pyarrow import parquet

    from verifai.onnx_graph import parquet as ours

    target = io.BytesIO()
    long = "x" * 1_000_000
    parquet.write_table(pyarrow.table({"age": [1.0] * 2000, "job": [long] * 2000, "town": ["1"] * 2000}), target)
    assert len(target.getvalue()) < 1_000_000  # 2 GB if each cell were a text of its own
    with pytest.raises(InputRejected, match="none of the column's categories"):
        read(target.getvalue(), columns=TEXTS)
    monkeypatch.setattr(ours, "MAX_BYTES", 100_000)
    with pytest.raises(InputRejected) as caught:
        read(target.getvalue(), columns=TEXTS)
    assert caught.value.code == "input-too-large"


def test_decimal_commas_between_semicolons_are_read_and_said() -> None:
    found = read("alcohol;ash;hue\n1,5;-2;3,000\n4;0,25;6e1\n")
    assert values(found) == [[1.5, -2.0, 3.0], [4.0, 0.25, 60.0]]
    assert any("decimal commas" in note for note in found.notes)


def test_texts_of_a_category_keep_their_commas() -> None:
    columns = TableColumns({"X": ("alcohol", "ash", "hue")}, categories={"X": {1: Categories(("2,5", "3,5"))}})
    assert values(read("alcohol;ash;hue\n1,5;3,5;2\n", columns=columns)) == [[1.5, 1.0, 2.0]]


def test_a_column_of_truths_is_one_of_ones_and_zeros() -> None:
    assert values(read("alcohol,ash,hue\n1,True,FALSE\n2,false,true\n")) == [[1.0, 1.0, 0.0], [2.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("2024-03-01", "date"),
        ("01.03.2024", "date"),
        ("12:30", "time"),
        ("-2.5%", "unit"),
        ("€ 12", "unit"),
        ('"1,234.5"', "thousands"),
    ],
)
def test_what_is_no_number_is_told_what_it_looks_like(cell: str, word: str) -> None:
    with pytest.raises(InputRejected) as caught:
        read(f"alcohol,ash,hue\n1,{cell},2\n")
    assert caught.value.code == "input-dtype" and word in caught.value.hint


def test_an_unknown_category_is_one_samples_fault_for_a_reader_that_looks_at_each() -> None:
    columns = TableColumns({"X": ("alcohol", "ash", "hue")}, categories={"X": {1: Categories(("red", "white"))}})
    text = b"alcohol,ash,hue\n1,red,2\n1,green,2\n1,white,2\n"
    with pytest.raises(InputRejected) as caught:
        read(text, columns=columns)
    assert "'green'" in caught.value.message
    found = read_samples("-", WINE, stdin=text, columns=columns, finite=False)
    assert np.isnan(found[1]["X"]).tolist() == [[False, True, False]] and values(found[:1]) == [[1.0, 0.0, 2.0]]
    (note,) = found.notes
    assert "'green' (row 2 (line 3), column 'ash')" in note and "'red', 'white'" in note


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("alcohol,ash,hue\n1,2\n", "2 cells, but the header names 3 columns", "for each column"),
        ("# made by hand\n1,2,3\n", "3 cells, but the header names 1 column", "for each column"),
        ("alcohol,ash,hue\n", "a header, but no row", "every further row is a sample"),
        ('alcohol,ash,hue\n1,"2,3\n', "not CSV", "quoted"),
        ("a,b,c\n1,2,3\n", "there are no columns 'alcohol', 'ash', 'hue'", "The file has: 'a', 'b', 'c'."),
        ("alcohol,ash,b\n1,2,3\n", "there is no column 'hue'", "The file has"),
        ("Paris,2,3\nRome,3,4\n", "there are no columns", "The first row must name the columns."),
    ],
)
def test_what_is_wrong_with_a_table_is_mended_in_the_table(text: str, message: str, hint: str) -> None:
    with pytest.raises(InputRejected) as caught:
        read(text)
    assert message in caught.value.message
    assert hint in caught.value.hint and "numpy" not in caught.value.hint
