"""Models that people have, put through the command line from their file to a verified proof: docs/real-models.md."""
