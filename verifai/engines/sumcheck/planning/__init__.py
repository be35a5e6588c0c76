"""Which commitments, pads and errors a proof of a circuit has: a function of the circuit alone. Standard library only."""
