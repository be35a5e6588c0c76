"""Verification of an ezkl proof. The numbered steps are those of ``docs/ezkl.md``.

    1  exactly the three files, within their size limits
    2  settings and verification key are the pinned ones, by digest
    3  the settings parse, every figure in range, and say what the lock says; so does the key's header
    4  the proof parses: one byte form, exact number of instances, exact number of proof bytes
    5  the statement is decoded from the instances, with the pinned scales and visibilities
    6  ezkl accepts the proof under the pinned key and the pinned SRS points
    7  the SRS is the ceremony's, or test material was allowed

Step 7 comes last so that false evidence is called false (status 1) before genuine evidence is called insufficient (status 3).
The lock's own SRS points were checked when the section was parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256, sha256, short
from verifai.domain.findings import Finding, Outcome, holds
from verifai.domain.progress import Progress
from verifai.domain.statement import EngineName, Privacy, Role, Statement, TensorStatement, Visibility
from verifai.engines.ezkl import calls, field, proof, settings
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.engines.ezkl.lock_section import LockSection, check_settings, expect_version, parse_section
from verifai.engines.ezkl.proof import Proof
from verifai.engines.ezkl.srs.file import SrsTrust
from verifai.engines.ezkl.tensors import DIGEST_SCHEME
from verifai.engines.interface import VerifiedProof, VerifyRequest
from verifai.errors import EngineCrashed, EvidenceRejected, PolicyNotMet, Undecided
from verifai.execution.child import Limits

PROOF_FILE = "proof.json"
SETTINGS_FILE = "settings.json"
VK_FILE = "vk.key"
MAX_VK_BYTES = 256 * 1024 * 1024
VK_FORMAT, VK_COMPRESSED_SELECTORS, VK_POINT_BYTES = 3, 1, 64
"""Header of halo2's raw form: a version, k, whether selectors are compressed; then the number of fixed commitments as u32."""
_LIMITS = {PROOF_FILE: proof.MAX_FILE_BYTES, SETTINGS_FILE: settings.MAX_BYTES, VK_FILE: MAX_VK_BYTES}
VERIFY_SECONDS = 120.0
VERIFY_MEMORY = 4 * 2**30


def verify(request: VerifyRequest) -> VerifiedProof:
    """Run the steps.

    Raises:
        EvidenceRejected: some step does not hold.
        UsageError: the lock section cannot be read, or is of another release.
        PolicyNotMet: code ``srs-test-only``.
        Undecided: out of memory or time, or a crash.
    """
    section = parse_section(request.section)
    expect_version(section)
    files = read_files(request.files)
    findings = [holds("payload-complete", "the proof's files are complete and within their limits", "1")]
    findings.append(check_pins(section, files))
    findings.append(check_settings_and_key(section, files[SETTINGS_FILE], files[VK_FILE]))
    parsed = proof.parse(files[PROOF_FILE], instances=section.instances, proof_bytes=section.proof_bytes)
    findings.append(
        holds("proof-well-formed", f"{len(parsed.instances)} instances and {len(parsed.proof)} proof bytes, as pinned", "4")
    )
    statement = decode(section, parsed, model_sha256=Sha256(request.model_sha256), context=request.context)
    findings.append(holds("statement-decoded", "the statement was decoded from the proof's instances alone", "5"))
    check_proof(section, files, parsed, fence_for(request.budget, request.progress))
    findings.append(holds("proof-valid", "ezkl accepts the proof under the pinned key and SRS", "6"))
    findings.append(check_srs_trust(section, allow_test_material=request.allow_test_material))
    return VerifiedProof(statement, tuple(findings))


def fence_for(budget: Budget, progress: Progress) -> Fence:
    """Limits of a verification: those of the budget for memory, ours for time."""
    memory = budget.memory_bytes or VERIFY_MEMORY
    return Fence(Limits(memory_bytes=memory, wall_seconds=VERIFY_SECONDS, cpu_seconds=4 * VERIFY_SECONDS), progress=progress)


