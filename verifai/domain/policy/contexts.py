"""Private inferences counted by the contexts that a policy expects, where their statements cannot tell them apart.

A context that a prover chose shows nothing: one input can be proven under as many contexts as anybody likes. So only contexts
that the *policy* names count, each once, and what they count is proofs made for the policy's numbers, never inputs
(``docs/decisions/0502-what-counts-as-one-inference.md``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from verifai.domain.digest import Sha256, sha256
from verifai.domain.findings import Finding, Outcome, holds
from verifai.domain.policy.demands import ContextsDemand
from verifai.domain.proof_index import sample_id

_NUMBER = re.compile(r"[0-9]{6}")


@dataclass(frozen=True, slots=True)
class CountedProof:
    """A verified proof that is counted by its context.

    Attributes:
        model: name of the policy's model.
        statement_id: what was proven, the context left out, and where a prompt is said to end.
        shows_inputs: whether the statement tells its inputs from others, by value or by digest.
        answer: where prompt and answer are said to end, and why; empty where there is none. It makes no other inference, but
            another answer to who asked.
    """

    model: str
    context: str
    statement_id: Sha256
    shows_inputs: bool
    answer: str = ""

    @property
    def identity(self) -> Sha256:
        """What counts once. Where the statement shows the inputs, another context makes no other inference of them."""
        return self.statement_id if self.shows_inputs else sha256(f"verifai/counted-context/v1\n{self.context}".encode())


def number_of(demand: ContextsDemand, context: str) -> int | None:
    """Which of the policy's numbers a context bears; ``None`` when it is no context that the policy expects."""
    rest = context.removeprefix(demand.prefix)
    if not context.startswith(demand.prefix) or _NUMBER.fullmatch(rest) is None or int(rest) >= demand.numbers:
        return None
    return int(rest)


def judge_contexts(demand: ContextsDemand, context: str, *, bound: bool, bound_by_proof: bool) -> Finding:
    """Whether a proof bears one of the expected contexts, and whether that is bound as firmly as counting by it needs.

    Args:
        bound: whether the proof or a trusted signature binds the context. bound_by_proof: whether the proof itself does.
    """
    if number_of(demand, context) is None:
        return Finding(
            "context-mismatch",
            Outcome.REJECTED,
            f"the context is {context[:80]!r}, the policy expects {_span(demand)}",
            where="contexts",
            remedy="This may be a proof of an earlier batch shown again.",
        )
    if demand.counts and not bound_by_proof:
        # A signer can write any number of contexts beside one proof.
        return Finding(
            "context-not-bound",
            Outcome.POLICY_NOT_MET,
            "proofs are counted by their contexts, and the proof itself does not bind this one; a signature is not enough",
            where="contexts",
            remedy="Prove with an engine whose proofs bind the context (sumcheck).",
        )
    if not bound:
        return Finding(
            "context-not-bound",
            Outcome.POLICY_NOT_MET,
            "neither the proof nor a trusted signature binds the context: it could have been written beside an old proof",
            where="contexts",
            remedy="Demand signatures = 1, or use an engine that binds the context.",
        )
    return holds("context-matches", "the context is one of those expected, and bound")


def repeated_contexts(proofs: Sequence[CountedProof | None]) -> list[tuple[Finding, ...]]:
    """For each proof, a finding (``context-repeated``) when another one has its context and states something else.

    Two answers to one question: nobody can tell which of them was asked for. ``None`` stands for what is not counted so.
    """
    stated: defaultdict[tuple[str, str], set[tuple[Sha256, str]]] = defaultdict(set)
    for proof in filter(None, proofs):
        stated[proof.model, proof.context].add((proof.statement_id, proof.answer))
    return [
        ()
        if proof is None or len(stated[proof.model, proof.context]) == 1
        else (
            Finding(
                "context-repeated",
                Outcome.POLICY_NOT_MET,
                f"{len(stated[proof.model, proof.context])} different statements bear the context {proof.context[:80]!r}",
                where="contexts",
                remedy="Give one proof per number.",
            ),
        )
        for proof in proofs
    ]


def not_told_apart(name: str, counted: Sequence[CountedProof]) -> tuple[Finding, ...]:
    """What counting by context leaves open about a model, said aloud; nothing when every statement shows its inputs."""
    hidden = [proof for proof in counted if not proof.shows_inputs]
    if not hidden:
        return ()
    statements = len({proof.statement_id for proof in hidden})
    return (
        Finding(
            "inputs-not-told-apart",
            Outcome.NOT_CHECKED,
            f"model {name!r}: counted by context; {len({proof.context for proof in hidden})} contexts, "
            f"{statements} distinct statements, and nothing shows that their hidden inputs differ",
            where=f"{name}: contexts",
            remedy="Whoever must know that inputs differ needs them public, or hashed by an engine whose digest does not hide.",
        ),
    )


def _span(demand: ContextsDemand) -> str:
    return f"{demand.prefix + sample_id(0)!r} to {demand.prefix + sample_id(demand.numbers - 1)!r}"
