"""Mutation without coverage, and what counts as a finding."""

from __future__ import annotations

import random
from collections.abc import Callable

from verifai.errors import InternalError, VerifaiError

_TOKENS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\u0000",
    b"NaN",
    b"1e999",
    b"-0",
    b"null",
    b"\xff",
    b"\n\n",
    b"=",
    b"9" * 5000,
    b"[" * 3000,
)


def try_one(parse: Callable[[bytes], object], data: bytes) -> None:
    """Parse; a VerifaiError is the right answer to nonsense, unless it says that we failed."""
    try:
        parse(data)
    except InternalError:
        raise
    except VerifaiError:
        return


def mutate(generator: random.Random, seed: bytes, max_length: int) -> bytes:
    """``seed`` with one to eight changes."""
    data = bytearray(seed)
    for _ in range(generator.randint(1, 8)):
        at = generator.randrange(len(data) + 1)
        kind = generator.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] = generator.randrange(256)
        elif kind == 1 and data:
            data[at % len(data)] ^= 1 << generator.randrange(8)
        elif kind == 2:
            del data[at : at + generator.randrange(1, 64)]
        elif kind == 3:
            data[at:at] = generator.choice(_TOKENS)
        elif kind == 4:
            length = generator.randrange(1, 256)
            data[at:at] = data[at : at + length]
        else:
            data[at:at] = generator.randbytes(generator.randrange(1, 16))
    return bytes(data[:max_length])
