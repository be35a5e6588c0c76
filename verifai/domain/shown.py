"""What was proven, in values: the public tensors of a statement as people read them. Every renderer shows these.

Numbers come from the statement alone; what they are called, and which of them decides, comes from the lock. Where no lock is
trusted, as when a bundle is only inspected, nothing is called anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from math import ceil, isfinite, log10, prod
from typing import Any

from verifai.domain.answer import sequences_of
from verifai.domain.categories import Categories
from verifai.domain.fidelity import Fidelity, Task
from verifai.domain.generation import Ending
from verifai.domain.names import PlaceNames
from verifai.domain.statement import Encoding, Role, Statement, TensorStatement
from verifai.domain.tokenizer import TokenText

LINE_VALUES = 12
"""Values that a line of text shows; of longer tensors the first few, or of classes the largest."""
LINE_LONG = 6
LINE_LEADERS = 3
TEXT_LINES = 200
"""Lines of a text that are shown as lines; a longer one stands on one, with its line breaks spelled out."""
LINE_DECISIONS = 4
_MAX_DECIMALS = 12
SHOWN_ITEMS = 20
"""Items of a batch that a page or a screen shows, of the first; documents for programs have all."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one row of an output says.

    Attributes:
        row: which of its rows, counted over all axes but the last.
        index: the class, as the place of the last axis, the side (0 or 1) of a single cell, or the integer put out.
        label: as the lock has it; empty when it has none.
    """

    row: int
    index: int
    label: str = ""

    def words(self) -> str:
        """For people: ``2, virginica``; the place alone where the label is no other word for it."""
        return f"{self.index}, {self.label}" if self.label not in ("", str(self.index)) else str(self.index)


@dataclass(frozen=True, slots=True)
class ShownTensor:
    """One public tensor.

    Attributes:
        values: in the model's units, row-major; ``None`` where no double holds one. Fewer than ``size`` after :meth:`cut`.
        steps: by how much the least change of a cell changes its value: one for all, or one per place of the last axis.
        names: of the places of the last axis, as the lock has them; empty when it names none.
        decides: whether its values name classes; ``decisions`` is empty then where no label of several says yes.
        every: whether each cell is a decision of its own, so that ``decisions`` lists those that say yes.
        decisions: in the order of the rows; ``decided`` counts them before :meth:`cut`.
        leaders: the largest cells of the first row, largest first, as places of the last axis and values.
        low, high: the least and the largest value.
        categories: by place of the last axis, the texts that the lock has for the numbers of a column.
        item: which inference of a batch it belongs to, from 0; ``None`` where the proof is of one.
        text: what its tokens stand for, by the tokenizer that the lock pins; ``None`` where there is none at hand.
        untold: whether its integers are tokens whose texts are not at hand.
        part: ``prompt`` or ``answer``, where it is no tensor of the statement but the part of its tokens that is called so.
        note: what is to be known of that part, in a few words.
    """

    role: Role
    name: str
    shape: tuple[int, ...]
    values: tuple[float | None, ...]
    steps: tuple[float, ...]
    names: tuple[str, ...] = ()
    decides: bool = False
    every: bool = False
    decisions: tuple[Decision, ...] = ()
    decided: int = 0
    leaders: tuple[tuple[int, float], ...] = ()
    low: float | None = None
    high: float | None = None
    categories: Mapping[int, Categories] = field(default_factory=dict)
    item: int | None = None
    text: TokenText | None = None
    untold: bool = False
    part: str = ""
    note: str = ""

    @property
    def size(self) -> int:
        """How many cells the tensor has."""
        return prod(self.shape)

    @property
    def width(self) -> int:
        """Places of the last axis."""
        return self.shape[-1] if self.shape else 1

    def step(self, cell: int) -> float:
        """Of the cell at this place, row-major."""
        return self.steps[cell % len(self.steps)]

    def cut(self, most: int) -> ShownTensor:
        """The same with at most so many values, for whoever keeps many."""
        return replace(self, values=self.values[:most], decisions=self.decisions[:most])

    def number(self, cell: int) -> str:
        """The value of one cell in as many digits as its step gives, or the text that it stands for."""
        texts = self.categories.get(cell % self.width)
        text = "" if texts is None else texts.shown(self.values[cell])
        return text or number_text(self.values[cell], self.step(cell))

    def to_json(self) -> dict[str, Any]:
        """For ``--json``: values as numbers, ``null`` where no double holds one."""
        document: dict[str, Any] = {
            "role": self.role.value,
            "name": self.name,
            "shape": list(self.shape),
            "size": self.size,
            "values": list(self.values),
            "steps": list(self.steps),
        }
        if self.item is not None:
            document["item"] = self.item
        if self.part:
            document["part"] = self.part
            document["note"] = self.note
        if self.names:
            document["labels" if self.role is Role.OUTPUT else "column_names"] = list(self.names)
        if self.categories:
            document["categories"] = {str(place): list(one.values) for place, one in sorted(self.categories.items())}
        if self.text is not None:
            document["text"] = self.text.text
            document["padding"] = self.text.padding
            if self.text.spelled:
                document["spelled"] = dict(self.text.spelled)
        if self.decides:
            document["decisions"] = [{"row": one.row, "index": one.index, "label": one.label} for one in self.decisions]
        return document


def shown_values(
    statement: Statement, names: PlaceNames | None = None, fidelity: Fidelity | None = None
) -> tuple[ShownTensor, ...]:
    """The public tensors of ``statement``, outputs first; of a batch, item by item; without those that a document states by
    their digest.

    Args:
        names: of the lock that is trusted.
        fidelity: of that lock's section: which outputs name classes, and how.
    """
    named = names or PlaceNames()
    if statement.batch:
        listed = replace(statement, tensors=tuple(one for one in statement.tensors if one.quantised is not None))
        items = enumerate(listed.items() if listed.tensors else ())
        return tuple(replace(one, item=at) for at, item in items for one in shown_values(item, named, fidelity))
    public = [one for role in (Role.OUTPUT, Role.INPUT) for one in statement.of(role) if one.quantised is not None]
    return (*_parts(statement, named), *(_shown(one, named, fidelity) for one in public))


_ENDINGS = {Ending.END_OF_TEXT: "ended by the model", Ending.MAX_TOKENS: "cut at the number of tokens asked for"}


def _parts(statement: Statement, names: PlaceNames) -> tuple[ShownTensor, ...]:
    """Prompt and answer, where the statement is about an answer and the lock says how to read one."""
    claim = statement.generation
    if claim is None or names.tokens is None or not names.tokens.next:
        return ()
    try:
        found = sequences_of(statement, names.tokens)
        prompt, answer = found.prompt_of(claim), found.answer_of(claim)
    except ValueError:  # of a statement that is only shown, as its bundle claims it
        return ()
    shown = [token for token in prompt if token is not None]
    hidden = len(shown) < len(prompt)
    note = _ENDINGS[claim.ending]
    if hidden:  # what of it is shown stands between the hidden part and the answer: somebody else's words, perhaps
        note += f"; its prompt of {len(prompt):,} tokens is hidden" + (f" but for {len(shown):,} of them" if shown else "")
    answered = _part("answer", Role.OUTPUT, answer, names, note)
    return (answered,) if hidden else (_part("prompt", Role.INPUT, shown, names, ""), answered)


def _part(name: str, role: Role, tokens: Sequence[int], names: PlaceNames, note: str) -> ShownTensor:
    values = tuple(map(float, tokens))
    low, high = float(min(tokens)), float(max(tokens))
    whole = ShownTensor(role, name, (1, len(tokens)), values, (1.0,), low=low, high=high, part=name, note=note)
    if names.tokenizer is None:
        return replace(whole, untold=True)
    return replace(whole, text=names.tokenizer.text(tokens, filled=False))


def first_items(shown: Sequence[ShownTensor], most: int = SHOWN_ITEMS) -> tuple[Sequence[ShownTensor], int]:
    """Those of the first items of a batch, and how many items were left out: for people, who read no thousand."""
    kept = [one for one in shown if one.item is None or one.item < most]
    items = max((one.item + 1 for one in shown if one.item is not None), default=0)
    return kept, max(0, items - most)


def shown_lines(shown: Sequence[ShownTensor]) -> list[str]:
    """A line about each tensor, of a batch about the first items. Foreign text in it is as it came."""
    return [" ".join(block) for block in shown_blocks(shown, most=1)]


def shown_blocks(shown: Sequence[ShownTensor], most: int = TEXT_LINES) -> list[list[str]]:
    """The same, but texts of several lines as so many, below the line about the tensor; of those of more than ``most``, one."""
    kept, more = first_items(shown)
    blocks = []
    for one in kept:
        lines = one.text.lines() if one.text is not None else ()
        several = 1 < len(lines) <= most
        blocks.append([f"{_head(one)}{_about(one)}:", *lines] if several else [shown_line(one)])
    return [*blocks, *([[f"… and {more:,} more items"]] if more else [])]


def _shown(tensor: TensorStatement, names: PlaceNames, fidelity: Fidelity | None) -> ShownTensor:
    values, steps = _values(tensor)
    finite = [value for value in values if value is not None]
    given = (names.labels if tensor.role is Role.OUTPUT else names.columns).get(tensor.name, ())
    width = tensor.shape[-1] if tensor.shape else 1
    shown = ShownTensor(
        role=tensor.role,
        name=tensor.name,
        shape=tensor.shape,
        values=values,
        steps=steps,
        names=given if len(given) == width else (),
        low=min(finite, default=None),
        high=max(finite, default=None),
        categories=names.texts(tensor.name) if tensor.role is Role.INPUT else {},
    )
    if names.tokens is not None and tensor.name in names.tokens.tensors:
        return _told(shown, names)
    if tensor.role is Role.INPUT or len(finite) < len(values):
        return shown
    return _decided(shown, finite, given, fidelity)


def _told(shown: ShownTensor, names: PlaceNames) -> ShownTensor:
    """With the text of its tokens."""
    if names.tokenizer is None:
        return replace(shown, untold=True)
    tokens = [int(value) if value is not None and value == int(value) else -1 for value in shown.values]
    return replace(shown, text=names.tokenizer.text(tokens))


def _values(tensor: TensorStatement) -> tuple[tuple[float | None, ...], tuple[float, ...]]:
    """Each value is the double nearest to the exact one: integers are divided once."""
    assert tensor.quantised is not None
    if tensor.encoding is Encoding.FLOAT32:
        return tensor.values(), (0.0,)
    pairs = [(one.scale, one.zero_point) for one in tensor.columns] or [(tensor.scale, tensor.zero_point)]
    steps = tuple(_ratio(scale.numerator, scale.denominator) or 0.0 for scale, _ in pairs)
    values = (
        _ratio((q - zero_point) * scale.numerator, scale.denominator)
        for q, (scale, zero_point) in zip(tensor.quantised, cycle(pairs), strict=False)
    )
    return tuple(values), steps


def _ratio(numerator: int, denominator: int) -> float | None:
    try:
        return numerator / denominator
    except OverflowError:
        return None


def _decided(shown: ShownTensor, values: Sequence[float], labels: tuple[str, ...], fidelity: Fidelity | None) -> ShownTensor:
    """With its decisions, as compile counts them; without any where the lock does not say that the output names classes."""
    if fidelity is None:
        return shown
    figures, task, width = fidelity.output(shown.name), fidelity.task, shown.width
    if task is None and fidelity.top1_matches is not None:
        task = Task.CLASSIFICATION  # older locks know no other task that has decisions
    if task in (None, Task.REGRESSION):
        return shown

    integers = fidelity.task is not None and figures is None
    places = 2 if width == 1 and task is Task.CLASSIFICATION else width

    def label(index: int) -> str:
        fits = integers or len(labels) == places  # a lock whose labels do not fit names nothing
        return labels[index] if fits and 0 <= index < len(labels) else ""

    if integers:  # each names a class
        whole = tuple(Decision(row, int(value), label(int(value))) for row, value in enumerate(values))
        return _with(shown, whole, names=())
    threshold = None if figures is None else figures.threshold
    if threshold is not None and task is Task.MULTI_LABEL:
        yes = tuple(
            Decision(at // width, at % width, label(at % width)) for at, value in enumerate(values) if value >= threshold
        )
        return _with(shown, yes, every=True)
    if threshold is not None:
        sides = (int(value >= threshold) for value in values)
        return _with(shown, tuple(Decision(row, at, label(at)) for row, at in enumerate(sides)), names=())
    if width < 2:
        return shown
    decisions = []
    for row in range(len(values) // width):
        cells = values[row * width : (row + 1) * width]
        place = max(range(width), key=lambda at: (cells[at], -at))
        decisions.append(Decision(row, place, label(place)))
    order = sorted(range(width), key=lambda at: (-values[at], at))
    leaders = tuple((at, values[at]) for at in order[:LINE_LEADERS])
    return _with(shown, tuple(decisions), leaders=leaders)


def _with(shown: ShownTensor, decisions: tuple[Decision, ...], **more: Any) -> ShownTensor:
    return replace(shown, decides=True, decisions=decisions, decided=len(decisions), **more)


def number_text(value: float | None, step: float) -> str:
    """A value in as many digits as a change of one step moves: ``118.2`` for a step of 0.22."""
    if value is None or not isfinite(value):
        return "beyond any double"
    if not isfinite(step) or step <= 0:
        return f"{value:.6g}"
    decimals = max(0, ceil(-log10(step)))
    if decimals > _MAX_DECIMALS or abs(value) >= 1e15:
        return f"{value:.6g}"
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def shown_line(tensor: ShownTensor) -> str:
    """One line about one tensor: ``output variable = 118.2 (step 0.22)``. Foreign text in it is as it came."""
    head = _head(tensor)
    if tensor.text is not None:
        return f"{head} = {tensor.text.words()}{_about(tensor)}"
    cells, more = _cells(tensor)
    step = "" if len(tensor.steps) > 1 or tensor.steps[0] in (0, 1) else f"step {tensor.steps[0]:.2g}"
    about = ", ".join(part for part in (f"{tensor.size:,} values{_range(tensor)}" if more else "", step) if part)
    counted = f", … and {more:,} more" if more else ""
    told = _UNTOLD if tensor.untold else ""
    return f"{head} = {', '.join(cells)}{counted}{f' ({about})' if about else ''}{_decisions(tensor)}{told}"


def _head(tensor: ShownTensor) -> str:
    return f"{'' if tensor.item is None else f'item {tensor.item}: '}{tensor.part or f'{tensor.role.value} {tensor.name}'}"


def _about(tensor: ShownTensor) -> str:
    return f" ({tensor.size:,} tokens{f', {tensor.note}' if tensor.note else ''})"


_UNTOLD = "; tokens, whose text needs tokenizer.json beside the lock"


def _cells(tensor: ShownTensor) -> tuple[list[str], int]:
    """Texts of the cells that a line shows, and how many it leaves out."""
    if tensor.size > LINE_VALUES and tensor.leaders and tensor.size == tensor.width:
        named = [(_named(tensor, at), number_text(value, tensor.step(at))) for at, value in tensor.leaders]
        return [
            f"{name or f'[{at}]'}{_between(name)}{text}" for (name, text), (at, _) in zip(named, tensor.leaders, strict=True)
        ], (tensor.size - len(named))
    count = min(tensor.size if tensor.size <= LINE_VALUES else LINE_LONG, len(tensor.values))
    texts = [
        f"{name}{_between(name)}{tensor.number(at)}" if (name := _named(tensor, at)) else tensor.number(at)
        for at in range(count)
    ]
    return texts, tensor.size - count


def _between(name: str) -> str:
    """Between a name and its value: a name that ends like a number is set apart from it."""
    return ": " if name[-1:].isdigit() else " "


def _named(tensor: ShownTensor, cell: int) -> str:
    return tensor.names[cell % tensor.width] if tensor.names else ""


def _range(tensor: ShownTensor) -> str:
    if tensor.low is None or tensor.high is None or len(tensor.steps) > 1:
        return ""
    return f" from {number_text(tensor.low, tensor.steps[0])} to {number_text(tensor.high, tensor.steps[0])}"


def _decisions(tensor: ShownTensor) -> str:
    if not tensor.decides:
        return ""
    if tensor.every and not tensor.decisions:
        return "; no label"
    kind = "label" if tensor.every else "class"
    rows = tensor.size // tensor.width
    shown = [one.words() if rows == 1 else f"{one.words()} (row {one.row})" for one in islice(tensor.decisions, LINE_DECISIONS)]
    more = tensor.decided - len(shown)
    plural = kind + ("s" if kind == "label" else "es") if tensor.decided > 1 else kind
    return f"; {plural} {'; '.join(shown)}" + (f"; … and {more:,} more" if more else "")


def statement_document(statement: Statement, shown: Sequence[ShownTensor]) -> dict[str, Any]:
    """The statement for ``--json``: as it is signed, with the values of public tensors as numbers beside their integers.

    Of a batch, values stand under ``items``, a list of tensors for each.
    """
    document = dict(statement.to_json())
    if statement.batch:
        document["inferences"] = statement.inferences
        items: list[list[dict[str, Any]]] = [[] for _ in range(statement.inferences)]
        for one in shown:
            assert one.item is not None
            items[one.item].append(one.to_json())
        document["items"] = items
        return document
    values = {(one.role, one.name): one.to_json() for one in shown}
    tensors = []
    for tensor, signed in zip(statement.tensors, document["tensors"], strict=True):
        found = values.get((tensor.role, tensor.name), {})
        tensors.append(
            {**signed, **{name: item for name, item in found.items() if name not in ("role", "name", "shape", "size")}}
        )
    document["tensors"] = tensors
    return document
