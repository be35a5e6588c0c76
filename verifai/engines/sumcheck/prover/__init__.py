"""The prover: the same protocol as :mod:`verifai.engines.sumcheck.verifier`, with arrays and Numba kernels."""
