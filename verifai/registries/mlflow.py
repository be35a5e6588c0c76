"""Versions of models in MLflow's registry: bundles are artifacts of a version's run. What is fetched is hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from verifai.domain.digest import Sha256
from verifai.domain.model_signing import safe_path
from verifai.errors import EvidenceRejected, PolicyNotMet, Undecided, UsageError
from verifai.execution.packages import install_hint
from verifai.onnx_graph.refusal import printable
from verifai.registries.oci import MALFORMED, MAX_REFERRERS, MISSING
from verifai.registries.reference import ModelVersion

UNAVAILABLE = "registry-unavailable"
FOLDER = "verifai"
MAX_MODEL_BYTES = 2 * 2**30
MAX_ARTIFACTS = 1000
_MAX_DEPTH = 8
_LOADER, _MAX_LOADER_BYTES = "MLmodel", 2**20


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
        """Log a packed bundle as an artifact. Raises EvidenceRejected (``registry-malformed``), Undecided."""
        self._require_own(self._run_place())
        self._do(lambda: self._client.log_artifact(self._found.run_id, str(packed), self._folder))

    def fetch(self, into: Path, limit: int) -> tuple[Path, ...]:
        """The packed bundles, in a private folder, by names of ours. Raises EvidenceRejected, Undecided."""
        self._require_own(self._run_place())
        listed = self._do(lambda: list(self._client.list_artifacts(self._found.run_id, self._folder)))
        if len(listed) > MAX_REFERRERS:
            raise EvidenceRejected(MALFORMED, f"{len(listed)} artifacts, more than {MAX_REFERRERS}", where=self.where)
        found: list[Path] = []
        left = 4 * limit
        for number, one in enumerate(sorted(listed, key=lambda entry: str(entry.path))):
            name = PurePosixPath(str(one.path)).name
            if str(one.path) != f"{self._folder}/{name}" or not safe_path(name):
                # It decides where the client writes, before anybody can look at what was written.
                raise EvidenceRejected(MALFORMED, f"an artifact is called {str(one.path)[:120]!r}", where=self.where)
            if one.is_dir or PurePosixPath(name).suffix != ".zip":
                continue
            place = into / f"{number:06d}"
            place.mkdir()
            found.append(self._download(str(one.path), one.file_size, place, min(limit, left)))
            left -= found[-1].stat().st_size
        return tuple(found)

    def model_sha256(self, into: Path) -> Sha256 | None:
        """SHA-256 of the version's only ONNX file; ``None`` for none or several, or where MLmodel loads something else.

        Raises EvidenceRejected, Undecided.
        """
        source = str(self._do(lambda: self._client.get_model_version_download_uri(self._version.name, self._version.version)))
        self._require_own(source)
        source = source.rstrip("/")
        files = self._files(source)
        models = [name for name in files if name.lower().endswith(".onnx")]
        if len(models) != 1 or "/" in models[0]:
            return None
        (model,) = models
        if _LOADER in files:
            loader = self._fetch_file(source, _LOADER, files[_LOADER], into, _MAX_LOADER_BYTES)
            if not _loads(loader.read_bytes(), model):
                return None
        with self._fetch_file(source, model, files[model], into, MAX_MODEL_BYTES).open("rb") as stream:
            return Sha256(hashlib.file_digest(stream, "sha256").hexdigest())

    def _files(self, source: str) -> dict[str, int | None]:
        """Sizes, as the server says, of all files below ``source`` by their path: a model may lie in any folder."""
        from mlflow import artifacts

        found: dict[str, int | None] = {}
        pending, seen = [""], 0
        while pending:
            folder = pending.pop()
            uri = f"{source}/{folder}".rstrip("/")
            for one in self._do(partial(artifacts.list_artifacts, artifact_uri=uri)):
                seen += 1
                name = "/".join(filter(None, (folder, PurePosixPath(str(one.path)).name)))
                if seen > MAX_ARTIFACTS or name.count("/") > _MAX_DEPTH or not safe_path(name):
                    message = f"more than {MAX_ARTIFACTS} artifacts, or one with an odd name: {name[:120]!r}"
                    raise EvidenceRejected(MALFORMED, message, where=self.where)
                if one.is_dir:
                    pending.append(name)
                else:
                    found[name] = None if one.file_size is None else int(one.file_size)
        return found

    def _fetch_file(self, source: str, name: str, size: int | None, into: Path, limit: int) -> Path:
        from mlflow import artifacts

        if size is not None and size > limit:
            raise EvidenceRejected(MALFORMED, f"{name[:80]!r} has {size} bytes, more than {limit}", where=self.where)
        place = into / f"file-{name}"
        place.mkdir()
        uri = f"{source}/{name}"
        return self._kept(self._do(lambda: artifacts.download_artifacts(artifact_uri=uri, dst_path=str(place))), place, limit)

    def _run_place(self) -> str:
        return str(self._do(lambda: self._client.get_run(self._found.run_id).info.artifact_uri))

    def _require_own(self, uri: str, depth: int = 0) -> None:
        """Where artifacts lie is not for others to say: the client sends the server's password there.

        Whoever may register a version, or make an experiment, names that place.

        Raises:
            EvidenceRejected: ``registry-malformed``: another host than the server's, or one without TLS.
        """
        import mlflow

        parts, client = urlsplit(uri), self._client
        if parts.scheme in ("runs", "models"):
            first, _, rest = parts.path.strip("/").partition("/")
            further = None
            if depth < _MAX_DEPTH and parts.scheme == "runs":
                further = self._do(lambda: client.get_run(first).info.artifact_uri)
            elif depth < _MAX_DEPTH and first.startswith("m-"):
                further = self._do(lambda: client.get_logged_model(first).artifact_location)
            elif depth < _MAX_DEPTH and rest:
                further = self._do(lambda: client.get_model_version_download_uri(first, rest.partition("/")[0]))
            if further is None:
                raise EvidenceRejected(MALFORMED, f"artifacts lie at {printable(uri, 200)}", where=self.where)
            self._require_own(str(further), depth + 1)
            return
        if not parts.scheme.startswith(("http", "mlflow-artifacts")) or not parts.netloc:
            return  # on the server asked, in this machine's files, or in a storage with passwords of its own
        known = [urlsplit(str(one)) for one in (mlflow.get_tracking_uri(), mlflow.get_registry_uri())]
        if not any(one.netloc == parts.netloc and (one.scheme, parts.scheme) != ("https", "http") for one in known):
            message = f"its artifacts lie on another host, which would get the server's password: {printable(uri, 200)}"
            raise EvidenceRejected(MALFORMED, message, where=self.where, hint="Ask whoever registered the version.")

    def set_alias(self, alias: str) -> None:
        """Let ``alias`` name this version. Raises Undecided."""
        self._do(lambda: self._client.set_registered_model_alias(self._version.name, alias, self._version.version))

    def _download(self, path: str, size: Any, place: Path, limit: int) -> Path:
        if size is not None and int(size) > limit:
            raise EvidenceRejected(MALFORMED, f"a bundle of {size} bytes, more than {limit}", where=self.where)
        return self._kept(self._do(lambda: self._client.download_artifacts(self._found.run_id, path, str(place))), place, limit)

    def _kept(self, written: Any, place: Path, limit: int) -> Path:
        """What the client wrote, once it lies where it was to, and is no larger than it may be."""
        found = Path(str(written)).resolve()
        if not found.is_relative_to(place.resolve()) or not found.is_file() or found.is_symlink():
            raise EvidenceRejected(MALFORMED, "an artifact leaves the folder that it is written into", where=self.where)
        if found.stat().st_size > limit:
            raise EvidenceRejected(MALFORMED, f"more than {limit} bytes", where=self.where)
        return found

    def _do(self, work: Callable[[], Any]) -> Any:
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


def _loads(data: bytes, model: str) -> bool:
    """Whether an MLmodel file lets this ONNX file be loaded, and nothing else: another flavour would serve another model."""
    yaml = import_module("yaml")  # which comes with mlflow
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict) or not {"onnx"} <= set(flavors) <= {"onnx", "python_function"}:
        return False
    if not all(isinstance(one, dict) and one.get("data") == model and not one.get("code") for one in flavors.values()):
        return False
    return "python_function" not in flavors or flavors["python_function"].get("loader_module") == "mlflow.onnx"
