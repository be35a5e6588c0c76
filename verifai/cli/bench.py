"""``bench``: the engines measured side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import MaxMemoryOption, memory_limit
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import bytes_text, seconds_text, table
from verifai.domain.circuit_spec import MAX_BATCH
from verifai.engines.registry import engine_names
from verifai.errors import UsageError
from verifai.execution.files import write_atomic
from verifai.execution.outputs import Kind
from verifai.reports.bench_plot import bench_plot
from verifai.showcase.bench import SMALL, BenchRow, Skipped, machine, privacy_costs, ratios, run_bench
from verifai.showcase.bench_circuits import row_names
from verifai.showcase.demo import find_checkout


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "bench", example="verifai bench circuits/digits-mlp --runs 1")
    def bench(
        circuits: Annotated[
            list[Path] | None, typer.Argument(help="Circuit folders; by default the shipped small ones.", show_default=False)
        ] = None,
        engine: Annotated[
            list[str] | None,
            typer.Option("--engine", help="A row: ezkl-default (ezkl as it comes), an engine, or a variant; repeatable."),
        ] = None,
        runs: Annotated[int, typer.Option("--runs", help="Proofs per row; the median counts.", min=1, max=1000)] = 3,
        plot: Annotated[Path | None, typer.Option("--plot", help="Also write a plot (SVG)."), Kind.FILE] = None,
        batch: Annotated[
            list[int] | None,
            typer.Option("--batch", help="Inferences of one proof, a row for each; repeatable.", min=1, max=MAX_BATCH),
        ] = None,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Measure the engines side by side.

        Time, memory and sizes on given or shipped circuits, with ratios taken within this one run. An engine's row proves what
        circuit.toml asks for. Variants hide something else, outputs always being public: ezkl-private and sumcheck-zk-a the
        inputs, sumcheck-zk-b the weights, sumcheck-zk-c both.
        """
        known = row_names(engine_names())
        for name in engine or []:
            if name not in known:
                raise UsageError("bad-option", f"no such engine: {name!r}", where="--engine", hint="Known: " + ", ".join(known))
        folders = [CircuitFolder(path) for path in circuits or []]
        if not folders:
            folders = [CircuitFolder(find_checkout() / "circuits" / name) for name in SMALL]
        rows: list[BenchRow] = []
        skipped: list[Skipped] = []
        with current().progress() as progress:
            found = run_bench(
                folders,
                engines=engine or known,
                runs=runs,
                max_memory=memory_limit(max_memory),
                batches=batch or (),
                progress=progress,
            )
            for item in found:
                if isinstance(item, BenchRow):
                    rows.append(item)
                else:
                    skipped.append(item)
        comparison, costs = ratios(rows), privacy_costs(rows)
        data = {
            "machine": machine(),
            "rows": [row.to_json() for row in rows],
            "ratios": comparison,
            "privacy_costs": costs,
            "skipped": [
                {"circuit": one.circuit, "engine": one.engine, "code": one.error.code, "message": one.error.message}
                for one in skipped
            ],
        }
        if plot is not None and rows:
            write_atomic(plot, bench_plot([row.to_json() for row in rows]).encode())
            current().note(f"plot: {plot}")
        return Result(data, _lines(rows, comparison, costs, skipped), verdict="done", status=4 if not rows else 0)


def _per_inference(rows: list[BenchRow]) -> Any:
    headings = ["circuit", "engine", "batch", "prove CPU", "proof", "evidence", "verify CPU", "memory of prove", "of verify"]
    cells = [
        [
            row.circuit,
            row.engine,
            f"{row.batch:,}",
            "" if row.prove_cpu_s is None else f"{1e3 * row.prove_cpu_s / row.batch:.3g} ms",
            bytes_text(row.proof_bytes // row.batch),
            "" if row.evidence_bytes is None else bytes_text(row.evidence_bytes // row.batch),
            "" if row.verify_cpu_s is None else f"{1e3 * row.verify_cpu_s / row.batch:.3g} ms",
            bytes_text(row.peak_rss_bytes),
            "" if row.verify_peak_bytes is None else bytes_text(row.verify_peak_bytes),
        ]
        for row in rows
    ]
    return table(headings, cells, title="Per inference; memory of the whole process")


def _lines(
    rows: list[BenchRow], comparison: list[dict[str, Any]], costs: list[dict[str, Any]], skipped: list[Skipped]
) -> list[Any]:
    headings = ["circuit", "engine", "2^", "setup", "prove", "prove cold", "verify", "proof", "keys", "peak memory", "top-1"]
    cells = [
        [
            row.circuit,
            row.engine,
            "" if row.size_log2 is None else str(row.size_log2),
            seconds_text(row.setup_s),
            seconds_text(row.prove_s),
            "" if row.prove_cold_s is None else seconds_text(row.prove_cold_s),
            seconds_text(row.verify_s),
            bytes_text(row.proof_bytes),
            bytes_text(row.key_bytes),
            bytes_text(row.peak_rss_bytes),
            "" if row.top1_agreement is None else f"{row.top1_agreement:.3f}",
        ]
        for row in rows
    ]
    lines: list[Any] = [table(headings, cells, title="One run on this machine; medians")]
    if any(row.batch > 1 for row in rows):
        lines.append(_per_inference(rows))
    for ratio in comparison:
        keys = "" if ratio["keys_times_smaller"] is None else f", keys {ratio['keys_times_smaller']:.1f}× smaller"
        lines.append(
            f"{ratio['circuit']}: {ratio['engine']} against {ratio['against']}: prove {ratio['prove_times_faster']:.1f}× faster"
            f"{keys}, memory {ratio['memory_times_smaller']:.1f}× smaller"
        )
    for cost in costs:
        lines.append(
            f"{cost['circuit']}: hiding, {cost['engine']} against {cost['against']}: prove {cost['prove_times']:.2f}×, verify "
            f"{cost['verify_times']:.2f}×, proof {cost['proof_bytes_times']:.2f}×, memory {cost['memory_times']:.2f}×"
        )
    for one in skipped:
        lines.append(f"not measured: {one.circuit} with {one.engine}: {plain(str(one.error))} \\[{one.error.code}]")
    return lines
