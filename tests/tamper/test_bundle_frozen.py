"""Frozen bundles: what an old release accepted or refused, every later release accepts or refuses, for the same reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.bundle.archive import pack
from verifai.domain.findings import Outcome
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.stages.verify import Expectations
from verifai.trust_file import read_trust

FROZEN = ROOT / "fixtures" / "bundles"
CASES = sorted(FROZEN.glob("v*/*/*.expected.json"))


def test_there_are_frozen_bundles_of_both_kinds() -> None:
    assert len([case for case in CASES if case.parent.name == "accept"]) >= 3
    assert len([case for case in CASES if case.parent.name == "reject"]) >= 15


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.parent.name}-{case.name.split('.')[0]}")
def test_a_frozen_bundle_keeps_its_verdict(case: Path) -> None:
    expected = json.loads(case.read_text())
    version = case.parents[1]
    bundle = case.with_name(case.name.removesuffix(".expected.json"))
    options = AuditOptions(expect=Expectations(context=expected["context"]), rederive=False, now=expected["now"])
    report = audit_bundle(bundle, read_trust(version / "trust.toml"), options)
    assert report.status == expected["status"], [one for one in report.findings if one.outcome is not Outcome.HOLDS]
    assert (report.status == 0) == (case.parent.name == "accept")
    bad = {one.code for one in report.findings if one.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)}
    assert set(expected["codes"]) <= bad
    assert bool(bad) == (report.status != 0)


def test_packing_the_frozen_folder_gives_the_frozen_file(tmp_path: Path) -> None:
    accept = FROZEN / "v1" / "accept"
    pack(accept / "folder", tmp_path / "packed")
    assert (tmp_path / "packed").read_bytes() == (accept / "single-file.vbundle").read_bytes()
