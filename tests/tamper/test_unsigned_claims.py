"""What anybody can write counts for nothing: every claim in a bundle is rewritten by an outsider, one after the other.

The outsider has genuine evidence and no trusted key. A claim is changed, everything that names the changed document by its
digest is written anew, and what is new is unsigned or signed by a stranger. The gate then either refuses, or comes to the same
facts as before: the claim was one that nothing rests on. Missing signatures are waived, as a policy's author may do, so that it
is not they alone that refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate_world import ALICE, GATE_KEY, MALLORY, NOW, Key, World, codes, fake_engines, waiver
from tests.tamper.test_consensus_bundle import CHAIR, VOTERS, Played
from verifai.bundle import canonical
from verifai.bundle.dsse import sign
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.envelope import Attestation, Envelope
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.utc_time import format_utc
from verifai.errors import VerifaiError
from verifai.stages.gate.attest import attest_verdict
from verifai.stages.gate.load import load_policy

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")

Place = tuple[str | int, ...]
STRANGERS = [(), (MALLORY,)]
_DATE = re.compile(r"\d{4}-\d\d-\d\dT")


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value of a document that is no list or object, with its place."""
    if isinstance(value, dict):
        for name in sorted(value):
            yield from leaves(value[name], (*place, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from leaves(one, (*place, index))
    else:
        yield place, value


def others(value: Any) -> Iterator[Any]:
    """What an outsider would like it to be: fresher, more, another, none."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, 0, 1000)
    elif isinstance(value, str) and _DATE.match(value):
        yield from (format_utc(NOW), format_utc(NOW + timedelta(days=365)))
    elif isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        yield "0" * 64
    elif isinstance(value, str):
        yield from (f"{value}x", "", str(int(value) + 1) if value.isdecimal() else value.upper())


def put(document: Any, place: Place, value: Any) -> None:
    for step in place[:-1]:
        document = document[step]
    document[place[-1]] = value


def rewritten(attestations: Sequence[Attestation], changed: str, place: Place, value: Any, signers: Sequence[Key]) -> Any:
    """All attestations with one value changed, and with all references to what is new brought up to date.

    Raises:
        VerifaiError: no reader takes what was made.
    """
    documents = {one.id: json.loads(one.envelope.payload) for one in attestations}
    kept = {one.id: one for one in attestations}
    put(documents[changed], place, value)
    pending, made = [changed], []
    while pending:
        old = pending.pop()
        envelope = sign(Envelope(canonical.encode(documents.pop(old))), signers)
        new = parse_attestation(envelope, "forged")
        kept.pop(old)
        made.append(new)
        for name, document in documents.items():
            text = json.dumps(document)
            if old in text:
                documents[name] = json.loads(text.replace(old, new.id))
                pending += [name] if name not in pending else []
    return [*kept.values(), *made]


@dataclass(frozen=True)
class Scene:
    """Evidence that a policy accepts."""

    world: World
    policy: Path
    bundle: Path

    def judge(self, bundle: Path) -> GateVerdict:
        return self.world.judge(self.policy, bundle)

    def facts(self, verdict: GateVerdict) -> object:
        """What the verdict counted. A date is told, and counts where an age is demanded, which other tests do."""
        (one,) = verdict.bundles
        told = {name: value for name, value in one.judgement.facts.items() if name not in ("created", "decided")}
        return dict(one.judgement.shows), told, one.judgement.counted


def waived(world: World) -> str:
    """Waivers of every signature that the model's evidence lacks."""
    return "\n".join(
        waiver(code, f"model:{world.pin}", identifier=code, expires='"2026-08-01T00:00:00Z"')
        for code in ("unsigned", "below-threshold")
    )


def proof_scene(folder: Path) -> Scene:
    world = World(folder)
    bundle = world.bundle("a", context="round#000000", bound=True)
    proof = 'contexts = "round#"\ndistinct = "contexts"'
    return Scene(world, world.policy(proof=proof, fidelity="top1_agreement = 0.9"), bundle)


def consensus_scene(folder: Path) -> Scene:
    """Decision, terms and tolerance may be anybody's: their signatures are waived."""
    world = World(folder)
    written, _ = Played(world).write()
    world.write_lock()
    top = world.trust({"voter": (VOTERS, 1), "consensus": ([CHAIR], 1)})
    policy = folder / "verifai.toml"
    policy.write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["consensus"]\n'
        f"[model.consensus]\nverifiers = 3\nenvironments = 2\n{waived(world)}\n"
    )
    return Scene(world, policy, written.path)


def gate_scene(folder: Path) -> Scene:
    """An earlier gate's verdict under a trusted key."""
    world = World(folder)
    verdict = world.judge(world.policy(), world.bundle("a"))
    attest_verdict(
        load_policy(world.folder / "verifai.toml"), verdict, folder / "b", report=b"{}", version="1", signers=[GATE_KEY]
    )
    top = world.trust({"gate": ([GATE_KEY], 1)})
    policy = folder / "next.toml"
    policy.write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["gate"]\n'
        f'[model.gate]\npolicies = ["{verdict.policy_sha256}"]\n{waived(world)}\n'
    )
    return Scene(world, policy, folder / "b")


