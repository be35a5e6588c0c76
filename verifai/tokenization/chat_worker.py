"""The child process that renders a chat template. Run by :mod:`.chat` only; never imported by the parent.

A template is a program of the model's publisher: Jinja2's immutable sandbox keeps it from the interpreter, and the child's
limits bound what loops and repetitions can cost.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

MAX_MESSAGE = 200


def _render(args: Mapping[str, Any]) -> dict[str, Any]:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(text: object) -> str:
        raise jinja2.exceptions.TemplateRuntimeError(str(text)[:MAX_MESSAGE])

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals.update(raise_exception=refuse)
    try:
        template = environment.from_string(args["template"])
        text = template.render(
            messages=args["messages"], add_generation_prompt=True, bos_token=args["begin"], eos_token=args["end"]
        )
    except Exception as problem:  # noqa: BLE001 - a template can fail in any way, and each is its own fault
        return {"refused": f"{type(problem).__name__}: {str(problem)[:MAX_MESSAGE]}"}
    return {"text": text[: args["most"] + 1]}


if __name__ == "__main__":
    from verifai.execution.child_entry import serve

    sys.exit(serve({"render": _render}))
