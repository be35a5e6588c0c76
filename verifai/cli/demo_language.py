"""``demo --language-model``: one question, its proven answer, and lies about it, told for a person."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from verifai.cli.demo_teller import Teller
from verifai.cli.frame import Frame, Result, plain
from verifai.cli.text import bytes_text, seconds_text, value_lines
from verifai.domain.shell import shell
from verifai.errors import UsageError
from verifai.showcase.demo_language import (
    PROMPT,
    Answered,
    CompiledLanguage,
    LanguageEvent,
    LanguageModel,
    run_language_demo,
)
from verifai.showcase.demo_steps import Refused


def told_language_demo(frame: Frame, work: Path, model: Path | None, *, kept: bool) -> Result:
    """Run the demo in ``work`` and tell it. ``kept``: whether the folder stays. Raises what the demo raises."""
    if model is not None and not model.exists():
        raise UsageError("file-missing", "no such file or folder", where=str(model), hint="Name a GGUF file, or a folder.")
    begun = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    teller, documents = _LanguageTeller(frame, model), []
    with frame.progress() as progress:
        for event in run_language_demo(work, model, progress=progress):
            with progress.put_away():
                documents.append(teller.show(event))
    seconds = time.monotonic() - begun
    refused = sum(document["event"] == "refused" for document in documents)
    lines = ["", f"[bold]One answer proven and verified; all {refused} lies refused; in {seconds_text(seconds)}.[/]"]
    if kept:
        lock, answer = work / "circuit" / "circuit.lock", work / "answer"
        lines.append(f"Next: verifai verify {plain(shell(answer))} --lock {plain(shell(lock))}")
    return Result({"events": documents, "seconds": seconds, "insecure": []}, lines, verdict="done")


class _LanguageTeller(Teller):
    """Prints each event as it happens and returns it as a JSON object."""

    def __init__(self, frame: Frame, model: Path | None) -> None:
        super().__init__(frame)
        self._refusals = False
        name = "a small trained Llama" if model is None else plain(model.name)
        self._say(f"[bold]verifai demo --language-model[/]: {name} is asked a question, and its whole answer is proven.")
        if model is not None:
            self._say("First the model is read and the cost is estimated: minutes, where there are 100 million weights.")
        self._say()

    def show(self, event: LanguageEvent) -> dict[str, Any]:
        """Print ``event``; return it as a JSON object."""
        if isinstance(event, LanguageModel):
            return self._model(event)
        if isinstance(event, CompiledLanguage):
            return self._compiled(event)
        if isinstance(event, Answered):
            return self._answered(event)
        return self._refused(event)

    def _model(self, event: LanguageModel) -> dict[str, Any]:
        parity, cost = event.result.parity, event.estimate
        same = parity.decisions - parity.decisions_differ
        self._step(
            "1 export",
            f"{event.numbers:,} numbers in the model; the next token is the source's at {same:,} of "
            f"{parity.decisions:,} positions ({seconds_text(event.seconds)})",
        )
        document: dict[str, Any] = {"event": "exported", "source": event.source, "numbers": event.numbers, "estimate": None}
        if cost is not None:
            self._step(
                "2 cost",
                f"about {bytes_text(cost.memory_bytes)} of memory, {seconds_text(cost.prove_seconds)} to prove on two warm "
                f"cores, a proof of {bytes_text(cost.proof_bytes)}",
            )
            document["estimate"] = {
                "memory_bytes": cost.memory_bytes,
                "prove_seconds": cost.prove_seconds,
                "proof_bytes": cost.proof_bytes,
            }
        return document

    def _compiled(self, event: CompiledLanguage) -> dict[str, Any]:
        fidelity = event.result.circuit.fidelity
        near = "" if fidelity.language is None else f": {plain(fidelity.language.words())}"
        self._step(
            "3 compile", f"weights bound by one commitment, prompt and answer public{near} ({seconds_text(event.seconds)})"
        )
        return {
            "event": "compiled",
            "fidelity": None if fidelity.language is None else fidelity.language.to_document(),
            "seconds": event.seconds,
        }

    def _answered(self, event: Answered) -> dict[str, Any]:
        made = event.made
        self._step("4 ask", f"“{PROMPT} …”")
        self._say()
        for line in value_lines([one for one in event.verified.values if one.part]):
            self._say(f"[bold green]{line}[/]")
        self._say()
        self._step(
            "5 prove",
            f"written in {seconds_text(made.seconds)}, proven in {seconds_text(made.bundle.seconds)} (peak memory "
            f"{bytes_text(made.bundle.peak_rss_bytes)}), {bytes_text(event.proof_bytes)}; verified in "
            f"{seconds_text(event.verify_seconds)}: [green]accepted[/]",
        )
        self._step("", plain(made.generation.words()))
        return {
            "event": "answered",
            "prompt": made.prompt.text,
            "answer": made.answer.text,
            "answer_tokens": list(made.tokens),
            "ending": made.generation.ending.value,
            "bundle_id": made.bundle.bundle_id,
            "prove_seconds": made.bundle.seconds,
            "verify_seconds": event.verify_seconds,
            "proof_bytes": event.proof_bytes,
            "peak_rss_bytes": made.bundle.peak_rss_bytes,
        }

    def _refused(self, event: Refused) -> dict[str, Any]:
        if not self._refusals:
            self._refusals = True
            self._step("6 lie", "each lie is told everywhere at once and sealed again, so that no checksum gives it away")
            self._say()
        error = event.error
        self._say(f"   [red]✗[/] {plain(event.forgery):<42} [red]refused[/] ({error.status}) [dim]\\[{error.code}][/]")
        return {"event": "refused", "forgery": event.forgery, "code": error.code, "status": error.status}
