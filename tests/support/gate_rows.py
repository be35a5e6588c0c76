"""The rows of the gate's decision table: each sets up a policy and bundles in a world and names what is to be gated."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.support.gate_world import ALICE, BOB, FIDELITY, LOG_KEY, MALLORY, NOW, World, section
from verifai.domain.statement import EngineName, Privacy

Row = Callable[[World], tuple[Path, list[Path]]]


def plain(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a")]


def empty_policy(world: World) -> tuple[Path, list[Path]]:
    path = world.folder / "verifai.toml"
    path.write_text("")
    return path, [world.bundle("a")]


def no_models(world: World) -> tuple[Path, list[Path]]:
    path = world.folder / "verifai.toml"
    path.write_text('schema = "verifai/policy/v1"\nmodel = []\n')
    return path, [world.bundle("a")]


def no_bundles(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), []


def empty_folder(world: World) -> tuple[Path, list[Path]]:
    (world.folder / "evidence").mkdir()
    return world.policy(), [world.folder / "evidence"]


def unknown_field(world: World) -> tuple[Path, list[Path]]:
    return world.policy(model="minimum_signatures = 1"), [world.bundle("a")]


def engine_without_lock(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='engines = ["ezkl", "sumcheck"]'), [world.bundle("a")]


def forged(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", forged=True)]


def forged_and_stale(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"prover": ([ALICE], 1)})
    old = NOW - timedelta(days=60)
    return world.policy(top=trust, model='max_age = "30d"'), [world.bundle("a", forged=True, signers=[ALICE], created=old)]


def other_model(world: World) -> tuple[Path, list[Path]]:
    swapped = World(world.folder / "other", model=b"the pinned model, one weight swapped")
    return world.policy(), [swapped.bundle("a")]


def other_circuit(world: World) -> tuple[Path, list[Path]]:
    other = World(world.folder / "other", sections={EngineName.EZKL: section("another compilation")})
    return world.policy(), [other.bundle("a")]


def changed_file(world: World) -> tuple[Path, list[Path]]:
    bundle = world.bundle("a")
    (bundle / "payload" / "model.onnx").write_bytes(b"the pinned modeL")
    return world.policy(), [bundle]


def absent_file(world: World) -> tuple[Path, list[Path]]:
    bundle = world.bundle("a")
    (bundle / "payload" / "proof.json").unlink()
    return world.policy(), [bundle]


def duplicate_counted_twice(world: World) -> tuple[Path, list[Path]]:
    first = world.bundle("evidence/a")
    shutil.copytree(first, world.folder / "evidence" / "b")
    return world.policy(proof="inferences = 2"), [world.folder / "evidence"]


def resealed_counted_twice(world: World) -> tuple[Path, list[Path]]:
    # Another bundle identifier, another context, another date: still one inference.
    later = NOW - timedelta(hours=1)
    return world.policy(proof="inferences = 2"), [world.bundle("a"), world.bundle("b", created=later, context="again")]


def too_few(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof="inferences = 3"), [world.bundle("a", 1), world.bundle("b", 2)]


def stale(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"prover": ([ALICE], 1)})
    old = NOW - timedelta(days=31)
    return world.policy(top=trust, model='max_age = "30d"'), [world.bundle("a", signers=[ALICE], created=old)]


def resealed_stale(world: World) -> tuple[Path, list[Path]]:
    # A fresh manifest around an old proof does not make it young.
    trust = world.trust({"prover": ([ALICE], 1)})
    old = NOW - timedelta(days=31)
    return world.policy(top=trust, model='max_age = "30d"'), [world.bundle("a", signers=[ALICE], created=old, sealed=NOW)]


def future(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", created=NOW + timedelta(hours=1))]


def unsigned_age(world: World) -> tuple[Path, list[Path]]:
    return world.policy(model='max_age = "30d"'), [world.bundle("a")]


def test_srs(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(srs="test")
    return world.policy(), [world.bundle("a")]


def ceremony_not_transparent(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='srs = "transparent"'), [world.bundle("a")]


def insecure_mode(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(insecure=["unchecked-ranges"])
    return world.policy(), [world.bundle("a")]


def integrity_only(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", privacy=Privacy.INTEGRITY_ONLY)]


def unaudited(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", privacy=Privacy.ZERO_KNOWLEDGE_UNAUDITED)]


def agreement(world: World) -> tuple[Path, list[Path]]:
    return world.policy(fidelity="top1_agreement = 0.995"), [world.bundle("a")]


def error(world: World) -> tuple[Path, list[Path]]:
    return world.policy(fidelity="max_abs_error = 0.05"), [world.bundle("a")]


def samples(world: World) -> tuple[Path, list[Path]]:
    return world.policy(fidelity="samples = 1000"), [world.bundle("a")]


def no_classes(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(fidelity={key: value for key, value in FIDELITY.items() if key != "top1_matches"})
    return world.policy(fidelity="top1_agreement = 0.5"), [world.bundle("a")]


def engine_not_allowed(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    return world.policy(), [world.bundle("a", engine=EngineName.SUMCHECK)]


def forged_elsewhere(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    return world.policy(), [world.bundle("a", engine=EngineName.SUMCHECK, forged=True)]


def engine_not_in_lock(world: World) -> tuple[Path, list[Path]]:
    policy = world.policy()
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    return policy, [world.bundle("a", engine=EngineName.SUMCHECK)]


def unsigned(world: World) -> tuple[Path, list[Path]]:
    return world.policy(top=world.trust({"release": ([ALICE], 1)}), model="signatures = 1"), [world.bundle("a")]


def stranger(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE], 1)})
    return world.policy(top=trust, model="signatures = 1"), [world.bundle("a", signers=[MALLORY])]


def one_key_of_two(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE, BOB], 1)})
    return world.policy(top=trust, model="signatures = 2"), [world.bundle("a", signers=[ALICE, ALICE])]


def trust_threshold(world: World) -> tuple[Path, list[Path]]:
    # The policy asks for nothing; the trust file does, and is not outvoted by silence.
    return world.policy(top=world.trust({"prover": ([ALICE, BOB], 2)})), [world.bundle("a", signers=[ALICE])]


def signatures_nobody_can_make(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE], 1)})
    return world.policy(top=trust, model="signatures = 2"), [world.bundle("a", signers=[ALICE])]


def trust_expired(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"prover": ([ALICE], 1)}, rest='[freshness]\nexpires = "2026-06-01T00:00:00Z"')
    return world.policy(top=trust), [world.bundle("a", signers=[ALICE])]


def lock_not_pinned(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"prover": ([ALICE], 1)}, rest=f'[circuits.net]\nlock = "circuit.lock"\nlock_sha256 = "{"0" * 64}"')
    return world.policy(top=trust), [world.bundle("a", signers=[ALICE])]


def context_differs(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='context = "release-2"'), [world.bundle("a", context="release-1", bound=True)]


def context_unbound(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='context = "release-2"'), [world.bundle("a", context="release-2")]


def _log_text() -> str:
    return f'[log]\norigin = "example.org/log"\nkey = "{LOG_KEY.public_key}"\nrequired = false'


def not_logged(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE], 1)}, log=_log_text())
    return world.policy(top=trust, model="log = true"), [world.bundle("a", signers=[ALICE])]


def other_log_entry(world: World) -> tuple[Path, list[Path]]:
    """The proof that some other statement is in the log, under the name of this one."""
    from verifai.bundle.log import create_log, open_log
    from verifai.bundle.log_check import CHECKPOINT_FILE, proof_file
    from verifai.bundle.reader import open_bundle

    trust = world.trust({"release": ([ALICE], 1)}, log=_log_text())
    with open_bundle(world.bundle("plain", signers=[ALICE])) as opened:
        ids = sorted(opened.attestations)
    with open_bundle(world.bundle("logged", 7, signers=[ALICE])) as opened:
        others = sorted(opened.attestations)
    create_log(world.folder / "log.db", origin="example.org/log", key=LOG_KEY.public_key)
    with open_log(world.folder / "log.db") as log:
        log.append(others)
        checkpoint = log.checkpoint(LOG_KEY)
        stolen = log.prove(others[0], checkpoint).to_bytes()
    files = {CHECKPOINT_FILE: checkpoint.to_bytes(), **{proof_file(one): stolen for one in ids}}
    return world.policy(top=trust, model="log = true"), [world.bundle("a", signers=[ALICE], log=files)]


def one_bad_among_many(world: World) -> tuple[Path, list[Path]]:
    for number in range(5):
        world.bundle(f"evidence/{number}", number, forged=number == 3)
    return world.policy(proof="inferences = 4"), [world.folder / "evidence"]


def released_other_file(world: World) -> tuple[Path, list[Path]]:
    (world.folder / "model.onnx").write_bytes(b"the pinned model, one weight swapped")
    return world.policy(model='release = "model.onnx"'), [world.bundle("a")]


def release_absent(world: World) -> tuple[Path, list[Path]]:
    return world.policy(model='release = "model.onnx"'), [world.bundle("a")]


def missing_kind(world: World) -> tuple[Path, list[Path]]:
    policy = world.policy(top=world.trust({"gate": ([ALICE], 1)}), rest=f'[model.gate]\npolicies = ["{"0" * 64}"]')
    policy.write_text(policy.read_text().replace('evidence = ["proof"]', 'evidence = ["proof", "gate"]'))
    return policy, [world.bundle("a")]


def stray_file(world: World) -> tuple[Path, list[Path]]:
    world.bundle("evidence/a")
    (world.folder / "evidence" / "notes.txt").write_text("a stray file")
    return world.policy(), [world.folder / "evidence"]


def not_there(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.folder / "nowhere"]


def duplicate(world: World) -> tuple[Path, list[Path]]:
    first = world.bundle("evidence/a")
    shutil.copytree(first, world.folder / "evidence" / "b")
    return world.policy(), [world.folder / "evidence"]


def strict(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE, BOB], 2), "prover": ([ALICE, BOB], 1)})
    (world.folder / "model.onnx").write_bytes(world.model)
    policy = world.policy(
        top=trust,
        model='release = "model.onnx"\nsignatures = 2\nmax_age = "2d"',
        proof='inferences = 2\ncontext = "release-1"',
        fidelity="top1_agreement = 0.99\nmax_abs_error = 0.0625\nsamples = 100",
    )
    return policy, [world.bundle(str(n), n, signers=[ALICE, BOB], context="release-1") for n in (1, 2)]


def test_srs_named(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(srs="test")
    return world.policy(proof='srs = "test"'), [world.bundle("a")]


def transparent(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    policy = world.policy(proof='engines = ["sumcheck"]\nsrs = "transparent"\nprivacy = "integrity-only"')
    return policy, [world.bundle("a", engine=EngineName.SUMCHECK, privacy=Privacy.INTEGRITY_ONLY)]


def mode_named(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(insecure=["unchecked-ranges"])
    return world.policy(proof='insecure = ["unchecked-ranges"]'), [world.bundle("a")]


def slightly_ahead(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", created=NOW + timedelta(minutes=4))]


def bound_context(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='context = "release-2"'), [world.bundle("a", context="release-2", bound=True)]
