"""What a hostile MLflow server, or whoever may write to an honest one, says: no password goes elsewhere, no decoy is believed.

The package is played here, so that these run without it; `make test-interop` has the real server.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from verifai.domain.digest import sha256
from verifai.errors import EvidenceRejected, VerifaiError
from verifai.registries.mlflow import MlflowStore
from verifai.registries.reference import ModelVersion

ONNX = b"the model that a policy pins"
LOADER = """
flavors:
  onnx: {data: model.onnx, code: null, onnx_version: 1.19.0}
  python_function: {data: model.onnx, loader_module: mlflow.onnx}
"""


class Server:
    """What a server says, and what the client was asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "model").mkdir(parents=True)
        (root / "verifai" / "scorer-1").mkdir(parents=True)
        (root / "model" / "model.onnx").write_bytes(ONNX)
        self.source, self.run_place, self.logged = "mlflow-artifacts:/model", "mlflow-artifacts:/", "mlflow-artifacts:/model"
        self.listed: list[Any] | None = None
        self.asked: list[str] = []

    def _list(self, folder: Path, prefix: str) -> list[Any]:
        return [
            SimpleNamespace(
                path=f"{prefix}/{path.name}".lstrip("/"),
                is_dir=path.is_dir(),
                file_size=None if path.is_dir() else path.stat().st_size,
            )
            for path in sorted(folder.iterdir())
        ]

    def list_of_uri(self, artifact_uri: str) -> list[Any]:
        self.asked.append(artifact_uri)
        inner = artifact_uri.removeprefix(self.source).strip("/")
        return self._list(self.root / "model" / inner, inner)

    def download_uri(self, artifact_uri: str, dst_path: str) -> str:
        self.asked.append(artifact_uri)
        inner = artifact_uri.removeprefix(self.source).strip("/")
        return str(shutil.copy(self.root / "model" / inner, dst_path))

    def get_model_version(self, name: str, version: str) -> Any:
        return SimpleNamespace(run_id="run")

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        return self.source

    def get_run(self, run_id: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(artifact_uri=self.run_place))

    def get_logged_model(self, model_id: str) -> Any:
        return SimpleNamespace(artifact_location=self.logged)

    def list_artifacts(self, run_id: str, path: str) -> list[Any]:
        self.asked.append(path)
        return self._list(self.root / path, path) if self.listed is None else self.listed

    def download_artifacts(self, run_id: str, path: str, into: str) -> str:
        self.asked.append(path)
        return str(shutil.copy(self.root / path, into))

    def log_artifact(self, run_id: str, local: str, folder: str) -> None:
        self.asked.append(folder)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server(tmp_path / "server")
    mlflow, artifacts, exceptions = (ModuleType(name) for name in ("mlflow", "mlflow.artifacts", "mlflow.exceptions"))
    mlflow.MlflowClient = lambda: made  # type: ignore[attr-defined]
    mlflow.artifacts = artifacts  # type: ignore[attr-defined]
    mlflow.get_tracking_uri = mlflow.get_registry_uri = lambda: "https://mlflow.example:8443"  # type: ignore[attr-defined]
    artifacts.list_artifacts, artifacts.download_artifacts = made.list_of_uri, made.download_uri  # type: ignore[attr-defined]
    exceptions.MlflowException = type("MlflowException", (Exception,), {})  # type: ignore[attr-defined]
    for module in (mlflow, artifacts, exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


def store() -> MlflowStore:
    return MlflowStore(ModelVersion("scorer", "1"))


def test_the_only_onnx_file_is_the_model_with_and_without_a_loader(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    assert store().model_sha256(tmp_path / "a") == sha256(ONNX)
    (server.root / "model" / "MLmodel").write_text(LOADER)
    (server.root / "model" / "conda.yaml").write_text("name: env")
    assert store().model_sha256(tmp_path / "b") == sha256(ONNX)


def served(path: str) -> Callable[[Path], None]:
    """A second model, and an MLmodel that loads it."""

    def change(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"hollow")
        (folder / "MLmodel").write_text(LOADER.replace("data: model.onnx", f"data: {path}"))

    return change


def told(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "MLmodel").write_text(text) and None


@pytest.mark.parametrize(
    "change",
    [
        served("data/served.onnx"),
        served("served.ONNX"),
        served("served.bin"),
        told(LOADER.replace("mlflow.onnx", "mlflow.sklearn")),
        told(LOADER.replace("code: null", "code: code")),
        told(LOADER + "  pytorch: {data: model.onnx}\n"),
        told("flavors: {python_function: {data: model.pkl, loader_module: mlflow.sklearn}}"),
        told("flavors: !!python/object/apply:os.system [true]"),
        told("[" * 10_000),
        told("- 1"),
        told("\x00"),
        lambda folder: (folder / "model.onnx").rename(folder / "model.pb") and None,
    ],
)
def test_a_decoy_beside_what_is_served_is_no_model(change: Callable[[Path], None], server: Server, tmp_path: Path) -> None:
    """The pinned file lies there, and something else is loaded: an alias must not move."""
    change(server.root / "model")
    (tmp_path / "into").mkdir()
    assert store().model_sha256(tmp_path / "into") is None


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/model",
        "http://mlflow.example:8443/model",  # without TLS
        "https://mlflow.example/model",  # another port
        "https://mlflow.example:8443@evil.example/model",
        "mlflow-artifacts://evil.example/model",
        "models:/m-1234",
        "models:/other",
        "runs:/other/model",
    ],
)
def test_the_servers_password_goes_to_no_other_host(place: str, server: Server, tmp_path: Path) -> None:
    """Whoever may register a version, or make an experiment, names where its artifacts lie."""
    server.source = server.run_place = place
    server.logged = "https://evil.example/logged"
    (tmp_path / "one.zip").write_bytes(b"")
    works: list[Callable[[], object]] = [lambda: store().model_sha256(tmp_path), lambda: store().fetch(tmp_path, 1 << 20)]
    for work in (*works, lambda: store().put(tmp_path / "one.zip")):
        with pytest.raises(EvidenceRejected) as caught:
            work()
        assert caught.value.code == "registry-malformed"
    assert server.asked == []


