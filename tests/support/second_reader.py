"""The second verifier (``verifier-js/``) as a process that answers many cases, and the first one's answers in the same form."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from verifai.bundle.reader import open_bundle
from verifai.bundle.trust_check import check_trust
from verifai.circuit_folder import read_lock
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.findings import Finding, Outcome, worst
from verifai.domain.trust import TrustedCircuit
from verifai.errors import VerifaiError
from verifai.stages.audit.steps import check_circuit_key
from verifai.stages.verify import Expectations, verify_bundle
from verifai.trust_file import read_trust

DIST = ROOT / "verifier-js" / "dist"
NOW = "2026-12-01T12:00:00Z"
_STATUS = {Outcome.HOLDS: 0, Outcome.REJECTED: 1, Outcome.POLICY_NOT_MET: 3, Outcome.UNDECIDED: 4}


@dataclass(frozen=True)
class Answer:
    """A verdict, as far as two verifiers must agree on it.

    Attributes:
        codes: of all findings in order, with their outcomes.
        statement: the proven statement's document; ``None`` where nothing was proven.
    """

    status: int
    codes: tuple[tuple[str, str], ...]
    statement: Any = None

    @property
    def failed(self) -> set[str]:
        return {code for code, outcome in self.codes if outcome not in ("holds", "not-checked")}


class SecondVerifier:
    """One Node process for many cases."""

    def __init__(self, program: Path = DIST / "cases.mjs") -> None:
        command = ["node", str(program)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, bundle: Path, lock: Path, trust: Path | None = None, context: str | None = None, now: str = NOW) -> Answer:
        case = {"bundle": str(bundle), "lock": str(lock), "now": now}
        if trust is not None:
            case["trust"] = str(trust)
        if context is not None:
            case["context"] = context
        found = self.ask_plain(case)
        codes = tuple((one["code"], one["outcome"]) for one in found["findings"])
        return Answer(found["status"], codes, found.get("statement"))

    def ask_plain(self, case: dict[str, Any]) -> dict[str, Any]:
        """One case as it is, and its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the second verifier ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(timeout=300) == 0


def _key(circuit: CircuitPredicate, trusted: TrustedCircuit) -> Finding:
    try:
        return check_circuit_key(circuit, trusted, (), "A2")
    except VerifaiError as problem:
        return Finding.from_error(problem)


def first_verifier(
    bundle: Path, lock: Path, trust: Path | None = None, context: str | None = None, now: str = NOW, *, proofs: bool = True
) -> Answer:
    """``verify``, and of an audit what the trust file decides.

    Args:
        proofs: whether the proof is checked; without, the bundle is only read.
    """
    from verifai.domain.shown import statement_document

    findings: list[Finding] = []
    statement, usage = None, False
    try:
        if proofs:
            verified = verify_bundle(bundle, read_lock(lock), Expectations(context=context))
            if trust is not None:
                trusted, _ = read_trust(trust).circuit(read_lock(lock).name)
                findings.append(_key(verified.circuit, trusted))
            findings += verified.findings
            statement = json.loads(json.dumps(statement_document(verified.statement, verified.values)))
        else:
            with open_bundle(bundle):
                pass
    except VerifaiError as problem:
        findings.append(Finding.from_error(problem))
        usage = problem.status == 2
    if trust is not None:
        try:
            with open_bundle(bundle) as opened:
                findings += check_trust(opened, read_trust(trust).trust, now)
        except VerifaiError:
            pass  # said above
    found = _STATUS[worst(findings)]
    return Answer(2 if usage and found != 1 else found, tuple((one.code, one.outcome.value) for one in findings), statement)
