"""Voting rounds: votes, calibrations, decisions, and what is recorded of them."""
