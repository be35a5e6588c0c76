"""Many inferences in one proof, from compile to gate: every item is listed, compared, counted; nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.batch_circuits import small_circuit, write_rows
from tests.support.paths import ROOT
from verifai.bundle.reader import open_bundle
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.cli import app as cli
from verifai.domain import statement as statements
from verifai.domain.record import Record
from verifai.domain.statement import Role, Statement, Visibility, WeightVisibility
from verifai.engines.registry import engine_for
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.engines.sumcheck.payload.statement import decode_statement, encode_statement
from verifai.engines.sumcheck.verifying import check_payload
from verifai.errors import EvidenceRejected, InputRejected, PolicyNotMet, UsageError
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.run import prove_batch
from verifai.stages.compile import compile_circuit
from verifai.stages.consensus.claim import _require_inputs_named
from verifai.stages.evidence import inference_digests, shows_inputs, statement_digest
from verifai.stages.outside import SamplesOutside
from verifai.stages.prove import prove
from verifai.stages.ready import ready_circuit
from verifai.stages.verify import Expectations, find_claims, verify_bundle
from verifai.stages.weights import show_roots

BATCH, ROWS = 4, 10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batch-proofs")


def made(root: Path, name: str, visibility: Visibility, weights: WeightVisibility = WeightVisibility.PUBLIC) -> CircuitFolder:
    folder = small_circuit(root, name, visibility, weights)
    compile_circuit(folder, batch=BATCH)
    return folder


@pytest.fixture(scope="module")
def public(root: Path) -> CircuitFolder:
    return made(root, "public", Visibility.PUBLIC)


@pytest.fixture(scope="module")
def rows(root: Path) -> Path:
    return write_rows(root / "rows.npz", ROWS)


@pytest.fixture(scope="module")
def evidence(root: Path, public: CircuitFolder, rows: Path) -> Path:
    output = root / "evidence"
    list(prove(public, read_samples(rows, public.model), output))
    return output


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, document


def cells(rows: Path, first: int, last: int) -> Any:
    return np.load(rows)["x"][first:last, np.newaxis]


def lock_of(folder: CircuitFolder) -> Any:
    return read_lock(folder.lock_path)


def statement(folder: CircuitFolder, bundle: Path) -> Statement:
    return verify_bundle(bundle, lock_of(folder)).statement


def test_the_lock_pins_the_batch_and_is_reproduced(public: CircuitFolder) -> None:
    section = public.lock().section(public.spec.engine)
    assert section["batch"] == BATCH
    assert compile_circuit(public, locked=True).reproduced


def test_rows_fill_batches_in_order_and_the_last_says_how_many_it_has(
    public: CircuitFolder, evidence: Path, rows: Path
) -> None:
    found = [statement(public, evidence / f"{number:06d}") for number in range(3)]
    assert [one.inferences for one in found] == [4, 4, 2]
    assert not (evidence / "000003").exists()
    items = [item for one in found for item in one.items()]
    assert len(items) == ROWS
    for row, item in enumerate(items):
        (x,), (y,) = item.of(Role.INPUT), item.of(Role.OUTPUT)
        assert (x.shape, y.shape, item.batch) == ((1, 4), (1,), 0)
        assert np.allclose(np.array(x.values()), np.load(rows)["x"][row], atol=2 * float(x.scale))


def test_the_signed_statement_is_read_back_as_it_was(public: CircuitFolder, evidence: Path) -> None:
    one = statement(public, evidence / "000002")
    document = dict(one.to_json())
    assert Statement.from_record(Record(document, "test", error=UsageError, code="test")) == one


@pytest.mark.parametrize(
    "change",
    [{"batch": 1}, {"batch": 3, "shape": [4, 1, 4]}, {"shape": [1, 1, 4]}, {"quantised": ["1"]}],
)
def test_cells_of_a_batch_that_are_none_are_refused(public: CircuitFolder, evidence: Path, change: dict[str, Any]) -> None:
    document = dict(statement(public, evidence / "000000").to_json())
    first, *others = document["tensors"]
    changed = {**document, "tensors": [{**first, **change}, *others]}
    with pytest.raises(UsageError):
        Statement.from_record(Record(changed, "test", error=UsageError, code="test"))


def test_tensors_that_do_not_agree_on_the_batch_are_refused(public: CircuitFolder, evidence: Path) -> None:
    one = statement(public, evidence / "000000")
    with pytest.raises(ValueError, match="agree"):
        replace(one, tensors=(one.tensors[0], one.tensors[1].item(0)))


def test_exactly_the_batchs_rows_match(public: CircuitFolder, evidence: Path, rows: Path) -> None:
    bundle, lock = evidence / "000001", lock_of(public)
    right = cells(rows, 4, 8)
    verify_bundle(bundle, lock, Expectations(inputs={"x": right}))
    wrong = [right[[1, 0, 2, 3]], right[[0, 0, 2, 3]], cells(rows, 0, 4), right[:3], np.concatenate([right, right[3:]])]
    for one in wrong:
        with pytest.raises(EvidenceRejected) as caught:
            verify_bundle(bundle, lock, Expectations(inputs={"x": one}))
        assert caught.value.code == "input-mismatch"


def test_filler_matches_nothing(public: CircuitFolder, evidence: Path, rows: Path) -> None:
    """The last bundle holds two rows; given four, of which two repeat the last, it is not of them."""
    two = cells(rows, 8, 10)
    verify_bundle(evidence / "000002", lock_of(public), Expectations(inputs={"x": two}))
    with pytest.raises(EvidenceRejected):
        verify_bundle(evidence / "000002", lock_of(public), Expectations(inputs={"x": two[[0, 1, 1, 1]]}))


def test_every_item_is_shown_and_none_beyond(
    public: CircuitFolder, evidence: Path, rows: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, document = run(capsys, "verify", evidence / "000002", "--lock", public.lock_path)
    assert status == 0
    (bundle,) = document["bundles"]
    shown = bundle["statement"]
    assert shown["inferences"] == 2
    assert [{tensor["item"] for tensor in item} for item in shown["items"]] == [{0}, {1}]
    assert [len(tensor["values"]) for tensor in shown["items"][1]] == [1, 4]
    np.savez(root / "two.npz", x=np.load(rows)["x"][8:10])
    assert run(capsys, "verify", evidence / "000002", "--lock", public.lock_path, "--input", root / "two.npz")[0] == 0
    status, document = run(capsys, "verify", evidence / "000002", "--lock", public.lock_path, "--input", rows)
    assert status == 2
    assert document["bundles"][0]["findings"][0]["code"] == "bad-option"
    assert cli.run(["inspect", str(evidence / "000002")]) == 0
    text = capsys.readouterr().out
    assert "2 inferences in one proof, of 4" in text
    assert "item 1: output" in text
    assert "item 2" not in text


def test_a_gate_drafts_and_counts_distinct_items(
    root: Path, public: CircuitFolder, evidence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = root / "drafted.toml"
    assert run(capsys, "gate-init", evidence, "-o", draft, "--lock", public.lock_path)[0] == 0
    assert f"inferences = {ROWS}\n" in draft.read_text()
    assert run(capsys, "gate", evidence, "--policy", draft)[0] == 0
    draft.write_text(draft.read_text().replace(f"inferences = {ROWS}\n", f"inferences = {ROWS + 1}\n"))
    status, document = run(capsys, "gate", evidence, "--policy", draft)
    assert status == 3
    assert "too-few-inferences" in json.dumps(document)


def test_items_count_once_wherever_they_stand(root: Path, public: CircuitFolder, rows: Path) -> None:
    """The same rows in another order, in other company, twice in one batch, or before filler."""
    samples = read_samples(rows, public.model)
    chosen = [samples[n] for n in (3, 1, 1, 0, 0)]
    again = [bundle.statement for bundle in prove(public, chosen, root / "again")]
    first = [bundle.statement for bundle in prove(public, list(samples)[:4], root / "first")]
    known = {found for one in first for found in inference_digests(one)}
    assert len(known) == 4
    assert {found for one in again for found in inference_digests(one)} < known
    assert statement_digest(again[0]) != statement_digest(first[0])


def test_hidden_items_with_equal_outputs_count_once_and_a_context_once_per_bundle(root: Path, rows: Path) -> None:
    folder = made(root, "hashed", Visibility.HASHED)
    samples = read_samples(rows, folder.model)
    one, other = (next(prove(folder, list(samples)[first : first + 4], root / f"h{first}")).statement for first in (0, 1))
    outputs = {item.of(Role.OUTPUT)[0].quantised for item in (*one.items(), *other.items())}
    found = {digest for statement in (one, other) for digest in inference_digests(statement)}
    assert len(found) == len(outputs) < 8
    assert not shows_inputs(one)  # the digest is of all items, so it tells none of them from another
    verify_bundle(root / "h0" / "000000", lock_of(folder), Expectations(inputs={"x": cells(rows, 0, 4)}))
    with pytest.raises(EvidenceRejected):
        verify_bundle(root / "h0" / "000000", lock_of(folder), Expectations(inputs={"x": cells(rows, 0, 4)[[1, 0, 2, 3]]}))


def test_a_hashed_batch_that_is_not_full_is_matched_by_its_rows_alone(root: Path, rows: Path) -> None:
    folder = made(root, "part", Visibility.HASHED)
    list(prove(folder, list(read_samples(rows, folder.model))[:3], root / "p"))
    bundle, lock = root / "p" / "000000", lock_of(folder)
    verify_bundle(bundle, lock, Expectations(inputs={"x": cells(rows, 0, 3)}))
    for wrong in (cells(rows, 0, 2), cells(rows, 0, 4), cells(rows, 0, 3)[[0, 1, 1]]):
        with pytest.raises(EvidenceRejected):
            verify_bundle(bundle, lock, Expectations(inputs={"x": wrong}))


def test_private_weights_spend_one_opening_per_batch(root: Path, rows: Path) -> None:
    folder = made(root, "hidden", Visibility.PRIVATE, WeightVisibility.PRIVATE)
    before = show_roots(folder)[0].used
    found = list(prove(folder, read_samples(rows, folder.model), root / "w"))
    assert show_roots(folder)[0].used - before == len(found) == 3
    for bundle in found:
        assert verify_bundle(bundle.path, lock_of(folder)).statement == bundle.statement


def payload(folder: CircuitFolder, bundle: Path) -> tuple[Any, dict[str, bytes]]:
    section = parse_section(folder.lock().section(folder.spec.engine))
    names = ("circuit.bin", "statement.bin", "proof.bin", "weights.bin")
    return section, {name: (bundle / "payload" / name).read_bytes() for name in names}


def test_another_batch_or_count_in_lock_or_statement(public: CircuitFolder, evidence: Path) -> None:
    section, files = payload(public, evidence / "000002")
    checked = check_payload(section, files).verified
    for batch in (0, 2, 5, 8):
        with pytest.raises(UsageError) as caught:
            check_payload(replace(section, batch=batch), files)
        assert caught.value.code == "bad-lock"
    for items in (3, 4):  # the cells are those that filler has anyway
        told = replace(checked.statement, items=items)
        with pytest.raises(EvidenceRejected) as refused:
            check_payload(section, {**files, "statement.bin": encode_statement(checked.circuit, told)})
        assert refused.value.code == "proof-invalid"
    assert decode_statement(checked.circuit, files["statement.bin"]) == checked.statement


def test_a_lock_with_another_batch_is_another_circuits(public: CircuitFolder, evidence: Path, root: Path) -> None:
    other = root / "other.lock"
    other.write_text(public.lock_path.read_text().replace(f"batch = {BATCH}\n", "batch = 8\n"))
    with pytest.raises(EvidenceRejected) as caught:
        verify_bundle(evidence / "000000", read_lock(other))
    assert caught.value.code == "circuit-not-pinned"


def test_samples_outside_are_left_out_before_batches_are_made(root: Path, public: CircuitFolder) -> None:
    data = write_rows(root / "outside.npz", 6, r1_2=1e6, r4_0=-1e6)
    samples = list(read_samples(data, public.model))
    with pytest.raises(SamplesOutside):
        prove_batch(public, samples, root / "refused")
    report = prove_batch(public, samples, root / "kept", BatchOptions(keep_going=True))
    assert [one.row for one in report.outside] == [1, 4]
    (bundle,) = report.made
    kept = [item.of(Role.INPUT)[0].values() for item in bundle.statement.items()]
    wanted = [samples[row]["x"].reshape(-1) for row in (0, 2, 3, 5)]
    assert np.allclose(kept, wanted, atol=2 * float(bundle.statement.tensors[0].scale))
    assert {name: report.totals()[name] for name in ("samples", "skipped", "inferences", "bundles", "batch")} == {
        "samples": 6, "skipped": 2, "inferences": 4, "bundles": 1, "batch": BATCH
    }  # fmt: skip
    again = prove_batch(public, samples, root / "kept", BatchOptions(keep_going=True, resume=True))
    assert (again.made, again.earlier) == ((), 1)


def test_what_a_batch_takes_is_refused_in_words(root: Path, public: CircuitFolder, rows: Path) -> None:
    request = ready_circuit(public).request({"x": cells(rows, 0, 5)}, "")
    with pytest.raises(InputRejected, match="5 samples; the circuit takes 1 to 4"):
        engine_for(public.spec.engine).prove(request)


def test_circuit_toml_and_lock_have_to_agree(root: Path, rows: Path) -> None:
    folder = made(root, "toml", Visibility.PUBLIC)
    text = (folder.folder / "circuit.toml").read_text()
    for batch, allowed in ((BATCH, True), (2, False), (1, False)):
        (folder.folder / "circuit.toml").write_text(
            text.replace('engine = "sumcheck"', f'engine = "sumcheck"\nbatch = {batch}')
        )
        fresh = CircuitFolder(folder.folder)
        samples = read_samples(rows, fresh.model)
        if allowed:
            assert len(list(prove(fresh, list(samples)[:1], root / f"toml-{batch}"))) == 1
            continue
        with pytest.raises(UsageError) as caught:
            list(prove(fresh, list(samples)[:1], root / f"toml-{batch}"))
        assert caught.value.code == "stale-lock"
        assert not (root / f"toml-{batch}").exists()


def test_only_the_sumcheck_engine_takes_batches(root: Path, public: CircuitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = run(capsys, "compile", public.folder, "--engine", "ezkl", "--batch", 2)
    assert (status, document["error"]["code"]) == (2, "batch-unsupported")
    status, document = run(capsys, "compile", public.folder, "--locked", "--batch", 2)
    assert (status, document["error"]["code"]) == (2, "bad-option")


def test_an_audit_runs_the_float_model_on_every_item(
    root: Path, public: CircuitFolder, evidence: Path, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trust = root / "trust.toml"
    assert run(capsys, "trust", "init", "-o", trust, "--lock", public.lock_path)[0] == 0
    page = root / "audit.html"
    arguments = ["audit", evidence / "000001", "--trust", trust, "--report", f"html={page}"]
    status, document = run(capsys, *arguments)
    assert status == 0
    near = [one for one in document["bundles"][0]["findings"] if one["code"] == "reference-near"]
    assert len(near) == 1
    assert "in 4 of 4 items" in near[0]["message"]
    assert "Item 3: " in page.read_text()


def test_a_vote_about_one_inference_takes_no_batch_for_its_proof(public: CircuitFolder, evidence: Path, rows: Path) -> None:
    """It is genuine, so it is not called false."""
    with open_bundle(evidence / "000000") as bundle, pytest.raises(PolicyNotMet) as caught:
        _require_inputs_named(bundle, {"x": cells(rows, 0, 1)[0]})
    assert caught.value.code == "claim-batch"


def test_segments_of_one_batch_chain_and_those_of_two_do_not(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their boundary has one root for all items, filler too: the second party makes the same filler of the rows it got."""
    data, chain, boundary = ROOT / "fixtures" / "digits-cnn", root / "chain", root / "boundary.npz"
    model = data / "model.onnx"
    cut = ["split", model, "--calibration", data / "calibration.npz", "--at", "max_pool2d", "-o", chain]
    assert run(capsys, *cut)[0] == 0
    for number in (1, 2):
        assert run(capsys, "compile", chain / str(number), "--batch", 4)[0] == 0
    first = ["prove", chain / "1", data / "heldout.npz", "--limit", 3, "-o", root / "part1", "--output-tensors", boundary]
    assert run(capsys, *first)[0] == 0
    assert all(len(array) == 3 for array in np.load(boundary).values())
    assert run(capsys, "prove", chain / "2", boundary, "-o", root / "part2")[0] == 0
    locks = ["--lock", chain / "1", "--lock", chain / "2"]
    assert run(capsys, "verify-chain", root / "part1" / "000000", root / "part2" / "000000", *locks)[0] == 0
    assert run(capsys, "compile", chain / "2", "--batch", 3)[0] == 0  # the same three rows, and no filler
    assert run(capsys, "prove", chain / "2", boundary, "-o", root / "part3")[0] == 0
    assert run(capsys, "verify-chain", root / "part1" / "000000", root / "part3" / "000000", *locks)[0] == 1


def test_a_batch_whose_values_a_document_states_by_their_digest(
    root: Path, public: CircuitFolder, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A large batch: its items are in the proof's files alone, and are shown and counted from there."""
    monkeypatch.setattr(statements, "MAX_STATED", 12)
    output, draft = root / "large", root / "large.toml"
    list(prove(public, read_samples(rows, public.model), output))
    with open_bundle(output / "000000") as bundle:
        claimed = find_claims(bundle)[1].statement
    assert claimed.tensors[0].quantised_sha256 is not None
    with pytest.raises(ValueError, match="digest"):
        claimed.items()
    proven = verify_bundle(output / "000000", lock_of(public), Expectations(inputs={"x": cells(rows, 0, 4)}))
    assert len(proven.statement.items()) == len({one.item for one in proven.values}) == 4
    assert cli.run(["inspect", str(output / "000000")]) == 0
    assert "item 3: output" in capsys.readouterr().out
    assert run(capsys, "gate-init", output, "-o", draft, "--lock", public.lock_path)[0] == 0
    assert f"inferences = {ROWS}\n" in draft.read_text()
