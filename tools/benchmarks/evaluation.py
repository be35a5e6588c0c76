"""LeNet-5 evaluated on 1,000 pictures with hidden weights, for several batch sizes: seconds, bytes, and seconds to verify.

    python -m tools.benchmarks.evaluation [--batch 16 256 1000] [--samples 1000]

The pictures are scikit-learn's digits enlarged to 28 × 28, those that the model was trained on among them: what is measured is
cost, not accuracy. Prints one line of JSON per batch size. At most 63 proofs are made, since
the cost per picture is what is asked; the roots of the hidden weights are renewed on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
import tomli_w

from verifai.bundle.reader import open_bundle
from verifai.circuit_folder import CircuitFolder
from verifai.domain.evaluation.data_lock import DataKind, DataTask
from verifai.stages.compile import compile_circuit
from verifai.stages.evaluate import EvaluateOptions, evaluate
from verifai.stages.evaluation.data_set import DataSet, pin
from verifai.stages.evaluation.judge import verify_evaluation

ROOT = Path(__file__).resolve().parents[2]
MOST_PROOFS = 63
OPENINGS = 64


def pictures(count: int) -> DataSet:
    """The first ``count`` digits, enlarged bilinearly as the fixtures are (half-pixel centres)."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    digits = load_digits()
    at = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, 7)
    share = at - low
    blend = np.zeros((28, 8))
    blend[np.arange(28), low] += 1 - share
    blend[np.arange(28), high] += share
    images = (blend @ (digits.images[:count] / 16.0) @ blend.T).astype(np.float32)[:, np.newaxis]
    classes = tuple(str(digit) for digit in range(10))
    return DataSet(DataKind.ARRAYS, DataTask.CLASSIFICATION, {"image": images}, digits.target[:count].astype(np.int64), classes)


def circuit(scratch: Path, batch: int) -> CircuitFolder:
    """LeNet-5 with private weights, calibrated on the fixture's own data."""
    root = scratch / f"lenet5-{batch}"
    root.mkdir()
    document = tomllib.loads((ROOT / "circuits/lenet5/circuit.toml").read_text())
    document["circuit"] |= {"model": str(ROOT / "fixtures/lenet5/model.onnx"), "engine": "sumcheck"}
    document["calibration"] = {"data": str(ROOT / "fixtures/lenet5/calibration.npz")}
    document["weights"] = {"visibility": "private"}
    document["engine"] = {"sumcheck": {"opening_budget": OPENINGS}}
    document["budget"] |= {"memory": "12 GiB"}
    (root / "circuit.toml").write_text(tomli_w.dumps(document))
    folder = CircuitFolder(root)
    compile_circuit(folder, batch=batch)
    return folder


def measure(scratch: Path, batch: int, samples: int) -> dict[str, object]:
    """One batch size."""
    data = pictures(min(samples, MOST_PROOFS * batch))
    folder = circuit(scratch, batch)
    lock = pin(data, "digits", "label")
    output = scratch / f"evaluation-{batch}"
    began, cpu = time.perf_counter(), _cpu()
    made = evaluate(folder, data, lock, output, EvaluateOptions(renew_roots=True))
    whole, worked = time.perf_counter() - began, _cpu() - cpu
    began, cpu = time.perf_counter(), _cpu()
    with open_bundle(output) as bundle:
        found = verify_evaluation(bundle, folder.lock(), lock)
    return {
        "batch": batch,
        "samples": len(data),
        "proofs": made.proofs,
        "evaluate_seconds": round(whole, 2),
        "evaluate_cpu_seconds": round(worked, 2),
        "verify_seconds": round(time.perf_counter() - began, 2),
        "verify_cpu_seconds": round(_cpu() - cpu, 2),
        "bytes": made.size,
        "bytes_of_samples": (output / "payload" / "data.npz").stat().st_size,
        "right": found.metrics.whole.to_json()["right"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load": round(os.getloadavg()[0], 1),
    }


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 256, 1000])
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for batch in options.batch:
            print(json.dumps(measure(Path(scratch), batch, options.samples)), flush=True)


if __name__ == "__main__":
    main()
