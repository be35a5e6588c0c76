"""Short codes of model outputs: one file per output kind, one interface, one contract suite."""
