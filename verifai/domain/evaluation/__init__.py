"""How good a model is, as evidence: pinned data sets, metrics that are computed again, and what a policy asks of them."""
