"""handover: bundles, locks and a trust file → one file to mail; and the anchors that such a file brings along, judged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from verifai.bundle.archive import pack
from verifai.bundle.case import ENDING, EVIDENCE, MAX_BUNDLES, MAX_PAGE, REPORT, TRUST, OpenCase, anchors_digest, write_case
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import Content
from verifai.circuit_folder import MAX_TOML_BYTES, read_lock, read_toml
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.audit import AuditReport
from verifai.domain.digest import Sha256, sha256
from verifai.domain.findings import Finding, Outcome, holds
from verifai.domain.progress import SILENT, Progress
from verifai.domain.spoken import GROUPS, is_spoken, is_whole, spoken
from verifai.domain.statement import EngineName
from verifai.domain.tokenizer import FILE
from verifai.domain.tokenizer import MAX_BYTES as MAX_TOKENIZER
from verifai.domain.trust import RE_DERIVE, SCHEMA, parse_trust
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory
from verifai.reports.html_audit import render_html
from verifai.stages.audit.options import AuditOptions
from verifai.stages.audit.several import audit_all
from verifai.stages.page import write_page
from verifai.trust_file import TrustFile, read_trust

_HEADER = """\
# Came with the evidence, written by `verifai handover`. Trust it only if you had it from elsewhere: compare its fingerprint.
# The locks are known by their digests alone; they lie beside this file.

