"""A segment's outputs for the prover of the next one: a private file that quantises back to exactly the proven integers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import EngineName, Role
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.files import write_atomic
from verifai.onnx_graph.npz import write_npz
from verifai.stages.chain.tensor_secrets import secrets_path

if TYPE_CHECKING:
    from verifai.stages.ready import ProvedBundle


def check_target(path: Path, folder: CircuitFolder, engine: EngineName | None) -> None:
    """Refuse before any cost. Raises UsageError (``file-exists``, ``output-not-exact``)."""
    for target in (path, secrets_path(path)):
        if target.exists() or target.is_symlink():
            hint = "Choose another --output-tensors."
            raise UsageError("file-exists", "this file exists already", where=str(target), hint=hint)
    if folder.engine(engine) is not EngineName.SUMCHECK:
        raise UsageError(
            "output-not-exact",
            "only the sumcheck engine hands out what its circuit put out",
            where="--output-tensors",
            hint="Add: --engine sumcheck.",
        )


def write_outputs(path: Path, folder: CircuitFolder, proved: Sequence[ProvedBundle]) -> None:
    """Write the outputs of all bundles, axis 0 = sample, readable by the owner alone.

    Raises:
        UsageError: ``output-not-exact``, when the model's dtype cannot hold values that quantise back to the same integers.
    """
    import numpy as np

    arrays: dict[str, Any] = {}
    for spec in folder.model.outputs:
        exact = [one.outputs[spec.name] for one in proved]
        held = [values.astype(spec.dtype) for values in exact]
        for one, before, after in zip(proved, exact, held, strict=True):
            stated = next(tensor for tensor in one.statement.of(Role.OUTPUT) if tensor.name == spec.name)
            engine = engine_for(one.statement.engine)
            if engine.quantise(stated, after) != engine.quantise(stated, before):
                raise UsageError("output-not-exact", f"{spec.dtype} does not hold the proven integers", where=spec.name)
        batch = any(one.statement.batch for one in proved)  # each has an axis of samples already
        arrays[spec.name] = np.concatenate(held) if batch else np.stack(held)
    write_atomic(path, write_npz(arrays), mode=0o600)
