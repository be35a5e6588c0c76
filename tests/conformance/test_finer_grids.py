"""Circuits whose values, inputs and outputs have more bits than a table: both verifiers give the same verdicts on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.lowering_runs import SUITES
from tests.support.second_verifier import case_of, differences, first
from tests.unit.engines.sumcheck.test_sensitivity import rectified, speech, tuned
from verifai.domain.statement import WeightVisibility
from verifai.engines.sumcheck.building import build_circuit
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.tensors import circuit_inputs

pytestmark = pytest.mark.js
PUBLIC = dict.fromkeys(("x", "y"), Visibility.PUBLIC)


@pytest.mark.parametrize("suite", SUITES)
def test_both_verifiers_agree_on_finer_grids(suite: str, tmp_path: Path) -> None:
    """A tuned spectrum, and a rectifier with a wide output: and each of the statement's last bytes changed."""
    source, feeds = speech()
    found = tuned()
    spectrum = build_circuit(source, PUBLIC, WeightVisibility.PUBLIC, found.scales, found.options, SUITES[suite])
    small, scales = rectified(20)
    wide = {**scales, "y": replace(scales["r"], low=-(1 << 28), high=(1 << 28) - 1)}
    layer = build_circuit(small, PUBLIC, WeightVisibility.PUBLIC, wide, QuantiserOptions(fine=True), SUITES[suite])
    inputs = [circuit_inputs(spectrum.circuit, ["x"], feeds[0]), [np.array([[0, 1, -1, 2, 77, 12345, -12345, 1 << 22]])]]
    cases = []
    for name, made, given in zip(("spectrum", "layer"), (spectrum, layer), inputs, strict=True):
        key = prepare(made.circuit, made.weights)
        proven = prove(key, run(made.circuit, made.weights, given))
        case = case_of(name, key, proven, made.weights)
        assert first(case).code == ""
        statement = case.files["statement.bin"]
        cases.append(case)
        for at in range(len(statement) - 24, len(statement)):
            changed = statement[:at] + bytes([statement[at] ^ 0x40]) + statement[at + 1 :]
            bad = replace(case, name=f"{name}, byte {at}", files={**case.files, "statement.bin": changed})
            assert first(bad).code
            cases.append(bad)
    result = layer.circuit.tensors[layer.circuit.outputs[0].tensor]
    assert (result.high - result.low).bit_length() > 16
    assert not differences(cases, tmp_path)
