"""export: a source model → a canonical ONNX model, shown to compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.categories import Categories, usable
from verifai.domain.model_facts import MAX_NAME, MAX_NAMES, ModelFacts, Task
from verifai.domain.progress import SILENT, Progress
from verifai.domain.table_columns import UNNAMED, TableColumns
from verifai.domain.tensor import TensorSpec
from verifai.domain.unicode_14 import is_printable
from verifai.errors import InternalError, UnsupportedModel, UsageError
from verifai.exporters.interface import Arrays, Exported, Meaning, Source
from verifai.exporters.registry import export_source
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.exact import exact_cast
from verifai.onnx_graph.facts import facts_path, read_facts
from verifai.onnx_graph.largest import largest_of, with_outputs
from verifai.onnx_graph.load import load_canonical
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.refusal import printable

PARITY_LIMIT = 1e-3
"""Largest error that is accepted unless the caller says otherwise, as a share of the outputs' spread."""

HALF_PARITY_LIMIT = 2e-2
"""The same of a source that computes in float16, unless the caller says otherwise: each of its operations rounds by up to 2^-11
of its result, and the export does not repeat that."""

BRAIN_PARITY_LIMIT = 0.1
"""The same of bfloat16, which rounds by up to 2^-8."""

_LEAST_SPREAD = 2.0**-10
"""Least spread that is divided by, as a share of the outputs' size: of float32's 24 bits, few are left to tell outputs apart
that vary by less than this around a large number."""

_GENERATED = 8
_MADE = 16
_SEED = 20240229


@dataclass(frozen=True, slots=True)
class Parity:
    """The canonical model against its source.

    Attributes:
        samples: how many inputs were compared.
        generated: how many of them were made up: like the source's data where it remembers that, else uniform in [0, 1).
        max_abs_error: largest absolute difference of any output value.
        max_error: the same as a share of the spread (standard deviation) of the source's outputs on these inputs, which counts
            as at least 1/1024 of their size; this is what is limited.
        limit: the largest accepted ``max_error``.
        decisions: on how many inputs the class that the source names was compared with the largest output; for a language
            model, at how many positions the next token was compared.
        decisions_differ: on how many of them they differ.
    """

    samples: int
    generated: int
    max_abs_error: float
    max_error: float
    limit: float
    decisions: int = 0
    decisions_differ: int = 0


@dataclass(frozen=True)
class ExportResult:
    """An exported model.

    Attributes:
        model: canonical.
        notices: what was changed that a person should know, one sentence each.
        parity: how close it is to the source.
        facts: task, labels and columns, where the source says them.
        tokenizer: the file of a language model's tokenizer; ``None`` where there is none.
    """

    model: OnnxModel
    notices: tuple[str, ...]
    parity: Parity
    facts: ModelFacts | None = None
    tokenizer: bytes | None = None


