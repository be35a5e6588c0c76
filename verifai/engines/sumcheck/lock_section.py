"""``[engine.sumcheck]`` of ``circuit.lock``: everything that a verdict about a sumcheck proof rests on.

The circuit's digest fixes program, shapes, tables, scales and suite; the weights' identity fixes the weights. The scales are
pinned too, so that an auditor lowers the model again without calibration data and compares bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifai.domain.counting import LABELS, RIGHT, PinnedCount, count_from_record
from verifai.domain.digest import Sha256
from verifai.domain.fidelity import Fidelity, parse_fidelity
from verifai.domain.record import Record
from verifai.domain.statement import Role, Visibility, WeightVisibility
from verifai.engines.sumcheck.circuit.batch import MAX_BATCH, MIN_BATCH
from verifai.engines.sumcheck.circuit.check import MAX_OPENINGS
from verifai.engines.sumcheck.protocol.suite import SUITES
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Scale, parse_options, parse_scale
from verifai.errors import UsageError

WHERE = "circuit.lock: [engine.sumcheck]"


@dataclass(frozen=True, slots=True)
class PinnedTensor:
    """One model input or output, in the circuit's order; shape as in the model.

    Attributes:
        stored: as :attr:`verifai.domain.statement.TensorStatement.stored`.
    """

    role: Role
    name: str
    shape: tuple[int, ...]
    visibility: Visibility
    stored: bool = False


@dataclass(frozen=True, slots=True)
class LockSection:
    """The parsed section.

    Attributes:
        suite: protocol suite; proofs of another one mean nothing here.
        weights_sha256: digest of the weight blob, or the commitment root, in hex; of private weights, a hiding root.
        opening_budget: how many proofs may open that root; 0 unless the weights are private.
        batch: how many inferences one proof takes; 0 where it is of one.
        count_right: over which samples a proof counts right answers; ``None`` where it counts none. The tensors then have the
            samples as their first axis, and the last input and the last output are the labels and the count.
        soundness_millibits: strength of the weakest step, in thousandths of a bit.
        scales: by ONNX value, those that the lowering used.
    """

    suite: str
    circuit_sha256: Sha256
    weights: WeightVisibility
    weights_sha256: Sha256
    soundness_millibits: int
    tensors: tuple[PinnedTensor, ...]
    options: QuantiserOptions
    scales: Mapping[str, Scale]
    fidelity: Fidelity
    opening_budget: int = 0
    batch: int = 0
    count_right: PinnedCount | None = None

    def to_toml(self) -> dict[str, Any]:
        """As TOML values; the inverse of :func:`parse_section`."""
        return {
            "suite": self.suite,
            "circuit_sha256": self.circuit_sha256,
            "weights": self.weights.value,
            "weights_sha256": self.weights_sha256,
            **({"opening_budget": self.opening_budget} if self.opening_budget else {}),
            **({"batch": self.batch} if self.batch else {}),
            **({"count_right": self.count_right.to_document()} if self.count_right else {}),
            "soundness_millibits": self.soundness_millibits,
            "tensors": [
                {
                    "role": tensor.role.value,
                    "name": tensor.name,
                    "shape": list(tensor.shape),
                    "visibility": tensor.visibility.value,
                    **({"stored": True} if tensor.stored else {}),
                }
                for tensor in self.tensors
            ],
            "options": self.options.to_document(),
            "fidelity": self.fidelity.to_document(),
            "scales": [{"value": name, **scale.to_document()} for name, scale in sorted(self.scales.items())],
        }


def parse_section(section: Mapping[str, Any], where: str = WHERE) -> LockSection:
    """Read the section.

    Raises:
        UsageError: code ``bad-lock``, with the field named: the lock is the verifier's own configuration.
    """
    record = Record(section, where, error=UsageError, code="bad-lock")
    parsed = LockSection(
        suite=record.text("suite", max_length=64),
        circuit_sha256=record.sha256("circuit_sha256"),
        weights=record.choice("weights", WeightVisibility),
        weights_sha256=record.sha256("weights_sha256"),
        soundness_millibits=record.integer("soundness_millibits", low=0, high=1_000_000),
        tensors=tuple(_tensor(item) for item in record.tables("tensors", max_length=512)),
        options=parse_options(record.table("options"), pinned=True),
        scales=dict(parse_scale(item) for item in record.tables("scales")),
        fidelity=parse_fidelity(record.table("fidelity")),
        opening_budget=record.integer("opening_budget", 0, low=0, high=MAX_OPENINGS),
        batch=record.integer("batch", 0, low=MIN_BATCH, high=MAX_BATCH),
        count_right=count_from_record(record.table("count_right")) if record.has("count_right") else None,
    )
    record.done()
    known = SUITES.get(parsed.suite)
    hides = known is not None and known.zero_knowledge
    if parsed.weights is WeightVisibility.WITHHELD or (parsed.weights is WeightVisibility.COMMITTED and hides):
        raise record.refuse("sumcheck weights are public, or committed, or, in the zero-knowledge suite, private", "weights")
    if parsed.weights is WeightVisibility.PRIVATE and not hides:
        raise record.refuse("this suite hides nothing, so no weights are private", "weights")
    if (parsed.opening_budget > 0) != (parsed.weights is WeightVisibility.PRIVATE):
        raise record.refuse("exactly private weights have an opening budget", "opening_budget")
    sides = {role: {one.name for one in parsed.tensors if one.role is role} for role in Role}
    given = sides[Role.INPUT] - sides[Role.OUTPUT]
    if any(scale.ordered and name not in given for name, scale in parsed.scales.items()):
        raise record.refuse("only inputs are the integers of float32 numbers", "scales")
    if not hides and any(tensor.visibility is Visibility.PRIVATE for tensor in parsed.tensors):
        raise record.refuse("this suite hides nothing, so no tensor is private", "tensors")
    for role in Role:  # else what is said of one by its name would be said of another, or of none
        names = [one.name for one in parsed.tensors if one.role is role]
        if len(set(names)) < len(names):
            raise record.refuse(f"two {role.value}s have one name", "tensors")
    if parsed.count_right is not None:
        _require_count(record, parsed, parsed.count_right)
    return parsed


def _require_count(record: Record, parsed: LockSection, count: PinnedCount) -> None:
    """Labels and count where they belong, of the shapes that follow, and every other output hidden.

    No other tensor has the name of one of them: it would be taken for it, and matched with no data set.
    """
    inputs = [one for one in parsed.tensors if one.role is Role.INPUT]
    outputs = [one for one in parsed.tensors if one.role is Role.OUTPUT]
    items = count.items
    labels = PinnedTensor(Role.INPUT, LABELS, (items, *count.label_shape), Visibility.PUBLIC)
    right = PinnedTensor(Role.OUTPUT, RIGHT, (1,), Visibility.PUBLIC)
    fits = (
        parsed.batch == 0
        and inputs[-1:] == [labels]
        and outputs[-1:] == [right]
        and not {one.name for one in (*inputs[:-1], *outputs[:-1])} & {LABELS, RIGHT}
        and count.answer in {one.name for one in outputs[:-1]}
        and all(one.visibility is not Visibility.PUBLIC for one in outputs[:-1])
        and all(one.shape[:1] == (items,) for one in (*inputs, *outputs[:-1]))
    )
    if not fits:
        raise record.refuse("the tensors are not those of a circuit that counts right answers", "count_right")


def expect_suite(section: LockSection) -> None:
    """Refuse a section of another suite. Raises UsageError (``engine-version``)."""
    if section.suite not in SUITES:
        raise UsageError(
            "engine-version",
            f"the lock pins suite {section.suite!r}, this release speaks {', '.join(SUITES)}",
            where=f"{WHERE}.suite",
            hint="Use the release that made the lock, or compile again.",
        )


def _tensor(record: Record) -> PinnedTensor:
    tensor = PinnedTensor(
        record.choice("role", Role),
        record.text("name", max_length=512),
        record.integers("shape", low=1, high=2**28, max_length=8),
        record.choice("visibility", Visibility),
        record.flag("stored", False),
    )
    record.done()
    return tensor
