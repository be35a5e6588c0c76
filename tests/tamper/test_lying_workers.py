"""Workers of a cluster that lie: whatever they give back, nothing false is sealed, they are named, and the rest is proven."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.batch_circuits import small_circuit, write_rows
from tests.support.crews import HONEST, LIAR, Strangers, prove_by_strangers, verified_digests, whole
from verifai.circuit_folder import CircuitFolder
from verifai.domain.digest import Sha256
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.domain.workforce import Workforce
from verifai.engines.interface import ReservedOpening
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.parcel import TAG, pack, unpack
from verifai.execution.workforce.interface import Answer
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.returned import Returned
from verifai.stages.batch.run import prove_batch
from verifai.stages.batch.shipping import Item, circuit_away
from verifai.stages.ready import ready_circuit

ROWS = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lying")


@pytest.fixture(scope="module")
def public(root: Path) -> CircuitFolder:
    return small_circuit(root, "public", Visibility.PUBLIC)


@pytest.fixture(scope="module")
def other(root: Path) -> CircuitFolder:
    (root / "other").mkdir()
    return small_circuit(root / "other", "public", Visibility.PRIVATE)


@pytest.fixture(scope="module")
def hidden(root: Path) -> CircuitFolder:
    """Weights and inputs hidden, with openings for all the lies below."""
    return small_circuit(root, "hidden", Visibility.PRIVATE, WeightVisibility.PRIVATE, budget=64)


@pytest.fixture(scope="module")
def samples(root: Path, public: CircuitFolder) -> list[Mapping[str, Any]]:
    return list(read_samples(write_rows(root / "rows.npz", ROWS), public.model))


@pytest.fixture(scope="module")
def expected(root: Path, public: CircuitFolder, hidden: CircuitFolder, samples: list[Mapping[str, Any]]) -> dict[str, Any]:
    found = {}
    for folder in (public, hidden):
        prove_batch(folder, samples, root / f"local-{folder.folder.name}", BatchOptions(context="c", context_per_sample=True))
        found[folder.folder.name] = verified_digests(folder, root / f"local-{folder.folder.name}")
    return found


def told(answer: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    parcel = unpack(answer, where="test", error=EvidenceRejected, code="x")
    length = int.from_bytes(answer[len(TAG) : len(TAG) + 8], "big")
    document = json.loads(answer[len(TAG) + 8 : len(TAG) + 8 + length])["document"]
    return document, dict(parcel.pieces)


Lie = Callable[[Strangers, int, bytes, bytes], bytes | Answer]


def _another_sample(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes:
    given = Item.from_bytes(item)
    return crew.prove(replace(given, inputs={name: -values for name, values in given.inputs.items()}).to_bytes())


def _another_context(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes:
    return crew.prove(replace(Item.from_bytes(item), context="c#000099").to_bytes())


def _the_same_again(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes:
    """The proof of the first item, for every other one."""
    return crew.seen[0][2] if crew.seen and crew.seen[0][0] != row else _another_context(crew, row, item, answer)


def _a_piece_changed(name: str, change: Callable[[bytes], bytes]) -> Lie:
    def lie(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes:
        document, pieces = told(answer)
        pieces[name] = change(pieces[name])
        return pack(document, pieces)

    return lie


def _pieces(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Lie:
    def lie(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes:
        document, pieces = told(answer)
        return pack(document, change(pieces))

    return lie


def _document(**changes: Any) -> Lie:
    def lie(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes:
        document, pieces = told(answer)
        return pack({**document, **changes}, pieces)

    return lie


class Bomb:
    """What unpickling it does, a test would notice."""

    fell = Path("never")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Bomb.fell,))


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


STRANGE = partial(Answer, data=None, worker=LIAR, lost="it is a Python object", strange=True, certain=True)

LIES: dict[str, Lie] = {
    "another sample": _another_sample,
    "another context": _another_context,
    "the same proof again": _the_same_again,
    "a proof with a bit flipped": _a_piece_changed("proof.bin", _flip),
    "a statement with a bit flipped": _a_piece_changed("statement.bin", _flip),
    "no proof": _a_piece_changed("proof.bin", lambda data: b""),
    "a proof that goes on": _a_piece_changed("proof.bin", lambda data: data + b"\0"),
    "a giant proof": _a_piece_changed("proof.bin", lambda data: data + bytes(2**26)),
    "a piece missing": _pieces(lambda pieces: {"proof.bin": pieces["proof.bin"]}),
    "no pieces": _pieces(lambda pieces: {}),
    "a circuit of its own": _pieces(lambda pieces: {**pieces, "circuit.bin": b"x"}),
    "weights of its own": _pieces(lambda pieces: {**pieces, "weights.bin": b"x"}),
    "a model beside it": _pieces(lambda pieces: {**pieces, "model.onnx": b"x"}),
    "a name that leads elsewhere": _pieces(lambda pieces: {**pieces, "../../../escaped": b"x"}),
    "a name with a null": _pieces(lambda pieces: {**pieces, "a\0b": b"x"}),
    "too many pieces": _pieces(lambda pieces: {**pieces, **{f"p{number}": b"" for number in range(5000)}}),
    "nothing": lambda crew, row, item, answer: b"",
    "random bytes": lambda crew, row, item, answer: bytes(range(256)) * 7,
    "a cut parcel": lambda crew, row, item, answer: answer[: len(answer) // 2],
    "a parcel that goes on": lambda crew, row, item, answer: answer + b"x",
    "a length beyond the end": lambda crew, row, item, answer: TAG + b"\xff" * 8 + answer[len(TAG) + 8 :],
    "a pickle": lambda crew, row, item, answer: pickle.dumps(Bomb()),
    "a pickle behind the tag": lambda crew, row, item, answer: TAG + pickle.dumps(Bomb()),
    "seconds without end": _document(seconds=1e308),
    "seconds in words": _document(seconds="soon"),
    "negative memory": _document(peak_rss_bytes=-1),
    "more fields": _document(approved=True),
    "a code that is a list": _document(code=[]),
    "what no worker sends": lambda crew, row, item, answer: Answer(
        row, None, LIAR, "it is a Python object", strange=True, certain=True
    ),
}


@pytest.fixture(scope="module")
def asked(public: CircuitFolder, samples: list[Mapping[str, Any]]) -> Any:
    """A batch's side of one item, and a worker's honest answer to it."""
    ready = ready_circuit(public)
    crew = Strangers(circuit_away(ready, 1, held=ready.engine.constant_files()), lambda *_: b"")  # type: ignore[attr-defined]
    item = Item(samples[1], "c#000001").to_bytes()
    first = Item(samples[0], "c#000000").to_bytes()
    crew.seen.append((0, first, crew.prove(first)))
    request = ready.request(samples[1], "c#000001")
    return ready, crew, item, crew.prove(item), request, ready.engine.rehearse(request)  # type: ignore[attr-defined]


def test_the_honest_answer_is_taken(asked: Any) -> None:
    ready, _, _, answer, request, rehearsal = asked
    assert Returned(ready).check(answer, request, rehearsal, Sha256("0" * 64)).statement.context == "c#000001"


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie != "what no worker sends"])
def test_a_lie_is_refused(asked: Any, tmp_path: Path, lie: str) -> None:
    Bomb.fell = tmp_path / "fell"
    ready, crew, item, answer, request, rehearsal = asked
    with pytest.raises(EvidenceRejected) as caught:
        Returned(ready).check(LIES[lie](crew, 1, item, answer), request, rehearsal, Sha256("0" * 64))
    assert caught.value.code == "worker-answer-wrong"
    assert not Bomb.fell.exists() and not list(tmp_path.parent.rglob("escaped"))


@pytest.mark.parametrize("lie", ["another sample", "what no worker sends", pytest.param("a pickle", marks=pytest.mark.slow)])
def test_nothing_false_is_sealed_and_the_rest_is_proven(
    public: CircuitFolder,
    samples: list[Mapping[str, Any]],
    expected: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lie: str,
) -> None:
    options = {"context": "c", "context_per_sample": True}
    made = prove_by_strangers(monkeypatch, public, samples, tmp_path / "e", LIES[lie], **options)
    assert (made.report.status, made.report.problems) == (0, {})
    assert verified_digests(public, tmp_path / "e") == expected["public"] and whole(tmp_path / "e")
    assert made.crew.left_out == {LIAR} and made.crew.turns[LIAR] == 1, "one lie is enough"
    assert any(LIAR in note and "gets nothing more" in note for note in made.notes)


def test_a_proof_of_another_circuit_is_refused(
    public: CircuitFolder,
    other: CircuitFolder,
    samples: list[Mapping[str, Any]],
    expected: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = circuit_away(ready_circuit(other), 1, held=frozenset({"circuit.bin", "weights.bin"}))
    options = {"context": "c", "context_per_sample": True}
    made = prove_by_strangers(
        monkeypatch, public, samples, tmp_path / "e", lambda crew, row, item, answer: crew.prove(item, shared), **options
    )
    assert made.crew.left_out == {LIAR} and verified_digests(public, tmp_path / "e") == expected["public"]


def _other_number(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes:
    given = Item.from_bytes(item)
    assert given.opening is not None
    opening = ReservedOpening(given.opening.root, given.opening.number - 40 if given.opening.number > 40 else 63)
    return crew.prove(replace(given, opening=opening).to_bytes())


def _number_of_another_item(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes:
    given, (_, waiting) = Item.from_bytes(item), crew.items[-1]
    return crew.prove(replace(given, opening=Item.from_bytes(waiting).opening).to_bytes())


HIDDEN_LIES: dict[str, Lie] = {
    "an opening that nobody reserved": _other_number,
    "the opening of another item": _number_of_another_item,
    "another sample": _another_sample,
    "the same proof again": _the_same_again,
    "a registration of its own": _pieces(lambda pieces: {**pieces, "registration.bin": b"x"}),
    "a link of its own": _pieces(lambda pieces: {**pieces, "link.bin": b"x"}),
}


REPETITIONS = ("another sample", "the same proof again", "a link of its own")
"""Each is refused in another place than the others, and ends in the same way."""


@pytest.mark.parametrize(
    "lie", [pytest.param(lie, marks=[pytest.mark.slow] if lie in REPETITIONS else []) for lie in HIDDEN_LIES]
)
def test_with_hidden_weights_no_lie_makes_a_number_come_twice(
    hidden: CircuitFolder,
    samples: list[Mapping[str, Any]],
    expected: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lie: str,
) -> None:
    options = {"context": "c", "context_per_sample": True}
    made = prove_by_strangers(monkeypatch, hidden, samples, tmp_path / "e", HIDDEN_LIES[lie], **options)
    assert made.crew.left_out == {LIAR} and made.report.status == 0
    assert verified_digests(hidden, tmp_path / "e") == expected["hidden"] and whole(tmp_path / "e")
    given = [Item.from_bytes(item).opening for _, item, _ in made.crew.seen]
    assert len(given) == len(set(given)) == ROWS + 1, "what the liar was given is burnt, and the item gets another number"


def test_a_hidden_input_cannot_be_exchanged_where_the_output_would_change(
    hidden: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement shows the output alone, so the batch runs the circuit itself."""
    made = prove_by_strangers(monkeypatch, hidden, samples, tmp_path / "e", _another_sample)
    assert any("output 'y' is not that of the sample" in note for note in made.notes)


