"""What is chosen about one circuit: the arguments of ezkl's ``gen_settings``, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifai.domain.fidelity import Fidelity
from verifai.domain.record import Record
from verifai.domain.statement import Visibility
from verifai.engines.ezkl.columns import InputColumn, TensorColumns, parse_columns

EZKL_VISIBILITY = {Visibility.PUBLIC: "public", Visibility.PRIVATE: "private", Visibility.HASHED: "hashed"}
"""Our word → ezkl's word."""
FOLDED = "affine-into-products"
"""The rewrite that takes columns' scales into the first linear layer."""


@dataclass(frozen=True, slots=True)
class CircuitParameters:
    """One circuit's tuning.

    Attributes:
        input_scale, param_scale: log2 of the multiplier that turns a float into an integer.
        scale_rebase_multiplier: after how many multiples of the input scale a tensor is scaled down again.
        decomp_base, decomp_legs: range checks split an integer into ``legs`` digits of this base; the table has ``base`` rows.
        num_inner_cols: advice columns used side by side.
        lookup_low, lookup_high: range of the table of every non-linear lookup, inclusive.
        lookup_margin: how far the range was widened beyond what the calibration data reached; a record, not an argument.
        logrows: log2 of the circuit's rows.
        rewrites: names of the exact graph rewrites applied before, in order.
        columns: of inputs that are rows of a table whose columns have scales of their own.
    """

    input_scale: int
    param_scale: int
    scale_rebase_multiplier: int
    decomp_base: int
    decomp_legs: int
    num_inner_cols: int
    lookup_low: int
    lookup_high: int
    lookup_margin: float
    logrows: int
    rewrites: tuple[str, ...] = ()
    columns: tuple[TensorColumns, ...] = ()

    def columns_of(self, tensor: str) -> tuple[InputColumn, ...]:
        """Of one input; empty where the whole tensor has ezkl's own scale."""
        return next((one.columns for one in self.columns if one.tensor == tensor), ())

    def run_args(self, inputs: Visibility, outputs: Visibility) -> dict[str, Any]:
        """The arguments of ``gen_settings``. Weights are always ``fixed``: no other choice binds the model."""
        return {
            "input_scale": self.input_scale,
            "param_scale": self.param_scale,
            "scale_rebase_multiplier": self.scale_rebase_multiplier,
            "decomp_base": self.decomp_base,
            "decomp_legs": self.decomp_legs,
            "num_inner_cols": self.num_inner_cols,
            "lookup_range": [self.lookup_low, self.lookup_high],
            "logrows": self.logrows,
            "input_visibility": EZKL_VISIBILITY[inputs],
            "output_visibility": EZKL_VISIBILITY[outputs],
            "param_visibility": "fixed",
            "check_mode": "unsafe",
            "ignore_range_check_inputs_outputs": False,
        }

    def to_toml(self) -> dict[str, Any]:
        """As TOML values; the inverse of :meth:`from_record`."""
        return {
            "input_scale": self.input_scale,
            "param_scale": self.param_scale,
            "scale_rebase_multiplier": self.scale_rebase_multiplier,
            "decomp_base": self.decomp_base,
            "decomp_legs": self.decomp_legs,
            "num_inner_cols": self.num_inner_cols,
            "lookup_low": self.lookup_low,
            "lookup_high": self.lookup_high,
            "lookup_margin": self.lookup_margin,
            "logrows": self.logrows,
            "rewrites": list(self.rewrites),
            **({"columns": [one.to_toml() for one in self.columns]} if self.columns else {}),
        }

    @classmethod
    def from_record(cls, record: Record) -> CircuitParameters:
        """Read strictly; raises what ``record`` raises."""
        parameters = cls(
            input_scale=record.integer("input_scale", low=0, high=32),
            param_scale=record.integer("param_scale", low=0, high=32),
            scale_rebase_multiplier=record.integer("scale_rebase_multiplier", low=1, high=64),
            decomp_base=record.integer("decomp_base", low=2, high=2**20),
            decomp_legs=record.integer("decomp_legs", low=1, high=16),
            num_inner_cols=record.integer("num_inner_cols", low=1, high=64),
            lookup_low=record.integer("lookup_low", low=-(2**26), high=0),
            lookup_high=record.integer("lookup_high", low=0, high=2**26),
            lookup_margin=record.number("lookup_margin", low=0.0, high=1e6),
            logrows=record.integer("logrows", low=4, high=26),
            rewrites=record.texts("rewrites", max_length=16),
            columns=parse_columns(record),
        )
        if parameters.columns and parameters.rewrites[:1] != (FOLDED,):
            raise record.refuse(f"columns need the rewrite {FOLDED!r}, before all others", "columns")
        record.done()
        return parameters


@dataclass(frozen=True, slots=True)
class CircuitVisibility:
    """Who learns the inputs and the outputs; ezkl has one choice for all inputs and one for all outputs."""

    inputs: Visibility
    outputs: Visibility

    @classmethod
    def of(cls, inputs: Mapping[str, Visibility], outputs: Mapping[str, Visibility]) -> CircuitVisibility:
        """From visibility per tensor name.

        Raises:
            ValueError: when the inputs, or the outputs, are not all alike.
        """
        for side, tensors in (("inputs", inputs), ("outputs", outputs)):
            if len(set(tensors.values())) != 1:
                raise ValueError(f"ezkl needs one visibility for all {side}: {dict(tensors)}")
        return cls(next(iter(inputs.values())), next(iter(outputs.values())))


@dataclass(frozen=True, slots=True)
class Tuned:
    """What the tuner decided.

    Attributes:
        circuit_onnx: the model after ``parameters.rewrites``; what ezkl compiles.
        tried: one row per candidate, plain TOML values, equal keys; goes into the lock, so no timings and nothing random.
        fidelity: of the circuit that was chosen, as it was run; ``None`` where nothing was searched.
    """

    parameters: CircuitParameters
    circuit_onnx: bytes
    tried: tuple[Mapping[str, Any], ...]
    fidelity: Fidelity | None = None
