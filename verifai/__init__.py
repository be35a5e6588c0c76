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
import os
from typing import TYPE_CHECKING, Any

# onnxruntime queues events in the user's cache and sends them to its maker. It reads this when it is loaded, so it is set
# before any module of ours can load it, in this process and in every child, whose code imports this package first.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from verifai.bundle.find import find_bundles as find_bundles
    from verifai.bundle.keys import load_public_key as load_public_key
    from verifai.bundle.keys import load_signer as load_signer
    from verifai.bundle.keys import new_key as new_key
    from verifai.bundle.keys import read_key as read_key
    from verifai.bundle.note import NoteKey as NoteKey
    from verifai.circuit_folder import CircuitFolder as CircuitFolder
    from verifai.circuit_folder import read_lock as read_lock
    from verifai.domain.circuit_spec import Budget as Budget
    from verifai.domain.consensus.job import OutputKind as OutputKind
    from verifai.domain.consensus.round import BeaconRule as BeaconRule
    from verifai.domain.fidelity import Task as Task
    from verifai.domain.model_signing import ExportOptions as ExportOptions
    from verifai.domain.statement import EngineName as EngineName
    from verifai.domain.statement import Role as Role
    from verifai.domain.statement import Statement as Statement
    from verifai.domain.statement import Visibility as Visibility
    from verifai.domain.statement import WeightVisibility as WeightVisibility
    from verifai.domain.trust import TrustRole as TrustRole
    from verifai.errors import EvidenceRejected as EvidenceRejected
    from verifai.errors import PolicyNotMet as PolicyNotMet
    from verifai.errors import Undecided as Undecided
    from verifai.errors import UsageError as UsageError
    from verifai.errors import VerifaiError as VerifaiError
    from verifai.onnx_graph.inputs import read_samples as read_samples
    from verifai.onnx_graph.load import load_path as _load_model
    from verifai.reports.from_gate import report_of as _gate_report
    from verifai.reports.registry import ReportName as ReportName
    from verifai.reports.registry import format_for as _report_format
    from verifai.showcase.bench import run_bench as run_bench
    from verifai.stages.audit.options import AuditOptions as AuditOptions
    from verifai.stages.audit.several import audit_all as _audit_bundles
    from verifai.stages.batch.report import BatchOptions as BatchOptions
    from verifai.stages.batch.run import prove_batch as prove_batch
    from verifai.stages.chain.split import split_model as split_model
    from verifai.stages.chain.verify_chain import verify_chain as verify_chain
    from verifai.stages.check import check_model as check_model
    from verifai.stages.compile import compile_circuit as compile_circuit
    from verifai.stages.consensus.bundle import write_decision as write_decision
    from verifai.stages.consensus.call_round import CallOptions as CallOptions
    from verifai.stages.consensus.call_round import call_round as call_round
    from verifai.stages.consensus.decide import decide as _decide_round
    from verifai.stages.consensus.open_round import RoundOptions as RoundOptions
    from verifai.stages.consensus.open_round import open_round as open_round
    from verifai.stages.consensus.read_round import ClaimedOutputs as ClaimedOutputs
    from verifai.stages.consensus.read_round import ClaimedProofs as ClaimedProofs
    from verifai.stages.consensus.read_round import read_round as read_round
    from verifai.stages.consensus.read_round import read_weights as read_weights
    from verifai.stages.consensus.recording import record_proven_runs as record_proven_runs
    from verifai.stages.consensus.recording import record_runs as record_runs
    from verifai.stages.consensus.round_voter import RunOptions as RunOptions
    from verifai.stages.consensus.shared_round import Attendance as Attendance
    from verifai.stages.consensus.shared_round import close_round as close_round
    from verifai.stages.consensus.shared_round import join_round as join_round
    from verifai.stages.consensus.shared_round import write_closed as write_closed
    from verifai.stages.consensus.subject import SubjectOptions as SubjectOptions
    from verifai.stages.consensus.take_part import commit_to_round as commit_to_round
    from verifai.stages.consensus.take_part import replay_for_round as replay_for_round
    from verifai.stages.consensus.take_part import reveal_to_round as reveal_to_round
    from verifai.stages.consensus.tolerance import measure_tolerance as measure_tolerance
    from verifai.stages.diff import diff_bundles as diff_bundles
    from verifai.stages.distribute import promote_version as promote_version
    from verifai.stages.distribute import pull_bundles as pull_bundles
    from verifai.stages.distribute import push_bundles as push_bundles
    from verifai.stages.evaluate import EvaluateOptions as EvaluateOptions
    from verifai.stages.evaluate import evaluate as evaluate
    from verifai.stages.evaluation.data_set import pin as _pin_data
    from verifai.stages.evaluation.judge import VerifiedEvaluation as VerifiedEvaluation
    from verifai.stages.evaluation.judge import verify_evaluation_at as _verify_evaluation
    from verifai.stages.evaluation.lock_file import read_data_lock as read_data_lock
    from verifai.stages.evaluation.lock_file import write_data_lock as write_data_lock
    from verifai.stages.evaluation.read_data import DataOptions as DataOptions
    from verifai.stages.evaluation.read_data import read_data as read_data
    from verifai.stages.export import export as _export_model
    from verifai.stages.gate.attest import attest_verdict as attest_verdict
    from verifai.stages.gate.gate import gate as gate
    from verifai.stages.gate.init import init_policy as init_policy
    from verifai.stages.gate.load import load_policy as load_policy
    from verifai.stages.gate.verdict import judge_verdict as judge_verdict
    from verifai.stages.gate.verdict import read_verdict as read_verdict
    from verifai.stages.generate import GeneratedBundle as GeneratedBundle
    from verifai.stages.generate import generate as generate
    from verifai.stages.handover import HandoverRequest as HandoverRequest
    from verifai.stages.handover import hand_over as hand_over
    from verifai.stages.hardware import attach_evidence as attach_evidence
    from verifai.stages.hardware import attach_receipt as attach_receipt
    from verifai.stages.hardware import claim_of_bundle as claim_of_bundle
    from verifai.stages.hardware import claim_of_voter as claim_of_voter
    from verifai.stages.hardware import make_receipt as make_receipt
    from verifai.stages.hardware import read_evidence as read_evidence
    from verifai.stages.hardware import show_evidence as show_evidence
    from verifai.stages.hardware import signed_bytes as signed_bytes
    from verifai.stages.init import init_circuit as init_circuit
    from verifai.stages.inspect import inspect_bundle as inspect_bundle
    from verifai.stages.inspect import inspect_lock as inspect_lock
    from verifai.stages.log import append_entries as _append_to_log
    from verifai.stages.log import check_log_file as _check_log
    from verifai.stages.log import cosign_checkpoint as cosign_checkpoint
    from verifai.stages.log import make_log as make_log
    from verifai.stages.log import prove_consistency as _prove_log_consistency
    from verifai.stages.log import prove_entry as _prove_log_entry
    from verifai.stages.log import sign_checkpoint as sign_checkpoint
    from verifai.stages.log import verify_entry as _verify_log_entry
    from verifai.stages.origin import HeldRelease as HeldRelease
    from verifai.stages.pack import pack_bundle as pack_bundle
    from verifai.stages.pack import unpack_bundle as unpack_bundle
    from verifai.stages.page import write_empty_page as write_empty_page
    from verifai.stages.page import write_page as write_page
    from verifai.stages.prove import prove as prove
    from verifai.stages.provenance import notarise as notarise
    from verifai.stages.provenance import pin_release as pin_release
    from verifai.stages.quickstart import QuickstartRequest as QuickstartRequest
    from verifai.stages.quickstart import quickstart as quickstart
    from verifai.stages.receipt import add_receipt as add_receipt
    from verifai.stages.seal import seal_bundle as seal_bundle
    from verifai.stages.show import show_file as show_file
    from verifai.stages.show import show_trust as show_trust
    from verifai.stages.srs import cut_file as _cut_srs
    from verifai.stages.srs import fetch_file as _fetch_srs
    from verifai.stages.srs import generate_file as _generate_srs
    from verifai.stages.srs import import_file as _import_srs
    from verifai.stages.srs import judge_file as _check_srs
    from verifai.stages.srs import list_files as _list_srs
    from verifai.stages.trust import TrustRequest as TrustRequest
    from verifai.stages.trust import add_key as add_key
    from verifai.stages.trust import init_trust as init_trust
    from verifai.stages.verify import Expectations as Expectations
    from verifai.stages.verify import VerifiedBundle as VerifiedBundle
    from verifai.stages.verify import verify_bundle as verify_bundle
    from verifai.stages.warm_up import warm_up as warm_up
    from verifai.stages.weights import renew_root as renew_root
    from verifai.stages.weights import show_roots as show_roots
    from verifai.trust_file import read_trust as read_trust

    # Assigned, so that type checkers take the public name for exported.
    load_model = _load_model
    gate_report = _gate_report
    report_format = _report_format
    audit_bundles = _audit_bundles
    decide_round = _decide_round
    pin_data = _pin_data
    verify_evaluation = _verify_evaluation
    export_model = _export_model
    append_to_log = _append_to_log
    check_log = _check_log
    prove_log_consistency = _prove_log_consistency
    prove_log_entry = _prove_log_entry
    verify_log_entry = _verify_log_entry
    cut_srs = _cut_srs
    fetch_srs = _fetch_srs
    generate_srs = _generate_srs
    import_srs = _import_srs
    check_srs = _check_srs
    list_srs = _list_srs

