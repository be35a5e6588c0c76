"""The estimate of a proof's memory follows what is kept, in both suites."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import sumcheck_examples as examples
from verifai.engines.sumcheck.circuit.program import Circuit, Weight, WeightVisibility
from verifai.engines.sumcheck.planning import memory
from verifai.engines.sumcheck.planning.memory import (
    codeword_bytes,
    first_kept,
    kept_weights_bytes,
    peak_memory_bytes,
    weights_bytes,
)
from verifai.engines.sumcheck.planning.plan import plan, planned
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE


def _wide(size: int, suite=INTEGRITY) -> Circuit:
    """One layer of 8,192 inputs, whose weights nobody has."""
    circuit, _ = examples.mlp(committed=True)
    sketch = examples.Sketch(0)
    x = sketch.input((1, 8192))
    sketch.weights += [Weight("w0", (size, 8192), 127, 1 << 20), Weight("w1", (size,), 1000, 1000)]
    out = sketch.requant(sketch.add(examples.ops.MatMul, x, 0, 1, contract=1), relu=False)
    ports = tuple(replace(port, tensor=tensor) for port, tensor in ((circuit.inputs[0], x), (circuit.outputs[0], out)))
    made = replace(sketch._circuit(), suite="draft", inputs=ports[:1], outputs=ports[1:])
    return planned(replace(made, weight_visibility=WeightVisibility.COMMITTED), suite)


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
def test_a_code_word_counts_where_it_is_kept(suite, monkeypatch):
    circuit = _wide(16384, suite)  # 134 million cells
    layout = plan(circuit)
    long = codeword_bytes(layout.weights.shape)
    assert long > memory.CODEWORD_BYTES > codeword_bytes(layout.witness.shape)
    found = peak_memory_bytes(circuit, layout)
    monkeypatch.setattr(memory, "CODEWORD_BYTES", long)
    assert peak_memory_bytes(circuit, layout) >= found + long


def test_padded_weights_count_where_they_are_kept(monkeypatch):
    weights = [Weight("w", (1025, 4096), 127, 1 << 20)]  # as 2,048 rows of 8 bytes a cell, or as bytes
    padded = 8 * 2048 * 4096
    assert weights_bytes(weights) == 2 * padded <= 2 * memory.PADDED_BYTES
    monkeypatch.setattr(memory, "PADDED_BYTES", padded - 1)
    assert weights_bytes(weights) == (8 + 1) * 1025 * 4096 + 3 * padded
    assert kept_weights_bytes(weights) == 2 * 1025 * 4096


def test_a_long_opening_takes_a_quarter(monkeypatch):
    layout = plan(_wide(16384))
    long = memory._opening_bytes(layout.weights)
    assert layout.weights.stored_cells > memory.LONG_CELLS > layout.witness.stored_cells
    monkeypatch.setattr(memory, "LONG_CELLS", 1 << 40)
    assert memory._opening_bytes(layout.weights) > 2 * long


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
def test_cells_are_kept_from_the_first_row_on(suite):
    commitment = plan(_wide(1100, suite)).weights
    first = first_kept(commitment)
    assert first == min(commitment.first_row * commitment.shape.message, 1 << commitment.log_cells - 1) > 0
    assert first >= memory.blind_cells(commitment)
    short = replace(commitment, first_row=1)  # the blind pair of a hiding one reaches beyond it
    assert first_kept(short) == (0 if suite is ZERO_KNOWLEDGE else commitment.shape.message)
    assert all(first <= address for column in commitment.columns.values() for address in column.addresses)
