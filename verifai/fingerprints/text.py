"""Text that comes without logits: MinHash over normalised character shingles, decided on the estimated Jaccard distance.

This is triage. A flipped token early in a text changes all that follows, so honest texts can be far apart and a forged word can
be near; where logits exist, replay the tokens instead (see :mod:`verifai.fingerprints.tokens`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import SAME, Comparison
from verifai.domain.unicode_14 import fold_compatible, words
from verifai.errors import EvidenceRejected
from verifai.fingerprints import minhash
from verifai.fingerprints.exact import within_or_beyond
from verifai.fingerprints.interface import Parameters, fill, integer
from verifai.fingerprints.interface import text as text_parameter
from verifai.fingerprints.output import Output

_MAX_BYTES = 4 * 1024 * 1024


class TextFingerprint:
    """4 bytes per permutation: 512 with the default of 128."""

    kind = OutputKind.TEXT
    needs_calibration = True

    def parameters(self, given: Parameters) -> Parameters:
        """``permutations``; ``shingle``: characters per shingle; ``scheme``: the pinned MinHash scheme."""
        ranges = {"permutations": (32, 1024), "shingle": (1, 32)}
        filled = fill(given, {"permutations": 128, "shingle": 5, "scheme": minhash.SCHEME}, ranges)
        if text_parameter(filled, "scheme") != minhash.SCHEME:
            raise_scheme(text_parameter(filled, "scheme"))
        return filled

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """Sketch the text in the tensor ``text`` (uint8, UTF-8)."""
        shingles = shingle(read_text(output), integer(parameters, "shingle"))
        return minhash.to_bytes(minhash.sketch(shingles, seed, integer(parameters, "permutations")))

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """1 − estimated Jaccard similarity."""
        count = integer(parameters, "permutations")
        distance = 1.0 - minhash.jaccard(first, second, count)
        return SAME if first == second else within_or_beyond(distance, tau)


def read_text(output: Output) -> str:
    """The text of an output. Raises EvidenceRejected (``output-unfit``)."""
    values = output.get("text")
    if len(output) != 1 or values is None or values.dtype != np.uint8 or values.ndim != 1 or values.size > _MAX_BYTES:
        raise EvidenceRejected("output-unfit", f"text is one uint8 tensor named 'text' of at most {_MAX_BYTES} bytes")
    try:
        return values.tobytes().decode("utf-8")
    except UnicodeDecodeError:
        raise EvidenceRejected("output-unfit", "the text is not UTF-8") from None


def normalise(text: str) -> str:
    """NFKC, case folded, runs of white space as one space; by a pinned Unicode, so that every verifier gets the same."""
    return " ".join(words(fold_compatible(text)))


def shingle(text: str, size: int) -> Iterator[bytes]:
    """All substrings of ``size`` characters of the normalised text, as UTF-8; a shorter text is one shingle."""
    plain = normalise(text)
    for start in range(max(1, len(plain) - size + 1)):
        yield plain[start : start + size].encode()


def raise_scheme(scheme: str) -> None:
    """Refuse a MinHash scheme that this release does not write."""
    from verifai.errors import UsageError

    raise UsageError("fingerprint-parameters", f"the scheme {scheme!r} is not {minhash.SCHEME!r}", where="scheme")
