"""UTC times in signed documents: ``2026-01-31T23:59:59Z``, whole seconds, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

from verifai.domain.record import Record

UTC_PATTERN = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def format_utc(moment: datetime) -> str:
    """As text. ``moment`` must know its zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    at = moment.astimezone(UTC)
    return f"{at.year:04d}-{at:%m-%dT%H:%M:%SZ}"  # how %Y writes a year before 1000 depends on the system


def parse_utc(text: str) -> datetime:
    """The inverse. Raises ValueError for anything but this one form, and for days that do not exist."""
    moment = datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    if format_utc(moment) != text:
        raise ValueError(f"{text[:40]!r} is not in the form 2026-01-31T23:59:59Z")
    return moment


def utc_from_record(record: Record, field: str) -> str:
    """A time field, kept as its text once it is known to be a real moment."""
    text = record.text(field, pattern=UTC_PATTERN)
    try:
        parse_utc(text)
    except ValueError as problem:
        raise record.refuse(str(problem), field) from None
    return text
