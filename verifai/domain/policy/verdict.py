"""The gate's verdict as a value: per bundle, per model, and over all. Pure.

What was found of each bundle may lie on a disk, so nothing here holds more of all of them than their identities and outcomes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain

from verifai.domain.digest import Sha256, short
from verifai.domain.evaluation.shown import ShownEvaluation
from verifai.domain.findings import STATUS, Finding, Outcome, worst
from verifai.domain.on_demand import Placed, Revisited
from verifai.domain.openings import OpenedBy, repeated_openings
from verifai.domain.policy.contexts import CountedProof, not_told_apart, repeated_contexts
from verifai.domain.policy.demands import EvidenceKind, ModelDemand, Policy
from verifai.domain.policy.waiver import Scope, ScopeKind, WaivedFinding, WaiversInForce
from verifai.domain.shown import ShownTensor
from verifai.domain.utc_time import format_utc

WORDS = {0: "accepted", 1: "rejected", 3: "policy-not-met", 4: "undecided"}
"""The word for each status of a verdict."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one bundle came to, before waivers.

    Attributes:
        path: as it was named.
        bundle_id: ``None`` when it could not be read that far.
        models: the policy's models that it is about, with their pinned digests; none when none was recognised.
        shows: per kind of evidence, the identities of what it shows, of a batch one per item; equal identities count once.
        findings: one per check.
        facts: for people, such as engine, privacy, creation date.
        opened: the openings of hidden commitments that its verified proof shows; ``None`` when no proof was verified.
        words: what a verified statement hides and does not hide, in sentences.
        counted: the verified proof, where the policy counts proofs by their contexts.
        values: what a verified statement shows, in values; cut to what a report of many bundles prints.
        evaluation: a verified evaluation, as reports show it.
        seconds: how long judging took, by the clock; no part of what was judged.
    """

    path: str
    bundle_id: Sha256 | None
    models: Mapping[str, Sha256]
    findings: tuple[Finding, ...]
    shows: Mapping[EvidenceKind, tuple[Sha256, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    opened: OpenedBy | None = None
    words: tuple[str, ...] = ()
    counted: CountedProof | None = None
    values: tuple[ShownTensor, ...] = ()
    evaluation: ShownEvaluation | None = None
    seconds: float | None = field(default=None, compare=False)

    def scopes(self) -> tuple[Scope, ...]:
        """What a waiver may name to cover a finding about this bundle."""
        scopes = []
        if self.bundle_id is not None:
            scopes.append(Scope(ScopeKind.BUNDLE, self.bundle_id))
        if len(self.models) == 1:  # a waiver for one model must not lift a demand for another that the same bundle speaks for
            scopes += [Scope(ScopeKind.MODEL, pin) for pin in self.models.values()]
        return tuple(scopes)


@dataclass(frozen=True, slots=True)
class BundleVerdict:
    """One bundle, decided.

    Attributes:
        judgement: with the findings that stand.
        waived: those that a waiver covers.
        duplicate_of: path of the same bundle given before; such a bundle never counts.
    """

    judgement: Judgement
    waived: tuple[WaivedFinding, ...] = ()
    duplicate_of: str = ""

    @property
    def outcome(self) -> Outcome:
        """Of the findings that stand; accepted only when something was checked and holds."""
        return worst(self.judgement.findings)

    @property
    def accepted(self) -> bool:
        """Whether it counts as evidence."""
        return self.outcome is Outcome.HOLDS


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """One model of the policy, decided.

    Attributes:
        counted: distinct accepted pieces of evidence, per kind.
    """

    name: str
    model_sha256: Sha256
    findings: tuple[Finding, ...]
    waived: tuple[WaivedFinding, ...]
    counted: Mapping[EvidenceKind, int]

    @property
    def outcome(self) -> Outcome:
        """Of the findings that stand."""
        return worst(self.findings)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over the bundles of a verdict.

    Attributes:
        outcomes: how many came to each. given_twice: how many were given before; duplicates: those of them that are accepted.
        waived: findings that waivers cover. codes: of every finding that stands.
    """

    outcomes: Mapping[Outcome, int]
    given_twice: int = 0
    duplicates: int = 0
    waived: int = 0
    codes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The release decision.

    Attributes:
        policy_sha256: of the policy with all its anchors (:func:`effective_digest`).
        anchors: every file that the verdict rests on, with its SHA-256.
        decided: UTC.
        bundles: made anew from what was found of each whenever they are gone through.
        findings: about the policy itself: waivers that do not hold.
        tally: over the bundles.
    """

    policy: str
    policy_sha256: Sha256
    anchors: tuple[tuple[str, Sha256], ...]
    decided: str
    bundles: Sequence[BundleVerdict]
    models: tuple[ModelVerdict, ...]
    findings: tuple[Finding, ...]
    tally: Tally

    def all_findings(self) -> Revisited[Finding]:
        """Every finding that stands, in order: policy, models, bundles."""
        return Revisited(
            lambda: chain(
                self.findings,
                (finding for model in self.models for finding in model.findings),
                (finding for bundle in self.bundles for finding in bundle.judgement.findings),
            )
        )

    def all_waived(self) -> Revisited[WaivedFinding]:
        """Every finding that a waiver covers."""
        return Revisited(
            lambda: chain(
                (waived for model in self.models for waived in model.waived),
                (waived for bundle in self.bundles for waived in bundle.waived),
            )
        )

    @property
    def status(self) -> int:
        """Exit status: 1 before 3 before 4 before 0."""
        own = {worst(self.findings)} if self.findings else set()
        outcomes = {*own, *(one.outcome for one in self.models), *self.tally.outcomes}
        order = (Outcome.REJECTED, Outcome.POLICY_NOT_MET, Outcome.UNDECIDED)
        return next((STATUS[one] for one in order if one in outcomes), 0)

    @property
    def passed(self) -> bool:
        """Whether the release may go ahead."""
        return self.status == 0

    @property
    def verdict(self) -> str:
        """In one word."""
        return WORDS[self.status]


def effective_digest(policy: Policy, anchors: Iterable[tuple[str, Sha256]]) -> Sha256:
    """Digest of a policy file together with every file that it names, so that no anchor can be swapped under one digest."""
    from verifai.domain.digest import sha256

    lines = ["verifai/policy-digest/v1", policy.sha256, *(f"{digest} {name!r}" for name, digest in sorted(anchors))]
    return sha256("\n".join(lines).encode("utf-8", "backslashreplace"))


def decide(
    policy: Policy,
    pins: Mapping[str, Sha256],
    judgements: Sequence[Judgement],
    now: datetime,
    *,
    anchors: Sequence[tuple[str, Sha256]] = (),
    releases: Mapping[str, Finding] | None = None,
) -> GateVerdict:
    """Judgements, demands and waivers become one verdict.

    Args:
        pins: the pinned model digest per model name.
        judgements: in the order in which the bundles were given.
        releases: per model name, the finding about the file that is being released.
    """
    in_force = policy.waivers.at(now)
    bundles, kept, tally = _bundles(judgements, in_force)
    models = tuple(
        _model(demand, pins[demand.name], kept, in_force, (releases or {}).get(demand.name)) for demand in policy.models
    )
    return GateVerdict(
        policy.name,
        effective_digest(policy, anchors),
        tuple(sorted(anchors)),
        format_utc(now),
        bundles,
        models,
        in_force.findings,
        tally,
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of a bundle is needed to decide about models.

    Attributes:
        counts: it is accepted, and was not given before.
    """

    accepted: bool
    counts: bool
    models: tuple[str, ...]
    shows: Mapping[EvidenceKind, tuple[Sha256, ...]]
    counted: CountedProof | None


