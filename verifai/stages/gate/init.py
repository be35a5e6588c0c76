"""gate-init: a policy that some good bundles meet, as a start to make stricter."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from verifai.bundle.find import find_distinct
from verifai.bundle.reader import open_bundle
from verifai.circuit_folder import read_lock, read_toml
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.digest import Sha256, short
from verifai.domain.fidelity import DEFAULT_FLOORS, Fidelity, FidelityFloor, Task
from verifai.domain.findings import Outcome
from verifai.domain.policy.demands import PRIVACY_OF, PRIVACY_ORDER, PrivacyLevel, SrsLevel
from verifai.domain.statement import EngineName, Statement
from verifai.domain.trust import Trust, TrustRole, parse_trust
from verifai.engines.interface import SectionSummary
from verifai.engines.registry import engine_for
from verifai.errors import PolicyNotMet, UsageError
from verifai.execution.files import place_file, refuse_odd_target, temporary_name, write_new
from verifai.execution.outputs import check_replaced
from verifai.stages.evidence import inference_digests, shows_inputs
from verifai.stages.gate.gate import gate
from verifai.stages.gate.load import load_policy
from verifai.stages.gate.proof import srs_level
from verifai.stages.verify import Expectations, VerifiedBundle, find_claims, verify_bundle


@dataclass(frozen=True)
class WrittenPolicy:
    """A policy file that was written.

    Attributes:
        digest: of the policy with all anchors.
        warnings: what its reader should know before using it.
        missed: what the bundle's circuit lacks of the default floor that the policy asks for, a sentence each; none when the
            bundle meets the policy.
    """

    path: Path
    model: str
    digest: Sha256
    warnings: tuple[str, ...]
    missed: tuple[str, ...] = ()


def init_policy(
    bundles: Sequence[Path], output: Path, *, lock: Path | None, trust: Path | None, force: bool, now: datetime
) -> WrittenPolicy:
    """Verify ``bundles`` against ``lock`` and write a policy at ``output`` that they meet, if their circuit is near its model.

    The floors under its fidelity are the task's default ones. A circuit below them gets the policy all the same, and is told:
    a draft that asks for no more than a bad circuit has would let its releases through.

    Args:
        bundles: bundle folders, single-file bundles, or folders of either; all about one model.
        lock: the trust anchor; by default the one lock below ``circuits/`` that pins the first bundle's model.
        now: the clock, with its zone.

    Raises:
        UsageError: ``file-exists``; ``no-lock`` when no lock is given and none, or more than one, fits.
        EvidenceRejected, Undecided: a bundle does not hold.
        PolicyNotMet: one does not meet what the trust file asks for.
    """
    if os.path.lexists(output) and not force:
        raise UsageError("file-exists", "there is a policy already", where=str(output), hint="Pass --force to write over it.")
    refuse_odd_target(output)
    check_replaced(output, "a policy")
    paths = find_distinct(bundles).paths
    lock_path = lock if lock is not None else _find_lock(paths[0])
    pinned = read_lock(lock_path)
    verified = verify_bundle(paths[0], pinned, Expectations(allow_test_srs=True))
    # What the others say of themselves shapes the draft only: the gate below verifies every one of them.
    shown = Shown((verified.statement, *(_claimed(path, pinned) for path in paths[1:])))
    engine = verified.statement.engine
    summary = engine_for(engine).summarise(pinned.section(engine))
    trusted = None if trust is None else parse_trust(read_toml(trust, code="bad-trust"), str(trust))
    signatures = 0 if trusted is None else min(_release_signatures(path, trusted) for path in paths)
    text = _policy(verified, shown, pinned, summary, output, lock_path, trust, trusted, signatures)
    draft = output.with_name(temporary_name(output))
    write_new(draft, text.encode())
    try:
        loaded = load_policy(draft)
        verdict = gate(loaded, paths, now=now, jobs=1 if len(paths) == 1 else None)
        bad = [one for one in verdict.all_findings() if one.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)]
        missed = tuple(dict.fromkeys(one.message for one in bad if one.code == "fidelity-below-floor"))
        first = next((one for one in bad if one.code not in ("fidelity-below-floor", "evidence-failed")), None)
        if first is not None:
            raise PolicyNotMet(first.code, first.message, where=first.where, hint=first.remedy)
        if force:
            draft.replace(output)
        else:
            place_file(draft, output)
    finally:
        draft.unlink(missing_ok=True)
    return WrittenPolicy(output, pinned.name, loaded.digest, (*_warnings(summary, signatures), *shown.warnings()), missed)


@dataclass(frozen=True)
class Shown:
    """What the statements of the bundles given come to together."""

    statements: tuple[Statement, ...]

    @property
    def distinct(self) -> int:
        """How many a gate tells apart."""
        return len({found for one in self.statements for found in inference_digests(one)})

    @property
    def inferences(self) -> int:
        """How many they claim."""
        return sum(one.inferences for one in self.statements)

    @property
    def engines(self) -> list[EngineName]:
        """Those that made them, in the order of appearance."""
        return list(dict.fromkeys(one.engine for one in self.statements))

    @property
    def privacy(self) -> PrivacyLevel:
        """The least that any of them hides."""
        return min((PRIVACY_OF[one.privacy] for one in self.statements), key=PRIVACY_ORDER.index)

    @property
    def prefix(self) -> str:
        """What is in front of the number, where all contexts are a text, ``#`` and six digits; else empty."""
        found = [re.fullmatch(r"(.*[^#]#)[0-9]{6}", one.context, flags=re.DOTALL) for one in self.statements]
        prefixes = {match[1] if match else "" for match in found}
        return prefixes.pop() if len(prefixes) == 1 else ""

    def warnings(self) -> tuple[str, ...]:
        """What hidden inputs mean for the number of inferences."""
        if all(shows_inputs(one) for one in self.statements):
            return ()
        equal = "equal outputs make equal statements, which count once"
        if self.inferences == 1:
            return (f"The statement does not show its input: {equal}. docs/gate.md says how private inferences are counted.",)
        if self.distinct == self.inferences:
            return ()
        what = f"{len(self.statements)} bundles" if self.inferences == len(self.statements) else f"{self.inferences} inferences"
        told = f"{what} show {self.distinct} distinct statements: their inputs are hidden, and {equal}."
        return (f"{told} docs/gate.md says how private inferences can be counted by context, and what that does not show.",)


