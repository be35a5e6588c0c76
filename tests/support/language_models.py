"""Small language models with random weights, as GGUF files and as Hugging Face folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from verifai.domain.tokenizer import byte_letters, tokenizer_bytes
from verifai.exporters.language.architecture import Architecture, Decoder, Encoder, Gpt2

Floats = NDArray[np.float32]

LLAMA = Decoder(2, 32, 64, 4, 2, 8, 96, 64, 10000.0, 1e-5, input_bias=False, output_bias=False, tied=True)
QWEN2 = Decoder(2, 32, 64, 4, 4, 8, 96, 64, 1e6, 1e-6, input_bias=True, output_bias=False, tied=False)
GPT2 = Gpt2(2, 32, 128, 4, 96, 64, 1e-5, tied=True)
BERT = Encoder(2, 32, 64, 4, 96, 64, 1e-12, 2, 0, "mean", normalise=True)

CONFIGS: Mapping[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96, "hidden_act": "silu",
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    },
    "qwen2": {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 96, "hidden_act": "silu",
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": False,
    },
    "gpt2": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 96,
        "n_positions": 64,
    },
    "bert": {
        "model_type": "bert", "architectures": ["BertModel"], "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96, "max_position_embeddings": 64, "type_vocab_size": 2,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
    },
}  # fmt: skip
SIZES: Mapping[str, Architecture] = {"llama": LLAMA, "qwen2": QWEN2, "gpt2": GPT2, "bert": BERT}

_GGUF_LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
_GGUF_WHOLE = {
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output", "wte": "token_embd", "wpe": "position_embd",
    "ln_f": "output_norm",
}  # fmt: skip


def random_weights(sizes: Architecture, seed: int = 1) -> dict[str, Floats]:
    """Normal weights; gains near 1."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, shape in sizes.tensors().items():
        gain = len(shape) == 1 and name.endswith("weight")
        values = generator.normal(1.0 if gain else 0.0, 0.1 if len(shape) == 1 else 0.3, shape)
        found[name] = values.astype(np.float32)
    return found


def write_folder(folder: Path, kind: str, weights: Mapping[str, Floats], *, sentence: bool = False, **changes: Any) -> Path:
    """A Hugging Face folder; ``changes`` to its configuration, ``None`` removes a key."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in {**CONFIGS[kind], **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    prefix = {"llama": "model.", "qwen2": "model.", "gpt2": "transformer.", "bert": ""}[kind]
    named = {name if name.startswith("lm_head") else prefix + name: array for name, array in weights.items()}
    save_file(named, folder / "model.safetensors")
    if sentence:
        kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in kinds]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir(exist_ok=True)
        pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def write_gguf(
    path: Path, kind: str, weights: Mapping[str, Floats], types: Mapping[str, str] | None = None, **changes: Any
) -> Path:
    """A GGUF file as llama.cpp's converter lays it out. ``types`` by GGUF's name of a tensor, F32 by default."""
    sizes = SIZES[kind]
    assert isinstance(sizes, Decoder | Gpt2)
    writer = gguf.GGUFWriter(path, kind)
    keys: dict[str, Any] = {
        "block_count": sizes.layers, "context_length": sizes.context, "embedding_length": sizes.width,
        "feed_forward_length": sizes.inner, "attention.head_count": sizes.heads,
    }  # fmt: skip
    if isinstance(sizes, Decoder):
        keys |= {"attention.head_count_kv": sizes.kv_heads, "rope.dimension_count": sizes.head_width}
        keys |= {"rope.freq_base": sizes.theta, "attention.layer_norm_rms_epsilon": sizes.epsilon}
    else:
        keys["attention.layer_norm_epsilon"] = sizes.epsilon
    for name, value in {**keys, **changes}.items():
        if isinstance(value, float):
            writer.add_float32(f"{kind}.{name}", value)
        elif isinstance(value, str):
            writer.add_string(f"{kind}.{name}", value)
        elif value is not None:
            writer.add_uint32(f"{kind}.{name}", value)
    for name, array in weights.items():
        theirs, stored = gguf_name(name), gguf_layout(name, array, kind)
        quantised = (types or {}).get(theirs)
        if quantised is None:
            writer.add_tensor(theirs, np.ascontiguousarray(stored))
        else:
            form = gguf.GGMLQuantizationType[quantised]
            writer.add_tensor(theirs, gguf.quants.quantize(np.ascontiguousarray(stored), form), raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_name(name: str) -> str:
    """A tensor's name in GGUF."""
    stem, _, ending = name.rpartition(".")
    if stem in _GGUF_WHOLE:
        return f"{_GGUF_WHOLE[stem]}.{ending}"
    _, number, inner = stem.split(".", 2)
    return f"blk.{number}.{_GGUF_LAYER[inner]}.{ending}"


def gguf_layout(name: str, array: Floats, kind: str) -> Floats:
    """A tensor as llama.cpp's converter stores it: GPT-2 transposed, queries and keys of Llama with neighbours as pairs."""
    if kind == "gpt2":
        return array.T if ".c_" in name and name.endswith("weight") else array
    sizes = SIZES[kind]
    assert isinstance(sizes, Decoder)
    if kind == "llama" and (".q_proj" in name or ".k_proj" in name):
        heads = sizes.heads if ".q_proj" in name else sizes.kv_heads
        apart = array.reshape(heads, 2, len(array) // heads // 2, *array.shape[1:])
        return apart.swapaxes(1, 2).reshape(array.shape)
    return array


WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "capital", "of", "france", "is", "paris", "walk", "talk", "##s", "##ing"),
    *(".", ",", "!", "?"),
)


def word_tokenizer() -> dict[str, Any]:
    """A tokenizer of 96 words and parts of words, as BERT has it."""
    words = list(WORDS) + [f"w{number}" for number in range(96 - len(WORDS))]
    special = [
        {"id": number, "content": words[number], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for number in range(4)
    ]  # fmt: skip
    return {
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {word: number for number, word in enumerate(words)},
        },
    }  # fmt: skip


def byte_tokenizer() -> dict[str, Any]:
    """A tokenizer of single bytes, two merges and an end, as GPT-2 has it."""
    letters = list(byte_letters())
    vocabulary = {letter: number for number, letter in enumerate(letters)} | {"<|end|>": 256, "th": 257, "the": 258}
    end = {
        "id": 256, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": True,
    }  # fmt: skip
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [end],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["t h", "th e"]},
    }


def tokenizer_file(document: Mapping[str, Any], *, pad: int = 0, chat_template: str = "") -> bytes:
    """The file that circuits pin."""
    return tokenizer_bytes(document, pad=pad, ends=(), chat_template=chat_template, size=1000)
