"""An audit in sentences: what was shown, by whom it is signed, when, and how many checks hold. For people who read one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from verifai.domain.audit import AuditReport
from verifai.domain.evaluation.words import sentence
from verifai.domain.findings import Outcome
from verifai.domain.shown import ShownTensor
from verifai.domain.statement import Role

SIGNED = "Signed by"
"""The fact of an audit that names who signed the bundle, with their keys."""
_NUMBERS = 3
_OUTPUTS = 2
_LETTERS = 80
"""Of a text; what is left out is counted, so that no answer seems to end there."""


def count_checks(report: AuditReport) -> tuple[int, int, int]:
    """How many checks hold, were not made, failed."""
    counted = Counter(one.outcome for one in report.findings)
    hold, unmade = counted[Outcome.HOLDS], counted[Outcome.NOT_CHECKED]
    return hold, unmade, sum(counted.values()) - hold - unmade


def counts_sentence(report: AuditReport) -> str:
    """Such as ``16 checks hold, 8 were not made or not asked for, 0 failed.``"""
    hold, unmade, failed = count_checks(report)
    return (
        f"{hold} check{'s hold' if hold != 1 else ' holds'}, {unmade} {'were' if unmade != 1 else 'was'} not made or not asked "
        f"for, {failed} failed."
    )


def audit_sentence(report: AuditReport) -> str:
    """What the audit shows, in a sentence of plain words, and the counts. What did not hold is called claimed, not shown."""
    facts = report.facts
    if report.bundle_id is None:
        return f"The evidence could not be read, so it shows nothing. {counts_sentence(report)}"
    about = f"the circuit {facts['Circuit']!r} ({facts['Engine']})" if "Circuit" in facts else "what the bundle describes"
    model = f" of the model with SHA-256 {facts['Model (SHA-256)'][:12]}…" if "Model (SHA-256)" in facts else ""
    held = bool(report.words) and report.outcome is Outcome.HOLDS
    verb = "It is shown that" if held else "It is claimed, and not shown, that"
    if report.words and not held:
        verb = "The proof holds, but not all that was asked for; it is about this:"
    if report.insecure:
        verb = f"INSECURE ({', '.join(report.insecure)}), so only as far as nobody forged it: {verb[0].lower()}{verb[1:]}"
    made = f", made at {facts['Made']} by its maker’s clock" if "Made" in facts else ""
    signed = f"signed by {facts[SIGNED]}" if facts.get(SIGNED) else "signed by nobody whom the trust file names"
    if report.evaluation is not None:
        evaluated = report.evaluation
        start = verb.removesuffix(" that").removesuffix("; it is about this:")
        told = sentence(evaluated.data, evaluated.metrics, evaluated.confidence).removesuffix(".")
        return f"{start}: {told}; {signed}. {counts_sentence(report)}"
    return f"{verb} {about}{model} gave {outputs_words(report.values)}{made}; {signed}. {counts_sentence(report)}"


def outputs_words(values: Sequence[ShownTensor]) -> str:
    """The outputs in a few words: their classes, or their first numbers."""
    found = [one for one in values if one.role is Role.OUTPUT]
    if not found:
        return "an output that the evidence does not show"
    told = " and ".join(_output(one) for one in found[:_OUTPUTS])
    return told if len(found) <= _OUTPUTS else f"{told}, and {len(found) - _OUTPUTS} more outputs"


def _output(one: ShownTensor) -> str:
    where = f"“{one.name}”" + ("" if one.item is None else f" of item {one.item}")
    if one.text is not None:
        text = one.text.text
        more = f" and {len(text) - _LETTERS:,} more characters" if len(text) > _LETTERS else ""
        return f"{where}: the text {text[:_LETTERS]!r}{more}{one.text.spelled_words()}"
    if one.decides and one.decisions:
        classes = ", ".join(decision.words() for decision in one.decisions[:_NUMBERS])
        more = "" if one.decided <= _NUMBERS else f" and {one.decided - _NUMBERS} more"
        return f"{where}: class {classes}{more}"
    numbers = ", ".join(one.number(cell) for cell in range(min(len(one.values), _NUMBERS)))
    more = "" if one.size <= _NUMBERS else f" and {one.size - _NUMBERS} more values"
    return f"{where}: {numbers}{more}"
