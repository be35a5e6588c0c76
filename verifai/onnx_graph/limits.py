"""How much a model may ask for. Chosen so that a hostile file of any size cannot exhaust a 16 GiB machine."""

from __future__ import annotations

MAX_FILE_BYTES = 1 << 30
"""Largest model file, external data included: 1 GiB."""

MAX_TENSOR_BYTES = 1 << 29
"""Largest single value (weight or activation): 512 MiB."""

MAX_TOTAL_BYTES = 1 << 32
"""All values of one run together: 4 GiB, and for small models less, see the next two."""

SMALL_TOTAL_BYTES = 1 << 30
"""What the smallest model may use: 1 GiB."""

TOTAL_PER_WEIGHT_BYTE = 64
"""A model may use this many bytes per byte of weights, so that a tiny file cannot ask for gigabytes."""

MAX_FOLDED_BYTES = 1 << 24
"""Constant folding may grow a value to this size (16 MiB), or to the size of its inputs when that is larger."""

MAX_FOLDED_TOTAL_BYTES = 1 << 28
"""All growth by constant folding together: 256 MiB."""

MAX_FOLDS = 5_000
"""Constant expressions of one model; each costs about a millisecond."""

MAX_NODES = 100_000
MAX_OPERANDS = 10_000
"""Of one node: what reads it costs a step per operand and pass, which the node limit does not count."""
MAX_UNROLLED = 20_000
"""Nodes that the loops of a model are written out as; each costs about a millisecond."""
MAX_RANK = 16
MAX_NAME = 512

OPSET = 18
"""The one opset of canonical models: PyTorch's own, and the newest that both ezkl 23.0.5 and onnxruntime read in full."""

IR_VERSION = 8
"""The IR version that goes with opset 18."""

MIN_OPSET = 7
"""Older opsets broadcast by attribute; they predate every exporter in use."""

LARGEST_EXACT_INTEGER = 1 << 24
"""Integers beyond this are not all exact as float32, which is how ezkl reads constants."""
