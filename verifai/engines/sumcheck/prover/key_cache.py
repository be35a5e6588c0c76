"""Proving keys of the circuits that this process proved last: committing to weights costs as much as a small proof."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from verifai.engines.sumcheck.prover.prove import ProvingKey

MAX_KEYS = 2
MAX_BYTES = 1 << 30
"""Older keys go when all together hold more; the newest stays whatever its size."""


@dataclass
class KeyCache:
    """The last few keys, by the digests of the bytes that they are made of. Safe to share between threads."""

    max_keys: int = MAX_KEYS
    max_bytes: int = MAX_BYTES
    _keys: OrderedDict[tuple[str, str], ProvingKey] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, circuit_digest: str, weights_digest: str, make: Callable[[], ProvingKey]) -> ProvingKey:
        """The key of these digests, made at most once while it is kept. What ``make`` raises leaves nothing behind.

        Keys are made one at a time: two threads that need the same key wait for one commitment instead of making two.
        """
        name = (circuit_digest, weights_digest)
        with self._lock:
            key = self._keys.get(name)
            if key is None:
                key = self._keys[name] = make()
            self._keys.move_to_end(name)
            while len(self._keys) > self.max_keys or (len(self._keys) > 1 and self._total() > self.max_bytes):
                self._keys.popitem(last=False)
            return key

    def _total(self) -> int:
        return sum(key_bytes(key) for key in self._keys.values())


def key_bytes(key: ProvingKey) -> int:
    """Bytes of the arrays that a key keeps alive: weights, their codewords, and tables, whose equal columns are one array."""
    columns = {id(column): column.nbytes for columns in key.tables for column in columns}
    weights = key.weights.nbytes + sum(columns.values())
    return weights if key.committed is None else weights + key.committed.nbytes


KEYS = KeyCache()
"""This process's keys."""
