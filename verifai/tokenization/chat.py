"""Chat templates: messages → the text that a model was trained to answer, rendered in a fenced child, and shown whole."""

from __future__ import annotations

from collections.abc import Sequence

from verifai.domain.record import Record
from verifai.domain.tokenizer import CODE
from verifai.errors import EngineCrashed, UsageError
from verifai.execution import child
from verifai.execution.child import Limits
from verifai.execution.packages import install_hint
from verifai.execution.scratch import private_directory
from verifai.tokenization.encode import MAX_TEXT, Encoder

WORKER = "verifai.tokenization.chat_worker"
LIMITS = Limits(memory_bytes=512 * 2**20, cpu_seconds=10.0, wall_seconds=120.0)
_WHERE = "the tokenizer: chat_template"


def chat_text(encoder: Encoder, messages: Sequence[tuple[str, str]], limits: Limits = LIMITS) -> str:
    """What the tokenizer's template makes of ``messages`` (role and content), with the opening of an answer at the end.

    Raises:
        InputRejected: ``input-text``, for a content that spells a special token.
        UsageError: ``bad-tokenizer`` when there is no template, or it fails; ``extra-missing``.
        Undecided: the template took more time or memory than its limits.
    """
    tokenizer = encoder.tokenizer
    if not tokenizer.chat_template:
        hint = "Give the text as the model is to read it, without --chat."
        raise UsageError(CODE, "the tokenizer has no chat template", where=_WHERE, hint=hint)
    try:
        import jinja2  # noqa: F401 - the child needs it
    except ImportError:
        message = "chat templates need the package jinja2"
        raise UsageError("extra-missing", message, hint=install_hint("language")) from None
    for _, content in messages:
        encoder.refuse_special(content)
    arguments = {
        "template": tokenizer.chat_template,
        "messages": [{"role": role, "content": content} for role, content in messages],
        "begin": "",  # the tokenizer's own post-processor is not asked for a text that is whole
        "end": tokenizer.piece(min(tokenizer.ends)) if tokenizer.ends else "",
        "most": MAX_TEXT,
    }
    with private_directory() as folder:
        report = child.run(WORKER, {"steps": [{"op": "render", "args": arguments}]}, folder=folder, limits=limits)
    if report.death is not None:
        raise report.death
    if len(report.steps) != 1 or report.steps[0].failure:
        raise EngineCrashed("engine-crashed", "the chat template could not be rendered", where=_WHERE)
    answer = Record(report.steps[0].value, "child", error=EngineCrashed, code="engine-crashed")
    if answer.has("refused"):
        raise UsageError(CODE, f"the chat template cannot be used: {answer.text('refused', empty=True)[:300]}", where=_WHERE)
    text = answer.text("text", max_length=MAX_TEXT + 1, empty=True)
    if not 0 < len(text) <= MAX_TEXT:
        raise UsageError(CODE, f"the chat template gives {len(text):,} characters or more", where=_WHERE)
    return text
