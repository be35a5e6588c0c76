"""What an input's or output's integers stand for: no lock reads them otherwise than the model was lowered, and a prover who is
free in the limbs of a hidden float32 number takes no path that a finite number does not take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.sumcheck_cheats import Cheat
from tests.unit.engines.sumcheck.test_engine import ENGINE, Compiled, compiled, spec_of
from tests.unit.onnx_graph.test_trees import FEATURES, regressor
from verifai.domain.findings import Outcome
from verifai.domain.ordered_floats import LARGEST, real
from verifai.domain.statement import Visibility
from verifai.engines.sumcheck import rederiving
from verifai.engines.sumcheck.boundary import check_boundary
from verifai.engines.sumcheck.build_folder import write_build
from verifai.engines.sumcheck.building import build_circuit, weights_identity
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.ops import View, operands
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.payload.bindings import BINDINGS
from verifai.engines.sumcheck.protocol.statement import HashedTensor
from verifai.engines.sumcheck.protocol.suite import SUITES
from verifai.engines.sumcheck.quantise.scales import ORDERED, ColumnScale, Scale
from verifai.engines.sumcheck.tensor_roots import root_of
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.errors import UsageError
from verifai.onnx_graph.canonicalise import canonicalise

# --- a lock whose circuit is the model's, and whose words are not ---

PLAIN = Scale(1 << 15, -15, -1024, 1023)
"""Step 1: its integers can be read by columns, which stand beside no other scale."""


@pytest.fixture(scope="module", params=[Visibility.PUBLIC, Visibility.PRIVATE])
def trees(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    source = regressor(1, targets=1, leaves=9)
    for attribute in source.graph.node[0].attribute:
        if attribute.name == "target_weights":
            attribute.floats[:] = [float(round(100 * one)) for one in attribute.floats]
    net = canonicalise(source.SerializeToString(), where="m").model
    return compiled(net, spec_of(net, x=request.param), tmp_path_factory.mktemp("trees"))


def relocked(trees: Compiled, build: Path, boundary: Mapping[str, Scale], **shown: Scale) -> Compiled:
    """A circuit that the compiler itself makes with the scales of ``boundary``; the lock shows others."""
    section = parse_section(trees.section)
    options = replace(section.options, boundary=boundary)
    tensors = {one.name: BINDINGS[one.visibility] for one in section.tensors}
    scales = {**section.scales, **shown, **boundary}
    lowered = build_circuit(trees.net, tensors, section.weights, scales, options, SUITES[section.suite])
    write_build(build, lowered)
    forged = replace(
        section,
        circuit_sha256=circuit_digest(encode(lowered.circuit)),
        weights_sha256=weights_identity(lowered),
        options=options,
        scales={**section.scales, **shown},
    )
    return replace(trees, section=forged.to_toml(), build=build)


def test_an_output_is_not_read_by_columns_that_its_circuit_does_not_have(
    trees: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """−24 was stated as −232, and an audit found the circuit, derived again, to be the pinned one."""
    columns = replace(PLAIN, columns=(ColumnScale(3, 5),))
    honest = relocked(trees, tmp_path, {"y": PLAIN})
    files = honest.prove().files
    request = honest.request(tmp_path, files)
    assert {one.outcome for one in ENGINE.rederive(request, honest.net)} == {Outcome.HOLDS}
    forged = replace(request, section=relocked(trees, tmp_path, {"y": PLAIN}, y=columns).section)
    with pytest.raises(UsageError) as refused:
        ENGINE.verify(forged)
    assert refused.value.code == "bad-lock"
    (found,) = ENGINE.rederive(forged, honest.net)
    assert (found.outcome, found.code) == (Outcome.REJECTED, "sumcheck-not-rederived")
    # Nothing else of an audit sees it: circuit and weights are the model's.
    monkeypatch.setattr(rederiving, "_read_otherwise", lambda *_: "")
    assert {one.outcome for one in ENGINE.rederive(forged, honest.net)} == {Outcome.HOLDS}


@pytest.mark.parametrize("scale", [ORDERED, replace(PLAIN, columns=(ColumnScale(3, 5),))])
@pytest.mark.parametrize("name", ["x", "y"])
def test_a_boundary_has_neither_columns_nor_float32_numbers(trees: Compiled, name: str, scale: Scale) -> None:
    """Else a segment would be lowered by them, and its statement read without."""
    section = parse_section(trees.section)
    options = replace(section.options, boundary={name: scale}).to_document()
    with pytest.raises(UsageError) as refused:
        parse_section({**trees.section, "options": options})
    assert refused.value.code == "bad-lock"
    assert "boundary" in (refused.value.where or "")


def test_a_boundary_is_not_shown_as_float32_numbers(trees: Compiled) -> None:
    """Its circuit takes integers of step 1; a statement would say that they are float32 numbers by their order."""
    section, (port,) = parse_section(trees.section), lowered(trees).circuit.inputs
    one = lowered(trees).circuit.tensors[port.tensor]
    options = replace(section.options, boundary={"x": Scale(1 << 15, -15, one.low, one.high)})
    with pytest.raises(UsageError) as refused:
        check_boundary(replace(section, options=options), lowered(trees).circuit)
    assert refused.value.code == "bad-lock"


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("columns", [[[0, 0]] * 3, [[0, 0]], [[1100, 0]] * 4, [[-1100, 0]], [[256, 1 << 52]]])
def test_columns_that_are_not_the_circuits_crash_no_verifier(
    trees: Compiled, tmp_path: Path, name: str, columns: list[list[int]]
) -> None:
    """Of another width, beside a scale of the whole, or of steps beyond any double."""
    request = trees.request(tmp_path, trees.prove().files)
    scales = [dict(one) for one in trees.section["scales"] if one["value"] != name]
    odd = {**PLAIN.to_document(), "value": name, "columns": columns}
    forged = replace(request, section={**trees.section, "scales": [*scales, odd]})
    with pytest.raises(UsageError) as refused:
        ENGINE.verify(forged)
    assert refused.value.code == "bad-lock"
    try:
        found = ENGINE.rederive(forged, trees.net)
    except UsageError as problem:  # where the lock's own reader refuses it
        assert problem.code == "bad-lock"
    else:
        assert Outcome.REJECTED in {one.outcome for one in found}


# --- limbs that a prover chooses ---


def lowered(trees: Compiled) -> Lowered:
    section = parse_section(trees.section)
    tensors = {one.name: BINDINGS[one.visibility] for one in section.tensors}
    return build_circuit(trees.net, tensors, section.weights, section.scales, section.options, SUITES[section.suite])


@pytest.fixture(scope="module", params=[Visibility.HASHED, Visibility.PRIVATE])
def hidden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    net = canonicalise(regressor(1, targets=1, leaves=4, trees=1).SerializeToString(), where="m").model
    return compiled(net, spec_of(net, x=request.param), tmp_path_factory.mktemp("hidden"))


@pytest.mark.parametrize("high, low", [(1, -(1 << 16)), (-1, 1 << 16)])
def test_a_number_has_no_second_pair_of_limbs(hidden: Compiled, high: int, low: int) -> None:
    """The same place, so every comparison and the output are what they were: only the table of limbs refuses it. With a
    second pair, a row would have a second root."""
    made = lowered(hidden)
    inputs = circuit_inputs(made.circuit, ["x"], hidden.feeds[0], made.scales)
    cheat = Cheat(made.circuit, made.weights, inputs)
    number = made.circuit.inputs[0].tensor
    limbs = [op.out for op in made.circuit.ops if isinstance(op, View) and operands(op) == (number,)]
    assert [made.circuit.tensors[one].name for one in limbs] == ["x.high", "x.low"]
    for place, (tensor, change) in enumerate(zip(limbs, (high, low), strict=True)):
        cheat.witness.tensors[number].reshape(-1)[place] += change
        cheat.witness.tensors[tensor].reshape(-1)[0] += change
    cheat.witness.counts = None
    refusal = cheat.refused()
    assert refusal.where == "lookups.layer0"
    assert refusal.equations in ((), ("lookups.layer0",))


def test_a_pair_beyond_the_finite_numbers_is_proven_as_the_largest_of_them(hidden: Compiled) -> None:
    """A prover may commit to a pair that no number has. What is proven of it then holds of a row of finite numbers, and no
    root that is made from numbers is its root."""
    made = lowered(hidden)
    for limbs, finite in (((32767, 32767), LARGEST), ((-32768, -32768), -LARGEST), ((32640, 0), LARGEST)):
        odd = np.tile(np.array(limbs, np.int64), (1, FEATURES, 1))
        row = {"x": np.full((1, FEATURES), real(finite), np.float32)}
        plain = circuit_inputs(made.circuit, ["x"], row, made.scales)
        outputs = [run(made.circuit, made.weights, [one]).outputs()[0] for one in (odd, plain[0])]
        assert np.array_equal(*outputs)
    cheat = Cheat(made.circuit, made.weights, [odd])
    stated = cheat.prove().statement.tensors[0]
    if isinstance(stated, HashedTensor):
        assert stated.root != root_of((1, FEATURES, 2), plain[0].reshape(-1).tolist())
