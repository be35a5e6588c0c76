"""Reading a policy file strictly: every field typed, every unknown one refused, with its line."""

from __future__ import annotations

import re
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from verifai.domain.digest import Sha256, is_sha256, sha256
from verifai.domain.foreign import other_than
from verifai.domain.generation import Ending
from verifai.domain.our_files import require_schema
from verifai.domain.policy.demands import (
    DEFAULT_SKEW_SECONDS,
    SCHEMA,
    ConsensusDemand,
    ContextsDemand,
    Distinct,
    EvidenceKind,
    FidelityDemand,
    GateDemand,
    ModelDemand,
    Policy,
    PrivacyLevel,
    ProofDemand,
    SrsLevel,
    TeeDemand,
)
from verifai.domain.policy.evaluation import EvaluationDemand, evaluation_from_record
from verifai.domain.policy.lines import line_of
from verifai.domain.policy.waiver import parse_waivers
from verifai.domain.provenance import Derivation, ProvenanceDemand
from verifai.domain.record import Record
from verifai.domain.statement import MAX_CONTEXT, EngineName
from verifai.domain.toml import parse_toml
from verifai.domain.unicode_14 import is_printable
from verifai.errors import UsageError

MAX_MODELS = 256
MAX_NUMBERS = 10**6
"""Numbers of six digits."""
_NAME = r"[a-z0-9][a-z0-9-]{0,63}"
_DURATION = re.compile(r"([1-9][0-9]{0,5})(min|h|d)")
_SECONDS = {"min": 60, "h": 3600, "d": 86400}

K = TypeVar("K", bound=StrEnum)


def parse_policy(data: bytes, where: str) -> Policy:
    """Read a policy file.

    Args:
        data: the file's bytes.
        where: its path, for messages.

    Raises:
        UsageError: ``bad-policy`` with line and field; ``empty-policy`` when it demands nothing of any model.
    """
    try:
        document = parse_toml(data)
    except ValueError as problem:
        message, hint = other_than("TOML", data, str(problem))
        raise UsageError("bad-policy", message, where=where, hint=hint) from None
    text = data.decode("utf-8-sig")

    def place(field: str) -> str:
        field = field.removeprefix("policy").removeprefix(".")
        line = line_of(text, field) if field else 0
        return (f"{where}:{line}" if line else where) + (f": {field}" if field else "")

    try:
        policy = _policy(document, sha256(data))
    except UsageError as problem:
        raise UsageError(problem.code, problem.message, where=place(problem.where), hint=problem.hint) from None
    bad = tuple(replace(finding, where=place(finding.where)) for finding in policy.waivers.bad)
    return replace(policy, waivers=replace(policy.waivers, bad=bad))


def _policy(document: dict[str, Any], digest: Sha256) -> Policy:
    root = Record(document, "policy", error=UsageError, code="bad-policy")
    if document.get("schema") not in (SCHEMA, None) or "circuit" in document:
        require_schema(root, SCHEMA)
    if not document or not document.get("model"):
        raise UsageError(
            "empty-policy",
            "the policy demands nothing of any model",
            where="policy",
            hint="Write one that does with: `verifai gate-init BUNDLE --lock circuit.lock`",
        )
    require_schema(root, SCHEMA)
    models = tuple(_model(item) for item in root.tables("model", max_length=MAX_MODELS))
    policy = Policy(
        name=root.text("name", "release", max_length=100),
        sha256=digest,
        models=models,
        trust=root.text("trust", None, max_length=1024),
        waivers=parse_waivers(root),
    )
    root.done()
    if not is_printable(policy.name):
        raise root.refuse("control characters", "name")
    for index, model in enumerate(models):
        if model.name in [other.name for other in models[:index]]:
            raise root.refuse(f"two models are named {model.name!r}", f"model[{index}].name")
        if policy.trust is None:
            _refuse_without_trust(root, model, f"model[{index}]")
    return policy


def _refuse_without_trust(root: Record, model: ModelDemand, place: str) -> None:
    needs = {
        "signatures": model.signatures > 0,
        "log": model.log,
        "consensus": model.consensus is not None,
        "gate": model.gate is not None,
        "tee": model.tee is not None,
        "provenance": model.provenance is not None,
    }
    for field, needed in needs.items():
        if needed:
            raise root.refuse(
                "this demand needs keys or hardware to trust, and both come from a trust file",
                f"{place}.{field}",
                hint='Name one at the top of the policy: trust = "trust.toml"',
            )


