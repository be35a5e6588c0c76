"""Ligero-style commitment: columns packed into a matrix, rows encoded over a subgroup, positions hashed into a Merkle tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.planning.memory import CODEWORD_BYTES, PART_BYTES, blind_cells, codeword_bytes, first_kept
from verifai.engines.sumcheck.protocol.field import Ext, P, root_of_unity
from verifai.engines.sumcheck.protocol.layout import Commitment, Key
from verifai.engines.sumcheck.protocol.merkle import cap_size, path_length
from verifai.engines.sumcheck.protocol.proof import Opening, log_length
from verifai.engines.sumcheck.protocol.suite import (
    LEAF_TAG,
    NODE_TAG,
    RESERVED_ROWS,
    SEED_BYTES,
    ZERO_KNOWLEDGE,
    commitment_root,
)
from verifai.engines.sumcheck.prover.coins import Coins, SecretCoins, commitment_key
from verifai.engines.sumcheck.prover.hash_kernels import RowHashes, sha256_rows
from verifai.engines.sumcheck.prover.kernels import U64, combine_rows, encode_block
from verifai.engines.sumcheck.prover.opened_columns import columns_at
from verifai.engines.sumcheck.prover.stored_cells import pieces_in

SALT_WORDS = ZERO_KNOWLEDGE.salt_bytes // 8

Layers: TypeAlias = tuple[bytes, ...]
"""A tree: the digests of its leaves, joined, then of every layer of nodes up to the root."""

_LEAF_WORD = np.frombuffer(LEAF_TAG, dtype="<u8")[0]
_NODE_WORDS = np.frombuffer(NODE_TAG, dtype="<u4")


@dataclass(frozen=True, slots=True)
class CommittedMatrix:
    """A commitment with all that is needed to open it.

    Attributes:
        cells: the 2^v values by address, or the last of them, where all before are 0. ``None`` where it hides and the code word
            is too long to be kept: they are in ``masked`` too (:meth:`values`).
        codeword: (n, 1 + R), the first column being the leaf tag; when it hides, (n, 5 + R), the salts behind the tag. ``None``
            where it is too long to be kept: what is opened of it is then computed again (:mod:`.opened_columns`).
        layers: the Merkle tree, leaves first, as joined digests.
        masked: when it hides, the stored rows with masks and tails, (R, K); else None.
        number: which opening of the root ``cells`` and ``blind`` are made for.
        blind: when it hides, and ``cells`` begin behind it, the blind pair of that opening, whose addresses are the first ones.
        salts: (n, 4), when it hides and the code word is not kept.
    """

    plan: Commitment
    cells: U64 | None
    codeword: U64 | None
    layers: tuple[bytes, ...]
    root: bytes
    masked: U64 | None = None
    number: int = 0
    salts: U64 | None = None
    blind: U64 | None = None

    @property
    def first(self) -> int:
        """The address of the first of :meth:`values`."""
        return first_kept(self.plan) if self.cells is None else (1 << self.plan.log_cells) - len(self.cells)

    def values(self) -> U64:
        """``cells``, made again where they are not kept."""
        if self.cells is not None:
            return self.cells
        assert self.masked is not None
        return opened_cells(self.plan, self.masked, self.number)[0]

    def fill(self, start: int, target: U64) -> bool:
        """Put the cells from address ``start`` on into ``target``, zeros so far; False where none of them is kept."""
        stop, pair, found = start + len(target), self.blind, False
        first = self.first if self.cells is not None else self.plan.first_row << self.plan.log_message
        if self.cells is None and start < blind_cells(self.plan):  # also where this part ends before the first row
            assert self.masked is not None
            pair = _blind_pair(self.plan, self.masked, self.number)
        if stop > first and self.cells is not None:
            begin = max(start, first)
            target[begin - start :] = self.cells[begin - first : stop - first]
            found = True
        elif stop > first:
            assert self.masked is not None
            place, message = max(start, first), self.plan.shape.message
            while place < stop:
                row, column = divmod(place - first, message)
                part = self.masked[self.plan.shape.reserved_rows + row, column : min(message, column + stop - place)]
                target[place - start : place - start + len(part)] = part
                place += len(part)
            found = True
        if pair is not None and start < len(pair):
            part = pair[start:stop]
            target[: len(part)] = part
            found = True
        return found

    @property
    def nbytes(self) -> int:
        """Of all that this keeps in memory."""
        arrays = (self.cells, self.codeword, self.masked, self.salts, self.blind)
        return sum(one.nbytes for one in arrays if one is not None) + sum(map(len, self.layers))

    def rows(self) -> U64:
        """The stored rows, (R, C), or (R, K) when it hides."""
        return stored_rows(self.plan, self.values()) if self.masked is None else self.masked

    def combination(self, weights: U64) -> U64:
        """Σ weights_row·row over the stored rows: (2, R) → (2, C), or (2, K) when it hides."""
        result: U64 = combine_rows(weights, self.rows())
        return result

    def for_opening(self, number: int) -> CommittedMatrix:
        """The same commitment with the blind rows of opening ``number`` at the reserved row indices."""
        if self.masked is None or number == self.number:
            return self
        _check_number(self.plan, number)
        pair = _blind_pair(self.plan, self.masked, number)
        if self.blind is not None:
            return replace(self, blind=pair, number=number)
        if self.cells is None:
            return replace(self, number=number)
        cells = self.cells.copy()
        cells[: len(pair)] = pair
        return replace(self, cells=cells, number=number)

    def open(self, positions: Sequence[int]) -> Opening:
        """The columns at ``positions`` with their paths."""
        first = 1 + (0 if self.masked is None else SALT_WORDS)
        if self.codeword is not None:
            return open_columns(self.plan.shape, self.codeword, self.layers, positions, first)
        shown = columns_at(self.rows(), log_length(self.plan.shape), positions)
        front: U64 = np.empty((len(positions), first), dtype=np.uint64)
        if self.salts is not None:
            front[:, 1:] = self.salts[list(positions)]
        return _opening(self.plan.shape, np.concatenate([front, shown], axis=1), self.layers, positions, first)


def open_columns(
    shape: CommitmentShape, codeword: U64, layers: Sequence[bytes], positions: Sequence[int], first: int
) -> Opening:
    """The columns at ``positions`` with their paths. codeword: (n, first + R), the salts between the tag and the rows."""
    return _opening(shape, codeword[list(positions)], layers, positions, first)


def _opening(shape: CommitmentShape, shown: U64, layers: Sequence[bytes], positions: Sequence[int], first: int) -> Opening:
    log = log_length(shape)
    columns = tuple(map(tuple, shown[:, first:].tolist()))
    salts = tuple(one.tobytes() for one in shown[:, 1:first].astype("<u8")) if first > 1 else ()
    below, top = layers[: path_length(log)], layers[path_length(log)]
    paths = tuple(tuple(_digest(layer, (position >> level) ^ 1) for level, layer in enumerate(below)) for position in positions)
    return Opening(columns, paths, tuple(_digest(top, i) for i in range(cap_size(log))), salts)


def leaf_digests(layers: Sequence[bytes], positions: Sequence[int]) -> bytes:
    """The digests of the leaves at ``positions``, joined."""
    return b"".join(_digest(layers[0], position) for position in positions)


def stored_rows(plan: Commitment, cells: U64) -> U64:
    """The rows from the first used one, without reserved or mask rows: (R, C), contiguous. ``cells``: all, or the last ones."""
    rows = cells.reshape(-1, plan.shape.message)
    return rows[len(rows) - len(plan.value_rows()) :]


def placed(plan: Commitment, columns: Mapping[Key, U64], first: int = 0) -> U64:
    """The cells from address ``first`` on, from the columns' padded cells. Of every column, its stored cells are taken, no
    others."""
    cells: U64 = np.zeros((1 << plan.log_cells) - first, dtype=np.uint64)
    for key, column in plan.columns.items():
        for (_, block), part in zip(column.blocks(), pieces_in(column.storage, columns[key]), strict=True):
            cells[block.start - first : block.stop - first] = part.reshape(-1)
    return cells


def commit(plan: Commitment, columns: Mapping[Key, U64], threads: int = 1, tree: Layers | None = None) -> CommittedMatrix:
    """Commit padded columns over F_p, one per key of the plan. Raises ValueError for a plan that hides: it needs coins.

    Args:
        tree: over the code word, where that is too long to be kept and the tree is known: it is then not made again.
    """
    if plan.shape.hiding:  # rows without tails would also be too short for the plan's code
        raise ValueError(f"commitment {plan.shape.label} hides: it is never made without coins")
    cells = placed(plan, columns, first_kept(plan))
    codeword, layers = _encoded(plan.shape, stored_rows(plan, cells), None, threads, tree)
    return CommittedMatrix(plan, cells, codeword, layers, commitment_root(plan.shape, plan.log_cells, layers[-1]))


def commit_hiding(
    plan: Commitment,
    columns: Mapping[Key, U64],
    coins: Coins,
    purpose: str,
    *,
    number: int = 0,
    threads: int = 1,
    tree: Layers | None = None,
) -> CommittedMatrix:
    """Commit padded columns over F_p so that they stay hidden over as many openings as the plan allows.

    Args:
        coins: fresh for this commitment, or its own for ever. purpose: keeps the coins of one proof's commitments apart.
        tree: as of :func:`commit`, made with the same coins.

    Raises:
        ValueError: the opening number is beyond the budget: nothing would mask that opening.
    """
    shape = plan.shape
    _check_number(plan, number)
    size, first_tail = shape.message, shape.message + shape.mask
    first = first_kept(plan)
    cells: U64 | None = placed(plan, columns, first)
    assert cells is not None
    rows: U64 = np.zeros((shape.rows, shape.degree), dtype=np.uint64)
    last = shape.rows - shape.mask_rows
    rows[shape.reserved_rows : last, :size] = stored_rows(plan, cells)
    if is_remade(shape):
        cells = None
    rows[: shape.reserved_rows, :size] = coins.field(f"{purpose}.blind", shape.reserved_rows * size).reshape(-1, size)
    rows[:, first_tail:] = coins.field(f"{purpose}.tail", shape.rows * shape.tail).reshape(shape.rows, -1)
    if shape.mask_rows:  # these pads, and what the combination shows beside them, live on the mask region
        for place, kind in ((slice(0, shape.reserved_rows), "blind"), (slice(last, None), "pads")):
            count = len(rows[place])
            rows[place, size:first_tail] = coins.field(f"{purpose}.mask.{kind}", count * shape.mask).reshape(count, -1)
    salts = coins.salts(f"{purpose}.salts", shape.length)
    codeword, layers = _encoded(shape, rows, salts, threads, tree)
    root = commitment_root(shape, plan.log_cells, layers[-1])
    kept = salts if codeword is None else None
    pair = _blind_pair(plan, rows, number)
    if not first and cells is not None:
        cells[: len(pair)] = pair
    return CommittedMatrix(plan, cells, codeword, layers, root, rows, number, kept, pair if first else None)


def _check_number(plan: Commitment, number: int) -> None:
    if not 0 <= number < plan.shape.budget:
        raise ValueError(f"opening number {number} is not one of {plan.shape.budget}")


def commitment_coins(plan: Commitment, columns: Mapping[Key, U64], seed: bytes) -> SecretCoins:
    """The coins of a long-lived commitment, from its secret seed: other ones for every table. Raises ValueError unless that has
    32 bytes."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    # As they are placed: pieces of one column lie elsewhere than those of another with the same cells in another shape.
    first = first_kept(plan)
    values = sha256()
    for start in range(0, first, _ZEROS):
        values.update(bytes(8 * min(_ZEROS, first - start)))
    values.update(placed(plan, columns, first).astype("<u8", copy=False).data)
    shape = plan.shape
    numbers = (plan.log_cells, shape.rows, shape.message, shape.degree, shape.length, shape.mask, shape.tail, shape.budget)
    described = sha256(b"".join(number.to_bytes(8, "little") for number in numbers)).digest()
    return SecretCoins(commitment_key(seed, described, values.digest()))


