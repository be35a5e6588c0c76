"""Which network a file of weights belongs to: its sizes and choices, and the tensors that it needs.

A file of weights holds no graph. Its architecture is a name, which stands for code elsewhere; these are the three families that
are written out here (:mod:`.decoder`, :mod:`.gpt2`, :mod:`.encoder`). Tensor names are those of Hugging Face's ``transformers``
without the prefix of the model's class; matrices are as stored there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from verifai.onnx_graph.limits import MAX_FILE_BYTES, MAX_TENSOR_BYTES
from verifai.onnx_graph.refusal import refuse

Shapes = Mapping[str, tuple[int, ...]]
"""Shape by tensor name."""

MAX_LAYERS = 512
MAX_WIDTH = 1 << 16
MAX_VOCABULARY = 1 << 20
MAX_CONTEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class Decoder:
    """The Llama family: rotary positions, grouped-query attention, RMS normalisation, SwiGLU.

    Attributes:
        layers: number of blocks.
        width: of the residual stream.
        inner: width of the feed-forward part.
        heads: of queries; a multiple of ``kv_heads``.
        kv_heads: of keys and values.
        head_width: cells of one head; even.
        vocabulary: number of tokens.
        context: largest number of positions.
        theta: base of the rotary frequencies.
        epsilon: added to the mean square under the root.
        input_bias: whether queries, keys and values have biases (Qwen2).
        output_bias: whether the projection after attention has one.
        tied: whether the head is the transposed embedding.
    """

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    context: int
    theta: float
    epsilon: float
    input_bias: bool
    output_bias: bool
    tied: bool

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that is needed."""
        width, queries, keys = self.width, self.heads * self.head_width, self.kv_heads * self.head_width
        found: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (self.vocabulary, width), "norm.weight": (width,)}
        if not self.tied:
            found["lm_head.weight"] = (self.vocabulary, width)
        for layer in range(self.layers):
            at = f"layers.{layer}."
            for name, rows in (("q", queries), ("k", keys), ("v", keys)):
                found[f"{at}self_attn.{name}_proj.weight"] = (rows, width)
                if self.input_bias:
                    found[f"{at}self_attn.{name}_proj.bias"] = (rows,)
            found[f"{at}self_attn.o_proj.weight"] = (width, queries)
            if self.output_bias:
                found[f"{at}self_attn.o_proj.bias"] = (width,)
            found[f"{at}mlp.gate_proj.weight"] = found[f"{at}mlp.up_proj.weight"] = (self.inner, width)
            found[f"{at}mlp.down_proj.weight"] = (width, self.inner)
            found[f"{at}input_layernorm.weight"] = found[f"{at}post_attention_layernorm.weight"] = (width,)
        return found


@dataclass(frozen=True, slots=True)
class Gpt2:
    """GPT-2: learned positions, layer normalisation with bias, GELU by its tanh formula. Attributes as in :class:`Decoder`."""

    layers: int
    width: int
    inner: int
    heads: int
    vocabulary: int
    context: int
    epsilon: float
    tied: bool

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that is needed; matrices are (inputs, outputs), as GPT-2 stores them."""
        width = self.width
        found: dict[str, tuple[int, ...]] = {"wte.weight": (self.vocabulary, width), "wpe.weight": (self.context, width)}
        if not self.tied:
            found["lm_head.weight"] = (self.vocabulary, width)
        for layer in range(self.layers):
            at = f"h.{layer}."
            sizes = (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width))
            for name, inputs, outputs in (*sizes, ("mlp.c_fc", width, self.inner), ("mlp.c_proj", self.inner, width)):
                found[f"{at}{name}.weight"] = (inputs, outputs)
                found[f"{at}{name}.bias"] = (outputs,)
            for name in ("ln_1", "ln_2"):
                found[f"{at}{name}.weight"] = found[f"{at}{name}.bias"] = (width,)
        found["ln_f.weight"] = found["ln_f.bias"] = (width,)
        return found


@dataclass(frozen=True, slots=True)
class Encoder:
    """BERT, and sentence-transformers built on it.

    Attributes:
        segments: number of token types; a sentence has the first.
        pad: the token that fills positions after the end; such positions are not attended to.
        pooling: ``mean`` or ``cls``: how a sentence's vector comes from its tokens'; ``none``: no vector, the tokens' are the
            result.
        normalise: whether the vector is divided by its length.
        The others: as in :class:`Decoder`.
    """

    layers: int
    width: int
    inner: int
    heads: int
    vocabulary: int
    context: int
    epsilon: float
    segments: int
    pad: int
    pooling: str
    normalise: bool

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that is needed."""
        width = self.width
        found: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocabulary, width),
            "embeddings.position_embeddings.weight": (self.context, width),
            "embeddings.token_type_embeddings.weight": (self.segments, width),
        }
        norms = ["embeddings.LayerNorm"]
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}."
            square = [f"attention.self.{name}" for name in ("query", "key", "value")] + ["attention.output.dense"]
            shapes = [(name, width, width) for name in square]
            shapes += [("intermediate.dense", self.inner, width), ("output.dense", width, self.inner)]
            for name, outputs, inputs in shapes:
                found[f"{at}{name}.weight"] = (outputs, inputs)
                found[f"{at}{name}.bias"] = (outputs,)
            norms += [f"{at}attention.output.LayerNorm", f"{at}output.LayerNorm"]
        for name in norms:
            found[f"{name}.weight"] = found[f"{name}.bias"] = (width,)
        return found


Architecture = Decoder | Gpt2 | Encoder


def check_sizes(found: Architecture, positions: int, where: str) -> None:
    """Hold the sizes to what is supported, before a tensor is read or a shape multiplied out.

    Raises:
        UnsupportedModel: ``model-too-large``, ``model-malformed``.
    """
    if positions > found.context:
        message = f"{positions} positions are asked for, and the model has {found.context}"
        raise refuse("model-malformed", message, where, "Give a smaller --positions.")
    total = sum(4 * prod(shape) for shape in found.tensors().values())
    if not isinstance(found, Encoder) and found.tied:
        total += 4 * found.vocabulary * found.width  # the head is stored transposed
    if total > MAX_FILE_BYTES:
        message = f"its weights need {total:,} bytes as float32; the limit of a canonical model is {MAX_FILE_BYTES:,}"
        raise refuse("model-too-large", message, where, "Take a smaller model of the family.")
    scores = positions * positions * found.heads
    if max(scores, positions * max(found.vocabulary, found.inner)) * 4 > MAX_TENSOR_BYTES:
        raise refuse("model-too-large", f"{positions} positions are too many", where, "Give a smaller --positions.")
