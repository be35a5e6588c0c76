"""SHA-256 of many short messages of one length: sixteen side by side in vector registers, and no Python call for each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from verifai.engines.sumcheck.prover.intrinsics import intrinsic
from verifai.engines.sumcheck.prover.jit import kernel

U32 = NDArray[np.uint32]

LANES = 16
_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, LANES)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _root_bits(number: int, degree: int) -> int:
    """The first 32 bits of the fraction of number^(1/degree), in exact integers: FIPS 180-4, sections 4.2.2 and 5.3.3."""
    wanted = number << 32 * degree
    low, high = 0, 1 << 48
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= wanted else (low, middle)
    return low & 0xFFFFFFFF


_ROUND = [_root_bits(prime, 3) for prime in _primes(64)]
_START = np.array([_root_bits(prime, 2) for prime in _primes(8)], dtype=np.uint32)


def _all(value: int) -> Any:
    return ir.Constant(_VECTOR, [ir.Constant(_WORD, value)] * LANES)


def _rotated(build: Any, x: Any, by: int) -> Any:
    return build.or_(build.lshr(x, _all(by)), build.shl(x, _all(32 - by)))


def _mixed(build: Any, x: Any, first: int, second: int, third: Any) -> Any:
    return build.xor(build.xor(_rotated(build, x, first), _rotated(build, x, second)), third)


def _sum(build: Any, *terms: Any) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = build.add(total, term)
    return total


def _rounds(build: Any, start: list[Any], words: list[Any]) -> list[Any]:
    """The schedule, the 64 rounds and the sum with the state before them: FIPS 180-4, section 6.2.2."""
    words = list(words)
    for t in range(16, 64):
        small = _mixed(build, words[t - 15], 7, 18, build.lshr(words[t - 15], _all(3)))
        large = _mixed(build, words[t - 2], 17, 19, build.lshr(words[t - 2], _all(10)))
        words.append(_sum(build, large, words[t - 7], small, words[t - 16]))
    a, b, c, d, e, f, g, h = start
    for t in range(64):
        large = _mixed(build, e, 6, 11, _rotated(build, e, 25))
        choice = build.xor(g, build.and_(e, build.xor(f, g)))
        first = _sum(build, h, large, choice, _all(_ROUND[t]), words[t])
        large = _mixed(build, a, 2, 13, _rotated(build, a, 22))
        majority = build.or_(build.and_(a, b), build.and_(c, build.or_(a, b)))
        a, b, c, d, e, f, g, h = _sum(build, first, large, majority), a, b, c, build.add(d, first), e, f, g
    return [build.add(old, new) for old, new in zip(start, (a, b, c, d, e, f, g, h), strict=True)]


@intrinsic
def _compress(typingctx: Any, state: Any, block: Any) -> Any:
    """One block in each lane: state (8·LANES,) is replaced, block (16·LANES,); both uint32, contiguous, lanes last."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def load(number: int, count: int) -> tuple[Any, list[Any]]:
            array = context.make_array(signature.args[number])(context, builder, args[number])
            start = builder.bitcast(array.data, _VECTOR.as_pointer())
            places = [builder.gep(start, [ir.Constant(_WORD, i)]) for i in range(count)]
            return places, [builder.load(place, align=4) for place in places]

        places, values = load(0, 8)
        _, words = load(1, 16)
        for place, value in zip(places, _rounds(builder, values, words), strict=True):
            builder.store(value, place, align=4)
        return context.get_dummy_value()

    return types.void(state, block), generate


@kernel
def sha256_rows(messages: U32) -> Any:
    """SHA-256 of every row. messages: (n, m), the bytes read as little-endian words → (n, 8), digests read so too."""
    count, length = messages.shape
    blocks = (4 * length + 9 + 63) // 64
    out = np.empty((count, 8), dtype=np.uint32)
    state = np.empty(8 * LANES, dtype=np.uint32)
    block = np.zeros(16 * LANES, dtype=np.uint32)
    for first in range(0, count, LANES):
        lanes = min(LANES, count - first)
        for word in range(8):
            state[word * LANES : (word + 1) * LANES] = _START[word]
        for number in range(blocks):
            for t in range(16):
                at = 16 * number + t
                target = block[t * LANES : (t + 1) * LANES]
                if at < length:
                    for lane in range(lanes):
                        target[lane] = _swapped(messages[first + lane, at])
                elif at == length:
                    target[:] = np.uint32(0x80000000)
                else:
                    target[:] = np.uint32(32 * length if at == 16 * blocks - 1 else 0)
            _compress(state, block)
        for word in range(8):
            for lane in range(lanes):
                out[first + lane, word] = _swapped(state[word * LANES + lane])
    return out


@kernel
def sha256_absorb(state: U32, messages: U32) -> None:
    """Take whole blocks into each row's hash. state: (n, 8), replaced; messages: (n, 16·k), bytes as little-endian words."""
    count, length = messages.shape
    lanes_state = np.empty(8 * LANES, dtype=np.uint32)
    block = np.zeros(16 * LANES, dtype=np.uint32)
    for first in range(0, count, LANES):
        lanes = min(LANES, count - first)
        for word in range(8):
            for lane in range(lanes):
                lanes_state[word * LANES + lane] = state[first + lane, word]
        for start in range(0, length, 16):
            for t in range(16):
                target = block[t * LANES : (t + 1) * LANES]
                for lane in range(lanes):
                    target[lane] = _swapped(messages[first + lane, start + t])
            _compress(lanes_state, block)
        for word in range(8):
            for lane in range(lanes):
                state[first + lane, word] = lanes_state[word * LANES + lane]


class RowHashes:
    """SHA-256 of every row of a matrix whose columns come in parts: what is hashed need never be there as a whole."""

    def __init__(self, count: int, threads: int = 1) -> None:
        self._states = np.tile(_START, (count, 1))
        self._threads, self._words = threads, 0

    def add(self, words: NDArray[np.uint64]) -> None:
        """The next columns, (n, 8·k)."""
        self._words += words.shape[1]
        messages = np.ascontiguousarray(words, dtype="<u8").view("<u4")
        if self._threads > 1:
            split = (np.array_split(one, self._threads) for one in (self._states, messages))
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(sha256_absorb, *split))
        else:
            sha256_absorb(self._states, messages)

    def finish(self, words: NDArray[np.uint64]) -> U32:
        """The last columns, (n, any number) → (n, 8), as :func:`sha256_rows`."""
        whole = words.shape[1] // 8 * 8
        if whole:
            self.add(words[:, :whole])
        rest, bits = words[:, whole:], 64 * (self._words + words.shape[1] - whole)
        last = np.zeros((len(words), 8 if rest.shape[1] < 7 else 16), dtype="<u8")
        last[:, : rest.shape[1]] = rest
        last[:, rest.shape[1]] = 0x80
        last[:, -1] = int.from_bytes(bits.to_bytes(8, "big"), "little")
        self.add(last)
        digests: U32 = self._states.byteswap()
        return digests


@intrinsic
def _swapped(typingctx: Any, x: Any) -> Any:
    """The bytes of a word the other way round."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bswap(args[0])

    return types.uint32(types.uint32), generate
