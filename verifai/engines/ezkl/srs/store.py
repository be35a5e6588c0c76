"""The local store of SRS files: import, fetch, generate, find. Nothing in it is trusted because it is there: every file is read
and judged again when it is used."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from verifai.domain.progress import SILENT, Progress
from verifai.engines.ezkl import calls
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.engines.ezkl.srs import ceremony
from verifai.engines.ezkl.srs.file import Srs, SrsTrust, read_srs, size_of
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.child import Limits
from verifai.execution.scratch import private_directory
from verifai.execution.user_folders import NO_HOME, data_home

STORE_VARIABLE = "VERIFAI_SRS_DIR"
_NAME = re.compile(r"(?:kzg|INSECURE-TEST)-k(\d{2})-[0-9a-f]{12}\.srs\Z")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
MAX_GENERATED_LOGROWS = 22


@dataclass(frozen=True, slots=True)
class SrsStore:
    """SRS files in one folder, named by trust, size and digest."""

    root: Path

    def files(self) -> tuple[Path, ...]:
        """The store's files, smallest first; not judged."""
        if not self.root.is_dir():
            return ()
        found = [path for path in self.root.iterdir() if _NAME.match(path.name) and path.is_file()]
        return tuple(sorted(found, key=lambda path: (_logrows_of(path), path.name)))

    def import_file(self, path: Path, *, allow_test: bool = False) -> Srs:
        """Judge ``path`` and copy it into the store.

        Raises:
            EvidenceRejected: as :func:`.file.read_srs`; or ``srs-not-ceremony`` for test material that was
                not asked for.
            UsageError: code ``file-missing``.
            Undecided: code ``disk``.
        """
        srs = read_srs(path)
        if srs.trust is SrsTrust.TEST and not allow_test:
            raise EvidenceRejected(
                "srs-not-ceremony",
                "this SRS is not from the ceremony: whoever made it can forge proofs",
                where=str(path),
                hint="Import it as test material only if you mean to: `verifai srs import --test FILE`",
            )
        target = self.root / _name(srs)
        if not target.exists():
            self._make_root()
            with private_directory(self.root) as folder:
                try:
                    shutil.copyfile(path, folder / "copy")
                except OSError as problem:
                    raise Undecided("disk", f"cannot copy: {problem.strerror}", where=str(target)) from None
                # Judged again: what was copied may not be what was read.
                copied = read_srs(folder / "copy")
                if copied.sha256 != srs.sha256:
                    raise EvidenceRejected("srs-malformed", "the file changed while it was imported", where=str(path))
                calls.move_out(folder / "copy", target)
        return read_srs(target)

    def generate(self, logrows: int, *, progress: Progress = SILENT) -> Srs:
        """Make an INSECURE-TEST SRS. Its maker can forge every proof that is checked with it.

        Raises:
            UsageError: code ``bad-option``, for a size outside 1 to 22.
            Undecided: memory, disk, or a crash.
        """
        if not 1 <= logrows <= MAX_GENERATED_LOGROWS:
            raise UsageError("bad-option", f"logrows must be 1 to {MAX_GENERATED_LOGROWS}, not {logrows}")
        self._make_root()
        progress.phase(f"generate INSECURE-TEST SRS, k = {logrows}")
        with private_directory(self.root) as folder:
            made = folder / "made.srs"
            try:
                calls.run(
                    [call("gen_srs", output="out.srs", logrows=logrows)], Fence(progress=progress), outputs={"out.srs": made}
                )
            except CallFailed as problem:
                raise calls.crashed(problem) from None
            srs = read_srs(made)
            target = self.root / _name(srs)
            calls.move_out(made, target)
        return Srs(target, srs.logrows, srs.sha256, srs.trust, srs.verifier)

    def fetch(self, logrows: int, *, wall_seconds: float = 1800, progress: Progress = SILENT) -> Srs:
        """Download the ceremony's file of this size with ezkl's own download, into a private folder; keep it only when its
        digest is the pinned one.

        Raises:
            UsageError: code ``bad-option``, for a size outside 1 to 26.
            Undecided: code ``srs-unavailable`` (offline), ``deadline``, ``disk``.
            EvidenceRejected: ``srs-malformed`` or ``srs-not-ceremony``, when something else came down.
        """
        if logrows not in ceremony.SHA256:
            raise UsageError("bad-option", f"logrows must be 1 to {ceremony.MAX_LOGROWS}, not {logrows}")
        have = self.find(logrows, exact=True)
        if have is not None:
            return have
        self._make_root()
        progress.phase(f"fetch SRS, k = {logrows} ({size_of(logrows) / 2**20:.1f} MiB)")
        proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
        fence = Fence(Limits(wall_seconds=wall_seconds), network=True, environment=proxies, progress=progress)
        with private_directory(self.root) as folder:
            got = folder / "got.srs"
            try:
                calls.run([call("get_srs", output="out.srs", logrows=logrows)], fence, outputs={"out.srs": got})
            except CallFailed as problem:
                raise Undecided(
                    "srs-unavailable",
                    f"the SRS could not be downloaded: {calls.first_line(problem.step.message)}",
                    hint="Check the network, or copy the file from elsewhere and use: `verifai srs import FILE`",
                ) from None
            srs = read_srs(got)
            if srs.trust is not SrsTrust.CEREMONY or srs.logrows != logrows:
                raise EvidenceRejected("srs-not-ceremony", "what was downloaded is not the ceremony's file")
            target = self.root / _name(srs)
            calls.move_out(got, target)
        return Srs(target, srs.logrows, srs.sha256, srs.trust, srs.verifier)

    def find(self, logrows: int, *, exact: bool = False, trust: SrsTrust = SrsTrust.CEREMONY) -> Srs | None:
        """The smallest stored SRS of this trust that is large enough; files that do not read are passed over."""
        for path in self.files():
            size = _logrows_of(path)
            if size < logrows or (exact and size != logrows):
                continue
            srs = _readable(path)
            if srs is not None and srs.trust is trust:
                return srs
        return None

    def largest(self) -> Srs | None:
        """The largest stored SRS of the ceremony; files that do not read are passed over."""
        found = (_readable(path) for path in reversed(self.files()))
        return next((srs for srs in found if srs is not None and srs.trust is SrsTrust.CEREMONY), None)

    def _make_root(self) -> None:
        if NO_HOME in self.root.parents:
            hint = f"Set {STORE_VARIABLE} to a folder that lasts."
            raise UsageError("no-home", "there is no home folder for the SRS store", hint=hint)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise Undecided("disk", f"cannot make the SRS store: {problem.strerror}", where=str(self.root)) from None


