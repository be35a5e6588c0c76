"""ezkl as it comes, measured beside our tuned circuits: default run arguments, no calibration, the same fence.

Used by ``verifai bench`` only; nothing made here is a circuit that verifai would hand out.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from verifai.domain.statement import Visibility
from verifai.engines.ezkl import calls
from verifai.engines.ezkl.build import Built, Sample, build, trial
from verifai.engines.ezkl.calls import Fence, call
from verifai.engines.ezkl.parameters import CircuitParameters, CircuitVisibility
from verifai.execution.scratch import private_directory

DEFAULTS = CircuitParameters(
    input_scale=7,
    param_scale=7,
    scale_rebase_multiplier=1,
    decomp_base=16384,
    decomp_legs=2,
    num_inner_cols=2,
    lookup_low=-32768,
    lookup_high=32768,
    lookup_margin=0.0,
    logrows=17,
)
"""``ezkl.PyRunArgs()`` of 23.0.5. ``logrows`` is raised where a circuit does not fit, as ezkl's own error message asks."""


@dataclass(frozen=True, slots=True)
class BaselineFigures:
    """What one circuit costs.

    Attributes:
        prove_seconds, verify_seconds: of each run's call inside the child.
        outputs: quantised outputs of each sample, for fidelity. output_scale: log2 of their multiplier.
    """

    logrows: int
    setup_seconds: float
    prove_seconds: tuple[float, ...]
    verify_seconds: tuple[float, ...]
    proof_bytes: int
    key_bytes: int
    peak_rss_bytes: int
    outputs: tuple[tuple[int, ...], ...]
    output_scale: int

    @property
    def prove_median(self) -> float:
        """Median of the runs, in seconds."""
        return statistics.median(self.prove_seconds)


def fitting_logrows(rows: int, start: int) -> int:
    """The least logrows, from ``start`` on, that holds ``rows`` and the rows that blinding takes."""
    logrows = start
    while 2**logrows < rows + 64:
        logrows += 1
    return logrows


def measure(
    model_onnx: bytes, samples: Sequence[Sample], srs: Path, scratch: Path, *, logrows: int, runs: int, fence: Fence
) -> BaselineFigures:
    """Set up and prove the first sample ``runs`` times; run all samples forward for fidelity.

    Args:
        srs: of at least ``logrows``; a test SRS will do, its cost is the same.
        logrows: from :func:`default_logrows`.

    Raises:
        UnsupportedModel, Undecided: as :func:`verifai.engines.ezkl.build.build`.
    """
    visibility = CircuitVisibility(Visibility.PUBLIC, Visibility.PUBLIC)
    parameters = replace(DEFAULTS, logrows=logrows)
    tried = trial(model_onnx, parameters, visibility, samples, fence=fence)
    with private_directory(scratch) as folder:
        built = build(model_onnx, parameters, visibility, srs, folder, fence=fence)
        proving = [_prove(built, samples[0], srs, folder, fence) for _ in range(runs)]
        keys = built.pk_path.stat().st_size + built.vk_path.stat().st_size
    return BaselineFigures(
        logrows=logrows,
        setup_seconds=built.seconds["setup"],
        prove_seconds=tuple(run[0] for run in proving),
        verify_seconds=tuple(run[1] for run in proving),
        proof_bytes=proving[0][2],
        key_bytes=keys,
        peak_rss_bytes=max(built.peak_rss_bytes, *(run[3] for run in proving)),
        outputs=tuple(witness.outputs[0] for witness in tried.witnesses),
        output_scale=tried.settings.output_scales[0],
    )


def default_logrows(model_onnx: bytes, fence: Fence) -> int:
    """The size that ezkl's defaults lead to: 17, or more where the circuit does not fit."""
    visibility = CircuitVisibility(Visibility.PUBLIC, Visibility.PUBLIC)
    tried = trial(model_onnx, DEFAULTS, visibility, (), fence=fence)
    return fitting_logrows(tried.settings.num_rows, DEFAULTS.logrows)


def _prove(built: Built, sample: Sample, srs: Path, folder: Path, fence: Fence) -> tuple[float, float, int, int]:
    data = json.dumps({"input_data": [list(tensor) for tensor in sample]}).encode("ascii")
    with private_directory(folder) as private:
        witness, proof = private / "witness.json", private / "proof.json"
        calls.run(
            [call("gen_witness", data="input.json", circuit=built.circuit_path, output="witness.json")],
            fence,
            inputs={"input.json": data},
            outputs={"witness.json": witness},
        )
        proved = calls.run(
            [
                call(
                    "prove",
                    witness=witness,
                    circuit=built.circuit_path,
                    pk=built.pk_path,
                    srs=srs.resolve(),
                    output="proof.json",
                )
            ],
            fence,
            outputs={"proof.json": proof},
        )
        checked = calls.run(
            [call("verify", proof=proof, settings=built.settings_path, vk=built.vk_path, srs=srs.resolve())], fence
        )
        size = len(json.loads(proof.read_bytes())["proof"])
    return proved.seconds[0], checked.seconds[0], size, proved.peak_rss_bytes
