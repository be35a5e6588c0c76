"""``[engine.ezkl]`` of ``circuit.lock``: everything that a verdict about an ezkl proof rests on.

The section embeds the SRS cut to k = 1, so verification needs no SRS file. Whether that SRS is the ceremony's is decided by its
points each time; the ``trust`` written here must agree, and is never believed alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from verifai.domain.digest import Sha256
from verifai.domain.fidelity import Fidelity, parse_fidelity
from verifai.domain.record import Record
from verifai.domain.statement import Role, Visibility, WeightVisibility
from verifai.engines.ezkl.parameters import CircuitParameters, CircuitVisibility
from verifai.engines.ezkl.settings import VERSION, Settings
from verifai.engines.ezkl.srs import file as srs_module
from verifai.engines.ezkl.srs.file import SrsTrust
from verifai.errors import EvidenceRejected, UsageError

WHERE = "circuit.lock: [engine.ezkl]"
_MAX_TRIED = 512


@dataclass(frozen=True, slots=True)
class PinnedTensor:
    """One input or output of the circuit.

    Attributes:
        shape: of the model's tensor. dtype: NumPy name.
        scale: log2 of the quantisation multiplier.
    """

    role: Role
    name: str
    shape: tuple[int, ...]
    dtype: str
    visibility: Visibility
    scale: int

    @property
    def instances(self) -> int:
        """How many instances of the proof belong to it: its cells, one digest, or none."""
        return {Visibility.PUBLIC: prod(self.shape), Visibility.HASHED: 1, Visibility.PRIVATE: 0}[self.visibility]


@dataclass(frozen=True, slots=True)
class PinnedSrs:
    """The set-up that keys and proofs rest on.

    Attributes:
        trust: as judged from ``verifier``, not as written.
        logrows, sha256: of the whole file that compile was given.
        verifier: the SRS cut to k = 1.
        cut_sha256: of that file cut to the circuit's own rows, which keys and proofs are made with; ``None`` when they are made
            with the file itself.
    """

    trust: SrsTrust
    logrows: int
    sha256: Sha256
    verifier: bytes
    cut_sha256: Sha256 | None = None

    @property
    def working_sha256(self) -> Sha256:
        """Of the SRS in the build folder."""
        return self.cut_sha256 or self.sha256


@dataclass(frozen=True, slots=True)
class LockSection:
    """The parsed section.

    Attributes:
        circuit_onnx_sha256: of the ONNX that ezkl compiled: the model after the rewrites.
        proof_bytes: exact size of every proof of this circuit.
        tensors: inputs before outputs, in the model's order: the order of the instances.
        tried: the tuner's table, as TOML values.
    """

    engine_version: str
    settings_sha256: Sha256
    vk_sha256: Sha256
    circuit_onnx_sha256: Sha256
    proof_bytes: int
    weights: WeightVisibility
    srs: PinnedSrs
    tensors: tuple[PinnedTensor, ...]
    parameters: CircuitParameters
    fidelity: Fidelity
    tried: tuple[Mapping[str, Any], ...]

    @property
    def instances(self) -> int:
        """How many instances every proof of this circuit has."""
        return sum(tensor.instances for tensor in self.tensors)

    @property
    def visibility(self) -> CircuitVisibility:
        """Of the inputs and of the outputs."""
        sides = {role: next(one.visibility for one in self.tensors if one.role is role) for role in Role}
        return CircuitVisibility(sides[Role.INPUT], sides[Role.OUTPUT])

    def to_toml(self) -> dict[str, Any]:
        """As TOML values; the inverse of :func:`parse_section`."""
        return {
            "engine_version": self.engine_version,
            "settings_sha256": self.settings_sha256,
            "vk_sha256": self.vk_sha256,
            "circuit_onnx_sha256": self.circuit_onnx_sha256,
            "proof_bytes": self.proof_bytes,
            "weights": self.weights.value,
            "srs": {
                "trust": self.srs.trust.value,
                "logrows": self.srs.logrows,
                "sha256": self.srs.sha256,
                **({} if self.srs.cut_sha256 is None else {"cut_sha256": self.srs.cut_sha256}),
                "verifier": self.srs.verifier.hex(),
            },
            "parameters": self.parameters.to_toml(),
            "fidelity": self.fidelity.to_document(),
            "tensors": [
                {
                    "role": tensor.role.value,
                    "name": tensor.name,
                    "shape": list(tensor.shape),
                    "dtype": tensor.dtype,
                    "visibility": tensor.visibility.value,
                    "scale": tensor.scale,
                }
                for tensor in self.tensors
            ],
            "tried": [dict(row) for row in self.tried],
        }


def parse_section(section: Mapping[str, Any], where: str = WHERE) -> LockSection:
    """Read the section.

    Raises:
        UsageError: code ``bad-lock``, with the field named: the lock is the verifier's own configuration.
    """
    record = Record(section, where, error=UsageError, code="bad-lock")
    parsed = LockSection(
        engine_version=record.text("engine_version", max_length=32),
        settings_sha256=record.sha256("settings_sha256"),
        vk_sha256=record.sha256("vk_sha256"),
        circuit_onnx_sha256=record.sha256("circuit_onnx_sha256"),
        proof_bytes=record.integer("proof_bytes", low=64, high=2**20),
        weights=record.choice("weights", WeightVisibility),
        srs=_srs(record.table("srs")),
        tensors=tuple(_tensor(item) for item in record.tables("tensors", max_length=128)),
        parameters=CircuitParameters.from_record(record.table("parameters")),
        fidelity=parse_fidelity(record.table("fidelity")),
        tried=record.array("tried", _row(record), [], max_length=_MAX_TRIED),
    )
    record.done()
    if parsed.weights in (WeightVisibility.COMMITTED, WeightVisibility.PRIVATE):
        raise record.refuse("ezkl circuits fix their weights, they neither commit to them nor hide them", "weights")
    for role in Role:
        kinds = {tensor.visibility for tensor in parsed.tensors if tensor.role is role}
        if len(kinds) != 1:
            raise record.refuse(f"expected {role.value}s of one visibility", "tensors")
    if parsed.srs.cut_sha256 is not None and parsed.srs.logrows <= parsed.parameters.logrows:
        raise record.refuse("an SRS without rows to spare has no cut", "srs")
    roles = [tensor.role for tensor in parsed.tensors]
    if roles != sorted(roles, key=list(Role).index):
        raise record.refuse("inputs come before outputs", "tensors")
    _check_columns(record, parsed)
    if parsed.instances == 0:
        raise record.refuse("a circuit without instances binds nothing", "tensors", "Make a tensor public or hashed.")
    return parsed


def _check_columns(record: Record, parsed: LockSection) -> None:
    """Columns belong to inputs that are one row each, in the tensors' order: one circuit, one spelling."""
    rows = {
        tensor.name: tensor.shape[-1]
        for tensor in parsed.tensors
        if tensor.role is Role.INPUT and tensor.dtype == "float32" and tensor.shape and prod(tensor.shape) == tensor.shape[-1]
    }
    given = [one.tensor for one in parsed.parameters.columns]
    if given != [name for name in rows if name in given]:
        raise record.refuse("columns belong to inputs that are one row each, in their order", "parameters.columns")
    for one in parsed.parameters.columns:
        if len(one.columns) != rows[one.tensor]:
            message = f"{len(one.columns)} columns for a row of {rows[one.tensor]}, tensor {one.tensor!r}"
            raise record.refuse(message, "parameters.columns")


