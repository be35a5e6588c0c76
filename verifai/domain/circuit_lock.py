"""``circuit.lock``: what compile pins. One section per engine; an engine's section is read by that engine alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from verifai.domain.digest import Sha256
from verifai.domain.model_signing import ProvenancePin
from verifai.domain.names import PlaceNames, names_from_lock
from verifai.domain.our_files import require_schema
from verifai.domain.record import Record
from verifai.domain.statement import EngineName
from verifai.errors import UsageError

SCHEMA = "verifai/circuit-lock/v1"


@dataclass(frozen=True, slots=True)
class CircuitLock:
    """Trust anchor of one circuit: verdicts rest on it, never on the bundle.

    Attributes:
        name: the circuit's name.
        model_sha256: digest of the canonical ONNX model.
        engines: each compiled engine's section, as TOML values; its engine parses it strictly.
        names: what classes and columns are called; no verdict depends on them.
        provenance: from which signed release the model was exported; ``None`` where the lock does not say.
    """

    name: str
    model_sha256: Sha256
    engines: Mapping[EngineName, Mapping[str, Any]]
    names: PlaceNames = field(default_factory=PlaceNames)
    provenance: ProvenancePin | None = None

    def section(self, engine: EngineName) -> Mapping[str, Any]:
        """The section of ``engine``. Raises UsageError (``engine-not-in-lock``) when it was not compiled."""
        if engine not in self.engines:
            have = ", ".join(sorted(self.engines)) or "none"
            raise UsageError(
                "engine-not-in-lock",
                f"circuit {self.name!r} is not pinned for engine {engine.value!r} (pinned: {have})",
                hint=f"Run: `verifai compile CIRCUIT --engine {engine.value}`, or use the lock of that circuit.",
            )
        return self.engines[engine]

    def with_section(self, engine: EngineName, section: Mapping[str, Any]) -> CircuitLock:
        """The same lock with one engine's section replaced."""
        return replace(self, engines={**self.engines, engine: dict(section)})

    def to_document(self) -> dict[str, Any]:
        """As TOML values, engines in alphabetical order, so that equal locks have equal bytes."""
        return {
            "schema": SCHEMA,
            "circuit": {"name": self.name, "model_sha256": self.model_sha256, **self.names.to_document()},
            **({} if self.provenance is None else {"provenance": self.provenance.to_json()}),
            "engine": {engine.value: dict(self.engines[engine]) for engine in sorted(self.engines)},
        }


def parse_lock(document: Mapping[str, Any], where: str) -> CircuitLock:
    """Read a parsed ``circuit.lock``.

    Raises:
        UsageError: code ``bad-lock``, with the field named. A lock is the verifier's own configuration.
    """
    root = Record(document, where, error=UsageError, code="bad-lock")
    require_schema(root, SCHEMA)
    circuit = root.table("circuit")
    engines = root.table("engine")
    sections: dict[EngineName, Mapping[str, Any]] = {}
    for name in engines.names():
        try:
            engine = EngineName(name)
        except ValueError:
            raise engines.refuse("no such engine", name) from None
        value = engines.take(name)
        if not isinstance(value, Mapping):
            raise engines.refuse("expected a table", name)
        sections[engine] = value
    pin = ProvenancePin.from_record(root.table("provenance")) if root.has("provenance") else None
    lock = CircuitLock(circuit.text("name"), circuit.sha256("model_sha256"), sections, names_from_lock(circuit), pin)
    for record in (circuit, engines, root):
        record.done()
    return lock
