"""ONNX by hand: control flow, sequences, functions, the attention operators of opset 23, and layouts of other frameworks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tools.coverage.build_onnx import Body, Writer, onnx_case
from tools.coverage.case import Case, Data, flags, integers, normal, pixels, uniform

ROUTE = "ONNX by hand"
X = normal(2, 6)
QKV = {"q": normal(1, 2, 4, 8), "k": normal(1, 2, 6, 8), "v": normal(1, 2, 6, 8)}
Spec = tuple[int, dict[str, Data], Body]
VI = helper.make_tensor_value_info
F32, I64, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _branch(name: str, nodes: Sequence[object], output: str, shape: Sequence[int | None] = (2, 6)) -> object:
    return helper.make_graph(nodes, name, [], [VI(output, F32, shape)])


def _if_constant(w: Writer) -> str:
    yes = _branch("yes", [helper.make_node("Relu", ["x"], ["a"])], "a")
    no = _branch("no", [helper.make_node("Neg", ["x"], ["b"])], "b")
    return str(w.add("If", w.const(True, "bool"), then_branch=yes, else_branch=no))


def _if_by_shape(w: Writer) -> str:
    yes = _branch("yes", [helper.make_node("Tanh", ["x"], ["a"])], "a")
    no = _branch("no", [helper.make_node("Neg", ["x"], ["b"])], "b")
    size = w.add("Gather", w.add("Shape", "x"), w.const(1, "int64"))
    return str(w.add("If", w.add("Equal", size, w.const(6, "int64")), then_branch=yes, else_branch=no))


def _if_by_data(w: Writer) -> str:
    yes = _branch("yes", [helper.make_node("Tanh", ["x"], ["a"])], "a")
    no = _branch("no", [helper.make_node("Neg", ["x"], ["b"])], "b")
    total = w.add("ReduceSum", "x", keepdims=0)
    return str(w.add("If", w.add("Greater", total, w.const(0.0)), then_branch=yes, else_branch=no))


def _loop(w: Writer) -> str:
    nodes = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node("Mul", ["state", "half"], ["less"]),
        helper.make_node("Add", ["less", "x"], ["next"]),
    ]
    half = numpy_helper.from_array(np.float32(0.5), "half")
    given = [VI("i", I64, []), VI("go", B, []), VI("state", F32, [2, 6])]
    body = helper.make_graph(nodes, "body", given, [VI("go_on", B, []), VI("next", F32, [2, 6])], [half])
    return str(w.add("Loop", w.const(3, "int64"), w.const(True, "bool"), "x", body=body))


def _scan(w: Writer) -> list[str]:
    nodes = [helper.make_node("Add", ["s", "row"], ["sum"]), helper.make_node("Tanh", ["sum"], ["out"])]
    body = helper.make_graph(
        nodes, "body", [VI("s", F32, [6]), VI("row", F32, [6])], [VI("sum", F32, [6]), VI("out", F32, [6])]
    )
    found: list[str] = w.add("Scan", w.const(np.zeros(6)), "x", count=2, body=body, num_scan_inputs=1)
    return found


def _sequence(w: Writer) -> str:
    parts = w.add("SplitToSequence", "x", w.const(2, "int64"), axis=1)
    return str(w.add("Add", w.add("SequenceAt", parts, w.const(0, "int64")), w.add("SequenceAt", parts, w.const(2, "int64"))))


def _sequence_concat(w: Writer) -> str:
    sequence = w.add("SequenceConstruct", "x", w.add("Relu", "x"))
    return str(w.add("ConcatFromSequence", sequence, axis=0))


def _optional(w: Writer) -> str:
    return str(w.add("OptionalGetElement", w.add("Optional", "x")))


def _function(w: Writer) -> str:
    nodes = [helper.make_node("Mul", ["a", "a"], ["b"]), helper.make_node("Tanh", ["b"], ["c"])]
    w.functions.append(helper.make_function("local", "Squash", ["a"], ["c"], nodes, [helper.make_opsetid("", 18)]))
    return str(w.add("Squash", w.add("Squash", "x", domain="local"), domain="local"))


def _shape_arithmetic(w: Writer) -> str:
    shape = w.add("Shape", "x")
    rows = w.add("Slice", shape, w.ints(0), w.ints(1))
    return str(w.add("Reshape", "x", w.add("Concat", rows, w.ints(2, -1), axis=0)))


def _nhwc(w: Writer) -> str:
    """As tf2onnx writes a convolution with channels last."""
    y = w.add(
        "Conv", w.add("Transpose", "x", perm=[0, 3, 1, 2]), w.weight(4, 3, 3, 3), w.weight(4), pads=[0, 0, 1, 1], strides=[2, 2]
    )
    y = w.add("Relu", w.add("Transpose", y, perm=[0, 2, 3, 1]))
    y = w.add("Mul", y, w.weight(4))
    y = w.add("ReduceMean", y, axes=[1, 2], keepdims=0)
    return str(w.add("Softmax", w.add("Add", w.add("MatMul", y, w.weight(4, 3)), w.weight(3)), axis=-1))


def _jax_like(w: Writer) -> str:
    """Attention as tracing a JAX program writes it: reshapes, transposes and einsums."""
    heads = [
        w.add("Reshape", w.add("Einsum", "x", w.weight(8, 8), equation="bsd,de->bse"), w.ints(1, 5, 2, 4)) for _ in range(3)
    ]
    scores = w.add("Einsum", heads[0], heads[1], equation="bqhd,bkhd->bhqk")
    scores = w.add("Mul", scores, w.const(0.5))
    top = w.add("ReduceMax", scores, axes=[-1], keepdims=1)
    e = w.add("Exp", w.add("Sub", scores, top))
    p = w.add("Div", e, w.add("ReduceSum", e, w.ints(-1), keepdims=1))
    y = w.add("Reshape", w.add("Einsum", p, heads[2], equation="bhqk,bkhd->bqhd"), w.ints(1, 5, 8))
    mean = w.add("ReduceMean", y, axes=[-1], keepdims=1)
    centred = w.add("Sub", y, mean)
    var = w.add("ReduceMean", w.add("Mul", centred, centred), axes=[-1], keepdims=1)
    return str(w.add("Mul", centred, w.add("Reciprocal", w.add("Sqrt", w.add("Add", var, w.const(1e-6))))))


def _lstm(w: Writer) -> list[str]:
    found: list[str] = w.add(
        "LSTM", "x", w.weight(2, 20, 4), w.weight(2, 20, 5), w.weight(2, 40), "", "", "", w.weight(2, 15), count=3, hidden_size=5,
        direction="bidirectional",
    )  # fmt: skip
    return found


def _gru(w: Writer) -> str:
    y = w.add("GRU", "x", w.weight(1, 15, 4), w.weight(1, 15, 5), "", "", "h", count=2, hidden_size=5, linear_before_reset=1)
    return str(y[1])


def _rnn(w: Writer) -> str:
    y = w.add(
        "RNN", "x", w.weight(1, 5, 4), w.weight(1, 5, 5), "", count=2, hidden_size=5, direction="reverse", activations=["Relu"]
    )
    return str(w.add("Squeeze", y[0], w.ints(1)))


def _lstm_clip(w: Writer) -> str:
    y = w.add(
        "LSTM",
        "x",
        w.weight(1, 20, 4),
        w.weight(1, 20, 5),
        count=3,
        hidden_size=5,
        activations=["HardSigmoid", "Tanh", "Tanh"],
        activation_alpha=[0.2],
        activation_beta=[0.5],
    )
    return str(y[0])


def _lengths(w: Writer) -> str:
    y = w.add("GRU", "x", w.weight(1, 15, 4), w.weight(1, 15, 5), "", "n", count=2, hidden_size=5)
    return str(y[0])


def _rotary(w: Writer) -> str:
    angles = np.arange(6)[:, None] * np.array([1.0, 0.1, 0.01, 0.001])
    return str(w.add("RotaryEmbedding", "x", w.const(np.cos(angles)), w.const(np.sin(angles)), "p"))


def _nms_detector(w: Writer) -> list[str]:
    """Raw boxes and scores of a detector, with the best taken by TopK instead of NonMaxSuppression."""
    best, at = w.add("TopK", w.add("Sigmoid", "s"), w.ints(3), count=2, axis=1)
    return [best, w.add("GatherND", "b", w.add("Unsqueeze", at, w.ints(2)), batch_dims=1)]


def _decoder(w: Writer) -> list[str]:
    present_k, present_v = w.add("Concat", "pk", "k", axis=2), w.add("Concat", "pv", "v", axis=2)
    return [w.add("Attention", "q", present_k, present_v), present_k, present_v]


def _specs() -> dict[str, Spec]:
    steps = {"x": normal(5, 1, 4)}
    return {
        "if-constant": (13, {"x": X}, _if_constant), "if-by-shape": (13, {"x": X}, _if_by_shape), "if-by-data": (13, {"x": X}, _if_by_data), "loop": (13, {"x": X}, _loop), "scan": (13, {"x": X}, _scan),
        "sequence-split": (13, {"x": X}, _sequence), "sequence-concat": (13, {"x": X}, _sequence_concat), "optional": (18, {"x": X}, _optional), "function": (18, {"x": X}, _function), "shape-arithmetic": (13, {"x": X}, _shape_arithmetic),
        "nhwc-tensorflow": (13, {"x": pixels(1, 8, 8, 3)}, _nhwc), "jax-attention": (13, {"x": normal(1, 5, 8)}, _jax_like), "lstm-peepholes": (14, steps, _lstm), "gru-state": (14, {**steps, "h": normal(1, 1, 5)}, _gru), "rnn-reverse-relu": (14, steps, _rnn), "lstm-hard-sigmoid": (14, steps, _lstm_clip),
        "gru-lengths": (14, {"x": normal(5, 2, 4), "n": integers(1, 6, 2, dtype="int32")}, _lengths), "rotary-23": (23, {"x": normal(1, 2, 4, 8), "p": integers(0, 6, 1, 4)}, _rotary),
        "attention-23": (23, dict(QKV), lambda w: w.add("Attention", "q", "k", "v")), "attention-23-causal": (23, dict(QKV), lambda w: w.add("Attention", "q", "k", "v", is_causal=1, scale=0.3)),
        "attention-23-softcap": (23, dict(QKV), lambda w: w.add("Attention", "q", "k", "v", softcap=5.0)), "attention-23-bool-mask": (23, {**QKV, "m": flags(4, 6)}, lambda w: w.add("Attention", "q", "k", "v", "m")),
        "attention-23-float-mask": (23, {**QKV, "m": normal(1, 1, 4, 6)}, lambda w: w.add("Attention", "q", "k", "v", "m")), "attention-23-3d": (23, {"q": normal(1, 4, 16), "k": normal(1, 6, 16), "v": normal(1, 6, 16)}, lambda w: w.add("Attention", "q", "k", "v", q_num_heads=2, kv_num_heads=2)),
        "attention-23-groups": (23, {"q": normal(1, 4, 4, 8), "k": normal(1, 2, 6, 8), "v": normal(1, 2, 6, 8)}, lambda w: w.add("Attention", "q", "k", "v")), "attention-23-past": (23, {"q": normal(1, 2, 1, 8), "k": normal(1, 2, 1, 8), "v": normal(1, 2, 1, 8), "pk": normal(1, 2, 3, 8), "pv": normal(1, 2, 3, 8)}, lambda w: w.add("Attention", "q", "k", "v", "", "pk", "pv", count=3)),
        "attention-cache-by-concat": (23, {"q": normal(1, 2, 1, 8), "k": normal(1, 2, 1, 8), "v": normal(1, 2, 1, 8), "pk": normal(1, 2, 3, 8), "pv": normal(1, 2, 3, 8)}, _decoder), "detector-topk": (13, {"b": uniform(0, 99, 1, 8, 4), "s": normal(1, 8)}, _nms_detector),
        "scalar-input": (13, {"x": normal()}, lambda w: w.add("Mul", w.add("Reshape", "x", w.ints(1)), w.weight(5))), "vector-only": (13, {"x": normal(6)}, lambda w: w.add("MatMul", "x", w.weight(6))), "input-is-output": (13, {"x": X}, lambda w: [w.add("Relu", "x"), w.add("Identity", "x")]),
        "five-axes": (13, {"x": normal(1, 2, 3, 2, 4)}, lambda w: w.add("Transpose", w.add("Softmax", "x", axis=2), perm=[4, 0, 2, 1, 3])), "large-values": (13, {"x": normal(2, 6, scale=1e6, mean=3e6)}, lambda w: w.add("MatMul", w.add("Mul", "x", w.const(1e-6)), w.weight(6, 2))), "tiny-values": (13, {"x": normal(2, 6, scale=1e-6)}, lambda w: w.add("Tanh", w.add("Mul", "x", w.const(1e6)))),
        "bytes-to-scores": (13, {"x": integers(0, 256, 1, 12, dtype="uint8")}, lambda w: w.add("Softmax", w.add("MatMul", w.add("Div", w.add("Cast", "x", to=1), w.const(255.0)), w.weight(12, 3)))), "label-from-scores": (13, {"x": X}, lambda w: [w.add("ArgMax", "x", axis=1), w.add("Softmax", "x")]), "label-by-table": (13, {"x": X}, lambda w: w.add("Gather", w.ints(7, 3, 9, 1, 0, 5), w.add("ArgMax", "x", axis=1, keepdims=0))),
        "dead-branch": (13, {"x": X}, lambda w: (w.add("Tanh", "x"), w.add("Relu", "x"))[1]), "qk-norm": (17, {"x": normal(1, 4, 8)}, lambda w: w.add("Div", "x", w.add("Clip", w.add("ReduceL2", "x", axes=[-1], keepdims=1), w.const(1e-12)))), "expanded-mask": (13, {"x": normal(1, 1, 4, 4), "m": lambda r, n: flags(1, 4)(r, n).astype("int64")}, _expanded_mask),
        "constant-of-shape": (13, {"x": X}, lambda w: w.add("Add", "x", w.add("ConstantOfShape", w.add("Shape", "x"), value=helper.make_tensor("v", F32, [1], [2.5])))), "softmax-by-hand": (13, {"x": normal(2, 6, scale=3)}, _softmax_by_hand), "gelu-by-hand": (13, {"x": X}, _gelu_by_hand), "hard-swish-by-hand": (13, {"x": X}, lambda w: w.add("Mul", "x", w.add("Div", w.add("Clip", w.add("Add", "x", w.const(3.0)), w.const(0.0), w.const(6.0)), w.const(6.0)))),
    }  # fmt: skip


def _softmax_by_hand(w: Writer) -> str:
    e = w.add("Exp", "x")
    return str(w.add("Div", e, w.add("ReduceSum", e, w.ints(1))))


def _gelu_by_hand(w: Writer) -> str:
    cube = w.add("Mul", w.add("Pow", "x", w.const(3.0)), w.const(0.044715))
    inner = w.add("Tanh", w.add("Mul", w.add("Add", "x", cube), w.const(0.7978845608)))
    return str(w.add("Mul", w.add("Mul", "x", w.const(0.5)), w.add("Add", inner, w.const(1.0))))


def _expanded_mask(w: Writer) -> str:
    """As Hugging Face's encoders turned a mask of ones and zeros into an addend."""
    real = w.add("Cast", w.add("Unsqueeze", "m", w.ints(1, 2)), to=1)
    addend = w.add("Mul", w.add("Sub", w.const(1.0), real), w.const(-3.4028235e38))
    first = w.add("Slice", w.add("Add", "x", addend), w.ints(0), w.ints(4), w.ints(3))
    return str(w.add("Softmax", first, axis=-1))


def cases() -> Sequence[Case]:
    """All of them."""
    return [onnx_case("hand", ROUTE, slug, opset, data, body) for slug, (opset, data, body) in _specs().items()]
