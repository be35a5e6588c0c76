"""tolerance: a model and inputs → the measured tolerance, as a signed attestation that rounds can name."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from verifai.consensus.environment import this_environment
from verifai.consensus.portability import check_graph, check_runs
from verifai.domain.consensus.calibration import Calibration
from verifai.domain.findings import Finding
from verifai.domain.progress import SILENT, Progress
from verifai.domain.trust_keys import Signer
from verifai.domain.utc_time import format_utc
from verifai.stages.consensus.calibrate import Calibrated, CalibrateRequest, calibrate
from verifai.stages.consensus.messages import WrittenMessage, require_free, write_message
from verifai.stages.consensus.recording import read_recorded_runs
from verifai.stages.consensus.subject import SubjectOptions, read_inputs, read_model, subject_of

VALIDITY = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class MeasuredTolerance:
    """A tolerance that was measured and written.

    Attributes:
        measured: the figures, and what they do not support.
        portability: what in the model gives other results elsewhere, one finding each.
        samples: on how many inputs it rests.
    """

    written: WrittenMessage[Calibration]
    measured: Calibrated
    portability: tuple[Finding, ...]
    samples: int


def measure_tolerance(
    model: Path,
    options: SubjectOptions,
    data: Path,
    output: Path,
    *,
    elsewhere: Sequence[Path] = (),
    proven: Sequence[Path] = (),
    not_covered: frozenset[str] = frozenset(),
    limit: int | None = None,
    validity: timedelta = VALIDITY,
    signers: Sequence[Signer] = (),
    progress: Progress = SILENT,
) -> MeasuredTolerance:
    """Measure how far honest runs and attacks differ, and write the tolerance between them to ``output``.

    Args:
        data: real inputs, at least 20; with ``limit`` the first ones only.
        elsewhere: files of runs recorded on other machines (:func:`.recording.record_runs`).
        proven: files of what circuits were proven to put out (:func:`.recording.record_proven_runs`).
        not_covered: attacks to leave out, openly: the tolerance does not list them.
        validity: from now.
        progress: is told at once what is not portable, since it explains a refusal.

    Raises:
        PolicyNotMet: ``calibration-too-small``, ``not-separable``, ``calibration-not-transferable``.
        UsageError: ``file-exists``, ``file-missing``, ``bad-runs``, ``job-input``, ``fingerprint-parameters``, ``bad-option``.
        UnsupportedModel, InputRejected, EngineCrashed: from the runner.
    """
    require_free(output)
    created = datetime.now(UTC)
    content = read_model(model)
    subject = subject_of(content, options)
    samples = read_inputs(data, content, subject.runtime, limit)
    portability = (*check_graph(content, subject.runtime, subject.precision), *check_runs(content, subject.runtime, samples))
    for finding in portability:
        if finding.code == "not-portable":
            progress.note(f"not portable: {finding.message}. {finding.remedy}")
    measured = calibrate(
        CalibrateRequest(
            content,
            subject,
            samples,
            this_environment(1),
            secrets.token_hex(32),
            format_utc(created),
            format_utc(created + validity),
            tuple(read_recorded_runs(path) for path in elsewhere),
            tuple(read_recorded_runs(path) for path in proven),
            not_covered,
            progress,
        )
    )
    written = write_message(output, measured.calibration, measured.calibration.subject, signers)
    return MeasuredTolerance(written, measured, portability, len(samples))
