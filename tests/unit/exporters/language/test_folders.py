"""Hugging Face folders: data only, every file inside, and no key that changes the function passed over."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

from tests.support.language_models import BERT, LLAMA, SIZES, random_weights, write_folder
from verifai.errors import UsageError
from verifai.stages.export import export


def refusal(folder: Path, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        export(folder, **{"positions": 4, **options})
    assert caught.value.status == 2
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "m", "llama", random_weights(LLAMA))


def split(folder: Path) -> dict[str, Any]:
    """The folder in two shards, and their index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


@pytest.mark.parametrize("kind", list(SIZES))
def test_each_architecture_computes_what_its_formula_says(kind: str, tmp_path: Path) -> None:
    result = export(write_folder(tmp_path / "m", kind, random_weights(SIZES[kind])), positions=8)
    assert result.parity.max_error < 1e-4


def test_a_sentence_model_gives_one_vector_of_length_one(tmp_path: Path) -> None:
    result = export(write_folder(tmp_path / "m", "bert", random_weights(BERT), sentence=True), positions=8)
    assert (result.model.outputs[0].name, result.model.outputs[0].shape) == ("embedding", (1, 32))
    assert result.parity.max_error < 1e-4


def test_shards_are_one_model(folder: Path) -> None:
    whole = export(folder, positions=4).model.data
    split(folder)
    assert export(folder, positions=4).model.data == whole


@pytest.mark.parametrize("file", ["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "a.bin", "", 3, None])
def test_an_index_names_no_file_elsewhere(folder: Path, file: Any) -> None:
    index = split(folder)
    index["weight_map"] |= {"model.norm.weight": file}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "is not the name of a file beside it" in refusal(folder).message


def test_an_index_and_its_shards_agree(folder: Path) -> None:
    index = split(folder)
    path = folder / "model.safetensors.index.json"
    moved = {**index["weight_map"], "model.norm.weight": "a.safetensors"}
    path.write_text(json.dumps({"weight_map": moved}))
    assert "does not place 'model.norm.weight' here" in refusal(folder).message
    path.write_text(json.dumps({"weight_map": {**index["weight_map"], "model.more": "a.safetensors"}}))
    assert "no file has the tensor 'model.more'" in refusal(folder).message
    path.write_text('{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}')
    assert "occurs twice" in refusal(folder).message


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(tmp_path / "elsewhere")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    problem = refusal(folder)
    assert "is a link" in problem.message
    assert "cp -rL" in problem.hint


def test_a_pipe_does_not_hang(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    assert "not a regular file" in refusal(folder).message


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refusal(folder).code == "pickle-refused"


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    assert "no config.json" in refusal(tmp_path).message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mamba"}, "'mamba' is not known"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"architectures": None}, "class None"),
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "auto_map"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_act": "gelu"}, "hidden_act = gelu"),
        ({"mlp_bias": True}, "mlp_bias = True"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters"),
        ({"rope_theta": 0}, "rope_theta must be"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps must be"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be"),
        ({"num_hidden_layers": 3}, "layers.2.self_attn.q_proj.weight is missing"),
        ({"num_hidden_layers": 1}, "has no place in this architecture"),
        ({"hidden_size": True}, "hidden_size must be"),
        ({"hidden_size": 16}, "has shape"),
        ({"num_key_value_heads": 3}, "4 heads of 8 cells over 3"),
        ({"attention_bias": True}, "self_attn.q_proj.bias is missing"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings must be"),
        ({"max_position_embeddings": 3}, "4 positions are asked for"),
        ({"vocab_size": 1 << 20, "hidden_size": 1 << 16}, "has shape"),
    ],
)
def test_a_configuration_that_is_not_understood_is_refused_by_name(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(write_folder(tmp_path / "m", "llama", random_weights(LLAMA), **changes)).message


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("gpt2", {"activation_function": "relu"}, "activation_function = relu"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("bert", {"hidden_act": "relu"}, "hidden_act = relu"),
        ("bert", {"position_embedding_type": "relative_key"}, "relative_key"),
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("bert", {"pad_token_id": 96}, "padding token 96"),
    ],
)
def test_the_other_architectures_too(kind: str, changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(write_folder(tmp_path / "m", kind, random_weights(SIZES[kind]), **changes)).message


@pytest.mark.parametrize(
    ("pooling", "words"),
    [
        ({"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "pooling_mode_mean_tokens, pooling_mode_cls_token",
        ),
        ({}, "none"),
        ({"pooling_mode_mean_tokens": 1}, "pooling_mode_mean_tokens"),
    ],
)
def test_an_unknown_pooling_is_refused(pooling: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", "bert", random_weights(BERT), sentence=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    assert words in refusal(folder).message


@pytest.mark.parametrize("path", ["..", "/etc", "a/b", "", 3])
def test_a_poolings_folder_lies_inside(path: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", "bert", random_weights(BERT), sentence=True)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "no folder beside it" in refusal(folder).message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (3).to_bytes(8, "little") + b"{}x",
        (18).to_bytes(8, "little") + b'{"a":{"b":1},"a":2}',
        (70).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1099511627775],"data_offsets":[0,4]}}    ' + bytes(4),
        (58).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}   ' + bytes(4),
        (58).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}    ' + bytes(4),
        (58).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}   ' + bytes(4),
    ],
)
def test_a_safetensors_file_that_is_not_sound_is_refused(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    assert refusal(folder).code == "source-failed"


def test_types_without_a_rule_are_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.int8)
    (folder / "model.safetensors").write_bytes(save(tensors))
    problem = refusal(folder)
    assert problem.code == "model-dtype"
    assert "model.norm.weight" in problem.where


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_half_and_double_precision_are_read(folder: Path, kind: str) -> None:
    tensors = {name: array.astype(kind) for name, array in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    assert export(folder, positions=4).parity.max_error < 1e-4


def test_bfloat16_is_the_upper_half_of_float32(folder: Path) -> None:
    import ml_dtypes

    tensors = load_file(folder / "model.safetensors")
    rounded = {name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()}
    save_file({name: array.astype(np.float32) for name, array in rounded.items()}, folder / "model.safetensors")
    expected = export(folder, positions=4).model.data
    save_file(rounded, folder / "model.safetensors")
    assert export(folder, positions=4).model.data == expected


def test_a_head_beside_a_tied_embedding_is_not_read(folder: Path) -> None:
    expected = export(folder, positions=4).model.data
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = np.ones((96, 32), np.float32)
    save_file(tensors, folder / "model.safetensors")
    assert export(folder, positions=4).model.data == expected
