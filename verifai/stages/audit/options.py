"""What an auditor gives to an audit beside the bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from verifai.domain.circuit_spec import Budget
from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.progress import SILENT, Progress
from verifai.stages.origin import HeldRelease
from verifai.stages.verify import Expectations


@dataclass(frozen=True)
class AuditOptions:
    """What an auditor gives beside bundle and trust file.

    Attributes:
        expect: plain tensors and context to match, as for verify. Inputs are also what the float model runs on.
        data: the pin of the data set that an evaluation must be of.
        max_spread_error: the largest error, in spreads of the output, of a circuit that is still its model's; ``None`` for
            :data:`~verifai.domain.fidelity.POOR_BEYOND`.
        rederive: whether to rebuild the verification key, at about the cost of one set-up.
        log: the audit log's own file, or a copy: then the checkpoint in the bundle is compared with the whole tree.
        seen: an older checkpoint of the log, which must be a prefix of ``log``.
        evm: whether to put the proof to a second verifier as well, where the engine offers one (ezkl: the Solidity contract).
        setup_material: further places (files or folders) with SRS files, for the re-derivation.
        now: UTC; by default the clock.
        release: the signed release, where the auditor holds it: then the model, and from it the circuit, is made again.
    """

    expect: Expectations = field(default_factory=Expectations)
    data: DataLock | None = None
    rederive: bool = True
    evm: bool = False
    max_spread_error: float | None = None
    log: Path | None = None
    seen: Path | None = None
    setup_material: tuple[Path, ...] = ()
    now: str | None = None
    release: HeldRelease | None = None
    budget: Budget = field(default_factory=Budget)
    progress: Progress = SILENT
