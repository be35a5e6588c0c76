"""Inputs that are taken as float32 numbers by their order: what a lock may say of them, and what a verdict then shows."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engines.sumcheck.test_engine import ENGINE, Compiled, compiled, spec_of
from tests.unit.onnx_graph.test_trees import regressor
from verifai.domain.findings import Outcome
from verifai.domain.ordered_floats import LARGEST
from verifai.domain.statement import Encoding, Role, Visibility
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


def test_only_public_inputs_are_taken_so(trees: Compiled, tmp_path: Path) -> None:
    request = trees.request(tmp_path, trees.prove().files)
    hashed = [dict(one, visibility=Visibility.HASHED.value) for one in trees.section["tensors"]]
    section = changed(trees)
    output = {**next(one for one in section["scales"] if one["value"] == "x"), "value": "y"}
    scales = [one for one in section["scales"] if one["value"] != "y"]
    for change in ({"tensors": hashed}, {"scales": [*scales, output]}):
        with pytest.raises(UsageError) as refused:
            ENGINE.verify(replace(request, section={**section, **change}))
        assert refused.value.code == "bad-lock"