@pytest.mark.parametrize(
    "place", ["https://mlflow.example:8443/model", "mlflow-artifacts:/model", "s3://bucket/m", "models:/m-7"]
)
def test_artifacts_on_the_server_itself_or_in_a_storage_are_read(place: str, server: Server, tmp_path: Path) -> None:
    server.source = place
    assert store().model_sha256(tmp_path) == sha256(ONNX)


@pytest.mark.parametrize(
    "path",
    [
        "../../evil.zip",
        "/etc/evil.zip",
        "verifai/scorer-1/../../evil.zip",
        "verifai/scorer-2/x.zip",
        "verifai/scorer-1/a\\b.zip",
    ],
)
def test_where_an_artifact_is_written_is_not_for_the_server_to_say(path: str, server: Server, tmp_path: Path) -> None:
    server.listed = [SimpleNamespace(path=path, is_dir=False, file_size=1)]
    with pytest.raises(EvidenceRejected):
        store().fetch(tmp_path, 1 << 20)
    assert server.asked == ["verifai/scorer-1"], "listed, and never fetched"


def test_sizes_have_limits_whatever_the_server_says_of_them(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verifai.registries.mlflow.MAX_MODEL_BYTES", 10)
    with pytest.raises(EvidenceRejected, match="more than 10"):
        store().model_sha256(tmp_path)
    honest = server._list
    monkeypatch.setattr(
        server, "_list", lambda *a: [SimpleNamespace(path=one.path, is_dir=one.is_dir, file_size=None) for one in honest(*a)]
    )
    (tmp_path / "again").mkdir()
    with pytest.raises(EvidenceRejected, match="more than 10"):
        store().model_sha256(tmp_path / "again")
    for number in range(1001):
        (server.root / "model" / f"{number}.txt").touch()
    with pytest.raises(VerifaiError, match="1000 artifacts"):
        store().model_sha256(tmp_path)