def _bundles(judgements: Sequence[Judgement], in_force: WaiversInForce) -> tuple[Sequence[BundleVerdict], list[_Kept], Tally]:
    opened, counted, places = [], [], []
    for judgement in judgements:
        opened.append(judgement.opened)
        counted.append(judgement.counted)
        places.append((judgement.bundle_id, judgement.path))
    extra = [(*one, *two) for one, two in zip(repeated_openings(opened), repeated_contexts(counted), strict=True)]
    before = _given_before(places)
    verdicts = Placed(len(places), lambda place: _decided(judgements[place], extra[place], before[place], in_force))
    kept: list[_Kept] = []
    outcomes: Counter[Outcome] = Counter()
    codes: set[str] = set()
    twice = duplicates = waived = 0
    for one in verdicts:
        judgement, outcome = one.judgement, one.outcome
        outcomes[outcome] += 1
        codes.update(finding.code for finding in judgement.findings)
        accepted = outcome is Outcome.HOLDS
        twice += bool(one.duplicate_of)
        duplicates += accepted and bool(one.duplicate_of)
        waived += len(one.waived)
        counts = accepted and not one.duplicate_of
        shows = judgement.shows if counts else {}
        kept.append(_Kept(accepted, counts, tuple(judgement.models), shows, judgement.counted if counts else None))
    return verdicts, kept, Tally(dict(outcomes), twice, duplicates, waived, frozenset(codes))


def _given_before(places: Sequence[tuple[Sha256 | None, str]]) -> list[str]:
    """For each bundle the path of the same one given before; empty for the first."""
    seen: dict[Sha256, str] = {}
    before = []
    for identifier, path in places:
        before.append("" if identifier is None else seen.get(identifier, ""))
        if identifier is not None:
            seen.setdefault(identifier, path)
    return before


def _decided(judgement: Judgement, extra: tuple[Finding, ...], before: str, in_force: WaiversInForce) -> BundleVerdict:
    stand, waived = in_force.apply((*judgement.findings, *extra), judgement.scopes())
    if not judgement.shows and worst(stand) is Outcome.HOLDS:
        # An intact container, a good signature or a waiver is no evidence about a model.
        stand = (*stand, Finding("nothing-to-check", Outcome.UNDECIDED, "no evidence was checked", where=judgement.path))
    if before:
        message = "the same bundle was given before; it counts once"
        stand = (*stand, Finding("duplicate-bundle", Outcome.NOT_CHECKED, message, where=before))
    return BundleVerdict(replace(judgement, findings=stand), waived, before)


