"""warm-up: what the first proof would have to wait for is done ahead, by every engine that can."""

from __future__ import annotations

from verifai.domain.progress import SILENT, Progress
from verifai.engines.capabilities import WarmsUp
from verifai.engines.registry import all_engines


def warm_up(*, progress: Progress = SILENT) -> None:
    """Let each engine do its work ahead and check the result.

    Raises:
        InternalError: ``bug``, when a proof of ours does not hold.
    """
    for engine in all_engines():
        if isinstance(engine, WarmsUp):
            engine.warm_up(progress)
