"""Routines for tests: a valid record, and what went wrong with a bad one.

The base is an interval of 30 minutes, created by `ou_a`, that has run three times; `NOW` lies ten
minutes before its next time.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.errors import DomainError
from domain.routine import Routine

NOW = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
NEXT = NOW + timedelta(minutes=10)

RECORD: Mapping[str, Any] = {
    "id": "routine_01",
    "prompt": "hello",
    "schedule": {"every_seconds": 1800},
    "scope": {"kind": "user", "id": "ou_a"},
    "route": {"receive_id_type": "user_id", "receive_id": "ou_a"},
    "creator": {"user_id": "ou_a"},
}
ONE_SHOT = {"run_at": "2026-02-01T12:00:00Z"}
WEBHOOK = {"type": "webhook", "allow_unsigned": True}


def record(**changes: object) -> dict[str, Any]:
    """The base record with some keys changed; `...` takes a key away."""
    merged = {**RECORD, **changes}
    return {key: value for key, value in merged.items() if value is not ...}


def routine(**changes: object) -> Routine:
    """The base routine, in its fourth half hour, with some keys changed."""
    state = {
        "next_run_at": NEXT,
        "run_count": 3,
        "revision": 4,
        "created_at": NOW - timedelta(days=1),
        "updated_at": NOW - timedelta(hours=1),
    }
    return Routine.model_validate(record(**{**state, **changes}))


def refusal(call: Callable[[], object]) -> DomainError:
    """The error that a call raises."""
    with pytest.raises(DomainError) as caught:
        call()
    return caught.value


def assert_refused(error: DomainError, kind: str, field: str, *contains: str) -> None:
    """Check kind, field and what the message must say."""
    assert (error.kind, error.field) == (kind, field)
    assert [text for text in contains if text.lower() not in error.message.lower()] == []
