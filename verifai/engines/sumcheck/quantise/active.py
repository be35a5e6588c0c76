"""Where a function still changes: beyond that, its table's ends say all, and its argument needs no steps.

exp(−γ d²) of squared distances up to 10^6 is 0 for all but the nearest points. One scale over the whole range would leave the
part that matters a few steps; the circuit saturates what lies beyond the table instead.
"""

from __future__ import annotations

from fractions import Fraction

from verifai.engines.sumcheck.quantise.functions import Program, tabulate
from verifai.engines.sumcheck.quantise.scales import Range, Scale

_WIDTH = 8
_ROUNDS = 12
_STEPS = frozenset({"gt", "ge", "eq", "select", "trunc", "floor", "ceil", "round"})
"""A function that jumps changes on parts as small as one looks at."""
_WORTH = 4
"""A range is narrowed where the function changes on a part so many times smaller: the gain is two bits."""


def active_range(program: Program, values: Range, scale: Scale) -> Range:
    """The part of ``values`` outside which the function, under ``scale``, has the value that it has at the part's end.

    ``values`` themselves where little would be gained. Computed on tables, which are the same on every machine.

    Raises:
        EvidenceRejected: as :func:`.functions.tabulate`.
    """
    if any(instruction[0] in _STEPS for instruction in program):
        return values
    found = values
    half = 1 << (_WIDTH - 1)
    for _ in range(_ROUNDS):
        reach = max(abs(found.low), abs(found.high))
        if reach == 0.0:
            break
        step = _power_of_two_above(reach) / half
        first, last = int(Fraction(found.low) // step), -int(-Fraction(found.high) // step)
        cells = tabulate(program, _WIDTH, step, scale.step, scale.low, scale.high)
        kept = [cells[min(max(t, -half), half - 1) + half] for t in range(first, last + 1)]
        left = next((at for at, cell in enumerate(kept) if cell != kept[0]), None)
        if left is None:
            break
        right = next(at for at in range(len(kept) - 1, -1, -1) if kept[at] != kept[-1])
        # Between two arguments of one value the function may still have moved: one step more on each side.
        low = max(found.low, float((first + left - 2) * step))
        high = min(found.high, float((first + right + 2) * step))
        if (max(high, 0.0) - min(low, 0.0)) * 2 > max(found.high, 0.0) - min(found.low, 0.0):
            break
        found = Range(low, high)
    spans = [max(one.high, 0.0) - min(one.low, 0.0) for one in (values, found)]
    return found if spans[1] * _WORTH <= spans[0] else values


_EVEN_WIDTH = 10


def even_reach(program: Program, values: Range, scale: Scale) -> float:
    """How far from 0, on both sides, a table must reach that holds ``values``: beyond, the function stays as it is there.

    A table has as many arguments below 0 as above. SiLU from −80 to 30 is 0 below −15, so 30 will do.

    Raises:
        EvidenceRejected: as :func:`.functions.tabulate`.
    """
    reach = max(-values.low, values.high)
    if reach <= 0.0 or any(instruction[0] in _STEPS for instruction in program):
        return reach
    half = 1 << (_EVEN_WIDTH - 1)
    step = _power_of_two_above(reach) / half
    first, last = int(Fraction(values.low) // step), -int(-Fraction(values.high) // step)
    cells = tabulate(program, _EVEN_WIDTH, step, scale.step, scale.low, scale.high)
    kept = [cells[min(max(t, -half), half - 1) + half] for t in range(first, last + 1)]
    left = next((at for at, cell in enumerate(kept) if cell != kept[0]), None)
    if left is None:
        return reach
    right = next(at for at in range(len(kept) - 1, -1, -1) if kept[at] != kept[-1])
    return min(reach, max(-float((first + left - 2) * step), float((first + right + 2) * step)))


def _power_of_two_above(value: float) -> Fraction:
    """The least power of two that is greater."""
    exact = Fraction(value)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length() - 1
    while Fraction(2) ** exponent <= exact:
        exponent += 1
    return Fraction(2) ** exponent
