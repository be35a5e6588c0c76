"""Whether what was just proven is near what the float model says of the same sample: its owner is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from verifai.domain.comparison import compare_outputs, judge_items
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding, Outcome, not_checked
from verifai.domain.statement import Role, Statement, Visibility
from verifai.domain.tokenizer import TokenPin
from verifai.errors import VerifaiError

if TYPE_CHECKING:
    from verifai.onnx_graph.model import OnnxModel
    from verifai.onnx_graph.reference import Reference


class Nearness:
    """The float model of a circuit, loaded when the first proof is there.

    Args:
        pinned: fidelity as the circuit's lock has it. tokens: what it pins of a language model's tokenizer.
    """

    def __init__(self, model: OnnxModel, pinned: Fidelity, tokens: TokenPin | None = None) -> None:
        self._model, self._pinned = model, pinned
        self._pad = tokens.pad if tokens is not None and tokens.next else None
        self._loading = Lock()
        self._reference: Reference | None = None

    def judge(self, statement: Statement, sample: Mapping[str, Any], outputs: Mapping[str, Any]) -> tuple[Finding, ...]:
        """One finding per output whose value is known. Never fails: a proof is there already.

        Args:
            outputs: what the circuit put out, by name, where the engine says so; also what the statement hides.
                Of a batch, they and the sample have a first axis of items.
        """
        hidden = {one.name for one in statement.of(Role.OUTPUT) if one.visibility is not Visibility.PUBLIC}
        compared = []
        for at, item in enumerate(statement.items()):
            mine = {name: values[at] for name, values in sample.items()} if statement.batch else sample
            put_out = {name: values[at] for name, values in outputs.items()} if statement.batch else outputs
            try:
                values = self._loaded().run(mine)
            except VerifaiError as problem:
                return (not_checked("reference-not-run", f"the float model was not run: {problem.message}"),)
            known = {name: _flat(values) for name, values in put_out.items() if name in hidden}
            reference = {name: _flat(array) for name, array in values.items()}
            compared.append(compare_outputs(item, self._pinned, reference, known, self._pad))
        found = judge_items(compared, self._pinned, "run on the sample")
        return tuple(_veiled(one, one.where) if one.where in hidden else one for one in found)

    def _loaded(self) -> Reference:
        from verifai.onnx_graph.reference import Reference  # loads onnxruntime

        with self._loading:
            if self._reference is None:
                self._reference = Reference(self._model)
            return self._reference


def _flat(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values.reshape(-1))


def _veiled(finding: Finding, name: str) -> Finding:
    """The same without a figure: what is printed ends in logs, and tells nothing of a tensor that the proof hides."""
    far = finding.outcome is Outcome.POLICY_NOT_MET
    message = f"the proven {name!r}, which the proof hides, is {'far from' if far else 'near'} the float model's"
    return finding if finding.outcome is Outcome.NOT_CHECKED else replace(finding, message=message, evidence="")
