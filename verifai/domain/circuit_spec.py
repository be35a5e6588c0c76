"""``circuit.toml``: what a person writes. Parsed strictly; paths are relative to the file's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from verifai.domain.fidelity import DEFAULT_FLOORS, FidelityFloor, Task
from verifai.domain.names import PlaceNames, names_from_spec
from verifai.domain.record import Record
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.domain.tokenizer import names_of
from verifai.errors import UsageError

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}

MIN_SIZE, MAX_SIZE = 2**20, 2**50
"""Bytes. Less is too little for any process, and must not be taken for no limit."""


def parse_bytes(text: str, where: str) -> int:
    """``"4 GiB"`` → bytes. Raises UsageError on anything else."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMG]?i?B)", text.strip())
    if match is None or match[2] not in _UNITS or len(match[1]) > 12:
        raise UsageError(
            "bad-spec", f"{text[:40]!r} is not a size", where=where, hint='Write a size like "4 GiB" or "512 MiB".'
        )
    size = int(float(match[1]) * _UNITS[match[2]])
    if not MIN_SIZE <= size <= MAX_SIZE:
        hint = "Give at least 1 MiB; no limit at all is said by leaving it out."
        raise UsageError("bad-spec", f"{text[:40]!r} is not a size that anything could be held to", where=where, hint=hint)
    return size


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard limits; ``None`` means no limit of ours.

    Attributes:
        memory_bytes: peak resident memory of setup, prove and verify.
        prove_seconds: deadline for one prove call.
        setup_seconds: deadline for one setup call.
        max_logrows: largest ezkl circuit, as log2 of its rows.
    """

    memory_bytes: int | None = None
    prove_seconds: float | None = None
    setup_seconds: float | None = None
    max_logrows: int | None = None


MAX_BATCH = 1 << 16
"""Inferences of one proof."""


class AskedPrivacy(StrEnum):
    """What an author asks of the proofs, in ``[privacy] level``."""

    ZERO_KNOWLEDGE = "zero-knowledge"
    INTEGRITY_ONLY = "integrity-only"


@dataclass(frozen=True, slots=True)
class CircuitSpec:
    """One circuit as its author wants it.

    Attributes:
        privacy: the level that ``[privacy]`` names; ``None`` when it names none, and the tensors and weights decide.
        name: also the folder's name.
        model: path of the ONNX file, relative to the folder of ``circuit.toml``.
        engine: the default engine; others can be compiled beside it.
        tensors: visibility per input and output name.
        weights: how the weights are bound.
        calibration: path of the ``.npz`` calibration data, relative like ``model``.
        calibration_samples: how many of its samples are used; ``None`` for all.
        fidelity: what its author asked for. floorless: whether they asked that nothing is required (``floor = "none"``).
        task: what the outputs mean, and so which decisions have to agree with the float model's.
        options: per engine, its own settings.
        names: labels of classes and names of columns, as written; checked against the model when that is read.
        dropped: columns of tables that are no inputs.
        batch: how many inferences a proof is of; ``None`` where nothing is said: one.
        count_right: whether a proof shows, instead of answers, how many of its batch are right by public labels.
        tokenizer: path of the tokenizer's file, relative like ``model``; ``None`` where there is none.
        token_tensors: the inputs and outputs whose integers are its tokens.
        next_tokens: of them, the output that holds what greedy decoding puts next; empty where there is none.
        local_locks: engines pinned in the untracked ``circuit.local.lock`` (``lock = "local"`` in their table).
    """

    name: str
    model: str
    engine: EngineName
    tensors: Mapping[str, Visibility]
    weights: WeightVisibility
    calibration: str | None
    calibration_samples: int | None
    task: Task
    budget: Budget
    fidelity: FidelityFloor
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    description: str = ""
    local_locks: frozenset[EngineName] = frozenset()
    privacy: AskedPrivacy | None = None
    floorless: bool = False
    names: PlaceNames = field(default_factory=PlaceNames)
    dropped: frozenset[str] = frozenset()
    batch: int | None = None
    count_right: bool = False
    tokenizer: str | None = None
    token_tensors: tuple[str, ...] = ()
    next_tokens: str = ""

    @property
    def floor(self) -> FidelityFloor:
        """What compile requires: what was asked for, or the task's default when nothing was."""
        return DEFAULT_FLOORS[self.task] if self.fidelity.empty and not self.floorless else self.fidelity

    @property
    def zero_knowledge(self) -> bool:
        """Whether its proofs have to hide: the level says so, or a tensor or the weights are private.

        A level never takes back what a single tensor asks for; :func:`parse_spec` refuses such a specification anyway.
        """
        return self.privacy is AskedPrivacy.ZERO_KNOWLEDGE or self.first_private is not None

    @property
    def first_private(self) -> str | None:
        """The first field that asks for privacy by itself, such as ``tensors.image``; ``None`` when none does."""
        if Visibility.PRIVATE in self.tensors.values():
            return "tensors." + next(name for name, seen in self.tensors.items() if seen is Visibility.PRIVATE)
        return "weights.visibility" if self.weights is WeightVisibility.PRIVATE else None

    def refuse_contradiction(self, where: str) -> None:
        """Raise UsageError (``privacy-contradiction``) when the level takes back what a single field asks for."""
        if self.privacy is AskedPrivacy.INTEGRITY_ONLY and self.first_private is not None:
            raise UsageError(
                "privacy-contradiction",
                'this field asks for privacy, but [privacy] level is "integrity-only"',
                where=f"{where}.{self.first_private}",
                hint='Say level = "zero-knowledge", or leave [privacy] out; or bind the field without hiding it.',
            )


