"""What `import verifai` offers is a promise: adding a name is a decision, losing one is a break.

And it is all that the command line does: every verb is mapped to the functions that do its work.
"""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Iterator
from dataclasses import MISSING as MISSING_DEFAULT
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import verifai
from verifai.cli.verbs import VERBS, Verb

TYPES = {
    "Attendance",
    "AuditOptions",
    "BatchOptions",
    "BeaconRule",
    "Budget",
    "CallOptions",
    "CircuitFolder",
    "ClaimedOutputs",
    "ClaimedProofs",
    "EngineName",
    "EvidenceRejected",
    "GeneratedBundle",
    "DataOptions",
    "EvaluateOptions",
    "ExportOptions",
    "Expectations",
    "HeldRelease",
    "NoteKey",
    "HandoverRequest",
    "OutputKind",
    "QuickstartRequest",
    "PolicyNotMet",
    "ReportName",
    "Role",
    "RoundOptions",
    "RunOptions",
    "Statement",
    "SubjectOptions",
    "TrustRequest",
    "TrustRole",
    "Task",
    "Undecided",
    "UsageError",
    "VerifaiError",
    "VerifiedBundle",
    "VerifiedEvaluation",
    "Visibility",
    "WeightVisibility",
}
READERS = {
    "find_bundles",
    "load_model",
    "load_policy",
    "load_public_key",
    "load_signer",
    "read_data",
    "read_data_lock",
    "read_lock",
    "read_samples",
    "read_evidence",
    "read_trust",
}
"""Functions that give what the others take."""

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "quickstart": ("quickstart",),
    "export": ("export_model",),
    "init": ("init_circuit",),
    "check": ("check_model",),
    "compile": ("compile_circuit",),
    "prove": ("prove", "prove_batch"),
    "generate": ("generate",),
    "verify": ("verify_bundle", "verify_evaluation"),
    "dataset": ("pin_data", "write_data_lock"),
    "evaluate": ("evaluate",),
    "audit": ("audit_bundles",),
    "split": ("split_model",),
    "verify-chain": ("verify_chain",),
    "seal": ("seal_bundle",),
    "receipt": ("add_receipt",),
    "pack": ("pack_bundle",),
    "unpack": ("unpack_bundle",),
    "handover": ("hand_over",),
    "inspect": ("inspect_bundle", "show_file"),
    "page": ("write_page", "write_empty_page"),
    "diff": ("diff_bundles",),
    "provenance": ("pin_release",),
    "notarise": ("notarise",),
    "calibrate": ("measure_tolerance", "record_runs"),
    "record-proofs": ("record_proven_runs",),
    "round init": ("call_round",),
    "round join": ("join_round",),
    "round close": ("close_round", "write_closed"),
    "vote-open": ("open_round",),
    "vote-commit": ("commit_to_round",),
    "vote-reveal": ("reveal_to_round",),
    "vote-replay": ("replay_for_round",),
    "consensus": ("read_round", "read_weights", "decide_round", "write_decision"),
    "gate-init": ("init_policy",),
    "gate": ("gate", "gate_report", "report_format", "attest_verdict"),
    "push": ("push_bundles",),
    "pull": ("pull_bundles",),
    "promote": ("promote_version",),
    "gate-show": ("read_verdict",),
    "gate-verify": ("judge_verdict",),
    "bench": ("run_bench",),
    "key new": ("new_key",),
    "key show": ("read_key",),
    "trust init": ("init_trust",),
    "trust add": ("add_key",),
    "trust show": ("show_trust",),
    "lock show": ("inspect_lock",),
    "warm-up": ("warm_up",),
    "srs list": ("list_srs",),
    "srs check": ("check_srs",),
    "srs import": ("import_srs",),
    "srs fetch": ("fetch_srs",),
    "srs generate": ("generate_srs",),
    "srs cut": ("cut_srs",),
    "tee claim": ("claim_of_bundle", "claim_of_voter", "signed_bytes"),
    "tee receipt": ("make_receipt",),
    "tee show": ("show_evidence",),
    "tee attach": ("attach_evidence", "attach_receipt"),
    "weights show": ("show_roots",),
    "weights renew": ("renew_root",),
    "log init": ("make_log",),
    "log append": ("append_to_log",),
    "log check": ("check_log",),
    "log checkpoint": ("sign_checkpoint",),
    "log prove": ("prove_log_entry",),
    "log verify": ("verify_log_entry",),
    "log consistency": ("prove_log_consistency",),
    "log cosign": ("cosign_checkpoint",),
}
"""Verb → the functions that do its work."""

