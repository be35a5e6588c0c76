"""A round on token sequences, on disk: a bigram model with one near tie, and a verifier who saw the tie the other way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from verifai.bundle import canonical
from verifai.bundle.dsse import attest
from verifai.bundle.keys import load_signer
from verifai.consensus.environment import this_environment
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.consensus.calibration import AttackRuns, Calibration, HonestRuns, tolerance
from verifai.domain.consensus.job import OutputKind, PrecisionClass, VoteSubject
from verifai.domain.consensus.round import Beacon, BeaconRule, RoundTerms
from verifai.domain.digest import Sha256, sha256
from verifai.fingerprints.registry import fingerprint_for
from verifai.stages.consensus.vote import commit_vote, make_job, reveal_vote

VOTERS = "abc"
VOCABULARY = 32
BEACON = Beacon("lottery", 1, Sha256("5a" * 32))
PROMPTS = ([3, 0], [5, 0])
STEPS = 12
TIE = 1e-4
"""After token 0 the model prefers 1 to 2 by so many logits."""


def table() -> np.ndarray[Any, Any]:
    made = np.random.default_rng(11).normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)
    made[0, 1], made[0, 2] = 9.0, 9.0 - TIE
    return made


def model() -> bytes:
    """``input_ids`` (1, n) → ``logits`` (1, n, vocabulary)."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["logits"], axis=0)],
        "bigram",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "n", VOCABULARY])],
        [numpy_helper.from_array(table(), "table")],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()  # type: ignore[no-untyped-call]
    )


def generated(first: int) -> list[int]:
    """Greedy continuation whose first token is given."""
    tokens = [first]
    while len(tokens) < STEPS:
        tokens.append(int(table()[tokens[-1]].argmax()))
    return tokens


HONEST, TIED = generated(1), generated(2)


def write(path: Path, one: Attestation) -> None:
    path.write_bytes(canonical.encode(one.envelope.to_json()))


def make_token_round(
    folder: Path, keys: Path, answers: Sequence[Sequence[Sequence[int]]] | None = None, openings: int = 2
) -> None:
    """Write model, prompts, tolerance, terms, commitments and votes below ``folder``; keys ``a.key`` … lie in ``keys``."""
    folder.mkdir()
    given = answers or ([HONEST, HONEST], [HONEST, HONEST], [TIED, TIED])
    content, signers = model(), {name: load_signer(keys / f"{name}.key") for name in VOTERS}
    parameters = fingerprint_for(OutputKind.TOKENS).parameters({"far_percent": 0})
    subject = VoteSubject(
        sha256(content), sha256(b""), OutputKind.TOKENS, PrecisionClass.FP32, parameters=parameters, tensors=("logits",)
    )
    about = (Subject("model", subject.model_sha256),)
    honest = tuple(HonestRuns(one, sha256(one.encode()), 3000, 1e-3, 1e-3, 0) for one in ("avx2", "avx512", "threads=2"))
    attacks = (AttackRuns("int8-weights", 3000, 1.0, 2.0, 9.0, 0),)
    where = this_environment(1)
    calibration = Calibration(
        subject, where.runtime, tolerance(1e-3, 1.0), honest, attacks, 1e-3, (1e-3, 1e-3),
        "2026-01-01T00:00:00Z", "2096-01-01T00:00:00Z",
    )  # fmt: skip
    measured = attest(calibration, about)
    inputs = [{"input_ids": np.array([prompt], dtype=np.int64)} for prompt in PROMPTS]
    voters = tuple(sorted(one.public_key.keyid for one in signers.values()))
    terms = RoundTerms(
        make_job(subject, inputs, measured.id), voters, 1, 0, openings, BeaconRule(BEACON.source, BEACON.number), "tokens",
        "2026-06-01T10:00:00Z", "2026-06-01T11:00:00Z",
    )  # fmt: skip
    opened = attest(terms, about)
    commitments, kept = {}, {}
    for name, outputs in zip(VOTERS, given, strict=True):
        tokens = [{"tokens": np.array(one, dtype=np.int64)} for one in outputs]
        made, kept[name] = commit_vote(terms, opened.id, tokens, signers[name].public_key.keyid, where)
        commitments[name] = attest(made, about, [signers[name]])
    known: dict[Sha256, Any] = {one.id: one.predicate for one in commitments.values()}
    (folder / "model.onnx").write_bytes(content)
    (folder / "prompts.json").write_text(json.dumps([{"input_ids": [prompt]} for prompt in PROMPTS]))
    (folder / "beacon.json").write_text(json.dumps({"source": BEACON.source, "number": BEACON.number, "value": BEACON.value}))
    write(folder / "tolerance.json", measured)
    write(folder / "round.json", opened)
    for name in VOTERS:
        write(folder / f"{name}.commitment.json", commitments[name])
        vote = attest(reveal_vote(terms, kept[name], known, BEACON), about, [signers[name]])
        write(folder / f"{name}.vote.json", vote)
