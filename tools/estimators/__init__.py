"""Ordinary scikit-learn models on raw real data, compiled with default settings: what works, how near, at what cost."""
