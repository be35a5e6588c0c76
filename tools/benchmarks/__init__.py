"""Benchmarks that compare two releases of the sumcheck engine."""
