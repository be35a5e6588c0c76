"""The integer program that a proof is about: its operations, bytes, rules and bounds. Standard library only."""