def read_files(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Step 1. Raises EvidenceRejected (``payload-mismatch``)."""
    odd = sorted(set(files) ^ set(_LIMITS))
    if odd:
        problem = "is missing" if odd[0] in _LIMITS else "does not belong to an ezkl proof"
        raise EvidenceRejected("payload-mismatch", f"the file {problem}", where=odd[0][:200])
    result = {}
    for name, limit in _LIMITS.items():
        path = files[name]
        if not path.is_file():
            raise EvidenceRejected("payload-mismatch", "not a regular file", where=name)
        try:
            with path.open("rb") as stream:
                data = stream.read(limit + 1)
        except OSError as problem:
            raise Undecided("disk", f"cannot read: {problem.strerror}", where=name) from None
        if len(data) > limit:
            raise EvidenceRejected("payload-mismatch", f"larger than {limit} bytes", where=name)
        result[name] = data
    return result


def check_pins(section: LockSection, files: Mapping[str, bytes]) -> Finding:
    """Step 2. Raises EvidenceRejected (``settings-not-pinned``, ``vk-not-pinned``)."""
    pins = (
        (SETTINGS_FILE, section.settings_sha256, "settings-not-pinned"),
        (VK_FILE, section.vk_sha256, "vk-not-pinned"),
    )
    for name, pinned, code in pins:
        found = sha256(files[name])
        if found != pinned:
            raise EvidenceRejected(
                code,
                f"SHA-256 {short(found)}… where the lock pins {short(pinned)}…",
                where=name,
                hint="The proof was made with another compilation of the circuit than the one you trust.",
            )
    return holds("keys-pinned", f"settings and verification key {short(section.vk_sha256)}… are the pinned ones", "2")


def check_settings_and_key(section: LockSection, data: bytes, vk: bytes) -> Finding:
    """Step 3. Raises EvidenceRejected (``settings-malformed``, ``settings-mismatch``, ``vk-malformed``)."""
    parsed = settings.parse(data)
    if not settings.is_normal(data):
        raise EvidenceRejected("settings-malformed", "these bytes are not the canonical form", where=SETTINGS_FILE)
    check_settings(section, parsed)
    # ezkl allocates by the key's own k, up to gigabytes, before it looks at anything else.
    header = bytes((VK_FORMAT, parsed.logrows, VK_COMPRESSED_SELECTORS))
    points = int.from_bytes(vk[len(header) : len(header) + 4], "little")
    if vk[: len(header)] != header or not 0 < points <= len(vk) // VK_POINT_BYTES:
        raise EvidenceRejected("vk-malformed", f"its header is not that of a key for k = {parsed.logrows}", where=VK_FILE)
    return holds("settings-consistent", "the settings are in range and say what the lock says", "3")


def decode(section: LockSection, parsed: Proof, *, model_sha256: Sha256, context: str) -> Statement:
    """Step 5: instances → statement. Raises EvidenceRejected (``instance-out-of-range``)."""
    tensors = []
    position = 0
    for pinned in section.tensors:
        values = parsed.instances[position : position + pinned.instances]
        position += pinned.instances
        quantised = digest = None
        if pinned.visibility is Visibility.PUBLIC:
            try:
                quantised = tuple(field.decode_signed(field.encode(value)) for value in values)
            except ValueError as problem:
                raise EvidenceRejected("instance-out-of-range", str(problem), where=f"tensor {pinned.name!r}") from None
        elif pinned.visibility is Visibility.HASHED:
            digest = field.encode(values[0])
        columns = section.parameters.columns_of(pinned.name) if pinned.role is Role.INPUT else ()
        tensors.append(
            TensorStatement(
                role=pinned.role,
                name=pinned.name,
                shape=pinned.shape,
                visibility=pinned.visibility,
                scale=Fraction(1) if columns else field.scale_fraction(pinned.scale),
                quantised=quantised,
                digest=digest,
                digest_scheme=None if digest is None else DIGEST_SCHEME,
                columns=tuple(column.stated for column in columns),
            )
        )
    return Statement(
        engine=EngineName.EZKL,
        model_sha256=model_sha256,
        circuit_sha256=section.vk_sha256,
        tensors=tuple(tensors),
        context=context,
        context_bound=False,
        privacy=Privacy.ZERO_KNOWLEDGE,
        weights=section.weights,
    )


def check_proof(section: LockSection, files: Mapping[str, bytes], parsed: Proof, fence: Fence) -> None:
    """Step 6: ezkl's own check, in a child process.

    Raises:
        EvidenceRejected: code ``proof-invalid``: ezkl refuses, by an error or by a panic on the proof's contents.
        Undecided: code ``engine-not-loaded``, when ezkl is missing or broken; the child died, or ran out of memory or time.
    """
    inputs = {
        PROOF_FILE: parsed.for_ezkl(),
        SETTINGS_FILE: files[SETTINGS_FILE],
        VK_FILE: files[VK_FILE],
        "verifier.srs": section.srs.verifier,
    }
    step = call("verify", proof=PROOF_FILE, settings=SETTINGS_FILE, vk=VK_FILE, srs="verifier.srs")
    try:
        ran = calls.run([call("load"), step], fence, inputs=inputs)
    except CallFailed as problem:
        if problem.step.name == "load":
            raise EngineCrashed(
                "engine-not-loaded",
                f"ezkl cannot be loaded, so nothing was checked: {calls.first_line(problem.step.message)}",
                hint="Install verifai again, with the release of ezkl that it names.",
            ) from None
        raise EvidenceRejected(
            "proof-invalid",
            f"ezkl refuses the proof: {calls.first_line(problem.step.message)}",
            where=PROOF_FILE,
            hint="The proof or a public value in it is not what the prover computed.",
        ) from None
    if ran.values[-1] is not True:
        raise EngineCrashed("engine-crashed", "ezkl neither accepted nor refused the proof")


def check_srs_trust(section: LockSection, *, allow_test_material: bool) -> Finding:
    """Step 7. Raises PolicyNotMet (``srs-test-only``)."""
    if section.srs.trust is SrsTrust.CEREMONY:
        return holds("srs-ceremony", "the SRS is the public ceremony's, by its points", "7")
    if not allow_test_material:
        raise PolicyNotMet(
            "srs-test-only",
            "the SRS is INSECURE-TEST material: whoever generated it can forge this proof",
            where="circuit.lock: [engine.ezkl.srs]",
            hint="Compile with a ceremony SRS (`verifai srs fetch -k SIZE`), or pass --allow-test-srs to accept a test.",
        )
    return Finding(
        "srs-test-allowed",
        Outcome.NOT_CHECKED,
        "INSECURE-TEST SRS, allowed by request: whoever generated it can forge this proof",
        step="7",
    )