_ZEROS = 1 << 20


def opened_cells(plan: Commitment, rows: U64, number: int) -> tuple[U64, U64 | None]:
    """``cells`` and ``blind`` of a hiding commitment, for opening ``number``, from its stored rows (R, K)."""
    shape, first = plan.shape, first_kept(plan)
    cells: U64 = np.zeros((1 << plan.log_cells) - first, dtype=np.uint64)
    stored_rows(plan, cells)[:] = rows[shape.reserved_rows : shape.rows - shape.mask_rows, : shape.message]
    pair = _blind_pair(plan, rows, number)
    if first:
        return cells, pair
    cells[: len(pair)] = pair
    return cells, None


def _blind_pair(plan: Commitment, rows: U64, number: int) -> U64:
    """The cells of the blind pair of opening ``number``, which stands at the reserved row indices."""
    return rows[RESERVED_ROWS * number : RESERVED_ROWS * (number + 1), : plan.shape.message].reshape(-1)


@lru_cache(maxsize=8)
def _twiddles(degree: int) -> U64:
    omega = root_of_unity(degree.bit_length() - 1)
    powers = [1]
    for _ in range(degree // 2 - 1):
        powers.append(powers[-1] * omega % P)
    return np.array(powers, dtype=np.uint64)


def encode(rows: U64, log_n: int, degree: int, threads: int = 1, *, first: int = 1) -> U64:
    """Evaluate rows (R, C), as polynomials in coefficient form, on the subgroup of order n: (n, first + R), positions
    bit-reversed. Column 0 is the leaf tag; whatever else comes before the rows is the caller's to fill in.

    Position q of coset b holds x = ω_n^bitrev(b·K + q): one shift per coset, then a transform of size K.
    """
    out = np.empty((1 << log_n, first + rows.shape[0]), dtype=np.uint64)
    out[:, : min(1, first)] = _LEAF_WORD
    omega = root_of_unity(log_n)
    log_cosets = log_n - (degree.bit_length() - 1)
    shifts = [pow(omega, int(f"{b:0{log_cosets}b}"[::-1], 2) if log_cosets else 0, P) for b in range(1 << log_cosets)]
    twiddles, columns = _twiddles(degree), np.ascontiguousarray(rows.T)

    def work(b: int) -> None:
        encode_block(columns, twiddles, np.uint64(shifts[b]), out[b * degree : (b + 1) * degree], first)

    if threads > 1 and rows.size >= 1 << 14:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(len(shifts))))
    else:
        for b in range(len(shifts)):
            work(b)
    return out


