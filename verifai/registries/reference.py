"""How a place of models is named: ``oci:FOLDER:TAG``, ``HOST/NAME:TAG``, or ``models:/NAME/VERSION`` for MLflow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifai.errors import UsageError

_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_LAYOUT = re.compile(rf"oci:(?P<folder>.+?):(?P<tag>{_TAG})")
_REMOTE = re.compile(
    rf"(?P<host>localhost(?::\d{{1,5}})?|[A-Za-z0-9.-]+[.:][A-Za-z0-9.:-]*)/"
    rf"(?P<name>[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*):(?P<tag>{_TAG})"
)
_MLFLOW = re.compile(r"models:/(?P<name>[^/@:]{1,200})/(?P<version>[1-9][0-9]{0,9})")


@dataclass(frozen=True, slots=True)
class LayoutReference:
    """A tag in an OCI image layout on disk."""

    folder: str
    tag: str


@dataclass(frozen=True, slots=True)
class RemoteReference:
    """A tag in a registry."""

    host: str
    name: str
    tag: str


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model in MLflow's registry."""

    name: str
    version: str


Reference = LayoutReference | RemoteReference | ModelVersion


def parse_reference(text: str) -> Reference:
    """What ``text`` names. Raises UsageError (``bad-reference``)."""
    if match := _MLFLOW.fullmatch(text):
        return ModelVersion(match["name"], match["version"])
    if match := _LAYOUT.fullmatch(text):
        return LayoutReference(match["folder"], match["tag"])
    if match := _REMOTE.fullmatch(text):
        return RemoteReference(match["host"], match["name"], match["tag"])
    raise UsageError(
        "bad-reference",
        "no name of a place of models",
        where=text[:200],
        hint="Write oci:FOLDER:TAG, HOST/NAME:TAG, or models:/NAME/VERSION.",
    )
