"""The demo of a language model: it is asked one question, its answer is proven, and three lies about the answer are refused.

The liar is as strong as a real one: prompt, answer and their lengths are changed wherever they stand, so that they agree with
each other and every digest fits. What is left to refuse a lie is the proof.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.fidelity import Task
from verifai.domain.generation import Ending, Generation
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Role, Statement, WeightVisibility
from verifai.domain.tokenizer import Tokenizer
from verifai.engines.interface import CostEstimate
from verifai.errors import ResourceExhausted, UsageError
from verifai.execution.files import write_atomic
from verifai.execution.machine import memory_bytes
from verifai.onnx_graph.facts import write_facts, write_tokenizer
from verifai.showcase.demo_steps import CONTEXT, Refused, refusals, reseal
from verifai.stages.check import all_public, ask_engines, require_able
from verifai.stages.compile import CompileResult, compile_circuit
from verifai.stages.export import ExportResult, export
from verifai.stages.generate import GeneratedBundle, generate
from verifai.stages.init import InitRequest, write_circuit
from verifai.stages.verify import Expectations, VerifiedBundle, verify_bundle

SMALL = Path(__file__).resolve().parent / "tiny-llama"
"""A trained Llama of 29,000 weights, part of the package; ``fixtures/language.py`` made it."""
PROMPT = "The capital of France is"
POSITIONS, MOST_TOKENS = 16, 8
ENGINE = EngineName.SUMCHECK
_LARGE = 10_000_000
"""Numbers of a model for which one try of bits takes minutes: it gets these bits, and floors that eight texts can show."""
_BITS = 12
_FLOORS = {"top1_agreement": "top1_agreement = 0.9", "perplexity_ratio": "perplexity_ratio = 1.1"}
TEXTS = (
    "The capital of Italy is Rome, and the capital of Spain is Madrid.",
    "Water boils at one hundred degrees and freezes at zero.",
    "def square(x): return x * x",
    "Once upon a time there was a little girl who lived near a forest.",
    "1 + 2 = 3, 2 + 3 = 5, 3 + 4 = 7",
    "La tour est haute et la rivière est longue.",
    "Please write a short letter to your friend about the summer.",
    "The results of the experiment were published in the journal last year.",
)
"""What a model is calibrated on that brings no texts of its own."""


@dataclass(frozen=True)
class LanguageModel:
    """The model was read and written as canonical ONNX.

    Attributes:
        source: what was read. numbers: how many the model holds, tables and masks included.
        estimate: what a circuit of it will cost, about; ``None`` where no circuit can be made.
    """

    source: str
    result: ExportResult
    numbers: int
    estimate: CostEstimate | None
    seconds: float


@dataclass(frozen=True)
class CompiledLanguage:
    """The circuit was made."""

    result: CompileResult
    seconds: float


@dataclass(frozen=True)
class Answered:
    """The answer was written, proven and verified. proof_bytes: of the proof file alone."""

    made: GeneratedBundle
    verified: VerifiedBundle
    proof_bytes: int
    verify_seconds: float


LanguageEvent = LanguageModel | CompiledLanguage | Answered | Refused


def run_language_demo(work: Path, model: Path | None = None, *, progress: Progress = SILENT) -> Iterator[LanguageEvent]:
    """Ask ``model`` one question in ``work``, an empty folder, yielding each event as it happens.

    Args:
        model: a GGUF file, or a folder of Hugging Face; by default :data:`SMALL`.

    Raises:
        UsageError: ``file-missing``; ``extra-missing`` without the extra ``language``; ``bad-option`` for a model that
            continues no texts.
        UnsupportedModel: ``model-…``, as export and compile do.
        ResourceExhausted: ``estimate-over-budget``, with the estimate, where the machine has too little memory.
        InternalError: ``demo-accepted-forgery``.
    """
    source = model if model is not None else _small()
    begun = time.monotonic()
    exported = export(source, positions=POSITIONS, progress=progress)
    if exported.tokenizer is None or not _is_decoder(exported):
        message = "this model answers nothing: the demo needs a decoder with its tokenizer"
        hint = "Give a GGUF file, or a folder of Hugging Face, of a model that generates text."
        raise UsageError("bad-option", message, where=str(source), hint=hint)
    progress.phase("estimate")
    spec = replace(all_public(exported.model, Task.GENERATION), engine=ENGINE, weights=WeightVisibility.COMMITTED)
    checks = ask_engines(exported.model, spec, engines=(ENGINE,))
    numbers = sum(prod(tensor.dims) for tensor in exported.model.proto.graph.initializer)
    yield LanguageModel(source.name, exported, numbers, checks[0].estimate, time.monotonic() - begun)
    try:
        require_able(checks)
    except ResourceExhausted as problem:
        hint = "Take a machine with so much memory, or the small model: `verifai demo --language-model`"
        raise ResourceExhausted(problem.code, problem.message, where=str(source), hint=hint) from None

    begun = time.monotonic()
    folder = _circuit(work, exported, None if model is not None else source / "calibration.txt", numbers)
    compiled = compile_circuit(folder, progress=progress)
    yield CompiledLanguage(compiled, time.monotonic() - begun)

    answered = _answered(folder, work / "answer", progress)
    yield answered
    yield from refusals(_lies(folder, answered.made, work / "lies", progress))


def _small() -> Path:
    if not (SMALL / "model.safetensors").is_file():
        hint = "Name a model: `verifai demo --language-model MODEL.gguf`"
        raise UsageError("file-missing", "the small model is not part of this installation", where=str(SMALL), hint=hint)
    return SMALL.resolve()


def _is_decoder(exported: ExportResult) -> bool:
    return any(one.name == "next_tokens" for one in exported.model.outputs)


def _circuit(work: Path, exported: ExportResult, texts: Path | None, numbers: int) -> CircuitFolder:
    """What ``init`` writes, with as much memory as the machine has; of a large model without a search for the cheapest bits."""
    path = work / MODEL_FILE
    write_atomic(path, exported.model.data)
    write_facts(path, exported.facts)
    write_tokenizer(path, exported.tokenizer)
    calibration = work / "texts.txt"
    lines = texts.read_text("utf-8") if texts is not None else "".join(f"{text}\n" for text in TEXTS)
    write_atomic(calibration, lines.encode())
    memory = memory_bytes()
    request = InitRequest(
        engine=ENGINE,
        weights=WeightVisibility.COMMITTED,
        calibration=calibration,
        task=Task.GENERATION,
        memory=f"{max(1, memory // 2**30)} GiB" if memory is not None else "8 GiB",
        prove_seconds=7200,
    )
    folder = write_circuit(path, exported.model, work / "circuit", request).folder
    if numbers >= _LARGE:
        spec = work / "circuit" / "circuit.toml"
        text = re.sub(
            r"^(top1_agreement|perplexity_ratio) = .*$", lambda found: _FLOORS[found[1]], spec.read_text("utf-8"), flags=re.M
        )
        write_atomic(spec, f"{text}\n[engine.sumcheck]\nactivation_bits = {_BITS}\n".encode())
    return CircuitFolder(folder.folder)


def _answered(folder: CircuitFolder, output: Path, progress: Progress) -> Answered:
    made = generate(folder, PROMPT, output, max_tokens=MOST_TOKENS, context=CONTEXT, progress=progress)
    begun = time.monotonic()
    verified = verify_bundle(output, folder.lock(), Expectations(context=CONTEXT), progress=progress)
    seconds = time.monotonic() - begun
    size = sum(path.stat().st_size for path in (output / "payload").glob("proof*"))
    return Answered(made, verified, size, seconds)


def _lies(
    folder: CircuitFolder, made: GeneratedBundle, work: Path, progress: Progress
) -> Mapping[str, Callable[[], VerifiedBundle]]:
    """By what is claimed: sealing the claim and verifying it."""
    work.mkdir()
    tokenizer = folder.tokenizer
    assert tokenizer is not None
    answer = list(made.tokens)
    asked = list(_cells(made.bundle.statement, Role.INPUT)[: made.generation.prompt])

    def lie(name: str, tokens: Sequence[int], prompt: Sequence[int]) -> Callable[[], VerifiedBundle]:
        def attempt() -> VerifiedBundle:
            forged = _forged(made, work / name, prompt, tokens, tokenizer)
            return verify_bundle(forged, folder.lock(), Expectations(context=CONTEXT), progress=progress)

        return attempt

    said = _other_word(tokenizer, answer)
    lies = {f"it answered {said.words(tokenizer)}": lie("word", said.tokens, asked)}
    if len(answer) > 1:
        lies["its answer ended one token earlier"] = lie("cut", answer[:-1], asked)
    other = _other_word(tokenizer, asked)
    lies[f"it was asked about {other.words(tokenizer)}"] = lie("prompt", answer, other.tokens)
    return lies


@dataclass(frozen=True)
class _OtherWord:
    """Tokens of which some, ``before``, were replaced by one other, ``after``."""

    tokens: list[int]
    before: list[int]
    after: int

    def words(self, tokenizer: Tokenizer) -> str:
        """The new word, and what stood there."""
        new, old = (tokenizer.text(row, filled=False).text.strip() for row in ([self.after], self.before))
        return f"“{new}”, not “{old}”"


def _other_word(tokenizer: Tokenizer, tokens: Sequence[int]) -> _OtherWord:
    """The longest word among ``tokens``, of one token or several, replaced by a token that spells one of about its length."""
    runs: list[list[int]] = []  # places of tokens whose letters go on from each other
    for at, token in enumerate(tokens):
        space, letters = _letters(tokenizer, token)
        if letters and not space and runs and runs[-1][-1] == at - 1:
            runs[-1].append(at)
        elif letters:
            runs.append([at])
    run = max(runs, key=lambda places: sum(len(_letters(tokenizer, tokens[at])[1]) for at in places), default=[0])
    before = [tokens[at] for at in run]
    space, first = _letters(tokenizer, before[0])
    length = sum(len(_letters(tokenizer, token)[1]) for token in before)

    def far(token: int) -> tuple[int, int]:
        return abs(len(_letters(tokenizer, token)[1]) - length), abs(token - before[0])

    alike = [
        token
        for token in range(len(tokenizer.pieces))
        if (found := _letters(tokenizer, token))[0] == space and found[1] and found[1].istitle() == first.istitle()
        if [token] != before
    ]
    after = min(alike, key=far, default=(before[0] + 1) % len(tokenizer.pieces))
    return _OtherWord([*tokens[: run[0]], after, *tokens[run[-1] + 1 :]], before, after)


def _letters(tokenizer: Tokenizer, token: int) -> tuple[bool, str]:
    """Whether a token begins a word with a space, and its letters; none where it has others than letters."""
    piece = tokenizer.piece(token)
    letters = piece.lstrip(" ")
    return piece != letters, letters if letters.isalpha() and token not in tokenizer.special else ""


def _forged(made: GeneratedBundle, target: Path, prompt: Sequence[int], answer: Sequence[int], tokenizer: Tokenizer) -> Path:
    """The bundle sealed again with another prompt and answer."""
    stated, claim = made.bundle.statement, made.generation
    ending = Ending.END_OF_TEXT if answer[-1] in tokenizer.ends else Ending.MAX_TOKENS
    told = Generation(len(prompt), len(answer), ending)
    following = list(_cells(stated, Role.OUTPUT))
    following[len(prompt) - 1 : len(prompt) - 1 + len(answer)] = answer
    tokens = [*prompt, *answer[:-1]]
    tokens += [tokenizer.pad] * (len(following) - len(tokens))

    def statement(before: Statement) -> Statement:
        cells = {Role.INPUT: tuple(tokens), Role.OUTPUT: tuple(following)}
        tensors = tuple(replace(one, quantised=cells[one.role]) for one in before.tensors)
        return replace(before, tensors=tensors, generation=told)

    def stated_bytes(data: bytes) -> bytes:
        # The cells of both tensors, 32 bits each, stand before the lengths and the context, which come last.
        bound = claim.bound(CONTEXT).encode()
        cells = struct.pack(f"<{len(tokens) + len(following)}i", *tokens, *following)
        head = data.removesuffix(bound)[: -len(cells)]
        return head + cells + told.bound(CONTEXT).encode()

    return reseal(made.bundle.path, target, payload={"statement.bin": stated_bytes}, statement=statement)


def _cells(statement: Statement, role: Role) -> tuple[int, ...]:
    cells = statement.of(role)[0].quantised
    assert cells is not None  # all tokens of this demo's circuit are public
    return cells