def export(
    source: str | Path,
    *,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    select: Sequence[str] = (),
    trust_pickle: bool = False,
    trusted_types: Sequence[str] = (),
    positions: int | None = None,
    prompt_positions: int | None = None,
    samples: Sequence[Arrays] | Callable[[OnnxModel, TableColumns], Sequence[Arrays]] = (),
    parity_limit: float = PARITY_LIMIT,
    progress: Progress = SILENT,
) -> ExportResult:
    """Convert a model, bring it to the canonical form, and compare it with its source.

    Args:
        source: ``model.onnx``; a PyTorch program ``.pt2``; a scikit-learn ``.skops``; ``pkg.module:factory``, which is imported
            from the current folder and called (so its code runs); a pickle, with ``trust_pickle``; a language model as a GGUF
            file, or as a folder of Hugging Face with safetensors.
        dims: size of each symbolic dimension by name, or by ``input:axis``.
        shapes: shape per argument of ``forward``, for PyTorch modules without example inputs.
        select: names of the outputs to keep; empty keeps all, but for labels where there are scores.
        trust_pickle: load files that can run code.
        trusted_types: types by full name that a skops file may construct, besides those that are known to be safe.
        positions: how many tokens a language model takes; 64 by default, or fewer where it has fewer.
        prompt_positions: how many of them, from the first, are an input of their own, which a circuit may hide.
        samples: real inputs by name, of the model's shapes and dtypes (batch included), compared besides generated ones; or a
            function that gives them once the exported model, and so its shapes and columns, are known.
        parity_limit: see :class:`Parity`; must be finite and not negative.

    Raises:
        UnsupportedModel: ``model-…``; ``parity-exceeded``, with the output and the error named.
        UsageError: ``file-missing``, ``source-unknown``, ``source-failed``, ``pickle-refused``, ``extra-missing``.
        InputRejected: when a given sample does not fit the model.
    """
    if not (np.isfinite(parity_limit) and parity_limit >= 0):
        raise UsageError("bad-option", "the parity limit must be a finite number of at least 0", where="parity limit")
    if positions is not None and positions < 1:
        raise UsageError("bad-option", "a model takes at least one token", where="positions")
    if prompt_positions is not None and prompt_positions < 1:
        raise UsageError("bad-option", "a prompt has at least one token", where="prompt positions")
    progress.phase("convert")
    asked = Source(str(source), shapes or {}, trust_pickle, tuple(trusted_types), tuple(select), positions, prompt_positions)
    found = export_source(asked)
    progress.phase("canonicalise")
    canonical = canonicalise(found.data, where=found.where, dims=dims, folder=found.folder)
    model = _checked(canonical.model)
    progress.phase("compare")
    given = samples(model, _columns(found.meaning)) if callable(samples) else samples
    limit = parity_limit
    if parity_limit == PARITY_LIMIT:
        limit = BRAIN_PARITY_LIMIT if canonical.brains else HALF_PARITY_LIMIT if canonical.halves else PARITY_LIMIT
    parity = _compare(model, found, given, limit)
    facts, said = _facts(model, found.meaning, parity)
    facts = facts or _kept(source, model)
    undecided = _undecided(parity, "positions" if found.scores else "inputs")
    return ExportResult(
        model, (*found.notices, *canonical.notices, *found.said(), *said, *undecided), parity, facts, found.tokenizer
    )


def _columns(meaning: Meaning | None) -> TableColumns:
    """What the source says of the columns of a table."""
    if meaning is None or not meaning.categories:
        return UNNAMED
    names = {meaning.input: meaning.columns} if meaning.columns else {}
    return TableColumns(names, categories={meaning.input: meaning.categories})


def _kept(source: str | Path, model: OnnxModel) -> ModelFacts | None:
    """The facts beside an ONNX file that is canonical already: they are about this model. Raises UsageError (``bad-facts``)."""
    path = Path(source)
    facts = read_facts(path) if path.suffix.lower() == ".onnx" and facts_path(path).exists() else None
    return facts if facts is not None and facts.model_sha256 == model.sha256 else None


def _facts(model: OnnxModel, meaning: Meaning | None, parity: Parity) -> tuple[ModelFacts | None, tuple[str, ...]]:
    """The facts, without names that a facts file cannot hold or that do not fit the tensors, and what to say about these."""
    if meaning is None:
        return None, ()
    if not meaning.certain and (parity.decisions_differ or not parity.decisions):
        return None, (f"The largest of {meaning.output!r} is not always the class label of the file; no labels were kept.",)
    widths = {spec.name: spec.shape[-1] if spec.shape else 1 for spec in (*model.inputs, *model.outputs)}
    said = []
    names = {"columns": meaning.columns, "labels": meaning.labels}
    for kind, tensor in (("columns", meaning.input), ("labels", meaning.output)):
        if names[kind] and not (len(names[kind]) == widths.get(tensor) and _can_hold(names[kind])):
            said.append(f"The names of the {kind} were left out: there must be one per column, printable and different.")
            names[kind] = ()
    if names["labels"]:
        shown = printable(", ".join(names["labels"][:20]), 200) + (", …" if len(names["labels"]) > 20 else "")
        several = meaning.task is Task.MULTILABEL
        how = "has one column per label, each for itself" if several else "has the class label in its largest column"
        said.append(f"{meaning.output!r} {how}, in this order: {shown}.")
    texts, told = _categories(meaning, names["columns"])
    return ModelFacts(model.sha256, meaning.task, meaning.input, names["columns"], meaning.output, names["labels"], texts), (
        *said,
        *told,
    )


