"""The reference pages of ``circuit.toml`` and ``trust.toml`` hold what the parsers take, and nothing else."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from enum import StrEnum
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.domain.circuit_spec import AskedPrivacy, parse_spec
from verifai.domain.fidelity import FidelityFloor, Task
from verifai.domain.record import Record
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.domain.trust import TrustRole, parse_trust
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, parse_options
from verifai.errors import UsageError

SPEC = (ROOT / "docs" / "circuit-toml.md").read_text(encoding="utf-8")
TRUST = (ROOT / "docs" / "trust-toml.md").read_text(encoding="utf-8")


def _toml(page: str) -> dict[str, Any]:
    found = re.findall(r"```toml\n(.*?)```", page, flags=re.S)
    assert len(found) == 1
    return tomllib.loads(found[0])


def test_the_circuit_toml_of_the_page_is_one() -> None:
    spec = parse_spec(_toml(SPEC), "page")
    assert spec.name == "wine" and spec.zero_knowledge and spec.batch == 16
    parse_options(Record(spec.options["sumcheck"], "page", error=UsageError, code="bad-spec"))


def test_every_option_of_the_sumcheck_engine_is_on_the_page_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", SPEC.split("## `[engine.sumcheck]`")[1], flags=re.M))
    own = {entry.name for entry in fields(QuantiserOptions)} - {"boundary", "segment"}  # written by `split` alone
    assert set(rows) == own
    default = QuantiserOptions()
    for name, said in rows.items():
        if said in ("looked for", "the suite's"):
            continue
        value = getattr(default, name)
        assert said.strip('`"') == (str(value).lower() if isinstance(value, bool) else str(value)), name


@pytest.mark.parametrize("kind", [Task, Visibility, WeightVisibility, AskedPrivacy])
def test_every_word_that_may_be_chosen_is_on_the_page(kind: type[StrEnum]) -> None:
    assert [one for one in kind if f"`{one}`" not in SPEC] == []


@pytest.mark.parametrize("name", [entry.name for entry in fields(FidelityFloor)])
def test_every_floor_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in SPEC or f"[fidelity] {name}`" in SPEC


@pytest.mark.parametrize("role", TrustRole)
def test_every_role_is_on_the_page(role: TrustRole) -> None:
    assert f"| `{role}` |" in TRUST


def test_the_trust_file_of_the_page_is_one() -> None:
    trust = parse_trust(_toml(TRUST), "page")
    assert len(trust.keys) == 2 and len(trust.roles) == 2 and trust.log is not None and trust.keyless is not None
