"""The protocol's script and what both sides need for it. Standard library only."""
