"""Exported models against the classes of transformers: an implementation that shares no line with ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.language_models import CONFIGS, write_folder
from verifai.onnx_graph.reference import Reference
from verifai.stages.export import export

pytestmark = pytest.mark.torch


def model_of(kind: str, **changes: Any) -> Any:
    """A small random model of transformers."""
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(**{**CONFIGS[kind], **changes})
    model = getattr(transformers, CONFIGS[kind]["architectures"][0])(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    model.tie_weights()
    return model


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": False, "attention_bias": True, "rope_theta": 500.0}),
        ("llama", {"head_dim": 16, "num_key_value_heads": 1}),
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 2}),
        ("gpt2", {}),
    ],
)
def test_logits_are_those_of_transformers(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    import torch

    model = model_of(kind, **changes)
    model.save_pretrained(tmp_path)
    exported = export(tmp_path, positions=12, select=["logits"]).model
    tokens = np.random.default_rng(2).integers(0, 96, (1, 12), dtype=np.int32)
    with torch.no_grad():
        expected = model(torch.from_numpy(tokens).long()).logits.numpy()
    assert np.abs(Reference(exported).run({"tokens": tokens})["logits"] - expected).max() < 1e-4 * expected.std()


def test_a_sentences_vector_is_that_of_transformers_with_its_mask(tmp_path: Path) -> None:
    import torch

    model = model_of("bert")
    model.save_pretrained(tmp_path)
    written = write_folder(tmp_path / "shape", "bert", {}, sentence=True)
    for name in ("modules.json", "1_Pooling"):
        (written / name).rename(tmp_path / name)
    exported = export(tmp_path, positions=12).model
    tokens = np.zeros((1, 12), np.int32)
    tokens[0, :7] = np.random.default_rng(2).integers(1, 96, 7)
    with torch.no_grad():
        hidden = model(torch.from_numpy(tokens).long(), attention_mask=torch.from_numpy(tokens != 0).long()).last_hidden_state
    mean = hidden[0, :7].mean(0).numpy()
    found = Reference(exported).run({"tokens": tokens})["embedding"][0]
    assert np.abs(found - mean / np.linalg.norm(mean)).max() < 1e-5
