"""Peak memory of `audit` and `gate` over many bundles, for every report: does it grow with their number?

    python -m tools.benchmarks.many_bundles [--bundles 1000 10000]

One bundle of the fixtures is really judged. What was found of it is then told for each of the others, under a path and an
identifier of its own: to judge ten thousand takes an hour, and one bundle at a time is open whatever their number. All that
follows the judging is what the commands do. Each figure is the peak resident memory of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from verifai.domain.digest import sha256

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ROOT / "fixtures" / "bundles" / "v1"
FORMATS = {
    "audit": ("none", "json", "markdown", "html"),
    "gate": ("none", "json", "sarif", "junit", "github", "markdown", "html"),
}
POLICY = """
schema = "verifai/policy/v1"
[[model]]
name = "net"
lock = "{lock}"
evidence = ["proof"]
[model.proof]
engines = ["ezkl"]
privacy = "integrity-only"
insecure = ["test-srs"]
srs = "test"
inferences = {count}
"""


def audit(count: int, kind: str, folder: Path) -> None:
    """What `audit` does with ``count`` reports."""
    from verifai.cli.audit import _result
    from verifai.cli.frame import Frame, _current
    from verifai.domain.audit import AuditReport
    from verifai.execution.spool import Spool
    from verifai.stages.audit.options import AuditOptions
    from verifai.stages.audit.several import audit_all
    from verifai.trust_file import read_trust

    options = AuditOptions(rederive=False, now="2026-12-01T00:00:00Z")
    (one,) = audit_all([BUNDLES / "accept" / "folder"], read_trust(BUNDLES / "trust.toml"), options)
    reports: Spool[AuditReport] = Spool()
    for number in range(count):
        reports.put(number, replace(one, path=f"evidence/{number:06}", bundle_id=sha256(str(number).encode())))
    frame = Frame("audit", json=True, quiet=True)
    _current.set(frame)
    frame.finish(_result(reports, [] if kind == "none" else [(kind, folder / "report")]))


def gate(count: int, kind: str, folder: Path) -> None:
    """What `gate` does with ``count`` judgements."""
    from verifai.cli.frame import Frame, _current
    from verifai.cli.gate import _result
    from verifai.domain.circuit_spec import Budget
    from verifai.domain.policy.demands import EvidenceKind
    from verifai.domain.policy.verdict import Judgement, decide
    from verifai.execution.spool import Spool
    from verifai.reports.from_gate import report_of
    from verifai.reports.registry import ReportName
    from verifai.reports.write import ReportTarget, write_reports
    from verifai.stages.gate.bundle import judge_bundle
    from verifai.stages.gate.load import load_policy

    now = datetime(2026, 12, 1, tzinfo=UTC)
    path = folder / "policy.toml"
    path.write_text(POLICY.format(lock=next(BUNDLES.rglob("circuit.lock")), count=count))
    loaded = load_policy(path)
    one = judge_bundle(loaded, BUNDLES / "accept" / "folder", now, Budget())
    judgements: Spool[Judgement] = Spool()
    for number in range(count):
        own = sha256(str(number).encode())
        shows = {EvidenceKind.PROOF: (own,)} if one.shows else {}
        judgements.put(number, replace(one, path=f"evidence/{number:06}", bundle_id=own, shows=shows))
    report = report_of(decide(loaded.policy, loaded.pins, judgements, now, anchors=loaded.anchors), version="benchmark")
    targets = [] if kind == "none" else [ReportTarget(ReportName(kind), folder / "report")]
    write_reports(targets, report)
    frame = Frame("gate", json=True, quiet=True)
    _current.set(frame)
    frame.finish(_result(report, None, targets))


VERBS: dict[str, Callable[[int, str, Path], None]] = {"audit": audit, "gate": gate}


def measured(verb: str, kind: str, count: int) -> tuple[float, float]:
    """Peak resident MiB of a process that handles ``count`` bundles, and its CPU seconds."""
    command = [sys.executable, "-m", "tools.benchmarks.many_bundles", "--only", verb, kind, str(count)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found = json.loads(done.stderr.strip().splitlines()[-1])
    return found["mebibytes"], found["seconds"]


def main() -> int:
    """Print one line per verb and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundles", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        verb, kind, count = given.only
        with tempfile.TemporaryDirectory() as folder:
            VERBS[verb](int(count), kind, Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"mebibytes": peak, "seconds": time.process_time()}), file=sys.stderr)
        return 0
    few, many = min(given.bundles), max(given.bundles)
    print(
        f"| verb | report | {few:,} bundles | {many:,} bundles | ratio | CPU seconds |\n| --- | --- | --- | --- | --- | --- |"
    )
    for verb, kinds in FORMATS.items():
        for kind in kinds:
            small, (large, seconds) = measured(verb, kind, few)[0], measured(verb, kind, many)
            print(f"| {verb} | {kind} | {small:.0f} MiB | {large:.0f} MiB | {large / small:.2f} | {seconds:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
