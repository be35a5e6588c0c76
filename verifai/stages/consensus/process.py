"""Run a verifier's model in processes of its own, so that a model which hangs, crashes or uses all memory ends alone.

They are processes of this machine: a vote says what the voter's machine computes, so it is not given to a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from verifai.consensus.runner import Tensors
from verifai.domain.consensus.job import Job
from verifai.errors import EngineCrashed, UsageError
from verifai.execution.child import ChildReport, Limits, kill_all, run
from verifai.execution.scratch import private_directory
from verifai.fingerprints.output import Output, decode_output, encode_output

WORKER = "verifai.stages.consensus.worker"


def run_apart(
    model: Path,
    job: Job,
    samples: Sequence[Tensors],
    *,
    threads: int = 1,
    jobs: int = 1,
    limits: Limits | None = None,
    worker: str = WORKER,
) -> tuple[Output, ...]:
    """Run the model as the job pins it, in a fenced child, and keep the tensors that are voted on.

    Args:
        samples: already known to be the job's.
        jobs: in how many children, each with a part of the samples. The job's batches stay as they are, so the outputs do too.
        limits: of each child.
        worker: the child's module; the seam where another executor, or a test's broken verifier, is put in.

    Raises:
        DeadlineExceeded, ResourceExhausted: a limit was reached.
        EngineCrashed: ``verifier-process``, when the child died or answered nonsense.
    """
    batch = job.subject.runtime.batch
    groups = -(-len(samples) // batch)
    each = batch * -(-groups // max(1, min(jobs, groups)))
    parts = [samples[first : first + each] for first in range(0, len(samples), each)]
    if len(parts) <= 1:
        return _run_part(model, job, samples, threads, limits, worker)
    pool = ThreadPoolExecutor(len(parts))
    try:
        running = [pool.submit(_run_part, model, job, part, threads, limits, worker) for part in parts]
        return tuple(output for one in running for output in one.result())
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        kill_all()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_part(
    model: Path, job: Job, samples: Sequence[Tensors], threads: int, limits: Limits | None, worker: str
) -> tuple[Output, ...]:
    subject = job.subject
    with private_directory() as folder:
        for index, sample in enumerate(samples):
            (folder / f"in{index}").write_bytes(encode_output(dict(sample)))
        args = {
            "model": str(model.resolve()),
            "model_sha256": subject.model_sha256,
            "batch": subject.runtime.batch,
            "optimisation": subject.runtime.optimisation.value,
            "x64quantprecision": subject.runtime.x64quantprecision,
            "threads": threads,
            "samples": len(samples),
            "tensors": list(subject.tensors),
            "folder": str(folder),
        }
        report = run(worker, {"steps": [{"op": "run", "args": args}]}, folder=folder, limits=limits or Limits())
        return _outputs(report, folder, len(samples))


def _outputs(report: ChildReport, folder: Path, count: int) -> tuple[Output, ...]:
    if report.death is not None:
        if report.death.status == 4 and report.death.code == "engine-crashed":
            raise EngineCrashed("verifier-process", f"the verifier's process died: {report.death.message}")
        raise report.death
    step = report.steps[0] if report.steps else None
    if step is None or step.failure:
        told = "" if step is None else step.message
        raise UsageError("runner-refused", f"the model could not be run: {told[:300]}")
    if step.value != {"outputs": count}:
        raise EngineCrashed("verifier-process", "the verifier's process answered nonsense")
    found = []
    for index in range(count):
        path = folder / f"out{index}"
        if not path.is_file():
            raise EngineCrashed("verifier-process", f"the verifier's process left no output for sample {index}")
        found.append(decode_output(path.read_bytes(), where=f"output of sample {index}"))
    return tuple(found)
