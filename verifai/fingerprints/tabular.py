"""Tabular rows: integers, flags and categories exactly; real columns projected in units of their calibrated spread.

A column in euros and one in percent do not share a scale, so each real value is divided by its column's σ first. The
distance is the root mean square deviation in σ over all real values: absolute, because a shifted mean must not make
differences look small.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import MAX_RATIO, Comparison, Relation
from verifai.errors import EvidenceRejected, UsageError
from verifai.fingerprints.exact import ExactFingerprint, within_or_beyond
from verifai.fingerprints.interface import Parameters, fill, integer, text
from verifai.fingerprints.output import Output
from verifai.fingerprints.projection import norm, pack, project, require_finite, unpack

_EXACT = ExactFingerprint()
_HEAD = 36


class TabularFingerprint:
    """32 bytes of digest over the exact columns, the number of real values (uint32), then 4·k of projections."""

    kind = OutputKind.TABULAR
    needs_calibration = True

    def parameters(self, given: Parameters) -> Parameters:
        """``projections``: k; ``sigma``: one σ for every real value, or one per value, as hexadecimal floats with commas."""
        filled = fill(given, {"projections": 8, "sigma": (1.0).hex()}, {"projections": (8, 64)})
        _sigmas(text(filled, "sigma"))
        return filled

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """Real tensors in ascending order of name, flattened, are the real columns; all other tensors are exact."""
        exact = {name: values for name, values in output.items() if values.dtype.kind != "f"}
        real = [require_finite(output[name], name).reshape(-1) for name in sorted(output) if name not in exact]
        digest = _EXACT.make(exact, seed, {}) if exact else bytes(32)
        row = np.concatenate(real).astype(np.float64) if real else np.zeros(0)
        head = digest + int(row.size).to_bytes(4, "little")
        if not row.size:
            return head
        sigma = _sigmas(text(parameters, "sigma"))
        if sigma.size not in (1, row.size):
            raise EvidenceRejected("output-unfit", f"{row.size} real values, but {sigma.size} values of σ")
        return head + pack(project(row / sigma, seed, integer(parameters, "projections"), "tabular"))

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """Exact columns must be equal; τ is in σ."""
        rows = integer(parameters, "projections")
        if _values(first, rows) != _values(second, rows) or first[:32] != second[:32]:
            return Comparison(MAX_RATIO, Relation.BEYOND)
        if len(first) == _HEAD:
            return Comparison(0.0, Relation.WITHIN)
        apart = unpack(first[_HEAD:]) - unpack(second[_HEAD:])
        return within_or_beyond(norm(apart) / math.sqrt(apart.size * _values(first, rows)), tau)


def _values(code: bytes, rows: int) -> int:
    count = int.from_bytes(code[32:_HEAD], "little")
    if len(code) != _HEAD + (4 * rows if count else 0):
        raise EvidenceRejected("fingerprint-malformed", f"{len(code)} bytes are no tabular fingerprint")
    return count


def _sigmas(listed: str) -> NDArray[np.float64]:
    try:
        values = [float.fromhex(part) for part in listed.split(",")]
    except (ValueError, OverflowError):
        values = []
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        raise UsageError("fingerprint-parameters", "σ must be positive hexadecimal floats with commas", where="sigma")
    return np.array(values)
