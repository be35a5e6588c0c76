"""What an audit adds to each proof of an evaluation: the context that was asked for, and the float model beside the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from verifai.domain.comparison import OutputComparison
from verifai.domain.findings import Finding, at_step, not_checked
from verifai.stages.audit.options import AuditOptions
from verifai.stages.audit.reference import GivenInputs, check_model_shapes, compare_with_reference
from verifai.stages.evaluation.judge import ProvenPart
from verifai.stages.matching import check_context, check_context_bound

if TYPE_CHECKING:
    from verifai.onnx_graph.model import OnnxModel

MOST = 16
"""Proofs that the float model is run beside: each is a child process. Of a batch circuit that is thousands of samples."""


class EvaluationAudit:
    """Goes over the proofs of one evaluation, each verified and matched with the data set already."""

    def __init__(self, options: AuditOptions, model: OnnxModel | None, context_signed: bool) -> None:
        self._options = options
        self._model = model
        self._context_signed = context_signed
        self._proofs = 0
        self.comparisons: tuple[OutputComparison, ...] = ()

    def visit(self, part: ProvenPart) -> Sequence[Finding]:
        """V7, and A4 to A6 of the first proofs. Raises EvidenceRejected, PolicyNotMet."""
        statement, expected = part.verified.statement, self._options.expect.context
        findings = [check_context(statement, expected)]
        check_context_bound(statement, expected, signed=self._context_signed)
        self._proofs += 1
        if self._model is None or self._proofs > MOST:
            return findings
        findings.append(at_step(check_model_shapes(statement, self._model), "A4"))
        given = GivenInputs(matched=dict(part.inputs))
        found, compared = compare_with_reference(statement, part.verified.fidelity, self._model, given, self._options)
        if _farthest(compared) >= _farthest(self.comparisons):
            self.comparisons = compared
        return [*findings, *found]

    def rest(self) -> Sequence[Finding]:
        """What was left out, said aloud."""
        if self._model is None:
            message = "the float model was not run: the bundle holds no readable model that the lock pins"
            return [not_checked("reference-not-run", message, "A5")]
        if self._proofs > MOST:
            message = (
                f"the float model was run beside {MOST} of the {self._proofs:,} proofs; the others rest on the pinned fidelity"
            )
            return [
                not_checked(
                    "reference-not-run", message, "A5", remedy="Compile the circuit for batches: fewer proofs hold as much."
                )
            ]
        return []


def _farthest(compared: Sequence[OutputComparison]) -> float:
    return max((one.max_abs_error for one in compared), default=-1.0)
