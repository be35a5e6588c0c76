"""Token sequences: a digest decides equality; where two differ, teacher-forced replay decides whether a near tie explains it.

One flipped tie changes all tokens after it, so counting equal tokens says little. Replay feeds the *claimed* tokens to the
verifier's own model and looks at each step: would it have chosen the same token, and if not, by how much did the claimed one
lose? Honest rounding loses by little; another model loses by much. MinHash only finds the sequences that are far apart;
those need no replay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import MAX_RATIO, SAME, Comparison, Relation
from verifai.errors import EvidenceRejected
from verifai.fingerprints import minhash
from verifai.fingerprints.exact import ExactFingerprint, ratio_of
from verifai.fingerprints.interface import Parameters, fill, integer
from verifai.fingerprints.output import Output

_EXACT = ExactFingerprint()


class TokensFingerprint:
    """32 bytes of digest, then 4 per MinHash permutation; with ``permutations`` = 0 the digest alone."""

    kind = OutputKind.TOKENS
    needs_calibration = True

    def parameters(self, given: Parameters) -> Parameters:
        """``permutations``: 0 to 1024; ``shingle``: tokens per shingle; ``far_percent``: Jaccard similarity below which two
        sequences are called different without a replay."""
        ranges = {"permutations": (0, 1024), "shingle": (1, 32), "far_percent": (0, 100)}
        return fill(given, {"permutations": 64, "shingle": 2, "far_percent": 5}, ranges)

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """One tensor ``tokens``, rank 1, of integers."""
        tokens = read_tokens(output)
        count, size = integer(parameters, "permutations"), integer(parameters, "shingle")
        digest = _EXACT.make({"tokens": tokens}, seed, {})
        return digest if count == 0 else digest + minhash.to_bytes(minhash.sketch(_shingles(tokens, size), seed, count))

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """Equal digests agree. Others are indeterminate until :func:`decide_by_replay`, or beyond when they are far apart."""
        count = integer(parameters, "permutations")
        if len(first) != 32 + 4 * count or len(second) != len(first):
            raise EvidenceRejected("fingerprint-malformed", f"{len(first)} and {len(second)} bytes are no token fingerprints")
        if first[:32] == second[:32]:
            return SAME
        near = 1.0 if count == 0 else minhash.jaccard(first[32:], second[32:], count)
        if near * 100 < integer(parameters, "far_percent"):
            return Comparison(MAX_RATIO, Relation.BEYOND)
        return Comparison(MAX_RATIO, Relation.INDETERMINATE)


@dataclass(frozen=True, slots=True)
class Replay:
    """What a verifier's model says to the tokens that another verifier claims.

    Attributes:
        positions: generated tokens replayed.
        agreeing: positions at which the model's own choice is the claimed token.
        worst_margin: largest amount, in logits, by which a claimed token lost to the model's own choice; 0 when all agree.
    """

    positions: int
    agreeing: int
    worst_margin: float

    @property
    def agreement(self) -> float:
        """Share of positions that agree."""
        return self.agreeing / self.positions


def replay_margins(logits: NDArray[Any], tokens: NDArray[Any]) -> Replay:
    """Judge claimed tokens.

    Args:
        logits: ``(n, vocabulary)``, row i is the model's answer to everything before token i.
        tokens: ``(n,)``, the claimed tokens.

    Raises:
        EvidenceRejected: ``output-unfit``, ``output-not-finite``.
    """
    values, claimed = np.asarray(logits, dtype=np.float64), read_tokens({"tokens": np.asarray(tokens)})
    if values.ndim != 2 or values.shape[0] != claimed.size or values.shape[1] == 0:
        raise EvidenceRejected("output-unfit", f"logits of shape {values.shape} for {claimed.size} tokens")
    if not np.all(np.isfinite(values)):
        raise EvidenceRejected("output-not-finite", "the logits hold NaN or an infinity")
    if claimed.min() < 0 or claimed.max() >= values.shape[1]:
        raise EvidenceRejected("output-unfit", f"a claimed token is outside the vocabulary of {values.shape[1]}")
    lost = values.max(axis=1) - values[np.arange(claimed.size), claimed]
    return Replay(int(claimed.size), int(np.count_nonzero(lost == 0.0)), float(lost.max()))


def decide_by_replay(replays: tuple[Replay, ...], tau: float) -> Comparison:
    """Whether near ties explain a difference: every replay's worst margin must lie within τ (in logits)."""
    if not replays:
        return Comparison(MAX_RATIO, Relation.INDETERMINATE)
    ratio = max(ratio_of(one.worst_margin, tau) for one in replays)
    return Comparison(ratio, Relation.WITHIN if ratio <= 1.0 else Relation.BEYOND)


def read_tokens(output: Output) -> NDArray[np.int64]:
    """The tokens of an output. Raises EvidenceRejected (``output-unfit``)."""
    values = output.get("tokens")
    if len(output) != 1 or values is None or values.dtype.kind not in "iu" or values.ndim != 1 or values.size == 0:
        raise EvidenceRejected("output-unfit", "a token sequence is one integer tensor named 'tokens' of rank 1, not empty")
    return values.astype(np.int64)


def _shingles(tokens: NDArray[np.int64], size: int) -> Iterator[bytes]:
    for start in range(max(1, tokens.size - size + 1)):
        yield tokens[start : start + size].astype("<i8").tobytes()