NOT_APPLICABLE = {
    "demo": "a tour for the eye: it calls the functions of the other verbs on the shipped models",
    "explain": "prints a row of the catalogue of codes",
    "help": "prints what --help prints",
    "version": "prints versions of packages",
    "completion": "prints a script for a shell",
}

PUBLIC = TYPES | READERS | {name for names in FUNCTIONS.values() for name in names}


def test_the_public_names_are_pinned() -> None:
    assert set(verifai.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    assert getattr(verifai, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = verifai.nonsense


def test_every_verb_is_a_function_or_says_why_not() -> None:
    verbs = []
    for name, row in VERBS.items():
        verbs += [name] if isinstance(row, Verb) else [f"{name} {inner}" for inner in row.verbs]
    assert sorted([*FUNCTIONS, *NOT_APPLICABLE]) == sorted(verbs)


@pytest.mark.parametrize("name", sorted(PUBLIC - TYPES))
def test_a_public_function_says_what_it_takes_and_gives(name: str) -> None:
    signature = inspect.signature(getattr(verifai, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())


def test_public_names_are_enough_to_call_every_public_function() -> None:
    """What a function needs is public itself, or comes out of another one, or out of what that gives."""
    functions = {name: getattr(verifai, name) for name in PUBLIC - TYPES}
    public = {getattr(verifai, name) for name in TYPES}
    given = {one for function in functions.values() for one in _ours(function, inspect.signature(function).return_annotation)}
    given |= {one for owner in given for field in _fields(owner) for one in _ours(owner, field.type)}
    needed = {
        f"{name}({parameter.name}: {one.__name__})": one
        for name, function in functions.items()
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty
        for one in _ours(function, parameter.annotation)
    }
    needed |= {
        f"{owner.__name__}({field.name}: {one.__name__})": one
        for owner in public - given
        for field in _fields(owner)
        if field.default is MISSING_DEFAULT and field.default_factory is MISSING_DEFAULT
        for one in _ours(owner, field.type)
    }
    assert not {place for place, one in needed.items() if one not in public | given}


def _fields(owner: type) -> list[Field[Any]]:
    return [one for one in fields(owner) if not one.name.startswith("_")] if is_dataclass(owner) else []


def _ours(owner: Any, annotation: Any) -> Iterator[type]:
    """The classes of this project in an annotation of ``owner``. A protocol is left out, since whatever fits will do."""
    if isinstance(annotation, str):
        module = inspect.getmodule(inspect.unwrap(owner))
        annotation = eval(annotation, vars(module))
    for one in (typing.get_origin(annotation) or annotation, *typing.get_args(annotation)):
        if isinstance(one, type) and one.__module__.startswith("verifai.") and not getattr(one, "_is_protocol", False):
            yield one
        elif one is not annotation and typing.get_args(one):
            yield from _ours(owner, one)


def test_type_checkers_see_every_public_name() -> None:
    """A name that is imported under another one counts as private for them; it has to be assigned."""
    tree = ast.parse(Path(verifai.__file__).read_text(encoding="utf-8"))
    (block,) = [one for one in tree.body if isinstance(one, ast.If)]
    seen = {a.name for one in block.body if isinstance(one, ast.ImportFrom) for a in one.names if a.asname == a.name}
    seen |= {
        target.id for one in block.body if isinstance(one, ast.Assign) for target in one.targets if isinstance(target, ast.Name)
    }
    assert seen == set(verifai.__all__)