def _categories(meaning: Meaning, columns: Sequence[str]) -> tuple[dict[str, Categories], list[str]]:
    """Columns of texts by name, or by place where they have none; without those whose texts no table could tell apart."""
    found, said = {}, []
    for place, one in sorted(meaning.categories.items()):
        name = columns[place] if columns else str(place)
        if usable(one.values):
            found[name] = one
            what = "holds texts; the model takes their numbers, and tables are read by them."
            said.append(f"Column {printable(name, 80)!r} {what}")
        else:
            said.append(
                f"The texts of column {printable(name, 80)!r} cannot be told apart in a table; give their numbers, from 0 in "
                "scikit-learn's order."
            )
    return found, said


def _can_hold(names: tuple[str, ...]) -> bool:
    return len(set(names)) == len(names) <= MAX_NAMES and all(len(name) <= MAX_NAME and is_printable(name) for name in names)


def _undecided(parity: Parity, what: str) -> tuple[str, ...]:
    if not parity.decisions_differ:
        return ()
    if what == "positions":
        return (
            f"At {parity.decisions_differ} of {parity.decisions} compared positions the next token is another: the two largest "
            "scores are closer there than float32 tells apart.",
        )
    return (
        f"On {parity.decisions_differ} of {parity.decisions} compared inputs the largest output is not the class that the "
        "source names: it breaks ties by another rule, or they are closer than float32 tells apart.",
    )


def _checked(model: OnnxModel) -> OnnxModel:
    """The result is read as everyone will read it; a canonical form that is not a fixed point would be a bug of ours."""
    try:
        return load_canonical(model.data, where="the exported model")
    except UnsupportedModel as problem:
        raise InternalError("bug", f"the exported model is refused: {problem}", hint="Report it with the model.") from problem


_PARITY_HINT = (
    "Scale the columns first (StandardScaler), so that float32 loses less; or raise --parity-limit, as for a source that "
    "computes in float16, if you accept the difference."
)
_PARITY_HINT_GENERATED = (
    "The inputs were generated, and may leave an output flat: name real ones with --inputs. Or raise --parity-limit, as for a "
    "source that computes in float16, if you accept the difference."
)


def _compare(model: OnnxModel, found: Exported, given: Sequence[Arrays], limit: float) -> Parity:
    scores = {name: operand for name, operand in largest_of(model).items() if name in found.scores}
    reference = Reference(with_outputs(model, tuple(scores.values())))
    real = [*given, *(_fitted(sample, model) for sample in found.samples if _fits(sample, model))]
    if found.made is None:
        made: Sequence[Arrays] = generated_inputs(model, _GENERATED)
    else:
        made = found.made(np.random.default_rng(_SEED), _MADE)
    gaps = {spec.name: _Gap() for spec in model.outputs}
    decisions = differ = 0
    for inputs in (*real, *made):
        ours = reference.run(inputs)
        theirs = found.run(inputs)
        for position, spec in enumerate(model.outputs):
            if spec.name in scores:
                right = np.asarray(theirs[found.scores[spec.name]])
                gaps[spec.name].add(ours[scores[spec.name]], right, spec)
                decisions += ours[spec.name].size
                differ += int((ours[spec.name] != right.argmax(-1).reshape(ours[spec.name].shape)).sum())
                continue
            # An output that is an input has a new name; the order of outputs is the source's.
            source = spec.name if spec.name in theirs or len(theirs) != len(model.outputs) else list(theirs)[position]
            if source not in theirs:
                raise UnsupportedModel("parity-exceeded", "the source has no such output", where=f"output {spec.name!r}")
            gaps[spec.name].add(ours[spec.name], np.asarray(theirs[source]), spec)
        place = found.decide(inputs) if found.decide is not None and found.meaning is not None else None
        if place is not None and found.meaning is not None and found.meaning.labels:
            decisions += 1
            differ += int(np.argmax(ours[found.meaning.output])) != place
    for name, gap in gaps.items():
        if not gap.relative <= limit:
            raise UnsupportedModel(
                "parity-exceeded",
                f"the exported model differs from its source by {gap.largest:.3g} "
                f"({gap.relative:.3g} of the outputs' spread, limit {limit:.3g})",
                where=f"output {name!r}",
                # Where the source knows what its inputs look like, generated ones are as good as real ones.
                hint=_PARITY_HINT if real or found.made is not None else _PARITY_HINT_GENERATED,
            )
    largest = max((gap.largest for gap in gaps.values()), default=0.0)
    relative = max((gap.relative for gap in gaps.values()), default=0.0)
    return Parity(len(real) + len(made), len(made), largest, relative, limit, decisions, differ)


