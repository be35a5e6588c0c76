"""Which network a GGUF file holds, and its tensors under the names of :mod:`.architecture`.

Everything that the file says about its architecture must be understood: a key or a tensor without a place here could change the
function, so it is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verifai.exporters.language.architecture import (
    MAX_CONTEXT,
    MAX_LAYERS,
    MAX_VOCABULARY,
    MAX_WIDTH,
    Architecture,
    Decoder,
    Gpt2,
)
from verifai.exporters.language.gguf_file import GgufFile
from verifai.exporters.language.graph import Floats
from verifai.onnx_graph.refusal import printable, refuse

_NAMES = {
    "token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight", "output.weight": "lm_head.weight",
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_GPT2_NAMES = {
    "token_embd.weight": "wte.weight", "position_embd.weight": "wpe.weight", "output_norm.weight": "ln_f.weight",
    "output_norm.bias": "ln_f.bias", "output.weight": "lm_head.weight", "attn_norm": "ln_1", "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj", "ffn_norm": "ln_2", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}  # fmt: skip
_BLOCK = re.compile(r"blk\.(0|[1-9]\d{0,2})\.([a-z_]+)\.(weight|bias)", re.ASCII)

_SIZES = ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count")
_KNOWN = {
    "llama": (
        *_SIZES, "attention.head_count_kv", "rope.freq_base", "attention.layer_norm_rms_epsilon", "vocab_size",
        "rope.dimension_count", "attention.key_length", "attention.value_length",
    ),
    "gpt2": (*_SIZES, "attention.layer_norm_epsilon", "vocab_size"),
}  # fmt: skip
_KNOWN["qwen2"] = _KNOWN["llama"]
_NEUTRAL: Mapping[str, Any] = {
    "rope.scaling.type": "none", "rope.scaling.factor": 1.0, "expert_count": 0, "expert_used_count": 0, "logit_scale": 1.0,
    "residual_scale": 1.0, "embedding_scale": 1.0, "attention.scale": 0.0,
}  # fmt: skip
"""Keys that change nothing where they have this value."""


@dataclass(frozen=True)
class Stored:
    """A network whose tensors can be read.

    Attributes:
        sizes: which network.
        read: a tensor by its name of :mod:`.architecture`, float32.
        tokenizer: the source's tokenizer, in its own form; ``None`` when it brings none.
    """

    sizes: Architecture
    read: Callable[[str], Floats]
    tokenizer: Any = None


def stored(file: GgufFile) -> Stored:
    """What the file holds.

    Raises:
        UnsupportedModel: ``model-unknown-operator`` for an architecture, key or tensor that is unknown here;
            ``model-malformed`` for a size that is missing or impossible, or a tensor of another shape.
    """
    where = str(file.path)
    architecture = file.metadata.get("general.architecture")
    if architecture not in _KNOWN:
        hint = f"Architectures that are taken from GGUF: {', '.join(sorted(_KNOWN))}."
        shown = printable(str(architecture), 60)
        raise refuse("model-unknown-operator", f"the architecture {shown!r} is not known", where, hint)
    fields = _Fields(file, architecture)
    fields.refuse_unknown()
    sizes = _gpt2(fields) if architecture == "gpt2" else _decoder(fields, biased=architecture == "qwen2")
    places = _places(file, _GPT2_NAMES if architecture == "gpt2" else _NAMES, where)
    check_tensors(sizes, {name: _stored_shape(file.tensors[place].shape, name, sizes) for name, place in places.items()}, where)

    def read(name: str) -> Floats:
        array = file.read(places[name])
        if isinstance(sizes, Gpt2):
            return np.ascontiguousarray(array.T) if _turned(name) else array
        if architecture == "llama" and ".q_proj." in name:
            return _halves(array, sizes.heads)
        if architecture == "llama" and ".k_proj." in name:
            return _halves(array, sizes.kv_heads)
        return array

    return Stored(sizes, read, file.metadata)


def check_tensors(sizes: Architecture, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Hold the tensors that are there to those that the network needs. Raises UnsupportedModel."""
    needed = sizes.tensors()
    for name, shape in needed.items():
        if name not in shapes:
            raise refuse("model-malformed", f"the tensor {name} is missing", where, "Take a whole copy of the model.")
        if shapes[name] != shape:
            message = f"the tensor {name} has shape {shapes[name]}, and the model's sizes ask for {shape}"
            raise refuse("model-malformed", message, where)
    if spare := sorted(set(shapes) - set(needed)):
        shown = printable(spare[0], 80)
        message = f"the tensor {shown} has no place in this architecture, so what it does is not known"
        raise refuse("model-unknown-operator", message, where)


def _turned(name: str) -> bool:
    """Whether GPT-2 stores this matrix as (inputs, outputs), where GGUF has the outputs first."""
    return name.endswith(".weight") and (".attn.c_" in name or ".mlp.c_" in name)


def _stored_shape(shape: tuple[int, ...], name: str, sizes: Architecture) -> tuple[int, ...]:
    return shape[::-1] if isinstance(sizes, Gpt2) and _turned(name) else shape


def _halves(array: Floats, heads: int) -> Floats:
    """Rows of queries or keys with the halves of a head as pairs of its rotation; GGUF's Llama has neighbours as pairs."""
    width = len(array) // heads // 2
    apart = array.reshape(heads, width, 2, *array.shape[1:])
    return np.ascontiguousarray(apart.swapaxes(1, 2)).reshape(array.shape)


