"""Lists that both verifiers hold: a type, role or limit that is added to one alone is found here, without Node.js."""

from __future__ import annotations

import re

from tests.support.paths import ROOT
from verifai.bundle.limits import DEFAULT
from verifai.domain.attestation.manifest import MAX_FILES, MEDIA_TYPES, SIDE_FILES
from verifai.domain.attestation.types import predicate_types
from verifai.domain.statement import MAX_COLUMNS, MAX_STATED
from verifai.domain.trust import ROLE_OF, TrustRole
from verifai.engines.sumcheck.circuit import codec
from verifai.engines.sumcheck.payload.files import MAX_PROOF
from verifai.engines.sumcheck.payload.weight_roots import MAX_RELATION
from verifai.engines.sumcheck.protocol.suite import SUITES

EVIDENCE = ROOT / "verifier-js" / "src" / "evidence"


def text(name: str) -> str:
    return (EVIDENCE / name).read_text(encoding="utf-8")


def words(name: str, start: str) -> set[str]:
    """The texts in quotes of the line that begins so."""
    (line,) = [line for line in text(name).splitlines() if line.startswith(start)]
    return set(re.findall(r'"([^"]+)"', line))


def test_types_of_attestations() -> None:
    read = {"urn:verifai:circuit:v1", "urn:verifai:proof:v1"}
    (others,) = re.findall(r"^const OTHERS: .*? = \{$(.*?)^\};$", text("attestation.ts"), re.DOTALL | re.MULTILINE)
    named = re.findall(r'"?([a-z-]+)"?: "', others)
    assert {f"urn:verifai:{one}:v1" for one in named} | read == set(predicate_types())


def test_who_must_sign_which_type() -> None:
    (roles,) = re.findall(r"^const ROLES: .*? = \{$(.*?)^\};$", text("trust_check.ts"), re.DOTALL | re.MULTILINE)
    found = {f"urn:verifai:{name}:v1": role for name, role in re.findall(r'"?([a-z-]+)"?: "([a-z]+)"', roles)}
    assert found == {name: role.value for name, role in ROLE_OF.items()}


def test_roles_suites_and_files() -> None:
    assert words("trust.ts", "export const TRUST_ROLES") == set(TrustRole)
    assert set(re.findall(r'\["(sumcheck[^"]*)"', text("lock.ts"))) == set(SUITES)
    assert words("manifest.ts", "export const SIDE_FILES") | {"model.onnx"} == set(SIDE_FILES)
    pairs = set(re.findall(r'\["(\.[a-z.-]+)", "([a-z0-9/.+-]+)"\]', text("manifest.ts")))
    assert pairs == set(MEDIA_TYPES.items())


def test_limits() -> None:
    mib = 2**20
    (limits,) = re.findall(r"LIMITS = \{ (.*) \} as const", text("source.ts"))
    found = {name: eval(value, {"MIB": mib}) for name, value in re.findall(r"(\w+): ([\w* ]+)", limits)}
    assert found == {
        "files": DEFAULT.files,
        "file": DEFAULT.file_bytes,
        "total": DEFAULT.total_bytes,
        "document": DEFAULT.document_bytes,
        "documents": DEFAULT.documents_bytes,
    }
    assert f"const MAX_FILES = {MAX_FILES};" in text("manifest.ts")
    assert f"MAX_STATED = {MAX_STATED};" in text("statement.ts") and f"MAX_COLUMNS = {MAX_COLUMNS};" in text("statement.ts")
    assert f'["proof.bin", {MAX_PROOF // mib} * MIB]' in text("verify.ts")
    assert f'["registration.bin", {MAX_RELATION // mib} * MIB]' in text("verify.ts")


def test_limits_of_a_circuit_s_bytes() -> None:
    """Also in the protocol's text."""
    source = (ROOT / "verifier-js" / "src" / "engine" / "codec.ts").read_text(encoding="utf-8")
    stated = {name: eval(value) for name, value in re.findall(r"const (MAX_\w+) = ([0-9* ]+);", source)}
    assert stated == {name: value for name, value in vars(codec).items() if name.startswith("MAX_")}
    page = (ROOT / "docs" / "engine" / "protocol.md").read_text(encoding="utf-8")
    assert f"{codec.MAX_TABLES:,} tables, of 2^{codec.MAX_TABLE_VALUES.bit_length() - 1} values together" in page
