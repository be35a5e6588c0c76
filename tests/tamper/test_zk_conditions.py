"""What docs/engine/zero-knowledge.md says of condition N1: two proofs with one opening number give a hashed tensor away.

A positive control: the arithmetic of the simulator's lemma 7, turned against a prover that breaks the lemma's condition. The
same attack on two proofs with two numbers finds nothing.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from tests.support.sumcheck_levels import force_levels
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover.prove import TensorOpening, prepare, prove
from verifai.engines.sumcheck.verifier import opening_hiding
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify

CELLS = 300


@pytest.fixture
def combinations(monkeypatch):
    """(row weights, u) of every C_io that the verifier looks at: public values, as they follow from the proof."""
    monkeypatch.setattr(Sketch, "suite", ZERO_KNOWLEDGE)
    force_levels(monkeypatch)  # levels would only have to be solved for the combinations first
    found, check = [], opening_hiding.check_combinations

    def listening(channel, groups, levels, openings):
        check(channel, groups, levels, openings)
        start = channel._next - sum(group.shape.degree for group in groups)
        for group in groups:
            stop = start + group.shape.degree
            if group.members[0].label.startswith("io:"):
                found.append((group.members[0].weights, channel._messages[start:stop]))
            start = stop

    monkeypatch.setattr(opening_hiding, "check_combinations", listening)
    return found


def _solved(matrix, values):
    """The one solution mod p of matrix·x = values; extra equations must agree."""
    rows = [[*map(int, row), int(value)] for row, value in zip(matrix, values, strict=True)]
    unknowns = len(rows[0]) - 1
    for k in range(unknowns):
        pivot = next(i for i in range(k, len(rows)) if rows[i][k] % P)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        inverse = pow(rows[k][k], -1, P)
        rows[k] = [entry * inverse % P for entry in rows[k]]
        for i in range(len(rows)):
            if i != k and rows[i][k]:
                factor = rows[i][k]
                rows[i] = [(a - factor * b) % P for a, b in zip(rows[i], rows[k], strict=True)]
    return None if any(row[-1] for row in rows[unknowns:]) else [row[-1] for row in rows[:unknowns]]


def _attack(combinations):
    """Per coefficient: 4 equations over F_p, 2 unknown blind cells of pair 0 and the tensor's one row."""
    (first, u), (second, w) = combinations
    unknown = [0, 1, len(first) - 1]
    matrix = [[weights[i][part] for i in unknown] for weights in (first, second) for part in (0, 1)]
    cells = []
    for a, b in zip(u[:CELLS], w[:CELLS], strict=True):
        solution = _solved(matrix, (*a, *b))
        if solution is None:
            return None
        cells.append(solution[2] if solution[2] < P // 2 else solution[2] - P)
    return cells


@pytest.mark.parametrize("numbers", [(0, 0), (0, 1)])
def test_one_opening_number_used_twice_gives_a_hashed_tensor_away(combinations, numbers):
    sketch = Sketch(5)
    x = sketch.input((1, CELLS), hashed=True)
    circuit = sketch.finish(sketch.requant(sketch.matmul(x, 6), relu=False))
    (cells,) = examples.random_input(circuit)
    key, trace = prepare(circuit, sketch.cells), run(circuit, sketch.cells, [cells])
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    weights = trust_weights(trusted, key.identity, encode_weights(circuit, [w.reshape(-1).tolist() for w in sketch.cells]))
    for i, number in enumerate(numbers):
        proven = prove(key, trace, bytes([i]), secrets={x: TensorOpening(b"secret of the tensor" + bytes(12), number)})
        verify(trusted, weights, proven.statement, proven.proof)  # each alone is a good proof
    if numbers[0] == numbers[1]:
        assert _attack(combinations) == np.asarray(cells).reshape(-1).tolist()
    else:  # pair 1 is unknown too, and pair 0 does not explain its combination
        assert _attack(combinations) is None
