"""The ezkl engine: zero-knowledge halo2 proofs, every call fenced in a child process."""
