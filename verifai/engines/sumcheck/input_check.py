"""Which samples a circuit cannot represent: found from the ranges of its inputs, before anything is proven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from verifai.domain.ordered_floats import LARGEST
from verifai.domain.statement import Role
from verifai.engines.capabilities import CheckInputsRequest, OutsideInput
from verifai.engines.sumcheck.build_folder import read_circuit
from verifai.engines.sumcheck.circuit.codec import MAX_BYTES, circuit_digest, decode
from verifai.engines.sumcheck.circuit.counting import alike
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor, Visibility
from verifai.engines.sumcheck.lock_section import LockSection, expect_suite, parse_section
from verifai.engines.sumcheck.payload.files import CIRCUIT_FILE
from verifai.engines.sumcheck.tensors import input_range, item_tensor, outside_cells, places_of
from verifai.errors import EvidenceRejected
from verifai.execution.files import read_limited

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


def input_ranges(section: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    """By input, the least and the largest integer q that the circuit in a verified payload takes.

    Raises:
        EvidenceRejected: ``circuit-mismatch``. UsageError: ``bad-lock``.
    """
    pinned, circuit = _verified(section, files)
    names = [tensor.name for tensor in pinned.tensors if tensor.role is Role.INPUT]
    tensors = [circuit.tensors[port.tensor] for port in circuit.inputs]
    found = {name: (one.low + one.zero_point, one.high + one.zero_point) for name, one in zip(names, tensors, strict=True)}
    # Of a hidden one the circuit's range is that of its limbs.
    ordered = {name for name in names if name in pinned.scales and pinned.scales[name].ordered}
    return {name: (-LARGEST, LARGEST) if name in ordered else ends for name, ends in found.items()}


def treats_alike(section: Mapping[str, Any], files: Mapping[str, Path]) -> bool:
    """Whether the circuit in a verified payload does the same with each item of its batch. Raises as :func:`input_ranges`."""
    _, circuit = _verified(section, files)
    return not circuit.batch or all(alike(op, circuit.batch) for op in circuit.ops)


def _verified(section: Mapping[str, Any], files: Mapping[str, Path]) -> tuple[LockSection, Circuit]:
    pinned = parse_section(section)
    data = read_limited(files[CIRCUIT_FILE], limit=MAX_BYTES)
    if circuit_digest(data) != pinned.circuit_sha256:  # it may be another file by now
        raise EvidenceRejected("circuit-mismatch", "the circuit is not the expected one", where=CIRCUIT_FILE)
    return pinned, decode(data)


def _of_one(tensor: Tensor, section: LockSection) -> Tensor:
    """Of a circuit that counts over many samples, the tensor of one."""
    return tensor if section.count_right is None else replace(tensor, shape=tensor.shape[1:])


def _outside(request: CheckInputsRequest, circuit: Circuit, section: LockSection) -> Iterator[OutsideInput]:
    own = circuit.inputs if section.count_right is None else circuit.inputs[:-1]  # the labels are none of the model's
    ports = list(zip(own, request.model.inputs, strict=True))
    for row, sample in enumerate(request.samples):
        for port, spec in ports:
            values, columns = sample[spec.name], places_of(section.scales.get(spec.name), port.visibility)
            cells = outside_cells(_of_one(item_tensor(circuit, port.tensor), section), values, columns)
            if not cells.size:
                continue
            first = int(cells[0])
            place = tuple(int(index) for index in np.unravel_index(first, spec.shape))
            if circuit.zero_knowledge and port.visibility is not Visibility.PUBLIC:
                gap = not np.isfinite(float(values.reshape(-1)[first]))
                yield OutsideInput(row, spec.name, cells.size, place, reason=GAP if gap else "", gap=gap)
                continue
            low, high = input_range(circuit.tensors[port.tensor], values.dtype.kind, first, columns)
            value = float(values.reshape(-1)[first])
            gap = not np.isfinite(value)
            shown, reason = f"{value:g}", GAP if gap else ""
            yield OutsideInput(row, spec.name, cells.size, place, value=shown, low=low, high=high, reason=reason, gap=gap)
