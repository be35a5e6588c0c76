"""The child process that verifies what may be expensive. Run by :mod:`.verifying` only; never imported by it.

It reads the payload itself, by the absolute paths that it is given. What refuses a payload is an answer, not a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verifai.domain.digest import sha256
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.engines.sumcheck.payload.files import STATEMENT_FILE
from verifai.engines.sumcheck.planning.price import Allowance
from verifai.engines.sumcheck.verifying import check_payload, read_payload, refused, roots_json
from verifai.errors import VerifaiError


def _verify(args: Mapping[str, Any]) -> dict[str, Any]:
    allowance = Allowance(args["memory_bytes"], args["seconds"])
    try:
        section = parse_section(args["section"])
        files = read_payload({name: Path(path) for name, path in args["files"].items()}, allowance)
        checked = check_payload(section, files, allowance)
    except VerifaiError as problem:
        return refused(problem)
    return {"roots": roots_json(checked.roots), "statement_sha256": sha256(files[STATEMENT_FILE])}


if __name__ == "__main__":
    from verifai.execution.child_entry import serve

    sys.exit(serve({"verify": _verify}))
