"""The sumcheck engine: transparent, fast, integrity-only unless its zk suite is used."""
