"""Payloads that both verifiers are held to: frozen proofs, every operation in both suites, changes to all of their bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace

from tests.golden.make_sumcheck_proofs import stated
from tests.support import sumcheck_batches, sumcheck_examples
from tests.support.paths import ROOT
from tests.support.second_verifier import Case, Change, case_of
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit.codec import circuit_digest, decode, encode
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Visibility, WeightVisibility
from verifai.engines.sumcheck.circuit.weights import encode_weights, weights_digest
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.payload.statement import encode_statement
from verifai.engines.sumcheck.payload.weight_roots import encode_link, encode_registration
from verifai.engines.sumcheck.planning.plan import plan
from verifai.engines.sumcheck.planning.size import proof_bytes
from verifai.engines.sumcheck.protocol.proof import magic_of
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor, StatedTensor, Statement
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE, Suite
from verifai.engines.sumcheck.prover import relations as proving
from verifai.engines.sumcheck.prover.prove import ProvingKey, prepare, prove
from verifai.errors import EvidenceRejected

GOLDEN = ROOT / "tests" / "golden"
P = 2**64 - 2**32 + 1


def golden() -> Iterator[Case]:
    """The frozen proofs of both suites."""
    for path in sorted(GOLDEN.glob("sumcheck-*/*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        files = {f"{kind}.bin": path.with_suffix(f".{kind}").read_bytes() for kind in ("circuit", "weights", "proof")}
        circuit = decode(files["circuit.bin"])
        tensors = tuple(stated(one) for one in document["tensors"])
        statement = Statement(tensors, document["context"].encode(), document.get("opening_number", 0))
        files["statement.bin"] = encode_statement(circuit, statement)
        weights = "public"
        if circuit.weight_visibility is WeightVisibility.COMMITTED:
            weights = "root" if circuit.zero_knowledge else "committed"
            del files["weights.bin"]
        yield Case(f"{path.parent.name}/{path.stem}", files, document["circuit"], weights, document["weights"])


def proven(name: str, made, seed: int = 1) -> Case:  # type: ignore[no-untyped-def]
    """An honest proof of one random run."""
    circuit, cells = made
    key = prepare(circuit, cells)
    trace = run(circuit, cells, sumcheck_examples.random_input(circuit, seed))
    number = 0 if circuit.opening_budget else None
    return case_of(name, key, prove(key, trace, f"context of {name}".encode(), opening_number=number), cells)


def every_operation(suite: Suite, monkeypatch) -> Iterator[Case]:  # type: ignore[no-untyped-def]
    """Every operation that a proof can have, alone and in a batch."""
    monkeypatch.setattr(Sketch, "suite", suite)
    for name, make in sumcheck_batches.CIRCUITS.items():
        made = make()
        yield proven(f"{suite.name} {name}", made)
        circuit, cells = sumcheck_batches.in_batch(made, 3)
        _, whole = sumcheck_batches.stacked(made[0], 2, 3)
        key = prepare(circuit, cells)
        number = 0 if circuit.opening_budget else None
        shown = prove(key, run(circuit, cells, whole), opening_number=number, items=2)
        yield case_of(f"{suite.name} {name}, batch", key, shown, cells)
    hidden = {"private": True} if suite is ZERO_KNOWLEDGE else {"hashed": True}
    for name, make in (("rows", sumcheck_examples.odd_rows), ("sums", sumcheck_examples.wide_sums)):
        yield proven(f"{suite.name} hidden {name}", make(committed=True, **hidden))
    yield proven(f"{suite.name} hidden image", sumcheck_examples.odd_image(committed=True, **hidden))


SUITES = (INTEGRITY, ZERO_KNOWLEDGE)


def mutations(case: Case, count: int, seed: int) -> Iterator[Case]:
    """``count`` changes of a payload: single bits, words, elements, lengths, exchanges, in every file."""
    chance = random.Random(f"{seed} {case.name}")
    files = sorted(case.files)
    relations = [name for name in ("registration.bin", "link.bin") if name in files]
    for number in range(count):
        file = chance.choice([*files, *relations, "proof.bin", "proof.bin", "statement.bin"])
        data = case.files[file]
        at = chance.randrange(len(data))
        if chance.random() < 0.3:  # near an end, where fields of headers and the last messages are
            at = chance.choice([chance.randrange(min(96, len(data))), len(data) - 1 - chance.randrange(min(96, len(data)))])
        kind = chance.randrange(9)
        word = at // 8 * 8
        if kind == 0:
            change = Change(file, at, bytes((data[at] ^ 1 << chance.randrange(8),)))
        elif kind == 1:
            change = Change(file, at, bytes((chance.randrange(256),)))
        elif kind == 2:
            change = Change(file, at, data[at : at + 1], cut=True)
        elif kind == 3:
            change = Change(file, len(data), chance.randbytes(chance.choice([1, 8, 16, 32])))
        elif kind == 4:
            change = Change(file, at, chance.choice([P, P - 1, P + 1, 2**64 - 1, 0, 1]).to_bytes(8, "little"))
        elif kind == 5:
            other = chance.randrange(max(1, len(data) - 16))
            change = Change(file, at, data[other : other + 16][: len(data) - at])
        elif kind == 6:
            change = Change(file, word, bytes(min(32, len(data) - word)))
        elif kind == 7:
            change = Change(file, max(0, len(data) - 16 * chance.randrange(1, 6)), b"", cut=True)
        else:
            change = Change(file, at, chance.randbytes(min(8, len(data) - at)))
        changed = case.changed(change, name=f"{number}, kind {kind} in {file} at {change.at}")
        yield changed.repinned() if file in ("circuit.bin", "weights.bin") and chance.random() < 0.8 else changed


class Registrable(Sketch):
    """Declared bounds are 2^k − 1, as those of hidden weights are."""

    suite = ZERO_KNOWLEDGE

    def weight(self, shape: tuple[int, ...], bound: int = 127) -> int:
        index = super().weight(shape, bound)
        weight = self.weights[index]
        bound, norm = ((1 << value.bit_length()) - 1 for value in (weight.bound, weight.row_l1))
        self.weights[index] = replace(weight, bound=bound, row_l1=norm)
        return index


class Ranged(Sketch):
    """Declared norms follow from bounds of 2^k − 1, as where hidden weights are looked up themselves; biases have parts."""

    suite = ZERO_KNOWLEDGE

    def weight(self, shape: tuple[int, ...], bound: int = 127) -> int:
        index = super().weight(shape, bound)
        weight = self.weights[index]
        most = (1 << weight.bound.bit_length()) - 1 if len(shape) > 1 else (1 << 17) - 1
        self.weights[index] = replace(weight, bound=most, row_l1=most * (weight.size // shape[0]))
        return index


class Edged(Sketch):
    """Weights with these bounds and norms, as (bits, more), where the norm is more than what follows from the bound."""

    suite = ZERO_KNOWLEDGE

    def __init__(self, *given: tuple[int, int]) -> None:
        super().__init__(1)
        self.given = iter(given)

    def weight(self, shape: tuple[int, ...], bound: int = 127) -> int:
        bits, more = next(self.given)
        most = (1 << bits) - 1
        index = super().weight(shape, min(most, bound))
        row = most * (self.weights[index].size // shape[0])
        self.weights[index] = replace(self.weights[index], bound=most, row_l1=row + more)
        return index


EDGES: dict[str, tuple[tuple[int, int], ...]] = {
    "bounds of 1 and 15 bits": ((1, 0), (1, 0), (15, 0), (15, 0)),
    "bounds of 0": ((8, 0), (0, 0), (8, 0), (0, 2)),
    "16 bits beside 2": ((16, 0), (2, 0), (2, 0), (16, 0)),
    "norms of one more": ((8, 1), (8, 1), (8, 3), (8, 0)),
    "a norm that is too small by one": ((8, 0), (8, 0), (8, -1), (8, 0)),
}
"""Of a product of 13 by 10 and one of 10 by 5, with their biases: bounds at the edges of what is looked up itself."""


def edges() -> Iterator[Case]:
    """Payloads of hidden weights with such bounds; where no registration can be, with one of another circuit."""
    for name, given in EDGES.items():
        yield from list(_private_weights(f" of {name}", Edged(*given)))[:1]


def unproven(circuit: Circuit, name: str) -> Case:
    """A payload of the right form, its proof being zeros: the script refuses it, or something that comes before the script."""
    magic = magic_of(circuit.commitments)
    stated = tuple(_nothing(circuit, port) for port in (*circuit.inputs, *circuit.outputs))
    files = {
        "circuit.bin": encode(circuit),
        "weights.bin": encode_weights(circuit, [[0] * weight.size for weight in circuit.weights]),
        "statement.bin": encode_statement(circuit, Statement(stated, b"")),
        "proof.bin": magic + bytes(proof_bytes(circuit, plan(circuit)) - len(magic)),
    }
    return Case(name, files, circuit_digest(files["circuit.bin"]), "public", weights_digest(files["weights.bin"]))


def _nothing(circuit: Circuit, port: Port) -> StatedTensor:
    if port.visibility is Visibility.PUBLIC:
        return PublicTensor((0,) * circuit.tensors[port.tensor].size)
    return HashedTensor(bytes(32)) if port.visibility is Visibility.HASHED else PrivateTensor()


def other_errors(circuit: Circuit, by: int) -> Iterator[Case]:
    """The circuit with each bound of its table of errors moved by so many thousandths of a bit."""
    for number, step in enumerate(circuit.soundness):
        table = list(circuit.soundness)
        table[number] = replace(step, millibits=step.millibits + by)
        yield unproven(replace(circuit, soundness=tuple(table)), f"{step.label} {by:+}")


def private_weights() -> Iterator[Case]:
    """Payloads of one model whose weights are hidden: under the pinned root, and under an epoch root that is linked to it."""
    for kind, made in (("", Registrable(1)), (" in ranges", Ranged(1))):
        yield from _private_weights(kind, made)


def _private_weights(kind: str, sketch: Sketch) -> Iterator[Case]:
    hidden = sketch.requant(sketch.matmul(sketch.input((1, 13)), 10))
    circuit = sketch.finish(sketch.requant(sketch.matmul(hidden, 5), relu=False), committed=True)
    pinned, epoch = (prepare(circuit, sketch.cells, weights_seed=bytes([number]) * 32) for number in range(2))
    trace = run(circuit, sketch.cells, sumcheck_examples.random_input(circuit, 3))
    try:
        registration = encode_registration(0, proving.prove_registration(pinned, 0))
    except EvidenceRejected:  # no registration shows its norms
        registration = encode_registration(0, b"")
    for name, key, more in (("registered", pinned, {}), ("linked", epoch, {"link.bin": _link(pinned, epoch)})):
        case = case_of(f"private weights{kind}, {name}", key, prove(key, trace, b"", opening_number=5), sketch.cells)
        files = {**case.files, "registration.bin": registration, **more}
        yield replace(case, weights="private", identity=pinned.identity, files=files)


def _link(pinned: ProvingKey, epoch: ProvingKey) -> bytes:
    assert epoch.committed is not None
    return encode_link(epoch.committed.root, 1, 2, proving.prove_link(pinned, 1, epoch, 2))
