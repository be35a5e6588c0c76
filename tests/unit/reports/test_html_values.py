"""Proven values on a page: drawn and counted, and no name in them leaves its place."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from verifai.domain.audit import AuditReport
from verifai.domain.digest import Sha256
from verifai.domain.findings import Finding, Outcome
from verifai.domain.shown import Decision, ShownTensor
from verifai.domain.statement import Role
from verifai.reports.html_audit import render_html
from verifai.reports.html_values import MAX_PIXELS, picture_svg, values_html

EVIL = '"><script>alert(1)</script>&\u202e\0\ud800'


def shown(shape: tuple[int, ...], values: list[float], role: Role = Role.INPUT, **more: object) -> ShownTensor:
    fields = {"steps": (1 / 255,), "low": min(values), "high": max(values), **more}
    return ShownTensor(role, "x", shape, tuple(values), **fields)  # type: ignore[arg-type]


def ramp(count: int) -> list[float]:
    return [index / (count - 1) for index in range(count)]


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 8, 8, 1), (1, 3, 8, 8), (1, 8, 8, 3)])
def test_a_picture_is_drawn_from_rectangles_alone(shape: tuple[int, ...]) -> None:
    count = 1
    for size in shape:
        count *= size
    svg = picture_svg(shown(shape, ramp(count)))
    assert 'viewBox="0 0 8 8"' in svg and "8×8 pixels, black is 0 and white is 1" in svg
    assert sum(int(width) for width in re.findall(r'<rect x="\d+" y="\d+" width="(\d+)" height="1"', svg)) == 64
    assert not re.search(r"<(?!/?(figure|figcaption|svg|rect)\b)", svg)
    if 3 not in shape:
        assert 'fill="#000000"' in svg and 'fill="#ffffff"' in svg


@pytest.mark.parametrize("shape", [(1, 64), (8, 8), (1, 2, 8, 4), (2, 1, 8, 4), (1, 1, 2, 32), (1, 1, 64, 1)])
def test_what_is_no_picture_is_not_drawn_as_one(shape: tuple[int, ...]) -> None:
    assert picture_svg(shown(shape, ramp(64))) == ""


def test_a_large_picture_is_thinned_and_says_so() -> None:
    svg = picture_svg(shown((1, 1, 300, 300), [0.0] * 90_000, high=1.0))
    assert f'viewBox="0 0 {300 // 5} {300 // 5}"' in svg and "every 5th pixel is drawn" in svg and MAX_PIXELS >= 300 // 5


def test_a_cut_picture_and_one_with_a_hole_are_tables() -> None:
    whole = shown((1, 1, 8, 8), ramp(64))
    assert picture_svg(whole.cut(10)) == ""
    assert values_html([whole.cut(10)])


def test_bytes_and_other_ranges_have_their_black_and_white() -> None:
    assert "white is 255" in picture_svg(shown((1, 1, 8, 8), [255 * one for one in ramp(64)]))
    assert "black is -2 and white is 3" in picture_svg(shown((1, 1, 8, 8), [5 * one - 2 for one in ramp(64)]))
    assert picture_svg(shown((1, 1, 8, 8), [-7.0] * 64))
    assert picture_svg(shown((1, 1, 8, 8), [-1e30] * 64)) and picture_svg(shown((1, 1, 8, 8), [0.0] * 64))
    assert picture_svg(shown((1, 1, 8, 8), [-1.7e308, *[1.7e308] * 63])) == ""


def test_a_row_is_a_table_with_its_names_and_a_long_one_is_counted() -> None:
    names = ("alcohol", EVIL, "ash")
    page = values_html([shown((1, 3), [1.5, 2.0, 3.0], names=names)])
    assert "<th>alcohol</th>" in page and "<td>1.500</td>" in page and "<script" not in page
    long = values_html([shown((1, 1000), ramp(1000))])
    assert "968 of 1,000 values are not shown" in long and len(long) < 5000
    many = values_html([shown((1, 1000, 2), ramp(2000))])
    assert "1,984 of 2,000 values are not shown" in many


def test_a_class_stands_with_its_label() -> None:
    decisions = (Decision(0, 2, EVIL),)
    one = shown((1, 3), [0.1, 0.2, 0.7], Role.OUTPUT, decides=True, decisions=decisions, decided=1)
    page = values_html([one])
    assert "Class <b>2, " in page and "<script" not in page
    assert "No label says yes" in values_html([shown((1, 3), [0.1] * 3, Role.OUTPUT, decides=True, every=True)])


def test_one_number_is_large_and_has_its_step() -> None:
    page = values_html([shown((1, 1), [118.14], Role.OUTPUT, steps=(float(Fraction(22, 100)),))])
    assert "<b>118.1</b> step 0.22" in page


def test_the_audit_page_shows_values_and_still_loads_nothing() -> None:
    report = AuditReport(
        EVIL,
        Sha256("0" * 64),
        ("w",),
        (Finding("c", Outcome.HOLDS, "m"),),
        values=(shown((1, 1, 8, 8), ramp(64)), shown((1, 2), [0.0, 1.0], names=(EVIL, "b"))),
    )
    page = render_html([report])
    assert b"What was proven, in values" in page and b'class="picture"' in page
    assert b"<script" not in page and b"<img" not in page and b"http" not in page.replace(b"http-equiv", b"")
    assert b"default-src 'none'; style-src 'unsafe-inline'\"" in page
    assert b"What was proven, in values" not in render_html([AuditReport("p", None, (), ())])
