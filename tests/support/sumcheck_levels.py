"""Levels where a circuit's own plan has none, so that small circuits can test them."""

from __future__ import annotations

from contextlib import contextmanager

from verifai.engines.sumcheck.planning import levels, plan
from verifai.engines.sumcheck.protocol.levels import arrange

SHORT = ((6, 3), (5, 3))
"""(log2 C, log2 1/rate) of two levels for the examples' combinations."""


def _planner(chain):
    def plan_levels(lengths):
        made = []
        for log_message, log_rate in chain:
            if log_message < arrange(lengths)[1]:
                made.append(levels._level(f"level:{len(made) + 1}", lengths, log_message, log_rate))
                lengths = [1 << log_message]
        return tuple(made)

    return plan_levels


def force_levels(patch, *chain):
    """Let every plan have these levels, (log2 C, log2 1/rate) each; those that would not shorten anything are left out."""
    patch.setattr(plan, "plan_levels", _planner(chain))


@contextmanager
def forced_levels(*chain):
    """The same for a while."""
    honest = plan.plan_levels
    plan.plan_levels = _planner(chain)
    try:
        yield
    finally:
        plan.plan_levels = honest
