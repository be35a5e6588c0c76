"""What verifiers need beside fingerprints: a pinned runner, attacks to calibrate against, statistics, the portability check."""
