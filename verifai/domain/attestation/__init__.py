"""Signed statements: envelope, types, and the predicates about circuits, proofs and bundle contents."""
