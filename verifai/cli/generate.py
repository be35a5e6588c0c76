"""``generate``: a language model's answer, with its proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verifai.bundle.keys import load_signer
from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import EngineOption, MaxMemoryOption, memory_limit
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import bytes_text, finding_lines, seconds_text, value_lines
from verifai.domain.shell import shell
from verifai.domain.shown import statement_document
from verifai.errors import UsageError
from verifai.execution.outputs import Kind
from verifai.stages.generate import GeneratedBundle
from verifai.stages.generate import generate as generate_answer
from verifai.tokenization.samples import read_text

_EXAMPLE = (
    "verifai export fixtures/tiny-llama -o llama.onnx --positions 24 && "
    "verifai init llama.onnx -o llama --yes --calibration fixtures/tiny-llama/calibration.txt && verifai compile llama && "
    'verifai generate llama --prompt "The capital of France is" -o answer'
)


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "generate", example=_EXAMPLE)
    def generate(
        circuits: Annotated[
            list[Path],
            typer.Argument(
                metavar="CIRCUIT...",
                help="A compiled circuit's folder; of several, the smallest with room is taken.",
                show_default=False,
            ),
        ],
        *,
        output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write, a folder."), Kind.TREE],
        prompt: Annotated[
            str | None, typer.Option("--prompt", help="The text to continue.", metavar="TEXT", show_default=False)
        ] = None,
        prompt_file: Annotated[
            Path | None, typer.Option("--prompt-file", help="A file with it (UTF-8).", metavar="FILE", show_default=False)
        ] = None,
        chat: Annotated[
            bool, typer.Option("--chat", help="Put the prompt into the model's chat template, as a user's message.")
        ] = False,
        max_tokens: Annotated[
            int | None,
            typer.Option(
                "--max-tokens", help="Most tokens of the answer. Default: what there is room for.", min=1, metavar="N"
            ),
        ] = None,
        engine: EngineOption = None,
        context: Annotated[str, typer.Option("--context", help="Text bound into the statement, such as a nonce.")] = "",
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs; repeatable.")] = None,
        threads: Annotated[int | None, typer.Option("--threads", min=1, max=1024, help="Worker threads of the engine.")] = None,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Answer a prompt with a compiled language model, and prove the answer.

        The answer is the greedy continuation, up to the model's end of text or --max-tokens. One proof shows all of it.
        """
        if (prompt is None) == (prompt_file is None):
            message = "give the prompt once" if prompt is not None else "there is no prompt"
            raise UsageError("bad-option", message, where="--prompt", hint="Give --prompt TEXT or --prompt-file FILE.")
        text = prompt if prompt is not None else read_text(prompt_file or Path())
        folders = [CircuitFolder(path) for path in circuits]
        signers = [load_signer(path) for path in key or []]
        if not signers:
            current().note("No --key: the bundle is unsigned. It proves the statement, but not who made it.")
        with current().progress() as progress:
            made = generate_answer(
                folders,
                text,
                output,
                chat=chat,
                max_tokens=max_tokens,
                engine=engine,
                context=context,
                signers=signers,
                threads=threads,
                max_memory=memory_limit(max_memory),
                progress=progress,
            )
        return _told(made, signed=bool(signers))


def _told(made: GeneratedBundle, *, signed: bool) -> Result:
    bundle = made.bundle
    written = f"{len(made.tokens):,} tokens written in {seconds_text(made.seconds)}"
    lines = [
        f"{plain(str(bundle.path))}  bundle {bundle.bundle_id[:12]}…  {written}, proven in {seconds_text(bundle.seconds)}, "
        f"peak memory {bytes_text(bundle.peak_rss_bytes)}",
        *value_lines(bundle.values),
        *finding_lines([*bundle.findings, *made.findings]),
        plain(made.generation.words()),
        f"Next: verifai verify {plain(shell(bundle.path))} --lock {plain(shell(made.circuit.lock_path))}",
    ]
    data = {
        "path": str(bundle.path),
        "bundle_id": bundle.bundle_id,
        "prompt": made.prompt.text,
        "answer": made.answer.text,
        "answer_tokens": list(made.tokens),
        "ending": made.generation.ending.value,
        "generate_seconds": made.seconds,
        "prove_seconds": bundle.seconds,
        "peak_rss_bytes": bundle.peak_rss_bytes,
        "cached": made.cached,
        "signed": signed,
        "statement": statement_document(bundle.statement, bundle.values),
    }
    return Result(data, lines, [*bundle.findings, *made.findings], verdict="done")
