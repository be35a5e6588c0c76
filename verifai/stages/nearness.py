"""Whether what was just proven is near what the float model says of the same sample: its owner is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from verifai.domain.comparison import compare_outputs, judge_distance
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding, not_checked
from verifai.domain.statement import Role, Statement, Visibility
from verifai.errors import VerifaiError

if TYPE_CHECKING:
    from verifai.onnx_graph.model import OnnxModel
    from verifai.onnx_graph.reference import Reference


class Nearness:
    """The float model of a circuit, loaded when the first proof is there.

    Args:
        pinned: fidelity as the circuit's lock has it.
    """

    def __init__(self, model: OnnxModel, pinned: Fidelity) -> None:
        self._model, self._pinned = model, pinned
        self._loading = Lock()
        self._reference: Reference | None = None

    def judge(self, statement: Statement, sample: Mapping[str, Any]) -> tuple[Finding, ...]:
        """One finding per public output; none where no output is public. Never fails: a proof is there already."""
        if not any(tensor.visibility is Visibility.PUBLIC for tensor in statement.of(Role.OUTPUT)):
            return ()
        try:
            values = self._loaded().run(sample)
        except VerifaiError as problem:
            message = f"the float model was not run: {problem.message}"
            return (not_checked("reference-not-run", message),)
        reference = {name: tuple(float(value) for value in array.reshape(-1)) for name, array in values.items()}
        comparisons = compare_outputs(statement, self._pinned, reference)
        return tuple(finding for one in comparisons for finding in judge_distance(one, self._pinned, "run on the sample"))

    def _loaded(self) -> Reference:
        from verifai.onnx_graph.reference import Reference  # loads onnxruntime

        with self._loading:
            if self._reference is None:
                self._reference = Reference(self._model)
            return self._reference
