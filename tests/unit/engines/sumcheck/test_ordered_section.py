"""Inputs that are taken as float32 numbers by their order: what a lock may say of them, and what a verdict then shows."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.engines.sumcheck.test_engine import ENGINE, Compiled, compiled, spec_of
from tests.unit.onnx_graph.test_trees import FEATURES, regressor
from verifai.domain.findings import Outcome
from verifai.domain.ordered_floats import LARGEST, ordered, real
from verifai.domain.statement import Encoding, Role, Visibility
from verifai.engines.capabilities import CheckInputsRequest
from verifai.engines.interface import ProveRequest
from verifai.errors import EvidenceRejected, UsageError
from verifai.onnx_graph.canonicalise import canonicalise


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    net = canonicalise(regressor(1, targets=1, leaves=20).SerializeToString(), where="m").model
    return compiled(net, spec_of(net), tmp_path_factory.mktemp("trees"))


def changed(trees: Compiled, **fields: Any) -> dict[str, Any]:
    """The section with other fields in the scale of the input, or without those that are None."""
    scales = [dict(scale) for scale in trees.section["scales"]]
    (own,) = (scale for scale in scales if scale["value"] == "x")
    for name, value in fields.items():
        own.pop(name, None)
        if value is not None:
            own[name] = value
    return {**trees.section, "scales": scales}


def test_the_statement_has_the_numbers_themselves(trees: Compiled, tmp_path: Path) -> None:
    verified = ENGINE.verify(trees.request(tmp_path, trees.prove().files))
    (tensor,) = verified.statement.of(Role.INPUT)
    assert tensor.encoding is Encoding.FLOAT32
    assert tensor.values() == tuple(trees.feeds[0]["x"].reshape(-1).tolist())
    found = ENGINE.rederive(trees.request(tmp_path, trees.prove().files), trees.net)
    assert {finding.outcome for finding in found} == {Outcome.HOLDS}


def test_another_number_is_rejected(trees: Compiled, tmp_path: Path) -> None:
    files = dict(trees.prove().files)
    data, start = files["statement.bin"], len(b"verifai/sumcheck-statement/1")
    for cell in (struct.unpack_from("<i", data, start)[0] ^ 1, LARGEST + 1, -(1 << 31)):
        forged = data[:start] + struct.pack("<i", cell) + data[start + 4 :]
        with pytest.raises(EvidenceRejected):
            ENGINE.verify(trees.request(tmp_path, {**files, "statement.bin": forged}))


def test_a_lock_that_calls_them_scaled_is_not_what_the_model_gives(trees: Compiled, tmp_path: Path) -> None:
    request = trees.request(tmp_path, trees.prove().files)
    found = ENGINE.rederive(replace(request, section=changed(trees, ordered=None)), trees.net)
    assert Outcome.REJECTED in {finding.outcome for finding in found}


@pytest.mark.parametrize(
    "fields", [{"ordered": False}, {"high": 5}, {"exponent": -14}, {"zero_point": 1}, {"columns": [[0, 0]]}]
)
def test_a_lock_has_one_spelling_for_it(fields: dict[str, Any], trees: Compiled, tmp_path: Path) -> None:
    request = trees.request(tmp_path, trees.prove().files)
    with pytest.raises(UsageError) as refused:
        ENGINE.verify(replace(request, section=changed(trees, **fields)))
    assert refused.value.code == "bad-lock"


def test_only_inputs_are_taken_so(trees: Compiled, tmp_path: Path) -> None:
    request = trees.request(tmp_path, trees.prove().files)
    hashed = [dict(one, visibility=Visibility.HASHED.value) for one in trees.section["tensors"]]
    section = changed(trees)
    output = {**next(one for one in section["scales"] if one["value"] == "x"), "value": "y"}
    scales = [one for one in section["scales"] if one["value"] != "y"]
    # Of the first, the circuit is that of a public input: it has no limbs.
    for change in ({"tensors": hashed}, {"scales": [*scales, output]}):
        with pytest.raises(UsageError) as refused:
            ENGINE.verify(replace(request, section={**section, **change}))
        assert refused.value.code == "bad-lock"


# --- hidden: two limbs for every number ---


@pytest.fixture(scope="module", params=[Visibility.HASHED, Visibility.PRIVATE])
def hidden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    net = canonicalise(regressor(1, targets=1, leaves=20).SerializeToString(), where="m").model
    return compiled(net, spec_of(net, x=request.param), tmp_path_factory.mktemp("hidden"))


def test_a_hidden_row_is_bound_by_its_limbs(hidden: Compiled, tmp_path: Path) -> None:
    files = hidden.prove().files
    verified = ENGINE.verify(hidden.request(tmp_path, files))
    (tensor,) = verified.statement.of(Role.INPUT)
    assert (tensor.encoding, tensor.shape, tensor.quantised) == (Encoding.FLOAT32, (1, FEATURES), None)
    row = hidden.feeds[0]["x"]
    if tensor.visibility is Visibility.HASHED:
        near = np.nextafter(row, np.float32(np.inf))
        assert tensor.digest == ENGINE.digest(tensor, row) != ENGINE.digest(tensor, near)
    cells = struct.pack(f"<{row.size}i", *(ordered(float(value)) for value in row.reshape(-1)))
    assert all(cells[at : at + 4] not in data for data in files.values() for at in range(0, len(cells), 4))
    found = ENGINE.rederive(hidden.request(tmp_path, files), hidden.net)
    assert {finding.outcome for finding in found} == {Outcome.HOLDS}


def test_a_batch_of_hidden_rows_is_bound_by_its_root(hidden: Compiled, tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    batch = compiled(hidden.net, replace(hidden.spec, batch=4), build)
    rows = {"x": np.stack([feed["x"] for feed in batch.feeds[:3]])}
    made = ENGINE.prove(ProveRequest(batch.net, batch.spec, batch.section, build, rows, context="nonce"))
    (tensor,) = ENGINE.verify(batch.request(tmp_path, made.files)).statement.of(Role.INPUT)
    assert (tensor.shape, tensor.batch) == ((3, 1, FEATURES), 4)
    if tensor.visibility is Visibility.HASHED:
        assert tensor.digest == ENGINE.digest(tensor, rows["x"])


@pytest.mark.parametrize("change", ["not ordered", "public", "the limbs' shape"])
def test_a_lock_that_says_otherwise_of_hidden_rows_is_refused(change: str, hidden: Compiled, tmp_path: Path) -> None:
    request, section = hidden.request(tmp_path, hidden.prove().files), dict(hidden.section)
    tensors = [dict(one) for one in section["tensors"]]
    (own,) = (one for one in tensors if one["name"] == "x")
    if change == "public":
        own["visibility"] = "public"
    elif change == "the limbs' shape":
        own["shape"] = [1, FEATURES, 2]
    else:  # else two numbers would be shown where one of the model's stands
        section = changed(hidden, ordered=None)
    with pytest.raises(UsageError) as refused:
        ENGINE.verify(replace(request, section={**section, "tensors": tensors}))
    assert refused.value.code == "bad-lock"


def test_the_ends_of_hidden_numbers_are_those_of_float32(hidden: Compiled, tmp_path: Path) -> None:
    """A hidden cell that is not finite is refused, whatever its column; every finite one is taken."""
    files = hidden.prove().files
    paths = hidden.request(tmp_path, files).files
    assert ENGINE.input_ranges(hidden.section, paths) == {"x": (-LARGEST, LARGEST)}
    largest = {"x": np.full((1, FEATURES), real(LARGEST), np.float32)}
    samples = [hidden.feeds[0], {"x": np.full((1, FEATURES), np.nan, np.float32)}, largest, {"x": -largest["x"]}]
    found = ENGINE.outside_inputs(CheckInputsRequest(hidden.net, hidden.section, hidden.build, samples))
    assert [one.row for one in found] == [1]
