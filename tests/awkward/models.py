"""Awkward models, made by code: what people and exporters really hand over, and what an attacker might.

Each maker returns the bytes of one file; a few write files beside it. They are sound models that go too far, broken ones, and
files that are no models. ``tests/awkward/make_page.py`` shows what a user is told about each.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_builders import model, node, weights

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Maker = Callable[[Path], bytes]


@dataclass(frozen=True)
class Awkward:
    """One model: a name for the table, what is awkward about it, and how it is made. ``file``: its name.

    ``only_check``: init and compile of it take minutes, and refuse nothing."""

    slug: str
    about: str
    make: Maker
    file: str = "m.onnx"
    only_check: bool = False


ALL: list[Awkward] = []


def _awkward(about: str, file: str = "m.onnx", only_check: bool = False) -> Callable[[Maker], Maker]:
    def register(make: Maker) -> Maker:
        ALL.append(Awkward(make.__name__.strip("_").replace("_", "-"), about, make, file, only_check))
        return make

    return register


def _bytes(proto: onnx.ModelProto) -> bytes:
    return bytes(proto.SerializeToString())


def _one(op_type: str, constants: Mapping[str, Any] | None = None, *, more: tuple[str, ...] = (), **options: Any) -> bytes:
    """One node that reads ``x`` and the constants."""
    settings = {key: options.pop(key) for key in ("inputs", "input_type", "opset", "ir", "domains") if key in options}
    arrays = {name: np.asarray(array) for name, array in (constants or {}).items()}
    return _bytes(model([node(op_type, ["x", *arrays, *more], **options)], arrays, **settings))


def _body(nodes: list[onnx.NodeProto], carried: str, out: str) -> onnx.GraphProto:
    """A loop body that hands one float32 tensor of shape (1, 4) on."""
    return helper.make_graph(
        [*nodes, helper.make_node("Identity", ["go_in"], ["go"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info(carried, FLOAT, [1, 4]),
        ],
        [helper.make_tensor_value_info("go", TensorProto.BOOL, []), helper.make_tensor_value_info(out, FLOAT, [1, 4])],
    )


def _loop(trips: np.ndarray[Any, Any] | None) -> bytes:
    body = _body([helper.make_node("Relu", ["c"], ["d"])], "c", "d")
    constants = {"go": np.array(True)} if trips is None else {"trips": trips, "go": np.array(True)}
    inputs: dict[str, Any] = {"x": (1, 4)}
    built = model([node("Loop", ["trips", "go", "x"], body=body)], constants, inputs=inputs)
    if trips is None:
        built.graph.input.append(helper.make_tensor_value_info("trips", INT64, []))
    return _bytes(built)


def _if(deep: int) -> onnx.NodeProto:
    """Branches in branches, all decided by data."""

    def branch(level: int, side: str) -> onnx.GraphProto:
        out = f"{side}{level}"
        inner = [helper.make_node("Relu", ["x"], [out])] if level == 0 else [_nested(level, out)]
        return helper.make_graph(inner, out, [], [helper.make_tensor_value_info(out, FLOAT, [1, 4])])

    def _nested(level: int, out: str) -> onnx.NodeProto:
        return helper.make_node(
            "If", ["c"], [out], then_branch=branch(level - 1, f"{out}t"), else_branch=branch(0, f"{out}e"), name=f"if-{out}"
        )

    return _nested(deep, "y")


@_awkward("every axis is open")
def _open_axes(_: Path) -> bytes:
    return _one("Relu", inputs={"x": ("batch", "height", "width")})


@_awkward("an axis is written as −1")
def _minus_one_axis(_: Path) -> bytes:
    return _one("Relu", inputs={"x": (1, -1, 4)})


@_awkward("an axis is −7")
def _negative_axis(_: Path) -> bytes:
    return _one("Relu", inputs={"x": (1, -7)})


@_awkward("an axis is 0: a tensor without a value")
def _zero_axis(_: Path) -> bytes:
    return _one("Relu", inputs={"x": (0, 4)})


@_awkward("an axis of 2^62")
def _huge_axis(_: Path) -> bytes:
    return _one("Relu", inputs={"x": (1, 2**62)})


@_awkward("the input has no shape at all")
def _no_shape(_: Path) -> bytes:
    built = model([node("Relu", ["x"])])
    built.graph.input[0].type.tensor_type.ClearField("shape")
    return _bytes(built)


@_awkward("a shape that depends on the data (NonZero)")
def _data_dependent_shape(_: Path) -> bytes:
    nodes = [node("NonZero", ["x"], ["n"]), node("Cast", ["n"], to=FLOAT)]
    return _bytes(model(nodes))


@_awkward("shapes that contradict the declared output")
def _contradicting_output(_: Path) -> bytes:
    built = model([node("Relu", ["x"])])
    built.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, [3, 3]))
    return _bytes(built)


@_awkward("operands whose shapes do not fit")
def _contradicting_operands(_: Path) -> bytes:
    return _one("MatMul", {"w": weights(5, 3)})


@_awkward("a branch that data decide (If)")
def _if_by_data(_: Path) -> bytes:
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "zero"], ["c"]),
        _if(1),
    ]
    return _bytes(model(nodes, {"zero": np.float32(0.0)}))


@_awkward("branches in branches, 20 deep")
def _if_20_deep(_: Path) -> bytes:
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"]), _if(20)]
    return _bytes(model(nodes, {"zero": np.float32(0.0)}))


@_awkward("a loop as long as the data say")
def _loop_by_data(_: Path) -> bytes:
    return _loop(None)


@_awkward("a loop of three trips")
def _loop_of_three(_: Path) -> bytes:
    return _loop(np.array(3, np.int64))


@_awkward("a loop of 10^12 trips")
def _loop_of_a_trillion(_: Path) -> bytes:
    return _loop(np.array(10**12, np.int64))


@_awkward("arithmetic on int64 beyond 2^53")
def _int64_arithmetic(_: Path) -> bytes:
    return _one("Mul", {"k": np.array([3**38, 7, -1, 5], np.int64)}, input_type=INT64)


@_awkward("weights declared in another file, 3 GB of them, which is not there")
def _external_missing(_: Path) -> bytes:
    return _external("gone.bin", 3_000_000_000)


@_awkward("weights in another file, 3 GB declared, 16 bytes there")
def _external_short(folder: Path) -> bytes:
    (folder / "short.bin").write_bytes(bytes(16))
    return _external("short.bin", 3_000_000_000)


@_awkward("weights in another file, above the model's folder")
def _external_above(_: Path) -> bytes:
    return _external("../../etc/passwd", 16)


@_awkward("weights in another file of 3 GB (a hole: no bytes on disk)")
def _external_3_gigabytes(folder: Path) -> bytes:
    with (folder / "big.bin").open("wb") as stream:
        stream.truncate(3_000_000_000)
    return _external("big.bin", 3_000_000_000)


def _external(name: str, count: int) -> bytes:
    built = model([node("MatMul", ["x", "w"])])
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[4, count // 16], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", name), ("offset", "0"), ("length", str(count))):
        tensor.external_data.add(key=key, value=value)
    built.graph.initializer.append(tensor)
    return _bytes(built)


def _typed(code: int) -> bytes:
    return _one("Identity", input_type=code, opset=25, ir=12)


@_awkward("bfloat16 values")
def _bfloat16(_: Path) -> bytes:
    return _typed(TensorProto.BFLOAT16)


@_awkward("float16 weights and values")
def _float16(_: Path) -> bytes:
    return _one("MatMul", {"w": weights(4, 3).astype(np.float16)}, input_type=TensorProto.FLOAT16)


@_awkward("float8 values")
def _float8(_: Path) -> bytes:
    return _typed(TensorProto.FLOAT8E4M3FN)


@_awkward("int4 values")
def _int4(_: Path) -> bytes:
    return _typed(TensorProto.INT4)


@_awkward("complex values")
def _complex(_: Path) -> bytes:
    return _typed(TensorProto.COMPLEX64)


@_awkward("strings as input")
def _strings(_: Path) -> bytes:
    return _typed(TensorProto.STRING)


@_awkward("an element type that does not exist")
def _unknown_type(_: Path) -> bytes:
    return _typed(99)


@_awkward("int4 weights, dequantised in the graph")
def _int4_weights(_: Path) -> bytes:
    built = model(
        [node("DequantizeLinear", ["w", "s"], ["f"]), node("MatMul", ["x", "f"])], {"s": np.float32(0.1)}, opset=21, ir=10
    )
    built.graph.initializer.append(
        TensorProto(name="w", data_type=TensorProto.INT4, dims=[4, 2], raw_data=bytes([0x21, 0xE3, 7, 0x95]))
    )
    return _bytes(built)


@_awkward("a graph without a node")
def _no_node(_: Path) -> bytes:
    return _bytes(model([], outputs=("x",)))


@_awkward("no graph at all")
def _no_graph(_: Path) -> bytes:
    return _bytes(onnx.ModelProto(ir_version=8))


@_awkward("no input: everything is constant")
def _no_input(_: Path) -> bytes:
    built = model([node("Relu", ["w"])], {"w": weights(1, 4)})
    del built.graph.input[:]
    return _bytes(built)


@_awkward("no output")
def _no_output(_: Path) -> bytes:
    built = model([node("Relu", ["x"])])
    del built.graph.output[:]
    return _bytes(built)


@_awkward("an output that nothing computes")
def _output_of_nothing(_: Path) -> bytes:
    return _bytes(model([node("Relu", ["x"])], outputs=("y", "nowhere")))


@_awkward("one output named twice")
def _output_twice(_: Path) -> bytes:
    return _bytes(model([node("Relu", ["x"])], outputs=("y", "y")))


@_awkward("an output that is a constant")
def _constant_output(_: Path) -> bytes:
    return _bytes(model([node("Relu", ["x"]), node("Identity", ["w"], ["z"])], {"w": weights(1, 4)}, outputs=("y", "z")))


@_awkward("a cycle")
def _cycle(_: Path) -> bytes:
    return _bytes(model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"], name="last")]))


@_awkward("nodes that are not sorted")
def _not_sorted(_: Path) -> bytes:
    return _bytes(model([node("Tanh", ["h"]), node("Relu", ["x"], ["h"])]))


@_awkward("a weight that is missing")
def _missing_weight(_: Path) -> bytes:
    return _bytes(model([node("MatMul", ["x", "w"])]))


@_awkward("a value that is computed twice")
def _computed_twice(_: Path) -> bytes:
    return _bytes(model([node("Relu", ["x"]), node("Tanh", ["x"])]))


@_awkward("10,000 nodes in a row", only_check=True)
def _ten_thousand_nodes(_: Path) -> bytes:
    names = ["x", *(f"h{i}" for i in range(9_999)), "y"]
    return _bytes(model([node("Relu" if i % 2 else "Neg", [names[i]], [names[i + 1]], name=f"n{i}") for i in range(10_000)]))


@_awkward("200,000 nodes")
def _too_many_nodes(_: Path) -> bytes:
    one = node("Relu", ["x"], ["y"], name="")
    graph = model([one]).graph
    for index in range(200_000):
        graph.node.add(op_type="Relu", input=["x"], output=[f"o{index}"])
    built = model([one])
    built.graph.CopyFrom(graph)
    return _bytes(built)


@_awkward("one node with 60,000 operands")
def _wide_sum(_: Path) -> bytes:
    return _bytes(model([node("Sum", ["x"] * 60_000)]))


@_awkward("an optional input")
def _optional_input(_: Path) -> bytes:
    built = model([node("OptionalGetElement", ["x"])])
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [1, 4]))
    built.graph.input[0].CopyFrom(helper.make_value_info("x", kind))
    return _bytes(built)


@_awkward("a sequence as output")
def _sequence(_: Path) -> bytes:
    return _one("SplitToSequence", axis=1)


@_awkward("sparse weights")
def _sparse(_: Path) -> bytes:
    built = model([node("MatMul", ["x", "w"])])
    values = numpy_helper.from_array(np.array([1.0, 2.0], np.float32), "w")
    places = numpy_helper.from_array(np.array([0, 5], np.int64), "w_places")
    built.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4, 2]))
    return _bytes(built)


@_awkward("an operator of a domain of one's own")
def _custom_domain(_: Path) -> bytes:
    return _one("Frobnicate", domain="com.example", domains={"com.example": 1})


@_awkward("an operator that does not exist")
def _unknown_operator(_: Path) -> bytes:
    return _one("Frobnicate")


@_awkward("an attribute of another type")
def _wrong_attribute(_: Path) -> bytes:
    return _one("Flatten", axis="one")


@_awkward("a weight that is NaN")
def _nan_weight(_: Path) -> bytes:
    return _one("Mul", {"w": np.array([1, np.nan, 2, 3], np.float32)})


@_awkward("a weight that is infinite")
def _infinite_weight(_: Path) -> bytes:
    return _one("Mul", {"w": np.array([1, np.inf, 2, 3], np.float32)})


@_awkward("a weight whose bytes are too few")
def _short_weight(_: Path) -> bytes:
    built = model([node("MatMul", ["x", "w"])], {"w": weights(4, 3)})
    built.graph.initializer[0].raw_data = bytes(5)
    return _bytes(built)


@_awkward("a weight of 2^40 values in three bytes")
def _claimed_weight(_: Path) -> bytes:
    built = model([node("MatMul", ["x", "w"])])
    built.graph.initializer.append(TensorProto(name="w", data_type=FLOAT, dims=[4, 2**38], raw_data=b"abc"))
    return _bytes(built)


@_awkward("a constant fill of 2^40 values (ConstantOfShape)")
def _huge_fill(_: Path) -> bytes:
    return _bytes(
        model([node("ConstantOfShape", ["s"], ["f"]), node("Add", ["x", "f"])], {"s": np.array([2**38, 4], np.int64)})
    )


@_awkward("small fills, expanded to 2^40 values")
def _huge_expand(_: Path) -> bytes:
    return _one("Expand", {"s": np.array([2**38, 4], np.int64)})


@_awkward("a range of 2^40 numbers")
def _huge_range(_: Path) -> bytes:
    nodes = [node("Range", ["a", "b", "c"], ["r"]), node("ReduceSum", ["r"], ["s"], keepdims=0), node("Add", ["x", "s"])]
    return _bytes(model(nodes, {"a": np.float32(0), "b": np.float32(2.0**40), "c": np.float32(1)}))


@_awkward("a convolution padded by 2^40")
def _huge_pads(_: Path) -> bytes:
    return _one("Conv", {"w": weights(1, 1, 1, 1)}, inputs={"x": (1, 1, 2, 2)}, pads=[0, 2**40, 0, 2**40])


@_awkward("names with line breaks, quotes and markup")
def _odd_names(_: Path) -> bytes:
    return _bytes(model([node("Relu", ["x"], ["a\n'\"[red]$(touch z)"]), node("Tanh", ["a\n'\"[red]$(touch z)"])]))


@_awkward("an input whose name is a command line's option")
def _name_like_an_option(_: Path) -> bytes:
    return _bytes(model([node("Relu", ["--help; `x`"])], inputs={"--help; `x`": (1, "N; rm")}))


@_awkward("a name that is not UTF-8")
def _name_not_utf8(_: Path) -> bytes:
    return _bytes(model([node("Relu", ["x"])])).replace(b"the_Relu", b"the_R\xff\xfeu")


@_awkward("opset 3")
def _old_opset(_: Path) -> bytes:
    return _one("Relu", opset=3, ir=3)


@_awkward("opset 999")
def _opset_999(_: Path) -> bytes:
    return _one("Relu", opset=999)


@_awkward("a newer file format (IR 999)")
def _new_format(_: Path) -> bytes:
    return _one("Relu", ir=999)


@_awkward("no opset")
def _no_opset(_: Path) -> bytes:
    built = model([node("Relu", ["x"])])
    del built.opset_import[:]
    return _bytes(built)


@_awkward("random numbers")
def _random(_: Path) -> bytes:
    return _bytes(model([node("RandomNormalLike", ["x"], ["r"]), node("Add", ["x", "r"])]))


@_awkward("an input that nothing reads")
def _unread_input(_: Path) -> bytes:
    return _bytes(model([node("Relu", ["x"])], inputs={"x": (1, 4), "z": (1, 4)}))


@_awkward("a function of the model's own")
def _function(_: Path) -> bytes:
    built = model([node("Twice", ["x"], domain="own")], domains={"own": 1})
    add = helper.make_node("Add", ["a", "a"], ["b"])
    built.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], [add], [helper.make_opsetid("", 18)]))
    return _bytes(built)


@_awkward("no protobuf at all")
def _no_protobuf(_: Path) -> bytes:
    return b"This is not a model.\n" * 50


@_awkward("an empty file")
def _empty_file(_: Path) -> bytes:
    return b""


@_awkward("a file that ends in the middle")
def _truncated(_: Path) -> bytes:
    return _one("MatMul", {"w": weights(4, 300)})[:-2_000]


@_awkward("a gzip file")
def _gzip(_: Path) -> bytes:
    return gzip.compress(_one("Relu"), mtime=0)


@_awkward("a PyTorch checkpoint named .onnx")
def _torch_checkpoint(_: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\x80\x02}q\x00.")
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
    return buffer.getvalue()


@_awkward("a PyTorch checkpoint", file="m.pt")
def _torch_file(folder: Path) -> bytes:
    return _torch_checkpoint(folder)


@_awkward("a TensorFlow Lite file named .onnx")
def _tflite(_: Path) -> bytes:
    return b"\x1c\x00\x00\x00TFL3" + bytes(range(200))


@_awkward("a frozen TensorFlow graph (GraphDef) named .onnx")
def _graph_def(_: Path) -> bytes:
    # NodeDef{name: "x", op: "Placeholder", attr: {"dtype": {type: DT_FLOAT}}}, twice
    one = b"\x0a\x01x\x12\x0bPlaceholder\x2a\x0b\x0a\x05dtype\x12\x02\x30\x01"
    return (b"\x0a" + bytes([len(one)]) + one) * 2


@_awkward("a Keras file named .onnx")
def _hdf5(_: Path) -> bytes:
    return b"\x89HDF\r\n\x1a\n" + bytes(500)


@_awkward("safetensors named .onnx")
def _safetensors(_: Path) -> bytes:
    head = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    return len(head).to_bytes(8, "little") + head + bytes(8)


@_awkward("a Git LFS pointer")
def _lfs_pointer(_: Path) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"


@_awkward("protobuf nested 5,000 deep")
def _deep_protobuf(_: Path) -> bytes:
    def field(number: int, data: bytes) -> bytes:
        size, head = len(data), [number << 3 | 2]
        while size > 127:
            head.append(size & 127 | 128)
            size >>= 7
        return bytes([*head, size]) + data

    data = b""
    for _unused in range(5_000):  # NodeProto.attribute (5) > AttributeProto.g (6) > GraphProto.node (1)
        data = field(1, field(5, field(6, data)))
    return b"\x08\x08" + field(7, data)


__all__ = ["ALL", "Awkward"]
