"""A shared round over a branch of git: what of the folder is published, and that its bytes stay what they are."""

from __future__ import annotations

from pathlib import Path

from verifai.execution.git_branch import GitBranch
from verifai.execution.shared_folder import SharedFolder
from verifai.stages.consensus.room import BEACON, CALIBRATION, COORDINATOR, FOLDERS, INPUTS, MODEL, TERMS

ATTRIBUTES = ".gitattributes"
PUBLISHED = (
    *(TERMS, COORDINATOR, CALIBRATION, MODEL, BEACON, ATTRIBUTES, *INPUTS),
    *("voters", *FOLDERS.values(), "lists", "listed", "decision"),
)
"""All that a round puts into its folder. Whatever else lies there, such as somebody's private key, is not committed."""


def git_branch(folder: Path) -> GitBranch:
    """The branch over which ``folder`` is shared. Raises UsageError (``round-git``), Undecided (``git-failed``)."""
    return GitBranch(folder, PUBLISHED)


def keep_bytes(folder: Path) -> None:
    """Have git change no line end below ``folder``: messages, model and inputs count by their bytes."""
    SharedFolder(folder).publish(ATTRIBUTES, b"* -text\n")
