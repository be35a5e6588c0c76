"""``demo``: the tour, drawn for a person."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.cli.demo_language import told_language_demo
from verifai.cli.demo_teller import Teller
from verifai.cli.frame import Frame, Result, current, plain, verb
from verifai.cli.text import bytes_text, seconds_text, table
from verifai.domain.evaluation.words import document
from verifai.domain.shell import shell
from verifai.errors import UsageError
from verifai.execution.outputs import Kind
from verifai.execution.scratch import private_directory
from verifai.showcase.demo import Compiled, DemoEvent, Exported, SideBySide, run_demo
from verifai.showcase.demo_evaluation import FLOOR, EvaluatedDigits
from verifai.showcase.demo_hidden import HiddenPicture
from verifai.showcase.demo_steps import Proved, Refused


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "demo", example="verifai demo")
    def demo(
        model: Annotated[
            Path | None,
            typer.Argument(
                metavar="[MODEL]",
                help="With --language-model: a GGUF file or a folder of Hugging Face. Default: a small one that is shipped.",
                show_default=False,
            ),
        ] = None,
        *,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", help="Keep what the tour makes in this new folder."), Kind.TREE
        ] = None,
        language_model: Annotated[
            bool,
            typer.Option(
                "--language-model",
                help="Instead: a language model is asked, its answer proven and lied about. Needs the extra [language].",
            ),
        ] = False,
    ) -> Result:
        """Take the whole tour on a real model.

        In under a minute: exported, compiled, proven on real inputs, verified; then forgeries, each refused; then the same with
        the second engine, the digit of a hidden picture with both, and a whole test set with its accuracy, gated.
        """
        if output is not None and output.exists():
            raise UsageError("file-exists", "the folder exists already", where=str(output), hint="Choose another --output.")
        if model is not None and not language_model:
            hint = f"Say: `verifai demo --language-model {shell(model)}`"
            raise UsageError("bad-option", "only the demo of a language model takes a model", where=str(model), hint=hint)
        frame = current()
        begun = time.monotonic()
        documents = []
        with private_directory() as scratch:
            work = output or scratch
            if language_model:
                return told_language_demo(frame, work, model, kept=output is not None)
            work.mkdir(parents=True, exist_ok=True)
            painter = _Painter(frame)
            with frame.progress() as progress:
                for event in run_demo(work, progress=progress):
                    with progress.put_away():
                        documents.append(painter.show(event))
        seconds = time.monotonic() - begun
        refused = sum(document["event"] == "refused" for document in documents)
        proved = sum(document["event"] == "proved" for document in documents)
        lines: list[Any] = [
            "",
            f"[bold]{proved} inferences proven and verified, one more with both engines and the picture hidden; all {refused} "
            f"forgeries refused; in {seconds_text(seconds)}.[/]",
        ]
        if output is not None:
            lines.append(f"Everything is in {plain(str(output))}; the bundles are below {plain(str(output / 'evidence'))}.")
        return Result({"events": documents, "seconds": seconds, "insecure": ["test-srs"]}, lines, verdict="done")


class _Painter(Teller):
    """Prints each event as it happens (not with --json) and returns it as a JSON object."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame)
        self._refusals = False
        self._say("[bold]verifai demo[/]: a real CNN reads handwritten digits; each reading is proven in zero knowledge.")
        self._say("[yellow]INSECURE-TEST set-up:[/] the shipped SRS is for tests, its maker could forge: not for a release.\n")

    def show(self, event: DemoEvent) -> dict[str, Any]:
        """Print ``event``; return it as a JSON object."""
        if isinstance(event, Exported):
            return self._exported(event)
        if isinstance(event, Compiled):
            return self._compiled(event)
        if isinstance(event, Proved):
            return self._proved(event)
        if isinstance(event, SideBySide):
            return self._side_by_side(event)
        if isinstance(event, HiddenPicture):
            return self._hidden(event)
        if isinstance(event, EvaluatedDigits):
            return self._evaluated(event)
        return self._refused(event)

    def _exported(self, event: Exported) -> dict[str, Any]:
        model, parity = event.result.model, event.result.parity
        self._step(
            "1 export",
            f"canonical ONNX, sha256 {model.sha256[:16]}…, largest difference to the source "
            f"{parity.max_abs_error:.1e} on {parity.samples} samples ({seconds_text(event.seconds)})",
        )
        return {
            "event": "exported",
            "model_sha256": model.sha256,
            "max_abs_error": parity.max_abs_error,
            "seconds": event.seconds,
        }

    def _compiled(self, event: Compiled) -> dict[str, Any]:
        circuit = event.result.circuit
        fidelity = circuit.fidelity
        self._step(
            "2 compile",
            f"reproduced the pinned verification key; top-1 agrees with onnxruntime on "
            f"{fidelity.top1_matches}/{fidelity.samples} ({seconds_text(event.seconds)}, keys {bytes_text(circuit.key_bytes)})",
        )
        self._step("3 prove", "three held-out pictures; the proof carries a hash of the picture and the ten logits")
        self._say()
        return {
            "event": "compiled",
            "reproduced": event.result.reproduced,
            "key_bytes": circuit.key_bytes,
            "top1_matches": fidelity.top1_matches,
            "samples": fidelity.samples,
            "seconds": event.seconds,
        }

    def _proved(self, event: Proved) -> dict[str, Any]:
        right = event.digit == event.label
        picture = _draw(event.picture) if self._console.color_system else _draw_without_colour(event.picture)
        beside = [
            f"proven: the model reads a [bold green]{event.digit}[/]"
            + (f" (a person wrote {event.label})" if not right else ""),
            f"prove {seconds_text(event.bundle.seconds)}, peak memory {bytes_text(event.bundle.peak_rss_bytes)}",
            f"verify {seconds_text(event.verify_seconds)}: [green]accepted[/], {len(event.verified.findings)} checks",
            f"bundle {event.bundle.bundle_id[:16]}…",
        ]
        for index, row in enumerate(picture):
            self._say(f"   {row}   {beside[index] if index < len(beside) else ''}")
        self._say()
        return {
            "event": "proved",
            "label": event.label,
            "digit": event.digit,
            "bundle_id": event.bundle.bundle_id,
            "prove_seconds": event.bundle.seconds,
            "verify_seconds": event.verify_seconds,
            "peak_rss_bytes": event.bundle.peak_rss_bytes,
        }

    def _side_by_side(self, event: SideBySide) -> dict[str, Any]:
        self._say()
        self._step("5 compare", "the same picture with the sumcheck engine: fast, no set-up to trust, nothing hidden")
        columns = (event.first, event.second)
        rows = [
            ["the model reads", *(str(one.digit) for one in columns)],
            ["prove", *(seconds_text(one.bundle.seconds) for one in columns)],
            ["verify", *(seconds_text(one.verify_seconds) for one in columns)],
            ["peak memory", *(bytes_text(one.bundle.peak_rss_bytes) for one in columns)],
            ["privacy", *(one.verified.statement.privacy.value for one in columns)],
            ["set-up", "trusted (here: INSECURE-TEST)", "none"],
        ]
        self._say(table(["", "ezkl", "sumcheck"], rows))
        times = event.first.bundle.seconds / event.second.bundle.seconds
        self._step(
            "",
            f"Same model, same picture, same digit: {'yes' if event.agree else 'NO'}. Proving was {times:.0f}× faster, warm "
            f"(the first call took {seconds_text(event.cold_seconds)}, kernels loaded).",
        )
        return {
            "event": "compared",
            "agree": event.agree,
            "prove_seconds": {"ezkl": event.first.bundle.seconds, "sumcheck": event.second.bundle.seconds},
            "cold_seconds": event.cold_seconds,
        }

    def _hidden(self, event: HiddenPicture) -> dict[str, Any]:
        first = next(iter(event.proofs.values()))
        self._say()
        self._step("6 hide", "the same picture, now hidden: the verifier gets the ten logits and no picture")
        self._step(
            "", f"Proven: there is a picture for which this model's largest logit is that of a [bold green]{first.digit}[/]."
        )
        self._step("", f"Hidden: {plain('; '.join(first.hidden))}. {plain(first.weights)}")
        columns = event.proofs.values()
        rows = [
            ["the model reads", *(str(one.digit) for one in columns)],
            ["compile, once", *(seconds_text(one.compile_seconds) for one in columns)],
            ["prove", *(seconds_text(one.bundle.seconds) for one in columns)],
            ["verify", *(seconds_text(one.verify_seconds) for one in columns)],
            ["proof", *(bytes_text(one.proof_bytes) for one in columns)],
            ["peak memory", *(bytes_text(one.bundle.peak_rss_bytes) for one in columns)],
            ["privacy", *(one.verified.statement.privacy.value for one in columns)],
        ]
        self._say(table(["", *(engine.value for engine in event.proofs)], rows))
        self._step("", f"Same digit: {'yes' if event.agree else 'NO'}. Now another digit is claimed, and sealed again:")
        self._say()
        return {
            "event": "hidden",
            "label": event.label,
            "agree": event.agree,
            "proofs": {
                engine.value: {
                    "digit": one.digit,
                    "privacy": one.verified.statement.privacy.value,
                    "hidden": list(one.hidden),
                    "compile_seconds": one.compile_seconds,
                    "prove_seconds": one.bundle.seconds,
                    "verify_seconds": one.verify_seconds,
                    "proof_bytes": one.proof_bytes,
                }
                for engine, one in event.proofs.items()
            },
        }

    def _evaluated(self, event: EvaluatedDigits) -> dict[str, Any]:
        made = event.made
        word = "[green]lets it through[/]" if event.verdict.passed else "[red]refuses[/]"
        self._say()
        self._step("7 measure", f"how good is it? {made.evaluation.data.count} pinned pictures, each proven, in one bundle")
        self._step("", plain(event.sentence))
        self._step(
            "",
            f"{seconds_text(event.prove_seconds)} to prove and check, {bytes_text(made.size)}; the gate asks for "
            f"{FLOOR:.0%} of right answers, counts again, and {word} ({seconds_text(event.gate_seconds)}).",
        )
        return {
            "event": "evaluated",
            "sentence": event.sentence,
            "evaluation": document(made.evaluation.data, made.evaluation.metrics),
            "verdict": event.verdict.verdict,
            "bytes": made.size,
            "prove_seconds": event.prove_seconds,
            "gate_seconds": event.gate_seconds,
        }

    def _refused(self, event: Refused) -> dict[str, Any]:
        if not self._refusals:
            self._refusals = True
            self._step("4 forge", "five forgeries, each sealed again so that no checksum gives it away")
            self._say()
        self._say(f"   [red]✗[/] {event.forgery:<42} [red]refused[/] ({event.error.status}) [dim]\\[{event.error.code}][/]")
        return {"event": "refused", "forgery": event.forgery, "code": event.error.code, "status": event.error.status}


def _draw(picture: tuple[tuple[float, ...], ...]) -> list[str]:
    """Two rows of pixels per line of text, as half blocks in shades of grey."""
    lines = []
    for upper, lower in zip(picture[::2], picture[1::2], strict=True):
        cells = []
        for top, bottom in zip(upper, lower, strict=True):
            cells.append(f"[{_grey(top)} on {_grey(bottom)}]▀▀[/]")
        lines.append("".join(cells))
    return lines


def _draw_without_colour(picture: tuple[tuple[float, ...], ...]) -> list[str]:
    """One row of pixels per line, as shades."""
    shades = " ░▒▓█"
    return ["".join(2 * shades[min(4, int(5 * value))] for value in row) for row in picture]


def _grey(value: float) -> str:
    level = round(20 + 235 * min(max(value, 0.0), 1.0))
    return f"rgb({level},{level},{level})"
