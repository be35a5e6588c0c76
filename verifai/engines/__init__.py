"""Proof engines behind one interface."""
