"""The prover of the openings' combinations; mirrors :mod:`..verifier.levels`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import powers_of
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.levels import (
    Level,
    PointClaim,
    SpanClaim,
    level_root,
    level_rounds,
    position_point,
    stored_weights,
)
from verifai.engines.sumcheck.protocol.proof import Opening, log_length
from verifai.engines.sumcheck.prover.arrays import element, eq_vector, scalars, vector
from verifai.engines.sumcheck.prover.channel import OwnClaim, ProverChannel, Rounds
from verifai.engines.sumcheck.prover.commitment import encode, extension_values, leaf_digests, merkle_layers, open_columns
from verifai.engines.sumcheck.prover.kernels import U64, add_powers, combine_rows, scaled
from verifai.engines.sumcheck.prover.parallel import add_scaled, fold, product_round


class Tree(Protocol):
    """One tree: a level's, or a :class:`.commitment.CommittedMatrix`."""

    @property
    def layers(self) -> tuple[bytes, ...]:
        """Leaves first, as joined digests."""

    def open(self, positions: Sequence[int]) -> Opening:
        """The columns at ``positions`` with their paths."""


@dataclass(frozen=True, slots=True)
class LevelTree:
    """A level's tree. rows: stored rows over F_p, (rows, C). codeword: (n, 1 + rows), the first column being the leaf tag."""

    shape: CommitmentShape
    rows: U64
    codeword: U64
    layers: tuple[bytes, ...]

    def open(self, positions: Sequence[int]) -> Opening:
        """The columns at ``positions`` with their paths."""
        return open_columns(self.shape, self.codeword, self.layers, positions, 1)


@dataclass(frozen=True, slots=True)
class Combination:
    """One group: its combination u, (2, K), its trees, and what is asked of u beside its code word, without the values."""

    shape: CommitmentShape
    u: U64
    trees: tuple[Tree, ...]
    asked: tuple[PointClaim | SpanClaim, ...]
    positions: str


class _Clear:
    """Sends the rounds of a level in clear."""

    def __init__(self, channel: ProverChannel) -> None:
        self._channel = channel

    def send(self, label: str, values: Sequence[Ext]) -> list[Claim]:
        """Send one message."""
        self._channel.send_open(label, values)
        return [OwnClaim(value) for value in values]

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""
        return self._channel.challenge(label)


def prove_combinations(
    channel: ProverChannel, groups: Sequence[Combination], levels: Sequence[Level], threads: int = 1
) -> tuple[Opening, ...]:
    """Send everything that the verifier's ``check_combinations`` takes; all openings, the groups' first, then the levels'."""
    openings: list[Opening] = []
    for level in levels:
        full: U64 = np.zeros((2, 1 << level.log_cells), dtype=np.uint64)
        for block, group in zip(level.blocks, groups, strict=True):
            full[:, block.offset : block.offset + block.length] = group.u
        tree = commit_level(level, full, threads)
        channel.transcript.absorb("level.root", level_root(level, tree.layers[-1]))
        shown = [_positions(channel, group) for group in groups]
        opened = [(one, positions) for group, positions in zip(groups, shown, strict=True) for one in group.trees]
        openings += [one.open(positions) for one, positions in opened]
        leaves = (leaf_digests(one.layers, positions) for one, positions in opened)
        channel.transcript.absorb("level.columns", b"".join(leaves))
        weights = _weights(level, groups, shown, channel.challenge("level.mix"))
        arrays = [full, weights]
        rounds = Rounds(_Clear(channel), _compute(arrays), _bind(arrays))
        _, point = level_rounds(rounds, level, field.ZERO)  # the claim is the verifier's business
        u = combine_rows(vector(stored_weights(level, point)), tree.rows)
        asked = PointClaim(tuple(point[level.log_rows :]), field.ZERO, element(*arrays[1][:, 0]))
        groups = [Combination(level.shape, u, (tree,), (asked,), "level.positions")]
    for group in groups:
        channel.send_open("openings.combination", extension_values(group.u))
    for group in groups:
        positions = _positions(channel, group)
        openings += [tree.open(positions) for tree in group.trees]
    return tuple(openings)


def commit_level(level: Level, full: U64, threads: int) -> LevelTree:
    """Commit to U, (2, 2^v)."""
    cut = full.reshape(2, -1, level.shape.message)[:, list(level.stored)]
    rows: U64 = np.ascontiguousarray(cut.transpose(1, 0, 2)).reshape(level.shape.rows, -1)
    codeword = encode(rows, log_length(level.shape), level.shape.degree, threads)
    return LevelTree(level.shape, rows, codeword, merkle_layers(codeword, threads))


def _positions(channel: ProverChannel, group: Combination) -> list[int]:
    return channel.transcript.positions(group.positions, log_length(group.shape), group.shape.queries)


def _weights(level: Level, groups: Sequence[Combination], shown: Sequence[Sequence[int]], mix: Ext) -> U64:
    """W: the linear claims' weights, times powers of γ, in the verifier's order. (2, 2^v)."""
    weights: U64 = np.zeros((2, 1 << level.log_cells), dtype=np.uint64)
    powers = powers_of(mix, sum(len(group.asked) + len(positions) for group, positions in zip(groups, shown, strict=True)))
    start = 0
    for block, group, positions in zip(level.blocks, groups, shown, strict=True):
        target = weights[:, block.offset : block.offset + block.length]
        for one in group.asked:
            first, own = _spread(one)
            part = target[:, first : first + own.shape[1]]
            part[:] = add_scaled(np.ascontiguousarray(part), own, *scalars(powers[start]))
            start += 1
        log = log_length(group.shape)
        points = np.array([position_point(position, log) for position in positions], dtype=np.uint64)
        add_powers(target[0], target[1], points, vector(powers[start : start + len(positions)]))
        start += len(positions)
    return weights


def _spread(one: PointClaim | SpanClaim) -> tuple[int, U64]:
    """(first coefficient, weights) of a claim."""
    if isinstance(one, PointClaim):
        return 0, scaled(eq_vector(one.point), *scalars(one.scale))
    return one.start, vector(one.coefficients)


def _compute(arrays: list[U64]) -> Callable[[], list[Ext]]:
    def compute() -> list[Ext]:
        a0, a1, c0, c1 = product_round(*arrays)
        return [element(a0, a1), element(c0, c1)]

    return compute


def _bind(arrays: list[U64]) -> Callable[[Ext], None]:
    def bind(r: Ext) -> None:
        arrays[:] = [fold(one, *scalars(r)) for one in arrays]

    return bind
