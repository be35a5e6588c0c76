"""Finds the cheapest ezkl circuit that keeps the fidelity asked for."""
