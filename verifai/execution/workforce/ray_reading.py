"""What a Ray cluster hands back, read as bytes and never unpickled.

``ray.get`` unpickles whatever a worker chose to return, and the exceptions that it raised, with its pickles' code, in the
process that asked. So it is never called here: the object store's bytes are taken as they are, and of errors the number only.
That uses two names that Ray does not promise to keep, which is one reason why the extra pins its release. ``docs/scale.md``
says what this does not cover.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

RAW = b"RAW"


@dataclass(frozen=True, slots=True)
class Read:
    """The bytes of an object; or, in words, why there are none. ``strange``: it is something else than bytes."""

    data: bytes | None
    lost: str = ""
    strange: bool = False


def read(ray: Any, ref: Any, *, limit: int) -> Read:
    """The bytes behind a reference to something that has ended.

    Args:
        ray: the module.
        limit: the largest object that is taken, in bytes.
    """
    if ray.util.client.ray.is_connected():
        return _read_by_client(ray, ref, limit)
    found = ray.experimental.get_object_locations([ref], 30_000).get(ref, {}).get("object_size")
    if found is not None and found > limit:
        return Read(None, f"it is of {found:,} bytes, which is more than {limit:,}", strange=True)
    worker = ray._private.worker.global_worker
    ((data, metadata, *_),) = worker.core_worker.get_objects([ref], 600_000)
    kind = bytes(metadata or b"").split(b",")[0]
    if kind == RAW:
        size = 0 if data is None else len(data)
        if size > limit:
            return Read(None, f"it is of {size:,} bytes, which is more than {limit:,}", strange=True)
        return Read(b"" if data is None else data.to_pybytes())
    return _other(kind)


def _other(kind: bytes) -> Read:
    """An error that Ray itself told, by its name; or an object of the worker's choosing, which stays unread."""
    from ray.core.generated.common_pb2 import ErrorType

    if not kind.isdigit():
        return Read(None, "it is a Python object, and not bytes", strange=True)
    try:
        name = ErrorType.Name(int(kind))
    except ValueError:
        return Read(None, "Ray tells an error of a number that it does not have", strange=True)
    if name in ("TASK_EXECUTION_EXCEPTION", "TASK_CANCELLED"):  # our task raises nothing, and what we take back is not read
        return Read(None, "it is an exception, and not bytes", strange=True)
    return Read(None, f"Ray says {name}")


class _BytesOnly(pickle.Unpickler):
    """Reads a pickle that makes no object but bytes and the like."""

    def find_class(self, module: str, name: str) -> Any:
        """Nothing is looked up."""
        raise pickle.UnpicklingError(f"{module}.{name} is not looked up")

    def persistent_load(self, pid: Any) -> Any:
        """Nothing is looked up."""
        raise pickle.UnpicklingError("no reference is followed")


def _bytes_only(data: bytes, **_: Any) -> Any:
    return _BytesOnly(io.BytesIO(data)).load()


class _Told(Exception):
    """The client's server told an error, which is not unpickled."""


class _NoErrors:
    @staticmethod
    def loads(data: bytes) -> Exception:
        return _Told()


def _read_by_client(ray: Any, ref: Any, limit: int) -> Read:
    """The same by Ray's client, whose server at the head of the cluster sends a pickle of what it has unpickled itself."""
    from ray.util.client import worker as client

    kept = client.loads_from_server, client.cloudpickle
    client.loads_from_server, client.cloudpickle = _bytes_only, _NoErrors
    try:
        data = ray.util.client.ray.worker.get([ref], timeout=600)[0]
    except pickle.UnpicklingError:
        return Read(None, "it is a Python object, and not bytes", strange=True)
    except _Told:
        return Read(None, "Ray says that the task failed")
    except (ConnectionError, TimeoutError):
        raise
    except Exception as problem:  # noqa: BLE001 - whatever a pickle of a stranger leads to
        return Read(None, f"it cannot be read: {type(problem).__name__}", strange=True)
    finally:
        client.loads_from_server, client.cloudpickle = kept
    if not isinstance(data, bytes):
        return Read(None, "it is no bytes", strange=True)
    if len(data) > limit:
        return Read(None, f"it is of {len(data):,} bytes, which is more than {limit:,}", strange=True)
    return Read(data)