def is_remade(shape: CommitmentShape) -> bool:
    """Whether its code word is too long to be kept."""
    return codeword_bytes(shape) > CODEWORD_BYTES


def transform_size(shape: CommitmentShape) -> int:
    """The power of two that rows are evaluated with."""
    return 1 << (shape.degree - 1).bit_length()


def _encoded(
    shape: CommitmentShape, rows: U64, salts: U64 | None, threads: int, tree: Layers | None = None
) -> tuple[U64 | None, Layers]:
    """The code word with tag and salts, unless it is longer than CODEWORD_BYTES, and the tree over it."""
    log, size, first = log_length(shape), transform_size(shape), 1 + (0 if salts is None else SALT_WORDS)
    if not is_remade(shape):
        codeword = encode(rows, log, size, threads) if salts is None else encode(rows, log, size, threads, first=first)
        if salts is not None:
            codeword[:, 1:first] = salts
        return codeword, merkle_layers(codeword, threads)
    if tree is not None:
        return None, tree
    hashes, part = RowHashes(shape.length, threads), _part_rows(shape.length)
    begun = min(part - first, len(rows))  # with tag and salts, whole blocks of the hash
    words = encode(rows[:begun], log, size, threads, first=first)
    if salts is not None:
        words[:, 1:first] = salts
    for start in range(begun, len(rows), part):
        hashes.add(words)
        words = encode(rows[start : start + part], log, size, threads, first=0)
    return None, tree_over(hashes.finish(words))


