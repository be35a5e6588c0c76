"""Public outputs at an end of the circuit's range: a value beyond it would have come out the same.

An output is clamped to a range that compile chose from calibration data, with a margin. The proof holds all the same: the
integer program was run. But the float model's value may lie beyond, so whoever reads the number has to be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from verifai.domain.fidelity import OutputFigures
from verifai.domain.findings import Finding, not_checked
from verifai.domain.statement import Role
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor
from verifai.engines.sumcheck.lock_section import LockSection
from verifai.engines.sumcheck.protocol.statement import PublicTensor, Statement, shown_size
from verifai.engines.sumcheck.quantise.scales import Scale


def saturated_outputs(section: LockSection, circuit: Circuit, statement: Statement) -> tuple[Finding, ...]:
    """One finding for each public output with cells at an end of its range, how many they are and where."""
    names = [tensor.name for tensor in section.tensors if tensor.role is Role.OUTPUT]
    stated = statement.tensors[len(circuit.inputs) :]
    found = []
    for name, port, shown in zip(names, circuit.outputs, stated, strict=True):
        tensor = circuit.tensors[port.tensor]
        if not isinstance(shown, PublicTensor) or not _real(section, name, tensor):
            continue
        step = Fraction(*tensor.scale)
        cells = shown.cells[: shown_size(tensor, statement.items)]
        ends = tuple(_clamping_ends(tensor, section.scales.get(name), section.fidelity.output(name)))
        counts = {end: cells.count(end) for end in ends}
        own = section.scales.get(name)
        # Where columns have scales of their own, an end of the range is another number in each.
        columns = own is not None and bool(own.columns)
        at = {end: f" at {float(end * step):g}" for end in ends} if not columns else dict.fromkeys(ends, "")
        where = " and ".join(f"{count:,}{at[end]}" for end, count in counts.items() if count)
        if not where:
            continue
        message = (
            f"{sum(counts.values()):,} of {len(cells):,} values of output {name!r} lie at the end of the circuit's range "
            f"({where}): the float model's may lie beyond"
        )
        remedy = (
            "Do not take them for the model's. Compile with calibration data that covers such inputs, or with a larger "
            "output_margin in [engine.sumcheck] of circuit.toml, and prove again."
        )
        found.append(not_checked("output-saturated", message, "5", remedy=remedy, where=name))
    return tuple(found)


def _real(section: LockSection, name: str, tensor: Tensor) -> bool:
    """Whether the output is of real numbers: integers, such as the place of a maximum, have ends of their own."""
    if section.fidelity.task is None:  # an older lock does not say; a real output's scale has a mantissa of 16 bits
        return tensor.scale != (1, 1)
    return section.fidelity.output(name) is not None


def _clamping_ends(tensor: Tensor, own: Scale | None, figures: OutputFigures | None) -> Iterator[int]:
    """The ends at which the range clamps, not the function: a rectifier's 0 and a probability's 1 are no saturation.

    Args:
        own: the range that was chosen for the output itself; ``None`` where it is another value, rearranged.
        figures: its values on the calibration data.
    """
    step = Fraction(*tensor.scale)
    data = (None, None) if figures is None else (figures.low, figures.high)
    chosen = (None, None) if own is None else (own.low, own.high)
    for end, limit, reached in zip((tensor.low, tensor.high), chosen, data, strict=True):
        if own is not None and end != limit:
            continue  # the function ends before the range does
        if own is not None and own.columns:
            yield end
            continue
        if own is not None and reached is not None:
            if abs(end * step - Fraction(reached)) > step:  # beyond all that the data reached: there is a margin
                yield end
        elif end != 0:
            yield end
