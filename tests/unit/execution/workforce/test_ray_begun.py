"""Ray's own limit for the start of a node is too short for a loaded machine; a foreign cluster is asked once."""

from __future__ import annotations

import pytest

from verifai.errors import Undecided
from verifai.execution.workforce.ray_crew import STARTS, _enter


class Ray:
    """Fails ``failures`` times to begin or to join."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls: list[str] = []

    def init(self, address: str, **_: object) -> None:
        self.calls.append(address)
        if len(self.calls) <= self.failures:
            raise RuntimeError("The current node timed out during startup.")

    def shutdown(self) -> None:
        self.calls[-1] += " closed"


def test_a_node_that_did_not_start_in_time_is_begun_again() -> None:
    ray = Ray(failures=STARTS - 1)
    _enter(ray, "local", {})
    assert ray.calls == ["local closed"] * (STARTS - 1) + ["local"]


@pytest.mark.parametrize(("place", "tries"), [("local", STARTS), ("ray://10.0.0.1:10001", 1), ("10.0.0.1:6379", 1)])
def test_what_cannot_be_joined_is_said(place: str, tries: int) -> None:
    ray = Ray(failures=STARTS)
    with pytest.raises(Undecided, match="cannot join: The current node timed out") as raised:
        _enter(ray, place, {})
    assert (raised.value.code, ray.calls) == ("cluster-lost", [f"{place} closed"] * tries)
