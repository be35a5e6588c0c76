"""The bill of materials of a bundle: CycloneDX 1.6 with the model as a component (digest, fidelity).

It is written with cyclonedx-python-lib and checked without it: everything in it except the versions of the packages that were
installed follows from the circuit attestation and the manifest, so it is composed again and compared whole.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from verifai.bundle import canonical
from verifai.domain import strict_json
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.manifest import SBOM_FILE
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.statement import Role, Statement, TensorStatement
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected, InternalError, UsageError
from verifai.execution.packages import install_hint

MAX_SBOM_BYTES = 4 * 1024 * 1024
_WHERE = f"payload/{SBOM_FILE}"
_NAMESPACE = uuid.UUID("6f1c2b1e-6f0b-5d6f-9a33-2f6a4f0e9f11")  # of our serial numbers; arbitrary, fixed for ever
_RUNTIME = ("verifai", "onnx", "onnxruntime", "numpy", "cryptography")


def require_sbom_package() -> None:
    """Raises UsageError (``extra-missing``), when cyclonedx-python-lib is not installed."""
    try:
        import cyclonedx.output.json  # noqa: F401
        import packageurl  # noqa: F401
    except ImportError:
        raise UsageError("extra-missing", "cyclonedx-python-lib is not installed", hint=install_hint()) from None


def make_sbom(
    circuit: CircuitPredicate, created: str, files: Mapping[str, Sha256], statement: Statement | None = None
) -> bytes:
    """The SBOM of evidence about ``circuit``, in RFC 8785 form. Equal arguments on an equal installation give equal bytes.

    Args:
        created: UTC, such as ``2026-01-31T23:59:59Z``; that of the proof.
        files: the other payload files, by name.
        statement: what is proven; with it the model has a model card, which names its quantisation.

    Raises:
        UsageError: code ``extra-missing``, when cyclonedx-python-lib is not installed.
    """
    require_sbom_package()
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    def digest(value: str) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=value)]

    packages = _installed()
    bom = Bom(serial_number=_serial(circuit, created))
    bom.metadata.timestamp = parse_utc(created)
    model = Component(
        name=circuit.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        version=circuit.model_sha256[:12],
        bom_ref="model",
        hashes=digest(circuit.model_sha256),
        properties=[Property(name=name, value=value) for name, value in _properties(circuit).items()],
    )
    bom.metadata.component = model
    libraries = {"engine": (circuit.engine.value, circuit.engine_version)}
    libraries |= {f"package:{name}": (name, version) for name, version in packages.items()}
    components = {
        ref: Component(
            name=name,
            type=ComponentType.LIBRARY,
            version=version,
            bom_ref=ref,
            purl=PackageURL(type="pypi", name=name, version=version) if _is_package(name) else None,
        )
        for ref, (name, version) in libraries.items()
    }
    for ref, (name, value) in _digests(circuit, files).items():
        components[ref] = Component(name=name, type=ComponentType.FILE, bom_ref=ref, hashes=digest(value))
    for component in components.values():
        bom.components.add(component)
    bom.register_dependency(model, [components["circuit"], components["engine"]])
    bom.register_dependency(components["engine"], [components[f"package:{name}"] for name in packages])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library orders lists by several fields; one field is a rule that a reader can follow.
    document["components"].sort(key=lambda one: one["bom-ref"])
    document["dependencies"].sort(key=lambda one: one["ref"])
    if statement is not None:  # the library has no model cards yet: its document gets the one that readers compose, too
        document["metadata"]["component"]["modelCard"] = model_card(circuit, statement)
    if document != _compose(circuit, created, files, packages, statement):
        raise InternalError("bug", "cyclonedx-python-lib writes another document than this release expects")
    return canonical.encode(document)


def check_sbom(
    data: bytes, circuit: CircuitPredicate, created: str, files: Mapping[str, Sha256], statement: Statement | None = None
) -> dict[str, str]:
    """Check that an SBOM is the one of this evidence. Older ones have no model card; one that is there is compared.

    Returns:
        The part that cannot be recomputed and stays a claim: the packages that were installed, with their versions.

    Raises:
        EvidenceRejected: ``malformed``, ``not-canonical`` or ``sbom-mismatch``.
    """
    document = strict_json.loads(data, where=_WHERE, max_bytes=MAX_SBOM_BYTES)
    root = Record(document, _WHERE)
    canonical.require(data, document, _WHERE)
    packages = _claimed_packages(root)
    expected = _compose(circuit, created, files, packages, statement if _has_card(document) else None)
    for name in sorted(set(expected) | set(document)):
        if document.get(name) != expected.get(name):
            raise EvidenceRejected(
                "sbom-mismatch",
                f"the bill of materials does not fit the evidence in {name!r}",
                where=_WHERE,
                hint="It was written for other evidence, or edited.",
            )
    return packages


def _has_card(document: Any) -> bool:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    component = metadata.get("component") if isinstance(metadata, dict) else None
    return isinstance(component, dict) and "modelCard" in component


def model_card(circuit: CircuitPredicate, statement: Statement) -> dict[str, Any]:
    """CycloneDX's model card: inputs and outputs with their quantisation, and the measured fidelity."""
    properties = {
        "verifai:quantisation:engine": f"{circuit.engine.value} {circuit.engine_version}",
        "verifai:quantisation:section_sha256": circuit.section_sha256,
        **{f"verifai:pin:{name}": value for name, value in circuit.pins.items()},
    }
    sides: dict[Role, list[dict[str, str]]] = {Role.INPUT: [], Role.OUTPUT: []}
    for tensor in statement.tensors:
        sides[tensor.role].append({"format": _format(tensor)})
    card: dict[str, Any] = {
        "bom-ref": "model-card",
        "modelParameters": {"inputs": sides[Role.INPUT], "outputs": sides[Role.OUTPUT]},
        "properties": [{"name": name, "value": value} for name, value in sorted(properties.items())],
    }
    fidelity = circuit.fidelity
    if fidelity is not None:
        metrics = [
            {"type": "largest absolute error", "value": f"{float(fidelity.max_abs_error):.17g}"},
            {"type": "mean absolute error", "value": f"{float(fidelity.mean_abs_error):.17g}"},
        ]
        if fidelity.top1_matches is not None:
            metrics.append({"type": "decisions that agree", "value": f"{fidelity.top1_matches}/{fidelity.samples}"})
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _format(tensor: TensorStatement) -> str:
    """One tensor in words: an input's integers, and what they stand for."""
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    scale = "one scale per column" if tensor.columns else f"scale {tensor.scale}, zero point {tensor.zero_point}"
    return f"{tensor.name}: {shape}, {tensor.visibility.value}, {tensor.encoding.value} integers, {scale}"


