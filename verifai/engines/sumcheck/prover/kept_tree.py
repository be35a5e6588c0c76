"""The tree over a long code word of weights, kept on disk: with it no process but the first makes that code word.

Encoding and hashing 188 million cells takes 20 CPU seconds, and all that a proof needs of it are the leaves' digests. The file
says what it is of: circuit, weights, root. Whatever is wrong with it, the weights are committed to as if it were not there. Who
can write it can make proofs fail, and nothing else: a proof is verified before it leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verifai.engines.sumcheck.prover.commitment import CommittedMatrix, Layers, tree_over
from verifai.errors import VerifaiError
from verifai.execution.files import read_limited, write_atomic

TREE_FILE = "weights.tree"
_MAGIC = b"verifai/tree/1\n\n"
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class KeptTree:
    """Where the leaves' digests are, and of what: digests of circuit and weight file, and the root, all in hex."""

    path: Path
    circuit: str
    weights: str
    root: str

    def _head(self) -> bytes:
        named = "\n".join((self.circuit, self.weights, self.root))
        return _MAGIC + hashlib.sha256(named.encode()).digest()

    def committed(self, length: int, make: Callable[..., CommittedMatrix]) -> CommittedMatrix:
        """What ``make`` makes, by the tree that is kept where that has the root; else without, and its tree is kept.

        Args:
            make: a commitment; its argument ``tree``: the tree over its code word.
        """
        found = self.read(length)
        if found is not None:
            matrix = make(tree=found)
            if matrix.root.hex() == self.root:
                return matrix
            del matrix, found  # a tree of other weights: without this, all of both would be there at once
        matrix = make()
        if matrix.root.hex() == self.root:
            self.write(matrix.layers)
        return matrix

    def read(self, length: int) -> Layers | None:
        """The tree's layers, leaves first; None where no file of exactly this is there. ``length``: of the code word."""
        head = self._head()
        try:
            data = read_limited(self.path, limit=len(head) + (length + 1) * _DIGEST)
        except VerifaiError:
            return None
        body, checked = data[len(head) : -_DIGEST], data[-_DIGEST:]
        if not data.startswith(head) or len(body) != length * _DIGEST or hashlib.sha256(data[:-_DIGEST]).digest() != checked:
            return None
        return tree_over(np.frombuffer(body, dtype="<u4").reshape(length, -1))

    def write(self, layers: Layers) -> None:
        """Keep the leaves, readable by the owner alone; where the folder cannot be written, nothing is kept."""
        data = self._head() + layers[0]
        try:
            write_atomic(self.path, data + hashlib.sha256(data).digest(), mode=0o600)
        except (VerifaiError, OSError):
            return
