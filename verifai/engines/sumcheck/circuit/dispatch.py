"""Dispatch tables: what one concern of the engine does for each class of operation. Standard library only.

A concern (the columns that are committed, the lookups, the prover's arrays …) has one table: from the class of an operation to
what is done for it. Every member of :data:`.ops.Op` is a key. Where the concern has nothing to do for an operation, the entry
is a :class:`NotApplicable` with the reason. A missing key is a bug of ours and ends in InternalError: no operation is skipped
in silence, and none is treated as another one.

:mod:`.bounds`, :mod:`..interpreter.run` and :mod:`..constraints` have tables of their own and do not use this module: each of
them is a second opinion on the others, so they share no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from verifai.errors import InternalError

Rule = TypeVar("Rule")


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """Stands in a table for an operation that has nothing to do in its concern, and says why."""

    reason: str


Dispatch: TypeAlias = Mapping[type[Any], Rule | NotApplicable]


def dispatch(
    rules: Mapping[type[Any], Rule], *without: tuple[str, tuple[type[Any], ...]]
) -> dict[type[Any], Rule | NotApplicable]:
    """A table of ``rules``, and of the classes that have nothing to do, each group with its reason.

    Raises:
        InternalError: code ``bug``, when a class is named twice.
    """
    result: dict[type[Any], Rule | NotApplicable] = dict(rules)
    for reason, kinds in without:
        for kind in kinds:
            if kind in result:
                raise InternalError("bug", f"{kind.__name__} is twice in a dispatch table")
            result[kind] = NotApplicable(reason)
    return result


def find(rules: Dispatch[Rule], op: object, concern: str) -> Rule | None:
    """What ``rules`` do for ``op``; None when the table says that there is nothing to do.

    Raises:
        InternalError: code ``bug``, when the table does not know the operation.
    """
    try:
        found = rules[type(op)]
    except KeyError:
        raise InternalError("bug", f"{type(op).__name__} is not in the table of {concern}") from None
    return None if isinstance(found, NotApplicable) else found


def require(rules: Dispatch[Rule], op: object, concern: str) -> Rule:
    """What ``rules`` do for ``op``, which has to have something to do.

    Raises:
        InternalError: code ``bug``, when it has not, or when the table does not know the operation.
    """
    found = find(rules, op, concern)
    if found is None:
        reason = rules[type(op)]
        assert isinstance(reason, NotApplicable)
        raise InternalError("bug", f"{type(op).__name__} has nothing in the table of {concern}: {reason.reason}")
    return found
