"""The part of a batch that has others prove: processes of this machine, or the workers of a cluster.

This process gives out items and opening numbers, judges what strangers answer, seals, and keeps the index. Nobody else writes.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from verifai.domain.digest import Sha256
from verifai.domain.progress import Progress
from verifai.domain.proof_index import IndexHeader, row_words
from verifai.domain.statement import Privacy, Visibility, WeightVisibility
from verifai.engines.capabilities import EstimatesMemory, Rehearses, WarmsUp
from verifai.engines.interface import EngineProof, ProveRequest, ReservedOpening
from verifai.errors import EvidenceRejected, Undecided, UsageError, VerifaiError
from verifai.execution.workforce.interface import Answer, Crew, work_through
from verifai.execution.workforce.local import DIED, LocalCrew
from verifai.execution.workforce.sizing import cores, fitting_jobs
from verifai.stages.batch.openings import Openings
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.returned import FAILED, WRONG, NotProven, Returned
from verifai.stages.batch.shipping import Item, circuit_away, circuit_here
from verifai.stages.batch.worker import prove_here
from verifai.stages.ready import ReadyCircuit

ATTEMPTS = 4
"""How often an item is given out before it is told as failed; not counted are workers that could not even begin."""
STRIKES = 3
"""After so many failures in a row a node gets nothing more."""
ENTRY = "verifai.stages.batch.worker:prove_away"
ANSWER_SLACK = 64 * 2**20
SLOW_SECONDS = 3600.0
"""Without a time limit for a proof, a worker of a cluster without an answer for so long is told; its item goes to others."""
HUNG_SECONDS = 24 * 3600.0
"""The same for processes of this machine, of which none ended for so long: they cannot be told apart, so all begin anew."""


@dataclass
class Many:
    """Has the samples of a batch proven by others.

    Attributes:
        samples, digests: of all rows: bundles' inputs, and their digests.
        seal: writes the bundle of a proof, and its row of the index.
        fail: records that a row failed; raises when that ends the run.
    """

    ready: ReadyCircuit
    header: IndexHeader
    samples: Sequence[Mapping[str, Any]]
    digests: Sequence[Sha256]
    options: BatchOptions
    progress: Progress
    seal: Callable[[int, EngineProof], None]
    fail: Callable[[int, VerifaiError], None]
    _openings: Openings = field(init=False)
    _returned: Returned = field(init=False)
    _given: dict[int, ReservedOpening | None] = field(default_factory=dict)
    _attempts: Counter[int] = field(default_factory=Counter)
    _strikes: Counter[str] = field(default_factory=Counter)
    _waiting: int = 0
    _warned: bool = False
    _blamed: set[str] = field(default_factory=set)
    _roots: frozenset[Sha256] = frozenset()
    """Whose seeds the workers have."""

    def __post_init__(self) -> None:
        self._openings = Openings(self.ready, self.options.renew_roots, self.progress)
        self._returned = Returned(self.ready)

    def all(self, rows: Sequence[int]) -> None:
        """Have ``rows`` proven.

        Raises:
            VerifaiError: what ended the run early; what others had finished by then is sealed.
        """
        if not rows:
            return
        self._waiting = len(rows)
        crew = self._crew(len(rows))
        try:
            work_through(crew, rows, lambda row: self._parcel(crew, row), lambda answer: self._take(crew, answer))
        finally:
            crew.close()

    def _crew(self, count: int) -> Crew:
        workforce, each = self.options.workforce, self._memory()
        if not workforce.remote:
            jobs = fitting_jobs(workforce.jobs, each, count)
            if workforce.jobs is not None and jobs < min(workforce.jobs, count):
                self.progress.note(
                    f"{jobs} at once instead of {workforce.jobs}: each proof takes about {each / 2**20:,.0f} MiB, and no more "
                    "of them fit into the memory that is free."
                )
            if isinstance(self.ready.engine, WarmsUp):
                self.ready.engine.ensure_warm(self.progress)  # once, and not once per process
            threads = self.options.threads or max(1, cores() // jobs)
            return LocalCrew(prove_here, circuit_here(self.ready, threads), jobs, slow_seconds=self._slow(HUNG_SECONDS))
        from verifai.execution.workforce.ray_crew import Demands, join

        refuse_to_ship(self.ready, self.options)
        self._openings.ensure()  # before the seeds are packed: the first number may be one of a fresh root
        shared = self._circuit_away()
        demands = Demands(
            entry=ENTRY,
            release=_release(),
            memory_bytes=each,
            cpus=self.options.threads or 1,
            largest_answer=ANSWER_SLACK + 4 * len(shared),
            repeatable=not self._openings.needed,
            slow_seconds=self._slow(SLOW_SECONDS),
        )
        return join(shared, demands, address=workforce.address, jobs=workforce.jobs)

    def _circuit_away(self) -> bytes:
        engine = self.ready.engine
        self._roots = self._openings.roots()  # first: of a root that another process makes meanwhile, a seed too many is sent
        held = engine.constant_files() if isinstance(engine, Rehearses) else frozenset[str]()
        return circuit_away(self.ready, self.options.threads or 1, held=held)

    def _slow(self, without_limit: float) -> float:
        """Seconds after which an item that nothing came of is taken back."""
        deadline = self.ready.budget.prove_seconds
        return without_limit if deadline is None else 2 * deadline + 60

    def _memory(self) -> int:
        """What one proof takes, about."""
        engine, folder = self.ready.engine, self.ready.folder
        if isinstance(engine, EstimatesMemory):
            return engine.proof_memory(self.ready.section, folder.built_dir(engine.name))
        return engine.estimate(folder.model, folder.spec).memory_bytes

    def _parcel(self, crew: Crew, row: int) -> bytes | None:
        opening = self._openings.take(self._waiting)
        if opening is not None and self.options.workforce.remote and opening.root not in self._roots:
            crew.share(self._circuit_away())  # a fresh root, whose seed no worker has yet
        self._waiting -= 1
        self._given[row] = opening
        self._attempts[row] += 1
        secrets = self.options.input_secrets[row] if self.options.input_secrets else {}
        return Item(self.samples[row], self.header.context_of(row), opening, secrets).to_bytes()

    def _take(self, crew: Crew, answer: Answer) -> bool:
        """Whether the row is done with, proven or failed."""
        row = answer.number
        if answer.data is None:
            return self._none_came(crew, answer)
        if not self.options.workforce.remote:
            found = pickle.loads(answer.data)  # noqa: S301 - of a process of ours on this machine
            if isinstance(found, EngineProof):
                self.seal(row, found)
            else:
                self.fail(row, found)
            return True
        try:
            proof = self._checked(row, answer.data)
        except NotProven as problem:
            words = f"{answer.worker} says of {row_words(row)}: {problem.message} ({problem.code})"
            self.progress.note(words)
            return self._again(crew, answer, words)
        except EvidenceRejected as problem:
            if problem.code != WRONG:
                raise
            words = f"{answer.worker} gave a wrong answer for {row_words(row)}: {problem.message}"
            self.progress.note(words)
            return self._again(crew, answer, words, at_once=True)
        self._strikes.pop(answer.worker, None)
        self.seal(row, proof)
        return True

    def _none_came(self, crew: Crew, answer: Answer) -> bool:
        words = answer.lost if answer.lost == DIED else f"{answer.worker or 'a worker'}: {answer.lost}"
        self.progress.note(f"{row_words(answer.number)}: {words}.")
        if answer.useless:
            self._attempts[answer.number] -= 1
        return self._again(crew, answer, words, at_once=answer.useless or answer.strange)

    def _again(self, crew: Crew, answer: Answer, words: str, *, at_once: bool = False) -> bool:
        """False: the item is to be given out again; and whoever is to blame may get nothing more."""
        row = answer.number
        if answer.worker:
            self._strikes[answer.worker] += 1
        nameless = not answer.worker and self._attempts[row] > 1  # once may be bad luck
        if at_once or nameless or self._strikes[answer.worker] >= STRIKES:
            if crew.leave_out(answer):
                if answer.worker not in self._blamed:
                    self.progress.note(f"{answer.worker} gets nothing more.")
                self._blamed.add(answer.worker)
            elif self.options.workforce.remote and not self._warned:
                self._warned = True
                self.progress.note("A worker may give another one's name, so from here on each sample goes to a node by name.")
        remote = self.options.workforce.remote
        hangs = answer.strange and not remote  # it was alone with its process, and would hang again
        if self._attempts[row] < ATTEMPTS and not hangs:
            self._waiting += 1
            return False
        code = FAILED if remote else "worker-died"
        hint = "Give the same command again" + ("." if remote else ", with --jobs 1.")
        message = f"given out {self._attempts[row]} times in vain; at last {words}"
        self.fail(row, Undecided(code, message, where=row_words(row), hint=hint))
        return True

    def _checked(self, row: int, data: bytes) -> EngineProof:
        engine = self.ready.engine
        request = self._request(row)
        rehearsal = engine.rehearse(request) if isinstance(engine, Rehearses) else None
        return self._returned.check(data, request, rehearsal, self.digests[row])

    def _request(self, row: int) -> ProveRequest:
        return replace(self.ready.request(self.samples[row], self.header.context_of(row)), opening=self._given[row])


def refuse_to_ship(ready: ReadyCircuit, options: BatchOptions) -> None:
    """Refuse to give others what is hidden, unless the user said so; and what their answers could not be held to.

    Raises:
        UsageError: ``not-shipped``, ``not-remote``.
    """
    spec, workforce = ready.folder.spec, options.workforce
    hint = "Leave --on out to prove on this machine."
    weights = ready.summary.weights or spec.weights
    if weights is not WeightVisibility.PUBLIC and not workforce.ship_weights:
        message = f"the weights are {weights.value}, and every worker of the cluster would see them"
        raise UsageError("not-shipped", message, where="--on", hint=f"Add --ship-weights if it may see them. {hint}")
    hidden = [tensor.name for tensor in ready.folder.model.inputs if spec.tensors[tensor.name] is not Visibility.PUBLIC]
    if hidden and not workforce.ship_inputs:
        message = f"the input {hidden[0]!r} is hidden, and every worker of the cluster would see it"
        raise UsageError("not-shipped", message, where="--on", hint=f"Add --ship-inputs if it may see them. {hint}")
    if hidden and not isinstance(ready.engine, Rehearses):
        message = f"what a stranger proves of a hidden input cannot be checked with the engine {ready.engine.name.value!r}"
        raise UsageError("not-remote", message, where="--on", hint=hint)
    level = ready.engine.privacy_support(spec).level
    hashed = [name for name, one in spec.tensors.items() if one is Visibility.HASHED]
    if hashed and level is not Privacy.INTEGRITY_ONLY:
        message = f"the tensor {hashed[0]!r} is bound by a seed that the prover draws, so a stranger could bind another tensor"
        raise UsageError("not-remote", message, where="--on", hint=hint)
    if options.input_secrets or options.keep_outputs:
        message = "seeds of tensors are exchanged by provers that trust each other"
        raise UsageError("not-remote", message, where="--on", hint=hint)


def _release() -> str:
    from importlib.metadata import version

    return version("verifai")
