"""Writes ``vectors/merkle.json``: roots and proofs made by pymerkle, an independent implementation of RFC 9162.

Run it by hand: ``python -m tests.conformance.make_merkle_vectors``. The result is committed, so tests need no pymerkle.
pymerkle orders a path its own way and includes the leaf, so proofs are stored as sorted sets of hashes; the order, and
consistency proofs (which it composes differently), are pinned by the roots they must lead to.
"""

from __future__ import annotations

import json
from pathlib import Path

from pymerkle import InmemoryTree

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 33)


def main() -> None:
    entries = [f"entry {index}" for index in range(max(SIZES))]
    tree = InmemoryTree(algorithm="sha256")
    leaves = [tree.get_leaf(tree.append_entry(entry.encode())).hex() for entry in entries]
    inclusion = []
    for size in SIZES:
        for index in sorted({0, size // 2, size - 1}):
            path = tree.prove_inclusion(index + 1, size).serialize()["path"]
            inclusion.append({"index": index, "size": size, "hashes": sorted(set(path) - {leaves[index]})})
    document = {
        "entries": entries,
        "leaves": leaves,
        "roots": {str(size): tree.get_root(size).hex() for size in SIZES},
        "inclusion": inclusion,
    }
    target = Path(__file__).parent / "vectors" / "merkle.json"
    target.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
