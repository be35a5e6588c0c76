"""Models from GGUF files: the architecture is known in full, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.language_models import LLAMA, SIZES, random_weights, write_folder, write_gguf
from verifai.errors import UnsupportedModel, UsageError
from verifai.stages.export import export


def refusal(path: Path, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        export(path, **{"positions": 4, **options})
    return caught.value


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_a_gguf_file_and_a_folder_of_the_same_weights_are_one_model(kind: str, tmp_path: Path) -> None:
    weights = random_weights(SIZES[kind])
    first = export(write_gguf(tmp_path / "m.gguf", kind, weights), positions=8)
    second = export(write_folder(tmp_path / "m", kind, weights), positions=8)
    assert first.model.data == second.model.data
    assert first.parity.max_error < 1e-4
    assert first.parity.decisions == 8 * first.parity.samples > 0


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16"])
def test_quantised_weights_are_what_the_package_makes_of_them(kind: str, tmp_path: Path) -> None:
    names = ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.ffn_up.weight")
    path = write_gguf(tmp_path / "m.gguf", "llama", random_weights(LLAMA), dict.fromkeys(names, kind))
    assert export(path, positions=4, select=["logits"]).parity.max_error < 1e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"block_count": None}, "llama.block_count must be"),
        ({"block_count": 100_000}, "llama.block_count must be"),
        ({"block_count": 3}, "layers.2.self_attn.q_proj.weight is missing"),
        ({"attention.head_count_kv": 3}, "4 over 3"),
        ({"rope.dimension_count": 4}, "of which 4 turn"),
        ({"rope.scaling.type": "yarn"}, "llama.rope.scaling.type = yarn"),
        ({"expert_count": 8}, "llama.expert_count = 8"),
        ({"logit_scale": 2.0}, "llama.logit_scale = 2.0"),
        ({"attention.layer_norm_rms_epsilon": float("nan")}, "llama.attention.layer_norm_rms_epsilon"),
        ({"rope.freq_base": float("inf")}, "llama.rope.freq_base"),
        ({"vocab_size": 95}, "another number of rows"),
        ({"feed_forward_length": 32}, "mlp.gate_proj.weight has shape"),
        ({"something.new": 1}, "llama.something.new = 1"),
        ({"context_length": 3}, "4 positions are asked for"),
    ],
)
def test_metadata_that_is_missing_impossible_or_unknown_is_refused_by_name(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    problem = refusal(write_gguf(tmp_path / "m.gguf", "llama", random_weights(LLAMA), **changes))
    assert words in problem.message
    assert problem.status == 2


def test_an_unknown_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "llama", random_weights(LLAMA))
    path.write_bytes(path.read_bytes().replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0mamba", 1))
    assert "'mamba' is not known" in refusal(path).message


def test_a_tensor_without_a_place_is_refused_by_name(tmp_path: Path) -> None:
    weights = random_weights(LLAMA)
    weights["layers.0.self_attn.q_proj.bias"] = np.zeros(32, np.float32)
    problem = refusal(write_gguf(tmp_path / "m.gguf", "llama", weights))
    assert "self_attn.k_proj.bias is missing" in problem.message
    data = write_gguf(tmp_path / "n.gguf", "llama", random_weights(LLAMA)).read_bytes()
    (tmp_path / "n.gguf").write_bytes(data.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight"))
    assert "blk.1.ffn_xx.weight has no place" in refusal(tmp_path / "n.gguf").message


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    weights = random_weights(LLAMA)
    weights["layers.1.mlp.up_proj.weight"][3, 3] = np.nan
    with pytest.raises(UnsupportedModel) as caught:
        export(write_gguf(tmp_path / "m.gguf", "llama", weights), positions=4)
    assert caught.value.code == "model-non-finite"


def test_the_output_is_chosen_by_name(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "llama", random_weights(LLAMA))
    assert export(path, positions=4).model.outputs[0].name == "next_tokens"
    logits = export(path, positions=4, select=["logits"]).model.outputs[0]
    assert (logits.name, logits.shape, logits.dtype) == ("logits", (1, 4, 96), "float32")
    assert refusal(path, select=["probabilities"]).code == "bad-option"


def test_only_language_models_take_positions(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    assert refusal(tmp_path / "m.onnx").code == "bad-option"
    assert refusal(write_gguf(tmp_path / "m.gguf", "llama", random_weights(LLAMA)), positions=0).code == "bad-option"


def test_the_wrong_file_under_the_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS pointer" in refusal(tmp_path / "m.gguf").message
