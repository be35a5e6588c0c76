"""Continuing a batch: what its index says is done is compared with the bundles on disk and with what was given this time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verifai.bundle.reader import open_bundle
from verifai.domain.digest import Sha256
from verifai.domain.progress import SILENT, Progress
from verifai.domain.proof_index import IndexHeader, IndexRow, ProofIndex, SampleStatus, first_difference, row_words, sample_id
from verifai.domain.statement import Role, Statement, Visibility
from verifai.engines.interface import ProofEngine
from verifai.errors import EvidenceRejected, InputRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.stages.batch.inputs import differing_hidden_input
from verifai.stages.evidence import section_digest, statement_digest
from verifai.stages.matching import HIDING_ROOT
from verifai.stages.ready import ReadyCircuit
from verifai.stages.verify import verify_proof

MAX_SHOWN_OUTPUTS = 4096
"""Outputs of more cells than this are left out of an index; the bundle has them."""


def check_same_batch(index: ProofIndex, header: IndexHeader, digests: Sequence[Sha256], secrets_dir: Path, where: str) -> None:
    """Refuse to continue a batch with other inputs, another circuit, context or keys than it began with.

    Args:
        header: of the run that was asked for; its ``run`` is not compared.
        digests: of the inputs given, by row.
        secrets_dir: where keyed digests of hidden inputs lie.

    Raises:
        UsageError: ``index-differs``, with what differs; ``index-inputs-unknown``.
    """
    begun = index.header
    differs = first_difference(begun, header)
    if begun.inputs_sha256 is not None and header.inputs_sha256 is not None and differs in ("", "the inputs"):
        for row in index.rows.values():
            if row.input_sha256 is not None and row.input_sha256 != digests[row.row]:
                differs = f"the input of {row_words(row.row)}"
                break
    if not differs and begun.inputs_sha256 is None:
        other = differing_hidden_input(secrets_dir, begun.run, digests)
        differs = "" if other is None else f"the input of {row_words(other)}"
    if differs:
        told = f"{differs} changed"
        if begun.samples != header.samples:
            told = f"it had {begun.samples} samples, now {header.samples} are given"
        raise UsageError(
            "index-differs",
            f"this is not the batch that was begun here: {told}",
            where=where,
            hint="Give what the first run was given, or prove into another --output folder.",
        )


def take_up(
    index: ProofIndex,
    ready: ReadyCircuit,
    samples: Sequence[Mapping[str, Any]],
    digests: Sequence[Sha256 | None],
    output: Path,
    progress: Progress,
) -> ProofIndex:
    """The index with every sample that is done: listed bundles are looked at, and one that a crash left unlisted is added.

    Raises:
        UsageError: ``index-bundle-differs``, when a listed bundle is gone or is another one; ``file-exists``, when something
            lies in a sample's place that this batch did not write.
    """
    known = {row.row for row in index.of(SampleStatus.PROVEN)}
    unlisted = [row for row in range(len(samples)) if row not in known and os.path.lexists(output / sample_id(row))]
    progress.phase(f"looking at {len(known) + len(unlisted)} bundles", len(known) + len(unlisted))
    for row in index.of(SampleStatus.PROVEN):
        _check_listed(row, output / row.id)
        progress.advance()
    found = []
    for number in unlisted:
        found.append(_unlisted(number, index.header, ready, samples[number], digests[number], output / sample_id(number)))
        progress.advance()
    return index.with_rows(found)


def _check_listed(row: IndexRow, path: Path) -> None:
    try:
        with open_bundle(path) as bundle:
            found = bundle.bundle_id
    except VerifaiError as problem:
        if problem.code == "disk":
            raise
        raise _differs(f"the index lists a bundle for {row_words(row.row)}, but {problem.message}", path) from None
    if found != row.bundle_id:
        raise _differs(f"the bundle of {row_words(row.row)} is not the one that the index lists", path)


def _differs(message: str, path: Path) -> UsageError:
    return UsageError(
        "index-bundle-differs",
        message,
        where=str(path),
        hint="Put the bundle back, or prove into another folder: no sample is proven twice.",
    )


def _unlisted(
    row: int, header: IndexHeader, ready: ReadyCircuit, sample: Mapping[str, Any], digest: Sha256 | None, path: Path
) -> IndexRow:
    """The row of a bundle that was written just before a crash.

    It is verified: no index vouches for it, and whoever can write into the folder may have put it there.
    """
    try:
        with open_bundle(path) as bundle:
            verified = verify_proof(bundle, ready.lock, allow_test_srs=True, budget=ready.budget, progress=SILENT)
            statement = verified.statement
            keys = {signer.public_key for signer in ready.signers}
            same = (
                verified.circuit.section_sha256 == section_digest(ready.section)
                and bundle.check_signatures(keys).signers == keys
                and statement.model_sha256 == header.model_sha256
                and statement.context == header.context_of(row)
                and _same_inputs(ready.engine, statement, sample)
            )
            if same:
                return proven_row(row, statement, bundle.bundle_id, digest, 0.0, path)
            message = f"it is not the bundle of {row_words(row)} of this batch"
    except (EvidenceRejected, PolicyNotMet, UsageError) as problem:
        message = f"it is no bundle of this batch: {problem.message}"
    raise UsageError("file-exists", message, where=str(path), hint="Take it away, or choose another --output folder.")


def _same_inputs(engine: ProofEngine, statement: Statement, sample: Mapping[str, Any]) -> bool:
    """Whether the statement's inputs are these, as far as it shows them."""
    for tensor in statement.of(Role.INPUT):
        values = sample[tensor.name]
        try:
            if tensor.visibility is Visibility.PUBLIC and not tensor.holds(engine.quantise(tensor, values)):
                return False
            if tensor.visibility is Visibility.HASHED and engine.digest(tensor, values) != tensor.digest:
                return False
        except InputRejected as problem:
            if problem.code != HIDING_ROOT:  # such a root says nothing without its seed, which the prover has thrown away
                return False
    return True


def proven_row(
    row: int, statement: Statement, bundle_id: Sha256, digest: Sha256 | None, seconds: float, path: Path
) -> IndexRow:
    """The index's row about a bundle on disk."""
    shown = [tensor for tensor in statement.of(Role.OUTPUT) if tensor.quantised is not None]
    small = sum(len(tensor.quantised or ()) for tensor in shown) <= MAX_SHOWN_OUTPUTS
    return IndexRow(
        row=row,
        status=SampleStatus.PROVEN,
        input_sha256=digest,
        bundle_id=bundle_id,
        statement_sha256=statement_digest(statement),
        outputs={tensor.name: tensor.values() for tensor in shown} if small else {},
        inferences=statement.inferences,
        seconds=seconds,
        size=sum(one.stat().st_size for one in path.rglob("*") if one.is_file()),
    )
