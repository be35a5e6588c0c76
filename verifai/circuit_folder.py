"""A circuit's folder on disk: ``circuit.toml``, ``circuit.lock``, an optional ``circuit.local.lock``, and ``build/``.

``circuit.lock`` is tracked; ``circuit.local.lock`` pins engines whose set-up material is too large to share (their
verification key depends on a locally imported SRS), and its sections come before the tracked ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tomli_w

from verifai.domain.circuit_lock import CircuitLock, parse_lock
from verifai.domain.circuit_spec import CircuitSpec, parse_spec
from verifai.domain.foreign import other_than
from verifai.domain.names import PlaceNames, resolve_names
from verifai.domain.shell import shell
from verifai.domain.statement import EngineName
from verifai.domain.table_columns import TableColumns
from verifai.domain.tensor import TensorSpec
from verifai.domain.tokenizer import CODE, FILE, MAX_BYTES, Tokenizer, TokenPin, parse_tokenizer
from verifai.domain.toml import parse_toml
from verifai.errors import UsageError
from verifai.execution.files import cannot_write, read_limited, write_atomic
from verifai.onnx_graph.model import OnnxModel

MAX_TOML_BYTES = 4 * 1024 * 1024


def read_toml(path: Path, *, code: str) -> dict[str, Any]:
    """Parse a TOML file of ours or of the user's.

    Raises:
        UsageError: ``file-missing``, or ``code`` with the line when it is not TOML (duplicate keys are refused by TOML itself).
    """
    data = read_limited(path, limit=MAX_TOML_BYTES)
    try:
        if not data.strip():
            raise ValueError("no field")
        return parse_toml(data)
    except ValueError as problem:
        message, hint = other_than("TOML", data, str(problem))
        raise UsageError(code, message, where=str(path), hint=hint) from None


def read_lock(path: Path) -> CircuitLock:
    """Read a lock from its own path; a folder means the ``circuit.lock`` in it."""
    if path.is_dir():
        return CircuitFolder(path).lock()
    return _with_tokenizer(parse_lock(read_toml(path, code="bad-lock"), str(path)), path.parent)


def _with_tokenizer(lock: CircuitLock, folder: Path) -> CircuitLock:
    """The lock with the tokenizer that it pins, where its file lies beside it. Raises UsageError (``bad-tokenizer``)."""
    path, pin = folder / FILE, lock.names.tokens
    if pin is None or not path.exists():
        return lock
    found = read_tokenizer(path)
    if found.sha256 != pin.sha256:
        message = "it is not the tokenizer that the lock pins"
        raise UsageError(CODE, message, where=str(path), hint="Take the file that was published with the lock.")
    return replace(lock, names=replace(lock.names, tokenizer=found))


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a file. Raises UsageError (``bad-tokenizer``, ``file-missing``)."""
    return parse_tokenizer(read_limited(path, limit=MAX_BYTES), str(path))


