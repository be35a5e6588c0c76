"""The error tree. Everything verifai raises on purpose is one of these.

    VerifaiError                     code, message, hint, where; exit status of the command line
    ├── EvidenceRejected        1    some evidence is false
    ├── UsageError              2    bad option, missing file, unreadable configuration
    │   ├── UnsupportedModel    2    the model, with the node named
    │   └── InputRejected       2    an input tensor or file, with the tensor and value named
    ├── PolicyNotMet            3    evidence is genuine, but what was asked for is not met
    ├── Undecided               4    could not be checked
    │   ├── ResourceExhausted   4    memory cap reached or no memory left
    │   ├── DeadlineExceeded    4    the time limit was reached
    │   └── EngineCrashed       4    foreign code died or answered nonsense
    ├── InternalError          70    a bug of ours
    └── Interrupted           130    Ctrl-C

Foreign exceptions are translated once, in the adapter that met them. A *code* is stable (``proof-invalid``); every code is
listed with meaning and remedy in :mod:`verifai.domain.codes`, and a test holds the two together.
"""

from __future__ import annotations

from typing import ClassVar


class VerifaiError(Exception):
    """Base of all deliberate failures.

    Attributes:
        code: stable kebab-case identifier, listed in ``verifai.domain.codes``.
        message: what went wrong, one sentence.
        where: file, field, node or tensor; empty when there is none.
        hint: what to do next; empty when there is nothing to suggest.
    """

    status: ClassVar[int] = 70

    def __init__(self, code: str, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f" (at {self.where})" if self.where else ""
        return f"{self.message}{place}"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries (worker pools), so keyword-only fields must survive pickling.
        return (_rebuild, (type(self), self.code, self.message, self.where, self.hint))


def _rebuild(kind: type[VerifaiError], code: str, message: str, where: str, hint: str) -> VerifaiError:
    return kind(code, message, where=where, hint=hint)


class EvidenceRejected(VerifaiError):
    """Some evidence is false: a proof, signature, digest, input or output does not hold."""

    status = 1


class UsageError(VerifaiError):
    """The request cannot be carried out as asked: option, file, configuration."""

    status = 2


class UnsupportedModel(UsageError):
    """The model cannot be handled; ``where`` names the node."""


class InputRejected(UsageError):
    """An input tensor is missing, malformed or outside the circuit's range; ``where`` names it."""


class PolicyNotMet(VerifaiError):
    """Evidence is genuine, but missing, stale, below quorum or fidelity, or rests on test material."""

    status = 3


class Undecided(VerifaiError):
    """Neither accepted nor rejected: it could not be checked."""

    status = 4


class ResourceExhausted(Undecided):
    """A memory limit was reached."""


class DeadlineExceeded(Undecided):
    """A time limit was reached."""


class EngineCrashed(Undecided):
    """Foreign code died, or answered what it never should."""


def undecided(problem: OSError | MemoryError, *, where: str = "", hint: str = "") -> Undecided:
    """What the system refused, as an error of ours: something could not be looked at, so nothing is known about it."""
    if isinstance(problem, MemoryError):
        return ResourceExhausted("out-of-memory", "no memory left", where=where, hint="Free some memory.")
    named = problem.filename.decode(errors="replace") if isinstance(problem.filename, bytes) else problem.filename
    return Undecided(
        "disk", problem.strerror or str(problem), where=where or (named if isinstance(named, str) else ""), hint=hint
    )


class InternalError(VerifaiError):
    """A bug of ours."""

    status = 70


class Interrupted(VerifaiError):
    """The user interrupted the work."""

    status = 130
