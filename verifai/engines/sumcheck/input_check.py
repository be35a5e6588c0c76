"""Which samples a circuit cannot represent: found from the ranges of its inputs, before anything is proven."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifai.engines.capabilities import CheckInputsRequest, OutsideInput
from verifai.engines.sumcheck.build_folder import read_circuit
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility
from verifai.engines.sumcheck.lock_section import LockSection, expect_suite, parse_section
from verifai.engines.sumcheck.tensors import input_range, item_tensor, outside_cells, places_of

GAP = "it is empty, no finite number, or none of its column's categories"
"""Said of a hidden cell too: a gap is no value."""


def outside_inputs(request: CheckInputsRequest) -> tuple[OutsideInput, ...]:
    """One entry per input of a sample that ``prove`` would refuse. Of tensors that proofs hide, the place and no value.

    Raises:
        InputRejected: an input that is not of the model's shape and dtype. UsageError: ``stale-build``, ``bad-lock``,
            ``engine-version``.
    """
    from verifai.onnx_graph.reference import check_tensors

    section = parse_section(request.section)
    expect_suite(section)
    _, circuit = read_circuit(request.build_dir, section)
    for sample in request.samples:
        check_tensors(sample, request.model.inputs)
    return tuple(_outside(request, circuit, section))


def _outside(request: CheckInputsRequest, circuit: Circuit, section: LockSection) -> Iterator[OutsideInput]:
    ports = list(zip(circuit.inputs, request.model.inputs, strict=True))
    for row, sample in enumerate(request.samples):
        for port, spec in ports:
            values, columns = sample[spec.name], places_of(section.scales.get(spec.name))
            cells = outside_cells(item_tensor(circuit, port.tensor), values, columns)
            if not cells.size:
                continue
            first = int(cells[0])
            place = tuple(int(index) for index in np.unravel_index(first, spec.shape))
            if circuit.zero_knowledge and port.visibility is not Visibility.PUBLIC:
                gap = not np.isfinite(float(values.reshape(-1)[first]))
                yield OutsideInput(row, spec.name, cells.size, place, reason=GAP if gap else "")
                continue
            low, high = input_range(circuit.tensors[port.tensor], values.dtype.kind, first, columns)
            value = float(values.reshape(-1)[first])
            reason = "" if np.isfinite(value) else GAP
            yield OutsideInput(row, spec.name, cells.size, place, value=f"{value:g}", low=low, high=high, reason=reason)
