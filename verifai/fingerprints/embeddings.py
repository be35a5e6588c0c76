"""Embeddings and any other real tensors: projections of each tensor, decided on the largest relative L2 distance."""

from __future__ import annotations

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import Comparison
from verifai.fingerprints.exact import within_or_beyond
from verifai.fingerprints.interface import Parameters, fill, integer
from verifai.fingerprints.output import Output
from verifai.fingerprints.projection import pack, project, relative_distance, require_finite, split


class EmbeddingsFingerprint:
    """4·k bytes per tensor, tensors in ascending order of name; with one tensor and k = 8, 32 bytes."""

    kind = OutputKind.EMBEDDINGS
    needs_calibration = True

    def parameters(self, given: Parameters) -> Parameters:
        """``projections``: k, 8 to 64."""
        return fill(given, {"projections": 8}, {"projections": (8, 64)})

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """Project every tensor."""
        rows = integer(parameters, "projections")
        codes = [pack(project(require_finite(output[name], name), seed, rows, name)) for name in sorted(output)]
        return b"".join(codes)

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """The worst tensor decides."""
        rows = integer(parameters, "projections")
        ours, theirs = list(split(first, rows)), list(split(second, rows))
        if len(ours) != len(theirs):
            return within_or_beyond(2.0, tau)
        return within_or_beyond(max(relative_distance(a, b) for a, b in zip(ours, theirs, strict=True)), tau)
