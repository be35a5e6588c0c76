"""The child's side of a verifier: runs one model on encoded samples. Started by :mod:`verifai.stages.consensus.process`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verifai.consensus.runner import VoteRunner
from verifai.domain.consensus.job import Optimisation, RuntimeOptions
from verifai.domain.digest import sha256
from verifai.execution.child_entry import serve
from verifai.fingerprints.output import decode_output, encode_output


def _run(args: Mapping[str, Any]) -> dict[str, Any]:
    model = Path(args["model"]).read_bytes()
    if sha256(model) != args["model_sha256"]:
        raise ValueError("the model file changed")
    options = RuntimeOptions(args["batch"], Optimisation(args["optimisation"]), args["x64quantprecision"])
    runner = VoteRunner(model, options, threads=args["threads"])
    samples = [decode_output((Path(args["folder"]) / f"in{i}").read_bytes()) for i in range(args["samples"])]
    outputs = runner.run(samples)
    for index, one in enumerate(outputs):
        wanted = args["tensors"] or runner.outputs
        (Path(args["folder"]) / f"out{index}").write_bytes(encode_output({name: one[name] for name in wanted}))
    return {"outputs": len(outputs)}


if __name__ == "__main__":
    sys.exit(serve({"run": _run}))
