"""The README's pictures show codes of today and fetch nothing."""

from __future__ import annotations

import html
import re

import pytest

from tests.support.paths import ROOT
from verifai.domain.codes import all_codes


@pytest.mark.parametrize("name", ["verdict", "demo"])
def test_a_picture_shows_codes_that_exist_and_fetches_nothing(name: str) -> None:
    picture = (ROOT / "docs" / "assets" / f"{name}.svg").read_text(encoding="utf-8")
    shown = set(re.findall(r"\[([a-z]+(?:-[a-z0-9]+)+)\]", html.unescape(picture)))
    assert len(shown) >= 3 and shown <= set(all_codes()), "run: python -m tools.pictures"
    assert "@font-face" not in picture and "url(http" not in picture and "href" not in picture
    assert f"docs/assets/{name}.svg" in (ROOT / "README.md").read_text(encoding="utf-8")
