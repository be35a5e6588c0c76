"""A trust file on disk, with the locks that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verifai.circuit_folder import MAX_TOML_BYTES, read_lock, read_toml
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.digest import sha256
from verifai.domain.shell import shell
from verifai.domain.trust import Trust, TrustedCircuit, parse_trust
from verifai.errors import PolicyNotMet, UsageError
from verifai.execution.files import read_limited


@dataclass(frozen=True)
class TrustFile:
    """A parsed trust file and where it lies."""

    path: Path
    trust: Trust

    def circuit(self, name: str) -> tuple[TrustedCircuit, CircuitLock]:
        """What is trusted about circuit ``name``, and its lock.

        Raises:
            PolicyNotMet: ``circuit-not-trusted`` when the file does not name it.
            UsageError: ``bad-lock``, or ``lock-changed`` when the lock is not the one that the file pins.
        """
        if name not in self.trust.circuits:
            known = ", ".join(sorted(self.trust.circuits)) or "none"
            raise PolicyNotMet(
                "circuit-not-trusted",
                f"the trust file does not name circuit {name[:64]!r} (it names: {known})",
                where=str(self.path),
                hint="Add [circuits.NAME] with its lock, once you have reviewed it.",
            )
        circuit = self.trust.circuits[name]
        path = self.lock_path(name, circuit)
        if circuit.lock_sha256 is not None:
            digest = sha256(read_limited(path, limit=MAX_TOML_BYTES))
            if digest != circuit.lock_sha256:
                raise UsageError(
                    "lock-changed",
                    f"the lock's SHA-256 is {digest}, but the trust file pins {circuit.lock_sha256}",
                    where=str(path),
                    hint="Review the lock, then pin its new digest; or get back the old lock.",
                )
        lock = read_lock(path)
        if lock.name != name:
            raise UsageError("lock-changed", f"this is the lock of circuit {lock.name!r}, not of {name!r}", where=str(path))
        return circuit, lock

    def lock_path(self, name: str, circuit: TrustedCircuit) -> Path:
        """Where the lock is. The path is its maker's; whoever was sent both files has the lock beside the trust file.

        Raises:
            UsageError: ``file-missing``.
        """
        folder = self.path.parent
        path = folder / (circuit.lock or f"{name}.lock")
        if path.is_dir():
            path = path / "circuit.lock"
        if path.is_file():
            return path
        beside = [folder / "circuit.lock", folder / f"{name}.lock", folder / name / "circuit.lock"]
        if circuit.lock_sha256 is not None:  # else nothing would say that it is the one that was meant
            for other in beside:
                if other.is_file() and sha256(read_limited(other, limit=MAX_TOML_BYTES)) == circuit.lock_sha256:
                    return other
        pinned = "" if circuit.lock_sha256 is None else f" with SHA-256 {circuit.lock_sha256}"
        raise UsageError(
            "file-missing",
            f"the trust file names a lock that is not here{pinned}",
            where=str(path),
            hint=f"Put it beside the trust file, as {shell(beside[1].name)}; or mend `lock` in [circuits.{name}].",
        )


def read_trust(path: Path) -> TrustFile:
    """Read a trust file. Raises UsageError (``file-missing``, ``bad-trust``)."""
    return TrustFile(path, parse_trust(read_toml(path, code="bad-trust"), str(path)))
