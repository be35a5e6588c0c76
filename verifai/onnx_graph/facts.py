"""Files beside a model: facts (``model.onnx.facts.json``) and a tokenizer (``model.onnx.tokenizer.json``)."""

from __future__ import annotations

import json
from pathlib import Path

from verifai.domain import strict_json
from verifai.domain.digest import sha256
from verifai.domain.model_facts import CODE, MAX_BYTES, SUFFIX, ModelFacts
from verifai.domain.tokenizer import SUFFIX as TOKENIZER
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_atomic
from verifai.onnx_graph.limits import MAX_FILE_BYTES


def facts_path(model: Path) -> Path:
    """Where the facts about the model in the file ``model`` are kept."""
    return model.with_name(model.name + SUFFIX)


def read_facts(model: Path) -> ModelFacts | None:
    """The facts beside ``model``; ``None`` when there are none. Whoever wrote the file says them: no verdict rests on them.

    Raises:
        UsageError: ``bad-facts`` when the file is malformed or belongs to another model; ``file-missing``.
    """
    path = facts_path(model)
    if not path.exists():
        return None
    data = read_limited(path, limit=MAX_BYTES)
    document = strict_json.loads(data, where=str(path), max_bytes=MAX_BYTES, error=UsageError, code=CODE)
    facts = ModelFacts.from_document(document, str(path))
    if facts.model_sha256 != sha256(read_limited(model, limit=MAX_FILE_BYTES)):
        raise UsageError(
            CODE,
            "the facts belong to another model",
            where=str(path),
            hint=f"Export the model again, or remove the file {path.name}.",
        )
    return facts


def write_facts(model: Path, facts: ModelFacts | None) -> None:
    """Write the facts beside ``model``, or remove those that an earlier export left there. Raises OSError."""
    path = facts_path(model)
    if facts is None:
        path.unlink(missing_ok=True)
    else:
        write_atomic(path, (json.dumps(facts.to_document(), indent=2, ensure_ascii=False) + "\n").encode())


def tokenizer_path(model: Path) -> Path:
    """Where the tokenizer of the model in the file ``model`` is kept."""
    return model.with_name(model.name + TOKENIZER)


def write_tokenizer(model: Path, data: bytes | None) -> None:
    """Write the tokenizer beside ``model``, or remove one that an earlier export left there. Raises OSError."""
    path = tokenizer_path(model)
    if data is None:
        path.unlink(missing_ok=True)
    else:
        write_atomic(path, data)
