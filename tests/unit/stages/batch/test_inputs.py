"""Which inputs a batch was given: told apart exactly, and of hidden ones nothing is beside the bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from verifai.domain.tensor import TensorSpec
from verifai.errors import UsageError
from verifai.stages.batch.inputs import (
    batch_digest,
    differing_hidden_input,
    input_digest,
    inputs_path,
    keep_hidden_inputs,
)

SPECS = (TensorSpec("x", "float32", (1, 2)), TensorSpec("n", "int64", (1,)))
SAMPLE = {"x": np.array([[1, 2]], np.float32), "n": np.array([3])}
RUN = "0" * 32


def test_every_cell_and_its_place_are_in_the_digest() -> None:
    other = [
        {**SAMPLE, "x": np.array([[2, 1]], np.float32)},
        {**SAMPLE, "x": np.array([[1, 2]], np.float64)},
        {**SAMPLE, "x": np.array([[1], [2]], np.float32)},
        {**SAMPLE, "n": np.array([4])},
    ]
    digests = {input_digest(sample, SPECS) for sample in (SAMPLE, *other)}
    assert len(digests) == 5
    swapped = {**SAMPLE, "x": SAMPLE["x"].astype(">f4")}
    assert input_digest(swapped, SPECS) == input_digest(SAMPLE, SPECS), "the machine's byte order is none of its matter"
    one, two = (input_digest(sample, SPECS) for sample in (SAMPLE, other[0]))
    assert batch_digest([one, two]) != batch_digest([two, one])


def test_hidden_inputs_are_compared_by_keyed_digests_that_only_the_owner_reads(tmp_path: Path) -> None:
    digests = [input_digest({**SAMPLE, "n": np.array([number])}, SPECS) for number in (1, 2, 2)]
    keep_hidden_inputs(tmp_path / "s", RUN, digests)
    path = inputs_path(tmp_path / "s", RUN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    text = path.read_text()
    assert not any(digest in text for digest in digests)
    rows = text.partition('"rows": [')[2].split(",")
    assert len(set(rows)) == 3, "equal inputs do not show as equal"
    assert differing_hidden_input(tmp_path / "s", RUN, digests) is None
    assert differing_hidden_input(tmp_path / "s", RUN, [digests[0], digests[2], digests[0]]) == 2
    assert differing_hidden_input(tmp_path / "s", RUN, digests[:2]) == 2


@pytest.mark.parametrize("edit", [None, ("batch-inputs/v1", "x"), (f'"run": "{RUN}"', '"run": "x"'), ('"key"', '"k"')])
def test_without_them_a_batch_is_not_continued(tmp_path: Path, edit: tuple[str, str] | None) -> None:
    digests = [input_digest(SAMPLE, SPECS)]
    keep_hidden_inputs(tmp_path, RUN, digests)
    path = inputs_path(tmp_path, RUN)
    if edit is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace(*edit))
    with pytest.raises(UsageError) as caught:
        differing_hidden_input(tmp_path, RUN, digests)
    assert caught.value.code == "index-inputs-unknown"
