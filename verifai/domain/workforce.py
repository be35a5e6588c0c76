"""Who does the work of many items: processes of this machine, or a Ray cluster whose workers are not trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifai.errors import UsageError

LOCAL = "local"
RAY = "ray"
MAX_JOBS = 1024
_ADDRESS = re.compile(r"ray://(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z](?:[0-9A-Za-z.-]{0,251}[0-9A-Za-z])?):([0-9]{1,5})")
_HINT = "Write `--on local`, `--on ray` or `--on ray://HOST:PORT`."


@dataclass(frozen=True, slots=True)
class Workforce:
    """How many items are worked on at once, and where; ``docs/scale.md``.

    Attributes:
        jobs: how many at once; ``None`` for as many as cores and memory allow. Lowered where the memory would not suffice.
        on: ``local``, processes of this machine; ``ray``, the cluster that RAY_ADDRESS names, else one begun here for this run;
            ``ray://HOST:PORT``, the cluster whose client server listens there.
        ship_weights: whether weights that proofs hide may leave this machine.
        ship_inputs: whether inputs that proofs hide may leave it.

    Raises:
        UsageError: ``bad-option``.
    """

    jobs: int | None = 1
    on: str = LOCAL
    ship_weights: bool = False
    ship_inputs: bool = False

    def __post_init__(self) -> None:
        """Refuse what no option can mean."""
        if self.jobs is not None and not 1 <= self.jobs <= MAX_JOBS:
            raise UsageError("bad-option", f"not between 1 and {MAX_JOBS}", where="--jobs", hint="Give the number of cores.")
        if self.on not in (LOCAL, RAY):
            found = _ADDRESS.fullmatch(self.on)
            if found is None or not 1 <= int(found[1]) <= 65535:
                raise UsageError("bad-option", f"{self.on[:80]!r} is no place to work at", where="--on", hint=_HINT)
        for name, given in (("--ship-weights", self.ship_weights), ("--ship-inputs", self.ship_inputs)):
            if given and not self.remote:
                message = "nothing leaves this machine where it works by itself"
                raise UsageError("bad-option", message, where=name, hint="Leave it out, or name a cluster with --on.")

    @property
    def remote(self) -> bool:
        """Whether others do the work: what they give back is checked before anything is made of it."""
        return self.on != LOCAL

    @property
    def address(self) -> str | None:
        """The address of the cluster's client server, where one was given."""
        return self.on if self.on not in (LOCAL, RAY) else None


ALONE = Workforce()
"""One item after the other, in this process."""
