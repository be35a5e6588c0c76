"""Versions of models in MLflow's registry: bundles are artifacts of a version's run. What is fetched is hostile."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from verifai.domain.digest import Sha256, sha256
from verifai.errors import EvidenceRejected, PolicyNotMet, Undecided, UsageError
from verifai.execution.packages import install_hint
from verifai.onnx_graph.refusal import printable
from verifai.registries.oci import MALFORMED, MAX_REFERRERS, MISSING
from verifai.registries.reference import ModelVersion

UNAVAILABLE = "registry-unavailable"
FOLDER = "verifai"
MAX_MODEL_BYTES = 2 * 2**30


class MlflowStore:
    """One version of a model, on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, version: ModelVersion) -> None:
        """Raises UsageError (``extra-missing``), PolicyNotMet (``registry-missing``), Undecided (``registry-unavailable``)."""
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise UsageError("extra-missing", "the package mlflow is not installed", hint=install_hint("mlflow")) from None
        self._version = version
        self._client = MlflowClient()
        self._found = self._do(lambda: self._client.get_model_version(version.name, version.version))
        if not self._found.run_id:
            message = "the version has no run, so no place for artifacts of its own"
            raise PolicyNotMet(MISSING, message, where=self.where, hint="Register the model from the run that made it.")

    @property
    def where(self) -> str:
        """As the reference is written."""
        return f"models:/{self._version.name}/{self._version.version}"

    @property
    def _folder(self) -> str:
        return f"{FOLDER}/{self._version.name}-{self._version.version}"

    def put(self, packed: Path) -> None:
        """Log a packed bundle as an artifact. Raises Undecided."""
        self._do(lambda: self._client.log_artifact(self._found.run_id, str(packed), self._folder))

    def fetch(self, into: Path, limit: int) -> tuple[Path, ...]:
        """The packed bundles, in a private folder, by names of ours. Raises EvidenceRejected, Undecided."""
        listed = self._do(lambda: list(self._client.list_artifacts(self._found.run_id, self._folder)))
        if len(listed) > MAX_REFERRERS:
            raise EvidenceRejected(MALFORMED, f"{len(listed)} artifacts, more than {MAX_REFERRERS}", where=self.where)
        found: list[Path] = []
        left = 4 * limit
        for number, one in enumerate(sorted(listed, key=lambda entry: str(entry.path))):
            if one.is_dir or PurePosixPath(one.path).suffix != ".zip":
                continue
            place = into / f"{number:06d}"
            place.mkdir()
            found.append(self._download(str(one.path), one.file_size, place, min(limit, left)))
            left -= found[-1].stat().st_size
        return tuple(found)

    def model_sha256(self, into: Path) -> Sha256 | None:
        """SHA-256 of the version's only ONNX file; ``None`` for none or several. Raises EvidenceRejected, Undecided."""
        source = self._do(lambda: self._client.get_model_version_download_uri(self._version.name, self._version.version))
        from mlflow import artifacts

        listed = self._do(lambda: list(artifacts.list_artifacts(artifact_uri=source)))
        names = [one for one in listed if not one.is_dir and PurePosixPath(one.path).suffix == ".onnx"]
        if len(names) != 1:
            return None
        if names[0].file_size is not None and int(names[0].file_size) > MAX_MODEL_BYTES:
            raise EvidenceRejected(MALFORMED, f"a model over {MAX_MODEL_BYTES} bytes", where=self.where)
        uri = f"{source.rstrip('/')}/{PurePosixPath(names[0].path).name}"
        path = Path(self._do(lambda: artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into))))
        return sha256(path.read_bytes())

    def set_alias(self, alias: str) -> None:
        """Let ``alias`` name this version. Raises Undecided."""
        self._do(lambda: self._client.set_registered_model_alias(self._version.name, alias, self._version.version))

    def _download(self, path: str, size: Any, place: Path, limit: int) -> Path:
        if size is not None and int(size) > limit:
            raise EvidenceRejected(MALFORMED, f"a bundle of {size} bytes, more than {limit}", where=self.where)
        found = Path(self._do(lambda: self._client.download_artifacts(self._found.run_id, path, str(place)))).resolve()
        if not found.is_relative_to(place.resolve()) or not found.is_file() or found.is_symlink():
            raise EvidenceRejected(MALFORMED, "an artifact leaves the folder that it is written into", where=self.where)
        if found.stat().st_size > limit:
            raise EvidenceRejected(MALFORMED, f"a bundle of more than {limit} bytes", where=self.where)
        return found

    def _do(self, work: Any) -> Any:
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            return work()
        except MlflowException as problem:
            text = printable(" ".join(str(problem).split()), 300)
            if getattr(problem, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise PolicyNotMet(MISSING, text, where=self.where, hint="Check the model's name and version.") from None
            raise Undecided(UNAVAILABLE, text, where=self.where, hint="Check MLFLOW_TRACKING_URI.") from None
        except (RequestException, OSError) as problem:
            text = printable(str(problem), 300)
            raise Undecided(UNAVAILABLE, text, where=self.where, hint="Check MLFLOW_TRACKING_URI.") from None