_HOME = {
    "find_bundles": ("verifai.bundle.find", "find_bundles"),
    "load_public_key": ("verifai.bundle.keys", "load_public_key"),
    "load_signer": ("verifai.bundle.keys", "load_signer"),
    "new_key": ("verifai.bundle.keys", "new_key"),
    "read_key": ("verifai.bundle.keys", "read_key"),
    "NoteKey": ("verifai.bundle.note", "NoteKey"),
    "CircuitFolder": ("verifai.circuit_folder", "CircuitFolder"),
    "read_lock": ("verifai.circuit_folder", "read_lock"),
    "Budget": ("verifai.domain.circuit_spec", "Budget"),
    "OutputKind": ("verifai.domain.consensus.job", "OutputKind"),
    "BeaconRule": ("verifai.domain.consensus.round", "BeaconRule"),
    "Task": ("verifai.domain.fidelity", "Task"),
    "EngineName": ("verifai.domain.statement", "EngineName"),
    "Role": ("verifai.domain.statement", "Role"),
    "Statement": ("verifai.domain.statement", "Statement"),
    "Visibility": ("verifai.domain.statement", "Visibility"),
    "WeightVisibility": ("verifai.domain.statement", "WeightVisibility"),
    "EvidenceRejected": ("verifai.errors", "EvidenceRejected"),
    "PolicyNotMet": ("verifai.errors", "PolicyNotMet"),
    "Undecided": ("verifai.errors", "Undecided"),
    "UsageError": ("verifai.errors", "UsageError"),
    "VerifaiError": ("verifai.errors", "VerifaiError"),
    "read_samples": ("verifai.onnx_graph.inputs", "read_samples"),
    "load_model": ("verifai.onnx_graph.load", "load_path"),
    "gate_report": ("verifai.reports.from_gate", "report_of"),
    "ReportName": ("verifai.reports.registry", "ReportName"),
    "report_format": ("verifai.reports.registry", "format_for"),
    "run_bench": ("verifai.showcase.bench", "run_bench"),
    "audit_bundles": ("verifai.stages.audit.several", "audit_all"),
    "AuditOptions": ("verifai.stages.audit.options", "AuditOptions"),
    "BatchOptions": ("verifai.stages.batch.report", "BatchOptions"),
    "prove_batch": ("verifai.stages.batch.run", "prove_batch"),
    "split_model": ("verifai.stages.chain.split", "split_model"),
    "verify_chain": ("verifai.stages.chain.verify_chain", "verify_chain"),
    "check_model": ("verifai.stages.check", "check_model"),
    "compile_circuit": ("verifai.stages.compile", "compile_circuit"),
    "write_decision": ("verifai.stages.consensus.bundle", "write_decision"),
    "decide_round": ("verifai.stages.consensus.decide", "decide"),
    "RoundOptions": ("verifai.stages.consensus.open_round", "RoundOptions"),
    "open_round": ("verifai.stages.consensus.open_round", "open_round"),
    "ClaimedOutputs": ("verifai.stages.consensus.read_round", "ClaimedOutputs"),
    "ClaimedProofs": ("verifai.stages.consensus.read_round", "ClaimedProofs"),
    "read_round": ("verifai.stages.consensus.read_round", "read_round"),
    "read_weights": ("verifai.stages.consensus.read_round", "read_weights"),
    "record_proven_runs": ("verifai.stages.consensus.recording", "record_proven_runs"),
    "record_runs": ("verifai.stages.consensus.recording", "record_runs"),
    "CallOptions": ("verifai.stages.consensus.call_round", "CallOptions"),
    "call_round": ("verifai.stages.consensus.call_round", "call_round"),
    "Attendance": ("verifai.stages.consensus.shared_round", "Attendance"),
    "close_round": ("verifai.stages.consensus.shared_round", "close_round"),
    "join_round": ("verifai.stages.consensus.shared_round", "join_round"),
    "write_closed": ("verifai.stages.consensus.shared_round", "write_closed"),
    "RunOptions": ("verifai.stages.consensus.round_voter", "RunOptions"),
    "SubjectOptions": ("verifai.stages.consensus.subject", "SubjectOptions"),
    "commit_to_round": ("verifai.stages.consensus.take_part", "commit_to_round"),
    "replay_for_round": ("verifai.stages.consensus.take_part", "replay_for_round"),
    "reveal_to_round": ("verifai.stages.consensus.take_part", "reveal_to_round"),
    "measure_tolerance": ("verifai.stages.consensus.tolerance", "measure_tolerance"),
    "diff_bundles": ("verifai.stages.diff", "diff_bundles"),
    "evaluate": ("verifai.stages.evaluate", "evaluate"),
    "EvaluateOptions": ("verifai.stages.evaluate", "EvaluateOptions"),
    "pin_data": ("verifai.stages.evaluation.data_set", "pin"),
    "read_data_lock": ("verifai.stages.evaluation.lock_file", "read_data_lock"),
    "write_data_lock": ("verifai.stages.evaluation.lock_file", "write_data_lock"),
    "DataOptions": ("verifai.stages.evaluation.read_data", "DataOptions"),
    "read_data": ("verifai.stages.evaluation.read_data", "read_data"),
    "verify_evaluation": ("verifai.stages.evaluation.judge", "verify_evaluation_at"),
    "VerifiedEvaluation": ("verifai.stages.evaluation.judge", "VerifiedEvaluation"),
    "export_model": ("verifai.stages.export", "export"),
    "attest_verdict": ("verifai.stages.gate.attest", "attest_verdict"),
    "gate": ("verifai.stages.gate.gate", "gate"),
    "init_policy": ("verifai.stages.gate.init", "init_policy"),
    "load_policy": ("verifai.stages.gate.load", "load_policy"),
    "init_circuit": ("verifai.stages.init", "init_circuit"),
    "inspect_bundle": ("verifai.stages.inspect", "inspect_bundle"),
    "append_to_log": ("verifai.stages.log", "append_entries"),
    "check_log": ("verifai.stages.log", "check_log_file"),
    "cosign_checkpoint": ("verifai.stages.log", "cosign_checkpoint"),
    "make_log": ("verifai.stages.log", "make_log"),
    "prove_log_consistency": ("verifai.stages.log", "prove_consistency"),
    "prove_log_entry": ("verifai.stages.log", "prove_entry"),
    "sign_checkpoint": ("verifai.stages.log", "sign_checkpoint"),
    "verify_log_entry": ("verifai.stages.log", "verify_entry"),
    "GeneratedBundle": ("verifai.stages.generate", "GeneratedBundle"),
    "generate": ("verifai.stages.generate", "generate"),
    "attach_evidence": ("verifai.stages.hardware", "attach_evidence"),
    "ExportOptions": ("verifai.domain.model_signing", "ExportOptions"),
    "HeldRelease": ("verifai.stages.origin", "HeldRelease"),
    "notarise": ("verifai.stages.provenance", "notarise"),
    "promote_version": ("verifai.stages.distribute", "promote_version"),
    "pull_bundles": ("verifai.stages.distribute", "pull_bundles"),
    "push_bundles": ("verifai.stages.distribute", "push_bundles"),
    "add_receipt": ("verifai.stages.receipt", "add_receipt"),
    "pin_release": ("verifai.stages.provenance", "pin_release"),
    "attach_receipt": ("verifai.stages.hardware", "attach_receipt"),
    "claim_of_bundle": ("verifai.stages.hardware", "claim_of_bundle"),
    "claim_of_voter": ("verifai.stages.hardware", "claim_of_voter"),
    "make_receipt": ("verifai.stages.hardware", "make_receipt"),
    "read_evidence": ("verifai.stages.hardware", "read_evidence"),
    "show_evidence": ("verifai.stages.hardware", "show_evidence"),
    "signed_bytes": ("verifai.stages.hardware", "signed_bytes"),
    "pack_bundle": ("verifai.stages.pack", "pack_bundle"),
    "unpack_bundle": ("verifai.stages.pack", "unpack_bundle"),
    "write_empty_page": ("verifai.stages.page", "write_empty_page"),
    "write_page": ("verifai.stages.page", "write_page"),
    "prove": ("verifai.stages.prove", "prove"),
    "QuickstartRequest": ("verifai.stages.quickstart", "QuickstartRequest"),
    "quickstart": ("verifai.stages.quickstart", "quickstart"),
    "seal_bundle": ("verifai.stages.seal", "seal_bundle"),
    "list_srs": ("verifai.stages.srs", "list_files"),
    "check_srs": ("verifai.stages.srs", "judge_file"),
    "import_srs": ("verifai.stages.srs", "import_file"),
    "fetch_srs": ("verifai.stages.srs", "fetch_file"),
    "generate_srs": ("verifai.stages.srs", "generate_file"),
    "cut_srs": ("verifai.stages.srs", "cut_file"),
    "TrustRequest": ("verifai.stages.trust", "TrustRequest"),
    "init_trust": ("verifai.stages.trust", "init_trust"),
    "Expectations": ("verifai.stages.verify", "Expectations"),
    "VerifiedBundle": ("verifai.stages.verify", "VerifiedBundle"),
    "verify_bundle": ("verifai.stages.verify", "verify_bundle"),
    "hand_over": ("verifai.stages.handover", "hand_over"),
    "judge_verdict": ("verifai.stages.gate.verdict", "judge_verdict"),
    "read_verdict": ("verifai.stages.gate.verdict", "read_verdict"),
    "HandoverRequest": ("verifai.stages.handover", "HandoverRequest"),
    "show_file": ("verifai.stages.show", "show_file"),
    "show_trust": ("verifai.stages.show", "show_trust"),
    "add_key": ("verifai.stages.trust", "add_key"),
    "inspect_lock": ("verifai.stages.inspect", "inspect_lock"),
    "TrustRole": ("verifai.domain.trust", "TrustRole"),
    "warm_up": ("verifai.stages.warm_up", "warm_up"),
    "renew_root": ("verifai.stages.weights", "renew_root"),
    "show_roots": ("verifai.stages.weights", "show_roots"),
    "read_trust": ("verifai.trust_file", "read_trust"),
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'verifai' has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return list(__all__)
