"""What a batch gives to workers, as parcels: the circuit once, then one item after the other. Nothing in them is code.

A process of this machine is told where the circuit's folder lies. Another machine gets the files that proving takes; what is
hidden is among them only because the user said so (``docs/scale.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from verifai.circuit_folder import CircuitFolder, read_lock, render_lock
from verifai.domain.circuit_spec import Budget, CircuitSpec, parse_spec
from verifai.domain.digest import Sha256
from verifai.domain.statement import EngineName
from verifai.domain.toml import parse_toml
from verifai.engines.capabilities import ReservesOpenings
from verifai.engines.interface import ProofEngine, ProveRequest, ReservedOpening, TensorSecret
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.files import read_limited
from verifai.execution.parcel import Parcel, pack, unpack
from verifai.onnx_graph.load import load_canonical
from verifai.onnx_graph.model import OnnxModel
from verifai.stages.evidence import section_digest
from verifai.stages.ready import ReadyCircuit

BAD = "worker-task-malformed"
MAX_SHIPPED = 2**32
_TOML, _LOCK, _MODEL = "circuit.toml", "circuit.lock", "model.onnx"
_BUILD, _SECRETS = "build/", "secrets/"


@dataclass(frozen=True)
class Workshop:
    """What a worker proves with: everything of a request but the item.

    Attributes:
        held: names of payload files that the batch has itself, so that they need not be sent back.
    """

    engine: ProofEngine
    model: OnnxModel
    spec: CircuitSpec
    section: Mapping[str, Any]
    build_dir: Path
    secrets_dir: Path
    threads: int | None
    budget: Budget
    held: frozenset[str] = frozenset()

    def request(self, item: Item) -> ProveRequest:
        """The request for one item."""
        return ProveRequest(
            model=self.model,
            spec=self.spec,
            section=self.section,
            build_dir=self.build_dir,
            secrets_dir=self.secrets_dir,
            inputs=item.inputs,
            context=item.context,
            budget=self.budget,
            threads=self.threads,
            input_secrets=item.secrets or {},
            opening=item.opening,
        )


@dataclass(frozen=True)
class Item:
    """One sample to prove, or the samples of one batch proof."""

    inputs: Mapping[str, Any]
    context: str
    opening: ReservedOpening | None = None
    secrets: Mapping[str, TensorSecret] | None = None

    def to_bytes(self) -> bytes:
        """The item as a parcel."""
        opening = None if self.opening is None else [self.opening.root, self.opening.number]
        arrays = {name: np.ascontiguousarray(array) for name, array in self.inputs.items()}
        arrays = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}
        secrets = self.secrets or {}
        document = {
            "context": self.context,
            "opening": opening,
            "inputs": [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()],
            "secrets": [[name, one.root, one.number] for name, one in secrets.items()],
        }
        pieces = {f"input:{name}": array.tobytes() for name, array in arrays.items()}
        pieces |= {f"secret:{name}": one.seed for name, one in secrets.items()}
        return pack(document, pieces)

    @classmethod
    def from_bytes(cls, data: bytes) -> Item:
        """The inverse of :meth:`to_bytes`. Raises UsageError (``worker-task-malformed``)."""
        parcel = unpack(data, where="item", error=UsageError, code=BAD)
        record, pieces = parcel.document, parcel.pieces
        try:
            opening = record.take("opening")
            inputs = {
                name: np.frombuffer(pieces[f"input:{name}"], np.dtype(kind).newbyteorder("<")).reshape(shape).astype(kind)
                for name, kind, shape in record.take("inputs")
            }
            secrets = {
                name: TensorSecret(root, pieces[f"secret:{name}"], number) for name, root, number in record.take("secrets")
            }
            found = cls(
                inputs,
                record.text("context", empty=True),
                None if opening is None else ReservedOpening(Sha256(opening[0]), int(opening[1])),
                secrets,
            )
        except (KeyError, TypeError, ValueError) as problem:
            raise UsageError(BAD, f"the item cannot be read: {problem}", where="item") from None
        record.done()
        return found


def circuit_here(ready: ReadyCircuit, threads: int | None) -> bytes:
    """For processes of this machine: where the circuit lies, and which one it must be."""
    return pack({**_common(ready, threads), "folder": str(ready.folder.folder.absolute())})


def circuit_away(ready: ReadyCircuit, threads: int | None, *, held: frozenset[str]) -> bytes:
    """For other machines: the files that proving takes.

    Raises:
        UsageError: ``file-missing``; those of the engine's secrets.
    """
    folder, name = ready.folder, ready.engine.name
    pieces = {
        _TOML: read_limited(folder.folder / "circuit.toml", limit=MAX_SHIPPED),
        _LOCK: render_lock(ready.lock),
        _MODEL: folder.model.data,
    }
    built = folder.built_dir(name)
    for path in sorted(built.iterdir()) if built.is_dir() else ():
        if path.is_file() and not path.name.startswith("."):
            pieces[_BUILD + path.name] = read_limited(path, limit=MAX_SHIPPED)
    if isinstance(ready.engine, ReservesOpenings):
        for one, data in ready.engine.secret_files(ready.section, folder.secrets_dir(name)).items():
            pieces[_SECRETS + one] = data
    return pack({**_common(ready, threads), "folder": None, "held": sorted(held)}, pieces)


def _common(ready: ReadyCircuit, threads: int | None) -> dict[str, Any]:
    return {
        "version": version("verifai"),
        "engine": ready.engine.name.value,
        "section_sha256": section_digest(ready.section),
        "threads": threads,
        "memory_bytes": ready.budget.memory_bytes,
    }


def open_workshop(shared: bytes, scratch: Path | None) -> Workshop:
    """What a worker proves with.

    Args:
        scratch: a private folder that lasts as long as the workshop; only another machine needs one.

    Raises:
        UsageError: ``worker-task-malformed``, ``stale-lock``; those of the circuit's files.
    """
    parcel = unpack(shared, where="circuit", error=UsageError, code=BAD)
    record = parcel.document
    record.text("version")
    engine = engine_for(record.choice("engine", EngineName))
    expected = record.sha256("section_sha256")
    threads, memory = record.take("threads"), record.take("memory_bytes")
    place = record.take("folder")
    if place is not None:
        record.done()
        folder = CircuitFolder(Path(place))
        lock, spec, model = folder.lock(), folder.spec, folder.model
        build, secrets, held = folder.built_dir(engine.name), folder.secrets_dir(engine.name), frozenset[str]()
    else:
        held = frozenset(record.texts("held", max_length=64))
        record.done()
        if scratch is None:
            raise UsageError(BAD, "files came where a folder was expected", where="circuit")
        spec, model = _parsed(parcel)
        build, secrets = scratch / "build", scratch / "secrets"
        _write(parcel, _BUILD, build)
        _write(parcel, _SECRETS, secrets)
        (scratch / _LOCK).write_bytes(parcel.pieces[_LOCK])
        lock = read_lock(scratch / _LOCK)
    section = lock.section(engine.name)
    if section_digest(section) != expected:
        message = "the circuit was compiled again since the batch began"
        raise UsageError("stale-lock", message, where=str(place or "circuit"), hint="Begin the batch again.")
    budget = Budget(memory_bytes=memory, prove_seconds=spec.budget.prove_seconds)
    return Workshop(engine, model, spec, section, build, secrets, threads, budget, held)


def _parsed(parcel: Parcel) -> tuple[CircuitSpec, OnnxModel]:
    try:
        document: dict[str, Any] = parse_toml(parcel.pieces[_TOML])
        data = parcel.pieces[_MODEL]
    except (KeyError, ValueError) as problem:
        raise UsageError(BAD, f"a file is missing or malformed: {problem}", where="circuit") from None
    return parse_spec(document, _TOML), load_canonical(data, where=_MODEL)


def _write(parcel: Parcel, start: str, folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, data in parcel.pieces.items():
        if not name.startswith(start):
            continue
        bare = name.removeprefix(start)
        if not bare or "/" in bare or bare in (".", "..") or "\0" in bare:
            raise UsageError(BAD, "a file's name leads elsewhere", where=name[:100])
        path = folder / bare
        path.touch(mode=0o600)
        path.write_bytes(data)
