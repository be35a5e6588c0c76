"""A configuration file that Python's TOML reader chokes on is a usage error with a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from verifai.errors import UsageError
from verifai.trust_file import read_trust


@pytest.mark.parametrize("data", [b"a = " + b"9" * 5000, b"a = " + b"[" * 100_000, b"\xff", b"a = 1\na = 2", b"a ="])
def test_what_is_no_toml_is_refused_with_its_place(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "trust.toml").write_bytes(data)
    with pytest.raises(UsageError) as problem:
        read_trust(tmp_path / "trust.toml")
    assert problem.value.code == "bad-trust"
    assert problem.value.where.endswith("trust.toml")