def _model(
    demand: ModelDemand,
    pin: Sha256,
    bundles: Sequence[_Kept],
    in_force: WaiversInForce,
    release: Finding | None,
) -> ModelVerdict:
    findings = [release] if release is not None else []
    counts: list[Finding] = []
    counted: dict[EvidenceKind, int] = {}
    for kind in demand.evidence:
        needed = needed_of(demand, kind)
        shown = {found for one in bundles if _speaks(one, demand, kind) for found in one.shows[kind]}
        counted[kind] = len(shown)
        counts.append(_count(demand, kind, len(shown), needed, _others(demand, kind, bundles)))
    findings += _alternatives(counts) if demand.any_kind else counts
    counted_by_context = (one.counted for one in bundles if _speaks(one, demand, EvidenceKind.PROOF))
    findings += not_told_apart(demand.name, [one for one in counted_by_context if one is not None])
    stand, waived = in_force.apply(findings, (Scope(ScopeKind.MODEL, pin),))
    if waived and not any(finding.outcome is Outcome.HOLDS for finding in stand) and any(counted.values()):
        stand = (*stand, Finding("evidence-met", Outcome.HOLDS, f"model {demand.name!r}: what there is was accepted"))
    return ModelVerdict(demand.name, pin, stand, waived, counted)


def needed_of(demand: ModelDemand, kind: EvidenceKind) -> int:
    """How many distinct pieces of evidence of a kind a model must show."""
    if kind is EvidenceKind.PROOF and demand.proof is not None:
        return demand.proof.inferences
    if kind is EvidenceKind.TEE and demand.tee is not None:
        return demand.tee.inferences
    return 1


def _alternatives(counts: Sequence[Finding]) -> list[Finding]:
    """One kind that is met is enough; what the others lack is still told. A bundle that fails, fails by its own findings."""
    if not any(one.code == "evidence-met" for one in counts):
        return list(counts)
    told = [one for one in counts if one.code == "evidence-met"]
    lacking = (one for one in counts if one.code != "evidence-met")
    return [*told, *(Finding("evidence-alternative", Outcome.NOT_CHECKED, f"{one.message}; not needed") for one in lacking)]


def _speaks(bundle: _Kept, demand: ModelDemand, kind: EvidenceKind) -> bool:
    return bundle.counts and demand.name in bundle.models and kind in bundle.shows


def _others(demand: ModelDemand, kind: EvidenceKind, bundles: Sequence[_Kept]) -> int:
    """Bundles that failed and may have been about this model: their own findings say why they do not count."""
    return sum(not one.accepted and (not one.models or demand.name in one.models) for one in bundles)


def _count(demand: ModelDemand, kind: EvidenceKind, shown: int, needed: int, failed: int) -> Finding:
    name = demand.name
    unit = f"{kind.value} verdicts"
    if kind is EvidenceKind.PROOF:
        by_context = demand.proof is not None and demand.proof.by_context
        unit = "proofs, each under an expected context of its own," if by_context else "distinct inferences"
    if kind is EvidenceKind.TEE:
        unit = "distinct inferences attested by hardware"
    message = f"model {name!r}: {shown} of {needed} {unit} shown"
    if shown >= needed:
        return Finding("evidence-met", Outcome.HOLDS, message)
    if shown + failed >= needed:
        return Finding("evidence-failed", Outcome.NOT_CHECKED, f"{message}; the bundles that failed say why")
    if shown == 0:
        return Finding(
            "evidence-missing",
            Outcome.POLICY_NOT_MET,
            f"model {name!r}: no {kind.value} was shown",
            where=f"{name}: {kind.value}",
            remedy="`verifai gate --explain` says how to make it.",
        )
    return Finding(
        "too-few-inferences",
        Outcome.POLICY_NOT_MET,
        message,
        where=f"{name}: inferences",
        remedy="Prove more inputs; the same statement twice is one.",
    )


def summary(verdict: GateVerdict) -> str:
    """The verdict in one sentence."""
    tally = verdict.tally
    holding = tally.outcomes.get(Outcome.HOLDS, 0)
    failed = len(verdict.bundles) - holding
    met = sum(one.outcome is Outcome.HOLDS for one in verdict.models)
    parts = [
        f"{holding - tally.duplicates} of {len(verdict.bundles)} bundles accepted",
        f"{met} of {len(verdict.models)} models met",
    ]
    if failed:
        parts.append(f"{failed} failed")
    if tally.given_twice:
        parts.append(f"{tally.given_twice} given twice")
    waived = tally.waived + sum(len(one.waived) for one in verdict.models)
    if waived:
        parts.append(f"{waived} findings waived")
    own = chain(verdict.findings, *(one.findings for one in verdict.models))
    codes = tally.codes | {finding.code for finding in own}
    if "inputs-not-told-apart" in codes:
        parts.append("counted by context: hidden inputs may be the same")
    if "insecure-accepted" in codes:
        parts.append("INSECURE modes accepted by the policy")
    return f"{', '.join(parts)}; policy {verdict.policy!r} ({short(verdict.policy_sha256)})"
