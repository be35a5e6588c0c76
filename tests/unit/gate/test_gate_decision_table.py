"""The decision table of the gate: evidence × policy → status and code, row by row. Refusals come first.

Each row is evaluated on real bundles on disk, through the same path as the command.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from gate_world import ALICE, BOB, FIDELITY, LOG_KEY, MALLORY, NOW, World, codes, fake_engines, section

from verifai.domain.statement import EngineName, Privacy
from verifai.errors import Undecided, UsageError, VerifaiError

__all__ = ["fake_engines"]

Row = Callable[[World], tuple[Path, list[Path]]]


@dataclass(frozen=True)
class Case:
    """One row: what it is called, how it is set up, and what must come of it."""

    name: str
    status: int
    codes: set[str]
    row: Row


def _plain(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a")]


def _empty_policy(world: World) -> tuple[Path, list[Path]]:
    path = world.folder / "verifai.toml"
    path.write_text("")
    return path, [world.bundle("a")]


def _no_models(world: World) -> tuple[Path, list[Path]]:
    path = world.folder / "verifai.toml"
    path.write_text('schema = "verifai/policy/v1"\nmodel = []\n')
    return path, [world.bundle("a")]


def _no_bundles(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), []


def _empty_folder(world: World) -> tuple[Path, list[Path]]:
    (world.folder / "evidence").mkdir()
    return world.policy(), [world.folder / "evidence"]


def _unknown_field(world: World) -> tuple[Path, list[Path]]:
    return world.policy(model="minimum_signatures = 1"), [world.bundle("a")]


def _engine_without_lock(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='engines = ["ezkl", "sumcheck"]'), [world.bundle("a")]


def _forged(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", forged=True)]


def _forged_and_stale(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"prover": ([ALICE], 1)})
    old = NOW - timedelta(days=60)
    return world.policy(top=trust, model='max_age = "30d"'), [world.bundle("a", forged=True, signers=[ALICE], created=old)]


def _other_model(world: World) -> tuple[Path, list[Path]]:
    swapped = World(world.folder / "other", model=b"the pinned model, one weight swapped")
    return world.policy(), [swapped.bundle("a")]


def _other_circuit(world: World) -> tuple[Path, list[Path]]:
    other = World(world.folder / "other", sections={EngineName.EZKL: section("another compilation")})
    return world.policy(), [other.bundle("a")]


def _changed_file(world: World) -> tuple[Path, list[Path]]:
    bundle = world.bundle("a")
    (bundle / "payload" / "model.onnx").write_bytes(b"the pinned modeL")
    return world.policy(), [bundle]


def _absent_file(world: World) -> tuple[Path, list[Path]]:
    bundle = world.bundle("a")
    (bundle / "payload" / "proof.json").unlink()
    return world.policy(), [bundle]


def _duplicate_counted_twice(world: World) -> tuple[Path, list[Path]]:
    first = world.bundle("evidence/a")
    shutil.copytree(first, world.folder / "evidence" / "b")
    return world.policy(proof="inferences = 2"), [world.folder / "evidence"]


def _resealed_counted_twice(world: World) -> tuple[Path, list[Path]]:
    # Another bundle identifier, another context, another date: still one inference.
    later = NOW - timedelta(hours=1)
    return world.policy(proof="inferences = 2"), [world.bundle("a"), world.bundle("b", created=later, context="again")]


def _too_few(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof="inferences = 3"), [world.bundle("a", 1), world.bundle("b", 2)]


def _stale(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"prover": ([ALICE], 1)})
    old = NOW - timedelta(days=31)
    return world.policy(top=trust, model='max_age = "30d"'), [world.bundle("a", signers=[ALICE], created=old)]


def _resealed_stale(world: World) -> tuple[Path, list[Path]]:
    # A fresh manifest around an old proof does not make it young.
    trust = world.trust({"prover": ([ALICE], 1)})
    old = NOW - timedelta(days=31)
    return world.policy(top=trust, model='max_age = "30d"'), [world.bundle("a", signers=[ALICE], created=old, sealed=NOW)]


def _future(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", created=NOW + timedelta(hours=1))]


def _unsigned_age(world: World) -> tuple[Path, list[Path]]:
    return world.policy(model='max_age = "30d"'), [world.bundle("a")]


def _test_srs(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(srs="test")
    return world.policy(), [world.bundle("a")]


def _ceremony_not_transparent(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='srs = "transparent"'), [world.bundle("a")]


def _insecure_mode(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(insecure=["unchecked-ranges"])
    return world.policy(), [world.bundle("a")]


def _integrity_only(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", privacy=Privacy.INTEGRITY_ONLY)]


def _unaudited(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", privacy=Privacy.ZERO_KNOWLEDGE_UNAUDITED)]


def _agreement(world: World) -> tuple[Path, list[Path]]:
    return world.policy(fidelity="top1_agreement = 0.995"), [world.bundle("a")]


def _error(world: World) -> tuple[Path, list[Path]]:
    return world.policy(fidelity="max_abs_error = 0.05"), [world.bundle("a")]


def _samples(world: World) -> tuple[Path, list[Path]]:
    return world.policy(fidelity="samples = 1000"), [world.bundle("a")]


def _no_classes(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(fidelity={key: value for key, value in FIDELITY.items() if key != "top1_matches"})
    return world.policy(fidelity="top1_agreement = 0.5"), [world.bundle("a")]


def _engine_not_allowed(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    return world.policy(), [world.bundle("a", engine=EngineName.SUMCHECK)]


def _forged_elsewhere(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    return world.policy(), [world.bundle("a", engine=EngineName.SUMCHECK, forged=True)]


def _engine_not_in_lock(world: World) -> tuple[Path, list[Path]]:
    policy = world.policy()
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    return policy, [world.bundle("a", engine=EngineName.SUMCHECK)]


def _unsigned(world: World) -> tuple[Path, list[Path]]:
    return world.policy(top=world.trust({"release": ([ALICE], 1)}), model="signatures = 1"), [world.bundle("a")]


def _stranger(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE], 1)})
    return world.policy(top=trust, model="signatures = 1"), [world.bundle("a", signers=[MALLORY])]


def _one_key_of_two(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE, BOB], 1)})
    return world.policy(top=trust, model="signatures = 2"), [world.bundle("a", signers=[ALICE, ALICE])]


def _trust_threshold(world: World) -> tuple[Path, list[Path]]:
    # The policy asks for nothing; the trust file does, and is not outvoted by silence.
    return world.policy(top=world.trust({"prover": ([ALICE, BOB], 2)})), [world.bundle("a", signers=[ALICE])]


def _signatures_nobody_can_make(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE], 1)})
    return world.policy(top=trust, model="signatures = 2"), [world.bundle("a", signers=[ALICE])]


def _trust_expired(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"prover": ([ALICE], 1)}, rest='[freshness]\nexpires = "2026-06-01T00:00:00Z"')
    return world.policy(top=trust), [world.bundle("a", signers=[ALICE])]


def _lock_not_pinned(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"prover": ([ALICE], 1)}, rest=f'[circuits.net]\nlock = "circuit.lock"\nlock_sha256 = "{"0" * 64}"')
    return world.policy(top=trust), [world.bundle("a", signers=[ALICE])]


def _context_differs(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='context = "release-2"'), [world.bundle("a", context="release-1", bound=True)]


def _context_unbound(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='context = "release-2"'), [world.bundle("a", context="release-2")]


def _log_text() -> str:
    return f'[log]\norigin = "example.org/log"\nkey = "{LOG_KEY.public_key}"\nrequired = false'


def _not_logged(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE], 1)}, log=_log_text())
    return world.policy(top=trust, model="log = true"), [world.bundle("a", signers=[ALICE])]


def _other_log_entry(world: World) -> tuple[Path, list[Path]]:
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


def _one_bad_among_many(world: World) -> tuple[Path, list[Path]]:
    for number in range(5):
        world.bundle(f"evidence/{number}", number, forged=number == 3)
    return world.policy(proof="inferences = 4"), [world.folder / "evidence"]


def _released_other_file(world: World) -> tuple[Path, list[Path]]:
    (world.folder / "model.onnx").write_bytes(b"the pinned model, one weight swapped")
    return world.policy(model='release = "model.onnx"'), [world.bundle("a")]


def _release_absent(world: World) -> tuple[Path, list[Path]]:
    return world.policy(model='release = "model.onnx"'), [world.bundle("a")]


def _missing_kind(world: World) -> tuple[Path, list[Path]]:
    policy = world.policy(top=world.trust({"gate": ([ALICE], 1)}), rest=f'[model.gate]\npolicies = ["{"0" * 64}"]')
    policy.write_text(policy.read_text().replace('evidence = ["proof"]', 'evidence = ["proof", "gate"]'))
    return policy, [world.bundle("a")]


def _stray_file(world: World) -> tuple[Path, list[Path]]:
    world.bundle("evidence/a")
    (world.folder / "evidence" / "notes.txt").write_text("a stray file")
    return world.policy(), [world.folder / "evidence"]


def _not_there(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.folder / "nowhere"]


REFUSED = [
    Case("an empty policy", 2, {"empty-policy"}, _empty_policy),
    Case("a policy without models", 2, {"empty-policy"}, _no_models),
    Case("an unknown field in the policy", 2, {"bad-policy"}, _unknown_field),
    Case("a policy that allows an engine its lock does not pin", 2, {"bad-policy"}, _engine_without_lock),
    Case("a maximum age on dates that nobody signs", 2, {"bad-policy"}, _unsigned_age),
    Case("more signatures than there are trusted keys", 2, {"bad-policy"}, _signatures_nobody_can_make),
    Case("a lock that is not the one the trust file pins", 2, {"bad-lock"}, _lock_not_pinned),
    Case("a bundle that is not there", 2, {"file-missing"}, _not_there),
    Case("a released file that is not there", 2, {"file-missing"}, _release_absent),
    Case("no bundles", 4, {"nothing-to-check"}, _no_bundles),
    Case("an empty folder of bundles", 4, {"nothing-to-check"}, _empty_folder),
    Case("a forged proof", 1, {"proof-invalid"}, _forged),
    Case("a forged proof that is stale as well", 1, {"proof-invalid"}, _forged_and_stale),
    Case("evidence about another model", 1, {"model-not-pinned"}, _other_model),
    Case("a circuit that is not in the lock", 1, {"circuit-not-pinned"}, _other_circuit),
    Case("a changed file", 1, {"digest-mismatch"}, _changed_file),
    Case("a file that the manifest lists is absent", 1, {"file-absent"}, _absent_file),
    Case("a stray file among the bundles", 1, {"bad-archive"}, _stray_file),
    Case("a date in the future", 1, {"from-the-future"}, _future),
    Case("another context than demanded", 1, {"context-mismatch"}, _context_differs),
    Case("a log entry of another statement", 1, {"log-proof-invalid"}, _other_log_entry),
    Case("a released file that is not the pinned model", 1, {"release-mismatch"}, _released_other_file),
    Case("one forged bundle among five", 1, {"proof-invalid"}, _one_bad_among_many),
    Case(
        "an engine that is not allowed, and a forged proof",
        1,
        {"engine-not-allowed", "proof-invalid"},
        _forged_elsewhere,
    ),
    Case("the same bundle counted twice", 3, {"too-few-inferences"}, _duplicate_counted_twice),
    Case("the same inference sealed twice", 3, {"too-few-inferences"}, _resealed_counted_twice),
    Case("fewer inferences than demanded", 3, {"too-few-inferences"}, _too_few),
    Case("a stale proof", 3, {"stale"}, _stale),
    Case("a stale proof in a fresh manifest", 3, {"stale"}, _resealed_stale),
    Case("a test set-up", 3, {"srs-test-only"}, _test_srs),
    Case("a ceremony where transparency is demanded", 3, {"srs-below-policy"}, _ceremony_not_transparent),
    Case("an insecure mode that the policy does not name", 3, {"insecure-mode"}, _insecure_mode),
    Case("integrity only where zero knowledge is demanded", 3, {"privacy-below-policy"}, _integrity_only),
    Case("unaudited zero knowledge where audited is demanded", 3, {"privacy-below-policy"}, _unaudited),
    Case("top-1 agreement below the floor", 3, {"fidelity-below-floor"}, _agreement),
    Case("an error above the limit", 3, {"fidelity-below-floor"}, _error),
    Case("fidelity on too few samples", 3, {"fidelity-below-floor"}, _samples),
    Case("a floor for classes on a circuit without", 3, {"fidelity-below-floor"}, _no_classes),
    Case("an engine that is not allowed", 3, {"engine-not-allowed"}, _engine_not_allowed),
    Case("an engine that the lock does not know", 1, {"engine-not-allowed", "circuit-not-pinned"}, _engine_not_in_lock),
    Case("an unsigned bundle", 3, {"unsigned", "below-threshold"}, _unsigned),
    Case("a signature by a stranger", 3, {"below-threshold"}, _stranger),
    Case("two signatures by one key", 3, {"below-threshold"}, _one_key_of_two),
    Case("fewer signers than the trust file demands", 3, {"below-threshold"}, _trust_threshold),
    Case("an expired trust file", 3, {"trust-expired"}, _trust_expired),
    Case("a context that nothing binds", 3, {"context-not-bound"}, _context_unbound),
    Case("evidence outside the log", 3, {"not-logged"}, _not_logged),
    Case("a kind of evidence that was not shown", 3, {"evidence-missing"}, _missing_kind),
]


def _decide(world: World, row: Row) -> tuple[int, set[str]]:
    policy, bundles = row(world)
    try:
        verdict = world.judge(policy, *bundles)
    except VerifaiError as problem:
        return problem.status, {problem.code}
    return verdict.status, codes(verdict)


@pytest.mark.usefixtures("fake_engines")
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_is_refused(case: Case, tmp_path: Path) -> None:
    assert _decide(World(tmp_path), case.row) == (case.status, case.codes)


def _duplicate(world: World) -> tuple[Path, list[Path]]:
    first = world.bundle("evidence/a")
    shutil.copytree(first, world.folder / "evidence" / "b")
    return world.policy(), [world.folder / "evidence"]


def _strict(world: World) -> tuple[Path, list[Path]]:
    trust = world.trust({"release": ([ALICE, BOB], 2), "prover": ([ALICE, BOB], 1)})
    (world.folder / "model.onnx").write_bytes(world.model)
    policy = world.policy(
        top=trust,
        model='release = "model.onnx"\nsignatures = 2\nmax_age = "2d"',
        proof='inferences = 2\ncontext = "release-1"',
        fidelity="top1_agreement = 0.99\nmax_abs_error = 0.0625\nsamples = 100",
    )
    return policy, [world.bundle(str(n), n, signers=[ALICE, BOB], context="release-1") for n in (1, 2)]


def _test_srs_named(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(srs="test")
    return world.policy(proof='srs = "test"'), [world.bundle("a")]


def _transparent(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    policy = world.policy(proof='engines = ["sumcheck"]\nsrs = "transparent"\nprivacy = "integrity-only"')
    return policy, [world.bundle("a", engine=EngineName.SUMCHECK, privacy=Privacy.INTEGRITY_ONLY)]


def _mode_named(world: World) -> tuple[Path, list[Path]]:
    world.sections[EngineName.EZKL] = section(insecure=["unchecked-ranges"])
    return world.policy(proof='insecure = ["unchecked-ranges"]'), [world.bundle("a")]


def _slightly_ahead(world: World) -> tuple[Path, list[Path]]:
    return world.policy(), [world.bundle("a", created=NOW + timedelta(minutes=4))]


def _bound_context(world: World) -> tuple[Path, list[Path]]:
    return world.policy(proof='context = "release-2"'), [world.bundle("a", context="release-2", bound=True)]


ACCEPTED: list[tuple[str, Row]] = [
    ("a proof that holds", _plain),
    ("the same bundle twice where one is enough", _duplicate),
    ("everything demanded at once", _strict),
    ("a test set-up that the policy names", _test_srs_named),
    ("a transparent, integrity-only engine that the policy allows", _transparent),
    ("an insecure mode that the policy names", _mode_named),
    ("a clock four minutes ahead", _slightly_ahead),
    ("a context that the proof binds", _bound_context),
]


@pytest.mark.usefixtures("fake_engines")
@pytest.mark.parametrize(("name", "row"), ACCEPTED, ids=[name for name, _ in ACCEPTED])
def test_is_accepted(name: str, row: Row, tmp_path: Path) -> None:
    assert _decide(World(tmp_path), row) == (0, set())


@pytest.mark.usefixtures("fake_engines")
def test_the_failing_bundle_is_named_among_many(tmp_path: Path) -> None:
    world = World(tmp_path)
    policy, bundles = _one_bad_among_many(world)
    verdict = world.judge(policy, *bundles)
    assert [Path(one.judgement.path).name for one in verdict.bundles if not one.accepted] == ["3"]


@pytest.mark.usefixtures("fake_engines")
def test_errors_of_the_policy_name_line_and_field(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(UsageError) as caught:
        world.judge(world.policy(fidelity="top1_agreement = 1.5"), world.bundle("a"))
    line = (tmp_path / "verifai.toml").read_text().splitlines().index("top1_agreement = 1.5") + 1
    assert caught.value.where == f"{tmp_path / 'verifai.toml'}:{line}: model[0].fidelity.top1_agreement"


@pytest.mark.usefixtures("fake_engines")
def test_the_verdict_digest_changes_with_every_anchor(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle = world.bundle("a")
    trust = world.trust({"prover": ([ALICE], 1)})
    policy = world.policy(top=trust)
    seen = {world.judge(policy, bundle).policy_sha256}
    world.trust({"prover": ([ALICE, BOB], 1)})
    seen.add(world.judge(policy, bundle).policy_sha256)
    (tmp_path / "circuit.lock").write_text((tmp_path / "circuit.lock").read_text() + "# a comment\n")
    seen.add(world.judge(policy, bundle).policy_sha256)
    policy.write_text(policy.read_text() + "# a comment\n")
    seen.add(world.judge(policy, bundle).policy_sha256)
    assert len(seen) == 4


@pytest.mark.usefixtures("fake_engines")
def test_no_bundles_is_undecided_even_when_the_released_file_is_right(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "model.onnx").write_bytes(world.model)
    with pytest.raises(Undecided):
        world.judge(world.policy(model='release = "model.onnx"'))
