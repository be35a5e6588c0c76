"""``settings.json`` of ezkl 23.0.5: strict reading with every size checked, and one byte form.

ezkl itself checks none of these figures: an inner column count of 0 panics, sizes of 10^12 allocate without end, and 20,000
range checks abort the process. So a settings file reaches ezkl only after it passed here. It also writes the range checks in a
random order, which changes the verification key; :func:`normalise` fixes that order.

Standard library only: the child process imports it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifai.domain import strict_json
from verifai.domain.record import Record
from verifai.domain.statement import Visibility
from verifai.errors import EvidenceRejected, VerifaiError

VERSION = "23.0.5"
MAX_BYTES = 32 * 1024 * 1024
MAX_LOGROWS = 26
MAX_COLUMN_BLOCKS = 256
"""Bound on assignments as a multiple of 2^logrows: each block of rows becomes one column of the circuit."""
_MAX_CELLS = 2**34
_MAX_TENSORS = 64
_MAX_SCALE = 120


_VISIBILITY = {"Public": Visibility.PUBLIC, "Private": Visibility.PRIVATE}
_HASHED = {"hash_is_public": True, "outlets": []}
"""Any other form of hashing keeps the digest out of the instances, so that it would bind nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What we rely on in a settings file; the rest was range-checked and is fixed by the file's digest.

    Attributes:
        logrows: log2 of the circuit's rows.
        instance_shapes: shapes of the public tensors, inputs before outputs.
        input_scales, output_scales: log2 of the quantisation multiplier, one per tensor.
        poseidon_instances: number of hash instances; they come first.
        tuning: the arguments that were chosen, by ezkl's name, scales and decomposition among them.
        lookup_range: range of the table of every non-linear lookup, inclusive.
        required_lookups: number of non-linear lookup tables.
        range_checks: the ranges that are checked, inclusive, sorted.
        total_assignments: cells of the circuit, all columns together.
    """

    logrows: int
    inputs: Visibility
    outputs: Visibility
    instance_shapes: tuple[tuple[int, ...], ...]
    input_scales: tuple[int, ...]
    output_scales: tuple[int, ...]
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    poseidon_instances: int
    tuning: Mapping[str, int]
    lookup_range: tuple[int, int]
    required_lookups: int
    range_checks: tuple[tuple[int, int], ...]
    num_rows: int
    total_assignments: int
    total_const_size: int
    num_shuffles: int
    num_dynamic_lookups: int


def parse(
    data: bytes, *, where: str = "settings.json", error: type[VerifaiError] = EvidenceRejected, code: str = "settings-malformed"
) -> Settings:
    """Read a settings file.

    Raises:
        VerifaiError: of class ``error``, with the field named, when anything is unknown, missing or out of range.
    """
    document = strict_json.loads(data, where=where, floats=True, max_bytes=MAX_BYTES, error=error, code=code)
    root = Record(document, where, error=error, code=code)
    run_args = root.table("run_args")
    logrows = run_args.integer("logrows", low=4, high=MAX_LOGROWS)
    if run_args.take("param_visibility") != "Fixed":
        raise run_args.refuse("a circuit whose weights are not fixed does not bind the model", "param_visibility")
    cells = min(_MAX_CELLS, MAX_COLUMN_BLOCKS << logrows)
    inputs, outputs = _visibility(run_args, "input_visibility"), _visibility(run_args, "output_visibility")
    lookup_range, tuning = _run_args(run_args)
    _einsum(root.table("einsum_params"), cells)
    settings = Settings(
        logrows=logrows,
        inputs=inputs,
        outputs=outputs,
        instance_shapes=root.array("model_instance_shapes", _shape(root), max_length=_MAX_TENSORS),
        input_scales=root.integers("model_input_scales", low=-_MAX_SCALE, high=_MAX_SCALE, max_length=_MAX_TENSORS),
        output_scales=root.integers("model_output_scales", low=-_MAX_SCALE, high=_MAX_SCALE, max_length=_MAX_TENSORS),
        input_types=root.array("input_types", _tensor_type(root), max_length=_MAX_TENSORS),
        output_types=root.array("output_types", _tensor_type(root), max_length=_MAX_TENSORS),
        poseidon_instances=_module_sizes(root.table("module_sizes"), cells),
        tuning=tuning,
        lookup_range=lookup_range,
        required_lookups=len(root.array("required_lookups", _lookup(root), max_length=128)),
        range_checks=root.array("required_range_checks", _range(root), max_length=64),
        num_rows=root.integer("num_rows", low=0, high=cells),
        total_assignments=root.integer("total_assignments", low=1, high=cells),
        total_const_size=root.integer("total_const_size", low=0, high=cells),
        num_shuffles=root.integer("num_shuffles", low=0, high=2**20),
        num_dynamic_lookups=root.integer("num_dynamic_lookups", low=0, high=2**20),
    )
    for field in ("total_dynamic_col_size", "max_dynamic_input_len", "total_shuffle_col_size"):
        root.integer(field, low=0, high=cells)
    root.text("check_mode", pattern="UNSAFE")
    root.text("version", pattern=VERSION.replace(".", r"\."))
    for field in ("num_blinding_factors", "timestamp"):
        if root.has(field) and root.take(field) is not None:
            root.integer(field, low=0, high=2**63)
    root.done()
    return settings


def normalise(data: bytes) -> bytes:
    """The one byte form of these settings: keys sorted, range checks and lookups sorted, timestamp 0.

    Idempotent. Changing a settings file changes the verification key, so this comes before compile and setup.

    Raises:
        EvidenceRejected: code ``settings-malformed``, as :func:`parse` does.
    """
    parse(data)
    document: dict[str, Any] = json.loads(data)
    document["timestamp"] = 0  # ezkl cannot read null here
    for field in ("required_range_checks", "required_lookups"):
        document[field] = sorted(document[field], key=_sort_key)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("utf-8") + b"\n"


def is_normal(data: bytes) -> bool:
    """Whether ``data`` is in the form that :func:`normalise` writes."""
    return normalise(data) == data


def _sort_key(item: Any) -> tuple[Any, ...]:
    if isinstance(item, list):
        return (0, tuple(item))
    return (1, json.dumps(item, sort_keys=True))


def _visibility(record: Record, field: str) -> Visibility:
    value = record.take(field)
    if isinstance(value, dict) and list(value) == ["Hashed"]:
        if value["Hashed"] != _HASHED or value["Hashed"]["hash_is_public"] is not True:
            raise record.refuse("the digest must be public", field)
        return Visibility.HASHED
    if value not in ("Public", "Private"):
        raise record.refuse("inputs and outputs can be Public, Private or Hashed", field)
    return _VISIBILITY[value]


def _run_args(record: Record) -> tuple[tuple[int, int], dict[str, int]]:
    tuning = {
        "input_scale": record.integer("input_scale", low=-_MAX_SCALE, high=_MAX_SCALE),
        "param_scale": record.integer("param_scale", low=-_MAX_SCALE, high=_MAX_SCALE),
        "scale_rebase_multiplier": record.integer("scale_rebase_multiplier", low=1, high=1024),
        "num_inner_cols": record.integer("num_inner_cols", low=1, high=64),
        "decomp_base": record.integer("decomp_base", low=2, high=2**24),
        "decomp_legs": record.integer("decomp_legs", low=1, high=32),
    }
    if record.take("rebase_scale") is not None:
        record.integer("rebase_scale", low=-_MAX_SCALE, high=_MAX_SCALE)
    record.number("epsilon", low=0.0, high=1.0)
    record.text("check_mode", pattern="UNSAFE")
    for name in ("rebase_frac_zero_constants", "bounded_log_lookup", "disable_freivalds"):
        record.flag(name)
    if record.flag("ignore_range_check_inputs_outputs"):
        raise record.refuse("without these range checks the circuit is unsound", "ignore_range_check_inputs_outputs")
    record.array("variables", _variable(record), max_length=16)
    lookup_range: tuple[int, int] = _range(record)(record.take("lookup_range"), f"{record.where}.lookup_range")
    record.done()
    return lookup_range, tuning


def _module_sizes(record: Record, cells: int) -> int:
    if record.array("polycommit", lambda value, place: value, max_length=1):
        raise record.refuse("polynomial commitments are not among the instances and are not supported", "polycommit")
    poseidon = record.take("poseidon")
    if (
        not isinstance(poseidon, list)
        or len(poseidon) != 2
        or not _is_int(poseidon[0], 0, cells)
        or not isinstance(poseidon[1], list)
        or len(poseidon[1]) != 1
        or not _is_int(poseidon[1][0], 0, 2 * _MAX_TENSORS)
    ):
        raise record.refuse("expected [size, [number of hashes]] within bounds", "poseidon")
    record.done()
    return int(poseidon[1][0])


def _einsum(record: Record, cells: int) -> None:
    record.integer("total_einsum_col_size", low=0, high=cells)

    def equation(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str) or not isinstance(value[1], Mapping):
            raise record.refuse(f"expected [equation, sizes] at {place}", "equations")
        if len(value[0]) > 256 or len(value[1]) > 64:
            raise record.refuse(f"too long at {place}", "equations")
        for axis, size in value[1].items():
            if len(axis) != 1 or not _is_int(size, 0, cells):
                raise record.refuse(f"an axis size is out of range at {place}", "equations")

    record.array("equations", equation, max_length=2**20)
    record.done()


def _is_int(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _shape(record: Record) -> Any:
    def shape(value: Any, place: str) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) > 8 or not all(_is_int(size, 1, 2**20) for size in value):
            raise record.refuse(f"expected a shape of at most 8 sizes at {place}", "model_instance_shapes")
        return tuple(value)

    return shape


def _range(record: Record) -> Any:
    def interval(value: Any, place: str) -> tuple[int, int]:
        bound = 2**40
        if not isinstance(value, list) or len(value) != 2 or not all(_is_int(end, -bound, bound) for end in value):
            raise record.refuse(f"expected [low, high] at {place}")
        # A table has one row per value, so its size is what must be bounded.
        if not value[0] <= value[1] <= value[0] + MAX_COLUMN_BLOCKS * 2**MAX_LOGROWS:
            raise record.refuse(f"the range is empty or too large at {place}")
        return (value[0], value[1])

    return interval


def _tensor_type(record: Record) -> Any:
    def name(value: Any, place: str) -> str:
        if value not in ("F16", "F32", "F64", "Int", "Bool", "TDim"):
            raise record.refuse(f"unknown tensor type at {place}")
        return str(value)

    return name


def _variable(record: Record) -> Any:
    def variable(value: Any, place: str) -> tuple[str, int]:
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str) or not _is_int(value[1], 1, 2**20):
            raise record.refuse(f"expected [name, size] at {place}", "variables")
        return (value[0][:64], value[1])

    return variable


def _lookup(record: Record) -> Any:
    def lookup(value: Any, place: str) -> str:
        """A lookup is a name, or a name with scalar parameters."""
        if isinstance(value, str) and 0 < len(value) <= 64:
            return value
        if isinstance(value, dict) and len(value) == 1:
            name, parameters = next(iter(value.items()))
            scalars = isinstance(parameters, dict) and len(parameters) <= 8
            if scalars and all(isinstance(item, int | float | str | bool) for item in parameters.values()):
                return str(name)
        raise record.refuse(f"not a lookup at {place}", "required_lookups")

    return lookup
