"""A tolerance as data: measured, signed, dated, and valid for one subject and one runtime only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import log, sqrt
from typing import Any, ClassVar

from verifai.domain.attestation.circuit import ratio_from_record, ratio_to_json
from verifai.domain.attestation.predicate_types import CALIBRATION_TYPE
from verifai.domain.consensus.job import VoteSubject
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.utc_time import parse_utc, utc_from_record
from verifai.errors import PolicyNotMet, UsageError

SEPARATION = 10.0
"""Honest p99.9 and attack p0.1 must lie this factor apart; thresholds moved by up to 10 between instruction sets."""

RESOLUTION = 2.0**-22
"""Smallest honest distance that a tolerance is built on. Fingerprints are rounded to fp32 (2^-24 relative), so a calibration in
which all runs were bit-exact would otherwise give a tolerance of zero."""

_MAX_DISTANCE = 1e9


@dataclass(frozen=True, slots=True)
class HonestRuns:
    """Distances between honest runs in one environment and the reference.

    Attributes:
        environment: a name, such as ``avx2 threads=2``.
        environment_id: digest of the environment.
        inputs: independent inputs; pairs of the same input are not independent, so this is the number that counts.
        high: p99.9 of the distances. largest: their maximum.
        false_rejects: inputs rejected in this environment by the tolerance that all *other* environments give.
    """

    environment: str
    environment_id: Sha256
    inputs: int
    high: float
    largest: float
    false_rejects: int

    def to_json(self) -> dict[str, Any]:
        """Integers and strings only."""
        return {
            "environment": self.environment,
            "environment_id": self.environment_id,
            "inputs": self.inputs,
            "high": ratio_to_json(self.high),
            "largest": ratio_to_json(self.largest),
            "false_rejects": self.false_rejects,
        }

    @classmethod
    def from_record(cls, record: Record) -> HonestRuns:
        """The inverse of :meth:`to_json`, strict."""
        runs = cls(
            record.text("environment", max_length=128),
            record.sha256("environment_id"),
            record.integer("inputs", low=1, high=10**9),
            _distance(record, "high"),
            _distance(record, "largest"),
            record.integer("false_rejects", low=0, high=10**9),
        )
        record.done()
        return runs


@dataclass(frozen=True, slots=True)
class AttackRuns:
    """Distances between an attack and the honest reference.

    Attributes:
        name: such as ``weight-noise-1e-3``.
        inputs: independent inputs.
        low, median, high: p0.1, p50 and p99.9 of the distances: the attack's signature.
        accepted: inputs on which the tolerance does not tell it from honest runs.
    """

    name: str
    inputs: int
    low: float
    median: float
    high: float
    accepted: int

    def to_json(self) -> dict[str, Any]:
        """Integers and strings only."""
        return {
            "name": self.name,
            "inputs": self.inputs,
            "low": ratio_to_json(self.low),
            "median": ratio_to_json(self.median),
            "high": ratio_to_json(self.high),
            "accepted": self.accepted,
        }

    @classmethod
    def from_record(cls, record: Record) -> AttackRuns:
        """The inverse of :meth:`to_json`, strict."""
        runs = cls(
            record.text("name", max_length=128),
            record.integer("inputs", low=1, high=10**9),
            _distance(record, "low"),
            _distance(record, "median"),
            _distance(record, "high"),
            record.integer("accepted", low=0, high=10**9),
        )
        record.done()
        return runs


@dataclass(frozen=True, slots=True)
class Calibration:
    """``urn:verifai:calibration:v1``.

    Attributes:
        runtime: name and version of the runtime that was measured; another one voids the artifact.
        tau: the tolerance, in the fingerprint's distance.
        honest: one per environment, at least three.
        attacks: one per attack of the suite; none that is missing here is covered.
        false_reject_high: upper end of the 95 % Clopper–Pearson interval of the false-reject rate, inputs as trials, in the
            environments left out.
        honest_interval: 95 % bootstrap interval of the honest p99.9, resampled by input.
    """

    TYPE: ClassVar[str] = CALIBRATION_TYPE

    subject: VoteSubject
    runtime: str
    tau: float
    honest: tuple[HonestRuns, ...]
    attacks: tuple[AttackRuns, ...]
    false_reject_high: float
    honest_interval: tuple[float, float]
    created: str
    expires: str

    def parents(self) -> tuple[Sha256, ...]:
        """None: it stands at the beginning of a chain."""
        return ()

    @property
    def honest_high(self) -> float:
        """Largest p99.9 over the environments."""
        return max(one.high for one in self.honest)

    @property
    def attack_low(self) -> float:
        """Smallest p0.1 over the attacks."""
        return min(one.low for one in self.attacks)

    def nearest_attack(self, distance: float) -> AttackRuns | None:
        """The attack whose band holds ``distance``, by closeness of its median on a log scale; else the one nearest to it.

        ``None`` for a distance of zero, which looks like no attack.
        """
        if distance <= 0 or not self.attacks:
            return None

        def apart(one: AttackRuns) -> tuple[bool, float]:
            inside = one.low <= distance <= one.high
            return (not inside, abs(log(distance / max(one.median, 1e-300))))

        return min(self.attacks, key=apart)

    def require_valid(self, subject: VoteSubject, runtime: str, now: datetime) -> Calibration:
        """This calibration, once it is known to hold for a job.

        Raises:
            PolicyNotMet: ``calibration-subject``, ``calibration-runtime`` or ``calibration-expired``.
        """
        if self.subject != subject:
            theirs, ours = self.subject.to_json(), subject.to_json()
            fields = ", ".join(name for name in ours if ours[name] != theirs.get(name))
            raise PolicyNotMet(
                "calibration-subject",
                "the calibration is for another subject",
                where=fields,
                hint="Run: `verifai calibrate MODEL DATA -o FILE`",
            )
        if self.runtime != runtime:
            raise PolicyNotMet(
                "calibration-runtime",
                f"the calibration was measured with {self.runtime}, the job runs with {runtime}",
                hint="A new runtime is a new distribution of rounding errors: calibrate again.",
            )
        if not parse_utc(self.created) <= now < parse_utc(self.expires):
            raise PolicyNotMet(
                "calibration-expired",
                f"the calibration holds from {self.created} to {self.expires}",
                hint="Calibrate again.",
            )
        return self

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only; ratios are exact."""
        return {
            "subject": self.subject.to_json(),
            "runtime": self.runtime,
            "tau": ratio_to_json(self.tau),
            "honest": [one.to_json() for one in self.honest],
            "attacks": [one.to_json() for one in self.attacks],
            "false_reject_high": ratio_to_json(self.false_reject_high),
            "honest_interval": [ratio_to_json(value) for value in self.honest_interval],
            "created": self.created,
            "expires": self.expires,
        }

    @classmethod
    def from_record(cls, record: Record) -> Calibration:
        """The inverse of :meth:`to_json`, strict. A tolerance that its own figures do not give is refused."""
        interval = record.take("honest_interval")
        if not isinstance(interval, list) or len(interval) != 2:
            raise record.refuse("expected two ratios", "honest_interval")
        pair = Record({"low": interval[0], "high": interval[1]}, f"{record.where}.honest_interval")
        found = cls(
            subject=VoteSubject.from_record(record.table("subject")),
            runtime=record.text("runtime", max_length=128),
            tau=_distance(record, "tau"),
            honest=tuple(HonestRuns.from_record(item) for item in record.tables("honest", max_length=256)),
            attacks=tuple(AttackRuns.from_record(item) for item in record.tables("attacks", max_length=256)),
            false_reject_high=_distance(record, "false_reject_high"),
            honest_interval=(_distance(pair, "low"), _distance(pair, "high")),
            created=utc_from_record(record, "created"),
            expires=utc_from_record(record, "expires"),
        )
        record.done()
        if len(found.honest) < 3 or not found.attacks:
            raise record.refuse("a calibration has at least three environments and one attack")
        if tolerance(found.honest_high, found.attack_low) != found.tau:
            raise record.refuse("the tolerance is not the one that the figures give", "tau")
        if parse_utc(found.created) >= parse_utc(found.expires):
            raise record.refuse("it expires before it was made", "expires")
        return found


def tolerance(honest_high: float, attack_low: float) -> float:
    """τ: the geometric mean of the honest p99.9 and the weakest attack's p0.1.

    Raises:
        PolicyNotMet: ``not-separable``, when they are less than ten times apart.
    """
    if honest_high < 0 or attack_low < 0:
        raise UsageError("not-separable", "a distance is not negative")
    floor = max(honest_high, RESOLUTION)
    if attack_low < SEPARATION * floor:
        raise PolicyNotMet(
            "not-separable",
            f"honest runs reach {floor:.3g} and the weakest attack starts at {attack_low:.3g}: "
            f"{attack_low / floor:.1f} times apart, {SEPARATION:g} are needed",
            hint="Use a more portable precision class (see the portability check), more projections, or drop that attack "
            "from the suite and say that it is not covered.",
        )
    return sqrt(floor * attack_low)


def _distance(record: Record, name: str) -> float:
    value = ratio_from_record(record, name)
    if value > _MAX_DISTANCE:
        raise record.refuse("the distance is too large", name)
    return float(value)
