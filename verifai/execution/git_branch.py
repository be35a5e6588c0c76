"""A folder shared over a branch of git: what one party writes there is committed and pushed, what others pushed is merged.

The program `git` of this machine does it, in the user's own working copy, with the user's own access. Only names that the
caller lists are ever committed, so that a private key that lies beside them is not published. Nothing that comes over the
branch is believed: who reads the folder judges each file by its signature, so a conflict can be settled in any way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from verifai.errors import Undecided, UsageError

SECONDS = 300.0
"""What one run of git may take."""
_TRIES = 8
"""How often others may push first before it is given up."""
_HINT = "Use a working copy of a branch that all push to: git clone URL rounds && cd rounds && git push -u origin HEAD"
_IDENTITY = ("-c", "user.name=verifai", "-c", "user.email=round@verifai.invalid")


class GitBranch:
    """The branch that a working copy follows.

    Args:
        folder: in the working copy; it need not be there yet.
        names: files and folders in ``folder`` that may be published.

    Raises:
        UsageError: ``round-git``, when the folder lies in no working copy of a branch with an upstream.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, tuple(names)
        self._at = folder if folder.is_dir() else folder.absolute().parent
        self._identity: tuple[str, ...] = ()
        self._seen = ""
        branch = self._ask("symbolic-ref", "--short", "-q", "HEAD")
        self._remote = self._ask("config", f"branch.{branch}.remote") if branch else ""
        self._ref = self._ask("config", f"branch.{branch}.merge") if branch else ""
        if not self._remote or not self._ref:
            told = f"the branch {_plain(branch, 80)!r} follows no other" if branch else "no branch of git is checked out"
            raise UsageError("round-git", told, where=str(folder), hint=_HINT)
        self._top = self._ask("rev-parse", "--show-toplevel")
        self._require_plain()
        if not self._ask("config", "user.email"):
            self._identity = _IDENTITY

    def pull(self) -> None:
        """Take in what others pushed. Raises Undecided: ``git-failed``."""
        self._commit()
        self._take()

    def push(self) -> None:
        """Publish what was written, where anything was. Raises Undecided: ``git-failed``."""
        self._commit()
        for _ in range(_TRIES):
            if self._head() == self._seen:
                return
            done = self._run("push", "-q", self._remote, f"HEAD:{self._ref}")
            if done.returncode == 0:
                self._seen = self._head()
                return
            if not self._take():  # not because others were faster
                raise _failed("push", done)
        raise Undecided("git-failed", "others pushed first again and again", hint="Run the same command again to go on.")

    def _take(self) -> bool:
        """Fetch and merge; whether there was anything new."""
        done = self._run("fetch", "-q", "--no-tags", "--no-recurse-submodules", self._remote, self._ref)
        if done.returncode:
            raise _failed("fetch", done)
        seen = self._ask("rev-parse", "FETCH_HEAD")
        new = seen != self._seen
        self._seen = seen
        if self._run("merge-base", "--is-ancestor", seen, "HEAD").returncode:
            # A branch that somebody wrote anew is taken as well: what counts is kept elsewhere, and said again.
            merged = self._run(*self._identity, "merge", "-q", "--no-edit", "--no-verify", "--no-gpg-sign", "-X", "ours",
                               "--allow-unrelated-histories", seen)  # fmt: skip
            if merged.returncode:
                self._settle(merged)
            self._require_plain()
        return new

    def _require_plain(self) -> None:
        """What came over the branch must not lead out of the working copy: a link could stand where the folder was."""
        place = self._folder.absolute()
        for one in (place, *place.parents):
            if one.exists() and one.samefile(self._top):
                return
            if one.is_symlink():
                break
        message = "a link stands where the round's folder should be, or it lies outside the working copy"
        raise Undecided(
            "git-failed", message, where=str(self._folder), hint="Do not go on here: see who put it there (git log)."
        )

    def _settle(self, merged: subprocess.CompletedProcess[bytes]) -> None:
        """Where one side removed what the other changed, git asks. Below the folder the file goes: its maker says it again."""
        names = self._run("diff", "--name-only", "--diff-filter=U", "-z", "--relative").stdout.split(b"\0")
        mine = [os.fsdecode(one) for one in names if one]
        everywhere = [one for one in self._run("diff", "--name-only", "--diff-filter=U", "-z").stdout.split(b"\0") if one]
        if self._folder.is_dir() and mine and len(mine) == len(everywhere):
            self._run("rm", "-q", "-f", "--ignore-unmatch", "--", *mine)
            if self._run(*self._identity, "commit", "-q", "--no-edit", "--no-verify", "--no-gpg-sign").returncode == 0:
                return
        self._run("merge", "--abort")
        raise _failed("merge", merged)

    def _commit(self) -> None:
        there = [name for name in self._names if os.path.lexists(self._folder / name)]
        if not there:
            return
        if (done := self._run("add", "-A", "-f", "--", *there)).returncode:
            raise _failed("add", done)
        if self._run("diff", "--cached", "--quiet", "--", *there).returncode:
            done = self._run(
                *self._identity, "commit", "-q", "--no-verify", "--no-gpg-sign", "-m", "Files of a round", "--", *there
            )
            if done.returncode:
                raise _failed("commit", done)

    def _head(self) -> str:
        return self._ask("rev-parse", "HEAD")

    def _ask(self, *arguments: str) -> str:
        return self._run(*arguments).stdout.decode("utf-8", "replace").strip()

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        own = {name: text for name, text in os.environ.items() if not name.startswith("GIT_") or name.startswith("GIT_SSH")}
        # It must never wait for somebody to type, nor take a name for a pattern.
        env = own | {"GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C"}
        folder = self._folder if self._folder.is_dir() else self._at
        try:
            child = subprocess.Popen(
                ["git", "-C", str(folder), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                start_new_session=True,
            )
        except OSError as problem:
            message = f"git cannot be started: {problem.strerror}"
            raise Undecided("git-failed", message, hint="Install git, or leave --git out and pull and push by hand.") from None
        try:
            out, err = child.communicate(timeout=SECONDS)
        except BaseException as problem:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            if isinstance(problem, subprocess.TimeoutExpired):
                message = f"git {arguments[0]} took more than {SECONDS:.0f} seconds"
                raise Undecided("git-failed", message, where=str(self._folder), hint="Try it by hand: git fetch") from None
            raise
        return subprocess.CompletedProcess(["git", *arguments], child.returncode, out, err)


def _plain(text: str, limit: int) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:limit])


def _failed(what: str, done: subprocess.CompletedProcess[bytes]) -> Undecided:
    lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    said = _plain(lines[-1] if lines else f"status {done.returncode}", 300)
    return Undecided("git-failed", f"git {what}: {said}", hint=f"Try it by hand: git {what}. Then run the same command again.")
