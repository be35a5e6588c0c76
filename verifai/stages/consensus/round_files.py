"""What a voter runs in a shared round: model and inputs, one's own or copies of those in the folder.

A file of the folder is kept only once it is known to be the one that the terms name: anybody may put another there, or change
it while it is read, and a false copy that was kept would stop this voter for good.
"""

from __future__ import annotations

from pathlib import Path

from verifai.domain.digest import sha256
from verifai.errors import InputRejected, UsageError
from verifai.execution.scratch import private_directory
from verifai.stages.consensus.room import INPUTS, MODEL, Room
from verifai.stages.consensus.subject import read_inputs, read_model
from verifai.stages.consensus.vote import require_inputs

MAX_SHARED_FILE = 1 << 31


def round_model(room: Room, given: Path | None) -> Path:
    """The model ``given``, or a copy of the folder's. Raises UsageError (``file-missing``, ``job-model``)."""
    path = room.store / MODEL
    if given is not None or path.is_file():
        return given or path
    data = room.shared.read(MODEL, MAX_SHARED_FILE)
    if data is None:
        raise _not_there(MODEL, "--model")
    if sha256(data) != room.terms.job.subject.model_sha256:
        message, hint = "the model in the folder is not the one that the round names", "Give your own: --model FILE"
        raise UsageError("job-model", message, where=str(room.shared.path / MODEL), hint=hint)
    room.keep(MODEL, data)
    return path


def round_inputs(room: Room, model: Path, given: Path | None) -> Path:
    """The inputs ``given``, or a copy of those in the folder that the terms name, whatever else lies there.

    Raises:
        UsageError: ``file-missing``, ``job-model``. InputRejected: ``job-input``. UnsupportedModel: ``runner-refused``.
    """
    kept = next((room.store / name for name in INPUTS if (room.store / name).is_file()), None)
    if given is not None:
        return given
    if kept is not None:
        return kept
    content, job, refused = read_model(model), room.terms.job, ""
    if sha256(content) != job.subject.model_sha256:
        raise UsageError("job-model", "the model is not the one that the round names", where=str(model))
    for name in INPUTS:
        data = room.shared.read(name, MAX_SHARED_FILE)
        if data is None:
            continue
        try:
            with private_directory() as folder:
                (folder / name).write_bytes(data)
                require_inputs(job, read_inputs(folder / name, content, job.subject.runtime))
        except UsageError as problem:  # an input that is refused is one, too
            room.tell(f"No effect: {name}: {problem.message}")
            refused = name
            continue
        room.keep(name, data)
        return room.store / name
    if refused:
        message, hint = "the inputs in the folder are not those that the round names", "Give your own: --inputs FILE"
        raise InputRejected("job-input", message, where=str(room.shared.path / refused), hint=hint)
    raise _not_there(INPUTS[0], "--inputs")


def _not_there(name: str, option: str) -> UsageError:
    return UsageError("file-missing", f"the folder holds no {name}", where=option, hint=f"Give your own: {option} FILE")