"""
_CIRCUIT = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")


@dataclass(frozen=True)
class HandoverRequest:
    """What is handed over.

    Attributes:
        bundles: as :func:`verifai.bundle.find.find_distinct` gave them.
        locks: ``circuit.lock`` files, or folders of such.
        trust: the trust file; ``None``: one that names the locks and nobody's key.
        allow_test_srs: INSECURE, for a trust file that is made here.
        evidence_page: a page for people to be put in, in the place of the one that is made here.
        page: whether an evidence page is made and put in, where the evidence is such that one can check it.
        report: whether an audit is made and its report put into the case.
        rederive: whether that audit makes verification keys again, at about the cost of one set-up.
    """

    bundles: tuple[Path, ...]
    locks: tuple[Path, ...] = ()
    trust: Path | None = None
    allow_test_srs: bool = False
    evidence_page: Path | None = None
    report: bool = True
    rederive: bool = True
    page: bool = True


@dataclass(frozen=True)
class HandedOver:
    """A case that was written.

    Attributes:
        anchors: digest of locks and trust file: what is compared on the telephone.
        reports: of the audit behind its report; empty without one.
        no_page: why there is no evidence page in it; empty when there is one, or none was wanted.
    """

    path: Path
    anchors: Sha256
    bundles: tuple[str, ...]
    circuits: tuple[str, ...]
    reports: tuple[AuditReport, ...]
    no_page: str = ""


def hand_over(target: Path, request: HandoverRequest, *, progress: Progress = SILENT) -> HandedOver:
    """Write the case. Evidence that the audit finds false is not handed over.

    Raises:
        UsageError: ``file-exists``, ``file-missing``, ``bad-lock``, ``bad-trust``, ``lock-changed``; ``bad-case``, when there
            are two locks for one circuit, or none at all.
        EvidenceRejected: a bundle is malformed, or its audit rejects it.
        Undecided: ``disk``.
    """
    if len(request.bundles) > MAX_BUNDLES:
        raise UsageError("bad-case", f"more than {MAX_BUNDLES} bundles", hint="Hand over fewer at a time.")
    trust = None if request.trust is None else read_trust(request.trust)
    locks = _locks(request.locks, trust)
    if not locks:
        raise UsageError("bad-case", "there is no lock to judge the evidence by", where="--lock", hint="Give: --lock FILE")
    files: dict[str, Content] = {}
    anchors: dict[str, Sha256] = {}
    for name, path in locks.items():
        files[f"locks/{name}/circuit.lock"] = read_limited(path, limit=MAX_TOML_BYTES)
        beside = path.parent / FILE
        if read_lock(path).names.tokens is not None and beside.is_file():
            files[f"locks/{name}/{FILE}"] = read_limited(beside, limit=MAX_TOKENIZER)
    files[TRUST] = _trust_bytes(request, trust, {name: sha256(_bytes(files[f"locks/{name}/circuit.lock"])) for name in locks})
    anchors = {name: sha256(_bytes(data)) for name, data in files.items()}
    with private_directory() as folder:
        packed: dict[str, Path] = {}
        for path in request.bundles:
            name = _free(path.name.removesuffix(ENDING), packed)
            packed[name] = folder / f"{name}{ENDING}"
            pack(path, packed[name])
            files[f"bundles/{name}{ENDING}"] = packed[name]
        reports: tuple[AuditReport, ...] = ()
        _lay_out(folder, files)
        if request.report:
            reports = _audited(folder, packed, AuditOptions(rederive=request.rederive, progress=progress))
            page = render_html(reports)
            files[REPORT] = page
            if len(page) > MAX_PAGE:
                message = f"the report of {len(reports):,} bundles is too large for a case"
                hint = "Add --no-report: whoever gets the case can audit it."
                raise UsageError("bad-case", message, where="report", hint=hint)
        if request.evidence_page is not None:
            files[EVIDENCE] = read_limited(request.evidence_page, limit=MAX_PAGE)
        no_page = "" if EVIDENCE in files or not request.page else _put_page(folder, files, packed, tuple(locks))
        write_case(target, files)
    return HandedOver(target, anchors_digest(anchors), tuple(packed), tuple(locks), reports, no_page)


def _lay_out(folder: Path, files: Mapping[str, Content]) -> None:
    """Locks and trust file as they will lie in the case."""
    for name, content in files.items():
        if name.startswith("locks/"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_bytes(content))


def _put_page(folder: Path, files: dict[str, Content], packed: Mapping[str, Path], locks: tuple[str, ...]) -> str:
    """Put the page in that checks itself; or why not, in words. A case without one is as good."""
    if len(locks) != 1:
        return "a page checks against one lock, and the case has several"
    if not all(_checked_by_pages(path) for path in packed.values()):
        return "pages check proofs of the sumcheck engine alone"
    try:
        page = write_page(tuple(packed.values()), folder / "locks" / locks[0], folder / EVIDENCE, trust=folder / TRUST)
    except UsageError as problem:
        return problem.message
    if page.size > MAX_PAGE:
        return f"it would have more than {MAX_PAGE >> 20} MiB"
    files[EVIDENCE] = (folder / EVIDENCE).read_bytes()
    return ""


def _checked_by_pages(path: Path) -> bool:
    with open_bundle(path) as bundle:
        proofs = [one.predicate for one in bundle.attestations.values() if isinstance(one.predicate, ProofPredicate)]
    return bool(proofs) and all(one.statement.engine is EngineName.SUMCHECK for one in proofs)


def _audited(folder: Path, packed: Mapping[str, Path], options: AuditOptions) -> tuple[AuditReport, ...]:
    """The audit that whoever gets the case makes too, by the anchors in the case."""
    found = audit_all(tuple(packed.values()), read_trust(folder / TRUST), options)
    reports = tuple(replace(one, path=Path(one.path).name) for one in found)
    for one in reports:
        false = next((finding for finding in one.findings if finding.outcome is Outcome.REJECTED), None)
        if false is not None:
            raise EvidenceRejected(false.code, f"not handed over: {false.message}", where=one.path, hint=false.remedy)
    return reports


def judge_anchors(case: OpenCase, told: str | None) -> Finding:
    """What the trust is worth that came with the evidence.

    Args:
        told: the fingerprint that the reader had from elsewhere.

    Raises:
        UsageError: ``bad-option``, when it is not a whole fingerprint.
        EvidenceRejected: ``anchors-differ``, when it is another one.
    """
    digest = case.anchors
    if told is None:
        return Finding(
            "anchors-came-along",
            Outcome.POLICY_NOT_MET,
            f"lock and trust file came with the evidence, so they say no more than their sender; fingerprint {spoken(digest)}",
            where=str(case.path),
            evidence=digest,
            step="T0",
        )
    if not is_whole(told):
        message = f"a fingerprint is {GROUPS} groups of five digits, or a digest of 64 hex digits; this is neither"
        raise UsageError("bad-option", message, where="--anchors", hint="Give all of it: a part is not compared.")
    if not is_spoken(told, digest):
        raise EvidenceRejected(
            "anchors-differ",
            f"the anchors in the case have the fingerprint {spoken(digest)}, not the one that was given",
            where=str(case.path),
            hint="Somebody changed lock or trust file, or the case is another one. Do not rely on it.",
        )
    return holds("anchors-confirmed", "lock and trust file in the case have the fingerprint that was given", "T0")


def case_trust(case: OpenCase) -> TrustFile:
    """The trust file of a case, once it names no lock but those beside it, by digest, and no lock is more than it says.

    Raises:
        EvidenceRejected: ``bad-case``. UsageError: ``bad-trust``, ``bad-lock``.
    """
    if case.trust is None:
        hint = "Give your own: --trust FILE"
        raise EvidenceRejected("bad-case", "there is no trust file in the case", where=str(case.path), hint=hint)
    found = read_trust(case.trust)
    for name, circuit in found.trust.circuits.items():
        if circuit.lock or circuit.lock_sha256 is None:
            message = f"its trust file names the lock of {name[:64]!r} by a place, not by its digest alone"
            raise EvidenceRejected("bad-case", message, where=str(case.path))
    if set(found.trust.circuits) != set(case.locks):
        raise EvidenceRejected("bad-case", "its trust file and its locks are not about the same circuits", where=str(case.path))
    for name, path in case.locks.items():
        lock = read_lock(path)
        if lock.name != name:
            message = f"the lock in the place of {name!r} is that of {lock.name[:64]!r}"
            raise EvidenceRejected("bad-case", message, where=str(case.path))
        found.circuit(name)
    return found


def _locks(given: Sequence[Path], trust: TrustFile | None) -> dict[str, Path]:
    locks: dict[str, Path] = {}
    for path in given:
        file = path / "circuit.lock" if path.is_dir() else path
        if path.is_dir() and (path / "circuit.local.lock").is_file():
            message = "this circuit has a lock of this machine too, which others cannot use"
            raise UsageError("bad-case", message, where=str(path), hint="Name the file that they shall trust: --lock FILE")
        _put(locks, read_lock(file).name, file)
    for name, circuit in ({} if trust is None else trust.trust.circuits).items():
        assert trust is not None
        _put(locks, name, trust.lock_path(name, circuit))
        trust.circuit(name)
    return dict(sorted(locks.items()))


def _put(locks: dict[str, Path], name: str, path: Path) -> None:
    if not _CIRCUIT.match(name):
        raise UsageError("bad-case", f"{name[:64]!r} is no name of a circuit", where=str(path))
    known = locks.setdefault(name, path)
    if known != path and read_limited(known, limit=MAX_TOML_BYTES) != read_limited(path, limit=MAX_TOML_BYTES):
        hint = "Hand over the one that the trust file pins."
        raise UsageError("bad-case", f"there are two locks for the circuit {name!r}", where=f"{known} and {path}", hint=hint)


def _trust_bytes(request: HandoverRequest, trust: TrustFile | None, digests: Mapping[str, Sha256]) -> bytes:
    document: dict[str, Any]
    if trust is None:
        document = {"schema": SCHEMA, "circuits": {}}
        if request.allow_test_srs:
            document["srs"] = {"allow_test_srs": True}
    else:
        document = read_toml(trust.path, code="bad-trust")
    circuits = document.setdefault("circuits", {})
    for name, digest in digests.items():
        circuits.setdefault(name, {"verification_key": RE_DERIVE})
        circuits[name].pop("lock", None)
        circuits[name]["lock_sha256"] = digest
    data = (_HEADER + tomli_w.dumps(document)).encode()
    parse_trust(document, str(trust.path if trust is not None else "the new trust file"))
    return data


def _free(name: str, taken: Mapping[str, Path]) -> str:
    """A name that the case can hold and that no other bundle has, whatever the folder was called."""
    clean = re.sub(r"[^A-Za-z0-9._-]", "-", name)[:90].lstrip("._-") or "bundle"
    candidate, number = clean, 2
    known = {one.casefold() for one in taken}
    while candidate.casefold() in known:
        candidate, number = f"{clean}-{number}", number + 1
    return candidate


def _bytes(content: Content) -> bytes:
    assert isinstance(content, bytes)
    return content
