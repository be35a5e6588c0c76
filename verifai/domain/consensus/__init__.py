"""Values of voting rounds: jobs, votes, rounds, tallies, decisions, calibrations, reputation."""
