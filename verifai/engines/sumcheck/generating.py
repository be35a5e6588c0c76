"""generate: a compiled decoder's own integer program continues a prompt, token by token, before anything is proven."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from verifai.engines.capabilities import Generated, GenerateRequest
from verifai.engines.interface import Tensors
from verifai.engines.sumcheck.build_folder import read_build, stale
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.interpreter.positions import NotByPositions
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.interpreter.stepwise import Stepwise
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.lock_section import LockSection, expect_suite, parse_section
from verifai.engines.sumcheck.payload.files import WEIGHTS_FILE
from verifai.engines.sumcheck.tensors import circuit_inputs, real_outputs
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.child import Limits
from verifai.execution.watched import within


def generate(request: GenerateRequest) -> Generated:
    """Continue the prompt greedily.

    Raises:
        InputRejected: a token that the circuit does not know, or an inner value out of its reach.
        UsageError: ``stale-build``, ``bad-lock``, ``engine-version``, ``batch-unsupported``.
        Undecided: the budget's memory or time.
    """
    return within(Limits(request.budget.memory_bytes, None, request.budget.prove_seconds), lambda: _generate(request))


def _generate(request: GenerateRequest) -> Generated:
    from verifai.engines.sumcheck.interpreter.weights import decode_arrays

    section = parse_section(request.section)
    expect_suite(section)
    _, circuit, blob = read_build(request.build_dir, section)
    if circuit.batch:
        hint = "Compile a circuit without a batch for answers."
        raise UsageError("batch-unsupported", "an answer is one inference, and the circuit takes a batch", hint=hint)
    try:
        weights = decode_arrays(circuit, blob)
    except EvidenceRejected as problem:
        raise stale(problem.message, request.build_dir, str(request.build_dir / WEIGHTS_FILE)) from None
    request.progress.phase("generate", request.most)
    began = perf_counter()
    program = _Program(request, section, circuit, weights)
    tokens: list[int] = []
    while len(tokens) < request.most:
        tokens.append(program.following([*request.prompt, *tokens]))
        request.progress.advance()
        if tokens[-1] in request.ends:
            break
    made = program.inputs([*request.prompt, *tokens[:-1]])
    return Generated(tuple(tokens), made, perf_counter() - began, program.stepwise is not None)


class _Program:
    """A circuit that takes a sequence of tokens. ``stepwise``: with what it keeps, where it can be run row by row."""

    def __init__(self, request: GenerateRequest, section: LockSection, circuit: Circuit, weights: Sequence[Ints]) -> None:
        self._request, self._section, self._circuit, self._weights = request, section, circuit, weights
        self._sizes = [spec.size for spec in request.model.inputs]
        starts = [sum(self._sizes[:place]) for place in range(len(self._sizes))]
        self._first = sum(self._sizes) - request.model.outputs[0].size
        try:
            self.stepwise: Stepwise | None = Stepwise(circuit, weights, starts)
        except NotByPositions:
            self.stepwise = None
            request.progress.note("The model's graph cannot be run row by row: each token takes a whole run.")

    def inputs(self, tokens: Sequence[int]) -> Tensors:
        """The model's inputs for so many tokens; padding behind them."""
        filled = [*tokens, *[self._request.pad] * (sum(self._sizes) - len(tokens))]
        found, at = {}, 0
        for spec, size in zip(self._request.model.inputs, self._sizes, strict=True):
            found[spec.name] = np.array(filled[at : at + size], spec.dtype).reshape(spec.shape)
            at += size
        return found

    def following(self, tokens: Sequence[int]) -> int:
        """What the last of the tokens puts next."""
        model, scales = self._request.model, self._section.scales
        cells = circuit_inputs(self._circuit, [spec.name for spec in model.inputs], self.inputs(tokens), scales)
        if self.stepwise is not None:
            outputs: Sequence[Any] = self.stepwise.run(cells, len(tokens))
        else:
            outputs = run(self._circuit, self._weights, cells).outputs()
        values = real_outputs(self._circuit, model.outputs, outputs, scales)[model.outputs[0].name]
        return int(values.reshape(-1)[len(tokens) - 1 - self._first])
