"""Runs an integer program on arrays; the trace is what a proof is made from."""
