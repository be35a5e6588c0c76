"""What ``verifai check`` says about a model before any cost: which nodes ezkl proves, and what the circuit will take."""

from __future__ import annotations

import onnx

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.statement import Visibility
from verifai.engines.ezkl.cost.flow import Cells, Scales, count, flow
from verifai.engines.ezkl.cost.model import MAX_INNER_COLUMNS, CircuitCost, CircuitSize, predict
from verifai.engines.ezkl.cost.operators import GraphFacts, support
from verifai.engines.ezkl.rewrites import registry as rewrites
from verifai.engines.interface import CostEstimate, OperatorSupport
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

ASSUMED_INPUT_SCALE = 6
ASSUMED_PARAMETER_SCALE = 8
ASSUMED_VALUE_BITS = 6
"""Without data, inner values are taken to stay below 2^6; the tuner measures them."""
MAX_LOGROWS = 24
_BASIS = (
    "cell counts per node and column counts of ezkl 23.0.5, scales 6 and 8, best graph rewrite and layout; times on two cores "
    "of the reference machine"
)


def operator_support(model: OnnxModel) -> tuple[OperatorSupport, ...]:
    """One entry per node, in the graph's order."""
    proto = model.proto
    facts = GraphFacts.of(proto)
    return tuple(support(node, facts) for node in proto.graph.node)


def estimate(model: OnnxModel, spec: CircuitSpec) -> CostEstimate:
    """The cost of the circuit that the tuner is likely to choose, from the graph alone.

    Raises:
        UnsupportedModel: code ``operator-unsupported``, or ``circuit-too-large`` beyond 2^24 rows.
    """
    for node in operator_support(model):
        if not node.supported:
            raise UnsupportedModel(
                "operator-unsupported",
                f"ezkl cannot prove {node.op_type}: {node.reason}",
                where=node.node,
                hint=node.suggestion,
            )
    limit = min(spec.budget.max_logrows or MAX_LOGROWS, MAX_LOGROWS)
    best = _best(model, spec, limit) or _best(model, spec, MAX_LOGROWS)
    if best is None:
        raise UnsupportedModel(
            "circuit-too-large",
            f"the circuit needs more than 2^{MAX_LOGROWS} rows",
            hint="Split the model, or use the sumcheck engine.",
        )
    return CostEstimate(
        rows=best.rows,
        size_log2=best.logrows,
        memory_bytes=best.memory_bytes,
        key_bytes=best.key_bytes,
        proof_bytes=best.proof_bytes,
        setup_seconds=best.setup_seconds,
        prove_seconds=best.prove_seconds,
        basis=_BASIS,
    )


def _best(model: OnnxModel, spec: CircuitSpec, max_logrows: int) -> CircuitCost | None:
    best: CircuitCost | None = None
    forms = dict.fromkeys(rewrites.apply(model.data, names) for names in rewrites.PLANS)
    for form in forms:
        proto = onnx.ModelProto.FromString(form)
        for multiplier in (1, 3, 10):
            run = flow(proto, Scales(ASSUMED_INPUT_SCALE, ASSUMED_PARAMETER_SCALE, multiplier))
            bits = max(run.scales[name] for name in run.checked) + ASSUMED_VALUE_BITS
            counted: dict[tuple[int, int], Cells] = {}  # many sizes share one count, which reads the whole graph
            for inner in range(1, MAX_INNER_COLUMNS + 1):
                for logrows in range(8, max_logrows + 1):
                    legs = -(-bits // (logrows - 1))
                    if legs > 6:
                        continue
                    if (legs, inner) not in counted:
                        counted[legs, inner] = count(proto, run, legs, inner)
                    cells = counted[legs, inner]
                    size = CircuitSize(
                        cells=cells.main,
                        range_rows=2 ** (logrows - 1),
                        einsum_cells=cells.einsum,
                        einsum_longest=cells.einsum_longest,
                        shuffles=cells.shuffles,
                        lookups=cells.lookups,
                        lookup_rows=2 ** (max(run.scales.values()) + ASSUMED_VALUE_BITS) if cells.lookups else 0,
                        hashed_cells=_cells_of(model, spec, Visibility.HASHED),
                        instances=_cells_of(model, spec, Visibility.PUBLIC),
                    )
                    cost = predict(size, logrows, inner)
                    if cost is not None and (best is None or cost.rank < best.rank):
                        best = cost
    return best


def _cells_of(model: OnnxModel, spec: CircuitSpec, visibility: Visibility) -> int:
    tensors = (*model.inputs, *model.outputs)
    return sum(tensor.size for tensor in tensors if spec.tensors.get(tensor.name, Visibility.PUBLIC) is visibility)
