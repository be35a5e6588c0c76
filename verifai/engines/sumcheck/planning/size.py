"""How large a proof will be; a function of the circuit alone."""

from __future__ import annotations

from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.protocol.layout import Layout
from verifai.engines.sumcheck.protocol.proof import opening_bytes

_MESSAGE_BYTES = 16


def proof_bytes(circuit: Circuit, layout: Layout) -> int:
    """Openings exactly, messages about."""
    shapes = layout.commitments()
    rounds = sum(range(layout.bus.log_leaves + 1)) * 2 + 40 * len(circuit.ops) + 2 * layout.witness.log_cells
    if layout.pads is not None:
        rounds = layout.pads.messages + 2 * layout.pads.products + layout.witness.shape.mask
    return sum(opening_bytes(shape) + 16 * shape.degree for shape in shapes) + _MESSAGE_BYTES * rounds
