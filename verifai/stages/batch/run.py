"""prove_batch: many samples proven, one bundle each, in a run that can be left alone.

What can be known is judged before the first proof: contexts, ranges of inputs, the output folder, the index of an earlier run.
Every sample that is done is in the index before it is told; a run that was interrupted is continued from there.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.digest import Sha256
from verifai.domain.progress import SILENT, Progress
from verifai.domain.proof_index import INDEX_FILE, IndexHeader, IndexRow, ProofIndex, SampleStatus, sample_id
from verifai.domain.statement import Visibility, check_context
from verifai.domain.workforce import ALONE
from verifai.engines.capabilities import OutsideInput
from verifai.errors import (
    InputRejected,
    Interrupted,
    Undecided,
    UsageError,
    VerifaiError,
)
from verifai.stages.batch.index_file import IndexFile, held_folder, read_index, remove_unfinished
from verifai.stages.batch.inputs import batch_digest, input_digest, keep_hidden_inputs
from verifai.stages.batch.many import Many, refuse_to_ship
from verifai.stages.batch.openings import Openings
from verifai.stages.batch.report import BatchOptions, BatchReport
from verifai.stages.batch.resume import check_same_batch, proven_row, take_up
from verifai.stages.batch.worker import told
from verifai.stages.evidence import section_digest
from verifai.stages.outside import refuse_outside
from verifai.stages.prove import free_targets, grouped
from verifai.stages.ready import ProvedBundle, ReadyCircuit, ready_circuit

_OF_THE_RUN = ("disk", "opening-ledger-busy", "cluster-lost", "no-worker-left")
"""Codes of failures that the next sample would meet as well."""


def prove_batch(
    folder: CircuitFolder,
    samples: Sequence[Mapping[str, Any]],
    output: Path,
    options: BatchOptions | None = None,
    *,
    progress: Progress = SILENT,
) -> BatchReport:
    """Prove ``samples`` into ``output``: bundles ``000000``, ``000001``, … and ``index.jsonl``.

    Where the circuit takes a batch, a bundle and a row of the index are of as many samples as it takes. With ``keep_going``,
    samples that cannot be represented are left out before batches are made of the others.

    Raises:
        InputRejected: without ``keep_going``: :class:`~verifai.stages.outside.SamplesOutside`, before the first proof.
        UsageError: as :func:`verifai.stages.prove.prove`; ``file-exists`` also for the index of an earlier run that proved all
            of its samples, unless it is to be continued; ``not-shipped``, ``not-remote``, ``ray-missing``;
            ``index-malformed``, ``index-differs``, ``index-bundle-differs``, ``index-inputs-unknown``. Also with ``keep_going``
            what would stop every other sample too, such as ``opening-budget-spent``: the index has the rest.
        Undecided: as there; ``batch-busy``; ``disk``; ``cluster-lost``, ``no-worker-left``.
        Interrupted: after Ctrl-C, when what was begun has ended and the index tells what is done.
    """
    options = options or BatchOptions()
    began = monotonic()
    if not samples:
        raise UsageError("nothing-to-prove", "there is no sample to prove", hint="Give an input file with at least one sample.")
    ready = ready_circuit(
        folder,
        engine=options.engine,
        signers=options.signers,
        threads=options.threads,
        max_memory=options.max_memory,
        keep_outputs=options.keep_outputs,
    )
    if options.workforce.remote:
        refuse_to_ship(ready, options)
    given = len(samples)
    ready.require_labels(samples)
    outside: tuple[OutsideInput, ...] = ()
    if ready.batch:  # a sample that cannot be proven would take its whole batch with it, so it is left out before
        outside = ready.outside(samples, progress)
        left = {one.row for one in outside}
        if not options.keep_going or len(left) == len(samples):
            refuse_outside(outside, len(samples))
        samples = grouped([sample for row, sample in enumerate(samples) if row not in left], ready.batch)
    if not options.resume and _unfinished(output):
        progress.note("An earlier run was not done here. Going on with it; what is proven is not proven again.")
        options = replace(options, resume=True)
    digests = [input_digest(sample, ready.takes) for sample in samples]
    header = _header(ready, digests, options)
    check_context(header.context_of(len(samples) - 1))
    if not options.resume:
        _refuse_used(output, len(samples))
    if not ready.batch:
        outside = ready.outside(samples, progress)
        if not options.keep_going:
            refuse_outside(outside, len(samples))
    fresh = not output.exists()
    with held_folder(output), _nothing_left(output, fresh):
        index = _begin(ready, header, digests, samples, output, options, progress)
        unproven = () if ready.batch else outside
        refused = {one.row: _refused(one.row, index.header, digests) for one in unproven}
        book = IndexFile(output / INDEX_FILE, index.with_rows(refused.values()))
        run = _Run(ready, samples, digests, output, options, progress, book)
        run.all([row for row in range(len(samples)) if row not in refused and not _done(index, row)])
    return BatchReport(
        folder=output,
        index_path=run.book.path,
        index=run.book.index,
        made=tuple(sorted(run.made, key=lambda bundle: bundle.index)),
        outside=outside,
        problems=dict(sorted(run.problems.items())),
        seconds=monotonic() - began,
        hides_inputs=_hides_inputs(ready),
        batch=ready.batch,
        samples=given,
    )


@contextlib.contextmanager
def _nothing_left(output: Path, fresh: bool) -> Iterator[None]:
    """Remove the folder that this run made when its first sample already failed: there is nothing to continue."""
    try:
        yield
    except InputRejected:
        if fresh and not any(output.glob("[0-9]*")):
            shutil.rmtree(output, ignore_errors=True)
        raise


def _header(ready: ReadyCircuit, digests: Sequence[Sha256], options: BatchOptions) -> IndexHeader:
    return IndexHeader(
        run=secrets.token_hex(16),
        circuit=ready.described.name,
        engine=ready.engine.name,
        model_sha256=ready.described.model_sha256,
        section_sha256=section_digest(ready.section),
        samples=len(digests),
        inputs_sha256=None if _hides_inputs(ready) else batch_digest(digests),
        context=options.context,
        context_per_sample=options.context_per_sample,
        signers=tuple(sorted({signer.public_key.keyid for signer in options.signers})),
    )


def _hides_inputs(ready: ReadyCircuit) -> bool:
    spec = ready.folder.spec
    return any(spec.tensors[tensor.name] is not Visibility.PUBLIC for tensor in ready.folder.model.inputs)


def _refuse_used(output: Path, samples: int) -> None:
    """A folder that an earlier run proved into is continued only when that is asked for."""
    if (output / INDEX_FILE).exists():
        raise UsageError(
            "file-exists",
            "an earlier run proved into this folder",
            where=str(output / INDEX_FILE),
            hint="--resume continues it; or choose another --output folder.",
        )
    free_targets(output, range(samples))


def _unfinished(output: Path) -> bool:
    """Whether an earlier run in this folder left samples unproven: then the same command goes on with it."""
    index = read_index(output)
    if index is None:
        return False
    settled = (SampleStatus.PROVEN, SampleStatus.REFUSED)
    return sum(row.status in settled for row in index.rows.values()) < index.header.samples


def _begin(
    ready: ReadyCircuit,
    header: IndexHeader,
    digests: Sequence[Sha256],
    samples: Sequence[Mapping[str, Any]],
    output: Path,
    options: BatchOptions,
    progress: Progress,
) -> ProofIndex:
    """The index to go on with. Keyed digests of hidden inputs are on disk before an index tells of the batch."""
    secrets_dir = ready.folder.secrets_dir(ready.engine.name)
    index = read_index(output)
    if index is not None and not options.resume:
        _refuse_used(output, 0)  # it was begun since this run looked
    if index is None:
        free_targets(output, range(len(samples)))
        if header.inputs_sha256 is None:
            _keep_hidden(secrets_dir, header.run, digests, progress)
        return ProofIndex(header)
    check_same_batch(index, header, digests, secrets_dir, str(output / INDEX_FILE))
    remove_unfinished(output)
    shown = [None if header.inputs_sha256 is None else digest for digest in digests]
    return take_up(index, ready, samples, shown, output, progress)


def _keep_hidden(secrets_dir: Path, run: str, digests: Sequence[Sha256], progress: Progress) -> None:
    try:
        keep_hidden_inputs(secrets_dir, run, digests)
    except Undecided:
        progress.note("The circuit's folder cannot be written to, so this run cannot be continued when it is interrupted.")


def _refused(row: int, header: IndexHeader, digests: Sequence[Sha256]) -> IndexRow:
    digest = None if header.inputs_sha256 is None else digests[row]
    return IndexRow(row, SampleStatus.REFUSED, digest, code="input-out-of-range")


def _done(index: ProofIndex, row: int) -> bool:
    found = index.rows.get(row)
    return found is not None and found.status is SampleStatus.PROVEN


@dataclass
class _Run:
    """The proving itself."""

    ready: ReadyCircuit
    samples: Sequence[Mapping[str, Any]]
    digests: Sequence[Sha256]
    output: Path
    options: BatchOptions
    progress: Progress
    book: IndexFile
    made: list[ProvedBundle] = field(default_factory=list)
    problems: dict[int, VerifaiError] = field(default_factory=dict)

    def all(self, rows: Sequence[int]) -> None:
        """Prove ``rows``; what ends the run early leaves the index as it is then."""
        several = len(self.samples) > 1
        if several and rows:
            self.progress.phase(f"proving {len(rows)} of {len(self.samples)} samples", len(rows))
        listener = _Quiet(self.progress) if several else self.progress
        try:
            if self.options.workforce == ALONE:
                for row in rows:
                    self._one(row, listener)
            else:
                self._by_others(rows)
        except KeyboardInterrupt:
            done = len(self.book.index.of(SampleStatus.PROVEN))
            raise Interrupted(
                "interrupted",
                f"stopped: {done} of {len(self.samples)} samples are proven; nothing was left half-written",
                where=str(self.book.path),
                hint="Give the same command again: it goes on from here, as --resume does.",
            ) from None
        except VerifaiError:
            done = len(self.book.index.of(SampleStatus.PROVEN))
            if several and done:
                self.progress.note(
                    f"{done} of {len(self.samples)} samples are proven; the same command goes on after them (--resume)."
                )
            raise
        self.book.finish()

    def _by_others(self, rows: Sequence[int]) -> None:
        many = Many(
            ready=self.ready,
            header=self.book.header,
            samples=self.samples,
            digests=self.digests,
            options=self.options,
            progress=self.progress,
            seal=lambda row, proof: self._sealed(
                row, self.ready.seal(row, self.samples[row], self.output / sample_id(row), proof)
            ),
            fail=self._failed,
        )
        many.all(rows)

    def _one(self, row: int, listener: Progress) -> None:
        given = self.options.input_secrets
        try:
            Openings(self.ready, self.options.renew_roots, self.progress).ensure()
            bundle = self.ready.prove_sample(
                row,
                self.samples[row],
                self.output / sample_id(row),
                context=self.book.header.context_of(row),
                secrets=given[row] if given else None,
                progress=listener,
            )
        except Exception as error:
            problem = told(error)
            if not self._kept(row, problem):
                raise
            return
        self._sealed(row, bundle)

    def _sealed(self, row: int, bundle: ProvedBundle) -> None:
        self.book.add(proven_row(row, bundle.statement, bundle.bundle_id, self._shown(row), bundle.seconds, bundle.path))
        self.made.append(bundle)
        self._step()

    def _failed(self, row: int, problem: VerifaiError) -> None:
        if not self._kept(row, problem):
            raise problem

    def _kept(self, row: int, problem: VerifaiError) -> bool:
        """Record that a row failed; whether the run goes on."""
        if _stops_the_run(problem):
            return False
        status = SampleStatus.REFUSED if isinstance(problem, InputRejected) else SampleStatus.FAILED
        self.book.add(IndexRow(row, status, self._shown(row), code=problem.code))
        if not self.options.keep_going:
            return False
        self.problems[row] = problem
        self._step()
        return True

    def _shown(self, row: int) -> Sha256 | None:
        return None if self.book.header.inputs_sha256 is None else self.digests[row]

    def _step(self) -> None:
        if len(self.samples) > 1:
            self.progress.advance()


def _stops_the_run(problem: VerifaiError) -> bool:
    """Whether the other samples would meet it too: a full disk, a stale build, a spent budget of openings."""
    of_the_request = isinstance(problem, UsageError) and not isinstance(problem, InputRejected)
    return of_the_request or problem.code in _OF_THE_RUN or problem.status == Interrupted.status


@dataclass(frozen=True)
class _Quiet:
    """Progress of one among many samples: the batch has one bar of its own, so phases within a sample are not shown."""

    inner: Progress

    def phase(self, name: str, total: int | None = None) -> None:
        """Not shown."""

    def advance(self, steps: int = 1) -> None:
        """Not shown."""

    def memory(self, peak_bytes: int) -> None:
        self.inner.memory(peak_bytes)

    def note(self, text: str) -> None:
        self.inner.note(text)
