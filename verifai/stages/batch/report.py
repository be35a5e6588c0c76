"""How a batch is asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.domain.proof_index import ProofIndex, SampleStatus
from verifai.domain.statement import EngineName
from verifai.domain.trust_keys import Signer
from verifai.domain.workforce import ALONE, Workforce
from verifai.engines.capabilities import OutsideInput
from verifai.engines.interface import TensorSecret
from verifai.errors import VerifaiError
from verifai.stages.ready import ProvedBundle


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is proven; the fields that :func:`verifai.stages.prove.prove` has as well mean the same.

    Attributes:
        context_per_sample: whether each statement gets a context of its own: ``context``, ``#`` and the sample's number in six
            digits, or without a context the number alone.
        workforce: how many samples are proven at once, and where.
        renew_roots: whether a fresh root of hidden weights is made when the openings of all others are spent.
        keep_going: whether samples that cannot be represented are left out, and a sample that fails does not end the run.
        resume: whether to continue what an earlier run in the same folder began.
    """

    engine: EngineName | None = None
    context: str = ""
    context_per_sample: bool = False
    signers: Sequence[Signer] = ()
    threads: int | None = None
    workforce: Workforce = ALONE
    max_memory: int | None = None
    keep_outputs: bool = False
    input_secrets: Sequence[Mapping[str, TensorSecret]] = ()
    renew_roots: bool = False
    keep_going: bool = False
    resume: bool = False


@dataclass(frozen=True)
class BatchReport:
    """What became of a batch.

    Attributes:
        folder, index_path: of bundles and index.
        index: every sample that was tried, in this run or an earlier one.
        made: the bundles of this run, by row.
        outside: what the circuit could not represent.
        problems: why samples failed in this run, by row.
        seconds: of the whole run.
        hides_inputs: whether the circuit has an input that its statements do not show.
        batch: how many samples a bundle takes; 0 where it takes one. Rows of the index are bundles.
        samples: how many were given.
    """

    folder: Path
    index_path: Path
    index: ProofIndex
    made: tuple[ProvedBundle, ...]
    outside: tuple[OutsideInput, ...]
    problems: Mapping[int, VerifaiError]
    seconds: float
    hides_inputs: bool
    batch: int = 0
    samples: int = 0

    @property
    def earlier(self) -> int:
        """How many samples an earlier run had proven."""
        return len(self.index.of(SampleStatus.PROVEN)) - len(self.made)

    @property
    def distinct(self) -> int:
        """How many of the proven inferences a gate can tell apart by their statements."""
        return len({row.statement_sha256 for row in self.index.of(SampleStatus.PROVEN)})

    @property
    def status(self) -> int:
        """The exit status: a bug, then 1 before 3 before 4 before 2; 0 when every sample is proven."""
        found = {problem.status for problem in self.problems.values()} | ({2} if self.outside else set())
        return next((status for status in (70, 1, 3, 4, 2) if status in found), 0)

    def totals(self) -> dict[str, Any]:
        """Figures over all samples: seconds and bytes are those of this run."""
        rows = {bundle.index for bundle in self.made}
        more: dict[str, Any] = {}
        if self.batch:
            proven = sum(row.inferences for row in self.index.of(SampleStatus.PROVEN))
            more = {"samples": self.samples, "skipped": len({one.row for one in self.outside}), "batch": self.batch}
            more |= {"bundles": self.index.header.samples, "inferences": proven}
        return {
            "samples": self.index.header.samples,
            "proven": len(self.made),
            "proven_earlier": self.earlier,
            "failed": len(self.index.of(SampleStatus.FAILED)),
            "skipped": len(self.index.of(SampleStatus.REFUSED)),
            "distinct_statements": self.distinct,
            "seconds": round(self.seconds, 3),
            "bytes": sum(row.size for row in self.index.of(SampleStatus.PROVEN) if row.row in rows),
            **more,
        }
