"""Pure values: standard library only; no disk, clock, randomness or network."""
