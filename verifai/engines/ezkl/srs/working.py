"""The SRS that a build works with: of exactly the circuit's rows.

ezkl cuts a larger one down in every call, which for small circuits takes longer than the proof. So compile does it once. The
file is trusted for nothing by itself: it must be the cut of the source, which was judged, and the lock pins both digests.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from verifai.domain.digest import Sha256
from verifai.domain.progress import SILENT, Progress
from verifai.engines.ezkl import calls
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.engines.ezkl.srs.file import Srs, SrsTrust, read_srs, size_of
from verifai.errors import DeadlineExceeded, EngineCrashed, EvidenceRejected, UsageError
from verifai.execution.scratch import private_directory


def cut_to(
    source: Srs, logrows: int, output: Path, fence: Fence, *, near: Iterable[Path] = (), pinned: Sha256 | None = None
) -> Srs | None:
    """Put the cut of ``source`` to ``logrows`` into ``output``; take it from ``near`` if it is there, else make it.

    Args:
        source: judged, of more than ``logrows``; a copy that nobody else writes to.
        near: files, or folders of ``*.srs``, that may hold it; whatever is not the cut of ``source`` is passed over.
        pinned: digest that a file from ``near`` must have.

    Returns:
        The cut, judged; ``None`` when ``source`` has the ceremony's points and digest and its cut has no digest of the
        ceremony's: then it must not be used, and ``source`` itself will do.

    Raises:
        EvidenceRejected: code ``srs-malformed``: the points of ``source`` are not the powers of a τ.
        Undecided: out of memory or time, a crash, or a full disk.
    """
    for path in _candidates(near, logrows):
        found = _taken(path, source, output, fence, pinned)
        if found is not None:
            return found
    fence.progress.phase(f"cut the SRS to k = {logrows}")
    try:
        calls.run([call("cut_srs", source=source.path, logrows=logrows, output="cut.srs")], fence, outputs={"cut.srs": output})
    except CallFailed as problem:
        raise _not_cut(problem, source) from None
    except DeadlineExceeded as problem:
        hint = f"Use an SRS of the circuit's own size (`verifai srs fetch -k {logrows}`), or raise [budget] setup_seconds."
        raise DeadlineExceeded(problem.code, f"cutting the SRS: {problem.message}", where=problem.where, hint=hint) from None
    try:
        made = read_srs(output)
    except EvidenceRejected as problem:
        output.unlink(missing_ok=True)
        if source.trust is SrsTrust.CEREMONY and problem.code == "srs-not-ceremony":
            fence.progress.note(f"the SRS cut to k = {logrows} is not the ceremony's file: the larger one is used")
            return None
        raise EngineCrashed("engine-crashed", f"the SRS just cut is not one: {problem.message}") from None
    if not _same_set_up(made, source, logrows):
        raise EngineCrashed("engine-crashed", "the SRS just cut is not of the same set-up")
    return made


def cut_file(source: Path, logrows: int, output: Path, *, progress: Progress = SILENT) -> Srs:
    """Cut an SRS file to ``logrows`` rows, into a new file.

    Raises:
        UsageError: code ``file-missing``, ``file-exists``, or ``bad-option`` for a size that is not below the source's.
        EvidenceRejected: as :func:`.file.read_srs`; or ``srs-not-ceremony``, when the result should be the
            ceremony's and is not.
        Undecided: memory, disk, or a crash.
    """
    if output.exists():
        raise UsageError("file-exists", "the output file exists already", where=str(output), hint="Choose another name.")
    if not output.parent.is_dir():
        raise UsageError("file-missing", "no such folder for the output", where=str(output.parent))
    with private_directory() as private:
        copy = private / "source.srs"
        judged = read_srs(source)
        if not 1 <= logrows < judged.logrows:
            raise UsageError(
                "bad-option", f"an SRS of k = {judged.logrows} can be cut to k = 1 to {judged.logrows - 1}, not {logrows}"
            )
        shutil.copyfile(source, copy)
        made = cut_to(read_srs(copy), logrows, private / "made.srs", Fence(progress=progress))
        if made is None:
            raise EvidenceRejected("srs-not-ceremony", "cut to this size it is not the ceremony's file", where=str(source))
        calls.move_out(made.path, output)
    return Srs(output, made.logrows, made.sha256, made.trust, made.verifier)


def _candidates(near: Iterable[Path], logrows: int) -> list[Path]:
    paths = [path for place in near for path in (sorted(place.glob("*.srs")) if place.is_dir() else [place])]
    # The size first: it is free.
    return [path for path in paths if path.is_file() and path.stat().st_size == size_of(logrows)]


def _taken(path: Path, source: Srs, output: Path, fence: Fence, pinned: Sha256 | None) -> Srs | None:
    """``path`` as ``output``, when it is the cut of ``source``."""
    with private_directory(fence.scratch) as private:
        copy = private / "candidate.srs"
        try:
            shutil.copyfile(path, copy)
            found = read_srs(copy)
        except (OSError, EvidenceRejected, UsageError):
            return None
        logrows = found.logrows
        if (pinned is not None and found.sha256 != pinned) or not _same_set_up(found, source, logrows):
            return None
        try:
            ran = calls.run([call("is_srs_cut", candidate=copy, source=source.path)], fence)
        except CallFailed as problem:
            raise _not_cut(problem, source) from None
        if ran.values[0] is not True:
            return None
        calls.move_out(copy, output)
    return Srs(output, found.logrows, found.sha256, found.trust, found.verifier)


def _same_set_up(cut: Srs, source: Srs, logrows: int) -> bool:
    return cut.logrows == logrows and cut.verifier == source.verifier and cut.trust is source.trust


def _not_cut(problem: CallFailed, source: Srs) -> EvidenceRejected | EngineCrashed:
    if problem.step.message.startswith(("Degenerate:", "EvidenceRejected:")):
        return EvidenceRejected(
            "srs-malformed",
            "not a usable SRS: its points are not the powers of one number",
            where=str(source.path),
            hint="Fetch it again: `verifai srs fetch -k SIZE`",
        )
    return EngineCrashed("engine-crashed", f"cutting the SRS failed: {calls.first_line(problem.step.message)}")
