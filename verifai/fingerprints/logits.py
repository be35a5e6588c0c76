"""Logits: projections, the five leading classes and the margin between the first two.

The class is what people use, and it hangs on the margin. A change of relative L2 size δ can move the two leading logits by
at most √2·δ·‖x‖ against each other; the rule below asks for twice τ. A margin under it means that the tolerance itself can
turn the class over, so the pair is indeterminate instead of agreeing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import Comparison, Relation
from verifai.errors import EvidenceRejected
from verifai.fingerprints.exact import within_or_beyond
from verifai.fingerprints.interface import Parameters, fill, integer
from verifai.fingerprints.output import Output
from verifai.fingerprints.projection import norm, pack, project, relative_distance, require_finite, unpack

TOP = 5
_ABSENT = 0xFFFFFFFF


class LogitsFingerprint:
    """4·k bytes of projections, then five class numbers (uint32) and the relative margin (fp32): 24 bytes more."""

    kind = OutputKind.LOGITS
    needs_calibration = True

    def parameters(self, given: Parameters) -> Parameters:
        """``projections``: k, 8 to 64."""
        return fill(given, {"projections": 8}, {"projections": (8, 64)})

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """One tensor, one row of classes; ties go to the lower class number."""
        if len(output) != 1:
            raise EvidenceRejected("output-unfit", f"logits are one tensor, this output has {len(output)}")
        ((name, values),) = output.items()
        require_finite(values, name)
        if values.ndim == 0 or values.shape[-1] != values.size or values.size < 2:
            raise EvidenceRejected(
                "output-unfit",
                f"shape {values.shape} is not one row of at least two logits",
                where=name,
                hint="Use the kind 'embeddings' for other shapes, or 'tokens' for logits over positions.",
            )
        row = values.reshape(-1).astype(np.float64)
        head = pack(project(row, seed, integer(parameters, "projections"), "logits"))
        order = np.argsort(-row, kind="stable")[:TOP]
        classes = np.full(TOP, _ABSENT, dtype="<u4")
        classes[: order.size] = order
        length = norm(row)
        margin = 0.0 if length == 0.0 else float(row[order[0]] - row[order[1]]) / length
        return head + classes.tobytes() + np.array([margin], dtype="<f4").tobytes()

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """Distance first; within it, the class decides where the margin allows."""
        rows = integer(parameters, "projections")
        a, b = _read(first, rows), _read(second, rows)
        plain = within_or_beyond(relative_distance(a[0], b[0]), tau)
        if plain.relation is not Relation.WITHIN or first == second:
            return plain
        if min(a[2], b[2]) < 2 * tau:
            return Comparison(plain.ratio, Relation.INDETERMINATE)
        # The same distance with another class at a safe margin cannot be rounding: it is a forgery against the projections.
        return plain if a[1][0] == b[1][0] else Comparison(plain.ratio, Relation.BEYOND)


def _read(code: bytes, rows: int) -> tuple[NDArray[np.float64], tuple[int, ...], float]:
    if len(code) != 4 * rows + 4 * TOP + 4:
        raise EvidenceRejected("fingerprint-malformed", f"{len(code)} bytes for {rows} projections of logits")
    classes = tuple(int(value) for value in np.frombuffer(code, "<u4", TOP, 4 * rows))
    margin = float(np.frombuffer(code, "<f4", 1, 4 * rows + 4 * TOP)[0])
    if not 0.0 <= margin <= 2.0:
        raise EvidenceRejected("fingerprint-malformed", "the margin is not in [0, 2]")
    return unpack(code[: 4 * rows]), classes, margin