def _part_rows(length: int) -> int:
    """How many rows are encoded at a time where a code word is not kept; a multiple of the words in a block of the hash."""
    return max(1, PART_BYTES // (64 * length)) * 8


def merkle_layers(codeword: U64, threads: int = 1) -> tuple[bytes, ...]:
    """Digests of leaves, then of every layer of nodes up to the root."""
    leaves = np.ascontiguousarray(codeword, dtype="<u8").view("<u4")
    if threads > 1 and leaves.size >= 1 << 18:
        with ThreadPoolExecutor(threads) as pool:
            digests = np.concatenate(list(pool.map(sha256_rows, np.array_split(leaves, threads))))
    else:
        digests = sha256_rows(leaves)
    return tree_over(digests)


def tree_over(digests: NDArray[np.uint32]) -> tuple[bytes, ...]:
    """The digests of leaves, (n, 8), and of every layer of nodes up to the root."""
    layers = [digests.tobytes()]
    while len(digests) > 1:
        tagged = np.empty((len(digests) // 2, 18), dtype="<u4")
        tagged[:, :2] = _NODE_WORDS
        tagged[:, 2:] = digests.reshape(-1, 16)
        digests = sha256_rows(tagged)
        layers.append(digests.tobytes())
    return tuple(layers)


def _digest(layer: bytes, index: int) -> bytes:
    return layer[32 * index : 32 * (index + 1)]


def extension_values(values: U64) -> list[Ext]:
    """(2, n) as a list of pairs."""
    return list(zip(values[0].tolist(), values[1].tolist(), strict=True))
