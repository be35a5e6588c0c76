"""Fiat–Shamir: one hash over all public data and messages so far, and challenges drawn from it.

Every item is hashed as ``u8 length ‖ label ‖ u64 length ‖ bytes``, little-endian. A prover's message enters in exactly one way,
:meth:`Transcript.send`; a challenge leaves in exactly one way, :meth:`Transcript.challenge`. Prover and verifier call the same
methods: the prover's transcript records messages, the verifier's replays them from the proof.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Protocol

from verifai.engines.sumcheck.protocol.field import Ext, P


class Coins(Protocol):
    """Takes what is said and gives the seeds of challenges."""

    def absorb(self, data: bytes) -> None:
        """Enter bytes."""

    def seed(self) -> bytes:
        """32 bytes that depend on all bytes entered so far."""


class HashCoins:
    """SHA-256 over all bytes so far: what every proof uses outside tests."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def absorb(self, data: bytes) -> None:
        """Enter bytes."""
        self._hash.update(data)

    def seed(self) -> bytes:
        """The digest of all bytes entered so far."""
        return self._hash.copy().digest()


class Stream:
    """Uniform draws from one seed: SHA-256(seed ‖ u64 counter), read as little-endian u64 words."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._counter = 0
        self._words: list[int] = []

    def word(self) -> int:
        """The next 64 bits."""
        if not self._words:
            block = hashlib.sha256(self._seed + self._counter.to_bytes(8, "little")).digest()
            self._counter += 1
            self._words = [int.from_bytes(block[i : i + 8], "little") for i in (24, 16, 8, 0)]
        return self._words.pop()

    def base(self) -> int:
        """A uniform element of F_p, by rejection."""
        while (word := self.word()) >= P:
            pass
        return word

    def outside_base(self) -> Ext:
        """A uniform element of F without F_p: never a public constant such as 0 or 1; zero knowledge needs that."""
        a = self.base()
        while (b := self.base()) == 0:
            pass
        return (a, b)


class Transcript:
    """Public data and messages in the order of the script."""

    def __init__(self, coins: Coins | None = None) -> None:
        """``coins``: fresh :class:`HashCoins` unless given. Whoever gives them can read afterwards what was entered."""
        self._coins: Coins = coins if coins is not None else HashCoins()

    def absorb(self, label: str, data: bytes) -> None:
        """Enter public data that both sides hold: suite, digests, statement, roots."""
        tag = label.encode("ascii")
        self._coins.absorb(len(tag).to_bytes(1, "little") + tag + len(data).to_bytes(8, "little") + data)

    def send(self, label: str, values: Sequence[Ext]) -> None:
        """Enter a prover's message of field elements."""
        self.absorb(label, struct.pack(f"<{2 * len(values)}Q", *chain.from_iterable(values)))

    def challenge(self, label: str) -> Ext:
        """One uniform challenge; the label enters the transcript, so names of challenges separate their uses."""
        return self._stream("challenge", label).outside_base()

    def challenges(self, label: str, count: int) -> list[Ext]:
        """``count`` independent challenges drawn at once."""
        stream = self._stream("challenge", label)
        return [stream.outside_base() for _ in range(count)]

    def positions(self, label: str, bits: int, count: int) -> list[int]:
        """``count`` distinct positions in [0, 2^bits), uniform among ordered selections, by rejection."""
        if not 0 < count <= 1 << bits:
            raise ValueError(f"{count} distinct positions of {1 << bits}")
        stream = self._stream("positions", label)
        seen: dict[int, None] = {}
        while len(seen) < count:
            seen[stream.word() & ((1 << bits) - 1)] = None
        return list(seen)

    def _stream(self, kind: str, label: str) -> Stream:
        self.absorb(kind, label.encode("ascii"))
        return Stream(self._coins.seed())
