"""The rounds of docs/consensus.md happen as the page shows them; the hour that it waits takes no time here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.executed_pages import run_page
from tests.support.page_clock import tools_with_a_clock
from tests.support.paths import ROOT


@pytest.mark.tutorials
def test_what_each_person_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPO", str(ROOT))
    work = tmp_path / "work"
    work.mkdir()
    ran = run_page(ROOT / "docs" / "consensus.md", work, tools=tools_with_a_clock)
    assert {command.status for command in ran} == {0, 2, 3, 4}
