"""Evidence in a real MLflow server: logged with a model version, fetched, and an alias that moves only when a gate says so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.interop.servers import mlflow_server
from tests.support.provenance_world import World, make_world
from verifai.errors import PolicyNotMet, VerifaiError
from verifai.stages.distribute import promote_version, pull_bundles, push_bundles
from verifai.stages.gate.load import load_policy

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("world") / "world", weights="public")
    made.prove()
    return made


@pytest.fixture
def client(uri: str, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    from mlflow import MlflowClient, set_tracking_uri

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    set_tracking_uri(uri)
    return MlflowClient()


def register(client, name: str, model: Path) -> str:  # type: ignore[no-untyped-def]
    """A version whose only artifact is the model."""
    run = client.create_run("0")
    client.log_artifact(run.info.run_id, str(model), "model")
    try:
        client.create_registered_model(name)
    except Exception as problem:
        assert "exist" in str(problem)
    version = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    return f"models:/{name}/{version.version}"


def alias_of(client, name: str, alias: str) -> str:  # type: ignore[no-untyped-def]
    return str(client.get_registered_model(name).aliases.get(alias, ""))


def test_an_alias_moves_only_when_the_gate_lets_the_evidence_through(client, world: World, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    loaded = load_policy(world.policy(""))
    reference = register(client, "scorer", world.folder.folder / "model.onnx")
    now = datetime.now(UTC)
    with pytest.raises(PolicyNotMet) as caught:
        promote_version(reference, "champion", loaded, tmp_path / "none", now=now)
    assert caught.value.code == "registry-missing"
    bundle = world.root / "evidence" / "000000"
    pushed = push_bundles([bundle], reference)
    pulled = pull_bundles(reference, tmp_path / "pulled")
    assert [one for _, one in pulled.bundles] == [one for _, one in pushed.bundles]
    done = promote_version(reference, "champion", loaded, tmp_path / "judged", now=now)
    assert done.promoted and done.status == 0
    assert alias_of(client, "scorer", "champion") == reference.rpartition("/")[2]

    demanding = load_policy(world.policy('signed_by = "acme"'))
    done = promote_version(reference, "audited", demanding, tmp_path / "refused", now=now)
    assert not done.promoted and done.status == 3 and alias_of(client, "scorer", "audited") == ""

    other = tmp_path / "model.onnx"
    other.write_bytes((world.release / "scorer.onnx").read_bytes())
    swapped = register(client, "scorer", other)
    push_bundles([bundle], swapped)
    done = promote_version(swapped, "champion", loaded, tmp_path / "swapped", now=now)
    assert not done.promoted and done.status == 1, "evidence about another model lets nothing through"
    assert alias_of(client, "scorer", "champion") == reference.rpartition("/")[2]


def test_artifacts_that_are_no_bundles_are_refused(client, world: World, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    reference = register(client, "hostile", world.folder.folder / "model.onnx")
    version = client.get_model_version("hostile", reference.rpartition("/")[2])
    (tmp_path / "bundle.zip").write_bytes(b"PK\x05\x06 nonsense")
    client.log_artifact(version.run_id, str(tmp_path / "bundle.zip"), f"verifai/hostile-{version.version}")
    with pytest.raises(VerifaiError) as caught:
        pull_bundles(reference, tmp_path / "pulled")
    assert caught.value.status == 1 and not (tmp_path / "pulled").exists()


def test_what_is_not_there_is_said(client, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PolicyNotMet) as caught:
        pull_bundles("models:/nobody/1", tmp_path / "pulled")
    assert caught.value.code == "registry-missing"
