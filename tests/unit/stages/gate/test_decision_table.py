"""The decision table of the gate: evidence × policy → status and code, row by row. Refusals come first.

Each row is evaluated on real bundles on disk, through the same path as the command.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import gate_rows as rows
from tests.support.gate_rows import Row
from tests.support.gate_world import ALICE, BOB, World, codes, fake_engines
from verifai.errors import Undecided, UsageError, VerifaiError

__all__ = ["fake_engines"]


@dataclass(frozen=True)
class Case:
    """One row: what it is called, how it is set up, and what must come of it."""

    name: str
    status: int
    codes: set[str]
    row: Row


REFUSED = [
    Case("an empty policy", 2, {"empty-policy"}, rows.empty_policy),
    Case("a policy without models", 2, {"empty-policy"}, rows.no_models),
    Case("an unknown field in the policy", 2, {"bad-policy"}, rows.unknown_field),
    Case("a policy that allows an engine its lock does not pin", 2, {"bad-policy"}, rows.engine_without_lock),
    Case("a maximum age on dates that nobody signs", 2, {"bad-policy"}, rows.unsigned_age),
    Case("more signatures than there are trusted keys", 2, {"bad-policy"}, rows.signatures_nobody_can_make),
    Case("a lock that is not the one the trust file pins", 2, {"bad-lock"}, rows.lock_not_pinned),
    Case("a bundle that is not there", 2, {"file-missing"}, rows.not_there),
    Case("a released file that is not there", 2, {"file-missing"}, rows.release_absent),
    Case("no bundles", 4, {"nothing-to-check"}, rows.no_bundles),
    Case("an empty folder of bundles", 4, {"nothing-to-check"}, rows.empty_folder),
    Case("a forged proof", 1, {"proof-invalid"}, rows.forged),
    Case("a forged proof that is stale as well", 1, {"proof-invalid"}, rows.forged_and_stale),
    Case("evidence about another model", 1, {"model-not-pinned"}, rows.other_model),
    Case("a circuit that is not in the lock", 1, {"circuit-not-pinned"}, rows.other_circuit),
    Case("a changed file", 1, {"digest-mismatch"}, rows.changed_file),
    Case("a file that the manifest lists is absent", 1, {"file-absent"}, rows.absent_file),
    Case("a stray file among the bundles", 1, {"bad-archive"}, rows.stray_file),
    Case("a date in the future", 1, {"from-the-future"}, rows.future),
    Case("another context than demanded", 1, {"context-mismatch"}, rows.context_differs),
    Case("a log entry of another statement", 1, {"log-proof-invalid"}, rows.other_log_entry),
    Case("a released file that is not the pinned model", 1, {"release-mismatch"}, rows.released_other_file),
    Case("one forged bundle among five", 1, {"proof-invalid"}, rows.one_bad_among_many),
    Case(
        "an engine that is not allowed, and a forged proof",
        1,
        {"engine-not-allowed", "proof-invalid"},
        rows.forged_elsewhere,
    ),
    Case("the same bundle counted twice", 3, {"too-few-inferences"}, rows.duplicate_counted_twice),
    Case("the same inference sealed twice", 3, {"too-few-inferences"}, rows.resealed_counted_twice),
    Case("fewer inferences than demanded", 3, {"too-few-inferences"}, rows.too_few),
    Case("a stale proof", 3, {"stale"}, rows.stale),
    Case("a stale proof in a fresh manifest", 3, {"stale"}, rows.resealed_stale),
    Case("a test set-up", 3, {"srs-test-only"}, rows.test_srs),
    Case("a ceremony where transparency is demanded", 3, {"srs-below-policy"}, rows.ceremony_not_transparent),
    Case("an insecure mode that the policy does not name", 3, {"insecure-mode"}, rows.insecure_mode),
    Case("integrity only where zero knowledge is demanded", 3, {"privacy-below-policy"}, rows.integrity_only),
    Case("unaudited zero knowledge where audited is demanded", 3, {"privacy-below-policy"}, rows.unaudited),
    Case("top-1 agreement below the floor", 3, {"fidelity-below-floor"}, rows.agreement),
    Case("an error above the limit", 3, {"fidelity-below-floor"}, rows.error),
    Case("fidelity on too few samples", 3, {"fidelity-below-floor"}, rows.samples),
    Case("a floor for classes on a circuit without", 3, {"fidelity-below-floor"}, rows.no_classes),
    Case("an engine that is not allowed", 3, {"engine-not-allowed"}, rows.engine_not_allowed),
    Case("an engine that the lock does not know", 1, {"engine-not-allowed", "circuit-not-pinned"}, rows.engine_not_in_lock),
    Case("an unsigned bundle", 3, {"unsigned", "below-threshold"}, rows.unsigned),
    Case("a signature by a stranger", 3, {"below-threshold"}, rows.stranger),
    Case("two signatures by one key", 3, {"below-threshold"}, rows.one_key_of_two),
    Case("fewer signers than the trust file demands", 3, {"below-threshold"}, rows.trust_threshold),
    Case("an expired trust file", 3, {"trust-expired"}, rows.trust_expired),
    Case("a context that nothing binds", 3, {"context-not-bound"}, rows.context_unbound),
    Case("evidence outside the log", 3, {"not-logged"}, rows.not_logged),
    Case("a kind of evidence that was not shown", 3, {"evidence-missing"}, rows.missing_kind),
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


ACCEPTED: list[tuple[str, Row]] = [
    ("a proof that holds", rows.plain),
    ("the same bundle twice where one is enough", rows.duplicate),
    ("everything demanded at once", rows.strict),
    ("a test set-up that the policy names", rows.test_srs_named),
    ("a transparent, integrity-only engine that the policy allows", rows.transparent),
    ("an insecure mode that the policy names", rows.mode_named),
    ("a clock four minutes ahead", rows.slightly_ahead),
    ("a context that the proof binds", rows.bound_context),
]


@pytest.mark.usefixtures("fake_engines")
@pytest.mark.parametrize(("name", "row"), ACCEPTED, ids=[name for name, _ in ACCEPTED])
def test_is_accepted(name: str, row: Row, tmp_path: Path) -> None:
    assert _decide(World(tmp_path), row) == (0, set())


@pytest.mark.usefixtures("fake_engines")
def test_the_failing_bundle_is_named_among_many(tmp_path: Path) -> None:
    world = World(tmp_path)
    policy, bundles = rows.one_bad_among_many(world)
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
