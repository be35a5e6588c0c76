"""RNN, GRU and LSTM, unrolled: one product per step with shared weights, gates cell by cell.

Meaning as in the ONNX specification. A sequence is as long as its axis: lengths that differ from it are refused.
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softsign": "Softsign", "softplus": "Softplus"}
_DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
MAX_STEPS = 1024


def unrolled(graph: Graph, node: Node, opset: int) -> list[Node]:
    """The plain nodes of one recurrent layer. Raises UnsupportedModel (``model-unknown-operator``, ``model-size-bomb``)."""
    del opset
    return _Layer(graph, node).nodes()


class _Layer:
    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph, self._node, self._kind = graph, node, node.op_type
        self._made: list[Node] = []
        self._batch_first = bool(node.integer("layout", 0))
        shape = graph.types[node.inputs[0]].shape
        if len(shape) != 3:
            raise refuse("model-malformed", f"its input has {len(shape)} axes, not 3", node.where)
        self._steps, self._batch = (shape[1], shape[0]) if self._batch_first else (shape[0], shape[1])
        if self._steps > MAX_STEPS:
            raise refuse("model-size-bomb", f"{self._steps} steps; at most {MAX_STEPS} are unrolled", node.where)
        self._directions = 2 if node.text("direction", "forward") == "bidirectional" else 1
        self._weights, self._recurrent = self._given(1), self._given(2)
        count = _GATES[self._kind]
        if self._recurrent.ndim != 3 or self._recurrent.shape[1] != count * self._recurrent.shape[2]:
            raise refuse("model-malformed", "its weights have another shape", node.where)
        self._size = self._recurrent.shape[2]
        self._bias = self._optional(3)
        if self._bias is None:
            self._bias = np.zeros((self._directions, 2 * count * self._size), np.float32)
        expected = [(self._directions, count * self._size, shape[2]), (self._directions, 2 * count * self._size)]
        if self._weights.shape != expected[0] or self._bias.shape != expected[1] or len(self._recurrent) != self._directions:
            raise refuse("model-malformed", "its weights have another shape", node.where)
        self._check()

    def _given(self, position: int) -> Array:
        found = self._optional(position)
        if found is None:
            raise refuse("model-malformed", "its weights are missing", self._node.where)
        return found

    def _optional(self, position: int) -> Array | None:
        inputs = self._node.inputs
        if position >= len(inputs) or not inputs[position]:
            return None
        found = self._graph.constants.get(inputs[position])
        if found is None:
            raise refuse("model-unknown-operator", "its weights and lengths must be constants", self._node.where)
        return found

    def _check(self) -> None:
        node, lengths = self._node, self._optional(4)
        if lengths is not None and bool((lengths != self._steps).any()):
            raise refuse(
                "model-unknown-operator", "its sequences are shorter than their axis", node.where, "Cut the input instead."
            )
        if node.number("clip", 0.0):
            raise refuse("model-unknown-operator", "it clips inside its cell", node.where)
        if node.integer("input_forget", 0):
            raise refuse("model-unknown-operator", "it couples input and forget gates", node.where)
        peepholes = self._optional(7) if self._kind == "LSTM" else None
        self._peepholes = None if peepholes is None else peepholes.reshape(self._directions, 3, self._size)
        given = node.attributes.get("activations")
        names = (
            [one.decode("utf-8", errors="replace") if isinstance(one, bytes) else str(one) for one in given]
            if isinstance(given, tuple)
            else []
        )
        each = len(_DEFAULTS[self._kind])
        names = names or list(_DEFAULTS[self._kind]) * self._directions
        if len(names) != each * self._directions or any(name.lower() not in _ACTIVATIONS for name in names):
            raise refuse("model-unknown-operator", f"its activations are {', '.join(names)[:80]}", node.where)
        self._functions = [names[each * number : each * (number + 1)] for number in range(self._directions)]

    # Nodes

    def _add(self, op: str, inputs: list[str], label: str, result: str = "", **attributes: object) -> str:
        name = result or self._graph.fresh(f"{self._node.name}_{label}")
        self._made.append(Node(op, inputs, [name], dict(attributes), name))  # type: ignore[arg-type]
        return name

    def _constant(self, label: str, array: Array) -> str:
        return self._graph.constant(f"{self._node.name}_{label}", array)

    def _apply(self, name: str, x: str, label: str) -> str:
        return self._add(_ACTIVATIONS[name.lower()], [x], label)

    def _reshaped(self, x: str, label: str, shape: tuple[int, ...], result: str = "") -> str:
        target = self._constant(f"{label}_shape", np.array(shape, np.int64))
        return self._add("Reshape", [x, target], label, result, allowzero=0)

    def _part(self, x: str, label: str, start: int, size: int) -> str:
        return self._add("Gather", [x, self._constant(f"{label}_places", np.arange(start, start + size))], label, axis=1)

    def nodes(self) -> list[Node]:
        backwards = self._node.text("direction", "forward") == "reverse"
        runs = [self._run(0, backwards)] + ([self._run(1, True)] if self._directions == 2 else [])
        outputs = [*self._node.outputs, "", "", ""][:3]
        joined = (self._batch, 1, 1, self._size) if self._batch_first else (1, 1, self._batch, self._size)
        if outputs[0]:
            steps = []
            for at in range(self._steps):
                rows = [self._reshaped(states[at], f"state_{at}", joined) for states, _ in runs]
                axis = 2 if self._batch_first else 1
                steps.append(self._add("Concat", rows, f"states_{at}", axis=axis) if len(rows) > 1 else rows[0])
            self._joined(steps, 1 if self._batch_first else 0, outputs[0])
        for position, pick in ((1, 0), (2, 1)):
            if not outputs[position]:
                continue
            last = [cells[-1] if pick else self._last(states, number, backwards) for number, (states, cells) in enumerate(runs)]
            shape = (self._batch, 1, self._size) if self._batch_first else (1, self._batch, self._size)
            rows = [self._reshaped(one, f"last_{position}", shape) for one in last]
            self._joined(rows, 1 if self._batch_first else 0, outputs[position])
        return self._made

    def _last(self, states: list[str], number: int, backwards: bool) -> str:
        return states[0] if number == 1 or backwards else states[-1]

    def _joined(self, rows: list[str], axis: int, result: str) -> None:
        if len(rows) > 1:
            self._add("Concat", rows, "joined", result, axis=axis)
        else:
            self._add("Identity", rows, "joined", result)

    def _start(self, position: int, number: int) -> str | None:
        """A direction's first state, (batch, size); None where it is 0."""
        inputs = self._node.inputs
        if position >= len(inputs) or not inputs[position]:
            return None
        found = self._graph.constants.get(inputs[position])
        if found is not None and not found.any():
            return None
        axis = 1 if self._batch_first else 0
        chosen = self._add(
            "Gather", [inputs[position], self._constant(f"direction_{position}", np.array([number]))], "start", axis=axis
        )
        return self._reshaped(chosen, f"start_{position}", (self._batch, self._size))

    def _run(self, number: int, backwards: bool) -> tuple[list[str], list[str]]:
        """All states of one direction in the order of time, and all cells in the order in which they were computed."""
        weight = np.ascontiguousarray(self._weights[number].T)
        size, count = self._size, _GATES[self._kind]
        assert self._bias is not None
        inner, outer = self._bias[number][: count * size], self._bias[number][count * size :]
        late = self._kind == "GRU" and bool(self._node.integer("linear_before_reset", 0))
        bias = inner + outer
        if late:
            bias = np.concatenate([bias[: 2 * size], inner[2 * size :]])
        operands = [self._constant(f"weights_{number}", weight), self._constant(f"bias_{number}", bias.astype(np.float32))]
        recurrent = np.ascontiguousarray(self._recurrent[number].T)
        shared = {"recurrent": self._constant(f"recurrent_{number}", recurrent)}
        if self._kind == "GRU":
            shared = {
                "gates": self._constant(f"recurrent_gates_{number}", np.ascontiguousarray(recurrent[:, : 2 * size])),
                "hidden": self._constant(f"recurrent_hidden_{number}", np.ascontiguousarray(recurrent[:, 2 * size :])),
                "after": self._constant(f"recurrent_bias_{number}", outer[2 * size :].astype(np.float32)) if late else "",
            }
        hidden, cell = self._start(5, number), self._start(6, number) if self._kind == "LSTM" else None
        states: dict[int, str] = {}
        cells: list[str] = []
        time = 1 if self._batch_first else 0
        for at in reversed(range(self._steps)) if backwards else range(self._steps):
            label = f"{number}_{at}"
            place = self._constant(f"step_{label}", np.array(at))
            row = self._add("Gather", [self._node.inputs[0], place], f"x_{label}", axis=time)
            part = self._add("Gemm", [row, *operands], f"input_{label}", alpha=1.0, beta=1.0, transA=0, transB=0)
            if self._kind == "RNN":
                total = part if hidden is None else self._plus(part, hidden, shared["recurrent"], label)
                hidden = self._apply(self._functions[number][0], total, f"h_{label}")
            elif self._kind == "GRU":
                hidden = self._gru(number, part, hidden, shared, label)
            else:
                hidden, cell = self._lstm(number, part, hidden, cell, shared["recurrent"], label)
                cells.append(cell)
            states[at] = hidden
        return [states[at] for at in range(self._steps)], cells

    def _plus(self, part: str, hidden: str, weights: str, label: str) -> str:
        product = self._add("MatMul", [hidden, weights], f"recurrent_{label}")
        return self._add("Add", [part, product], f"sum_{label}")

    def _gru(self, number: int, part: str, hidden: str | None, shared: dict[str, str], label: str) -> str:
        """h' = (1 − z)·n + z·h with gates z, r."""
        size, (gate, inner) = self._size, self._functions[number]
        gates = self._part(part, f"gates_{label}", 0, 2 * size)
        fresh = self._part(part, f"new_{label}", 2 * size, size)
        if hidden is not None:
            gates = self._plus(gates, hidden, shared["gates"], f"gates_{label}")
        gates = self._apply(gate, gates, f"zr_{label}")
        update = self._part(gates, f"z_{label}", 0, size)
        if hidden is not None or shared["after"]:
            reset = self._part(gates, f"r_{label}", size, size)
            if shared["after"]:
                product = shared["after"]
                if hidden is not None:
                    product = self._add("MatMul", [hidden, shared["hidden"]], f"old_{label}")
                    product = self._add("Add", [product, shared["after"]], f"old_biased_{label}")
                product = self._add("Mul", [reset, product], f"reset_{label}")
            else:
                assert hidden is not None
                product = self._add("Mul", [reset, hidden], f"reset_{label}")
                product = self._add("MatMul", [product, shared["hidden"]], f"old_{label}")
            fresh = self._add("Add", [fresh, product], f"new_sum_{label}")
        fresh = self._apply(inner, fresh, f"n_{label}")
        # n + z·(h − n)
        if hidden is None:
            rest = self._add("Sub", [self._constant(f"one_{label}", np.array(1, np.float32)), update], f"rest_{label}")
            return self._add("Mul", [rest, fresh], f"h_{label}")
        change = self._add("Sub", [hidden, fresh], f"change_{label}")
        share = self._add("Mul", [update, change], f"share_{label}")
        return self._add("Add", [fresh, share], f"h_{label}")

    def _lstm(
        self, number: int, part: str, hidden: str | None, cell: str | None, recurrent: str, label: str
    ) -> tuple[str, str]:
        """c' = f·c + i·g, h' = o·tanh(c'), with gates in the order i, o, f, g."""
        size, (gate, inner, last) = self._size, self._functions[number]
        total = part if hidden is None else self._plus(part, hidden, recurrent, label)
        i, o, f, g = (self._part(total, f"{letter}_{label}", at * size, size) for at, letter in enumerate("iofg"))
        if self._peepholes is not None and cell is not None:
            i, f = self._peeped(number, i, cell, 0, label), self._peeped(number, f, cell, 2, label)
        i, g = self._apply(gate, i, f"in_{label}"), self._apply(inner, g, f"new_{label}")
        fresh = self._add("Mul", [i, g], f"added_{label}")
        if cell is not None:
            kept = self._add("Mul", [self._apply(gate, f, f"forget_{label}"), cell], f"kept_{label}")
            fresh = self._add("Add", [kept, fresh], f"c_{label}")
        if self._peepholes is not None:
            o = self._peeped(number, o, fresh, 1, label)
        return self._add(
            "Mul", [self._apply(gate, o, f"out_{label}"), self._apply(last, fresh, f"shown_{label}")], f"h_{label}"
        ), fresh

    def _peeped(self, number: int, gate: str, cell: str, place: int, label: str) -> str:
        assert self._peepholes is not None
        weights = self._constant(f"peephole_{place}_{label}", self._peepholes[number][place].astype(np.float32))
        return self._add("Add", [gate, self._add("Mul", [cell, weights], f"seen_{place}_{label}")], f"peeped_{place}_{label}")
