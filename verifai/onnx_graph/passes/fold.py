"""Evaluate one node on constants, with onnxruntime itself, so that folding can never disagree with the reference."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from verifai.onnx_graph.graph import Node, node_proto
from verifai.onnx_graph.limits import IR_VERSION, OPSET
from verifai.onnx_graph.refusal import refuse, words
from verifai.onnx_graph.runtime import RuntimeFailure, open_session
from verifai.onnx_graph.tensors import ELEMENT_TYPES, Array

_FOLDABLE = frozenset(
    words(
        "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd "
        "BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu Clip Compress Concat ConstantOfShape Cos Cosh CumSum "
        "DepthToSpace Div Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements "
        "GatherND Gemm Greater GreaterOrEqual HammingWindow HannWindow BlackmanWindow MelWeightMatrix "
        "HardSigmoid HardSwish Hardmax Identity IsInf IsNaN "
        "LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max Mean Min Mod "
        "Mul Neg NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape "
        "ReverseSequence Round ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh Slice Softmax "
        "Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK "
        "Transpose Trilu Unsqueeze Where Xor"
    )
)


def foldable(node: Node) -> bool:
    """Whether the node is evaluated when all its operands are constants: cheap, deterministic operators only."""
    return node.op_type in _FOLDABLE


def foldable_alone(node: Node, operands: dict[str, Array]) -> bool:
    """Whether it is folded because its operands are single numbers: one stored number, which no layer reads as its weights."""
    return node.op_type == "DequantizeLinear" and all(array.ndim == 0 for array in operands.values())


def evaluate(node: Node, operands: dict[str, Array]) -> dict[str, Array]:
    """Run one node. The caller has bounded the size of its outputs.

    Raises:
        UnsupportedModel: ``model-malformed`` when it cannot be evaluated. NaN and infinities are let through: what is left of
            them in the end is refused (:func:`.numbers.require_finite`), and often nothing is: relative positions of text
            encoders are chosen from logarithms of 0.
    """
    outputs = [name for name in node.outputs if name]
    proto = node_proto(node)
    graph = helper.make_graph(
        [proto],
        "fold",
        [helper.make_tensor_value_info(name, ELEMENT_TYPES[a.dtype], a.shape) for name, a in operands.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    if node.op_type in ("Div", "Mod") and _divides_by_zero(operands.get(node.inputs[1])):
        raise refuse("model-malformed", "an integer division by 0 or -1", node.where)
    try:
        arrays = open_session(model.SerializeToString()).run(outputs, operands)
    except RuntimeFailure as problem:
        raise refuse("model-malformed", f"it cannot be evaluated: {problem}", node.where) from None
    return {name: np.asarray(array) for name, array in zip(outputs, arrays, strict=True)}


def _divides_by_zero(divisor: Array | None) -> bool:
    """Zero, or −1, by which the smallest integer cannot be divided; either would end the process."""
    return divisor is not None and divisor.dtype.kind in "iu" and bool(((divisor == 0) | (divisor == -1)).any())
