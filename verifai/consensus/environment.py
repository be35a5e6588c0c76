"""Where this verifier runs, as it will say in its commitment."""

from __future__ import annotations

import platform
from typing import Any

from verifai.domain.consensus.vote import Environment

_LADDER = (
    ("amx-int8", ("AMX_INT8",)),
    ("avx512-vnni", ("AVX512VNNI", "AVX512_VNNI", "AVX512_ICL", "AVX512_CLX", "AVX512_SPR")),
    ("avx512", ("AVX512F", "AVX512_SKX", "X86_V4")),
    ("avx2", ("AVX2", "X86_V3")),
    ("avx", ("AVX",)),
    ("sse4.2", ("SSE42", "X86_V2")),
    ("neon-dot", ("ASIMDDP",)),
    ("neon", ("ASIMD", "NEON")),
)


def this_environment(threads: int) -> Environment:
    """This machine with onnxruntime. The instruction set is what the processor reports to programs, masks included."""
    return Environment(
        machine=platform.machine() or "unknown",
        instruction_set=instruction_set(),
        runtime=runtime_name(),
        system=platform.system() or "unknown",
        threads=threads,
    )


def runtime_name() -> str:
    """Name and version of onnxruntime."""
    from importlib.metadata import version

    return f"onnxruntime {version('onnxruntime')}"


def instruction_set() -> str:
    """The widest vector extension that NumPy's run-time detection finds."""
    import numpy as np

    described: Any = np.show_config(mode="dicts")
    extensions = described.get("SIMD Extensions", {})
    present = {name.upper() for name in (*extensions.get("baseline", ()), *extensions.get("found", ()))}
    for name, features in _LADDER:
        if present.intersection(features):
            return name
    return "unknown"
