"""What an ezkl circuit will cost, before any cost."""
