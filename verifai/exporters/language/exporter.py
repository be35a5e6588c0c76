"""Exporters of language models: GGUF files, and Hugging Face folders with safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verifai.domain.model_facts import Task
from verifai.domain.tokenizer import NEXT_TOKENS, PROMPT, TOKENS, parse_tokenizer
from verifai.errors import UsageError
from verifai.exporters.interface import Arrays, Exported, Meaning, Source
from verifai.exporters.language import decoder, encoder, gpt2
from verifai.exporters.language.architecture import Architecture, Decoder, Encoder, check_sizes
from verifai.exporters.language.gguf_file import read_gguf
from verifai.exporters.language.gguf_model import stored
from verifai.exporters.language.graph import LOGITS, Floats
from verifai.exporters.language.hf_model import Folder
from verifai.exporters.language.tokens import of_folder, of_gguf, or_notice
from verifai.tokenization.encode import Encoder as TextEncoder

POSITIONS = 64
"""How many tokens a model takes when nobody says."""


class GgufExporter:
    """Reads ``.gguf`` files: Llama, Qwen2 and GPT-2."""

    @property
    def name(self) -> str:
        """For messages."""
        return "GGUF"

    def accepts(self, source: Source) -> bool:
        """By suffix."""
        return source.path.suffix.lower() == ".gguf"

    def export(self, source: Source) -> Exported:
        """Dequantise the weights and write the graph that the architecture's name stands for.

        Raises:
            UsageError: ``file-missing``, ``source-failed``, ``extra-missing``.
            UnsupportedModel: an architecture, key, tensor or type that is not known, by name; ``model-too-large``.
        """
        file = read_gguf(source.path)
        model = stored(file)
        positions = source.positions or min(POSITIONS, model.sizes.context)
        check_sizes(model.sizes, positions, source.text)
        weights = {name: model.read(name) for name in model.sizes.tensors()}
        return _exported(source, model.sizes, weights, positions, lambda: of_gguf(file.metadata, model.sizes.vocabulary))


class HuggingFaceExporter:
    """Reads folders with ``config.json`` and safetensors: Llama, Qwen2, GPT-2, BERT and sentence-transformers on it."""

    @property
    def name(self) -> str:
        """For messages."""
        return "Hugging Face"

    def accepts(self, source: Source) -> bool:
        """Any folder that is named: no name at all is no folder."""
        return bool(source.text) and source.path.is_dir()

    def export(self, source: Source) -> Exported:
        """Read the weights and write the graph that the class's name stands for. No file of the folder is run.

        Raises:
            UsageError: ``file-missing``, ``source-failed``, ``pickle-refused``, ``extra-missing``.
            UnsupportedModel: an architecture, key, tensor or type that is not known, by name; ``model-too-large``.
        """
        folder = Folder(source.path)
        positions = source.positions or min(POSITIONS, folder.sizes.context)
        check_sizes(folder.sizes, positions, source.text)
        pad = folder.sizes.pad if isinstance(folder.sizes, Encoder) else None
        rows = folder.sizes.vocabulary
        return _exported(source, folder.sizes, folder.weights(), positions, lambda: of_folder(folder.path, rows, pad))


def _exported(
    source: Source,
    sizes: Architecture,
    weights: Mapping[str, Floats],
    positions: int,
    tokenizer: Callable[[], bytes | None],
) -> Exported:
    data, name = _built(source, sizes, weights, positions)
    try:
        found, problem = tokenizer(), None
    except UsageError as refused:
        found, problem = None, refused
    return Exported(
        data=data,
        where=source.text,
        run=_Runner(sizes, weights, source.prompt or 0),
        made=_Made(sizes, positions, found, source.prompt or 0),
        scores={NEXT_TOKENS: LOGITS} if name == NEXT_TOKENS else {},
        notices=tuple(
            notice
            for notice in (f"It takes {positions} tokens. Other lengths: --positions N at export.", or_notice(found, problem))
            if notice
        ),
        tokenizer=found,
        meaning=Meaning(Task.TRANSFORM, TOKENS, (), name, ()) if isinstance(sizes, Encoder) else None,
    )


def _built(source: Source, sizes: Architecture, weights: Mapping[str, Floats], positions: int) -> tuple[bytes, str]:
    """The ONNX file, and the name of its output."""
    if source.prompt is not None and (isinstance(sizes, Encoder) or source.prompt >= positions):
        message = "only a decoder takes a prompt, which leaves positions for the answer"
        hint = f"Give --prompt less than {positions}, for a decoder; or leave it out."
        raise UsageError("bad-option", message, where="--prompt", hint=hint)
    offered = (encoder.output(sizes),) if isinstance(sizes, Encoder) else (NEXT_TOKENS, LOGITS)
    chosen = source.select or offered[:1]
    if len(chosen) != 1 or chosen[0] not in offered:
        message = f"the model has the output {' or '.join(offered)}, and one is kept"
        raise UsageError("bad-option", message, where="--select", hint=f"Give --select {offered[0]}, or leave it out.")
    if isinstance(sizes, Encoder):
        return encoder.build(sizes, weights, positions), chosen[0]
    logits, prompt = chosen[0] == LOGITS, source.prompt or 0
    if isinstance(sizes, Decoder):
        return decoder.build(sizes, weights, positions, logits=logits, prompt=prompt), chosen[0]
    return gpt2.build(sizes, weights, positions, logits=logits, prompt=prompt), chosen[0]


@dataclass(frozen=True)
class _Runner:
    """The source's own arithmetic: NumPy in float32, from the source's weights, not from the graph."""

    sizes: Architecture
    weights: Mapping[str, Floats]
    prompt: int = 0

    def __call__(self, inputs: Arrays) -> Arrays:
        if isinstance(self.sizes, Encoder):
            return encoder.run(self.sizes, self.weights, inputs[TOKENS])
        tokens = np.concatenate([inputs[PROMPT], inputs[TOKENS]], axis=1) if self.prompt else inputs[TOKENS]
        if isinstance(self.sizes, Decoder):
            found = decoder.run(self.sizes, self.weights, tokens)
        else:
            found = gpt2.run(self.sizes, self.weights, tokens)
        return {name: values[:, max(self.prompt - 1, 0) :] for name, values in found.items()}


TEXTS = (
    "The capital of France is Paris, which lies on the river Seine.",
    "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n",
    "Twelve times twelve is one hundred and forty-four; 7 * 8 = 56.",
    "La tortue avance lentement, mais elle arrive toujours.",
)
"""What a model with a tokenizer is compared on, besides made-up tokens."""


@dataclass(frozen=True)
class _Made:
    """Token sequences: of texts where there is a tokenizer, and made up, of different lengths."""

    sizes: Architecture
    positions: int
    tokenizer: bytes | None
    prompt: int = 0

    def __call__(self, generator: np.random.Generator, count: int) -> Sequence[Arrays]:
        samples = self._texts()
        for _ in range(min(count, 2 if samples else 4)):
            tokens = generator.integers(0, self.sizes.vocabulary, (1, self.positions), dtype=np.int32)
            if isinstance(self.sizes, Encoder):
                tokens[tokens == self.sizes.pad] = (self.sizes.pad + 1) % self.sizes.vocabulary
                tokens[:, int(generator.integers(1, self.positions + 1)) :] = self.sizes.pad
            samples.append(self._split(tokens))
        return samples

    def _texts(self) -> list[Arrays]:
        if self.tokenizer is None:
            return []
        encoder = TextEncoder(parse_tokenizer(self.tokenizer, "the tokenizer"))
        rows = (encoder.row(encoder.tokens(text)[: self.positions], self.positions) for text in TEXTS)
        return [self._split(row.astype(np.int32)) for row in rows]

    def _split(self, row: np.ndarray) -> Arrays:
        return {PROMPT: row[:, : self.prompt], TOKENS: row[:, self.prompt :]} if self.prompt else {TOKENS: row}
