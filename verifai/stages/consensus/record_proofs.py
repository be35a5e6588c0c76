"""record-proofs: outputs that proofs show for known inputs, recorded as runs, to calibrate a round for proven claims.

A circuit computes in fixed point, so its outputs are runs of an environment of their own. Each output is read from a statement
that was verified against the trusted lock, and only when the proof is about this model and this very input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.bundle.reader import open_bundle
from verifai.consensus.files import CIRCUIT_MACHINE
from verifai.consensus.runner import Tensors
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.consensus.job import VoteSubject
from verifai.domain.consensus.vote import Environment
from verifai.domain.digest import Sha256, short
from verifai.domain.progress import SILENT, Progress, phase
from verifai.errors import UsageError
from verifai.fingerprints.output import Output
from verifai.stages.consensus.claim import proven_output
from verifai.stages.verify import find_claims


@dataclass(frozen=True, slots=True)
class ProvenRuns:
    """What a circuit was proven to have computed.

    Attributes:
        environment: stands for the circuit: its engine, its digest, the engine's version.
        outputs: one per sample, in the order of the samples.
        proofs: the proof attestation behind each.
    """

    environment: Environment
    outputs: tuple[Output, ...]
    proofs: tuple[Sha256, ...]


def record_proofs(
    bundles: Sequence[Path],
    lock: CircuitLock,
    subject: VoteSubject,
    samples: Sequence[Tensors],
    *,
    allow_test_srs: bool = False,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> ProvenRuns:
    """What ``bundles`` prove, one per sample, in the samples' order.

    Args:
        lock: trusted; it must pin the subject's model.
        subject: which model, which of its outputs.
        samples: what the calibration will run the model on.

    Raises:
        UsageError: ``claim-count``; ``runs-mixed``, when the proofs are of more than one circuit.
        EvidenceRejected: ``claim-model``, ``claim-input``, ``input-mismatch``; whatever ``verify`` raises.
        PolicyNotMet: ``claim-hidden``, ``input-private``; ``srs-test-only`` and the like.
    """
    if len(bundles) != len(samples) or not bundles:
        raise UsageError(
            "claim-count",
            f"{len(bundles)} proofs for {len(samples)} samples",
            hint="Give one proof bundle per sample of the data, in its order; --limit takes the first samples only.",
        )
    circuits: dict[Environment, Path] = {}
    outputs: list[Output] = []
    proofs: list[Sha256] = []
    with phase(progress, "verifying proofs", len(bundles)):
        for path, sample in zip(bundles, samples, strict=True):
            with open_bundle(path) as bundle:
                identifier, output = proven_output(bundle, lock, subject, sample, allow_test_srs, budget or Budget())
                circuit, _ = find_claims(bundle)
            environment = circuit_environment(circuit.engine.value, circuit.engine_version, circuit.circuit_sha256)
            circuits.setdefault(environment, path)
            if len(circuits) > 1:
                raise UsageError(
                    "runs-mixed",
                    f"{circuits[environment]} is a proof of another circuit than {bundles[0]}",
                    hint="Record the proofs of each engine and circuit in a file of their own.",
                )
            if identifier in proofs:
                raise UsageError(
                    "claim-count",
                    f"{path} is the proof of sample {proofs.index(identifier)} again",
                    hint="An input that comes twice is no second trial: leave it out of the data.",
                )
            proofs.append(identifier)
            outputs.append(output)
            progress.advance()
    return ProvenRuns(next(iter(circuits)), tuple(outputs), tuple(proofs))


def circuit_environment(engine: str, version: str, circuit: Sha256) -> Environment:
    """A circuit in the place of a machine: what its runs are called in a calibration."""
    return Environment(CIRCUIT_MACHINE, f"{engine} {short(circuit)}", f"{engine} {version}", "proof", 1)