def _model(record: Record) -> ModelDemand:
    evidence = _choices(record, "evidence", EvidenceKind)
    for kind in EvidenceKind:
        if record.has(kind.value) and kind not in evidence:
            raise record.refuse(f"[{kind.value}] is described, but `evidence` does not ask for it", kind.value)
    if record.has("fidelity") and not {EvidenceKind.PROOF, EvidenceKind.EVALUATION} & set(evidence):
        raise record.refuse('fidelity is a figure of circuits, so it needs evidence = ["proof"]', "fidelity")
    any_kind = record.text("evidence_needed", "all", pattern="all|any") == "any"
    if any_kind and len(evidence) < 2:
        raise record.refuse("one kind is no choice; name two or more in `evidence`", "evidence_needed")
    evaluation, evaluation_proofs = _evaluation(record) if EvidenceKind.EVALUATION in evidence else (None, None)
    demand = ModelDemand(
        name=record.text("name", pattern=_NAME),
        lock=record.text("lock", max_length=1024),
        evidence=evidence,
        release=record.text("release", None, max_length=1024),
        proof=_proof(record.table("proof")) if EvidenceKind.PROOF in evidence else None,
        consensus=_consensus(record.table("consensus", {})) if EvidenceKind.CONSENSUS in evidence else None,
        gate=_gate(record.table("gate")) if EvidenceKind.GATE in evidence else None,
        tee=_tee(record.table("tee", {})) if EvidenceKind.TEE in evidence else None,
        evaluation=evaluation,
        evaluation_proofs=evaluation_proofs,
        fidelity=_fidelity(record.table("fidelity", {})),
        max_age_seconds=_duration(record, "max_age", None),
        skew_seconds=_duration(record, "clock_skew", DEFAULT_SKEW_SECONDS) or 0,
        signatures=record.integer("signatures", 0, low=0, high=64),
        log=record.flag("log", False),
        any_kind=any_kind,
        provenance=_provenance(record, evidence, any_kind=any_kind) if record.has("provenance") else None,
    )
    record.done()
    if demand.skew_seconds > 86400:
        raise record.refuse("more than a day ahead is no clock skew", "clock_skew")
    return demand


def _provenance(record: Record, evidence: tuple[EvidenceKind, ...], *, any_kind: bool) -> ProvenanceDemand:
    if EvidenceKind.PROOF not in evidence or any_kind:
        message = 'it is about the circuit of a proof, so a proof must be needed: evidence = ["proof"]'
        raise record.refuse(message, "provenance")
    found = record.table("provenance")
    one = found.take("signed_by", None)
    names = (found.text("signed_by", max_length=255),) if isinstance(one, str) else found.texts("signed_by", max_length=64)
    if not names or len(set(names)) != len(names):
        raise found.refuse("expected at least one name of [[model_signers]], each once", "signed_by")
    demand = ProvenanceDemand(
        signed_by=names,
        derivation=found.choice("derivation", Derivation, Derivation.ATTESTED.value),
        files=found.text("files", None, max_length=1024),
        signature=found.text("signature", None, max_length=1024),
        circuit=found.text("circuit", None, max_length=1024),
    )
    found.done()
    if demand.files is None:
        for name in ("signature", "circuit"):
            if getattr(demand, name) is not None:
                raise found.refuse("it goes with `files`", name)
        if demand.derivation is Derivation.REDERIVED:
            hint = 'Write: files = "FOLDER", the release as its signer published it.'
            raise found.refuse("nothing can be derived here without the release", "derivation", hint)
    return demand


def _proof(record: Record) -> ProofDemand:
    demand = ProofDemand(
        engines=_choices(record, "engines", EngineName),
        inferences=record.integer("inferences", 1, low=1, high=10**6),
        privacy=record.choice("privacy", PrivacyLevel, PrivacyLevel.ZERO_KNOWLEDGE.value),
        srs=record.choice("srs", SrsLevel, SrsLevel.CEREMONY.value),
        insecure=record.texts("insecure", (), max_length=16),
        context=record.text("context", None),
        answers=record.flag("answers", False),
        answers_end=record.choice("answers_end", Ending) if record.has("answers_end") else None,
    )
    if demand.answers_end is not None and not demand.answers:
        raise record.refuse("it goes with `answers`", "answers_end", hint="Write: answers = true")
    demand = replace(demand, contexts=_contexts(record, demand))
    record.done()
    return demand


