"""Previews: the times of a schedule and what changes of the clock do to them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import DomainError
from domain.preview import (
    NoteKind,
    SchedulePreview,
    local_text,
    preview_schedule,
    validate_count,
)
from domain.schedule import Schedule, clock_mark, occurrences
from domain.zones import load_zone, zone_offsets
from tests.support.routines import assert_refused, refusal
from tests.unit.cron_texts import CronCase, cron_cases


def previewed(expr: str, zone: str, after: str, count: int = 4) -> SchedulePreview:
    return preview_schedule({"cron_expr": expr, "timezone": zone}, after, count)


def told(preview: SchedulePreview) -> list[tuple[str, NoteKind | None]]:
    return [
        (item.local[:16], item.note.kind if item.note else None) for item in preview.occurrences
    ]


class TestNotes:
    def test_a_time_that_does_not_exist_is_marked_as_moved(self) -> None:
        found = previewed("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3)

        assert told(found) == [
            ("2026-03-28T02:30", None),
            ("2026-03-29T03:30", NoteKind.MOVED),
            ("2026-03-30T02:30", None),
        ]
        note = found.occurrences[1].note
        assert note is not None
        assert note.text == "02:30 does not exist that day: moved by 1 h"
        assert note.change.model_dump(mode="json") == {
            "at": "2026-03-29T01:00:00Z",
            "offset_before": "+01:00",
            "offset_after": "+02:00",
        }

    def test_a_fixed_hour_fires_at_the_first_of_two_times_only(self) -> None:
        found = previewed("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2)

        assert told(found) == [
            ("2026-10-25T02:30", NoteKind.ONLY_FIRST),
            ("2026-10-26T02:30", NoteKind.OFFSET_CHANGED),
        ]
        texts = [item.note.text for item in found.occurrences if item.note]
        assert texts == [
            "02:30 comes twice that day: fires the first time only",
            "the clock was changed from +02:00 to +01:00",
        ]

    def test_another_hour_fires_at_both(self) -> None:
        found = previewed("30 */1 * * *", "America/New_York", "2026-11-01T05:00:00Z", 3)

        assert told(found) == [
            ("2026-11-01T01:30", NoteKind.FIRST_OF_TWO),
            ("2026-11-01T01:30", NoteKind.SECOND_OF_TWO),
            ("2026-11-01T02:30", None),
        ]
        texts = [item.note.text for item in found.occurrences if item.note]
        assert [text.rpartition(": ")[2] for text in texts] == [
            "this is the first time",
            "this is the second time",
        ]

    def test_a_gap_of_half_an_hour(self) -> None:
        found = previewed("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2)

        assert told(found)[0] == ("2026-10-04T02:45", NoteKind.MOVED)
        note = found.occurrences[0].note
        assert note is not None
        assert note.text == "02:15 does not exist that day: moved by 30 min"

    def test_a_time_moved_into_the_next_day_is_told_with_its_date(self) -> None:
        found = previewed("0 9 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 1)

        note = found.occurrences[0].note
        assert note is not None
        assert found.occurrences[0].local == "2011-12-31T09:00:00+14:00"
        assert note.text == "2011-12-30 09:00 does not exist that day: moved by 24 h"

    def test_intervals_follow_no_clock_but_are_told_of_its_change(self) -> None:
        found = previewed("every 12h", "Europe/Berlin", "2026-03-28T12:00:00Z", 3)

        assert told(found) == [
            ("2026-03-29T01:00", None),
            ("2026-03-29T14:00", NoteKind.OFFSET_CHANGED),
            ("2026-03-30T02:00", None),
        ]

    def test_the_last_of_several_changes_is_told(self) -> None:
        yearly = previewed("0 0 1 7 *", "Europe/Berlin", "2026-01-15T00:00:00Z", 2)

        first, second = yearly.occurrences
        assert first.note is not None
        assert first.note.change.at == datetime(2026, 3, 29, 1, tzinfo=UTC)
        assert second.note is None, "the same offset as a year ago"
        through = previewed("0 0 1 1,7 *", "Europe/Berlin", "2026-08-01T00:00:00Z", 1)
        note = through.occurrences[0].note
        assert note is not None
        assert note.change.at == datetime(2026, 10, 25, 1, tzinfo=UTC)

    def test_a_change_that_was_taken_back_before_a_new_one(self) -> None:
        """Every second winter: three changes lie between, and the last one is the reason."""
        schedule = {"run_at": "2028-07-01T00:00:00Z", "timezone": "Europe/Berlin"}

        found = preview_schedule(schedule, "2026-12-01T00:00:00Z")

        note = found.occurrences[0].note
        assert note is not None
        assert note.change.at == datetime(2028, 3, 26, 1, tzinfo=UTC)

    def test_offsets_with_minutes_and_seconds(self) -> None:
        local_mean_time = previewed("0 0 1 * *", "Europe/Amsterdam", "1937-05-15T00:00:00Z", 2)

        notes = [item.note for item in local_mean_time.occurrences if item.note]
        offsets = [(note.change.offset_before, note.change.offset_after) for note in notes]
        assert all(len(text) in {6, 9} for pair in offsets for text in pair)
        seconds = previewed("0 0 1 1 *", "Africa/Monrovia", "1971-06-01T00:00:00Z", 2)
        change = seconds.occurrences[1].note or seconds.occurrences[0].note
        assert change is not None
        assert (change.change.offset_before, change.change.offset_after) == ("-00:44:30", "+00:00")


class TestTimes:
    def test_the_zone_of_a_prefix(self) -> None:
        schedule = {"cron_expr": "CRON_TZ=Asia/Kolkata 0 9 * * *"}

        found = preview_schedule(schedule, "2026-01-01T00:00:00Z", 1)

        assert found.timezone == "Asia/Kolkata"
        assert found.occurrences[0].local == "2026-01-01T09:00:00+05:30"

    def test_an_interval_counts_from_its_anchor(self) -> None:
        schedule = Schedule(every_seconds=3600)
        after = "2026-01-01T00:10:00.5Z"

        alone = preview_schedule(schedule, after, 1)
        anchored = preview_schedule(schedule, after, 1, "2026-01-01T00:00:00Z")

        assert alone.occurrences[0].local == "2026-01-01T01:10:00+00:00"
        assert anchored.occurrences[0].local == "2026-01-01T01:00:00+00:00"

    def test_what_has_ended_has_no_times(self) -> None:
        once = preview_schedule({"run_at": "2026-01-01T00:00:00Z"}, "2026-01-01T00:00:00Z")
        assert once.occurrences == []

    @given(
        case=cron_cases(by_night=True),
        zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
        days=st.integers(0, 800),
    )
    def test_notes_stand_where_the_clock_is_changed(
        self, case: CronCase, zone: str, days: int
    ) -> None:
        schedule = {"cron_expr": case.expr, "timezone": zone}
        after = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)

        found = preview_schedule(schedule, after, 50)

        times = [item.at for item in found.occurrences]
        assert times == occurrences(after, schedule, 50)
        offsets = zone_offsets(zone)
        for before, item in zip([after, *times], found.occurrences, strict=False):
            assert datetime.fromisoformat(item.local) == item.at
            mark = clock_mark(item.at, schedule)
            if item.note is None or item.note.kind == NoteKind.OFFSET_CHANGED:
                assert mark is None
                shifted = before.astimezone(offsets.info).utcoffset()
                changed = shifted != item.at.astimezone(offsets.info).utcoffset()
                assert (item.note is not None) == changed
            else:
                assert (mark == "moved") == (item.note.kind == NoteKind.MOVED)
                assert abs(item.note.change.at - item.at) <= timedelta(hours=1)


class TestBadInput:
    @pytest.mark.parametrize("count", [1, 50])
    def test_bounds_are_accepted(self, count: int) -> None:
        assert validate_count(count) == count

    @pytest.mark.parametrize("count", [0, 51, -1, True, 5.0, "5", None])
    def test_a_bad_count(self, count: object) -> None:
        assert_refused(refusal(lambda: validate_count(count)), "invalid_field", "count", "1", "50")

    @pytest.mark.parametrize(
        ("schedule", "after", "kind", "field"),
        [
            ({"cron_expr": "x"}, "2026-01-01T00:00:00Z", "invalid_field", "schedule.cron_expr"),
            ({}, "2026-01-01T00:00:00Z", "missing_field", "schedule"),
            ({"every_seconds": 60}, "soon", "invalid_field", "after"),
            (
                {"every_seconds": 60, "timezone": "Mars/Base"},
                "2026-01-01T00:00:00Z",
                "invalid_field",
                "schedule.timezone",
            ),
        ],
    )
    def test_what_cannot_be_read(
        self, schedule: dict[str, object], after: str, kind: str, field: str
    ) -> None:
        with pytest.raises(DomainError) as caught:
            preview_schedule(schedule, after)
        assert_refused(caught.value, kind, field)


def test_the_last_hour_of_the_calendar_has_no_local_time_everywhere() -> None:
    """Tokyo is a day ahead there, in a year that no clock of ours has."""
    at = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert local_text(at, load_zone("Asia/Tokyo")) == at.isoformat()
    assert local_text(at, load_zone("America/New_York")) == "9999-12-31T18:59:59-05:00"
