"""prove: inputs become evidence: one bundle per sample, or per batch of as many as the circuit takes at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.progress import SILENT, Progress
from verifai.domain.proof_index import sample_id
from verifai.domain.statement import EngineName, check_context
from verifai.domain.trust_keys import Signer
from verifai.engines.interface import TensorSecret
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.child import kill_all
from verifai.execution.files import cannot_write
from verifai.stages.outside import refuse_outside
from verifai.stages.ready import ProvedBundle, ready_circuit, samples_per_proof


def prove(
    folder: CircuitFolder,
    samples: Sequence[Mapping[str, Any]],
    output: Path,
    *,
    engine: EngineName | None = None,
    context: str = "",
    signers: Sequence[Signer] = (),
    threads: int | None = None,
    jobs: int = 1,
    max_memory: int | None = None,
    keep_outputs: bool = False,
    input_secrets: Sequence[Mapping[str, TensorSecret]] = (),
    compare: bool = True,
    progress: Progress = SILENT,
) -> Iterator[ProvedBundle]:
    """Prove ``samples`` with a compiled circuit; yield each bundle as soon as it is on disk.

    It keeps no index, and the first failure ends it; :func:`verifai.stages.batch.run.prove_batch` can go on and be continued.

    Args:
        samples: one mapping of input name → array each, of the model's exact shapes and dtypes.
        output: folder that gets one bundle folder per sample: ``000000``, ``000001``, …; where the circuit takes a batch, one
            per as many samples as it takes, in order. The last may have fewer: its statement says how many.
        context: text bound into the statement, such as a verifier's nonce.
        signers: keys that sign the attestations and the manifest; without any the bundle is unsigned.
        jobs: how many samples are proven at once, each within the whole budget.
        keep_outputs: whether the results carry what the circuit put out, where the engine offers it.
        input_secrets: per bundle, by hashed input, what its maker handed over; empty for tensors that no proof bound before.
        compare: whether the float model is run on each sample, so that an output far from it is said.

    Raises:
        InputRejected: a sample that the circuit cannot represent, with tensor and value.
        UsageError: nothing compiled, stale build files, an output that exists, a context that no statement can hold, or
            ``stale-lock`` when the proof would show something else than ``circuit.toml`` now asks for; nothing is written then.
        Undecided: memory, deadline, or a crash of the engine. Bundles already yielded stay; the current one leaves nothing.
    """
    if not samples:
        raise UsageError("nothing-to-prove", "there is no sample to prove", hint="Give an input file with at least one sample.")
    # Whatever can be known is judged here: with private weights, each attempt to prove spends one of few openings.
    check_context(context)
    ready = ready_circuit(
        folder,
        engine=engine,
        signers=signers,
        threads=threads,
        max_memory=max_memory,
        keep_outputs=keep_outputs,
        compare=compare,
    )
    ready.require_labels(samples)
    bundles = grouped(samples, ready.batch)
    targets = free_targets(output, range(len(bundles)))
    refuse_outside(ready.outside(samples), len(samples))
    make_folder(output)

    def one(index: int) -> ProvedBundle:
        return ready.prove_sample(
            index,
            bundles[index],
            targets[index],
            context=context,
            secrets=input_secrets[index] if input_secrets else None,
            progress=_OfMany(progress, index, len(bundles)),
        )

    yield from _in_order(one, len(bundles), jobs)


def bundle_count(folder: CircuitFolder, engine: EngineName | None, samples: int) -> int:
    """How many bundles so many samples make with the compiled circuit. Raises UsageError as :func:`ready_circuit`."""
    name = folder.engine(engine)
    batch = samples_per_proof(engine_for(name).summarise(folder.lock().section(name)))
    return -(-samples // batch) if batch else samples


def grouped(samples: Sequence[Mapping[str, Any]], batch: int) -> Sequence[Mapping[str, Any]]:
    """The samples as a circuit takes them: each by itself, or stacked in batches, of which the last may have fewer."""
    if not batch:
        return samples
    import numpy as np

    groups = (samples[first : first + batch] for first in range(0, len(samples), batch))
    return [{name: np.stack([one[name] for one in group]) for name in group[0]} for group in groups]


def _in_order(one: Callable[[int], ProvedBundle], count: int, jobs: int) -> Iterator[ProvedBundle]:
    """Results in order; the first failure stops the rest, and no child outlives it."""
    if jobs == 1:
        yield from map(one, range(count))
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        futures = [pool.submit(one, index) for index in range(count)]
        for future in futures:
            yield future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        kill_all()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _OfMany:
    """Progress that says which sample a phase belongs to."""

    inner: Progress
    index: int
    count: int

    def phase(self, name: str, total: int | None = None) -> None:
        self.inner.phase(name if self.count == 1 else f"sample {self.index + 1} of {self.count}: {name}", total)

    def advance(self, steps: int = 1) -> None:
        self.inner.advance(steps)

    def memory(self, peak_bytes: int) -> None:
        self.inner.memory(peak_bytes)

    def note(self, text: str) -> None:
        self.inner.note(text)


def make_folder(output: Path) -> None:
    """Make the folder that bundles go into. Raises UsageError, Undecided as any output that cannot be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise cannot_write(problem, output) from None


def free_targets(output: Path, rows: Iterable[int]) -> list[Path]:
    """Where the bundles of ``rows`` go. Raises UsageError (``file-exists``) when something is there already."""
    targets = [output / sample_id(row) for row in rows]
    for target in targets:
        if os.path.lexists(target):
            raise UsageError(
                "file-exists",
                "this bundle exists already",
                where=str(target),
                hint="Choose another --output folder; evidence is never overwritten.",
            )
    return targets
