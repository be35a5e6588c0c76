"""Locality-sensitive hashes of outputs: one file per output kind."""
