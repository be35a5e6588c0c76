"""What was measured: docs/data/real-models.json, one row per model, each replaced when its model is measured again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "docs" / "data" / "real-models.json"


@dataclass(frozen=True)
class Row:
    """What came of one model with the sumcheck engine, by the command line alone.

    Attributes:
        source: package and version that ships the model, or ``trained here``.
        reason: why it ended, where it did: verb, code and text of the error.
        parity: largest difference of export and source, in spreads of the output.
        fidelity: 99th percentile of |circuit − float model| over the calibration data, in spreads. decisions: equal ones.
        floor: the largest error that circuit.toml allows, where the default floor refused the model; None: the default.
        cells: committed cells, as check estimates them. memory_bytes: peak of the costliest command.
        prove_cpu, verify_cpu: processor seconds of the whole command. proof_bytes: of the bundle.
    """

    slug: str
    name: str
    source: str
    route: str
    data: str
    reason: str = ""
    parity: float | None = None
    fidelity: float | None = None
    decisions: str = ""
    floor: float | None = None
    cells: int | None = None
    compile_cpu: float | None = None
    prove_cpu: float | None = None
    verify_cpu: float | None = None
    proof_bytes: int | None = None
    memory_bytes: int | None = None


def read(path: Path = FILE) -> dict[str, Row]:
    """Every row by its slug."""
    if not path.is_file():
        return {}
    return {one["slug"]: Row(**one) for one in json.loads(path.read_text(encoding="utf-8"))["rows"]}


def write(rows: Mapping[str, Row], path: Path = FILE) -> None:
    """One row per line, so that a change shows as one line."""
    kept = [{key: value for key, value in asdict(row).items() if value not in (None, "")} for row in rows.values()]
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in sorted(kept, key=lambda row: str(row["slug"])))
    path.write_text('{"rows": [\n' + lines + "\n]}\n", encoding="utf-8")
