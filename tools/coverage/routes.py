"""All cases, route by route."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tools.coverage.case import Case


@lru_cache(maxsize=1)
def all_cases() -> Sequence[Case]:
    """Every case; raises ValueError where two have one name."""
    from tools.coverage import (
        architectures,
        fused,
        handwritten,
        handwritten_more,
        keras_models,
        quantised,
        sklearn_models,
        torch_functions,
        torch_modules,
    )

    parts = (
        torch_modules, torch_functions, architectures, keras_models, handwritten, handwritten_more, fused, quantised,
        sklearn_models,
    )  # fmt: skip
    cases = [case for part in parts for case in part.cases()]
    if len({case.slug for case in cases}) < len(cases):
        seen: set[str] = set()
        raise ValueError([case.slug for case in cases if case.slug in seen or seen.add(case.slug)])  # type: ignore[func-returns-value]
    return cases
