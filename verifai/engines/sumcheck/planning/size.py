"""How large a proof is; a function of the circuit alone."""

from __future__ import annotations

from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.planning.rehearsal import script_elements
from verifai.engines.sumcheck.protocol.layout import Layout
from verifai.engines.sumcheck.protocol.merkle import DIGEST_BYTES
from verifai.engines.sumcheck.protocol.proof import magic_of, opening_bytes

_ELEMENT_BYTES = 16


def proof_bytes(circuit: Circuit, layout: Layout) -> int:
    """The exact length of a proof. Raises as the planner."""
    shapes = layout.commitments()
    fixed = len(magic_of(shapes)) + DIGEST_BYTES + sum(opening_bytes(shape) for shape in shapes)
    return fixed + _ELEMENT_BYTES * (script_elements(circuit, layout.bus) + opening_elements(layout))


def opening_elements(layout: Layout) -> int:
    """Elements of F that are sent after the last operation: rounds, values, levels and the combinations that are left."""
    members, levels = layout.rooted(), layout.levels
    found = 2 * max(member.log_cells for member in members) + len(members)
    if layout.pads is not None:
        found += 2 * layout.pads.log_products + 2 + 1  # the products' check; the mask region
    found += sum(2 * level.log_cells for level in levels)
    return found + (levels[-1].shape.degree if levels else sum(group[0].shape.degree for group in layout.groups()))
