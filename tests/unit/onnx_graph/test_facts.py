"""The file of facts beside a model: of this model or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verifai.domain.digest import sha256
from verifai.domain.model_facts import MAX_BYTES, ModelFacts, Task
from verifai.errors import UsageError
from verifai.onnx_graph.facts import facts_path, read_facts, write_facts


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"a model")
    return tmp_path / "model.onnx"


FACTS = ModelFacts(sha256(b"a model"), Task.MULTILABEL, "x", (), "scores", ("a", "ü"))


def test_facts_lie_beside_the_model(model: Path) -> None:
    assert read_facts(model) is None
    write_facts(model, FACTS)
    assert facts_path(model).name == "model.onnx.facts.json"
    assert read_facts(model) == FACTS
    assert "ü" in facts_path(model).read_text()


def test_a_model_without_facts_leaves_no_old_ones(model: Path) -> None:
    write_facts(model, FACTS)
    write_facts(model, None)
    assert not facts_path(model).exists()
    write_facts(model, None)


def test_facts_of_another_model_are_refused(model: Path) -> None:
    write_facts(model, FACTS)
    model.write_bytes(b"another model")
    with pytest.raises(UsageError) as caught:
        read_facts(model)
    assert (caught.value.code, "another model" in caught.value.message) == ("bad-facts", True)
    assert "model.onnx.facts.json" in caught.value.hint


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"schema": 1, "schema": 1}', b"[" * 1000, b"\xff", b'{"a": 1.5}', b" " * (MAX_BYTES + 1)]
)
def test_a_broken_file_is_refused(content: bytes, model: Path) -> None:
    facts_path(model).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_facts(model)
    assert caught.value.code in ("bad-facts", "file-missing")


def test_facts_without_their_model_are_refused(model: Path) -> None:
    write_facts(model, FACTS)
    model.unlink()
    with pytest.raises(UsageError) as caught:
        read_facts(model)
    assert caught.value.code == "file-missing"


def test_a_folder_is_no_file_of_facts(model: Path) -> None:
    facts_path(model).mkdir()
    with pytest.raises(UsageError):
        read_facts(model)


def test_the_document_is_plain_json(model: Path) -> None:
    write_facts(model, FACTS)
    assert json.loads(facts_path(model).read_bytes())["task"] == "multilabel"
