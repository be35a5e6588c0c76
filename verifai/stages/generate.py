"""generate: a prompt becomes an answer, and one proof that the answer is its greedy continuation.

The circuit's integer program writes the answer token by token; then one causal pass over prompt and answer is proven, at whose
every generated position the most likely next token is the answer's. So a proof of many tokens costs one pass.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.findings import Finding, holds, not_checked
from verifai.domain.generation import Ending, Generation
from verifai.domain.progress import SILENT, Progress
from verifai.domain.shell import shell
from verifai.domain.statement import EngineName, Visibility, check_context
from verifai.domain.tokenizer import Tokenizer, TokenPin, TokenText
from verifai.domain.trust_keys import Signer
from verifai.engines.capabilities import Generated, GenerateRequest, GeneratesTokens
from verifai.errors import InputRejected, UnsupportedModel, UsageError, VerifaiError
from verifai.stages.prove import make_folder
from verifai.stages.ready import ProvedBundle, ReadyCircuit, ready_circuit
from verifai.tokenization.chat import chat_text
from verifai.tokenization.encode import Encoder


@dataclass(frozen=True)
class GeneratedBundle:
    """An answer and its proof.

    Attributes:
        bundle: as written.
        circuit: the folder of the circuit that was taken.
        generation: what the statement claims.
        prompt, answer: their tokens' texts.
        tokens: of the answer.
        seconds: of writing the answer, before it was proven.
        cached: whether the program ran row by row, with a key–value cache.
        findings: how many of the answer's tokens float32 would have put there, where it was asked.
    """

    bundle: ProvedBundle
    circuit: CircuitFolder
    generation: Generation
    prompt: TokenText
    answer: TokenText
    tokens: tuple[int, ...]
    seconds: float
    cached: bool
    findings: tuple[Finding, ...]


def generate(
    folders: CircuitFolder | Sequence[CircuitFolder],
    prompt: str,
    output: Path,
    *,
    chat: bool = False,
    max_tokens: int | None = None,
    engine: EngineName | None = None,
    context: str = "",
    signers: Sequence[Signer] = (),
    threads: int | None = None,
    max_memory: int | None = None,
    compare: bool = True,
    progress: Progress = SILENT,
) -> GeneratedBundle:
    """Answer ``prompt`` greedily, and prove the answer.

    Args:
        folders: the compiled circuit; or several of one model with different numbers of positions, of which the smallest is
            taken that has room for the prompt and ``max_tokens``.
        output: the bundle's folder; nothing may be there.
        chat: put the prompt into the tokenizer's chat template first, as a user's message with the opening of the answer.
        max_tokens: how many tokens the answer has at most; by default as many as there is room for.
        context, signers, threads, max_memory: as in :func:`verifai.stages.prove.prove`.
        compare: whether the float model is run on the answer too.

    Raises:
        UsageError: ``bad-option``, when the circuit is no decoder with a pinned tokenizer; ``file-exists``; ``stale-lock``.
        InputRejected: ``input-text``: a prompt that is empty, too long, or spells a special token.
        UnsupportedModel: ``not-causal``: a position's next token depends on later positions.
        Undecided: memory, deadline, or a crash of the engine. Nothing is written then.
    """
    check_context(context)
    if os.path.lexists(output):
        hint = "Choose another --output; evidence is never overwritten."
        raise UsageError("file-exists", "something is there already", where=str(output), hint=hint)
    if max_tokens is not None and max_tokens < 1:
        raise UsageError("bad-option", "an answer has at least one token", where="--max-tokens", hint="Give 1 or more.")
    listed = [folders] if isinstance(folders, CircuitFolder) else list(folders)
    read = [_Decoder(folder) for folder in listed]
    if not read:
        raise UsageError("bad-option", "no circuit is named", where="circuit", hint="Name at least one.")
    tokens = read[0].tokens(prompt, chat=chat)
    decoder = _fitting(read, len(tokens), max_tokens)
    ready = ready_circuit(decoder.folder, engine=engine, signers=signers, threads=threads, max_memory=max_memory, compare=False)
    return _Answering(ready, decoder, tokens, max_tokens).made(output, context, compare=compare, progress=progress)


class _Decoder:
    """A circuit folder whose lock says how an answer is read.

    Attributes:
        hidden: how many positions of the prompt proofs hide; all of these are part of the prompt.
        positions: how many there are in all. first: the first whose next token is put out.
    """

    def __init__(self, folder: CircuitFolder) -> None:
        self.folder = folder
        self.pin = _pin_of(folder)
        assert folder.tokenizer is not None
        self.tokenizer: Tokenizer = folder.tokenizer
        model, tensors = folder.model, folder.spec.tensors
        self.positions = sum(one.size for one in model.inputs)
        self.first = self.positions - model.outputs[0].size
        at = self.hidden = 0
        for one in model.inputs:
            at += one.size
            if tensors[one.name] is not Visibility.PUBLIC:
                self.hidden = at
        if tensors[model.outputs[0].name] is not Visibility.PUBLIC or self.hidden == self.positions:
            message = "an answer is checked on its tokens, so the inputs that hold it and the output have to be public"
            raise UsageError("bad-option", message, where=f"{folder.folder / 'circuit.toml'}: [tensors]", hint=_SPLIT)

    def tokens(self, prompt: str, *, chat: bool) -> list[int]:
        """The prompt's tokens. Raises InputRejected, UsageError."""
        encoder = Encoder(self.tokenizer)
        return encoder.rendered(chat_text(encoder, [("user", prompt)])) if chat else encoder.tokens(prompt)

    def filled(self, tokens: Sequence[int]) -> list[int]:
        """The prompt as the circuit takes it: where it is hidden, or the first positions put nothing out, it has a fixed length
        at least, and what lacks is filled in front, with tokens as between two texts."""
        least = max(self.hidden, self.first + 1)
        front = min(self.pin.ends) if self.pin.ends else self.pin.pad
        return [*[front] * (least - len(tokens)), *tokens]

    def room(self, prompt: int) -> int:
        """How many tokens an answer to a prompt of so many can have."""
        if self.hidden and prompt > self.hidden:
            return 0  # its end would stand among what proofs show
        return self.positions - max(prompt, self.hidden, self.first + 1) + 1


