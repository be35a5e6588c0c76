"""What a fingerprint must offer. ``tests/contract/test_fingerprints.py`` holds every kind to it.

A fingerprint turns one sample's output into few bytes such that (a) close outputs have close codes, (b) without the
seed, no wrong output can be found whose code is close, and (c) equal bytes in give equal bytes out on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import Comparison
from verifai.errors import UsageError
from verifai.fingerprints.output import Output

Parameters = Mapping[str, int | str]


class Fingerprint(Protocol):
    """One output kind's fingerprint. Stateless."""

    @property
    def kind(self) -> OutputKind:
        """The kind it is for."""

    @property
    def needs_calibration(self) -> bool:
        """Whether its tolerance must be measured; exact outputs need none."""

    def parameters(self, given: Parameters) -> Parameters:
        """``given`` with every default filled in. Raises UsageError (``fingerprint-parameters``)."""

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """The code of one output under a 32-byte seed.

        Raises:
            EvidenceRejected: ``output-unfit``, ``output-not-finite``.
        """

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """Compare two codes of one sample, made with one seed and these parameters. Symmetric.

        Raises:
            EvidenceRejected: ``fingerprint-malformed``.
        """


def fill(given: Parameters, defaults: Parameters, ranges: Mapping[str, tuple[int, int]]) -> Parameters:
    """Defaults overlaid with ``given``; unknown names, wrong types and values outside ``ranges`` are refused."""
    for name, value in given.items():
        if name not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            raise UsageError("fingerprint-parameters", f"no parameter {name!r}", hint=f"Parameters of this kind: {known}.")
        if isinstance(value, bool) or type(value) is not type(defaults[name]):
            raise UsageError("fingerprint-parameters", f"{name} is of another type", where=name)
        low, high = ranges.get(name, (0, 2**31 - 1))
        if isinstance(value, int) and not low <= value <= high:
            raise UsageError("fingerprint-parameters", f"{name} = {value} is outside [{low}, {high}]", where=name)
    return {**defaults, **given}


def integer(parameters: Parameters, name: str) -> int:
    """An integer parameter of a filled-in set."""
    value = parameters[name]
    assert isinstance(value, int)
    return value


def text(parameters: Parameters, name: str) -> str:
    """A text parameter of a filled-in set."""
    value = parameters[name]
    assert isinstance(value, str)
    return value
