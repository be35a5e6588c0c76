"""A verifier that believes everything: it takes any message, and no equation stops it, so that all of its work is done.

An attacker who proves a true statement about a costly circuit makes the real verifier do the same work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.codec import circuit_digest, decode
from verifai.engines.sumcheck.circuit.program import CommitmentShape, Visibility
from verifai.engines.sumcheck.planning.plan import plan
from verifai.engines.sumcheck.planning.price import DEFAULT, Price, price_of, price_with_openings
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.merkle import cap_size, check_path, path_length
from verifai.engines.sumcheck.protocol.proof import Opening, Proof, log_length, salt_bytes
from verifai.engines.sumcheck.protocol.script import start_transcript
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor, StatedTensor, Statement
from verifai.engines.sumcheck.verifier import levels, opening, verify
from verifai.engines.sumcheck.verifier.proof_channel import HidingChannel, ProofChannel
from verifai.errors import EvidenceRejected


class _Any:
    """Messages without end."""

    def receive_open(self, label: str, count: int) -> list[Ext]:
        values = [(3 + i, 5) for i in range(count)]
        self.transcript.send(label, values)  # type: ignore[attr-defined]
        return values

    def finish(self) -> None: ...


class _AnyChannel(_Any, ProofChannel): ...


class _AnyHidden(_Any, HidingChannel): ...


class _Same:
    """A root that no other differs from."""

    def __ne__(self, other: object) -> bool:
        return False


def _believed_path(position: int, digest: bytes, path: Sequence[bytes], cap: Sequence[bytes], where: str) -> None:
    """The work of a path, wherever it leads."""
    with suppress(EvidenceRejected):
        check_path(position, digest, path, cap, where)


def _opening(shape: CommitmentShape) -> Opening:
    """Columns of zeros, of the right lengths."""
    log = log_length(shape)
    paths = ((bytes(32),) * path_length(log),) * shape.queries
    salts = (bytes(salt_bytes(shape)),) * shape.queries if shape.hiding else ()
    return Opening(((0,) * shape.rows,) * shape.queries, paths, (bytes(32),) * cap_size(log), salts)


@contextmanager
def believing() -> Iterator[None]:
    """No equation stops the verifier."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Claim, "assert_zero", lambda self, where: None)
        patch.setattr(Claim, "assert_nonzero", lambda self, where: None)
        patch.setattr(opening, "commitment_root", lambda *given: _Same())
        patch.setattr(levels, "check_path", _believed_path)
        patch.setattr(
            verify,
            "_channel",
            lambda transcript, messages, layout: (
                _AnyChannel(transcript, ()) if layout.pads is None else _AnyHidden(transcript, (), layout.pads)
            ),
        )
        yield


def replay(data: bytes) -> Price:
    """All that verifying a proof of the circuit does until the first combination is looked at, and its price.

    Raises what planner and price refuse.
    """
    circuit = decode(data)
    check(circuit)
    price = price_of(circuit, len(data))
    price.require(DEFAULT, "circuit")
    layout = plan(circuit)
    price = price_with_openings(price, layout)
    trusted = verify.TrustedCircuit(circuit, circuit_digest(data), layout, price, DEFAULT)
    stated: list[StatedTensor] = []
    for number, port in enumerate((*circuit.inputs, *circuit.outputs)):
        tensor = circuit.tensors[port.tensor]
        if port.visibility is Visibility.PUBLIC:
            stated.append(PublicTensor((tensor.low,) * tensor.size))
        else:
            private = port.visibility is Visibility.PRIVATE
            stated.append(PrivateTensor() if private else HashedTensor(number.to_bytes(32, "little")))
    statement = Statement(tuple(stated))
    weights = verify.TrustedWeights("0" * 64, None if layout.weights else ())
    decoded = Proof(b"\0" * 32, tuple(_opening(shape) for shape in layout.commitments()), ())
    transcript = start_transcript(trusted.digest, circuit, weights.identity, statement)
    with believing():
        try:
            verify.check_proof(trusted, weights, statement, decoded, transcript)
        except EvidenceRejected as problem:
            assert "combination" in problem.message, problem
        else:
            raise AssertionError("the openings were not reached")
    return price
