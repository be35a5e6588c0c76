"""What must never leave its owner: seeds of commitments, and the ledgers of their openings."""
