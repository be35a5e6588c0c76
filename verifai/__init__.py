"""verifai: verifiable machine-learning inference.

Everything that the command line does is a typed function::

    from pathlib import Path
    import verifai

    folder = verifai.CircuitFolder(Path("circuits/digits-mlp"))
    verifai.compile_circuit(folder, locked=True)
    samples = verifai.read_samples(Path("fixtures/digits-mlp/heldout.npz"), folder.model).samples[:1]
    for bundle in verifai.prove(folder, samples, Path("evidence")):
        verified = verifai.verify_bundle(bundle.path, folder.lock(), verifai.Expectations(allow_test_srs=True))
        print(verified.statement.privacy)

Names are loaded when first used, so importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verifai.circuit_folder import CircuitFolder as CircuitFolder
    from verifai.circuit_folder import read_lock as read_lock
    from verifai.domain.statement import EngineName as EngineName
    from verifai.domain.statement import Statement as Statement
    from verifai.domain.statement import Visibility as Visibility
    from verifai.errors import EvidenceRejected as EvidenceRejected
    from verifai.errors import PolicyNotMet as PolicyNotMet
    from verifai.errors import Undecided as Undecided
    from verifai.errors import UsageError as UsageError
    from verifai.errors import VerifaiError as VerifaiError
    from verifai.onnx_graph.inputs import read_samples as read_samples
    from verifai.onnx_graph.load import load_path as load_model  # noqa: F401 - the public name differs
    from verifai.stages.check import check_model as check_model
    from verifai.stages.compile import compile_circuit as compile_circuit
    from verifai.stages.export import export as export_model  # noqa: F401 - the public name differs
    from verifai.stages.init import init_circuit as init_circuit
    from verifai.stages.prove import prove as prove
    from verifai.stages.verify import Expectations as Expectations
    from verifai.stages.verify import VerifiedBundle as VerifiedBundle
    from verifai.stages.verify import verify_bundle as verify_bundle

_HOME = {
    "CircuitFolder": ("verifai.circuit_folder", "CircuitFolder"),
    "read_lock": ("verifai.circuit_folder", "read_lock"),
    "EngineName": ("verifai.domain.statement", "EngineName"),
    "Statement": ("verifai.domain.statement", "Statement"),
    "Visibility": ("verifai.domain.statement", "Visibility"),
    "EvidenceRejected": ("verifai.errors", "EvidenceRejected"),
    "PolicyNotMet": ("verifai.errors", "PolicyNotMet"),
    "Undecided": ("verifai.errors", "Undecided"),
    "UsageError": ("verifai.errors", "UsageError"),
    "VerifaiError": ("verifai.errors", "VerifaiError"),
    "read_samples": ("verifai.onnx_graph.inputs", "read_samples"),
    "load_model": ("verifai.onnx_graph.load", "load_path"),
    "check_model": ("verifai.stages.check", "check_model"),
    "compile_circuit": ("verifai.stages.compile", "compile_circuit"),
    "export_model": ("verifai.stages.export", "export"),
    "init_circuit": ("verifai.stages.init", "init_circuit"),
    "prove": ("verifai.stages.prove", "prove"),
    "Expectations": ("verifai.stages.verify", "Expectations"),
    "VerifiedBundle": ("verifai.stages.verify", "VerifiedBundle"),
    "verify_bundle": ("verifai.stages.verify", "verify_bundle"),
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'verifai' has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return list(__all__)
