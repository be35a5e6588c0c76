"""How to install what is missing, without naming a package index: there, ``verifai`` is another project."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit


def install_hint(extra: str = "") -> str:
    """What to do to install verifai again, with ``extra`` where one is named.

    It names the place that this very installation came from, where that is a folder that is still there; else the checkout.
    """
    wanted = f"[{extra}]" if extra else ""
    folder = _source_folder()
    if folder is None:
        return f"Run in a checkout of verifai: `pip install {quote('.' + wanted)}`"
    return f"Run: `pip install {quote(str(folder) + wanted)}`"


def _source_folder() -> Path | None:
    """The checkout that pip noted when it installed (PEP 610)."""
    from importlib.metadata import PackageNotFoundError, distribution  # slow to load, and wanted for a hint alone

    try:
        noted = json.loads(distribution("verifai").read_text("direct_url.json") or "{}")
        address = urlsplit(str(noted.get("url", "")))
        folder = Path(unquote(address.path))
        if address.scheme == "file" and "dir_info" in noted and (folder / "pyproject.toml").is_file():
            return folder
    except (PackageNotFoundError, OSError, ValueError, AttributeError):
        pass
    return None