def _claimed_packages(root: Record) -> dict[str, str]:
    packages: dict[str, str] = {}
    for item in root.tables("components", max_length=4096):
        ref = item.text("bom-ref", max_length=256)
        if ref.startswith("package:"):
            packages[item.text("name", max_length=128)] = item.text("version", pattern=r"[0-9A-Za-z.+!_-]{1,64}")
    return packages


def _compose(
    circuit: CircuitPredicate,
    created: str,
    files: Mapping[str, Sha256],
    packages: Mapping[str, str],
    statement: Statement | None,
) -> dict[str, Any]:
    """The document, from what is known about the evidence; components and dependencies in ascending order of reference."""

    def library(ref: str, name: str, version: str) -> dict[str, Any]:
        found = {"bom-ref": ref, "name": name, "type": "library", "version": version}
        return found | ({"purl": f"pkg:pypi/{name}@{version}"} if _is_package(name) else {})

    def hashes(value: str) -> list[dict[str, str]]:
        return [{"alg": "SHA-256", "content": value}]

    model: dict[str, Any] = {
        "bom-ref": "model",
        "hashes": hashes(circuit.model_sha256),
        "name": circuit.name,
        "properties": [{"name": name, "value": value} for name, value in sorted(_properties(circuit).items())],
        "type": "machine-learning-model",
        "version": circuit.model_sha256[:12],
    }
    if statement is not None:
        model["modelCard"] = model_card(circuit, statement)
    components = [library("engine", circuit.engine.value, circuit.engine_version)]
    components += [library(f"package:{name}", name, version) for name, version in packages.items()]
    for ref, (name, value) in _digests(circuit, files).items():
        components.append({"bom-ref": ref, "hashes": hashes(value), "name": name, "type": "file"})
    depends = {"model": ["circuit", "engine"], "engine": sorted(f"package:{name}" for name in packages)}
    references = sorted(["model", *(one["bom-ref"] for one in components)])
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "components": sorted(components, key=lambda one: str(one["bom-ref"])),
        "dependencies": [{"ref": ref} | ({"dependsOn": depends[ref]} if depends.get(ref) else {}) for ref in references],
        "metadata": {"component": model, "timestamp": parse_utc(created).isoformat()},
        "serialNumber": _serial(circuit, created).urn,
        "specVersion": "1.6",
        "version": 1,
    }


def _digests(circuit: CircuitPredicate, files: Mapping[str, Sha256]) -> dict[str, tuple[str, str]]:
    found = {f"file:{name}": (name, str(value)) for name, value in files.items()}
    return {"circuit": (f"{circuit.name} circuit", circuit.circuit_sha256), **found}


def _serial(circuit: CircuitPredicate, created: str) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, f"{circuit.section_sha256} {created}")


def _properties(circuit: CircuitPredicate) -> dict[str, str]:
    values = {"verifai:engine": circuit.engine.value, "verifai:weights": circuit.weights.value}
    if circuit.insecure:
        values["verifai:insecure"] = ", ".join(circuit.insecure)
    fidelity = circuit.fidelity
    if fidelity is not None:
        values["verifai:fidelity:samples"] = str(fidelity.samples)
        values["verifai:fidelity:max_abs_error"] = f"{float(fidelity.max_abs_error):.17g}"
        values["verifai:fidelity:mean_abs_error"] = f"{float(fidelity.mean_abs_error):.17g}"
        if fidelity.agreement is not None:
            values["verifai:fidelity:top1_agreement"] = "{}/{}".format(*fidelity.agreement)
    return values


def _is_package(name: str) -> bool:
    # verifai and its own engine are this program, not packages of an index; the index has strangers under such names.
    return name not in {"verifai", "sumcheck"}


def _installed() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _RUNTIME:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # not part of this installation, so not part of what made the evidence
            continue
    return found