def _contexts(record: Record, demand: ProofDemand) -> ContextsDemand | None:
    """``contexts``, ``context_numbers`` and ``distinct``: refused where they could not be met, or would show nothing."""
    counts = record.choice("distinct", Distinct, Distinct.STATEMENTS.value) is Distinct.CONTEXTS
    prefix = record.text("contexts", None, max_length=MAX_CONTEXT - 6)
    default = demand.inferences if counts else MAX_NUMBERS
    numbers = record.integer("context_numbers", default, low=1, high=MAX_NUMBERS)
    if prefix is None:
        idle = "distinct" if counts else "context_numbers" if record.has("context_numbers") else ""
        if idle:
            message = "no contexts are expected, and a context that the prover alone chose shows nothing"
            raise record.refuse(message, idle, hint='Say which ones are expected: contexts = "release-1#"')
        return None
    if not re.fullmatch(r".*[^#]#", prefix):
        raise record.refuse(
            "expected a text that ends in one '#': the number follows", "contexts", hint='Write: contexts = "release-1#"'
        )
    if demand.context is not None:
        raise record.refuse("one context for all, and one of its own for each: only one of the two can be met", "contexts")
    if numbers < demand.inferences and counts:
        raise record.refuse(f"{demand.inferences} inferences cannot bear {numbers} contexts, each once", "context_numbers")
    if counts and len(demand.engines) > 1:
        raise record.refuse(
            "with several engines one context could be counted once for each", "distinct", hint="Allow one engine."
        )
    return ContextsDemand(prefix, numbers, counts)


def _evaluation(model: Record) -> tuple[EvaluationDemand, ProofDemand]:
    """Metrics, and what each proof must be; by default any engine, and privacy and set-up as for proofs."""
    record = model.table("evaluation")
    demand = evaluation_from_record(record)
    proofs = ProofDemand(
        engines=_choices(record, "engines", EngineName) if record.has("engines") else tuple(EngineName),
        privacy=record.choice("privacy", PrivacyLevel, PrivacyLevel.ZERO_KNOWLEDGE.value),
        srs=record.choice("srs", SrsLevel, SrsLevel.CEREMONY.value),
        insecure=record.texts("insecure", (), max_length=16),
        context=record.text("context", None),
    )
    record.done()
    return demand, proofs


def _fidelity(record: Record) -> FidelityDemand:
    demand = FidelityDemand(
        top1_agreement=record.number("top1_agreement", None, low=0.0, high=1.0),
        max_abs_error=record.number("max_abs_error", None, low=0.0, high=1e9),
        spread_error=record.number("spread_error", None, low=0.0, high=1e9),
        perplexity_ratio=record.number("perplexity_ratio", None, low=0.0, high=1e9),
        samples=record.integer("samples", 1, low=1, high=10**9),
        clamped_cells=record.integer("clamped_cells", None, low=0, high=2**48),
    )
    record.done()
    return demand


def _consensus(record: Record) -> ConsensusDemand:
    # Fewer than three verifiers cannot outvote a single faulty one.
    verifiers = record.integer("verifiers", 3, low=3, high=1024)
    demand = ConsensusDemand(
        verifiers,
        record.integer("environments", 1, low=1, high=verifiers),
        record.integer("attested", 0, low=0, high=verifiers),
    )
    record.done()
    return demand


def _tee(record: Record) -> TeeDemand:
    demand = TeeDemand(record.integer("inferences", 1, low=1, high=10**6), record.text("context", None))
    record.done()
    return demand


def _gate(record: Record) -> GateDemand:
    policies = record.texts("policies", max_length=64)
    if not policies or not all(is_sha256(one) for one in policies):
        raise record.refuse(
            "expected the digest of at least one policy", "policies", hint="`verifai gate --explain` prints a policy's digest."
        )
    demand = GateDemand(
        policies=tuple(Sha256(one) for one in policies),
        signatures=record.integer("signatures", 1, low=1, high=64),
        waivers=record.flag("waivers", False),
    )
    record.done()
    return demand


def _choices(record: Record, field: str, kind: type[K]) -> tuple[K, ...]:
    words = record.texts(field, max_length=16)
    try:
        values = tuple(kind(word) for word in words)
    except ValueError:
        unknown = next(word for word in words if word not in {member.value for member in kind})
        names = ", ".join(repr(member.value) for member in kind)
        raise record.refuse(f"expected some of {names}, found {unknown[:40]!r}", field) from None
    if not values or len(set(values)) != len(values):
        raise record.refuse("expected at least one, each once", field)
    return values


def _duration(record: Record, field: str, default: int | None) -> int | None:
    if not record.has(field):
        return default
    match = _DURATION.fullmatch(record.text(field, max_length=16))
    if match is None:
        raise record.refuse("expected a length of time", field, hint='Write "30d", "12h" or "5min".')
    return int(match[1]) * _SECONDS[match[2]]
