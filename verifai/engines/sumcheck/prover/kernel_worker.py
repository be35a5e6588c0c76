"""One process of several that compile kernels: ``python -m verifai.engines.sumcheck.prover.kernel_worker NUMBER OF``."""

from __future__ import annotations

import sys

from verifai.engines.sumcheck.prover.kernel_shares import compile_share

if __name__ == "__main__":
    compile_share(int(sys.argv[1]), int(sys.argv[2]))
