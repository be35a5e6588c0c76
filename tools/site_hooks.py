"""What the documentation site does to a page.

Links that leave ``docs/`` become the file's name: the pages are read in a checkout too, where ``../action.yml`` leads to the
file; a site holds the pages only. And no page fetches anything: what the theme would load from the network comes with the site.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Protocol

_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>\.\.?/[^)\s]+)\)")
_FENCED = re.compile(r"(```.*?```)", re.S)
_SHIM = re.compile(r'<script src="https?://[^"]*/iframe-worker/shim">')
_FETCHED = re.compile(
    r'<(?:script|img|iframe|link rel="(?:stylesheet|preload|preconnect)")[^>]*(?:src|href)="(?:https?:)?//[^"]*"'
)


class _File(Protocol):
    src_uri: str


class _Page(Protocol):
    file: _File


def on_page_markdown(markdown: str, page: _Page, **_: object) -> str:
    """The page's text, called by mkdocs before it renders the page; fenced code stays as it is."""
    parts = _FENCED.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(lambda link: _within(link, page), part) for part in parts)


def on_post_page(output: str, page: _Page, **_: object) -> str:
    """The rendered page. Raises RuntimeError: it would fetch something when it is opened."""
    return _offline(output, page.file.src_uri)


def on_post_template(output_content: str, template_name: str, **_: object) -> str:
    """A page of the theme's own, such as ``404.html``. Raises RuntimeError as :func:`on_post_page`."""
    return _offline(output_content, template_name)


def _offline(page: str, name: str) -> str:
    up = "../" * len(PurePosixPath(name).parent.parts)
    page = _SHIM.sub(f'<script src="{up}assets/iframe-worker.js">', page)
    if fetched := _FETCHED.search(page):
        raise RuntimeError(f"{name}: the page would fetch {fetched[0]!r}")
    return page


def _within(link: re.Match[str], page: _Page) -> str:
    depth = len(PurePosixPath(page.file.src_uri).parent.parts)
    ups = 0
    for part in PurePosixPath(link["target"].split("#")[0]).parts:
        if part != "..":
            break
        ups += 1
    if ups <= depth:
        return link[0]
    name = "/".join(PurePosixPath(link["target"]).parts[ups:])
    text = link["text"]
    return text if name in text else f"{text} (`{name}` in the repository)"
