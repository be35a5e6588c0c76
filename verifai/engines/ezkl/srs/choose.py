"""Which SRS a circuit is set up with: the file that its specification names, or one of the local store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.record import Record
from verifai.engines.ezkl.cost.estimate import estimate
from verifai.engines.ezkl.lock_section import LockSection
from verifai.engines.ezkl.srs.file import Srs, read_srs
from verifai.engines.ezkl.srs.store import default_store, find_by_digest
from verifai.errors import UsageError
from verifai.onnx_graph.model import OnnxModel


def named_srs(option: Any, spec_dir: Path) -> Srs | None:
    """The file that ``srs`` in ``[engine.ezkl]`` names, judged; ``None`` for none. Raises as :func:`.file.read_srs`."""
    if option is None:
        return None
    record = Record({"srs": option}, "circuit.toml: [engine.ezkl]", error=UsageError, code="bad-spec")
    return read_srs(spec_dir / record.text("srs"))


def stored_srs(logrows: int, locked: LockSection | None) -> Srs:
    """The smallest stored SRS of the ceremony for 2^``logrows`` rows, or the one that ``locked`` pins.

    Raises:
        UsageError: code ``srs-missing``.
    """
    store = default_store()
    found = None
    if locked is not None:
        found = find_by_digest(locked.srs.sha256, locked.srs.logrows, [store.root])
    if found is None:
        found = store.find(logrows)
    if found is None:
        raise UsageError(
            "srs-missing",
            f"no ceremony SRS of k = {logrows} or more in the local store",
            where=str(store.root),
            hint=f"Run: `verifai srs fetch -k {logrows}`. For tests only: `verifai srs generate -k {logrows}`",
        )
    return found


def require_stored(model: OnnxModel, spec: CircuitSpec, locked: LockSection | None) -> Srs:
    """The largest SRS that there is for a circuit of ``model``, before its size is known; with ``locked`` the one for its size.

    Raises:
        UsageError: code ``srs-missing``, with the size that the circuit is likely to need. UnsupportedModel: as the estimate.
    """
    if locked is not None:
        return stored_srs(locked.parameters.logrows, locked)
    return default_store().largest() or stored_srs(estimate(model, spec).size_log2, None)
