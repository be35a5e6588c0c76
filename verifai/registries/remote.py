"""A registry over the network, by the package ``oras``. Its answers are hostile: reads have limits, digests are compared."""

from __future__ import annotations

import inspect
import re
from functools import partial
from pathlib import Path
from time import monotonic
from types import MethodType
from typing import Any
from urllib.parse import urljoin

from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.packages import install_hint
from verifai.onnx_graph.refusal import printable
from verifai.registries.oci import INDEX_TYPE, MALFORMED, MANIFEST_TYPE, MAX_MANIFEST_BYTES
from verifai.registries.reference import RemoteReference

UNAVAILABLE = "registry-unavailable"
_SECONDS, _MAX_SECONDS = 60.0, 1800.0
"""Until an answer begins or goes on, and until it is whole."""
_CHUNK = 1 << 20
_PLAIN = {"Accept-Encoding": "identity"}


class RemoteStore:
    """One repository of a registry. Registries on this machine are spoken to without TLS, others never."""

    def __init__(self, reference: RemoteReference) -> None:
        """Raises UsageError (``extra-missing``)."""
        try:
            from oras.container import Container
            from oras.provider import Registry
        except ImportError:
            raise UsageError("extra-missing", "the package oras is not installed", hint=install_hint("registries")) from None
        name = f"{reference.host}/{reference.name}"
        local = reference.host.partition(":")[0] in ("localhost", "127.0.0.1")
        self._registry = Registry(hostname=reference.host, insecure=local)
        # Without oras's retries, which wait minutes whatever goes wrong; with a limit for an answer that never comes.
        self._registry.do_request = MethodType(inspect.unwrap(Registry.do_request), self._registry)
        self._registry.session.request = partial(self._registry.session.request, timeout=_SECONDS)
        self._registry.session.hooks["response"].append(refuse_plain)
        self._container = Container(f"{name}:{reference.tag}")
        self._registry.auth.load_configs(self._container)
        self._base = f"{'http' if local else 'https'}://{reference.host}/v2/{reference.name}"
        self._name = name

    @property
    def where(self) -> str:
        """Host and name."""
        return self._name

    def manifest(self, reference: str) -> bytes | None:
        """By tag or digest."""
        accept = {"Accept": f"{MANIFEST_TYPE}, {INDEX_TYPE}", **_PLAIN}
        answer = self._ask("GET", f"manifests/{reference}", (200, 404), headers=accept, stream=True)
        with answer:
            return None if answer.status_code == 404 else self._limited(answer, MAX_MANIFEST_BYTES)

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Under a tag or its digest."""
        self._ask("PUT", f"manifests/{reference}", (201,), headers={"Content-Type": media_type}, data=data).close()

    def fetch(self, digest: str, size: int, target: Path) -> None:
        """Stream a blob, no further than its size."""
        with (
            self._ask("GET", f"blobs/{digest}", (200,), headers=dict(_PLAIN), stream=True) as answer,
            target.open("xb") as stream,
        ):
            left = size
            for chunk in self._chunks(answer):
                left -= len(chunk)
                if left < 0:
                    raise EvidenceRejected(MALFORMED, f"more than the {size} bytes that were promised", where=self._name)
                stream.write(chunk)

    def put(self, digest: str, source: Path) -> None:
        """Upload a file, unless it is there."""
        from requests import RequestException

        layer = {"digest": digest, "size": source.stat().st_size, "mediaType": "application/octet-stream"}
        try:
            answer = self._registry.upload_blob(str(source), self._container, layer)
        except (RequestException, ValueError, OSError) as problem:
            raise self._unavailable(str(problem)) from None
        if answer.status_code not in (200, 201, 202):
            raise self._unavailable(f"it answered {answer.status_code}")

    def _ask(self, method: str, path: str, wanted: tuple[int, ...], **options: Any) -> Any:
        from requests import RequestException

        try:
            answer = self._registry.do_request(f"{self._base}/{path}", method, **options)
        except (RequestException, ValueError, OSError) as problem:
            raise self._unavailable(str(problem)) from None
        if options.get("stream") and (packing := answer.headers.get("Content-Encoding", "identity")) != "identity":
            answer.close()  # a megabyte of it may unfold to a gigabyte before anybody can count
            raise EvidenceRejected(MALFORMED, f"an answer packed as {packing[:40]!r}, which nobody asked for", where=self._name)
        if answer.status_code not in wanted:
            answer.close()
            raise self._unavailable(f"it answered {answer.status_code} to {method} {path[:80]}")
        return answer

    def _limited(self, answer: Any, limit: int) -> bytes:
        found = bytearray()
        for chunk in self._chunks(answer):
            found += chunk
            if len(found) > limit:
                raise EvidenceRejected(MALFORMED, f"more than {limit} bytes", where=self._name)
        return bytes(found)

    def _chunks(self, answer: Any) -> Any:
        from requests import RequestException

        began = monotonic()
        try:
            for chunk in answer.iter_content(_CHUNK):
                if monotonic() - began > _MAX_SECONDS:
                    raise self._unavailable(f"one answer took more than {_MAX_SECONDS:g} s")
                yield chunk
        except (RequestException, OSError) as problem:
            raise self._unavailable(str(problem)) from None

    def _unavailable(self, message: str) -> Undecided:
        hint = "Check the name, the network, and what you may read and write there."
        return Undecided(UNAVAILABLE, f"the registry did not do it: {printable(message, 300)}", where=self._name, hint=hint)


def refuse_plain(answer: Any, **_: Any) -> None:
    """A registry that is spoken to with TLS must not send them, or their password, to a place without. Raises ValueError."""
    if not answer.url.startswith("https:"):
        return
    places = [answer.headers.get("Location", "")] if answer.is_redirect else []
    places += re.findall(r'realm="?([^",\s]*)', answer.headers.get("WWW-Authenticate", ""), re.IGNORECASE)  # gets a password
    for place in places:
        if urljoin(answer.url, place).partition(":")[0].lower() != "https":
            raise ValueError(f"it sends its readers to {place[:200]!r}, without TLS")
