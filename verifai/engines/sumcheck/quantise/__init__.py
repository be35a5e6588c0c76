"""Scales and ranges: which integers stand for which real numbers."""
