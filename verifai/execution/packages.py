"""How to install what is missing, without naming a package index: there, ``verifai`` is another project."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit


def install_command(extra: str = "") -> str:
    """The command that installs verifai again, with ``extra`` where one is named.

    It names the place that this very installation came from, where that is a folder that is still there; else the checkout.
    """
    wanted = f"[{extra}]" if extra else ""
    folder = _source_folder()
    if folder is None:
        return f"pip install {shlex.quote('.' + wanted)} in a checkout of verifai"
    return f"pip install {shlex.quote(str(folder) + wanted)}"


def _source_folder() -> Path | None:
    """The checkout that pip noted when it installed (PEP 610)."""
    try:
        noted = json.loads(distribution("verifai").read_text("direct_url.json") or "{}")
        address = urlsplit(str(noted.get("url", "")))
        folder = Path(unquote(address.path))
        if address.scheme == "file" and "dir_info" in noted and (folder / "pyproject.toml").is_file():
            return folder
    except (PackageNotFoundError, OSError, ValueError, AttributeError):
        pass
    return None