@pytest.mark.parametrize("alone", [False, True])
def test_a_worker_that_always_fails_gets_nothing_more(
    public: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """Its word alone refuses no sample."""
    lie = _document(code="input-out-of-range", message="\x1b[31myour input is bad\n::error::")
    if alone:
        with pytest.raises(Undecided) as caught:
            prove_by_strangers(monkeypatch, public, samples, tmp_path / "e", lie, honest=False)
        assert caught.value.code == "no-worker-left"
        assert not list(tmp_path.glob("e/[0-9]*"))
        return
    made = prove_by_strangers(monkeypatch, public, samples, tmp_path / "e", lie)
    assert (made.report.status, len(made.report.made)) == (0, ROWS)
    assert HONEST not in made.crew.left_out


def test_an_item_that_everybody_fails_at_is_told_and_the_others_go_on(
    public: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(crew: Strangers, row: int, item: bytes, answer: bytes) -> bytes | Answer:
        return Answer(row, None, "", "Ray says WORKER_DIED") if row == 2 else answer

    made = prove_by_strangers(monkeypatch, public, samples, tmp_path / "e", lost, honest=False)
    assert made.report.status == 4 and [*made.report.problems] == [2]
    assert made.report.problems[2].code == "worker-failed" and "WORKER_DIED" in made.report.problems[2].message
    assert len(made.report.made) == ROWS - 1
    again = prove_by_strangers(monkeypatch, public, samples, tmp_path / "e")
    assert (again.report.earlier, len(again.report.made), again.report.status) == (ROWS - 1, 1, 0)


def test_a_worker_of_another_release_is_named_and_its_item_is_not_counted_against_anybody(
    public: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def old(crew: Strangers, row: int, item: bytes, answer: bytes) -> Answer:
        return Answer(row, None, LIAR, "it has verifai 0.0.1, and this is verifai 0.1.0", useless=True, certain=True)

    made = prove_by_strangers(monkeypatch, public, samples, tmp_path / "e", old)
    assert made.report.status == 0 and made.crew.left_out == {LIAR}
    assert any("it has verifai 0.0.1" in note and LIAR in note for note in made.notes)


def test_a_full_disk_ends_the_run_and_what_is_done_stays(
    public: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifai.stages import ready

    genuine, count = ready.write_bundle, [0]

    def write(*arguments: Any, **named: Any) -> Any:
        count[0] += 1
        if count[0] > 2:
            raise Undecided("disk", "cannot write: No space left on device")
        return genuine(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ready, "write_bundle", write)
        with pytest.raises(Undecided, match="No space left"):
            prove_by_strangers(monkeypatch, public, samples, tmp_path / "e")
    assert len(list(tmp_path.glob("e/[0-9]*"))) == 2
    assert prove_by_strangers(monkeypatch, public, samples, tmp_path / "e").report.earlier == 2


@pytest.mark.parametrize(
    ("ship", "code", "said"),
    [({}, "not-shipped", "--ship-weights"), ({"ship_weights": True}, "not-shipped", "--ship-inputs")],
)
def test_nothing_hidden_leaves_the_machine_unless_it_is_said(
    hidden: CircuitFolder,
    samples: list[Mapping[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ship: dict[str, bool],
    code: str,
    said: str,
) -> None:
    with pytest.raises(UsageError) as caught:
        prove_by_strangers(monkeypatch, hidden, samples, tmp_path / "e", workforce=Workforce(None, "ray", **ship))
    assert caught.value.code == code and said in caught.value.hint and not (tmp_path / "e").exists()


def test_of_hidden_weights_a_worker_gets_seeds_and_no_ledger(hidden: CircuitFolder, samples: Sequence[Any]) -> None:
    parcel = unpack(circuit_away(ready_circuit(hidden), 1, held=frozenset()), where="", error=UsageError, code="x")
    secrets = [name for name in parcel.pieces if name.startswith("secrets/")]
    assert secrets and not [name for name in secrets if name.endswith(".openings")]
    assert np.all([np.isfinite(sample["x"]).all() for sample in samples])


def test_a_fresh_root_that_is_made_at_the_start_reaches_the_workers(
    root: Path, samples: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every attempt would spend a number of it, and none would end in a proof."""
    folder = small_circuit(tmp_path, "spent", Visibility.PUBLIC, WeightVisibility.PRIVATE, budget=3)
    prove_batch(folder, samples[:1], tmp_path / "before")  # the registration, this proof, and the one kept for a link
    made = prove_by_strangers(monkeypatch, folder, samples[:2], tmp_path / "e", renew_roots=True)
    assert made.report.status == 0 and len(made.crew.seen) == 2
    given = [Item.from_bytes(item).opening for _, item, _ in made.crew.seen]
    assert len(set(given)) == 2
