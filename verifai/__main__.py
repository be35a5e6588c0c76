"""``python -m verifai``: the command line, as the console script starts it."""

from __future__ import annotations

import runpy

runpy.run_module("verifai.cli.main", run_name="__main__")  # which ends the process