def _claimed(path: Path, lock: CircuitLock) -> Statement:
    with open_bundle(path) as opened:
        statement = find_claims(opened)[1].statement
    if statement.batch and any(one.quantised_sha256 is not None for one in statement.tensors):
        # Its items, which are to be counted, are in the proof's files alone.
        return verify_bundle(path, lock, Expectations(allow_test_srs=True)).statement
    return statement


def _find_lock(bundle: Path) -> Path:
    with open_bundle(bundle) as opened:
        model = find_claims(opened)[0].model_sha256
    found = [path for path in sorted(Path("circuits").glob("*/circuit.lock")) if read_lock(path).model_sha256 == model]
    if len(found) != 1:
        which = "none of" if not found else "more than one of"
        raise UsageError(
            "no-lock",
            f"{which} the locks below circuits/ pins model {short(model)}",
            where="--lock",
            hint="Name the circuit.lock that you trust: --lock FILE.",
        )
    return found[0]


def _release_signatures(bundle: Path, trust: Trust) -> int:
    rule = trust.roles.get(TrustRole.RELEASE)
    if rule is None:
        return 0
    with open_bundle(bundle) as opened:
        return len(opened.check_signatures(rule.keys).signers)


def _warnings(summary: SectionSummary, signatures: int) -> tuple[str, ...]:
    warnings = [f"INSECURE: the policy accepts mode {mode!r}, because the bundle was made in it." for mode in summary.insecure]
    if not signatures:
        warnings.append("The policy asks for no signature: it says what was proven, not by whom or when.")
    if summary.fidelity.task is None:
        warnings.append(
            "The lock pins no error in spreads of the output, so the policy asks for no more than this circuit reached: "
            "compile again, and draft the policy anew."
        )
    return tuple(warnings)


