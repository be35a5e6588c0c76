"""Prover and verifier of the sumcheck engine over a transcript that a test scripts, with the prover's channel at hand.

They are composed of the functions that :func:`verifai.engines.sumcheck.prover.prove.commit_and_prove` and
:func:`verifai.engines.sumcheck.verifier.verify.verify` are made of, which take no coins from anybody.
"""

from __future__ import annotations

import os

from verifai.domain.progress import SILENT
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.script import start_transcript
from verifai.engines.sumcheck.protocol.statement import check_statement
from verifai.engines.sumcheck.prover.prove import ProvenStatement, bind, draw_coins, interact
from verifai.engines.sumcheck.verifier.verify import VerifiedStatement, check_proof


def prove_heard(
    key,
    witness,
    context=b"",
    *,
    opening_number=None,
    secrets=None,
    items=None,
    rng=os.urandom,
    coins=None,
    own_coins=None,
    threads=1,
):
    """The proven statement, and the channel as the prover left it.

    ``coins`` of the transcript; ``own_coins`` of the prover.
    """
    bound = bind(key, witness, context, opening_number=opening_number, secrets=secrets, items=items, rng=rng, threads=threads)
    own_coins = own_coins or draw_coins(key, bound, rng)
    transcript = start_transcript(key.digest, key.circuit, key.identity, bound.statement, coins)
    session, openings = interact(key, witness, bound, transcript, own_coins, SILENT, threads)
    proof = proofs.encode(proofs.Proof(session.matrix.root, openings, tuple(session.channel.messages)))
    return ProvenStatement(bound.statement, proof, bound.secrets), session.channel


def verify_scripted(trusted, weights, statement, proof, coins):
    """The verified statement, under scripted challenges. Raises EvidenceRejected."""
    check_statement(trusted.circuit, statement)
    decoded = proofs.decode(proof, trusted.layout.commitments())
    transcript = start_transcript(trusted.digest, trusted.circuit, weights.identity, statement, coins)
    check_proof(trusted, weights, statement, decoded, transcript)
    return VerifiedStatement(trusted.circuit, trusted.digest, weights.identity, statement)
