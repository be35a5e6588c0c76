"""record: runs of a model here, or of its circuit as proofs show them → a file, for a calibration elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.consensus.environment import this_environment
from verifai.consensus.files import RunsFile, read_runs
from verifai.consensus.runner import VoteRunner
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.consensus.vote import Environment
from verifai.domain.digest import Sha256
from verifai.domain.progress import SILENT, Progress
from verifai.execution.files import write_atomic, write_new
from verifai.fingerprints.output import decode_output, encode_output
from verifai.stages.consensus.calibrate import RecordedRuns
from verifai.stages.consensus.messages import require_free
from verifai.stages.consensus.record_proofs import record_proofs
from verifai.stages.consensus.subject import SubjectOptions, read_inputs, read_model, subject_of


@dataclass(frozen=True, slots=True)
class WrittenRuns:
    """Runs that were written.

    Attributes:
        environment: the machine, or what stands for a circuit.
        samples: how many outputs the file holds.
        proofs: the proof attestation behind each output; empty for runs of a machine.
    """

    path: Path
    environment: Environment
    samples: int
    proofs: tuple[Sha256, ...] = ()


def record_runs(
    model: Path, options: SubjectOptions, data: Path, output: Path, *, limit: int | None = None, threads: int = 1
) -> WrittenRuns:
    """Run the model on this machine and write its outputs to ``output``, an existing file included.

    Args:
        options: what the calibration will be about.
        data: samples, as for the calibration; with ``limit`` the first ones only.

    Raises:
        UsageError: ``file-missing``, ``bad-option``.
        UnsupportedModel, InputRejected, EngineCrashed: from the runner.
    """
    content = read_model(model)
    subject = subject_of(content, options)
    samples = read_inputs(data, content, subject.runtime, limit)
    outputs = VoteRunner(content, subject.runtime, threads=threads).run(samples)
    encoded = tuple(encode_output({name: one[name] for name in subject.tensors}) for one in outputs)
    environment = this_environment(threads)
    write_atomic(output, RunsFile(environment, encoded).to_bytes())
    return WrittenRuns(output, environment, len(encoded))


def record_proven_runs(
    model: Path,
    data: Path,
    bundles: Sequence[Path],
    lock: CircuitLock,
    output: Path,
    *,
    tensors: tuple[str, ...] = (),
    limit: int | None = None,
    allow_test_srs: bool = False,
    progress: Progress = SILENT,
) -> WrittenRuns:
    """Verify proofs and write what they prove to ``output``, for a calibration that covers proven claims.

    Args:
        bundles: one proof per sample of ``data``, in its order.
        lock: trusted; it must pin the model.
        tensors: the outputs that the calibration will be about; by default all.
        allow_test_srs: INSECURE: accept a set-up whose maker can forge proofs.

    Raises:
        UsageError: ``file-exists``, ``file-missing``, ``bad-option``, and as :func:`.record_proofs.record_proofs`.
        EvidenceRejected, PolicyNotMet: a proof does not hold, or not for this model and input.
        UnsupportedModel, InputRejected: from the runner.
    """
    require_free(output)
    content = read_model(model)
    subject = subject_of(content, SubjectOptions(tensors=tensors))
    samples = read_inputs(data, content, subject.runtime, limit)
    found = record_proofs(bundles, lock, subject, samples, allow_test_srs=allow_test_srs, progress=progress)
    encoded = tuple(encode_output(one) for one in found.outputs)
    write_new(output, RunsFile(found.environment, encoded, found.proofs).to_bytes())
    return WrittenRuns(output, found.environment, len(encoded), found.proofs)


def read_recorded_runs(path: Path) -> RecordedRuns:
    """The inverse of both. Raises UsageError (``file-missing``, ``bad-runs``), EvidenceRejected."""
    found = read_runs(path)
    return RecordedRuns(found.environment, tuple(decode_output(one, str(path)) for one in found.outputs))
