"""What ``bench`` compiles: copies of circuits in a temporary folder, as they are or with other things hidden.

A copy has its own build, lock, opening ledgers and marks, so a measurement spends no opening of the user's commitments.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.progress import Progress
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.errors import UsageError
from verifai.stages.srs import generate_file

BASELINE = "ezkl-default"
_LARGEST_LOGROWS = 17


@dataclass(frozen=True, slots=True)
class Variant:
    """A row that hides something else than the circuit's own specification; outputs are public in every variant."""

    engine: EngineName
    inputs: Visibility
    weights: WeightVisibility


VARIANTS = {
    "ezkl-private": Variant(EngineName.EZKL, Visibility.PRIVATE, WeightVisibility.PUBLIC),
    "sumcheck-zk-a": Variant(EngineName.SUMCHECK, Visibility.PRIVATE, WeightVisibility.PUBLIC),
    "sumcheck-zk-b": Variant(EngineName.SUMCHECK, Visibility.PUBLIC, WeightVisibility.PRIVATE),
    "sumcheck-zk-c": Variant(EngineName.SUMCHECK, Visibility.PRIVATE, WeightVisibility.PRIVATE),
}


def row_names(engines: Sequence[EngineName]) -> list[str]:
    """Every row that ``bench`` knows: the baseline, then each engine and its variants."""
    names = [BASELINE]
    for engine in engines:
        names += [engine.value, *(name for name, variant in VARIANTS.items() if variant.engine is engine)]
    return names


def engine_of(row: str) -> EngineName:
    """The engine that proves a row; not for the baseline, which is no engine of ours."""
    return VARIANTS[row].engine if row in VARIANTS else EngineName(row)


def copy_circuit(folder: CircuitFolder, row: str, scratch: Path, progress: Progress) -> CircuitFolder:
    """The circuit of one row in ``scratch``, with its data where its specification expects them."""
    if row in VARIANTS:
        copy = copy_hidden(folder, row, scratch)
    else:
        root = _new_root(folder, scratch)
        for path in (folder.folder / "circuit.toml", folder.lock_path, folder.local_lock_path):
            if path.is_file():
                shutil.copyfile(path, root / path.name)
        copy = CircuitFolder(root)
    engine = engine_of(row)
    if engine is EngineName.EZKL and "srs" not in copy.spec.options.get(engine.value, {}):
        copy = _with_test_srs(copy, scratch, progress)
    return copy


def copy_hidden(folder: CircuitFolder, row: str, scratch: Path) -> CircuitFolder:
    """The circuit of a variant's row in ``scratch``, nothing pinned."""
    root = _new_root(folder, scratch)
    _write(root, _changed(folder, VARIANTS[row]))
    return CircuitFolder(root)


def _new_root(folder: CircuitFolder, scratch: Path) -> Path:
    root = scratch / "circuits" / folder.spec.name
    root.mkdir(parents=True)
    fixtures = folder.model_path().resolve().parents[1]
    (scratch / "fixtures").symlink_to(fixtures, target_is_directory=True)
    return root


def _changed(folder: CircuitFolder, variant: Variant) -> dict[str, Any]:
    document = tomllib.loads((folder.folder / "circuit.toml").read_text("utf-8"))
    document.pop("privacy", None)  # a level that the variant may contradict
    document["tensors"] = {
        **{tensor.name: variant.inputs.value for tensor in folder.model.inputs},
        **{tensor.name: Visibility.PUBLIC.value for tensor in folder.model.outputs},
    }
    document["weights"] = {"visibility": variant.weights.value}
    pinned = folder.pinned_section(variant.engine)
    if variant.engine is EngineName.EZKL and pinned is not None:  # what was tuned for the circuit, not another search
        options = document.setdefault("engine", {}).setdefault("ezkl", {})
        options.setdefault("parameters", dict(pinned["parameters"]))
    return document


def _with_test_srs(folder: CircuitFolder, scratch: Path, progress: Progress) -> CircuitFolder:
    """The copy with an INSECURE-TEST SRS made for this run: it costs the same, and nothing leaves the bench."""
    logrows = folder.spec.budget.max_logrows or _LARGEST_LOGROWS
    srs = generate_file(logrows, root=scratch / "srs", progress=progress)
    document = tomllib.loads((folder.folder / "circuit.toml").read_text("utf-8"))
    document.setdefault("engine", {}).setdefault("ezkl", {})["srs"] = str(srs.path)
    _write(folder.folder, document)
    return CircuitFolder(folder.folder)


def _write(root: Path, document: dict[str, Any]) -> None:
    import tomli_w

    (root / "circuit.toml").write_bytes(tomli_w.dumps(document).encode())


def refuse_too_many_runs(copy: CircuitFolder, runs: int) -> None:
    """Each proof of hidden weights spends an opening of their root, and how many there are is part of what is measured.

    Raises:
        UsageError: ``bad-option``.
    """
    from verifai.engines.sumcheck.planning.plan import DEFAULT_BUDGET

    if copy.spec.weights is not WeightVisibility.PRIVATE:
        return
    budget = copy.spec.options.get(EngineName.SUMCHECK.value, {}).get("opening_budget", DEFAULT_BUDGET)
    if runs + BESIDES > budget:
        message = f"a root of private weights serves {budget} proofs, and bench makes {runs} and {BESIDES} more of each row"
        hint = f"Give --runs {budget - BESIDES} or fewer." if budget > BESIDES else "Raise opening_budget in circuit.toml."
        raise UsageError("bad-option", message, where="--runs", hint=hint)


BESIDES = 2
"""Proofs of a row that are not among its runs: the first one in the process, and the one in a process of its own."""


@contextmanager
def own_marks(folder: Path) -> Iterator[None]:
    """Opening ledgers keep their marks in ``folder``, in this process and those that it starts, not in the user's state."""
    from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE

    before = os.environ.get(MARKS_VARIABLE)
    os.environ[MARKS_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[MARKS_VARIABLE]
        else:
            os.environ[MARKS_VARIABLE] = before
