"""People's models by many routes, put through the sumcheck engine; what came of them is ``docs/coverage.md``."""
