"""How the specification's visibilities are bound by a circuit."""

from __future__ import annotations

from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.sumcheck.circuit import program as ir

BINDINGS = {
    Visibility.PUBLIC: ir.Visibility.PUBLIC,
    Visibility.HASHED: ir.Visibility.HASHED,
    Visibility.PRIVATE: ir.Visibility.PRIVATE,
}


def weight_binding(weights: WeightVisibility) -> ir.WeightVisibility:
    """Private weights are committed ones, in a suite that hides."""
    return ir.WeightVisibility.PUBLIC if weights is WeightVisibility.PUBLIC else ir.WeightVisibility.COMMITTED
