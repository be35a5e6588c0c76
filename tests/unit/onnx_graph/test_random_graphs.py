"""Random graphs of random operators with random attributes: refused with one of our codes, or brought to a fixed point."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.lint import ML_DOMAIN

SCHEMAS = sorted(
    (schema for schema in onnx.defs.get_all_schemas() if schema.domain in ("", ML_DOMAIN)),
    key=lambda schema: (schema.domain, schema.name),
)
INTEGERS = [0, 1, 2, 3, 5, 7, -1, -2, 1000, 2**31, 2**63 - 1, -(2**63)]
REALS = [0.0, 1.0, -1.0, 0.5, 1e30, float("nan"), 1e-40]
TEXTS = [
    "",
    "linear",
    "SAME_UPPER",
    "reflect",
    "edge",
    "cubic",
    "align_corners",
    "sum",
    "bidirectional",
    "LOGISTIC",
    "ij,jk->ik",
]
SHAPES = [(), (1,), (2,), (3,), (4,), (2, 2), (1, 2, 3, 3), (2, 2, 1, 1), (0,), (4, 4)]
DTYPES = [np.float32, np.float32, np.int64, np.int64, np.int32, np.bool_, np.uint8, np.float64]


def attribute(generator: random.Random, name: str, kind: int) -> onnx.AttributeProto | None:
    count = generator.randrange(6)
    values: dict[int, Callable[[], Any]] = {
        onnx.AttributeProto.INT: lambda: generator.choice(INTEGERS),
        onnx.AttributeProto.FLOAT: lambda: generator.choice(REALS),
        onnx.AttributeProto.STRING: lambda: generator.choice(TEXTS),
        onnx.AttributeProto.INTS: lambda: [generator.choice(INTEGERS) for _ in range(count)],
        onnx.AttributeProto.FLOATS: lambda: [generator.choice(REALS) for _ in range(count)],
        onnx.AttributeProto.STRINGS: lambda: ["a", "b"],
        onnx.AttributeProto.TENSOR: lambda: numpy_helper.from_array(np.array([2.0], np.float32)),
    }
    return helper.make_attribute(name, values[kind](), attr_type=kind) if kind in values else None


def random_node(generator: random.Random, index: int, values: list[str]) -> onnx.NodeProto:
    schema = generator.choice(SCHEMAS)
    inputs = generator.randrange(schema.min_input, max(schema.min_input, min(schema.max_input, 6)) + 1)
    outputs = max(1, schema.min_output)
    node = onnx.NodeProto(op_type=schema.name, domain=schema.domain, name=f"n{index}")
    node.input.extend(generator.choice(values) if generator.random() < 0.95 else "" for _ in range(inputs))
    if index == 0 and inputs:
        node.input[0] = "x"
    node.output.extend(f"v{index}_{position}" for position in range(outputs))
    for name in sorted(schema.attributes):
        formal = schema.attributes[name]
        if formal.required or generator.random() < 0.4:
            made = attribute(generator, name, formal.type.value)
            if made is not None:
                node.attribute.append(made)
    return node


def random_model(generator: random.Random) -> bytes:
    constants = {
        f"k{i}": np.asarray(
            np.random.default_rng(generator.randrange(10**9))
            .integers(-3, 6, generator.choice(SHAPES))
            .astype(generator.choice(DTYPES))
        )
        for i in range(6)
    }
    values, nodes = ["x", *constants], []
    for index in range(generator.randrange(1, 4)):
        nodes.append(random_node(generator, index, values))
        values.extend(nodes[-1].output)
    kind, shape = generator.choice([1, 1, 1, 7, 11]), generator.choice([[1, 4], [1, 2, 3, 3], [4], [2, 2], []])
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("x", kind, shape)],
        [onnx.ValueInfoProto(name=nodes[-1].output[0])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", generator.choice([7, 9, 11, 13, 18, 18, 21, 24])), helper.make_opsetid(ML_DOMAIN, 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def test_random_graphs_are_refused_or_have_one_canonical_form() -> None:
    generator = random.Random(20240229)
    accepted, codes = 0, set()
    for _ in range(1500):
        data = random_model(generator)
        try:
            model = canonicalise(data, where="random.onnx").model
        except UnsupportedModel as problem:
            codes.add(problem.code)
            continue
        accepted += 1
        assert canonicalise(model.data, where="again.onnx").model.data == model.data
        onnx.checker.check_model(model.proto, full_check=True)
    assert accepted > 50
    assert len(codes) > 6