def _policy(
    verified: VerifiedBundle,
    shown: Shown,
    lock: CircuitLock,
    summary: SectionSummary,
    output: Path,
    lock_path: Path,
    trust_path: Path | None,
    trust: Trust | None,
    signatures: int,
) -> str:
    level = srs_level(summary)
    modes = [mode for mode in summary.insecure if level is not SrsLevel.TEST or mode != "test-srs"]
    dated = trust is not None and bool({TrustRole.RELEASE, TrustRole.PROVER} & set(trust.roles))
    logged = trust is not None and trust.log is not None and trust.log.required
    insecure = "# INSECURE: the maker of a test set-up can forge proofs. Good for trying things out, never for a release.\n"
    lines = [
        "# What a release of this model must show. `verifai gate --explain` says it in words; review it like code.",
        "# Every bundle given to the gate must hold, and every model named here must have shown its evidence.",
        'schema = "verifai/policy/v1"',
        'name = "release"',
        "# Whose keys count, and which audit log: see `verifai trust init`.",
        f"trust = {_text(_relative(trust_path, output))}" if trust_path is not None else '# trust = "trust.toml"',
        "",
        "[[model]]",
        f"name = {_text(lock.name)}",
        f"# The trust anchor: it pins model {lock.model_sha256[:16]}… and its circuit.",
        f"lock = {_text(_relative(lock_path, output))}",
        "# The file that is being released; it must be the pinned model, byte for byte.",
        '# release = "dist/model.onnx"',
        '# Each of these kinds must be shown: "proof", "consensus", "gate".',
        'evidence = ["proof"]',
        "# How old evidence may be. The date is the signer's, so a trusted key has to sign it.",
        'max_age = "30d"' if dated else '# max_age = "30d"',
        "# Distinct trusted release keys that must have signed the bundle.",
        f"signatures = {signatures}",
        "# Whether the trusted audit log must hold the evidence.",
        f"log = {str(logged).lower()}",
        "",
        "[model.proof]",
        f"engines = {json.dumps([one for one in shown.engines if one in lock.engines])}",
        "# Distinct inferences that must be shown; the same statement twice is one.",
        f"inferences = {shown.distinct}",
        '# Least privacy: "integrity-only", "zero-knowledge-unaudited" or "zero-knowledge".',
        f"privacy = {_text(shown.privacy.value)}",
        '# Least trust in the set-up: "test", "ceremony" or "transparent".',
        f"{insecure if level is SrsLevel.TEST else ''}srs = {_text(level.value)}",
        *([f"# INSECURE modes accepted by name.\ninsecure = {json.dumps(modes)}"] if modes else []),
        "# A text, such as a release's name, that every statement must carry; it keeps old proofs from being shown again.",
        '# context = "release-1.0"',
        "# Or one of its own for each: this text and a number of six digits, from 0 (`prove --context-per-sample`).",
        f"# contexts = {_text(shown.prefix or 'release-1.0#')}",
        "# Count by these contexts, where inputs are hidden. It shows a proof per number, not that the inputs differ.",
        '# distinct = "contexts"',
        "",
        "# Floors under the figures that the lock pins, never under those that the bundle claims.",
        "[model.fidelity]",
        *_fidelity(summary.fidelity),
        "",
        *_WAIVER,
        f'# scope = "bundle:{verified.bundle_id}"',
    ]
    return "\n".join(lines) + "\n"


_WAIVER = (
    "# A waiver lifts one demand on one digest until a date. False or missing evidence is never waived.",
    "# [waivers]",
    "# max_days = 90",
    '# approvers = ["alice@example.org"]',
    "# [[waiver]]",
    '# id = "W-1"',
    '# code = "stale"',
    '# reason = "The proving machine is being replaced; see ticket 42."',
    '# approver = "alice@example.org"',
    '# expires = "2027-01-31T00:00:00Z"',
)


def default_floor(fidelity: Fidelity) -> FidelityFloor:
    """What a policy asks of any circuit of this kind, whatever this one reached: one that it drafted from the figures of a bad
    circuit would be met by it."""
    task = fidelity.task or (Task.REGRESSION if fidelity.top1_matches is None else Task.CLASSIFICATION)
    floor = DEFAULT_FLOORS[task]
    return FidelityFloor(
        top1_agreement=None if fidelity.top1_matches is None else floor.top1_agreement,
        spread_error=None if fidelity.spread_error is None else floor.spread_error,
        perplexity_ratio=None if fidelity.language is None or fidelity.language.ratio is None else floor.perplexity_ratio,
    )


def _fidelity(fidelity: Fidelity) -> list[str]:
    floor, lines = default_floor(fidelity), []
    if floor.top1_agreement is not None and fidelity.top1_agreement is not None:
        # What was reached where that is more, rounded down so that the pinned figure meets it.
        reached = math.floor(10_000 * fidelity.top1_agreement) / 10_000
        lines.append(f"top1_agreement = {max(reached, floor.top1_agreement)!r}")
    if floor.perplexity_ratio is not None:
        lines.append(f"perplexity_ratio = {floor.perplexity_ratio!r}")
    if floor.spread_error is not None:
        lines.append(f"spread_error = {floor.spread_error!r}")
    elif fidelity.task is None or fidelity.top1_matches is None:
        digits = 10.0 ** (2 - math.floor(math.log10(fidelity.max_abs_error))) if fidelity.max_abs_error > 0 else 1.0
        lines.append("# Only what this circuit reached: the lock pins no error in spreads of the output to ask for.")
        lines.append(f"max_abs_error = {math.ceil(fidelity.max_abs_error * digits) / digits!r}")
    lines.append(f"samples = {fidelity.samples}")
    return lines


def _relative(path: Path, output: Path) -> str:
    return Path(os.path.relpath(path, output.parent)).as_posix()


def _text(text: str) -> str:
    # A JSON string is a TOML basic string as well, once it is ASCII.
    return json.dumps(text, ensure_ascii=True)
