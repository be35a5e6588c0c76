"""What was measured, one small file per engine: docs/data/estimators-ENGINE.json.

A file holds one object: ``engine`` (the column's name), ``note`` (one sentence about it) and ``rows``, one per estimator and
data set, sorted by ``slug``. Rows are added and replaced one at a time, so that a run that was stopped keeps what it has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "docs" / "data"


@dataclass(frozen=True)
class Row:
    """What came of one estimator with one engine.

    Attributes:
        slug: of the case, in :mod:`tools.estimators.zoo`.
        accepted: whether a circuit met the default floor and every proof tried was verified.
        reason: why not, where it was not: the error's code, then its text.
        spread_error: 99th percentile of error / spread over the calibration half, of the worst output column.
        held_out: the largest such error of the proven rows' outputs.
        agreement: equal decisions, as "133/133"; empty where the task has none.
        size_log2: committed cells (sumcheck) or rows (ezkl).
        compile_seconds: of compile. prove_seconds: of the fastest proof.
    """

    slug: str
    name: str
    data: str
    accepted: bool
    reason: str = ""
    spread_error: float | None = None
    held_out: float | None = None
    agreement: str = ""
    size_log2: int | None = None
    compile_seconds: float | None = None
    prove_seconds: float | None = None


@dataclass(frozen=True)
class Results:
    """All rows of one engine.

    Attributes:
        engine: a name for the column: ``sumcheck``, ``ezkl``, ``ezkl-plain``. note: one sentence for the page.
    """

    engine: str
    note: str = ""
    rows: Mapping[str, Row] = field(default_factory=dict)

    def with_row(self, row: Row) -> Results:
        """The same with ``row`` added, or in place of an older one of its slug."""
        return Results(self.engine, self.note, dict(sorted({**self.rows, row.slug: row}.items())))


def path_of(engine: str, folder: Path = DATA) -> Path:
    """The engine's file."""
    return folder / f"estimators-{engine}.json"


def read(engine: str, folder: Path = DATA) -> Results:
    """The engine's results; empty where there is no file yet."""
    path = path_of(engine, folder)
    if not path.is_file():
        return Results(engine)
    return _parse(path)


def read_all(folder: Path = DATA) -> list[Results]:
    """Every engine's results, ``sumcheck`` first, the others by name."""
    found = [_parse(path) for path in sorted(folder.glob("estimators-*.json"))]
    return sorted(found, key=lambda one: (one.engine != "sumcheck", one.engine))


def write(results: Results, folder: Path = DATA) -> Path:
    """Write the engine's file: one row per line, so that a change shows as one line."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(results.engine, folder)
    head = {"engine": results.engine, "note": results.note}
    lines = ",\n".join("  " + json.dumps(_rounded(row), ensure_ascii=False) for row in results.rows.values())
    opened = json.dumps(head, ensure_ascii=False)[:-1]
    path.write_text(f'{opened}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")
    return path


def _parse(path: Path) -> Results:
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**one) for one in content["rows"]]
    return Results(content["engine"], content["note"], {row.slug: row for row in rows})


def _rounded(row: Row) -> dict[str, object]:
    """The row without what it has not; figures to the digits that mean something."""
    digits = {"spread_error": 6, "held_out": 6, "compile_seconds": 2, "prove_seconds": 4}
    found = {name: value for name, value in asdict(row).items() if value not in (None, "")}
    return {name: round(value, digits[name]) if name in digits else value for name, value in found.items()}


def accepted(rows: Sequence[Row]) -> int:
    """How many were accepted."""
    return sum(row.accepted for row in rows)
