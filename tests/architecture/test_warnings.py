"""A warning ends a test: what a library deprecates, or a file that nobody closes, is found when it begins."""

from __future__ import annotations

import warnings

import pytest


@pytest.mark.parametrize("kind", [DeprecationWarning, PendingDeprecationWarning, ResourceWarning, RuntimeWarning, UserWarning])
def test_warnings_are_errors(kind: type[Warning]) -> None:
    with pytest.raises(kind, match="planted"):
        warnings.warn("planted", kind, stacklevel=1)
