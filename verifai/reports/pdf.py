"""A report page as PDF, by WeasyPrint (extra ``[pdf]``): the same HTML, so that the two never say different things."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from verifai.errors import Undecided
from verifai.execution.packages import install_hint

MAX_PAGE_BYTES = 4 * 2**20
"""Of the HTML. WeasyPrint lays out the whole page at once: 2.3 MB, the audit of 100 bundles, take 1.2 GiB and a minute."""


def render_pdf(pieces: Iterable[bytes]) -> bytes:
    """The page, in pieces, as PDF; it loads nothing from anywhere.

    Raises:
        Undecided: ``report-too-large``, before the whole page is in memory; ``package-missing``.
    """
    page = bytearray()
    for piece in pieces:
        page += piece
        if len(page) > MAX_PAGE_BYTES:
            raise Undecided(
                "report-too-large",
                f"a PDF of more than {MAX_PAGE_BYTES // 2**20} MiB of HTML would take gigabytes of memory",
                where="--report",
                hint="Write it as HTML, which takes any number of bundles: --report html=FILE",
            )
    try:
        import weasyprint
    except (ImportError, OSError) as problem:  # OSError: Pango, a library of the system, is not there
        raise Undecided(
            "package-missing", f"PDF reports cannot be made: {str(problem)[:200]}", hint=install_hint("pdf")
        ) from None
    document = weasyprint.HTML(string=bytes(page).decode(), url_fetcher=_nothing)
    made: bytes = document.write_pdf(presentational_hints=True)
    return made


def _nothing(url: str, *_: Any, **__: Any) -> Any:
    raise ValueError(f"a report loads nothing: {url[:80]}")