def _places(file: GgufFile, names: Mapping[str, str], where: str) -> dict[str, str]:
    """The file's name by ours."""
    found = {}
    for name in file.tensors:
        block = _BLOCK.fullmatch(name)
        prefix = "h" if names is _GPT2_NAMES else "layers"
        if name in names:
            found[names[name]] = name
        elif block is not None and block[2] in names:
            found[f"{prefix}.{block[1]}.{names[block[2]]}.{block[3]}"] = name
        else:
            shown = printable(name, 80)
            message = f"the tensor {shown} has no place in this architecture, so what it does is not known"
            raise refuse("model-unknown-operator", message, where)
    return found


class _Fields:
    """The metadata of one architecture."""

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self.file, self.where = file, str(file.path)
        self._prefix = architecture + "."
        self._known = _KNOWN[architecture]

    def refuse_unknown(self) -> None:
        """Raises UnsupportedModel for a key of the architecture that could change the function."""
        for key, value in self.file.metadata.items():
            short = key.removeprefix(self._prefix)
            if short == key or short in self._known:
                continue
            if short not in _NEUTRAL or value != _NEUTRAL[short]:
                shown = f"{printable(key, 60)} = {printable(str(value), 40)}"
                raise refuse("model-unknown-operator", f"{shown} is not supported", self.where)

    def size(self, name: str, largest: int, default: int | None = None) -> int:
        """A whole number from 1 to ``largest``."""
        value = self.file.metadata.get(self._prefix + name, default)
        if type(value) is not int or not 1 <= value <= largest:
            shown = "missing" if value is None else printable(str(value), 40)
            message = f"{self._prefix}{name} must be a whole number from 1 to {largest:,}; it is {shown}"
            raise refuse("model-malformed", message, self.where)
        return value

    def real(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A number in [low, high]."""
        value = self.file.metadata.get(self._prefix + name, default)
        if not isinstance(value, float) or not low <= value <= high:
            message = f"{self._prefix}{name} must be a number from {low:g} to {high:g}; it is {printable(str(value), 40)}"
            raise refuse("model-malformed", message, self.where)
        return value

    def vocabulary(self) -> int:
        """Rows of the embedding: the tensor decides, and the key must agree where it is there."""
        tensor = self.file.tensors.get("token_embd.weight")
        if tensor is None or len(tensor.shape) != 2 or tensor.shape[0] > MAX_VOCABULARY:
            raise refuse("model-malformed", "the tensor token_embd.weight is missing or no table of tokens", self.where)
        if self.size("vocab_size", MAX_VOCABULARY, tensor.shape[0]) != tensor.shape[0]:
            raise refuse("model-malformed", "the embedding has another number of rows than vocab_size says", self.where)
        return tensor.shape[0]

    def has(self, tensor: str) -> bool:
        """Whether the file has a tensor of this name."""
        return tensor in self.file.tensors


def _decoder(fields: _Fields, *, biased: bool) -> Decoder:
    width, heads = fields.size("embedding_length", MAX_WIDTH), fields.size("attention.head_count", MAX_WIDTH)
    kv_heads = fields.size("attention.head_count_kv", MAX_WIDTH, heads)
    head = fields.size("attention.key_length", MAX_WIDTH, width // heads or None)
    same = (fields.size("attention.value_length", MAX_WIDTH, head), fields.size("rope.dimension_count", MAX_WIDTH, head))
    if same != (head, head) or head % 2 or heads % kv_heads:
        message = f"heads of {head} cells, values of {same[0]}, of which {same[1]} turn, {heads} over {kv_heads}"
        raise refuse("model-unknown-operator", f"{message}: not supported", fields.where)
    return Decoder(
        layers=fields.size("block_count", MAX_LAYERS),
        width=width,
        inner=fields.size("feed_forward_length", MAX_WIDTH * 4),
        heads=heads,
        kv_heads=kv_heads,
        head_width=head,
        vocabulary=fields.vocabulary(),
        context=fields.size("context_length", MAX_CONTEXT * 16),
        theta=fields.real("rope.freq_base", 1.0, 1e12, 10000.0),
        epsilon=fields.real("attention.layer_norm_rms_epsilon", 1e-12, 1e-2),
        input_bias=biased or fields.has("blk.0.attn_q.bias"),
        output_bias=fields.has("blk.0.attn_output.bias"),
        tied=not fields.has("output.weight"),
    )


def _gpt2(fields: _Fields) -> Gpt2:
    width, heads = fields.size("embedding_length", MAX_WIDTH), fields.size("attention.head_count", MAX_WIDTH)
    if width % heads:
        raise refuse("model-malformed", f"{heads} heads do not share {width} cells", fields.where)
    return Gpt2(
        layers=fields.size("block_count", MAX_LAYERS),
        width=width,
        inner=fields.size("feed_forward_length", MAX_WIDTH * 4),
        heads=heads,
        vocabulary=fields.vocabulary(),
        context=fields.size("context_length", MAX_CONTEXT),
        epsilon=fields.real("attention.layer_norm_epsilon", 1e-12, 1e-2),
        tied=not fields.has("output.weight"),
    )
