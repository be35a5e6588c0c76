"""Provers of either suite that may be changed before they commit, and the verifier of their proofs.

The zero-knowledge suite's verifier collects its equations and holds them all at the openings, so that its refusal does not say
which one is false. The harness finds that out: it knows the pads, and so what every collected equation comes to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_scripted import prove_heard
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.hiding import HiddenClaim, Tape
from verifai.engines.sumcheck.prover.channel import HidingProverChannel, ProverChannel
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.prover.witness import Witness
from verifai.engines.sumcheck.verifier.proof_channel import HidingChannel
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected

WEIGHTS_SEED = bytes(range(32))
"""Whoever commits the same weights from it gets the same root; the integrity-only suite needs none."""


@dataclass(frozen=True)
class Refusal:
    """Why a proof was refused.

    Attributes:
        where: the first false equation's label; else where the verifier stopped.
        stopped: where the verifier stopped. equations: labels of all false equations that it had collected by then.
    """

    code: str
    where: str
    stopped: str
    equations: tuple[str, ...] = ()


def _forms(tape: Tape, pads) -> dict[int, field.Ext]:
    """What every form on the verifier's tape comes to; pads are the forms below 0."""
    values: dict[int, field.Ext] = {~number: pad for number, pad in enumerate(pads)}
    for form, entry in enumerate(tape._entries):
        values[form] = field.total(field.product(values[part], factor) for part, factor in entry)
    return values


@contextmanager
def noted_equations() -> Iterator[list[tuple[str, HiddenClaim]]]:
    """Label and form of every hidden equation that is asserted meanwhile."""
    noted: list[tuple[str, HiddenClaim]] = []
    honest = HiddenClaim.assert_zero

    def assert_zero(self, where):
        noted.append((where, self))
        honest(self, where)

    HiddenClaim.assert_zero = assert_zero
    try:
        yield noted
    finally:
        HiddenClaim.assert_zero = honest


def false_equations(noted, pads) -> tuple[str, ...]:
    """Labels of the equations that do not hold for these pads."""
    if not noted:
        return ()
    values = _forms(noted[0][1].tape, pads)
    return tuple(
        where for where, claim in noted if field.add(claim.value, field.product(claim.factor, values[claim.form])) != field.ZERO
    )


_TWINS: set[bytes] = set()
"""Runs whose honest proof was verified already."""


class Cheat:
    """A prover whose witness may be changed before it is committed, and the verifier of its proof.

    The same run without a cheat is proven and verified first, once per run: nothing but the cheat may be what is refused.
    """

    def __init__(self, circuit, weights, inputs=None, *, run_weights=None, twin=True):
        self.circuit, self.true_weights = circuit, weights
        inputs = inputs or examples.random_input(circuit)
        used = weights if run_weights is None else run_weights
        self.trace = run(circuit, used, inputs)
        self.key = prepare(circuit, used, weights_seed=WEIGHTS_SEED)
        self.witness = Witness(circuit, self.key.layout, self.trace.tensors, self.trace.columns)
        self.channel: ProverChannel | None = None
        self._given = None
        if twin:
            self._check_twin(inputs)

    def _check_twin(self, inputs):
        parts = [encode(self.circuit), *(cells.tobytes() for cells in (*self.true_weights, *inputs))]
        name = sha256(b"".join(parts)).digest()
        if name not in _TWINS:
            assert Cheat(self.circuit, self.true_weights, inputs, twin=False).verify().circuit == self.circuit
            _TWINS.add(name)

    def number(self, kind, which=0):
        return [i for i, op in enumerate(self.circuit.ops) if isinstance(op, kind)][which]

    def op(self, kind, which=0):
        return self.circuit.ops[self.number(kind, which)]

    def prove(self, context=b"", *, opening_number=0, **more):
        proven, self.channel = prove_heard(self.key, self.witness, context, opening_number=opening_number, **more)
        return proven

    def given(self):
        """What the verifier has from outside: circuit and weights, by their digest and identity."""
        if self._given is None:
            data = encode(self.circuit)
            trusted = trust_circuit(data, circuit_digest(data))
            honest = prepare(self.circuit, self.true_weights, weights_seed=WEIGHTS_SEED)
            blob = encode_weights(self.circuit, [cells.reshape(-1).tolist() for cells in self.true_weights])
            self._given = trusted, trust_weights(trusted, honest.identity, blob)
        return self._given

    def verify(self, context=b"", **more):
        proven = self.prove(context, **more)
        return verify(*self.given(), proven.statement, proven.proof)

    def refused(self, **more) -> Refusal:
        """Prove and verify; the verifier's refusal."""
        self.given()
        with noted_equations() as noted, pytest.raises(EvidenceRejected) as caught:
            self.verify(**more)
        error = caught.value
        assert error.code in ("proof-invalid", "statement-invalid")
        found = ()
        if isinstance(self.channel, HidingProverChannel):
            theirs = [(where, claim) for where, claim in noted if isinstance(claim.session, HidingChannel)]
            found = false_equations(theirs, self.channel._values)
        return Refusal(error.code, found[0] if found else error.where, error.where, found)


class Liar:
    """Adds 1 to one element of what it says, enters the lie into its transcript, and goes on as if it were true."""

    target = (0, 0)
    said = 0
    nested = False

    def lie(self, values):
        message, element = self.target
        if self.said == message:
            values = [field.add(v, field.ONE) if i == element % len(values) else v for i, v in enumerate(values)]
        self.said += 1
        return values

    def send(self, label, values):
        values, self.nested = self.lie(values), True
        try:
            return super().send(label, values)
        finally:
            self.nested = False

    def send_open(self, label, values):
        super().send_open(label, values if self.nested else self.lie(values))


class PlainLiar(Liar, ProverChannel):
    pass


class EncryptingLiar(Liar, HidingProverChannel):
    pass