SCENES = {"proof": proof_scene, "consensus": consensus_scene, "gate": gate_scene}


@pytest.mark.parametrize("signers", STRANGERS, ids=["unsigned", "a stranger's"])
@pytest.mark.parametrize("kind", SCENES)
def test_no_rewritten_claim_counts(kind: str, signers: tuple[Key, ...], tmp_path: Path) -> None:
    scene = SCENES[kind](tmp_path)
    base = scene.judge(scene.bundle)
    assert base.status == 0, base
    with open_bundle(scene.bundle) as opened:
        attestations, payload = (
            list(opened.attestations.values()),
            {name: path.read_bytes() for name, path in opened.payload.items()},
        )
        created = opened.manifest.created
    tried = refused = 0
    for one in attestations:
        for place, value in leaves(json.loads(one.envelope.payload)):
            for other in others(value):
                try:
                    made = rewritten(attestations, one.id, place, other, signers)
                    target = tmp_path / f"forged-{tried}"
                    write_bundle(target, payload=payload, attestations=made, created=created, signers=signers)
                except VerifaiError:
                    continue  # no reader takes it
                tried += 1
                verdict = scene.judge(target)
                refused += verdict.status != 0
                if verdict.status == 0:
                    assert scene.facts(verdict) == scene.facts(base), (one.predicate.TYPE, place, other)
    assert tried > 15
    assert refused > tried // 2


@pytest.mark.parametrize("signers", STRANGERS, ids=["unsigned", "a stranger's"])
@pytest.mark.parametrize("kind", SCENES)
def test_the_same_evidence_without_its_trusted_signatures_is_not_counted_where_they_are_what_counts(
    kind: str, signers: tuple[Key, ...], tmp_path: Path
) -> None:
    scene = SCENES[kind](tmp_path)
    with open_bundle(scene.bundle) as opened:
        bare = [
            parse_attestation(sign(Envelope(one.envelope.payload), signers), one.id) for one in opened.attestations.values()
        ]
        write_bundle(
            tmp_path / "bare", payload=opened.payload, attestations=bare, created=opened.manifest.created, signers=signers
        )
    verdict = scene.judge(tmp_path / "bare")
    assert (verdict.status == 0) is (kind == "proof")  # a proof is what it shows; the others are what was signed
    if kind == "proof":
        assert scene.facts(verdict) == scene.facts(scene.judge(scene.bundle))


def test_a_context_beside_a_proof_counts_only_under_a_trusted_signature(tmp_path: Path) -> None:
    """Where the engine does not bind it, a fresh text could stand beside an old proof."""
    world = World(tmp_path)
    for signers, status in (((), 3), ((MALLORY,), 3), ((ALICE,), 0)):
        top = world.trust({"release": ([ALICE], 1)} if signers == (ALICE,) else {"gate": ([GATE_KEY], 1)})
        bundle = world.bundle(f"by{[key.seed for key in signers]}", context="fresh", signers=signers)
        verdict = world.judge(world.policy(proof='context = "fresh"', top=top), bundle)
        assert (verdict.status, codes(verdict)) == (status, {"context-not-bound"} if status else set())


def test_contexts_that_are_counted_are_bound_by_the_proof_itself(tmp_path: Path) -> None:
    """A prover with a trusted key could write as many numbers beside one proof as a policy counts."""
    world = World(tmp_path)
    names = [f"round#{number:06d}" for number in range(3)]
    bundles = [world.bundle(f"a/{one}", context=one, private_input=True, signers=[ALICE]) for one in names]
    top = world.trust({"release": ([ALICE], 1)})
    policy = world.policy(proof='contexts = "round#"\ndistinct = "contexts"\ninferences = 3', top=top)
    verdict = world.judge(policy, *bundles)
    assert (verdict.status, codes(verdict) & {"context-not-bound"}) == (3, {"context-not-bound"})
