"""A pytest plugin (``-p tests.support.recorded_verdicts``): writes down what the verifier was given, and what it said.

So whatever the tamper suite makes, cheating provers too, can be shown to the second verifier. ``VERIFAI_RECORD`` names the
folder that gets one file per verdict.
"""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

from tests.support.second_verifier import Answer, Case
from verifai.engines.sumcheck.circuit.codec import encode
from verifai.engines.sumcheck.circuit.program import WeightVisibility
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.payload.statement import decode_statement, encode_statement
from verifai.engines.sumcheck.protocol import soundness, storage
from verifai.engines.sumcheck.verifier import verify as verifying
from verifai.errors import EvidenceRejected

_honest = verifying.verify
_STANDARD = (soundness.SECURITY_BITS, soundness.queries_needed, storage.stored, storage.FINEST_LOG, storage.LEAST_SAVED)


def _recorded(trusted, weights, statement, proof):  # type: ignore[no-untyped-def]
    try:
        found = _honest(trusted, weights, statement, proof)
    except EvidenceRejected as problem:
        _write(trusted, weights, statement, proof, Answer(problem.code, "rejected", str(problem)))
        raise
    _write(trusted, weights, statement, proof, Answer("", ""))
    return found


def _write(trusted, weights, statement, proof, answer):  # type: ignore[no-untyped-def]
    now = (soundness.SECURITY_BITS, soundness.queries_needed, storage.stored, storage.FINEST_LOG, storage.LEAST_SAVED)
    if now != _STANDARD:  # a test's toy protocol
        return
    circuit = trusted.circuit
    try:
        data = encode_statement(circuit, statement)
        if decode_statement(circuit, data) != statement:
            return
    except (EvidenceRejected, ValueError, OverflowError, TypeError, AttributeError, struct.error):
        return  # a statement that no file holds
    files = {"circuit.bin": encode(circuit), "statement.bin": data, "proof.bin": proof}
    kind = "public"
    if circuit.weight_visibility is WeightVisibility.COMMITTED:
        kind = "root" if circuit.zero_knowledge else "committed"
    else:
        files["weights.bin"] = encode_weights(circuit, [list(cells) for cells in weights.cells])
    folder = Path(os.environ["VERIFAI_RECORD"])
    number = len(list(folder.iterdir()))
    name = f"{os.environ.get('PYTEST_CURRENT_TEST', '').rpartition(' ')[0]} #{number}"
    case = Case(name, files, trusted.digest, kind, weights.identity)
    (folder / f"{number:06}.pickle").write_bytes(pickle.dumps((case, answer)))


if "VERIFAI_RECORD" in os.environ:
    verifying.verify = _recorded
