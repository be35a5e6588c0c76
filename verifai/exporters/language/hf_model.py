"""Which network a Hugging Face folder holds: ``config.json`` read as the classes of ``transformers`` read it.

Keys that those classes do not read change nothing there, and are not read here. Keys that they read are taken or refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verifai.errors import UsageError
from verifai.exporters.language.architecture import (
    MAX_CONTEXT,
    MAX_LAYERS,
    MAX_VOCABULARY,
    MAX_WIDTH,
    Architecture,
    Decoder,
    Encoder,
    Gpt2,
)
from verifai.exporters.language.gguf_model import check_tensors
from verifai.exporters.language.graph import Floats
from verifai.exporters.language.hf_files import SafeTensors, has, open_safetensors, read_json
from verifai.onnx_graph.refusal import printable, refuse

_CLASSES = {
    "llama": ("LlamaForCausalLM",),
    "qwen2": ("Qwen2ForCausalLM",),
    "gpt2": ("GPT2LMHeadModel",),
    "bert": ("BertModel",),
}
_PREFIXES = {"llama": "model.", "qwen2": "model.", "gpt2": "transformer.", "bert": "bert."}
_UNREAD = {
    "llama": r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
    "qwen2": r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
    "gpt2": r"h\.\d+\.attn\.(masked_)?bias",
    "bert": r"pooler\.dense\.(weight|bias)|embeddings\.position_ids",
}
"""Tensors that are constants of the code, or of a part that is not used."""


class Folder:
    """A folder whose architecture is known.

    Attributes:
        sizes: which network.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UsageError and UnsupportedModel, with the key or tensor named."""
        self.path, self._where = folder, str(folder / "config.json")
        if not has(folder, "config.json"):
            message = "the folder has no config.json, so it is no model of Hugging Face"
            raise UsageError("file-missing", message, where=str(folder), hint="Name the folder with config.json.")
        config = read_json(folder, "config.json")
        if not isinstance(config, dict):
            raise UsageError("source-failed", "it is no JSON object", where=self._where)
        self._config = config
        self.kind = self._family()
        self._tensors = open_safetensors(folder)
        self._names = self._named(self._tensors)
        self.sizes = self._sizes()
        check_tensors(self.sizes, {ours: self._tensors.shapes[theirs] for ours, theirs in self._names.items()}, self._where)

    def weights(self) -> dict[str, Floats]:
        """All tensors. Raises as ``SafeTensors.read_all``."""
        return self._tensors.read_all(self._names)

    def _family(self) -> str:
        kind, classes = self._config.get("model_type"), self._config.get("architectures")
        if "auto_map" in self._config:
            hint = "Take a model whose class is part of transformers."
            raise refuse(
                "model-unknown-operator", "its function is code in the folder (auto_map), which is not run", self._where, hint
            )
        if not isinstance(kind, str) or kind not in _CLASSES:
            hint = f"Architectures that are taken: {', '.join(sorted(_CLASSES))}."
            shown = printable(str(kind), 60)
            raise refuse("model-unknown-operator", f"the architecture {shown!r} is not known", self._where, hint)
        if not isinstance(classes, list) or len(classes) != 1 or classes[0] not in _CLASSES[kind]:
            hint = f"The class that is taken for {kind}: {', '.join(_CLASSES[kind])}."
            raise refuse("model-unknown-operator", f"the class {printable(str(classes), 80)} is not known", self._where, hint)
        for key in ("quantization_config", "compression_config"):
            if self._config.get(key) is not None:
                raise refuse("model-dtype", f"{key}: its weights are packed by another program", self._where)
        return kind

    def _named(self, tensors: SafeTensors) -> dict[str, str]:
        """The file's name by ours: without the prefix of the class, and without constants of the code."""
        prefix, unread, found = _PREFIXES[self.kind], re.compile(_UNREAD[self.kind], re.ASCII), {}
        for name in tensors.shapes:
            short = name.removeprefix(prefix)
            if unread.fullmatch(short):
                continue
            if short in found:
                raise refuse("model-malformed", f"the tensor {printable(short, 80)} is there twice", self._where)
            found[short] = name
        if self._tied() and "lm_head.weight" in found:
            # transformers replaces it by the embedding; what is in the file is not read.
            del found["lm_head.weight"]
        return found

    def _tied(self) -> bool:
        return self.kind != "bert" and self._flag("tie_word_embeddings", self.kind == "gpt2")

    def _size(self, key: str, largest: int, default: int | None = None) -> int:
        value = self._config.get(key)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value <= largest:
            shown = "missing" if value is None else printable(str(value), 40)
            message = f"{key} must be a whole number from 1 to {largest:,}; it is {shown}"
            raise refuse("model-malformed", message, self._where)
        return value

    def _real(self, key: str, low: float, high: float, default: float, table: Mapping[str, Any] | None = None) -> float:
        value = (self._config if table is None else table).get(key, default)
        if type(value) not in (int, float) or not low <= value <= high:
            message = f"{key} must be a number from {low:g} to {high:g}; it is {printable(str(value), 40)}"
            raise refuse("model-malformed", message, self._where)
        return float(value)

    def _flag(self, key: str, default: bool) -> bool:
        value = self._config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise refuse("model-malformed", f"{key} must be true or false", self._where)
        return value

    def _only(self, key: str, *allowed: Any) -> None:
        """Raises UnsupportedModel unless the key has one of the values, or is missing where the first is None."""
        value = self._config.get(key)
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise refuse("model-unknown-operator", f"{key} = {printable(str(value), 60)} is not supported", self._where)

    def _sizes(self) -> Architecture:
        if self.kind == "gpt2":
            return self._gpt2()
        return self._encoder() if self.kind == "bert" else self._decoder()

    def _decoder(self) -> Decoder:
        self._only("hidden_act", "silu")
        self._only("mlp_bias", None, False)
        self._only("use_sliding_window", None, False)
        kinds = self._config.get("layer_types")
        if kinds is not None and (not isinstance(kinds, list) or set(map(str, kinds)) != {"full_attention"}):
            raise refuse("model-unknown-operator", "layers with sliding attention are not supported", self._where)
        width, heads = self._size("hidden_size", MAX_WIDTH), self._size("num_attention_heads", MAX_WIDTH)
        kv_heads = self._size("num_key_value_heads", MAX_WIDTH, heads)
        head = self._size("head_dim", MAX_WIDTH, width // heads or None)
        if heads % kv_heads or head % 2:
            raise refuse("model-malformed", f"{heads} heads of {head} cells over {kv_heads}", self._where)
        qwen = self.kind == "qwen2"
        bias = True if qwen else self._flag("attention_bias", False)
        return Decoder(
            layers=self._size("num_hidden_layers", MAX_LAYERS),
            width=width,
            inner=self._size("intermediate_size", MAX_WIDTH * 4),
            heads=heads,
            kv_heads=kv_heads,
            head_width=head,
            vocabulary=self._size("vocab_size", MAX_VOCABULARY),
            context=self._size("max_position_embeddings", MAX_CONTEXT * 16, 32768 if qwen else 2048),
            theta=self._theta(),
            epsilon=self._real("rms_norm_eps", 1e-12, 1e-2, 1e-6),
            input_bias=bias,
            output_bias=bias and not qwen,
            tied=self._tied(),
        )

    def _theta(self) -> float:
        """The base of rotary positions, in the form of transformers 4 or 5; scaled frequencies are refused."""
        found = self._config.get("rope_theta", 10000.0)
        for key in ("rope_scaling", "rope_parameters"):
            table = self._config.get(key)
            if table is None:
                continue
            if not isinstance(table, dict) or table.get("rope_type", table.get("type", "default")) != "default":
                raise refuse("model-unknown-operator", f"{key}: scaled rotary positions are not supported", self._where)
            if table.get("partial_rotary_factor", 1.0) != 1.0:
                raise refuse("model-unknown-operator", "partly rotated heads are not supported", self._where)
            found = table.get("rope_theta", found)
        self._only("partial_rotary_factor", None, 1.0, 1)
        return self._real("rope_theta", 1.0, 1e12, 10000.0, {"rope_theta": found})

    def _gpt2(self) -> Gpt2:
        self._only("activation_function", None, "gelu_new", "gelu_pytorch_tanh")
        self._only("scale_attn_weights", None, True)
        self._only("scale_attn_by_inverse_layer_idx", None, False)
        self._only("add_cross_attention", None, False)
        width, heads = self._size("n_embd", MAX_WIDTH, 768), self._size("n_head", MAX_WIDTH, 12)
        if width % heads:
            raise refuse("model-malformed", f"{heads} heads do not share {width} cells", self._where)
        return Gpt2(
            layers=self._size("n_layer", MAX_LAYERS, 12),
            width=width,
            inner=self._size("n_inner", MAX_WIDTH * 4, 4 * width),
            heads=heads,
            vocabulary=self._size("vocab_size", MAX_VOCABULARY, 50257),
            context=self._size("n_positions", MAX_CONTEXT, 1024),
            epsilon=self._real("layer_norm_epsilon", 1e-12, 1e-2, 1e-5),
            tied=self._tied(),
        )

    def _encoder(self) -> Encoder:
        self._only("hidden_act", None, "gelu")
        self._only("position_embedding_type", None, "absolute")
        self._only("is_decoder", None, False)
        self._only("add_cross_attention", None, False)
        width, heads = self._size("hidden_size", MAX_WIDTH, 768), self._size("num_attention_heads", MAX_WIDTH, 12)
        vocabulary = self._size("vocab_size", MAX_VOCABULARY, 30522)
        pad = self._config.get("pad_token_id", 0)
        if width % heads or type(pad) is not int or not 0 <= pad < vocabulary:
            raise refuse(
                "model-malformed", f"{heads} heads, {width} cells, padding token {printable(str(pad), 20)}", self._where
            )
        pooling, normalise = _sentence(self.path)
        return Encoder(
            layers=self._size("num_hidden_layers", MAX_LAYERS, 12),
            width=width,
            inner=self._size("intermediate_size", MAX_WIDTH * 4, 3072),
            heads=heads,
            vocabulary=vocabulary,
            context=self._size("max_position_embeddings", MAX_CONTEXT, 512),
            epsilon=self._real("layer_norm_eps", 1e-14, 1e-2, 1e-12),
            segments=self._size("type_vocab_size", 64, 2),
            pad=pad,
            pooling=pooling,
            normalise=normalise,
        )


_TRANSFORMER, _POOLING, _NORMALIZE = (
    f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")
)
_MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def _sentence(folder: Path) -> tuple[str, bool]:
    """How sentence-transformers makes a vector of the tokens' vectors, by ``modules.json``; nothing without that file."""
    where = str(folder / "modules.json")
    if not has(folder, "modules.json"):
        return "none", False
    modules = read_json(folder, "modules.json")
    kinds = [one.get("type") if isinstance(one, dict) else None for one in modules] if isinstance(modules, list) else []
    if kinds not in ([_TRANSFORMER, _POOLING], [_TRANSFORMER, _POOLING, _NORMALIZE]) or modules[0].get("path") != "":
        shown = printable(", ".join(str(kind) for kind in kinds), 120)
        raise refuse("model-unknown-operator", f"the parts {shown} are not known in this order", where)
    inner = modules[1].get("path")
    if not isinstance(inner, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,60}", inner, re.ASCII):
        raise refuse("model-malformed", "the path of the pooling is no folder beside it", where)
    pooling = read_json(folder, f"{inner}/config.json")
    if not isinstance(pooling, dict):
        raise refuse("model-malformed", "the pooling has no configuration", where)
    chosen = [str(key) for key, value in pooling.items() if str(key).startswith("pooling_mode") and value is not False]
    if len(chosen) != 1 or chosen[0] not in _MODES or pooling[chosen[0]] is not True:
        shown = printable(", ".join(chosen), 80) or "none"
        raise refuse("model-unknown-operator", f"the pooling {shown} is not supported", f"{folder / inner}/config.json")
    return _MODES[chosen[0]], len(kinds) == 3