class _Gap:
    """How far one output is from the source's, over all samples; NaN is equal to NaN only, infinity to itself only."""

    def __init__(self) -> None:
        self.largest = 0.0
        self._size = 0.0
        self._count = 0
        self._mean = self._squares = 0.0

    def add(self, ours: NDArray[Any], theirs: NDArray[Any], spec: TensorSpec) -> None:
        """Compare one sample's output. Raises UnsupportedModel (``parity-exceeded``) when the sizes differ."""
        if theirs.size != ours.size:
            raise UnsupportedModel(
                "parity-exceeded",
                f"the source yields shape {theirs.shape}, the export {ours.shape}",
                where=f"output {spec.name!r}",
            )
        left = np.asarray(ours, dtype=np.float64).ravel()
        right = np.asarray(theirs, dtype=np.float64).ravel()
        finite = np.isfinite(left) & np.isfinite(right)
        if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
            self.largest = float("inf")
        if not finite.any():
            return
        left, right = left[finite], right[finite]
        self.largest = max(self.largest, float(np.abs(left - right).max()))
        self._size = max(self._size, float(np.abs(right).max()))
        # Chan, Golub and LeVeque's update of a mean and of the squares around it.
        count, mean = self._count + right.size, float(right.mean())
        step = mean - self._mean
        self._squares += float(np.square(right - mean).sum()) + step * step * self._count * right.size / count
        self._mean += step * right.size / count
        self._count = count

    @property
    def relative(self) -> float:
        """The largest difference as a share of the spread, or of a small part of the size where that is larger."""
        spread = float(np.sqrt(self._squares / self._count)) if self._count else 0.0
        return self.largest / (max(spread, _LEAST_SPREAD * self._size) or 1.0)


def generated_inputs(model: OnnxModel, count: int) -> list[dict[str, NDArray[Any]]]:
    """Seeded inputs: uniform in [0, 1) for floats, 0 or 1 for integers and booleans, which are valid indices of most tables."""
    generator = np.random.default_rng(_SEED)
    samples = []
    for _ in range(count):
        sample: dict[str, NDArray[Any]] = {}
        for spec in model.inputs:
            if spec.dtype == "float32":
                sample[spec.name] = generator.random(spec.shape, dtype=np.float32)
            else:
                sample[spec.name] = generator.integers(0, 2, spec.shape).astype(spec.dtype)
        samples.append(sample)
    return samples


def _fits(sample: Arrays, model: OnnxModel) -> bool:
    """Example inputs of another batch size than the exported one cannot be compared."""
    return all(spec.name in sample and sample[spec.name].shape == spec.shape for spec in model.inputs)


def _fitted(sample: Arrays, model: OnnxModel) -> dict[str, NDArray[Any]]:
    rounded = {
        spec.name: sample[spec.name].astype(spec.dtype) if spec.dtype == "float32" else sample[spec.name]
        for spec in model.inputs
    }
    return {spec.name: exact_cast(rounded[spec.name], spec.dtype, f"example input {spec.name!r}") for spec in model.inputs}