_SPLIT = "Export with --prompt N: the prompt is an input of its own then, and may be hidden."


def _pin_of(folder: CircuitFolder) -> TokenPin:
    names = folder.names
    if names.tokens is None or not names.tokens.next:
        message = "this circuit gives no answers: [tokenizer] of circuit.toml names no output as next"
        hint = 'Say next = "next_tokens" there, the output with the most likely next tokens, and compile again.'
        raise UsageError("bad-option", message, where=str(folder.folder / "circuit.toml"), hint=hint)
    if folder.lock().names.tokens != names.tokens:
        hint = f"Run: `verifai compile {shell(folder.folder)}`"
        raise UsageError("stale-lock", "the lock pins another tokenizer or output", where=str(folder.lock_path), hint=hint)
    return names.tokens


def _fitting(read: Sequence[_Decoder], prompt: int, most: int | None) -> _Decoder:
    """The smallest circuit with room for the answer; the one with the most room, where no length is asked for."""
    first = read[0]
    if any(one.pin != first.pin for one in read[1:]):
        message = "the circuits have different tokenizers, so they are not of one model"
        raise UsageError("bad-option", message, where="circuit", hint="Name circuits that differ in their positions only.")
    best = max(read, key=lambda one: one.room(prompt))
    room = max(best.room(prompt), 0)
    fitting = [one for one in read if one.room(prompt) >= (most or room or 1)]
    if fitting:
        return min(fitting, key=lambda one: one.positions)
    message = f"the prompt has {prompt:,} tokens, and {best.positions:,} positions leave room for {room:,} of an answer"
    less = f"Ask for --max-tokens {room}" if room else "Shorten it"
    hint = f"{less}, or export the model with more --positions."
    raise InputRejected("input-text", message, where="prompt", hint=hint)


