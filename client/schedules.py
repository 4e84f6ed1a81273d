"""Schedules, as a caller tries them out before a routine has one.

Owns the preview: it validates as creating a routine would, creates nothing, and needs no server.
When a schedule fires and what is odd about a time is `domain.preview`'s. Source: automation.md §5
"Preview", §13, §14 row 51.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader
from domain.preview import (
    DEFAULT_COUNT,
    OccurrenceNote,
    PreviewedOccurrence,
    preview_schedule,
    validate_count,
)
from domain.routine_fields import TIMED_TYPES
from domain.schedule import Schedule, validate_schedule
from domain.timestamps import format_timestamp
from domain.triggers import compile_schedule, validate_trigger

_REQUEST_KEYS = ("schedule", "trigger", "count", "after")


class PreviewNote(OccurrenceNote):
    """What is odd about the occurrence `at`; see `domain.preview`."""

    at: str


class Preview(BaseModel):
    """The next occurrences of a schedule.

    `occurrences` are RFC 3339 times in UTC with `Z`; `local` are the same as the clock of
    `timezone` shows them; `notes` tell of those that a change of the clock touches; `words` says
    the schedule in plain English. `times` is not part of the JSON.
    """

    model_config = ConfigDict(frozen=True)

    occurrences: list[str]
    local: list[str]
    timezone: str
    words: str
    notes: list[PreviewNote]
    # The same once more for callers in Python, who need no texts.
    times: list[PreviewedOccurrence] = Field(exclude=True)


@dataclass(frozen=True)
class PreviewRequest:
    """What `POST /schedules/preview` and `routine preview` are given; null where nothing was."""

    schedule: object
    count: object = None
    after: object = None


class Schedules:
    """Library calls for schedules; none of them asks a server."""

    def __init__(self, *, default_timezone: str = "UTC") -> None:
        self._default_timezone = default_timezone

    def preview(
        self,
        schedule: object,
        *,
        count: object = None,
        after: object = None,
    ) -> Preview:
        """When a routine with this schedule would fire.

        Args:
            schedule: A schedule (`cron_expr`, `every_seconds` or `run_at`, with zone and catch-up)
                or a timed trigger, as JSON or as the model.
            count: How many occurrences, 1 to 50; else 5.
            after: Occurrences are strictly after this time, from which intervals count too; else
                now.

        Raises:
            DomainError: What is wrong with the schedule, or `invalid_field` on `count` or `after`.
        """
        # Only now: it loads a library that no other call needs.
        from client.schedule_words import schedule_words

        now = datetime.now(UTC)
        wanted = DEFAULT_COUNT if count is None else count
        valid = self._read(schedule, now)
        found = preview_schedule(valid, now if after is None else after, validate_count(wanted))
        return Preview(
            occurrences=[format_timestamp(item.at) for item in found.occurrences],
            local=[item.local for item in found.occurrences],
            timezone=found.timezone,
            words=schedule_words(valid),
            notes=[_note(item, item.note) for item in found.occurrences if item.note],
            times=found.occurrences,
        )

    def _read(self, given: object, now: datetime) -> Schedule:
        """The schedule, validated as for a new routine."""
        values: object = given.model_dump() if isinstance(given, BaseModel) else given
        if not _is_trigger(values):
            return validate_schedule(values, now, default_timezone=self._default_timezone)
        trigger = validate_trigger(values, now, self._default_timezone)
        schedule = compile_schedule(trigger)
        if schedule is None:
            raise _untimed(trigger.type)
        return schedule


def read_request(body: Mapping[str, object]) -> PreviewRequest:
    """Read the body of a preview: `{"schedule": …, "count": …, "after": …}`.

    Args:
        body: The JSON object; `trigger` may stand for `schedule`. A plain schedule or trigger is
            accepted as well.

    Raises:
        DomainError: `unknown_field`; `invalid_field` on `trigger` where both are given.
    """
    # A trigger has a schedule too, which is the text of its rule.
    wrapped = "type" not in body and not set(body).isdisjoint(_REQUEST_KEYS)
    if not wrapped:
        return PreviewRequest(body)
    reader = FieldReader(body, "")
    reader.refuse_unknown(_REQUEST_KEYS)
    if reader.given("schedule") and reader.given("trigger"):
        reader.invalid("trigger", "excludes schedule: give exactly one of trigger, schedule")
    reader.close()
    schedule = reader.raw("trigger") if reader.given("trigger") else reader.raw("schedule")
    return PreviewRequest(schedule, reader.raw("count"), reader.raw("after"))


def _is_trigger(values: object) -> bool:
    return isinstance(values, Mapping) and "type" in cast("Mapping[str, object]", values)


def _note(item: PreviewedOccurrence, note: OccurrenceNote) -> PreviewNote:
    return PreviewNote(at=format_timestamp(item.at), **dict(note))


def _untimed(kind: str) -> DomainError:
    accepted = sorted(TIMED_TYPES)
    message = f"trigger.type {kind!r} does not fire by time; accepted: {', '.join(accepted)}"
    return DomainError(ErrorKind.INVALID_FIELD, "trigger.type", message, accepted)
