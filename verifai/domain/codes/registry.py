"""Codes of registries: OCI and MLflow."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "bad-reference": Code(
        (2,), "A text names no place of models.", "Write oci:FOLDER:TAG, HOST/NAME:TAG, or models:/NAME/VERSION."
    ),
    "registry-malformed": Code(
        (1,), "A registry gave something else than it promised, or than was asked for.", "Do not accept it; tell its keeper."
    ),
    "registry-missing": Code((3,), "A registry does not have what was asked for.", "Check the name; push it first."),
    "registry-unavailable": Code((4,), "A registry could not be asked, or refused.", "Check name, network and permissions."),
    "registry-other-model": Code(
        (1,), "A bundle is about another model than the one that it is attached to.", "Attach it to its own model."
    ),
}
