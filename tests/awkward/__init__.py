"""Models that no tool likes: what a user is told about each."""
