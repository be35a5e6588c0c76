"""What the on-chain check needs from outside: node, the compiler, and the packages of the extra ``evm``.

The compiler is the one file ``soljson.js`` of the npm package solc. Its digest is pinned, so where it lies and who put it there
does not matter; the rest of that package is never loaded.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from verifai.domain.digest import sha256
from verifai.errors import UsageError
from verifai.execution.files import read_limited
from verifai.execution.packages import install_hint

SOLC_VERSION = "0.8.20"
SOLJSON_SHA256 = "033dc42a16378dd036a475b8a7080af83cfae1841eb6848ce1667c56193972ba"
SOLC_VARIABLE = "VERIFAI_SOLC"
"""Environment variable: the folder of the npm package solc, or its file soljson.js."""
DISTRIBUTIONS = ("py-evm", "eth-abi")
_PACKAGE = Path("node_modules", "solc")
_CHECKOUT = Path(__file__).resolve().parents[4] / "tools" / "evm"
_SOLJSON = "soljson.js"
_MAX_SOLJSON_BYTES = 64 * 1024 * 1024


class ToolMissing(Exception):
    """Something is not installed. Never leaves this package: it becomes the finding ``evm-unavailable``."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Tools:
    """Everything that is needed, found.

    Attributes:
        node: absolute path of the program.
        soljson: the compiler, of the pinned digest.
        evm_version: of the distribution py-evm.
    """

    node: Path
    soljson: bytes
    evm_version: str


def find_tools() -> Tools:
    """Find all of them.

    Raises:
        ToolMissing: the first that is missing, with what to do.
    """
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise ToolMissing(f"the Python package {name} is not installed", install_hint("evm")) from None
    node = shutil.which("node")
    if node is None:
        raise ToolMissing("the program node is not on the path", "Install Node.js, 18 or newer.")
    return Tools(Path(node).absolute(), find_compiler(), versions["py-evm"])


def find_compiler() -> bytes:
    """The compiler's bytes, from the first place that has the file: the variable, the working directory, the checkout.

    Raises:
        ToolMissing: it is nowhere, or another release.
    """
    remedy = f"npm install solc@{SOLC_VERSION} in the working directory, or set {SOLC_VARIABLE} to the folder of that package."
    given = os.environ.get(SOLC_VARIABLE)
    places = [Path(given)] if given else [Path.cwd() / _PACKAGE, _CHECKOUT / _PACKAGE]
    for place in places:
        path = place / _SOLJSON if place.is_dir() else place
        if not path.is_file():
            continue
        try:
            data = read_limited(path, limit=_MAX_SOLJSON_BYTES)
        except (OSError, UsageError):
            raise ToolMissing("the npm package solc cannot be read", remedy) from None
        if sha256(data) != SOLJSON_SHA256:
            raise ToolMissing(f"the npm package solc that was found is not release {SOLC_VERSION}", remedy)
        return data
    raise ToolMissing(f"the npm package solc {SOLC_VERSION} is not installed", remedy)