class _Answering:
    """One answer in the making."""

    def __init__(self, ready: ReadyCircuit, decoder: _Decoder, tokens: Sequence[int], most: int | None) -> None:
        self._ready, self._decoder = ready, decoder
        self._prompt = decoder.filled(tokens)
        self._most = most if most is not None else decoder.room(len(tokens))

    def made(self, output: Path, context: str, *, compare: bool, progress: Progress) -> GeneratedBundle:
        """Write the answer, prove it, write the bundle."""
        made = self._generated(progress)
        ended = made.tokens[-1] in self._decoder.pin.ends
        claim = Generation(len(self._prompt), len(made.tokens), Ending.END_OF_TEXT if ended else Ending.MAX_TOKENS)
        make_folder(output.parent)
        bundle = self._ready.prove_sample(
            0,
            made.inputs,
            output,
            context=context,
            generation=claim,
            check_outputs=lambda outputs: self._require(outputs, made.tokens),
            progress=progress,
        )
        tokenizer = self._decoder.tokenizer
        return GeneratedBundle(
            bundle=bundle,
            circuit=self._decoder.folder,
            generation=claim,
            prompt=tokenizer.text(self._prompt, filled=False),
            answer=tokenizer.text(made.tokens, filled=False),
            tokens=made.tokens,
            seconds=made.seconds,
            cached=made.cached,
            findings=self._compared(made) if compare else (),
        )

    def _generated(self, progress: Progress) -> Generated:
        ready, folder, pin = self._ready, self._decoder.folder, self._decoder.pin
        if not isinstance(ready.engine, GeneratesTokens):
            message = f"the {ready.engine.name.value} engine writes no answers"
            raise UsageError("bad-option", message, where="--engine", hint="Use the sumcheck engine.")
        request = GenerateRequest(
            model=folder.model,
            section=ready.section,
            build_dir=folder.built_dir(ready.engine.name),
            prompt=tuple(self._prompt),
            most=self._most,
            pad=pin.pad,
            ends=frozenset(pin.ends),
            budget=ready.budget,
            progress=progress,
        )
        return ready.engine.generate(request)

    def _following(self, outputs: Mapping[str, Any], count: int) -> list[int]:
        """What the positions from the prompt's last on put next, so many of them."""
        start = len(self._prompt) - 1 - self._decoder.first
        return [int(token) for token in outputs[self._decoder.pin.next].reshape(-1)[start : start + count]]

    def _require(self, outputs: Mapping[str, Any], tokens: Sequence[int]) -> None:
        """The whole pass, which is what gets proven, against the answer that was written token by token."""
        if self._following(outputs, len(tokens)) != list(tokens):
            message = "the next token at a position changes with the tokens behind it, so no answer can be written one by one"
            hint = "Answers are given by causal models; check the mask of the model's attention."
            raise UnsupportedModel("not-causal", message, where=self._decoder.pin.next, hint=hint)

    def _compared(self, made: Generated) -> tuple[Finding, ...]:
        """How the float model would have gone on at each position. Never fails: the proof is there already."""
        from verifai.onnx_graph.reference import Reference  # loads onnxruntime

        try:
            float32 = self._following(Reference(self._decoder.folder.model).run(made.inputs), len(made.tokens))
        except VerifaiError as problem:
            return (not_checked("reference-not-run", f"the float model was not run: {problem.message}"),)
        same = sum(mine == theirs for mine, theirs in zip(made.tokens, float32, strict=True))
        message = f"float32 puts the same next token at {same:,} of the answer's {len(made.tokens):,} positions"
        return (holds("reference-distance", message),)
