"""The verifier: standard library only, to be read in an evening. Start at :mod:`.verify`."""
