"""A report page as PDF, by WeasyPrint (extra ``[pdf]``): the same HTML, so that the two never say different things."""

from __future__ import annotations

from typing import Any

from verifai.errors import Undecided
from verifai.execution.packages import install_hint


def render_pdf(page: bytes) -> bytes:
    """The page as PDF; it loads nothing from anywhere. Raises Undecided (``package-missing``)."""
    try:
        import weasyprint
    except (ImportError, OSError) as problem:  # OSError: Pango, a library of the system, is not there
        raise Undecided(
            "package-missing", f"PDF reports cannot be made: {str(problem)[:200]}", hint=install_hint("pdf")
        ) from None
    document = weasyprint.HTML(string=page.decode(), url_fetcher=_nothing)
    made: bytes = document.write_pdf(presentational_hints=True)
    return made


def _nothing(url: str, *_: Any, **__: Any) -> Any:
    raise ValueError(f"a report loads nothing: {url[:80]}")
