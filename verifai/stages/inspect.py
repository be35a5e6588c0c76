"""inspect: what a bundle claims to hold, or what a lock pins. A bundle's claims are not verified here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.bundle.reader import open_bundle
from verifai.bundle.summary import BundleSummary, summarise
from verifai.circuit_folder import MAX_TOML_BYTES, read_lock
from verifai.domain.digest import Sha256, sha256
from verifai.domain.model_signing import ProvenancePin
from verifai.domain.our_files import HEAD, kept_file
from verifai.domain.statement import EngineName
from verifai.engines.interface import SectionSummary
from verifai.engines.registry import engine_for
from verifai.execution.files import read_limited


@dataclass(frozen=True)
class LockSummary:
    """What a ``circuit.lock`` pins.

    Attributes:
        sha256: of the file, as ``lock_sha256`` of a trust file has it.
        engines: what each engine's section says.
        provenance: from which signed release the model comes; ``None`` where the lock does not say.
    """

    path: Path
    sha256: Sha256
    name: str
    model_sha256: Sha256
    engines: Mapping[EngineName, SectionSummary]
    provenance: ProvenancePin | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "path": str(self.path),
            "lock_sha256": self.sha256,
            "circuit": self.name,
            "model_sha256": self.model_sha256,
            "provenance": None if self.provenance is None else self.provenance.to_json(),
            "engines": {
                engine.value: {
                    "engine_version": found.engine_version,
                    "circuit_sha256": found.circuit_sha256,
                    "pins": dict(found.pins),
                    "insecure": list(found.insecure),
                    "weights": None if found.weights is None else found.weights.value,
                    "batch": found.batch or None,
                    "count_right": None if found.counting is None else found.counting.to_document(),
                    "tensors": {name: visibility.value for name, visibility in found.tensors.items()},
                }
                for engine, found in self.engines.items()
            },
        }


def lock_file(path: Path) -> Path | None:
    """The lock that ``path`` stands for: itself, or that of the circuit's folder; ``None`` for anything else."""
    if path.is_dir() and (path / "circuit.toml").is_file():
        path = path / "circuit.lock"
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            return path if kept_file(stream.read(HEAD)) == "a circuit.lock" else None
    except OSError:
        return None


def inspect_lock(path: Path) -> LockSummary:
    """Read the lock at ``path``. Raises UsageError (``file-missing``, ``bad-lock``)."""
    lock = read_lock(path)
    engines = {engine: engine_for(engine).summarise(section) for engine, section in lock.engines.items()}
    return LockSummary(
        path, sha256(read_limited(path, limit=MAX_TOML_BYTES)), lock.name, lock.model_sha256, engines, lock.provenance
    )


def inspect_bundle(path: Path) -> BundleSummary:
    """Read the bundle at ``path``.

    Raises:
        UsageError: ``file-missing``; ``not-a-bundle`` for a folder that holds no part of one.
        EvidenceRejected: it is not exactly a bundle.
    """
    with open_bundle(path) as bundle:
        return summarise(bundle)