def default_store() -> SrsStore:
    """The store named by VERIFAI_SRS_DIR, else the user's data folder."""
    named = os.environ.get(STORE_VARIABLE)
    if named:
        return SrsStore(Path(named))
    return SrsStore((data_home() or NO_HOME) / "verifai" / "srs")


def find_by_digest(digest: str, logrows: int, places: Iterable[Path]) -> Srs | None:
    """The SRS file with this digest among ``places`` (files, or folders of ``*.srs``)."""
    for place in places:
        candidates = sorted(place.glob("*.srs")) if place.is_dir() else [place]
        for path in candidates:
            # The size first: it is free, and large files are slow to hash.
            if path.is_file() and path.stat().st_size == size_of(logrows):
                srs = _readable(path)
                if srs is not None and srs.sha256 == digest:
                    return srs
    return None


def _readable(path: Path) -> Srs | None:
    try:
        return read_srs(path)
    except (EvidenceRejected, UsageError):
        return None


def _logrows_of(path: Path) -> int:
    match = _NAME.match(path.name)
    return int(match[1]) if match else 0


def _name(srs: Srs) -> str:
    kind = "kzg" if srs.trust is SrsTrust.CEREMONY else SrsTrust.TEST.value
    return f"{kind}-k{srs.logrows:02d}-{srs.sha256[:12]}.srs"
