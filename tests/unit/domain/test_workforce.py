"""Who works: what the options can mean, and what they cannot."""

from __future__ import annotations

import pytest

from verifai.domain.workforce import ALONE, LOCAL, MAX_JOBS, RAY, Workforce
from verifai.errors import UsageError


@pytest.mark.parametrize(
    "on",
    [
        "",
        "Ray",
        "ray ",
        "ray:",
        "ray://",
        "ray://host",
        "ray://host:",
        "ray://host:0",
        "ray://host:65536",
        "ray://host:99999999999",
        "ray://ho st:10001",
        "ray://host:10001/",
        "ray://user@host:10001",
        "ray://-host:10001",
        "ray://host:١٠٠٠١",
        "ray://host:10001\n",
        "RAY://host:10001",
        "local://",
        "dask",
        "http://host:10001",
    ],
)
def test_another_place_is_refused_with_what_can_be_written(on: str) -> None:
    with pytest.raises(UsageError) as caught:
        Workforce(on=on)
    assert (caught.value.code, caught.value.where) == ("bad-option", "--on") and "--on ray" in caught.value.hint


@pytest.mark.parametrize("on", ["ray://head:10001", "ray://10.0.0.7:1", "ray://[::1]:65535", "ray://a.b-c.example:10001"])
def test_a_cluster_has_an_address(on: str) -> None:
    assert (Workforce(on=on).remote, Workforce(on=on).address) == (True, on)


def test_the_other_places() -> None:
    assert (ALONE.remote, ALONE.address, ALONE.jobs, ALONE.on) == (False, None, 1, LOCAL)
    assert (Workforce(on=RAY).remote, Workforce(on=RAY).address) == (True, None)


@pytest.mark.parametrize("jobs", [0, -1, MAX_JOBS + 1])
def test_a_number_of_jobs_nobody_can_mean(jobs: int) -> None:
    with pytest.raises(UsageError) as caught:
        Workforce(jobs)
    assert caught.value.where == "--jobs"


@pytest.mark.parametrize("option", ["ship_weights", "ship_inputs"])
def test_nothing_is_shipped_to_this_machine(option: str) -> None:
    with pytest.raises(UsageError, match="leaves this machine"):
        Workforce(**{option: True})  # type: ignore[arg-type]
    assert getattr(Workforce(on=RAY, **{option: True}), option)  # type: ignore[arg-type]
