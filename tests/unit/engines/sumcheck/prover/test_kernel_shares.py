"""Kernels compiled by several processes: what is listed is what the prover calls, and a process keeps its share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.engines.sumcheck.prover.jit import kernels
from verifai.engines.sumcheck.prover.kernel_shares import TYPES, shares, signatures
from verifai.engines.sumcheck.prover.kernel_step import ensure_kernels

INNER = {"bound_range"}
"""Called from Python and from kernels."""


def test_what_is_listed_is_what_the_prover_calls() -> None:
    ensure_kernels()
    made = {one.py_func.__name__: set(one.signatures) for one in kernels() if hasattr(one, "signatures")}
    if not made:
        pytest.skip("Numba compiles nothing here (NUMBA_DISABLE_JIT), so there is nothing to list")
    for name in TYPES:
        assert set(signatures(name)) <= made[name], f"{name} is listed with types that nothing calls it with"
    missing = {name for name, found in made.items() if name not in TYPES and found and not name.startswith("_")} - INNER
    assert not missing, "listed nowhere, so compiled by one process while the others wait"


@pytest.mark.parametrize("of", [1, 2, 3, 4, 50])
def test_every_kernel_is_in_one_share(of: int) -> None:
    told = [name for share in shares(of) for name in share]
    assert sorted(told) == sorted(TYPES)


def test_two_shares_are_about_equal() -> None:
    first, second = (sum(TYPES[name][0] for name in share) for share in shares(2))
    assert abs(first - second) < 0.1 * (first + second)


def test_a_process_compiles_its_share_into_the_cache(tmp_path: Path) -> None:
    of = len(TYPES)
    number, (name,) = next((at, share) for at, share in enumerate(shares(of)) if share[0] in ("dot_base", "combine_rows"))
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    worker = "verifai.engines.sumcheck.prover.kernel_worker"
    subprocess.run([sys.executable, "-P", "-m", worker, str(number), str(of)], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*.nbi") if f".{name}-" in path.name], "an index for each kernel that was compiled"
    assert not [path for path in tmp_path.rglob("*.nbi") if "fraction_start_range" in path.name]
