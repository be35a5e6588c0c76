"""What the integer program of a language model does: agreement with float32 on texts, and answers to prompts.

    verifai export MODEL.gguf -o lm.onnx --positions 32
    python -m tools.language_models.measure lm.onnx texts.txt --bits 12 -o figures.json

    python -m tools.language_models.measure MODEL.gguf texts.txt --positions 16 32 64 -o table.json

The first form proves nothing: the model is calibrated and lowered as ``compile`` does it, and its integer program runs, on the
texts as a whole and on the prompts row by row. So it needs a part of the memory of a proof. The second proves an answer at each
number of positions, up to the first that is refused (:mod:`tools.language_models.growth`).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tools.language_models.growth import table
from verifai.circuit_folder import read_tokenizer
from verifai.domain.fidelity import Task
from verifai.domain.progress import SILENT
from verifai.domain.statement import EngineName, WeightVisibility
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.interpreter.stepwise import Stepwise
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.payload.bindings import BINDINGS, weight_binding
from verifai.engines.sumcheck.protocol.buses import lookups_of
from verifai.engines.sumcheck.protocol.suite import INTEGRITY
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.tuning import Tuner
from verifai.onnx_graph.facts import tokenizer_path
from verifai.onnx_graph.load import load_path
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference
from verifai.stages.check import all_public
from verifai.tokenization.chat import chat_text
from verifai.tokenization.encode import Encoder
from verifai.tokenization.samples import read_lines, samples_of

PROMPTS = {
    "a fact": "The capital of France is",
    "code": "def add(a, b):\n    return",
    "arithmetic": "2 + 2 = 4, 3 + 3 = 6, 4 + 4 =",
    "another language": "Bonjour, je m'appelle Marie et j'habite à",
    "an instruction": "Write the days of the week in order: Monday, Tuesday,",
    "a long instruction": "Answer in one short sentence. Do not use numbers, and do not repeat the question. "
    "Why does the sky look blue on a clear day?\n\nAnswer:",
    "a long instruction, in the chat template": "Answer in one short sentence. Do not use numbers, and do not repeat the "
    "question. Why does the sky look blue on a clear day?",
}
CHATS = {"a long instruction, in the chat template"}
"""Prompts that are a user's message: alone, the model takes some for whole texts and ends at once."""


def lowered(model: OnnxModel, samples: Sequence[Any], bits: int, pad: int) -> tuple[Lowered, Tuner]:
    """The circuit of these bits, as the tuner would lower it."""
    spec = replace(all_public(model, Task.GENERATION), engine=EngineName.SUMCHECK, weights=WeightVisibility.COMMITTED)
    given = QuantiserOptions(activation_bits=bits)
    tuner = Tuner(model, spec, samples, given, frozenset({"activation_bits"}), INTEGRITY, SILENT, pad)
    options = tuner.options(bits)
    made = lower(
        model, tuner._scales(options), tensors={name: BINDINGS[seen] for name, seen in spec.tensors.items()},
        weights=weight_binding(spec.weights), split=options.split, unrounded=options.unrounded, unclamped=options.unclamped,
        sparing=options.sparing,
    )  # fmt: skip
    return made, tuner


def lookups_in(circuit: Circuit) -> int:
    """How many cells are looked up, without the tables; a proof of 100 bits has 2^25 with them."""
    looking = (ops.Requant, ops.Lookup, ops.RowMax, ops.Rescale, ops.Recip, ops.Isqrt, ops.TopIndex, ops.ArgMax)
    numbers = [number for number, op in enumerate(circuit.ops) if isinstance(op, looking)]
    return sum(storage.cells for number in numbers for _, storage in lookups_of(circuit, number))


def answer(made: Lowered, prompt: list[int], positions: int, ends: frozenset[int], most: int) -> tuple[list[int], float]:
    """Greedily by the integer program, row by row; tokens and seconds."""
    program, tokens, begun = Stepwise(made.circuit, made.weights, [0]), list(prompt), time.process_time()
    while len(tokens) <= positions and len(tokens) - len(prompt) < most:
        row = np.zeros((1, positions), np.int64)
        row[0, : len(tokens)] = tokens
        tokens.append(int(program.run([row], len(tokens))[0][0, len(tokens) - 1]))
        if tokens[-1] in ends:
            break
    return tokens[len(prompt) :], time.process_time() - begun


def prompt_tokens(encoder: Encoder, kind: str) -> list[int]:
    """A prompt as the model reads it."""
    if kind in CHATS:
        return encoder.rendered(chat_text(encoder, [("user", PROMPTS[kind])]))
    return encoder.tokens(PROMPTS[kind])


def float_answer(reference: Reference, model: OnnxModel, prompt: list[int], count: int, pad: int) -> list[int]:
    """The same by onnxruntime, a whole pass per token."""
    tokens, spec = list(prompt), model.inputs[0]
    for _ in range(count):
        row = np.full(spec.shape, pad, spec.dtype)
        row[0, : len(tokens)] = tokens
        tokens.append(int(reference.run({spec.name: row})[model.outputs[0].name][0, len(tokens) - 1]))
    return tokens[len(prompt) :]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path, help="one text per line")
    parser.add_argument("--bits", type=int, default=12)
    parser.add_argument("--kinds", nargs="+", choices=sorted(PROMPTS), help="of prompts; all by default")
    parser.add_argument("--most", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument(
        "--positions", type=int, nargs="+", help="prove at each of these; MODEL is a GGUF file or a folder then"
    )
    parser.add_argument("--weights", default="committed", choices=("public", "committed", "private"))
    given = parser.parse_args()
    if given.positions:
        rows = table(given.model, given.texts, given.positions, bits=given.bits, weights=given.weights)
        given.output.write_text(json.dumps(rows, indent=1) + "\n")
        return
    model, tokenizer = load_path(given.model), read_tokenizer(tokenizer_path(given.model))
    encoder, positions = Encoder(tokenizer), model.inputs[0].size
    samples = samples_of(tokenizer, model.inputs[0], read_lines(given.texts), cut=True)
    begun = time.process_time()
    made, tuner = lowered(model, samples, given.bits, tokenizer.pad)
    found: dict[str, Any] = {
        "bits": given.bits, "positions": positions, "lookups": lookups_in(made.circuit),
        "lower_cpu_s": round(time.process_time() - begun, 1),
    }  # fmt: skip
    print(found, flush=True)
    found["answers"] = []
    reference = Reference(model)
    for kind in given.kinds or PROMPTS:
        text, prompt = PROMPTS[kind], prompt_tokens(encoder, kind)
        tokens, seconds = answer(made, prompt, positions, tokenizer.ends, given.most)
        same = float_answer(reference, model, prompt, len(tokens), tokenizer.pad) == tokens
        shown = tokenizer.text(tokens, filled=False).text
        row = {
            "kind": kind, "prompt": text, "prompt_tokens": len(prompt), "answer": shown, "tokens": len(tokens),
            "as_float32": same,
        }  # fmt: skip
        found["answers"].append({**row, "cpu_s": round(seconds, 2)})
        print(found["answers"][-1], flush=True)
        given.output.write_text(json.dumps(found, indent=1) + "\n")
    from verifai.engines.sumcheck.fidelity import measure

    language = measure(model, made, samples, tuner.measure).language
    assert language is not None
    found["fidelity"] = language.to_document()
    found["peak_rss_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(language.words(), found["peak_rss_gib"], "GiB", flush=True)
    given.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
