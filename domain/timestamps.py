"""Instants as text: RFC 3339 with an offset in, RFC 3339 in UTC with `Z` out.

Owns parsing and formatting. Has no clock: `now` is always somebody's argument.
Source: automation.md §2 and §3.
"""

import re
from datetime import UTC, datetime

from domain.errors import DomainError, ErrorKind

_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def parse_timestamp(value: object, field: str) -> datetime:
    """Read an RFC 3339 time with offset.

    Args:
        value: The text, or an aware `datetime`.
        field: Name of the field, for the error.

    Returns:
        The instant in UTC.

    Raises:
        DomainError: `invalid_field` on `field` when it is no time or has no offset.
    """
    instant = value
    try:
        if isinstance(value, str) and _RFC_3339.fullmatch(text := value.strip()):
            instant = datetime.fromisoformat(text.upper())
        if isinstance(instant, datetime) and instant.utcoffset() is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        # No such date, or one before the year 1 in UTC: refused like any other text.
        pass
    raise DomainError(
        ErrorKind.INVALID_FIELD,
        field,
        f"{field} must be an RFC 3339 time with an offset, such as 2026-03-01T09:00:00Z, "
        f"not {value!r}",
        ["2026-03-01T09:00:00Z", "2026-03-01T10:00:00+01:00"],
    )


def format_timestamp(instant: datetime) -> str:
    """Write an aware instant in UTC with `Z`; sub-second parts only where there are any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def whole_second(instant: datetime) -> datetime:
    """The instant without its sub-second part."""
    return instant.replace(microsecond=0)
