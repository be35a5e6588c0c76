"""The kernels compiled by several processes at once: machine code goes through the cache on disk, so each takes a share.

What is listed here is compiled under these types; whatever is missing, its first call compiles.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from numba.core import sigutils

import verifai
from verifai.engines.sumcheck.prover import hash_kernels as _hash_kernels
from verifai.engines.sumcheck.prover import kernels as _kernels
from verifai.engines.sumcheck.prover import lookup_kernels as _lookup_kernels
from verifai.engines.sumcheck.prover.jit import keeps, kernels

MAX_PROCESSES = 4
_WORKER = "verifai.engines.sumcheck.prover.kernel_worker"
KERNEL_MODULES = (_hash_kernels, _kernels, _lookup_kernels)
"""Imported here, so that all kernels are known before they are looked for."""
_LETTERS = {
    "M": "uint64[:,::1]", "V": "uint64[::1]", "C": "uint64[:,:,::1]", "W": "uint32[:,::1]", "N": "int64[::1]", "u": "uint64",
    "i": "int64", "F": "float64[:,::1]",
}  # fmt: skip
TYPES: dict[str, tuple[float, str]] = {
    "fraction_start_range": (10.6, "MMMMMuuii MVMMMuuii"),
    "fraction_next_range": (3.7, "MMMMMuuuuMMMMii MVMMMuuuuMMMMii"),
    "sha256_rows": (1.3, "W"),
    "sha256_absorb": (1.3, "WW"),
    "weighted_round": (0.9, "MMM"),
    "fraction_round_range": (0.8, "MMMMMii"),
    "leaf_layer_range": (0.6, "VVMMMMiii"),
    "encode_block": (0.6, "MVuMi"),
    "product_round_range": (0.5, "MMii"),
    "fold_range": (0.3, "MiuuMii"),
    "eq_table": (0.3, "M"),
    "fraction_layer_range": (0.3, "MMMMMMiii"),
    "add_powers": (0.3, "VVVM"),
    "fold_base_range": (0.3, "ViuuMii"),
    "product_round_base_range": (0.3, "VMiii"),
    "add_scaled_range": (0.3, "MMuuMii"),
    "outer": (0.3, "MM"),
    "outer_add": (0.3, "VVMM"),
    "scaled": (0.3, "Muu"),
    "mix_range": (0.3, "MMuuii"),
    "combine_columns_ext": (0.3, "MMM"),
    "scale_base": (0.3, "Vu"),
    "factors_round": (0.3, "MCi"),
    "combine_columns": (0.3, "MM"),
    "halve_sum": (0.3, "M"),
    "combine_rows": (0.3, "MM"),
    "dot": (0.3, "MM"),
    "fingerprints": (0.3, "VVVNNuu VVVVVuu"),
    "dot_base": (0.3, "VM"),
    "centred": (0.3, "MiiF"),
    "quad_sums": (0.9, "MM"),
    "quad_fold": (0.5, "MMMMMMi"),
    "fingerprints_single": (0.3, "VVVV VVVN"),
}
"""Of every kernel that the prover calls from Python: seconds that compiling takes, and its argument types, a letter each, for
every way in which it is called. What a kernel calls itself is compiled with it."""


def signatures(name: str) -> list[tuple[Any, ...]]:
    """The argument types that the kernel is compiled for."""
    written = ["(" + ", ".join(_LETTERS[letter] for letter in types) + ",)" for types in TYPES[name][1].split()]
    return [sigutils.normalize_signature(one)[0] for one in written]


def shares(of: int) -> list[list[str]]:
    """The kernels, told out to ``of`` processes: each, the costliest first, to that which has least to do.

    All types of one kernel go to one process: the cache has one index per kernel, which two would write over.
    """
    found: list[list[str]] = [[] for _ in range(of)]
    for name in sorted(TYPES, key=lambda one: -TYPES[one][0]):
        min(found, key=lambda share: sum(TYPES[one][0] for one in share)).append(name)
    return found


def compile_share(number: int, of: int) -> None:
    """Compile one share, into the cache."""
    by_name: dict[str, Any] = {made.py_func.__name__: made for made in kernels()}
    for name in shares(of)[number]:
        for types in signatures(name):
            by_name[name].compile(types)


def compile_at_once() -> None:
    """All of them by as many processes as there are processors; nothing where nothing would be kept, or there is but one."""
    processes = min(MAX_PROCESSES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if processes < 2 or not all(keeps(made) for made in kernels()):
        return
    # The code that runs here, whichever installation the current folder has.
    path = os.pathsep.join([str(Path(verifai.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", _WORKER, str(number), str(processes)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(processes)
    ]
    try:
        for child in children:
            child.wait()  # what it could not do, the first call does
    finally:
        for child in children:
            child.kill()
            child.wait()
