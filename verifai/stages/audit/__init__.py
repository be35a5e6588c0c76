"""The audit: everything verify does, and what only an auditor takes the time for."""
