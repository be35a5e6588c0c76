"""Images: exact pixels first, then projections of the pixels; or, where only re-encoded images exist, a perceptual hash.

A perceptual hash is made to forgive what people do not see, so it forgives attacks too: with the fixed radius that one
production system uses, it calls 1.6 % of unrelated pictures equal. It decides only when a job says so, with a calibrated
radius.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import SAME, Comparison
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.packages import install_hint
from verifai.fingerprints.exact import ExactFingerprint, within_or_beyond
from verifai.fingerprints.interface import Parameters, fill, integer, text
from verifai.fingerprints.output import Output
from verifai.fingerprints.projection import pack, project, relative_distance, unpack

_EXACT = ExactFingerprint()
_BITS = {"projections": 0, "pdq": 256, "phash": 64}
MAX_PIXELS = 64 * 1024 * 1024


class ImageFingerprint:
    """32 bytes of digest, 4·k of projections, then the perceptual hash: 0, 8 (pHash) or 32 (PDQ) bytes."""

    kind = OutputKind.IMAGE
    needs_calibration = True

    def parameters(self, given: Parameters) -> Parameters:
        """``projections``: k; ``decide``: ``projections`` (relative L2), ``pdq`` or ``phash`` (Hamming distance / bits)."""
        filled = fill(given, {"projections": 8, "decide": "projections"}, {"projections": (8, 64)})
        if text(filled, "decide") not in _BITS:
            raise UsageError("fingerprint-parameters", f"decide is one of {', '.join(_BITS)}", where="decide")
        return filled

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """One uint8 tensor, height × width or height × width × 3 (RGB)."""
        pixels = read_pixels(output)
        # Around mid-grey, so that two pictures of equal brightness are not close for that alone.
        centred = pixels.astype(np.float64) - 127.5
        code = _EXACT.make({"image": pixels}, seed, {}) + pack(
            project(centred, seed, integer(parameters, "projections"), "image")
        )
        return code + _perceptual(pixels, text(parameters, "decide"))

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """Equal pixels agree; else the rung that ``decide`` names."""
        rows, decide = integer(parameters, "projections"), text(parameters, "decide")
        size = 32 + 4 * rows + _BITS[decide] // 8
        if len(first) != size or len(second) != size:
            raise EvidenceRejected("fingerprint-malformed", f"{len(first)} and {len(second)} bytes, {size} expected")
        if first[:32] == second[:32]:
            return SAME
        middle = slice(32, 32 + 4 * rows)
        distance = relative_distance(unpack(first[middle]), unpack(second[middle]))
        if decide != "projections":
            distance = _hamming(first[middle.stop :], second[middle.stop :]) / _BITS[decide]
        return within_or_beyond(distance, tau)


def read_pixels(output: Output) -> NDArray[np.uint8]:
    """The pixels of an output. Raises EvidenceRejected (``output-unfit``)."""
    values = next(iter(output.values()))
    shape_fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)
    if len(output) != 1 or values.dtype != np.uint8 or not shape_fits or not 0 < values.size <= MAX_PIXELS:
        raise EvidenceRejected(
            "output-unfit",
            f"{len(output)} tensor(s) of {values.dtype} and shape {values.shape} are no picture",
            hint="An image is one uint8 tensor, height × width or height × width × 3; vote on other arrays as embeddings.",
        )
    return values


def _perceptual(pixels: NDArray[np.uint8], decide: str) -> bytes:
    if decide == "projections":
        return b""
    try:
        return _pdq(pixels) if decide == "pdq" else _phash(pixels)
    except ImportError:
        raise UsageError(
            "extra-missing", f"the perceptual hash {decide!r} is not installed", hint=install_hint("images")
        ) from None


def _pdq(pixels: NDArray[np.uint8]) -> bytes:
    import pdqhash

    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    bits, _quality = pdqhash.compute(np.ascontiguousarray(colour))
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes()


def _phash(pixels: NDArray[np.uint8]) -> bytes:
    import imagehash
    from PIL import Image

    picture: Any = Image.fromarray(pixels)
    return np.packbits(np.asarray(imagehash.phash(picture).hash, dtype=np.uint8).reshape(-1)).tobytes()


def _hamming(first: bytes, second: bytes) -> int:
    return (int.from_bytes(first, "big") ^ int.from_bytes(second, "big")).bit_count()
