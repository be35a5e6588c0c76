"""Stochastic outputs: n draws per verifier; the draws may differ, their distributions may not.

Each draw is projected to k numbers with the round's seed, and two verifiers' clouds are compared by the energy distance of
Székely and Rizzo (2013) with a permutation test. The test holds for any distribution: under equal distributions all ways of
dealing the 2n draws to two verifiers are equally likely, so the false-alarm rate is what the job states, without any
calibration.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import MAX_RATIO, SAME, Comparison, Relation
from verifai.errors import EvidenceRejected, UsageError
from verifai.fingerprints.interface import Parameters, fill, integer
from verifai.fingerprints.output import Output
from verifai.fingerprints.projection import pack, project, require_finite, unpack


class SamplesFingerprint:
    """n·k·4 bytes: n draws of k projections each."""

    kind = OutputKind.SAMPLES
    needs_calibration = False

    def parameters(self, given: Parameters) -> Parameters:
        """``projections``: k; ``draws``: n; ``permutations``: B; ``alarms_per_million``: false-alarm rate of one pair."""
        defaults = {"projections": 8, "draws": 64, "permutations": 9999, "alarms_per_million": 1000}
        ranges = {
            "projections": (1, 64), "draws": (8, 512), "permutations": (99, 20_000), "alarms_per_million": (1, 100_000),
        }  # fmt: skip
        filled = fill(given, defaults, ranges)
        if (integer(filled, "permutations") + 1) * integer(filled, "alarms_per_million") < 1_000_000:
            raise UsageError(
                "fingerprint-parameters",
                "so few permutations can never reach that false-alarm rate, so nothing would be refused",
                where="permutations",
            )
        return filled

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """One tensor whose axis 0 counts the draws."""
        ((name, values),) = output.items() if len(output) == 1 else (("", np.zeros(0)),)
        draws = integer(parameters, "draws")
        if values.ndim < 1 or values.shape[0] != draws:
            raise EvidenceRejected("output-unfit", f"shape {values.shape}: axis 0 must hold {draws} draws", where=name)
        require_finite(values, name)
        rows = integer(parameters, "projections")
        return b"".join(pack(project(draw, seed, rows, "samples")) for draw in values.reshape(draws, -1))

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """ratio: the statistic divided by its critical value; τ plays no part."""
        rows, draws = integer(parameters, "projections"), integer(parameters, "draws")
        if len(first) != 4 * rows * draws or len(second) != len(first):
            raise EvidenceRejected("fingerprint-malformed", f"{len(first)} and {len(second)} bytes for {draws} draws")
        if first == second:
            return SAME
        low, high = sorted((first, second))
        pooled = np.concatenate([unpack(low), unpack(high)]).reshape(2 * draws, rows)
        distances = _distances(pooled)
        observed = _energy(distances, np.repeat([1.0, 0.0], draws)[None, :])[0]
        shuffled = _energy(distances, _deals(low + high, draws, integer(parameters, "permutations")))
        count = shuffled.size
        # Reject when the observed value is among the α·(B + 1) largest of all B + 1 (Phipson and Smyth 2010).
        allowed = integer(parameters, "alarms_per_million") * (count + 1) // 1_000_000
        critical = float(np.sort(shuffled)[count - allowed])
        ratio = float(observed) / critical if critical > 0 else (MAX_RATIO if observed > 0 else 0.0)
        # A tie with the critical value counts as not larger: permutations that equal the observed one are evidence for honesty.
        beyond = int(np.count_nonzero(shuffled >= observed * (1 - 1e-12))) + 1 <= allowed
        return Comparison(min(max(ratio, 0.0), MAX_RATIO), Relation.BEYOND if beyond else Relation.WITHIN)


def _distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    apart = points[:, None, :] - points[None, :, :]
    return np.asarray(np.sqrt(_sum_in_order(np.moveaxis(apart * apart, -1, 0))))


def _energy(distances: NDArray[np.float64], deals: NDArray[np.float64]) -> NDArray[np.float64]:
    """2·E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖ for each row of 0/1 labels with equally many of both."""
    half = distances.shape[0] // 2
    to_first = np.zeros_like(deals)
    for point, row in enumerate(distances):
        to_first += deals[:, point, None] * row
    inside_first = _sum_in_order((to_first * deals).T)
    across = _sum_in_order(to_first.T) - inside_first
    inside_second = _sum_in_order(_sum_in_order(distances)[:, None]) - inside_first - 2 * across
    return np.asarray((2 * across - inside_first - inside_second) / half**2)


def _sum_in_order(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over axis 0, term after term: einsum and matmul leave the order to the processor, and verifiers compare bits."""
    total = np.zeros(terms.shape[1:])
    for term in terms:
        total = total + term
    return total


def _deals(material: bytes, draws: int, count: int) -> NDArray[np.float64]:
    """``count`` equal splits, drawn from both codes, so that every verifier sees the same test."""
    stream = hashlib.shake_256(b"verifai/samples/v1\x00" + material).digest(8 * 2 * draws * count)
    keys = np.frombuffer(stream, "<u8").reshape(count, 2 * draws)
    deals = np.zeros((count, 2 * draws))
    np.put_along_axis(deals, np.argsort(keys, axis=1, kind="stable")[:, :draws], 1.0, axis=1)
    return deals