def check_settings(section: LockSection, settings: Settings) -> None:
    """Pinned digests make the settings genuine; this makes the section agree with them.

    Raises:
        EvidenceRejected: code ``settings-mismatch``.
    """
    inputs = tuple(tensor for tensor in section.tensors if tensor.role is Role.INPUT)
    outputs = tuple(tensor for tensor in section.tensors if tensor.role is Role.OUTPUT)
    public = tuple(tensor.shape for tensor in section.tensors if tensor.visibility is Visibility.PUBLIC)
    hashed = sum(tensor.visibility is Visibility.HASHED for tensor in section.tensors)
    pairs = {
        "run_args.input_visibility": (settings.inputs, section.visibility.inputs),
        "run_args.output_visibility": (settings.outputs, section.visibility.outputs),
        "model_input_scales": (settings.input_scales, tuple(tensor.scale for tensor in inputs)),
        "model_output_scales": (settings.output_scales, tuple(tensor.scale for tensor in outputs)),
        "model_instance_shapes": (tuple(map(prod, settings.instance_shapes)), tuple(map(prod, public))),
        "module_sizes": (settings.poseidon_instances, hashed),
        "run_args.logrows": (settings.logrows, section.parameters.logrows),
        "run_args.lookup_range": (settings.lookup_range, (section.parameters.lookup_low, section.parameters.lookup_high)),
        **{f"run_args.{name}": (value, getattr(section.parameters, name)) for name, value in settings.tuning.items()},
    }
    for name, (found, pinned) in pairs.items():
        if found != pinned:
            raise EvidenceRejected(
                "settings-mismatch",
                f"the settings say {str(found)[:80]}, the lock pins {str(pinned)[:80]}",
                where=f"settings.json.{name}",
            )


def _srs(record: Record) -> PinnedSrs:
    text = record.text("verifier", pattern=rf"[0-9a-f]{{{2 * srs_module.VERIFIER_BYTES}}}")
    verifier = bytes.fromhex(text)
    try:
        trust = srs_module.judge_verifier_srs(verifier, f"{record.where}.verifier")
    except EvidenceRejected as problem:
        raise record.refuse(problem.message, "verifier") from None
    if record.choice("trust", SrsTrust) is not trust:
        raise record.refuse(f"the points of this SRS are {trust.value}", "trust")
    cut = record.sha256("cut_sha256") if record.has("cut_sha256") else None
    srs = PinnedSrs(trust, record.integer("logrows", low=1, high=26), record.sha256("sha256"), verifier, cut)
    record.done()
    return srs


def _tensor(record: Record) -> PinnedTensor:
    tensor = PinnedTensor(
        role=record.choice("role", Role),
        name=record.text("name", max_length=256),
        shape=record.integers("shape", low=1, high=2**20, max_length=8),
        dtype=record.text("dtype", pattern=r"float32|int32|int64"),
        visibility=record.choice("visibility", Visibility),
        scale=record.integer("scale", low=-120, high=120),
    )
    record.done()
    if prod(tensor.shape) > 2**20:
        raise record.refuse("too many cells", "shape")
    return tensor


def _row(record: Record) -> Any:
    def row(value: Any, place: str) -> Mapping[str, Any]:
        scalars = isinstance(value, Mapping) and len(value) <= 64
        if not scalars or not all(isinstance(item, str | int | float | bool) for item in value.values()):
            raise record.refuse(f"expected a table of plain values at {place}", "tried")
        return dict(value)

    return row


def expect_version(section: LockSection) -> None:
    """Proofs and keys only mean something to the release that made them.

    Raises:
        UsageError: code ``engine-version``.
    """
    if section.engine_version != VERSION:
        raise UsageError(
            "engine-version",
            f"the lock pins ezkl {section.engine_version}, this verifai works with {VERSION}",
            where=f"{WHERE}.engine_version",
            hint="Use the verifai release that the lock was made with, or compile again.",
        )
