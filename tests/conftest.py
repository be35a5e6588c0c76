"""Fixtures that several packages of tests share. Heavy ones are built once per run, and only when a test asks for them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: no example has a deadline, and making examples may take its time. What decides whether a change
# lands tries the same examples each time; `make test-slow` draws new ones (`--hypothesis-profile=search`).
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", UNTIMED, derandomize=True, database=None)
settings.register_profile("search", UNTIMED, print_blob=True)
settings.load_profile("steady")

# A background job of a shell starts with SIGINT ignored, and children inherit that; then no Ctrl-C would reach what is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _marks_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Opening ledgers leave a mark per root in the user's state folder; tests use theirs, also in child processes."""
    os.environ["VERIFAI_OPENINGS_DIR"] = str(tmp_path_factory.mktemp("openings"))


if TYPE_CHECKING:
    from tests.support.ezkl_small import SmallCircuit


def _compiled(factory: pytest.TempPathFactory, visibility: str) -> SmallCircuit:
    from tests.support.ezkl_small import compile_small
    from verifai.domain.statement import Visibility

    folder = factory.mktemp(f"ezkl-{visibility}")
    folder.chmod(0o700)
    return compile_small(folder, Visibility(visibility))


@pytest.fixture(scope="session")
def small_public(tmp_path_factory: pytest.TempPathFactory) -> SmallCircuit:
    """The small ezkl circuit with public input and output, and one proof."""
    return _compiled(tmp_path_factory, "public")


@pytest.fixture(scope="session")
def small_hashed(tmp_path_factory: pytest.TempPathFactory) -> SmallCircuit:
    """The same with a hashed input."""
    return _compiled(tmp_path_factory, "hashed")


@pytest.fixture(scope="session")
def small_private(tmp_path_factory: pytest.TempPathFactory) -> SmallCircuit:
    """The same with a private input."""
    return _compiled(tmp_path_factory, "private")
