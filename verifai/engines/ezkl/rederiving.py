"""Audit: settings and verification key again, from the ONNX model and the pinned section, in a clean place, byte for byte.

The verification key is a function of the ONNX file, the settings and the SRS alone (not of threads, folders or caches), so
equal bytes mean that the key proves *this* model. It costs about one set-up.
"""

from __future__ import annotations

from pathlib import Path

from verifai.domain.digest import sha256, short
from verifai.domain.findings import Finding, Outcome
from verifai.engines.ezkl.build import Built, build
from verifai.engines.ezkl.calls import Fence
from verifai.engines.ezkl.lock_section import LockSection, expect_version, parse_section
from verifai.engines.ezkl.rewrites import registry as rewrites
from verifai.engines.ezkl.srs.file import Srs, SrsTrust
from verifai.engines.ezkl.srs.store import default_store, find_by_digest
from verifai.engines.interface import VerifyRequest
from verifai.errors import Undecided, UsageError, VerifaiError
from verifai.execution.child import Limits
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.model import OnnxModel

_ONNX_CODES = ("circuit-onnx-rederived", "circuit-onnx-not-rederived")
_SETTINGS_CODES = ("settings-rederived", "settings-not-rederived")
_VK_CODES = ("vk-rederived", "vk-not-rederived")


def rederive(request: VerifyRequest, model: OnnxModel) -> tuple[Finding, ...]:
    """One finding per comparison; false evidence is a finding, never an exception.

    Raises:
        UsageError: the lock section cannot be read, or is of another release.
    """
    section = parse_section(request.section)
    expect_version(section)
    if model.sha256 != request.model_sha256:
        return (_differs("model-mismatch", "the model is not the pinned one", model.sha256, request.model_sha256, "A1"),)
    findings = [_same("model-matches", "the model is the pinned one", model.sha256, "A1")]
    circuit_onnx = rewrites.circuit_onnx(model.data, section.parameters)
    findings.append(_compare(_ONNX_CODES, "the rewritten ONNX", sha256(circuit_onnx), section.circuit_onnx_sha256, "A2"))
    srs = _srs(section, request)
    if srs is None:
        return (*findings, _no_srs(section))
    try:
        with private_directory() as private:
            built = build(
                circuit_onnx,
                section.parameters,
                section.visibility,
                srs.path,
                private,
                fence=Fence(
                    Limits(memory_bytes=request.budget.memory_bytes, wall_seconds=request.budget.setup_seconds),
                    progress=request.progress,
                ),
                # ezkl may lay one model out in several ways, at random: an honest circuit must come out as it was pinned.
                wanted=section.settings_sha256,
            )
            findings += _compare_keys(section, built)
    except (Undecided, UsageError) as problem:
        findings.append(_not_rebuilt(problem))
    return tuple(findings)


def _compare_keys(section: LockSection, built: Built) -> list[Finding]:
    vk = sha256(built.vk_path.read_bytes())
    return [
        _compare(_SETTINGS_CODES, "the settings", sha256(built.settings_bytes), section.settings_sha256, "A3"),
        _compare(_VK_CODES, "the verification key", vk, section.vk_sha256, "A4"),
    ]


def _srs(section: LockSection, request: VerifyRequest) -> Srs | None:
    """An SRS of the pinned set-up: the very file, or, of the ceremony, any that is large enough."""
    store = default_store()
    places: list[Path] = [*request.setup_material, store.root]
    found = find_by_digest(section.srs.sha256, section.srs.logrows, places)
    if found is None and section.srs.trust is SrsTrust.CEREMONY:
        found = store.find(section.parameters.logrows)
    # The file's digest is pinned; the points are compared too, so that the section's two claims agree.
    return found if found is not None and found.verifier == section.srs.verifier else None


def _compare(codes: tuple[str, str], what: str, found: str, pinned: str, step: str) -> Finding:
    """``codes``: for equal and for different digests."""
    if found == pinned:
        return _same(codes[0], f"{what}, made again from the model, has the pinned digest", found, step)
    return _differs(codes[1], f"{what}, made again from the model, differs", found, pinned, step)


def _same(code: str, message: str, evidence: str, step: str) -> Finding:
    return Finding(code, Outcome.HOLDS, message, evidence=evidence, step=step)


def _differs(code: str, message: str, found: str, pinned: str, step: str) -> Finding:
    return Finding(
        code,
        Outcome.REJECTED,
        message,
        evidence=f"found {short(found)}…, pinned {short(pinned)}…",
        remedy="The key does not belong to this model: reject it.",
        step=step,
    )


def _no_srs(section: LockSection) -> Finding:
    wanted = f"k = {section.srs.logrows}, SHA-256 {short(section.srs.sha256)}…"
    if section.srs.trust is SrsTrust.CEREMONY:
        remedy = f"Run: `verifai srs fetch -k {section.srs.logrows}`"
    else:
        remedy = "Import the test file that the circuit was compiled with: `verifai srs import --test FILE`"
    return Finding(
        "srs-unavailable", Outcome.UNDECIDED, f"the SRS is not in the local store ({wanted})", remedy=remedy, step="A3"
    )


def _not_rebuilt(problem: VerifaiError) -> Finding:
    return Finding(
        "not-rederived",
        Outcome.UNDECIDED,
        f"the key could not be made again: {problem.message}",
        evidence=problem.code,
        remedy=problem.hint,
        step="A3",
    )
