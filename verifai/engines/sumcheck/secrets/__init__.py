"""Secrets that stay with their owner: the seeds of commitments, and the ledgers that count their openings."""