def parse_spec(document: Mapping[str, Any], where: str) -> CircuitSpec:
    """Read a parsed ``circuit.toml``.

    Raises:
        UsageError: code ``bad-spec``, with the field named; ``privacy-contradiction`` when ``[privacy]`` takes back what a
            tensor or the weights ask for.
    """
    root = Record(document, where, error=UsageError, code="bad-spec")
    circuit = root.table("circuit")
    tensors = root.table("tensors")
    visibility = {name: tensors.choice(name, Visibility) for name in tensors.names()}
    if not visibility:
        raise tensors.refuse("no tensor is listed", hint='Name each input and output: "public", "private" or "hashed".')
    tensors.done()
    budget = root.table("budget", {})
    fidelity = root.table("fidelity", {})
    calibration = root.table("calibration", {})
    weights = root.table("weights", {})
    privacy = root.table("privacy", {})
    tokenizer = root.table("tokenizer") if root.has("tokenizer") else None
    engine_options = root.table("engine", {})
    options: dict[str, Mapping[str, Any]] = {}
    local_locks: set[EngineName] = set()
    for name in engine_options.names():
        if name not in {engine.value for engine in EngineName}:
            raise engine_options.refuse("no such engine", name, hint="Engines: " + ", ".join(EngineName))
        table = dict(Record(engine_options.take(name), f"{where}.engine.{name}", error=UsageError, code="bad-spec").items())
        lock = table.pop("lock", "tracked")
        if lock not in ("tracked", "local"):
            raise engine_options.refuse('expected "tracked" or "local"', f"{name}.lock")
        if lock == "local":
            local_locks.add(EngineName(name))
        options[name] = table
    memory = budget.text("memory", None)
    spec = CircuitSpec(
        name=circuit.text("name", pattern=r"[a-z0-9][a-z0-9-]{0,63}"),
        model=circuit.text("model"),
        engine=circuit.choice("engine", EngineName, EngineName.EZKL.value),
        description=circuit.text("description", "", empty=True),
        tensors=visibility,
        weights=weights.choice("visibility", WeightVisibility, WeightVisibility.PUBLIC.value),
        calibration=calibration.text("data", None),
        calibration_samples=calibration.integer("samples", None, low=1, high=10**6),
        task=_task(circuit),
        budget=Budget(
            memory_bytes=None if memory is None else parse_bytes(memory, f"{where}.budget.memory"),
            prove_seconds=budget.number("prove_seconds", None, low=0.001, high=1e6),
            setup_seconds=budget.number("setup_seconds", None, low=0.001, high=1e6),
            max_logrows=budget.integer("max_logrows", None, low=4, high=26),
        ),
        fidelity=FidelityFloor(
            top1_agreement=fidelity.number("top1_agreement", None, low=0.0, high=1.0),
            max_abs_error=fidelity.number("max_abs_error", None, low=0.0, high=1e9),
            spread_error=fidelity.number("spread_error", None, low=0.0, high=1e9),
            perplexity_ratio=fidelity.number("perplexity_ratio", None, low=0.0, high=1e9),
        ),
        options=options,
        local_locks=frozenset(local_locks),
        floorless=_floorless(fidelity),
        names=names_from_spec(root),
        dropped=_dropped(root),
        batch=circuit.integer("batch", None, low=1, high=MAX_BATCH),
        count_right=circuit.flag("count_right", False),
        tokenizer=None if tokenizer is None else tokenizer.text("file"),
        token_tensors=() if tokenizer is None else names_of(tokenizer),
        next_tokens="" if tokenizer is None else tokenizer.text("next", "", max_length=512),
        # An empty table asks for nothing, which is surely a mistake.
        privacy=privacy.choice("level", AskedPrivacy) if root.has("privacy") else None,
    )
    if tokenizer is not None:
        tokenizer.done()
    for record in (circuit, budget, fidelity, calibration, weights, privacy, engine_options, root):
        record.done()
    spec.refuse_contradiction(where)
    return spec


def _dropped(root: Record) -> frozenset[str]:
    """``[tables] drop``: names of columns; one without a name is ``""``, as some programs write their row numbers."""
    if not root.has("tables"):
        return frozenset()

    def one(value: Any, place: str) -> str:
        if not isinstance(value, str):
            raise UsageError("bad-spec", "expected the name of a column", where=place)
        return value

    tables = root.table("tables")
    names = tables.array("drop", one)
    tables.done()
    return frozenset(names)


def _floorless(fidelity: Record) -> bool:
    """Whether nothing is required, which has to be said: for a part of a model, whose own error says little."""
    if not fidelity.has("floor"):
        return False
    fidelity.text("floor", pattern="none")
    if fidelity.names() != ("floor",):
        raise fidelity.refuse("a floor beside no floor", "floor", hint='Remove floor = "none", or the other fields.')
    return True


def _task(circuit: Record) -> Task:
    """``task``, or what ``classes``, which older specifications have instead, says of it."""
    if circuit.has("task") and circuit.has("classes"):
        raise circuit.refuse("task and classes say the same thing", "classes", hint="Keep task, and remove classes.")
    if circuit.has("classes"):
        return Task.CLASSIFICATION if circuit.flag("classes") else Task.REGRESSION
    return circuit.choice("task", Task, Task.CLASSIFICATION.value)
