"""A crew of strangers without a cluster: each item is proven in this process as a worker proves it, and may be lied about."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from verifai.bundle.reader import open_bundle
from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import CommitmentOpening
from verifai.domain.workforce import Workforce
from verifai.errors import Undecided
from verifai.execution.workforce import ray_crew
from verifai.execution.workforce.interface import Answer
from verifai.stages.batch.report import BatchOptions, BatchReport
from verifai.stages.batch.run import prove_batch
from verifai.stages.batch.worker import prove_away
from verifai.stages.evidence import statement_digest
from verifai.stages.verify import verify_bundle

LIAR, HONEST = "the liar", "the honest one"


@dataclass
class Strangers:
    """Two workers take turns; what the liar says goes through ``lie``, which gets crew, row, item and the honest answer."""

    shared: bytes
    lie: Callable[[Strangers, int, bytes, bytes], bytes | Answer]
    room: int = 4
    honest: bool = True
    items: deque[tuple[int, bytes]] = field(default_factory=deque)
    seen: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    turns: Counter[str] = field(default_factory=Counter)
    closed: bool = False

    def share(self, shared: bytes) -> None:
        self.shared = shared

    def submit(self, number: int, data: bytes) -> None:
        if not {LIAR, *([HONEST] if self.honest else [])} - self.left_out:
            raise Undecided("no-worker-left", "nobody is left")
        self.items.append((number, data))

    def prove(self, data: bytes, shared: bytes | None = None) -> bytes:
        shared = self.shared if shared is None else shared
        return prove_away(hashlib.sha256(shared).digest(), lambda: shared, data)

    def next(self) -> Answer:
        number, data = self.items.popleft()
        workers = [one for one in (LIAR, HONEST) if one not in self.left_out and (self.honest or one == LIAR)]
        worker = min(workers, key=lambda one: self.turns[one]) if workers else LIAR
        self.turns[worker] += 1
        answer = self.prove(data)
        told = self.lie(self, number, data, answer) if worker == LIAR else answer
        self.seen.append((number, data, answer))
        return told if isinstance(told, Answer) else Answer(number, told, worker, certain=True)

    def done_with(self, number: int) -> None:
        pass

    def leave_out(self, answer: Answer) -> bool:
        if answer.certain:
            self.left_out.add(answer.worker)
        return answer.certain

    def close(self) -> None:
        self.closed = True


@dataclass
class Noted:
    """A progress listener that keeps what was said."""

    notes: list[str] = field(default_factory=list)

    def phase(self, name: str, total: int | None = None) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass

    def memory(self, peak_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Proven:
    """A run with strangers."""

    report: BatchReport
    crew: Strangers
    notes: list[str]


def prove_by_strangers(
    monkeypatch: pytest.MonkeyPatch,
    folder: CircuitFolder,
    samples: Sequence[Mapping[str, Any]],
    output: Path,
    lie: Callable[[Strangers, int, bytes, bytes], bytes | Answer] = lambda crew, row, item, answer: answer,
    *,
    honest: bool = True,
    **options: Any,
) -> Proven:
    """Prove a batch with a liar and, unless it is alone, an honest worker."""
    made: list[Strangers] = []

    def join(shared: bytes, demands: object, **_: object) -> Strangers:
        made.append(Strangers(shared, lie, honest=honest))
        return made[-1]

    listener = Noted()
    workforce = Workforce(None, "ray", ship_weights=True, ship_inputs=True)
    with monkeypatch.context() as patch:
        patch.setattr(ray_crew, "join", join)
        options = {"keep_going": True, "workforce": workforce, **options}
        report = prove_batch(folder, samples, output, BatchOptions(**options), progress=listener)
    assert all(crew.closed for crew in made)
    return Proven(report, made[0], listener.notes)


def verified_digests(folder: CircuitFolder, output: Path) -> dict[str, str]:
    """The inference of every bundle, each verified; and no opening is used twice."""
    digests: dict[str, str] = {}
    used: Counter[tuple[str, int]] = Counter()
    for path in sorted(output.glob("[0-9]*")):
        statement = verify_bundle(path, folder.lock()).statement
        digests[path.name] = statement_digest(statement)
        used.update((one.root, one.number) for one in openings_of(statement.openings))
    assert not [one for one, count in used.items() if count > 1], "an opening was used twice"
    return digests


def openings_of(openings: Sequence[CommitmentOpening]) -> list[CommitmentOpening]:
    """Those that a bundle's own proof made."""
    return [one for one in openings if one.proof_sha256 is None]


def whole(output: Path) -> bool:
    """Whether nothing half-written lies there, and every bundle can be opened."""
    for path in output.glob("[0-9]*"):
        with open_bundle(path):
            pass
    return not [path for path in output.iterdir() if path.name.startswith(".")]
