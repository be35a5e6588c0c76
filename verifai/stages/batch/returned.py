"""What a worker that is not trusted gave back: every byte is judged as a stranger's evidence before a bundle is made of it.

The batch has the sample, so it knows the whole statement beforehand: it runs the circuit itself, which is cheap beside proving.
What is sealed is a proof that holds, of exactly that statement, under the opening that was given to this item. What a worker
says of itself (seconds, memory) is kept as a figure; what would be sealed on its word alone is computed here instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from verifai.domain.digest import Sha256, sha256
from verifai.domain.statement import Role, Statement, TensorStatement, Visibility
from verifai.engines.capabilities import Rehearsal, Rehearses
from verifai.engines.interface import EngineProof, ProveRequest, VerifiedProof, VerifyRequest
from verifai.errors import EvidenceRejected, InputRejected, Undecided, UsageError, VerifaiError
from verifai.execution.parcel import Parcel, unpack
from verifai.execution.scratch import private_directory
from verifai.stages.ready import ReadyCircuit

WRONG = "worker-answer-wrong"
FAILED = "worker-failed"
MAX_SECONDS, MAX_BYTES = 1e9, 2**53


class NotProven(Exception):
    """A worker said that it could not: its word, so the item is given to another one. ``code`` as it told."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Returned:
    """Judges what workers gave back for the items of one batch."""

    ready: ReadyCircuit
    seen: dict[Sha256, Sha256] = field(default_factory=dict)
    """Digest of a proof's own files → digest of the sample that it is of."""

    def check(self, data: bytes, request: ProveRequest, rehearsal: Rehearsal | None, sample: Sha256) -> EngineProof:
        """The proof in ``data``, if it is the one that was asked for.

        Args:
            rehearsal: of the request; ``None`` where the engine offers none, and then all tensors are public.
            sample: digest of the item's inputs.

        Raises:
            NotProven: the worker says so.
            EvidenceRejected: ``worker-answer-wrong``, with what is wrong.
        """
        parcel = unpack(data, where="answer", error=EvidenceRejected, code=WRONG)
        seconds, peak = _figures(parcel)
        own = dict(parcel.pieces)
        held = self.ready.engine.constant_files() if isinstance(self.ready.engine, Rehearses) else frozenset()
        if set(own) & held:
            raise _wrong("it sends files that are the batch's own")
        digest = sha256("\n".join(f"{sha256(file)} {name!r}" for name, file in sorted(own.items())).encode())
        if self.seen.get(digest, sample) != sample:
            raise _wrong("it is the proof that was given for another sample")
        files = {**own, **({} if rehearsal is None else rehearsal.files)}
        verified = self._verified(files, request)
        statement = verified.statement
        _compare(self.ready, statement, request, rehearsal)
        self.seen[digest] = sample
        told = tuple(one for one in verified.findings if one.code == "output-saturated")
        return EngineProof(
            files=files,
            statement=statement,
            seconds=seconds,
            peak_rss_bytes=peak,
            outputs={} if rehearsal is None else rehearsal.outputs,
            findings=(*told, *(() if rehearsal is None else rehearsal.findings)),
            clamped_cells=None if rehearsal is None else rehearsal.clamped_cells,
        )

    def _verified(self, files: Mapping[str, bytes], request: ProveRequest) -> VerifiedProof:
        with private_directory() as folder:
            paths = {}
            for place, (name, file) in enumerate(files.items()):
                # The names are the worker's; those on disk are not.
                paths[name] = folder / f"{place:04d}"
                try:
                    paths[name].write_bytes(file)
                except OSError as problem:
                    raise Undecided("disk", f"cannot write: {problem.strerror}", where=str(folder)) from None
            asked = VerifyRequest(
                files=paths,
                section=self.ready.section,
                model_sha256=self.ready.lock.model_sha256,
                context=request.context,
                allow_test_material=True,  # what the owner's own circuit was made with
                budget=self.ready.budget,
            )
            try:
                return self.ready.engine.verify(asked)
            except UsageError:
                raise  # our lock
            except Exception as problem:  # noqa: BLE001 - whatever such bytes can do, they are the worker's
                code = problem.code if isinstance(problem, VerifaiError) else type(problem).__name__
                raise _wrong(f"its proof does not hold: {str(problem)[:300]} ({code})") from None


def _figures(parcel: Parcel) -> tuple[float, int]:
    record = parcel.document
    code = record.text("code", empty=True)
    if code:
        message = record.text("message", empty=True)
        raise NotProven(code[:64], message[:300])
    seconds = record.number("seconds", low=0.0, high=MAX_SECONDS)
    peak = record.integer("peak_rss_bytes", low=0, high=MAX_BYTES)
    record.done()
    return seconds, peak


def _wrong(message: str) -> EvidenceRejected:
    return EvidenceRejected(WRONG, message, where="answer")


def _compare(ready: ReadyCircuit, statement: Statement, request: ProveRequest, rehearsal: Rehearsal | None) -> None:
    """Whether a proven statement is the one that was asked for, in everything that it shows."""
    if statement.model_sha256 != ready.lock.model_sha256 or statement.circuit_sha256 != ready.summary.circuit_sha256:
        raise _wrong("its proof is of another circuit")
    if statement.context != request.context:
        raise _wrong("its proof has another context")
    # What a registration or a link opened is in files of the batch's own; the rest is this proof's.
    own = {(one.root, one.number) for one in statement.openings if one.proof_sha256 is None}
    if own != (set() if request.opening is None else {(request.opening.root, request.opening.number)}):
        numbers = ", ".join(str(number) for _, number in sorted(own)) or "none"
        raise _wrong(f"its proof does not use exactly the opening that was reserved for it, but {numbers}")
    items = {len(array) for array in request.inputs.values()} if statement.batch else set()
    if statement.batch and items != {statement.inferences}:
        raise _wrong(f"its proof is of {statement.inferences} inferences")
    for tensor in statement.tensors:
        try:
            same = _same(ready, tensor, request, rehearsal)
        except InputRejected as problem:
            raise _wrong(f"its {tensor.role.value} {tensor.name!r} cannot be the one asked for: {problem.message}") from None
        if not same:
            raise _wrong(f"its {tensor.role.value} {tensor.name!r} is not that of the sample")


def _same(ready: ReadyCircuit, tensor: TensorStatement, request: ProveRequest, rehearsal: Rehearsal | None) -> bool:
    if tensor.visibility is Visibility.PRIVATE:
        return True  # the statement says nothing of it
    if tensor.role is Role.INPUT:
        values = request.inputs[tensor.name]
        if tensor.visibility is Visibility.PUBLIC:
            return tensor.holds(ready.engine.quantise(tensor, values))
        return ready.engine.digest(tensor, values) == tensor.digest
    if rehearsal is None:
        return True  # the proof holds and its inputs are the sample's, so this is what the circuit puts out
    if tensor.visibility is Visibility.PUBLIC:
        return tensor.holds(rehearsal.cells[tensor.name])
    return ready.engine.digest(tensor, rehearsal.outputs[tensor.name]) == tensor.digest