@dataclass(frozen=True)
class CircuitFolder:
    """One circuit folder. ``path`` may also name the ``circuit.toml`` in it."""

    path: Path

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.path.parent if self.path.name == "circuit.toml" else self.path

    @property
    def lock_path(self) -> Path:
        """The tracked lock."""
        return self.folder / "circuit.lock"

    @property
    def local_lock_path(self) -> Path:
        """The untracked lock."""
        return self.folder / "circuit.local.lock"

    @cached_property
    def spec(self) -> CircuitSpec:
        """The parsed ``circuit.toml``. Raises UsageError."""
        path = self.folder / "circuit.toml"
        if not path.is_file():
            raise UsageError(
                "file-missing",
                "no circuit.toml here",
                where=str(self.folder),
                hint="Write one with: `verifai init MODEL -o DIR`",
            )
        return parse_spec(read_toml(path, code="bad-spec"), str(path))

    def model_path(self) -> Path:
        """Where the spec's model lies."""
        return self.folder / self.spec.model

    @cached_property
    def model(self) -> OnnxModel:
        """The circuit's canonical model, checked against the spec's tensor names. Raises UnsupportedModel, UsageError."""
        from verifai.onnx_graph.load import load_path

        model = load_path(self.model_path())
        known = [tensor.name for tensor in (*model.inputs, *model.outputs)]
        where = f"{self.folder / 'circuit.toml'}: [tensors]"
        for name in known:
            if name not in self.spec.tensors:
                raise UsageError(
                    "bad-spec",
                    f"the model's tensor {name!r} has no visibility",
                    where=where,
                    hint=f'Add: {name} = "public", "private" or "hashed"; nothing is public by silence.',
                )
        for name in self.spec.tensors:
            if name not in known:
                raise UsageError(
                    "bad-spec", f"{name!r} is no input or output of the model", where=where, hint="It has: " + ", ".join(known)
                )
        return model

    def lock(self) -> CircuitLock:
        """The pinned state: tracked sections, with local ones in front. Raises UsageError when nothing is pinned."""
        local = read_lock(self.local_lock_path) if self.local_lock_path.is_file() else None
        if local is None and not self.lock_path.is_file():
            raise UsageError(
                "no-lock",
                "this circuit was not compiled",
                where=str(self.folder),
                hint=f"Run: `verifai compile {shell(self.folder)}`",
            )
        tracked = read_lock(self.lock_path) if self.lock_path.is_file() else None
        if local is None or tracked is None:
            lock = local or tracked
            assert lock is not None
            return lock
        if local.model_sha256 != tracked.model_sha256 or local.name != tracked.name:
            raise UsageError(
                "bad-lock",
                "the local lock pins another model than circuit.lock",
                where=str(self.local_lock_path),
                hint=f"Delete it and run: `verifai compile {shell(self.folder)}`",
            )
        names = local.names if local.names.to_document() else tracked.names
        pin = local.provenance or tracked.provenance
        return CircuitLock(tracked.name, tracked.model_sha256, {**tracked.engines, **local.engines}, names, pin)

    def engine(self, asked: EngineName | None = None) -> EngineName:
        """What a verb works with: ``asked``; else the only engine that the lock pins; else what ``circuit.toml`` names."""
        if asked is not None:
            return asked
        if self.lock_path.is_file() or self.local_lock_path.is_file():
            pinned = list(self.lock().engines)
            if len(pinned) == 1:
                return pinned[0]
        return self.spec.engine

    def pinned_section(self, engine: EngineName) -> Mapping[str, Any] | None:
        """The section of ``engine``, or None when it was never compiled or belongs to another model."""
        if not self.lock_path.is_file() and not self.local_lock_path.is_file():
            return None
        lock = self.lock()
        return lock.engines.get(engine) if lock.model_sha256 == self.model.sha256 else None

    @cached_property
    def names(self) -> PlaceNames:
        """What ``circuit.toml`` calls classes and columns, by tensor. Raises UsageError (``bad-spec``)."""
        where = str(self.folder / "circuit.toml")
        names = resolve_names(self.spec.names, self.model.inputs, self.model.outputs, where)
        found = self.tokenizer
        if found is None:
            return names
        integers = {one.name for one in (*self.model.inputs, *self.model.outputs) if one.dtype in ("int32", "int64")}
        for name in self.spec.token_tensors:
            if name not in integers:
                message = f"{name[:80]!r} is no input or output of integers"
                hint = f"It has: {', '.join(sorted(integers)) or 'none'}"
                raise UsageError("bad-spec", message, where=f"{where}: [tokenizer] tensors", hint=hint)
        return replace(names, tokens=self._pin(found, where), tokenizer=found)

    def _pin(self, tokenizer: Tokenizer, where: str) -> TokenPin:
        """What the lock says of the tokenizer; of a decoder, how an answer is read. Raises UsageError (``bad-spec``)."""
        listed, following = self.spec.token_tensors, self.spec.next_tokens
        if not following:
            return TokenPin(tokenizer.sha256, listed)
        inputs, outputs = self.model.inputs, self.model.outputs
        named = [one.name for one in outputs] == [following] and {following, *(one.name for one in inputs)} == set(listed)
        rows = all(len(one.shape) == 2 and one.shape[0] == 1 for one in (*inputs, *outputs))
        if not named or not rows or outputs[0].size > sum(one.size for one in inputs):
            message = "a decoder has one output, the next tokens, and rows of tokens as inputs, all of them listed"
            hint = "Leave `next` out where the output holds no next tokens."
            raise UsageError("bad-spec", message, where=f"{where}: [tokenizer] next", hint=hint)
        return TokenPin(tokenizer.sha256, listed, following, tokenizer.pad, tuple(sorted(tokenizer.ends)))

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer that ``circuit.toml`` names. Raises UsageError (``bad-tokenizer``, ``file-missing``)."""
        return None if self.spec.tokenizer is None else read_tokenizer(self.folder / self.spec.tokenizer)

    @property
    def text_input(self) -> TensorSpec | None:
        """The input that a text becomes: the model's only one, where it is one row of tokens. Raises as :attr:`model`."""
        first, *others = self.model.inputs
        fits = not others and first.name in self.spec.token_tensors and len(first.shape) == 2 and first.shape[0] == 1
        return first if fits else None

    @property
    def divided_inputs(self) -> tuple[TensorSpec, TensorSpec] | None:
        """The inputs that a prompt and what follows it become, where the model takes these two. Raises as :attr:`model`."""
        inputs = self.model.inputs
        fits = [one.name in self.spec.token_tensors and len(one.shape) == 2 and one.shape[0] == 1 for one in inputs]
        return (inputs[0], inputs[1]) if fits == [True, True] else None

    def table_columns(self, dropped: Collection[str] = ()) -> TableColumns:
        """How this circuit's tables are read. ``dropped``: further columns that are no inputs. Raises UsageError."""
        names = self.names
        texts = {name: names.texts(name) for name in names.categories}
        return TableColumns(names.columns, self.spec.dropped | frozenset(dropped), texts)

    def write_section(self, engine: EngineName, section: Mapping[str, Any]) -> Path:
        """Pin ``section`` and the names; every other section of the same model stays byte for byte. Returns the lock's path."""
        path = self.local_lock_path if engine in self.spec.local_locks else self.lock_path
        old = read_lock(path) if path.is_file() else None
        same = old if old is not None and old.model_sha256 == self.model.sha256 else None
        kept, pin = ({}, None) if same is None else (same.engines, same.provenance)
        lock = CircuitLock(self.spec.name, self.model.sha256, kept, self.names, pin).with_section(engine, section)
        if self.spec.tokenizer is not None:
            # Whoever verifies needs it beside the lock, wherever the model's own copy lies.
            data = read_limited(self.folder / self.spec.tokenizer, limit=MAX_BYTES)
            if not (self.folder / FILE).exists() or read_limited(self.folder / FILE, limit=MAX_BYTES) != data:
                write_atomic(self.folder / FILE, data)
        write_atomic(path, render_lock(lock))
        return path

    def secrets_dir(self, engine: EngineName) -> Path:
        """Where ``engine`` keeps what must outlive every rebuild and never leave its owner. Not made before it is needed."""
        return self.folder.absolute() / "secrets" / engine.value

    def build_dir(self, engine: EngineName) -> Path:
        """The private folder (0700) for generated files of ``engine``, which hold weights in clear; made, to be written into.

        Raises:
            Undecided: code ``disk``.
        """
        path = self.built_dir(engine)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
        except OSError as problem:
            raise cannot_write(problem, path) from None
        return path

    def built_dir(self, engine: EngineName) -> Path:
        """The same, to be read only: the circuit may lie on a read-only disk, or belong to somebody else."""
        return self.folder.absolute() / "build" / engine.value


def render_lock(lock: CircuitLock) -> bytes:
    """The lock's exact bytes: equal locks have equal bytes."""
    header = (
        "# Written by `verifai compile`; verdicts rest on it. Review changes to this file as you would review code.\n"
        "# `verifai compile --locked` reproduces it without searching.\n\n"
    )
    return (header + tomli_w.dumps(lock.to_document())).encode()
