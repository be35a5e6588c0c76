"""Codes of the ezkl room."""

from __future__ import annotations

from verifai.domain.codes import Code

CODES: dict[str, Code] = {
    "engine-crashed": Code(
        (4,),
        "Foreign code died, or answered what it never should.",
        "Try again; report it with the input if it stays.",
    ),
    "ezkl-refused": Code(
        (2,),
        "ezkl cannot make a circuit of this model, or cannot run this input through it.",
        "Run `verifai check` on the model; change the node that it names.",
    ),
    "settings-malformed": Code(
        (0, 1),
        "The circuit settings are not what this ezkl release writes, or a figure in them is out of range.",
        "Get the file again from its maker.",
    ),
}
