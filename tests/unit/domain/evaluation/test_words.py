"""What is said of an evaluation: the worst first, so that what is left out is never what is bad."""

from __future__ import annotations

from dataclasses import replace

from tests.support.evaluations import lock_of, rows_set
from verifai.domain.evaluation.metrics import ClassCounts, Metrics, count_classes
from verifai.domain.evaluation.shown import ShownEvaluation
from verifai.domain.evaluation.words import LINE_CLASSES, LINE_GROUPS, lines
from verifai.reports.html_evaluation import evaluation_html

GROUPS = 30
GROUP = {f"g{at:02}": ClassCounts(2, {(0, 0): at + 1, (0, 1): GROUPS - at}) for at in reversed(range(GROUPS))}
LOCK = replace(lock_of(rows_set()), classes=tuple(f"c{at}" for at in range(20)))
WHOLE = count_classes(20, [at % 20 for at in range(200)], [at % 20 if at % 20 > at // 20 else 0 for at in range(200)])


def test_the_worst_group_is_told_first_wherever_its_name_stands() -> None:
    renamed = {f"g{GROUPS - int(name[1:]):02}": one for name, one in GROUP.items()}
    for groups, worst in ((GROUP, "g00"), (renamed, "g30")):
        told = [line for line in lines(LOCK, Metrics(WHOLE, groups)) if line.startswith("group ")]
        assert len(told) == LINE_GROUPS
        assert told[0].startswith(f"group {worst}: accuracy 3.2 %")


def test_a_page_tells_groups_below_groups_and_nothing_else() -> None:
    page = evaluation_html(ShownEvaluation(LOCK, Metrics(WHOLE, GROUP), "y"))
    below = page.partition("<h3>Groups")[2].partition("</ul>")[0]
    assert below.count("<li>") == LINE_GROUPS + 2
    assert "more classes" not in below
    assert len(LOCK.classes) > LINE_CLASSES


def test_rates_of_classes_are_sums_of_rows_and_columns() -> None:
    counts = ClassCounts(3, {(0, 0): 4, (0, 1): 1, (1, 1): 2, (2, 3): 5})
    assert (counts.samples, counts.accuracy.right) == (12, 6)
    assert [counts.recall(at).samples for at in range(3)] == [5, 2, 5]
    assert [counts.precision(at).samples for at in range(3)] == [4, 3, 0]
    assert counts == ClassCounts(3, dict(reversed(counts.confusion.items())))


def test_names_are_only_names_on_a_page() -> None:
    evil = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "`](javascript:x)|", "[bold]x[/]")
    lock = replace(LOCK, classes=(*evil, *LOCK.classes[4:]), name="<b>name</b>", group="<i>")
    groups = dict(zip(evil, GROUP.values(), strict=False))
    page = evaluation_html(ShownEvaluation(lock, Metrics(WHOLE, groups), "y"))
    for tag in ("<script", "<img", "<b>name", "<i>"):
        assert tag not in page
